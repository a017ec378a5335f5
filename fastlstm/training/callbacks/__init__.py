"""Callbacks: objects whose hooks `Model.fit` calls during training."""

from .base import Callback
from .csv_logger import CSVLogger
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .progress import EpochPrinter, ProgressBar

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "EpochPrinter",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
]
