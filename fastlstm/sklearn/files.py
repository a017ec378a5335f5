"""Read estimators from files. No pickle: nothing in a file is run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import as_list
from ..formats import safetensors
from ..formats.foreign import with_advice
from ..formats.model_file import model_from
from ..layers import Layer, layer_from_config
from .anomaly import LSTMAnomalyDetector
from .base import SeriesEstimator
from .classifier import LSTMClassifier
from .described import FITTED, KEY
from .features import LSTMFeatures
from .regressor import LSTMRegressor

__all__ = ["load"]

_KINDS: dict[str, type[SeriesEstimator]] = {
    kind.__name__: kind for kind in (LSTMAnomalyDetector, LSTMClassifier, LSTMFeatures, LSTMRegressor)
}


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
        kind = _KINDS[described["type"]]
        estimator: Any = kind(**{name: _restored(name, value) for name, value in described["parameters"].items()})
        for name in (*FITTED, *kind.saved_attributes):
            value = described["fitted"][name]
            setattr(estimator, name, np.array(value["array"]) if isinstance(value, dict) else value)
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


def _restored(name: str, value: Any) -> Any:
    if name == "layers" and value is not None:
        layers: list[Layer] = [layer_from_config(layer) for layer in value]
        return layers
    if isinstance(value, dict) and "tuple" in value:
        return tuple(value["tuple"])
    if isinstance(value, dict):
        return {_restored(name, key): _restored(name, one) for key, one in value["dict"]}
    return value
