"""Convert what users pass into NumPy arrays, or say why it cannot be converted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_array", "as_numeric", "strings"]


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: pass {name}.filled(...), and `lengths` for padding at the end")
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):  # rows of different lengths
            raise ValueError(f"{name} is ragged: pass a list of arrays, one for each series") from error
        raise TypeError(  # whatever the object's own __array__ raises; bytes that are no text, among strings
            f"{name} is a {type(values).__name__} that NumPy cannot turn into an array ({error}): pass an array"
        ) from error


def strings(y: ArrayLike, name: str) -> NDArray[np.str_]:
    """Labels of which some are strings: all of them must be."""
    array = as_array(y, name)
    if array.dtype.kind == "U" and isinstance(y, (list, tuple)):
        array = np.array(y, object)  # NumPy makes strings of the numbers, bytes and nan that stand among them
    if array.dtype.kind != "U":
        for label in array.ravel():
            if not isinstance(label, str):
                raise TypeError(
                    f"{name} holds {label!r} among labels that are strings, expected strings alone or integers alone"
                )
    return array.astype(np.str_)


def as_numeric(values: ArrayLike, integers: bool, name: str) -> NDArray[Any]:
    array = as_array(values, name)
    if array.dtype == object:
        raise TypeError(
            f"{name} has type object, expected numbers: pass series of different lengths as a list, "
            f"list({name}), and turn columns of mixed type into numbers by {name}.astype(float)"
        )
    if array.dtype.kind not in ("iu" if integers else "fiub"):
        advice = (
            f"integers: use {name}.astype(int) if they are whole numbers"
            if integers
            else f"real numbers: use {name}.astype(float), or stack the real and imaginary parts as features"
        )
        raise TypeError(f"{name} has type {array.dtype}, expected {advice}")
    return array
