"""Convert what users pass to NumPy arrays; say why it cannot be converted."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import short_repr
from ._foreign import array_code, cure, is_misread, is_missing, type_name, typed

__all__ = ["as_array", "as_numeric", "is_masked", "place_of", "strings"]


def is_masked(values: object) -> bool:
    """Return whether this is one of NumPy's masked arrays."""
    masked = sys.modules.get("numpy.ma")  # not imported for this alone: it takes 10 ms
    return masked is not None and isinstance(values, masked.MaskedArray)


def _scalars() -> tuple[type, ...]:
    """Return the types of the values of object arrays that are numbers; bool and NumPy's are numbers.Real too."""
    decimal = sys.modules.get("decimal")  # not imported for this alone: it takes 2 ms
    return (np.bool_, numbers.Real) if decimal is None else (np.bool_, numbers.Real, decimal.Decimal)


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return `values` as an array of any dtype; an error calls it `name`.

    Arrays of objects in which each value is a number, such as those of columns of several types, become arrays of
    numbers; a missing value among them (None, NA) becomes nan.
    """
    if is_masked(values):
        raise TypeError(
            f"{name} is a masked array, expected an array: pass {typed(name)}.filled(0), with another number if 0 may "
            "occur, and `lengths` for padding at the end"
        )
    if type(values) is not np.ndarray and is_misread(values):
        raise TypeError(_not_an_array(values, name))
    try:
        array = np.asarray(_listed(values))
    except MemoryError:
        raise
    except Exception as error:  # the object's __array__ may raise anything; bytes among strings may not decode
        if cure(values, name) is not None and not isinstance(values, (list, tuple)):
            raise TypeError(_not_an_array(values, name)) from error
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):  # rows of different lengths
            raise ValueError(f"{name} is ragged: pass a list of arrays, one for each series") from error
        raise TypeError(
            f"{name} is a {type_name(values)} that NumPy cannot turn into an array ({error}): pass an array"
        ) from error
    if array.dtype != object:
        return array
    if array.ndim == 0 and not isinstance(array.item(), _scalars()):
        raise TypeError(_not_an_array(values, name))
    return _numbers(array, name)


def _listed(values: Any) -> Any:
    """Return the items of an object that has a length and an index alone as a list; everything else unchanged.

    NumPy would read such an object until it raises IndexError, which it may never do.
    """
    kind = type(values)
    if not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__")) or hasattr(kind, "__iter__"):
        return values
    if any(hasattr(kind, name) for name in ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")):
        return values
    return [values[number] for number in range(len(values))]


def strings(y: ArrayLike, name: str) -> NDArray[np.str_]:
    """Return labels as an array of strings; raise TypeError if some labels are not strings."""
    array = as_array(y, name)
    if array.dtype.kind == "U" and isinstance(y, (list, tuple)):
        array = np.array(y, object)  # else NumPy turns numbers, bytes and nan among them into strings
    if array.dtype.kind != "U":
        for number, label in enumerate(array.ravel()):
            place = place_of(number, array.shape)
            if is_missing(label):
                raise TypeError(f"{name}{place} is missing ({label}), expected a string: drop such cases")
            if not isinstance(label, str):
                raise TypeError(
                    f"{name}{place} is the {type_name(label)} {label!r} among labels that are strings, expected "
                    f"strings alone or integers alone: to make all of them strings, {array_code(y, name)}.astype(str)"
                )
    return array.astype(np.str_)


def as_numeric(values: ArrayLike, integers: bool, name: str) -> NDArray[Any]:
    """Return `values` as an array of integers or, unless `integers`, of real numbers or bools."""
    array = as_array(values, name)
    if array.dtype.kind not in ("iu" if integers else "fiub"):
        raise TypeError(_not_numbers(array, integers, name, array_code(values, name)))
    return array


def place_of(number: int, shape: tuple[int, ...]) -> str:
    """Return the index of the element `number` of an array, as it is typed: "[3]" or "[3, 0]"; nothing for a scalar."""
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(number, shape))}]" if shape else ""


def _not_an_array(values: Any, name: str) -> str:
    what = "None" if values is None else f"a {type_name(values)}"
    advice = cure(values, name)
    return f"{name} is {what}, expected an array of numbers{'' if advice is None else f': {advice}'}"


def _numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an array of objects as numbers if each of its values is a number or missing, else unchanged."""
    missing = np.zeros(array.shape, bool)
    kinds = {type(value) for value in array.flat}
    scalars = _scalars()
    numeric = {kind for kind in kinds if issubclass(kind, scalars)}
    if kinds - numeric:
        missing = np.frompyfunc(is_missing, 1, 1)(array).astype(bool)
        if not {type(value) for value in array[~missing]} <= numeric:
            return array
    if not numeric:
        return array
    if not missing.any():
        if all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
            return array.astype(bool)
        if all(issubclass(kind, (numbers.Integral, np.bool_)) for kind in kinds):
            try:
                return array.astype(np.int64)
            except OverflowError:
                pass
    filled = np.where(missing, np.nan, array)
    try:
        return np.asarray(filled.astype(np.float64))
    except (OverflowError, ValueError):  # a signalling NaN of decimal raises ValueError
        pass
    for number, value in enumerate(filled.flat):
        try:
            float(value)
        except (OverflowError, ValueError):
            place = place_of(number, array.shape)
            raise ValueError(f"{name}{place} is {short_repr(value)}, expected a number that fits float64") from None
    raise AssertionError("each number fits float64, all of them do not")


def _not_numbers(array: NDArray[Any], integers: bool, name: str, code: str) -> str:
    """Return the message about an array that does not hold the expected kind of numbers."""
    kind, what = array.dtype.kind, "integers" if integers else "real numbers"
    if kind == "O":
        return _not_number_objects(array, what, name, code)
    if kind == "M":
        advice = f"give times as numbers, such as seconds: ({code} - {code}.min()) / numpy.timedelta64(1, 's')"
    elif kind == "m":
        advice = f"give durations as numbers, such as seconds: {code} / numpy.timedelta64(1, 's')"
    elif kind in "US" and array.ndim == 0:
        return f"{name} is text, expected {what}: read the file first, for example numpy.loadtxt({typed(name)})"
    elif kind in "US":
        advice = f"use {code}.astype(float) if these are numerals, and a number for each word otherwise"
    elif array.dtype.names is not None:
        advice = f"use numpy.lib.recfunctions.structured_to_unstructured({code})"
    elif kind == "c":
        join = "concatenate" if array.ndim == 3 else "stack"
        advice = f"pass real and imaginary parts as features: numpy.{join}([{code}.real, {code}.imag], axis=-1)"
    else:
        advice = f"use {code}.astype({'int' if integers else 'float'})"
        if integers and kind == "f":
            missing = np.flatnonzero(np.isnan(array))
            if len(missing):
                return (
                    f"{name}{place_of(int(missing[0]), array.shape)} is missing (nan), expected {what}: fill or drop it"
                )
            advice += " if they are whole numbers"
    return f"{name} has type {array.dtype}, expected {what}: {advice}"


def _not_number_objects(array: NDArray[Any], what: str, name: str, code: str) -> str:
    """Return the message about an array of objects that are not all numbers: it names the first that is none."""
    for number, value in enumerate(array.flat):
        if isinstance(value, _scalars()) or is_missing(value):
            continue
        place = place_of(number, array.shape)
        if isinstance(value, (np.ndarray, list, tuple)):
            return (
                f"{name}{place} is a {type_name(value)}, expected {what}: pass an array of series as a list, "
                f"list({typed(name)})"
            )
        advice = "leave such features out, or give a number for each value"
        if hasattr(value, "isoformat"):
            advice = "leave times out, or give them as numbers, such as seconds since the first"
            if all(hasattr(one, "isoformat") for one in array.flat):
                seconds = f"{code}.astype('M8[s]')"
                advice = (
                    f"give times as numbers, such as seconds: ({seconds} - {seconds}.min()) / numpy.timedelta64(1, 's')"
                )
        return f"{name}{place} is the {type_name(value)} {short_repr(value)}, expected {what}: {advice}"
    return f"{name} holds missing values only, expected {what}: leave out what is missing throughout"
