"""Reusable arrays, so that training allocates nothing in the steady state; aligned and read-only vectors."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from .._typing import Array

__all__ = ["Buffers", "ThreadBuffers", "aligned_zeros", "read_only_copy"]


PAGE = 4096
"""Size of a page in bytes. A processor compares only the low 12 bits of addresses, so that a load seems to depend on an
earlier store at the same offset in another page."""


def aligned_zeros(size: int, dtype: npt.DTypeLike, place: int = 0) -> Array:
    """Return a 1-D array of zeros, aligned to cache lines, that begins ``place`` quarters of a page into a page.

    Vectors that one loop reads and writes together get different places: at the same place each load waits for the
    store before it. (Adam, 25,000 elements, one thread: 7 us; 9 us with all four vectors at place 0; 23 us with NumPy's
    own alignment, 16 bytes further.)
    """
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + PAGE, np.uint8)
    start = (place * PAGE // 4 - raw.ctypes.data) % PAGE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def read_only_copy(values: Array) -> Array:
    """Return an aligned copy of a 1-D array that cannot be made writable again, not even by ``flags.writeable``."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values
    # NumPy allows the flag to be set on memory that it owns, but not on that of a read-only memoryview.
    return np.frombuffer(copy.data.toreadonly(), values.dtype)


class Buffers:
    """Named arrays, each of which grows to the largest size requested so far."""

    def __init__(self) -> None:
        self._flat: dict[str, Array] = {}
        self._shaped: dict[str, Array] = {}
        self._rows: dict[str, tuple[Array, list[Array]]] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return the C-contiguous array called `name`; its contents are undefined."""
        last = self._shaped.get(name)  # most calls repeat the last shape
        if last is not None and last.shape == shape and last.dtype == dtype:
            return last
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            self._shaped.pop(name, None)
            self._rows.pop(name, None)
            self._flat.pop(name, None)
            last = flat = None  # freed first, so that old and new never take memory together
            flat = self._flat[name] = np.empty(size, dtype)
        shaped = self._shaped[name] = flat[:size].reshape(shape)
        return shaped

    def rows(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Array, list[Array]]:
        """Return the array that `get` returns, and the list of its rows along the first axis."""
        whole = self.get(name, shape, dtype)
        held = self._rows.get(name)
        if held is None or held[0] is not whole:
            held = self._rows[name] = whole, list(whole)
        return held


class ThreadBuffers(Buffers, threading.local):
    """Buffers of an object that several threads use: each thread has its own. A copy or a pickle of them is empty."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
