"""Numbers and arrays as C text that gives back their bits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..._typing import Array

__all__ = ["array_text", "bit_patterns", "divisors", "exact_literal", "literal"]

_WIDTH = 118


def literal(value: float | np.floating) -> str:
    """Return a C literal of type float whose value is that of float32(value).

    Nine digits decide a float32; numbers below the smallest normal one are written as 0, as the kernels take them.

    Examples
    --------
    >>> literal(0.1), literal(2), literal(1e-40)
    ('0.1f', '2.0f', '0.0f')
    """
    single = np.float32(value)
    if abs(single) < np.finfo(np.float32).tiny:
        single = np.copysign(np.float32(0), single)
    return exact_literal(single)


def exact_literal(value: float | np.floating) -> str:
    """Return `literal` of a number that may be below the smallest normal one."""
    single = np.float32(value)
    text = f"{single:.9g}"
    shortest = str(single)
    text = shortest if len(shortest) < len(text) and "." in shortest else text
    return text + ("f" if "." in text or "e" in text else ".0f")


def _double(value: float) -> str:
    text = repr(float(value))
    return text if "." in text or "e" in text else text + ".0"


def _rows(items: Iterable[str]) -> str:
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def array_text(name: str, array: Array) -> str:
    """Return the definition of a constant array: float, double, or an integer type of the array's width."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == np.float32:
        kind, items = "float", [literal(value) for value in flat]
    elif flat.dtype == np.float64:
        kind, items = "double", [_double(value) for value in flat.tolist()]
    else:
        kind, items = f"{flat.dtype.name}_t", [_integer(value, flat.dtype) for value in flat.tolist()]
    return f"static const {kind} {name}[{flat.size}] @@ROM = {{\n{_rows(items)}\n}};\n"


def _integer(value: int, dtype: np.dtype[np.generic]) -> str:
    if dtype == np.uint32:
        return f"0x{value:08x}u"
    if dtype == np.int32 and value == -(2**31):
        return "(-2147483647 - 1)"
    return str(value)


def bit_patterns(array: Array) -> Array:
    """Return the bits of float32 numbers as uint32; token ids (int64) as they are."""
    if array.dtype.kind == "i":
        return array.astype(np.uint32)
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def divisors(scale: Array) -> Array:
    """Return scales to divide by: 1 for a feature that counts as constant, as in the kernels.

    Examples
    --------
    >>> divisors(np.array([2.0, 0.0])).tolist()
    [2.0, 1.0]
    """
    return np.where(scale < np.finfo(np.float64).tiny, 1.0, scale)
