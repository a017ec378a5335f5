"""Estimators in files: one safetensors file with the model and, as JSON, everything else. No pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import as_list, short_repr
from .._typing import Array
from ..formats import safetensors
from ..formats.foreign import with_advice
from ..formats.model_file import model_from
from ..layers import Layer, layer_config, layer_from_config
from .base import SeriesEstimator
from .classifier import LSTMClassifier
from .regressor import LSTMRegressor

__all__ = ["load", "save"]

_KEY = "estimator"
_KINDS: dict[str, type[SeriesEstimator]] = {kind.__name__: kind for kind in (LSTMClassifier, LSTMRegressor)}
_PLAIN = (bool, int, float, str, type(None))
_FITTED = ("n_features_in_", "n_iter_", "best_epoch_", "loss_curve_", "_layout", "_order")


def save(estimator: SeriesEstimator, path: str | os.PathLike[str]) -> None:
    """Do the work of `SeriesEstimator.save`."""
    described = {
        "type": type(estimator).__name__,
        "parameters": {name: _described(name, value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": {name: getattr(estimator, name) for name in _FITTED},
        "channel_names_": list(names) if (names := getattr(estimator, "channel_names_", None)) else None,
        "feature_names_in_": _strings(getattr(estimator, "feature_names_in_", None)),
        "classes_": None if not hasattr(estimator, "classes_") else _labels(estimator.classes_),
    }
    model = estimator.model_
    safetensors.save(path, model.saved_tensors(), {**model.get_config(), _KEY: described})


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that its `save` has written.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    LSTMClassifier or LSTMRegressor
        A fitted estimator, without `history_`.

    Raises
    ------
    ValueError
        If the file is truncated, altered, or holds no estimator.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.sklearn import LSTMRegressor, load
    >>> X = np.random.default_rng(0).standard_normal((20, 10))
    >>> LSTMRegressor(hidden_size=4, epochs=2).fit(X, X[:, 0]).save("regressor.safetensors")
    >>> load("regressor.safetensors").predict(X).shape
    (20,)
    """
    with with_advice(path, "load"):
        tensors, config = safetensors.load(path)
    described = config.get(_KEY)
    if not isinstance(described, Mapping):
        raise ValueError(f"{os.fspath(path)}: a file without an estimator: fl.load reads the model in it")
    model = model_from(path, config, tensors)
    try:
        kind = _KINDS[described["type"]]
        estimator: Any = kind(**{name: _restored(name, value) for name, value in described["parameters"].items()})
        estimator.__dict__.update({name: described["fitted"][name] for name in _FITTED})
        names, columns, classes = (described[name] for name in ("channel_names_", "feature_names_in_", "classes_"))
        estimator.channel_names_ = None if names is None else tuple(map(str, names))
        if columns is not None:
            estimator.feature_names_in_ = np.array(as_list("columns", columns, "names"), object)
        if classes is not None:
            estimator.classes_ = np.array(classes["values"], classes["type"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: the file does not describe an estimator: {error!r}") from error
    estimator.model_ = model
    return estimator


def _described(name: str, value: Any) -> Any:
    """Return a parameter as data for JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if name == "layers" and value is not None:
        return [layer_config(layer) for layer in value]
    if name == "random_state" and not isinstance(value, (int, type(None))):
        return None
    if isinstance(value, (list, tuple, np.ndarray)) and all(isinstance(one, (*_PLAIN, np.generic)) for one in value):
        return [one.item() if isinstance(one, np.generic) else one for one in value]
    if isinstance(value, dict):
        return {"dict": [[_described(name, key), _described(name, one)] for key, one in value.items()]}
    if not isinstance(value, _PLAIN):
        raise ValueError(
            f"{name}={short_repr(value)} cannot be saved, expected a number, a string or a list: give the name of an "
            "optimizer and its rate, or save model_ alone"
        )
    return value


def _restored(name: str, value: Any) -> Any:
    if name == "layers" and value is not None:
        layers: list[Layer] = [layer_from_config(layer) for layer in value]
        return layers
    if isinstance(value, dict):
        return {_restored(name, key): _restored(name, one) for key, one in value["dict"]}
    return value


def _strings(names: Array | None) -> list[str] | None:
    return None if names is None else [str(name) for name in names]


def _labels(classes: Array) -> dict[str, Any]:
    kind = classes.dtype
    if kind.kind not in "biufUO" or (kind.kind == "O" and not all(isinstance(one, str) for one in classes)):
        raise ValueError(f"labels of type {kind} cannot be saved, expected numbers or strings")
    return {"type": "object" if kind.kind == "O" else kind.str, "values": classes.tolist()}
