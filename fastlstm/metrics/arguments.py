"""Checks of what users pass to metrics: arrays of values, of weights, of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _exact
from .._arrays import as_array, as_numeric, place_of, strings
from .._checks import short_repr
from .._foreign import is_missing
from .._typing import Array
from ..data.targets import IGNORE

__all__ = ["binary_labels", "check_same_shape", "labels", "mean", "one_series", "values", "weights"]


def values(name: str, given: Any) -> Array:
    """Return `given` as a float64 array of finite numbers that is not empty.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If it is empty or ragged, or holds NaN or infinity; the message says where.
    """
    _refuse_ragged(name, given)
    array = as_numeric(given, False, name)
    _check_size(name, array)
    array = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        number = int(bad[0])
        missing = bool(np.isnan(array.flat[number]))
        cure = (
            f"leave such positions out, keep = numpy.isfinite({name}), and index every array with [keep]"
            if missing and array.ndim == 1
            else "replace such positions, or leave their cases out of every array"
        )
        raise ValueError(
            f"{name}{place_of(number, array.shape)} is {array.flat[number]}, expected a finite number: {cure}"
        )
    return array


def one_series(name: str, given: Any) -> Array:
    """Return `given` as a float64 array (T,) of finite numbers."""
    array = values(name, given)
    if array.ndim != 1:
        cure = f"pass numpy.ravel({name})" if array.size == max(array.shape, default=0) else "call it for each series"
        raise ValueError(f"{name} has shape {array.shape}, expected one series (T,): {cure}")
    return array


def check_same_shape(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise ValueError unless two arrays have one shape; nothing is broadcast."""
    if array.shape == other.shape:
        return
    cure = "pass arrays that hold a value for each position of the other"
    longer, shorter = (
        ((name, array), (other_name, other)) if array.ndim > other.ndim else ((other_name, other), (name, array))
    )
    if longer[1].shape == (*shorter[1].shape, 1):
        cure = f"pass numpy.asarray({longer[0]})[..., 0]"
    raise ValueError(f"{name} has shape {array.shape} and {other_name} {other.shape}, expected the same: {cure}")


def weights(given: Any, shape: tuple[int, ...]) -> Array | None:
    """Return `sample_weight` for each position of arrays of this shape; None: all 1.

    The weights have the shape of the arrays, or its first axes, such as (N,) for arrays (N, K).
    """
    if given is None:
        return None
    weight = values("sample_weight", given)
    negative = np.flatnonzero(weight < 0)
    if len(negative):
        place = place_of(int(negative[0]), weight.shape)
        raise ValueError(f"sample_weight{place} is {weight.flat[negative[0]]}, expected a number >= 0")
    if weight.ndim == 0 or weight.shape != shape[: weight.ndim]:
        raise ValueError(
            f"sample_weight has shape {weight.shape}, expected {shape[:1]}, a weight for each case, or {shape}, one "
            "for each value"
        )
    if not weight.any():
        raise ValueError("sample_weight is 0 everywhere: there is nothing to measure")
    return np.broadcast_to(weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim)), shape)


def mean(numbers: Array, weight: Array | None) -> float:
    """Return the mean of the numbers, weighted if there are weights of their shape."""
    return _exact.mean(numbers) if weight is None else _exact.total(numbers * weight) / _exact.total(weight)


def labels(name: str, given: Any) -> Array:
    """Return class labels as an array of int64 or of strings that is not empty.

    Raises
    ------
    TypeError
        If they are neither integers, nor bools, nor strings, or a mixture of them.
    ValueError
        If the array is empty or ragged, or holds -100, which marks positions without a label.
    """
    _refuse_ragged(name, given)
    array = as_array(given, name)
    _check_size(name, array)
    if array.dtype.kind == "U" or (array.dtype == object and any(isinstance(one, str) for one in array.flat)):
        return strings(given, name)
    if array.dtype.kind == "O" and any(is_missing(one) for one in array.flat):
        place = place_of(next(k for k, one in enumerate(array.flat) if is_missing(one)), array.shape)
        raise TypeError(f"{name}{place} is missing, expected a label: leave such positions out of every array")
    numbers = array.astype(np.int64) if array.dtype.kind == "b" else as_numeric(given, True, name).astype(np.int64)
    ignored = np.flatnonzero(numbers == IGNORE)
    if len(ignored):
        raise ValueError(
            f"{name}{place_of(int(ignored[0]), numbers.shape)} is {IGNORE}, which marks positions without a label: "
            f"leave them out, keep = numpy.asarray({name}) != {IGNORE}, and index every array with [keep]"
        )
    return numbers


def binary_labels(name: str, given: Any, positive: Any = None) -> Array:
    """Return labels as a boolean array: 0 and 1, False and True, or whether a label is `positive`.

    Raises
    ------
    TypeError, ValueError
        If the labels are of another kind, or `positive` is missing where it is needed.
    """
    _refuse_ragged(name, given)
    array = as_array(given, name)
    if positive is None and array.dtype.kind == "f" and array.size and np.isin(array, (0.0, 1.0)).all():
        return np.asarray(array == 1)  # the targets of binary cross-entropy
    array = labels(name, given)
    if positive is not None:
        if isinstance(positive, str) != (array.dtype.kind == "U"):
            kind = "strings" if array.dtype.kind == "U" else "integers"
            raise TypeError(f"positive is {positive!r} and {name} holds {kind}: give one of the labels")
        return np.asarray(array == positive)
    if array.dtype.kind == "U":
        raise ValueError(
            f"{name} holds strings, of which it is not known which is the positive class: give it, for example "
            f"positive={str(array.flat[0])!r}"
        )
    wrong = np.flatnonzero((array != 0) & (array != 1))
    if len(wrong):
        label = int(array.flat[wrong[0]])
        raise ValueError(
            f"{name}{place_of(int(wrong[0]), array.shape)} is {label}, expected 0 or 1: give the positive class, for "
            f"example positive={label}"
        )
    return np.asarray(array == 1)


def _check_size(name: str, array: Array) -> None:
    """Raise ValueError for an empty array, and for a single value."""
    if array.size == 0:
        raise ValueError(f"{name} is empty, shape {array.shape}: there is nothing to measure")
    if array.ndim == 0:
        raise ValueError(f"{name} is a single value, {short_repr(array.item())}, expected an array: pass [{name}]")


def _refuse_ragged(name: str, given: Any) -> None:
    """Raise ValueError for a list of series of different lengths."""
    if not isinstance(given, (list, tuple)):
        return
    shapes = {np.shape(one) for one in given if isinstance(one, np.ndarray) and one.ndim}
    if len(shapes) > 1:
        raise ValueError(f"{name} holds series of different lengths: join them, numpy.concatenate({name})")
