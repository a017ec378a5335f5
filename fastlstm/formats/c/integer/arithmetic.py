"""The integer arithmetic in NumPy: what the exported C does, operation by operation."""

from __future__ import annotations

import numpy as np

from ...._typing import Array

__all__ = ["GATE_BITS", "NET_BITS", "TABLE", "clipped", "rounded", "sigmoid", "tanh", "to_net"]

NET_BITS = 20
"""Fractional bits of net inputs."""
GATE_BITS = 24
"""Fractional bits of gates."""
_TABLE_BITS = 30
_LARGEST_ARGUMENT = 8

TABLE: Array = np.array(
    [round(float(np.tanh(np.float64(k) / 16)) * 2**_TABLE_BITS) for k in range(16 * _LARGEST_ARGUMENT + 1)], np.int32
)
"""tanh(k / 16) with 30 fractional bits."""


def rounded(v: Array, n: int) -> Array:
    """Return v 2^-n, rounded to the nearest integer, halves up; n from 0 to 62."""
    return v if n == 0 else np.asarray((v + (np.int64(1) << np.int64(n - 1))) >> n)


def clipped(v: Array, bits: int) -> Array:
    """Return v within the numbers of so many bits, symmetrically."""
    largest = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(v, -largest, largest))


def to_net(v: Array, bits: int) -> Array:
    """Return v, which has so many fractional bits, with those of net inputs, within the range of the table."""
    moved = rounded(v, bits - NET_BITS) if bits >= NET_BITS else v << (NET_BITS - bits)
    return np.clip(moved, -(16 << NET_BITS), 16 << NET_BITS)


def _table_tanh(a: Array) -> Array:
    """Return tanh of a >= 0 (20 fractional bits) with 30 fractional bits: the cubic through values and slopes."""
    table = TABLE.astype(np.int64)
    at = np.minimum(a >> 16, len(TABLE) - 2)
    t = np.where(a >= _LARGEST_ARGUMENT << NET_BITS, 65536, a & 65535)
    y0, y1 = table[at], table[at + 1]
    d0 = ((1 << _TABLE_BITS) - ((y0 * y0) >> _TABLE_BITS)) >> 4
    d1 = ((1 << _TABLE_BITS) - ((y1 * y1) >> _TABLE_BITS)) >> 4
    delta = y1 - y0
    inner = (3 * delta - 2 * d0 - d1) + ((t * (d0 + d1 - 2 * delta)) >> 16)
    return np.asarray(np.minimum(y0 + ((t * (d0 + ((t * inner) >> 16))) >> 16), 1 << _TABLE_BITS))


def tanh(z: Array) -> Array:
    """Return tanh of net inputs, with the fractional bits of gates."""
    value = rounded(_table_tanh(np.abs(z)), _TABLE_BITS - GATE_BITS)
    return np.where(z < 0, -value, value)


def sigmoid(z: Array) -> Array:
    """Return the sigmoid of net inputs, with the fractional bits of gates."""
    half = _table_tanh(np.abs(z) >> 1)
    one = np.int64(1) << _TABLE_BITS
    return rounded(np.where(z < 0, one - half, one + half), _TABLE_BITS - GATE_BITS + 1)
