"""Checks of single arguments, with errors that name the argument and what it should be."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MANY = 2**20
"""Bits, where any number will do."""


def checkpoints(value: Any) -> int:
    """`checkpoint_every` as the kernels take it: 0 for None. More steps than there are is all of them."""
    return 0 if value is None else min(count("checkpoint_every", value, bits=MANY), sys.maxsize)


def short_repr(value: Any) -> str:
    """`value` as messages show it: not at full length, and whatever its own repr does."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python prints, for one
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:200] + "..."


def as_list(name: str, value: Any, what: str) -> list[Any]:
    """`value` as a list; texts, mappings and arrays of several axes are refused."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a list of {what}, got {short_repr(value)}")
    return list(value)


def path(value: Any) -> str:
    """A path as a text; numbers, which are open files to the system, are refused."""
    try:
        text = os.fsdecode(value)
    except (TypeError, UnicodeError) as error:
        raise TypeError(f"path must be a text or a pathlib.Path, got {short_repr(value)}") from error
    if "\0" in text:
        raise ValueError(f"path must not hold a null character, got {short_repr(value)}")
    return text


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """`value` if it is one of these texts."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, got {short_repr(value)}"
        )
    return value


def float_type(value: Any) -> np.dtype[Any]:
    """`dtype` as float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except Exception as error:  # of whatever NumPy makes of it
        raise TypeError(f"dtype must be float32 or float64, got {short_repr(value)}") from error
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {short_repr(value)}")
    return dtype


def as_bool(name: str, value: Any) -> bool:
    """`value` as a bool; 0 and 1 will do, other things that are true or false in some way are slips."""
    if not isinstance(value, (bool, int, np.bool_, np.integer)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {short_repr(value)}")
    return bool(value)


def real(name: str, value: Any) -> float:
    """`value` as a finite float."""
    if isinstance(value, (bool, str)):
        raise TypeError(f"{name} must be a number, got {short_repr(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except Exception as error:  # of any __float__
        raise TypeError(f"{name} must be a number, got {short_repr(value)}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {short_repr(value)}")
    return number


def positive(name: str, value: Any) -> float:
    """`value` as a float > 0."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {short_repr(value)}")
    return number


def non_negative(name: str, value: Any) -> float:
    """`value` as a float >= 0."""
    number = real(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {short_repr(value)}")
    return number


def below_one(name: str, value: Any) -> float:
    """`value` as a float in [0, 1)."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {short_repr(value)}")
    return number


def inside_unit(name: str, value: Any) -> float:
    """`value` as a float in (0, 1)."""
    number = real(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {short_repr(value)}")
    return number


def count(name: str, value: Any, least: int = 1, bits: int = 63) -> int:
    """`value` as an int >= `least` of so many bits; floats are refused, NumPy integers are taken."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {short_repr(value)}")
    try:
        number = operator.index(value)
    except Exception as error:  # of any __index__
        raise TypeError(f"{name} must be an integer, got {short_repr(value)}") from error
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {short_repr(value)}")
    if number.bit_length() > bits:
        raise ValueError(f"{name} must be less than 2**{bits}, got {short_repr(value)}")
    return number
