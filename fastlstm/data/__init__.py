"""Prepare data: series read batch by batch, targets, windows, splits, scaling."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .robust_scaler import RobustScaler
from .scaler import SCALERS, Scaler, scaler_from_config
from .scaling import Standardizer
from .sequences import Sequences, as_sequences
from .shuffle import Shuffle
from .splits import split
from .targets import Targets, as_targets, encode_labels
from .windows import windows

if _TYPE_CHECKING:
    from . import datasets

__all__ = [
    "SCALERS",
    "RobustScaler",
    "Scaler",
    "Sequences",
    "Shuffle",
    "Standardizer",
    "Targets",
    "as_sequences",
    "as_targets",
    "datasets",
    "encode_labels",
    "scaler_from_config",
    "split",
    "windows",
]


def __dir__() -> list[str]:
    return sorted({*globals(), "datasets"})


if not _TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "datasets":  # imported at first use, because few programs need them
            from importlib import import_module

            return import_module(f"{__name__}.datasets")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
