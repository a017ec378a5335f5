"""Random numbers as functions of seed and place, and the masks that are made of them.

The numbers in brackets are those of the list in `fastlstm.reference`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._typing import Array

__all__ = ["dropout_mask", "philox4x32"]


def philox4x32(seed: int, counters: Array, stream: int = 0, row: npt.ArrayLike = 0) -> Array:
    """Compute Philox4x32-10 of [5]_: four 32-bit words (n, 4) for each of n 64-bit counters, keyed by a 64-bit seed.

    ``stream`` is the third word of the 128-bit counter, and ``row``, one number or (n,), the fourth.
    """
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    counters = np.asarray(counters, np.uint64)
    x0, x1 = counters & mask, counters >> shift
    x2, x3 = np.full_like(x0, stream), np.zeros_like(x0) + np.asarray(row, np.uint64)
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x2 = (b >> shift) ^ x1 ^ np.uint64(key0), (a >> shift) ^ x3 ^ np.uint64(key1)
        x1, x3 = b & mask, a & mask
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def dropout_mask(rows: int, n: int, p: float, seed: int, dtype: npt.DTypeLike = np.float64) -> Array:
    """Draw the factors of inverted dropout [4]_ for rows of n elements: 1 / (1 - p) where kept, 0 elsewhere.

    Element k of a row is kept if word k % 4 of Philox at counter k // 4 of the row is at least p 2^32.
    """
    counters = np.arange((n + 3) // 4)
    words = np.stack([philox4x32(seed, counters, row=row).reshape(-1)[:n] for row in range(rows)])
    return np.where(words >= int(p * 2**32), 1 / (1 - p), 0).astype(dtype)
