"""Checks of single arguments; an error names the argument, what was expected and what was given."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MANY = 2**20
"""A limit in bits for `count` where any size of number is allowed."""


def recompute_steps(value: Any) -> int:
    """Return `recompute_every` as the kernels take it: 0 for None. A number beyond the last step means all steps."""
    return 0 if value is None else min(count("recompute_every", value, bits=MANY), sys.maxsize)


def short_repr(value: Any) -> str:
    """Return the repr of `value` for a message: at most 200 characters, and a type name if the repr fails."""
    try:
        text = repr(value)
    except Exception:  # for example, an integer with more digits than Python prints
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:200] + "..."


def as_list(name: str, value: Any, what: str) -> list[Any]:
    """Return `value` as a list; refuse strings, mappings and arrays of several axes."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a list of {what}, got {short_repr(value)}")
    return list(value)


def distinct_names(name: str, value: Any) -> list[str]:
    """Return names as a list; refuse those that are no strings, or occur twice."""
    names = as_list(name, value, "names")
    if not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name} must be strings, got {short_repr(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{name} must differ from each other, got {short_repr(names)}")
    return names


def named_data(name: str, value: Any) -> dict[str, Any]:
    """Return data for JSON with their names; refuse all but mappings of strings to what JSON can hold."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map strings to data for JSON, got {short_repr(value)}")
    _require_json(name, value)
    return dict(value)


def _require_json(name: str, value: Any) -> None:
    """Raise TypeError or ValueError, with the place, unless JSON can hold the value."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {short_repr(key)}, expected strings as keys: use {str(key)!r}")
            _require_json(f"{name}[{key!r}]", one)
    elif isinstance(value, (list, tuple)):
        for number, one in enumerate(value):
            _require_json(f"{name}[{number}]", one)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, which JSON cannot hold: use None, or the string '{value}'")
    elif not (value is None or isinstance(value, (str, int, float))):
        cure = f"{name}.tolist()" if isinstance(value, (np.ndarray, np.generic)) else f"str({name})"
        raise TypeError(
            f"{name} has type {type(value).__name__}, expected data for JSON (strings, numbers, bools, None, lists and "
            f"dicts): store {cure}"
        )


def path(value: Any) -> str:
    """Return a path as a string; refuse numbers, which the system would take for open files."""
    try:
        text = os.fsdecode(value)
    except (TypeError, UnicodeError) as error:
        raise TypeError(f"path must be a str or a pathlib.Path, got {short_repr(value)}") from error
    if "\0" in text:
        raise ValueError(f"path must not hold a null character, got {short_repr(value)}")
    return text


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, got {short_repr(value)}"
        )
    return value


def float_type(value: Any) -> np.dtype[Any]:
    """Return `value`, an argument called dtype, as NumPy's float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except Exception as error:  # NumPy raises several types
        raise TypeError(f"dtype must be float32 or float64, got {short_repr(value)}") from error
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {short_repr(value)}")
    return dtype


def operand_type(value: Any, dtype: np.dtype[Any]) -> str:
    """Return `value`, an argument called precision, as a name: "bfloat16", or that of the model's dtype, as None is."""
    name: str = dtype.name
    if value is None or (isinstance(value, str) and value == name):
        return name
    if not isinstance(value, str):
        raise TypeError(f'precision must be "bfloat16" or "{dtype.name}", got {short_repr(value)}')
    if value != "bfloat16":
        raise ValueError(f'precision must be "bfloat16" or "{dtype.name}", the dtype of the model, got {value!r}')
    if dtype != np.float32:
        raise ValueError(
            f'precision="bfloat16" is for models that compute in float32 otherwise, and dtype is {dtype.name}: leave '
            "out one of them"
        )
    return value


def as_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool; accept 0 and 1, but nothing else that is merely truthy or falsy."""
    if not isinstance(value, (bool, int, np.bool_, np.integer)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {short_repr(value)}")
    return bool(value)


def real(name: str, value: Any) -> float:
    """Return `value` as a finite float."""
    if isinstance(value, (bool, str)):
        raise TypeError(f"{name} must be a number, got {short_repr(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except Exception as error:  # a __float__ may raise anything
        raise TypeError(f"{name} must be a number, got {short_repr(value)}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {short_repr(value)}")
    return number


def positive(name: str, value: Any) -> float:
    """Return `value` as a float > 0."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {short_repr(value)}")
    return number


def non_negative(name: str, value: Any) -> float:
    """Return `value` as a float >= 0."""
    number = real(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {short_repr(value)}")
    return number


def below_one(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1)."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {short_repr(value)}")
    return number


def inside_unit(name: str, value: Any) -> float:
    """Return `value` as a float in (0, 1)."""
    number = real(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {short_repr(value)}")
    return number


def count(name: str, value: Any, least: int = 1, bits: int = 63) -> int:
    """Return `value` as an int >= `least` of at most `bits` bits; accept NumPy integers, refuse floats."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {short_repr(value)}")
    try:
        number = operator.index(value)
    except Exception as error:  # an __index__ may raise anything
        raise TypeError(f"{name} must be an integer, got {short_repr(value)}") from error
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {short_repr(value)}")
    if number.bit_length() > bits:
        raise ValueError(f"{name} must be less than 2**{bits}, got {short_repr(value)}")
    return number
