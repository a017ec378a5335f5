"""Prepare data: series read batch by batch, targets, windows, splits, scaling."""

from . import datasets
from .scaling import SCALERS, Standardizer
from .sequences import Sequences, as_sequences
from .shuffle import Shuffle
from .splits import split
from .targets import Targets, as_targets, encode_labels
from .windows import windows

__all__ = [
    "SCALERS",
    "Sequences",
    "Shuffle",
    "Standardizer",
    "Targets",
    "as_sequences",
    "as_targets",
    "datasets",
    "encode_labels",
    "split",
    "windows",
]
