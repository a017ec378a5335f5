"""Arrays that are made once and used again, so that the steady state of training allocates nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Buffers", "aligned_zeros", "read_only_copy"]

Array = npt.NDArray[Any]


PAGE = 4096
"""Bytes after which a processor that compares the low bits of addresses takes one array's element for another's."""


def aligned_zeros(size: int, dtype: npt.DTypeLike, place: int = 0) -> Array:
    """A 1-D array of zeros that begins at a cache line, ``place`` quarters of a page behind the beginning of a page.

    Vectors that one loop walks through together get different places: at the same one each load waits for the store
    before it. (Adam, 25,000 elements, one thread: 7 us; 9 us with all four vectors at place 0, 23 us where NumPy puts
    them, 16 bytes further.)
    """
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + PAGE, np.uint8)
    start = (place * PAGE // 4 - raw.ctypes.data) % PAGE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def read_only_copy(values: Array) -> Array:
    """A copy of a 1-D array, aligned likewise, that nobody can write to: not even by setting ``flags.writeable``."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values
    # NumPy lets the flag be set again on what it owns itself, but not on what a read-only memoryview lends.
    return np.frombuffer(copy.data.toreadonly(), values.dtype)


class Buffers:
    """Named arrays that grow to the largest shape asked for."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}
        self._shaped: dict[str, Array] = {}
        self._rows: dict[str, tuple[Array, list[Array]]] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """The array of that name, C-contiguous; its contents are whatever was left there."""
        last = self._shaped.get(name)  # most calls ask for the shape of the call before
        if last is not None and last.shape == shape and last.dtype == dtype:
            return last
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            self._shaped.pop(name, None)
            self._rows.pop(name, None)
            self._flat.pop(name, None)
            last = flat = None  # before the new one is made, so that the two never stand side by side
            flat = self._flat[name] = np.empty(size, dtype)
        shaped = self._shaped[name] = flat[:size].reshape(shape)
        return shaped

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, list[Array]]:
        """The array of that name as `get` gives it, and its parts along the first axis."""
        whole = self.get(name, shape, dtype)
        held = self._rows.get(name)
        if held is None or held[0] is not whole:
            held = self._rows[name] = whole, list(whole)
        return held
