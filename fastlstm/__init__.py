"""fastlstm: LSTM networks on CPUs - train, validate, save and reuse, with NumPy and a small C library."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._openmp import keep_in_children, never_sleeps, short_waits

try:
    with short_waits():
        from . import _core

        _core.openmp_max_threads()  # LLVM's runtime reads its settings at the first call
        _core.always_wake(never_sleeps())
        keep_in_children(_core.openmp_max_threads, _core.set_openmp_max_threads)
except ImportError as error:
    from ._import_errors import why

    raise ImportError(why(error)) from error

from . import callbacks, data, datasets, losses, optimizers, reference, schedules
from ._version import __version__
from .callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .checkpoint import Checkpoint, CheckpointError
from .config import get_num_threads, set_num_threads, show_config
from .data import Standardizer, split, windows
from .decoding import ctc_decode
from .generation import generate
from .history import History
from .layers import (
    LSTM,
    Activation,
    AttentionPool,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    LastStep,
    Masking,
    MaxPool,
    MeanPool,
    Reverse,
)
from .loading import load
from .losses import CTC, MAE, MSE, BinaryCrossEntropy, CrossEntropy, Huber, Quantile
from .model import Model
from .optimizers import SGD, Adam, AdamW, RMSprop
from .pytorch import from_torch
from .schedules import ConstantLR, CosineLR, OneCycleLR, StepLR, WarmupLR
from .stream import Stream
from .training import TrainingDiverged

if _TYPE_CHECKING:
    from .keras import from_keras
    from .onnx import from_onnx

__all__ = [
    "CTC",
    "LSTM",
    "MAE",
    "MSE",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "AttentionPool",
    "BinaryCrossEntropy",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "ConstantLR",
    "CosineLR",
    "CrossEntropy",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "GaussianNoise",
    "History",
    "Huber",
    "LastStep",
    "Masking",
    "MaxPool",
    "MeanPool",
    "Model",
    "ModelCheckpoint",
    "OneCycleLR",
    "Quantile",
    "RMSprop",
    "ReduceLROnPlateau",
    "Reverse",
    "Standardizer",
    "StepLR",
    "Stream",
    "TrainingDiverged",
    "WarmupLR",
    "__version__",
    "callbacks",
    "ctc_decode",
    "data",
    "datasets",
    "from_keras",
    "from_onnx",
    "from_torch",
    "generate",
    "get_num_threads",
    "load",
    "losses",
    "optimizers",
    "reference",
    "schedules",
    "set_num_threads",
    "show_config",
    "split",
    "windows",
]

# Readers of other libraries' files: imported when they are asked for, as few programs do.
_LATE = {"from_keras": "keras", "from_onnx": "onnx"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(_import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
