"""Convert what users pass to NumPy arrays; say why it cannot be converted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_array", "as_numeric", "strings"]


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return `values` as an array of any dtype; an error calls it `name`."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: pass {name}.filled(...), and `lengths` for padding at the end")
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):  # rows of different lengths
            raise ValueError(f"{name} is ragged: pass a list of arrays, one for each series") from error
        raise TypeError(  # the object's __array__ may raise anything; bytes among strings may not decode
            f"{name} is a {type(values).__name__} that NumPy cannot turn into an array ({error}): pass an array"
        ) from error


def strings(y: ArrayLike, name: str) -> NDArray[np.str_]:
    """Return labels as an array of strings; raise TypeError if some labels are not strings."""
    array = as_array(y, name)
    if array.dtype.kind == "U" and isinstance(y, (list, tuple)):
        array = np.array(y, object)  # else NumPy turns numbers, bytes and nan among them into strings
    if array.dtype.kind != "U":
        for label in array.ravel():
            if not isinstance(label, str):
                raise TypeError(
                    f"{name} holds {label!r} among labels that are strings, expected strings alone or integers alone"
                )
    return array.astype(np.str_)


def as_numeric(values: ArrayLike, integers: bool, name: str) -> NDArray[Any]:
    """Return `values` as an array of integers or, unless `integers`, of real numbers or bools."""
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
