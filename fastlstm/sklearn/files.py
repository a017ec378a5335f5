"""Read estimators from files. No pickle: nothing in a file is run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from .._checks import as_list, count, real, short_repr
from .._typing import Array
from ..formats import safetensors
from ..formats.foreign import with_advice
from ..formats.model_file import model_from
from ..layers import Layer, layer_from_config
from ..model import Model
from ..tasks.described import KEY, VERSION
from .anomaly import LSTMAnomalyDetector
from .base import SeriesEstimator
from .classifier import LSTMClassifier
from .features import LSTMFeatures
from .regressor import LSTMRegressor

__all__ = ["load"]

_KINDS: dict[str, type[SeriesEstimator]] = {
    kind.__name__: kind for kind in (LSTMAnomalyDetector, LSTMClassifier, LSTMFeatures, LSTMRegressor)
}
_LABELS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that its `save` has written.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    LSTMClassifier, LSTMRegressor, LSTMAnomalyDetector or LSTMFeatures
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
    described = config.get(KEY)
    if not isinstance(described, Mapping):
        raise ValueError(f"{os.fspath(path)}: a file without an estimator: fl.load reads the model in it")
    model = model_from(path, config, tensors)
    try:
        return _estimator(described, model)
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: the file does not describe an estimator: {error!r}") from error


def _estimator(described: Mapping[str, Any], model: Model) -> SeriesEstimator:
    """Return the estimator that a file describes; the checks are those of data that are not trusted."""
    if (version := count("version", described.get("version", VERSION))) > VERSION:
        raise ValueError(f"the description has version {version}, expected at most {VERSION}: update fastlstm")
    kind = _KINDS[described["type"]]
    parameters = {name: _restored(name, value) for name, value in described["parameters"].items()}
    estimator: Any = kind(**parameters)
    estimator.check_parameters()
    fitted = described["fitted"]
    counts = {"n_features_in_": 1, "n_iter_": 0, "best_epoch_": 0, "input_ndim_": 2, "shuffle_seed_": 0}
    for name, least in counts.items():
        setattr(estimator, name, count(name, fitted[name], least))
    if estimator.input_ndim_ > 3:
        raise ValueError(f"input_ndim_ is {estimator.input_ndim_}, expected 2 or 3")
    channels = 1 if estimator.input_ndim_ == 2 else estimator.n_features_in_
    if model.input_size != channels:
        raise ValueError(f"the model reads {model.input_size} channels, expected {channels}")
    estimator.loss_curve_ = [
        real("loss_curve_", one) for one in as_list("loss_curve_", fitted["loss_curve_"], "numbers")
    ]
    for name in kind.saved_attributes:
        setattr(estimator, name, _number_or_numbers(name, fitted[name]))
    names, columns = (_names(name, described[name]) for name in ("channel_names_", "feature_names_in_"))
    estimator.channel_names_ = None if names is None else tuple(names)
    if columns is not None:
        estimator.feature_names_in_ = np.array(columns, object)
    if described["classes_"] is not None:
        estimator.classes_ = _classes(described["classes_"], model.output_size)
    elif kind is LSTMClassifier:
        raise ValueError("a classifier without classes")
    estimator.model_ = model
    return cast(SeriesEstimator, estimator)


def _restored(name: str, value: Any) -> Any:
    if name == "layers" and value is not None:
        layers: list[Layer] = [layer_from_config(layer) for layer in value]
        return layers
    if isinstance(value, dict) and "tuple" in value:
        return tuple(value["tuple"])
    if isinstance(value, dict):
        return {_restored(name, key): _restored(name, one) for key, one in value["dict"]}
    return value


def _number_or_numbers(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return np.array([real(name, one) for one in as_list(name, value["array"], "numbers")])
    return value if isinstance(value, int) else real(name, value)


def _names(name: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    names = as_list(name, value, "names")
    if not all(isinstance(one, str) for one in names):
        raise ValueError(f"{name} must be strings, got {short_repr(value)}")
    return names


def _classes(described: Mapping[str, Any], outputs: int) -> Array:
    values, kind = as_list("classes_", described["values"], "labels"), described["type"]
    if len(values) != outputs:
        raise ValueError(f"{len(values)} classes and {outputs} outputs")
    # The type of strings is not taken from the file, since a single one of 10**9 characters would take 4 GB.
    if kind in ("str", "object") and all(isinstance(one, str) for one in values):
        return np.array(values, object if kind == "object" else None)
    if kind not in _LABELS or not all(isinstance(one, (bool, int, float)) for one in values):
        raise ValueError(f"classes of type {short_repr(kind)}, expected str, object or one of {', '.join(_LABELS)}")
    return np.array(values, kind)
