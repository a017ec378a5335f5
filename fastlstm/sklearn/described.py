"""Write estimators to files: one safetensors file with the model and, as JSON, everything else."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._checks import short_repr
from .._typing import Array
from ..formats import safetensors
from ..layers import layer_config

__all__ = ["FITTED", "KEY", "VERSION", "save"]

KEY = "estimator"
"""Key in the config of the file."""
FITTED = ("n_features_in_", "n_iter_", "best_epoch_", "loss_curve_", "input_ndim_", "shuffle_seed_")
"""Attributes that the file of every estimator holds."""
VERSION = 1
"""Of the description, which later versions of the package read as well."""
_PLAIN = (bool, int, float, str, type(None))


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Do the work of `SeriesEstimator.save`."""
    described = {
        "type": type(estimator).__name__,
        "version": VERSION,
        "parameters": {name: _described(name, value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {name: _plain(getattr(estimator, name)) for name in (*FITTED, *estimator.saved_attributes)},
        "channel_names_": list(names) if (names := getattr(estimator, "channel_names_", None)) else None,
        "feature_names_in_": _strings(getattr(estimator, "feature_names_in_", None)),
        "classes_": None if not hasattr(estimator, "classes_") else _labels(estimator.classes_),
    }
    model = estimator.model_
    safetensors.save(path, model.saved_tensors(), {**model.get_config(), KEY: described})


def _described(name: str, value: Any) -> Any:
    """Return a parameter as data for JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if name == "layers" and value is not None:
        return [layer_config(layer) for layer in value]
    if name == "random_state" and not isinstance(value, (int, type(None))):
        return None
    if isinstance(value, (list, tuple, np.ndarray)) and all(isinstance(one, (*_PLAIN, np.generic)) for one in value):
        plain = [one.item() if isinstance(one, np.generic) else one for one in value]
        return {"tuple": plain} if isinstance(value, tuple) else plain
    if isinstance(value, dict):
        return {"dict": [[_described(name, key), _described(name, one)] for key, one in value.items()]}
    if not isinstance(value, _PLAIN):
        raise ValueError(
            f"{name}={short_repr(value)} cannot be saved, expected a number, a string or a list: give the name of an "
            "optimizer and its rate, or save model_ alone"
        )
    return value


def _plain(value: Any) -> Any:
    return {"array": value.tolist()} if isinstance(value, np.ndarray) else value


def _strings(names: Array | None) -> list[str] | None:
    return None if names is None else [str(name) for name in names]


def _labels(classes: Array) -> dict[str, Any]:
    kind = classes.dtype
    if kind.kind not in "biufUO" or (kind.kind == "O" and not all(isinstance(one, str) for one in classes)):
        raise ValueError(f"labels of type {kind} cannot be saved, expected numbers or strings")
    return {"type": {"O": "object", "U": "str"}.get(kind.kind, kind.name), "values": classes.tolist()}
