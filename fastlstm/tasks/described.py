"""What a file of an estimator holds besides its model: one description for the estimators and the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import short_repr
from .._typing import Array
from ..formats import safetensors
from ..layers import layer_config
from ..model import Model

__all__ = ["FITTED", "KEY", "VERSION", "description", "listed", "plain_parameter", "save_described"]

KEY = "estimator"
"""Key in the config of the file."""
FITTED = ("n_features_in_", "n_iter_", "best_epoch_", "loss_curve_", "input_ndim_", "shuffle_seed_")
"""Attributes that the file of every estimator holds."""
VERSION = 1
"""Of the description, which later versions of the package read as well."""
_PLAIN = (bool, int, float, str, type(None))
"""Types of values that JSON holds as they are."""


def description(
    kind: str,
    parameters: Mapping[str, Any],
    fitted: Mapping[str, Any],
    *,
    channel_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    classes: Array | None = None,
) -> dict[str, Any]:
    """Return what a file says of an estimator, as data for JSON.

    Parameters
    ----------
    kind : str
        Name of the class, such as "LSTMClassifier".
    parameters : mapping
        Parameters of its constructor.
    fitted : mapping
        Its attributes `FITTED`, and those of its class.
    channel_names, feature_names : sequence of str, optional
        Names of the channels, or of the columns of a table with a column for each step.
    classes : array, optional
        Labels in the order of the outputs.

    Raises
    ------
    ValueError
        If a parameter or the labels cannot be saved.
    """
    return {
        "type": kind,
        "version": VERSION,
        "parameters": {name: _described(name, value) for name, value in parameters.items()},
        "fitted": {name: _plain(value) for name, value in fitted.items()},
        "channel_names_": list(channel_names) if channel_names else None,
        "feature_names_in_": None if feature_names is None else [str(name) for name in feature_names],
        "classes_": None if classes is None else _labels(classes),
    }


def save_described(
    path: str | os.PathLike[str], model: Model, described: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> None:
    """Write a model with the description of its estimator, and with further keys of the file's config."""
    config = {**model.get_config(), KEY: dict(described), **({} if more is None else more)}
    safetensors.save(path, model.saved_tensors(), config)


def _described(name: str, value: Any) -> Any:
    """Return a parameter as data for JSON."""
    try:
        return plain_parameter(name, value)
    except TypeError:
        if isinstance(value, dict):
            return {"dict": [[_described(name, key), _described(name, one)] for key, one in value.items()]}
        raise ValueError(
            f"{name}={short_repr(value)} cannot be saved, expected a number, a string or a list: give the name of an "
            "optimizer and its rate, or save model_ alone"
        ) from None


def plain_parameter(name: str, value: Any) -> Any:
    """Return a parameter of an estimator or forecaster as data for JSON.

    Layers become their settings; a generator of random numbers, which cannot be saved, None.

    Raises
    ------
    TypeError
        If it is neither a number, a string, None, nor a list of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if name == "layers" and value is not None:
        return [layer_config(layer) for layer in value]
    if name == "random_state" and not isinstance(value, (int, type(None))):
        return None
    if isinstance(value, _PLAIN):
        return value
    plain = listed(value)
    if plain is None:
        raise TypeError(f"{name} is not plain")
    return plain


def listed(value: Any) -> Any:
    """Return a list, tuple or array of plain values as data for JSON; None for anything else."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    plain = [one.item() if isinstance(one, np.generic) else one for one in value]
    if not all(isinstance(one, _PLAIN) for one in plain):
        return None
    return {"tuple": plain} if isinstance(value, tuple) else plain


def _plain(value: Any) -> Any:
    return {"array": value.tolist()} if isinstance(value, np.ndarray) else value


def _labels(classes: Array) -> dict[str, Any]:
    kind = classes.dtype
    if kind.kind not in "biufUO" or (kind.kind == "O" and not all(isinstance(one, str) for one in classes)):
        raise ValueError(f"labels of type {kind} cannot be saved, expected numbers or strings")
    return {"type": {"O": "object", "U": "str"}.get(kind.kind, kind.name), "values": classes.tolist()}
