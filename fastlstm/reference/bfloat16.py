"""Numbers of 16 bits with the exponent of float32: bfloat16."""

from __future__ import annotations

import numpy as np

from .._typing import Array

__all__ = ["bfloat16"]


def bfloat16(x: Array) -> Array:
    """Round numbers to bfloat16, which has the sign, the exponent and 7 of the 23 fraction bits of float32.

    Parameters
    ----------
    x : float array of any shape

    Returns
    -------
    array of the same shape and dtype
        The nearest bfloat16 of the nearest float32, halves to even; infinite from 2^128 - 2^119 on. NaN stays NaN.
    """
    with np.errstate(over="ignore"):
        single = np.asarray(x, np.float32)
    bits = single.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(single), single, rounded.view(np.float32)).astype(x.dtype)
