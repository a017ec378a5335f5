"""LSTM networks on CPUs: train, validate, save and reuse them, with NumPy and a small C library."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .runtime.openmp import keep_in_children, never_sleeps, short_waits

try:
    with short_waits():
        from . import _core

        _core.openmp_max_threads()  # LLVM's runtime reads its settings at the first call
        _core.always_wake(never_sleeps())
        keep_in_children(_core.openmp_max_threads, _core.set_openmp_max_threads)
except ImportError as error:
    from .runtime.import_errors import why

    raise ImportError(why(error)) from error

from . import data, losses, optimizers, schedules
from ._version import __version__
from .data import RobustScaler, Standardizer, split, windows
from .formats.model_file import load
from .layers import (
    LSTM,
    Activation,
    AttentionPool,
    AvgPool1D,
    BatchNorm,
    ConcatPool,
    Conv1D,
    Dense,
    Deviations,
    Differences,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    LastStep,
    LayerNorm,
    LuongAttention,
    Magnitude,
    Masking,
    MaxPool,
    MaxPool1D,
    MeanPool,
    Merge,
    Pad1D,
    RepeatVector,
    Reverse,
    StackSteps,
    Tap,
    TimeDistributed,
)
from .losses import CTC, MAE, MSE, BinaryCrossEntropy, CrossEntropy, Huber, Quantile, ctc_decode
from .model import Model
from .optimizers import SGD, Adam, AdamW, RMSprop
from .runtime.config import check_isa as _check_isa
from .runtime.config import get_num_threads, set_num_threads, show_config
from .schedules import ConstantLR, CosineLR, OneCycleLR, StepLR, WarmupLR

_check_isa()

if _TYPE_CHECKING:
    from . import callbacks as callbacks
    from . import dask as dask
    from . import datasets as datasets
    from . import metrics as metrics
    from . import onnx_backend as onnx_backend
    from . import plots as plots
    from . import reference as reference
    from . import sklearn as sklearn
    from .data import from_numpy3d, to_numpy3d
    from .forecast.forecaster import Forecaster as Forecaster
    from .formats.c.compiled import compiled
    from .formats.keras.importer import from_keras
    from .formats.onnx.read.importer import from_onnx
    from .formats.torch.read import from_torch
    from .inference.attention import attention_weights
    from .inference.generation import generate
    from .inference.stream import Stream
    from .seq2seq.model import EncoderDecoder
    from .sklearn import LSTMAnomalyDetector as LSTMAnomalyDetector
    from .sklearn import LSTMClassifier as LSTMClassifier
    from .sklearn import LSTMFeatures as LSTMFeatures
    from .sklearn import LSTMRegressor as LSTMRegressor
    from .training.callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
    from .training.checkpoint import Checkpoint, CheckpointError
    from .training.history import History
    from .training.loop import TrainingDiverged

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
    "AvgPool1D",
    "BatchNorm",
    "BinaryCrossEntropy",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "ConcatPool",
    "ConstantLR",
    "Conv1D",
    "CosineLR",
    "CrossEntropy",
    "Dense",
    "Deviations",
    "Differences",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "EncoderDecoder",
    "Flatten",
    "GaussianNoise",
    "History",
    "Huber",
    "LastStep",
    "LayerNorm",
    "LuongAttention",
    "Magnitude",
    "Masking",
    "MaxPool",
    "MaxPool1D",
    "MeanPool",
    "Merge",
    "Model",
    "ModelCheckpoint",
    "OneCycleLR",
    "Pad1D",
    "Quantile",
    "RMSprop",
    "ReduceLROnPlateau",
    "RepeatVector",
    "Reverse",
    "RobustScaler",
    "StackSteps",
    "Standardizer",
    "StepLR",
    "Stream",
    "Tap",
    "TimeDistributed",
    "TrainingDiverged",
    "WarmupLR",
    "__version__",
    "attention_weights",
    "callbacks",
    "compiled",
    "ctc_decode",
    "data",
    "datasets",
    "from_keras",
    "from_numpy3d",
    "from_onnx",
    "from_torch",
    "generate",
    "get_num_threads",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "plots",
    "reference",
    "schedules",
    "set_num_threads",
    "show_config",
    "split",
    "to_numpy3d",
    "windows",
]

# The estimators and the forecaster are not in __all__, since `from fastlstm import *` must not need scikit-learn and
# pandas.
# Imported at first use, since a process that only predicts needs none of them.
_LAZY_MODULES = {
    "callbacks": "callbacks",
    "dask": "dask",
    "datasets": "datasets",
    "metrics": "metrics",
    "onnx_backend": "onnx_backend",
    "plots": "plots",
    "reference": "reference",
    "sklearn": "sklearn",
}
_LAZY_NAMES = {  # the module of each name
    "CSVLogger": "training.callbacks",
    "Callback": "training.callbacks",
    "Checkpoint": "training.checkpoint",
    "CheckpointError": "training.checkpoint",
    "EarlyStopping": "training.callbacks",
    "EncoderDecoder": "seq2seq.model",
    "History": "training.history",
    "ModelCheckpoint": "training.callbacks",
    "ReduceLROnPlateau": "training.callbacks",
    "Stream": "inference.stream",
    "TrainingDiverged": "training.loop",
    "attention_weights": "inference.attention",
    "compiled": "formats.c.compiled",
    "from_keras": "formats.keras.importer",
    "from_numpy3d": "data.numpy3d",
    "from_onnx": "formats.onnx.read.importer",
    "from_torch": "formats.torch.read",
    "generate": "inference.generation",
    "Forecaster": "forecast.forecaster",
    "LSTMAnomalyDetector": "sklearn",
    "LSTMClassifier": "sklearn",
    "LSTMFeatures": "sklearn",
    "LSTMRegressor": "sklearn",
    "to_numpy3d": "data.numpy3d",
}


if not _TYPE_CHECKING:  # a type checker would take every misspelt name for one that exists

    def __getattr__(name: str) -> object:
        if name in _LAZY_MODULES:
            return _import_module(f"{__name__}.{_LAZY_MODULES[name]}")
        if name in _LAZY_NAMES:
            return getattr(_import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})
