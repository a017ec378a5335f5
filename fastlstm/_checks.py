"""Checks of single arguments, with errors that name the argument and what it should be."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any


def checkpoints(value: Any) -> int:
    """`checkpoint_every` as the kernels take it: 0 for None. More steps than there are is all of them."""
    return 0 if value is None else min(count("checkpoint_every", value), sys.maxsize)


def real(name: str, value: Any) -> float:
    """`value` as a finite float."""
    if isinstance(value, (bool, str)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except Exception as error:  # of any __float__
        raise TypeError(f"{name} must be a number, got {value!r}") from error
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def positive(name: str, value: Any) -> float:
    """`value` as a float > 0."""
    number = real(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")
    return number


def non_negative(name: str, value: Any) -> float:
    """`value` as a float >= 0."""
    number = real(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return number


def below_one(name: str, value: Any) -> float:
    """`value` as a float in [0, 1)."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
    return number


def inside_unit(name: str, value: Any) -> float:
    """`value` as a float in (0, 1)."""
    number = real(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {value!r}")
    return number


def count(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int >= `least`; floats are refused, NumPy integers are taken."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, got {value!r}") from error
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return number
