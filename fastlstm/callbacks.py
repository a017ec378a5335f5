"""The callbacks of `Model.fit`: those of `fastlstm.training.callbacks`, and `Checkpoint`."""

from .training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    EpochPrinter,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
)
from .training.checkpoint import Checkpoint, CheckpointError

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "EarlyStopping",
    "EpochPrinter",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
]
