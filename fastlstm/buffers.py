"""Arrays that are made once and used again, so that the steady state of training allocates nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Buffers", "aligned_zeros", "sealed"]

Array = npt.NDArray[Any]


def aligned_zeros(size: int, dtype: npt.DTypeLike, alignment: int = 64) -> Array:
    """A 1-D array of zeros whose data begin at a multiple of ``alignment`` bytes (a cache line)."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size * dtype.itemsize].view(dtype)


def sealed(values: Array) -> Array:
    """A copy of a 1-D array, aligned likewise, that nobody can write to: not even by setting ``flags.writeable``."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values
    # NumPy lets the flag be set again on what it owns itself, but not on what a read-only memoryview lends.
    return np.frombuffer(copy.data.toreadonly(), values.dtype)


class Buffers:
    """Named arrays that grow to the largest shape asked for."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """The array of that name, C-contiguous; its contents are whatever was left there."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            flat = self._flat[name] = np.empty(size, dtype)
        return flat[:size].reshape(shape)
