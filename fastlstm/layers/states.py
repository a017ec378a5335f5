"""Checks of states (h, c) that users pass to a network or a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._arrays import as_numeric
from .._checks import short_repr
from .._typing import State

__all__ = ["checked_states", "finite"]

Shape = tuple[int, ...]


def checked_states(value: Any, expected: Sequence[tuple[Shape, Shape, npt.DTypeLike]], whose: str) -> list[State]:
    """Return `value` as C-contiguous pairs (h, c) of finite numbers, of the expected shapes and types.

    Raises
    ------
    TypeError, ValueError
        If `value` is not a list of one (h, c) for each expected one, or an array does not fit or is not finite.
    """
    if not isinstance(value, (list, tuple)) or any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in value):
        raise TypeError(f"a state must be (h, c), or a list of (h, c) for several, got {short_repr(value)}")
    if len(value) != len(expected):
        raise ValueError(
            f"got {len(value)} states (h, c), expected {len(expected)}, one for each of the model's {whose}"
        )
    checked = []
    for pair, (h_shape, c_shape, dtype) in zip(value, expected, strict=True):
        if _plain(pair[0], h_shape, dtype) and _plain(pair[1], c_shape, dtype):  # which this package has returned
            checked.append((finite(pair[0], dtype, "h"), finite(pair[1], dtype, "c")))
            continue
        h, c = (as_numeric(part, False, name) for part, name in zip(pair, "hc", strict=True))
        if h.shape != h_shape or c.shape != c_shape:
            raise ValueError(f"a state has shapes {h.shape} and {c.shape}, expected {h_shape} and {c_shape}")
        checked.append((finite(h, dtype, "h"), finite(c, dtype, "c")))
    return checked


def _plain(value: Any, shape: Shape, dtype: npt.DTypeLike) -> bool:
    """Return whether a value is an array as the kernels read it."""
    if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
        return False
    flags = value.flags
    return flags.c_contiguous and flags.aligned


def finite(array: npt.NDArray[Any], dtype: npt.DTypeLike, name: str) -> npt.NDArray[Any]:
    """Return a C-contiguous array of a dtype; ValueError if it holds NaN, infinity or what the dtype cannot hold."""
    if not _plain(array, array.shape, dtype):
        with np.errstate(over="ignore"):
            array = np.require(array, dtype, ["C", "A"])
    place = _core.first_nonfinite(array.reshape(-1))
    if place >= 0:
        index = [int(i) for i in np.unravel_index(place, array.shape)]
        raise ValueError(f"{name} holds {array.flat[place]} at {index}, expected finite numbers of {array.dtype}")
    return array
