"""Products with weights and inputs of 8 bits, and the LSTM layer that is made of them, in float32.

The integers are those of the kernels, so that their sums are equal; the other results differ by the rounding of single
operations, which now and then moves h to the neighbouring integer.
"""

from __future__ import annotations

import numpy as np

from .._typing import Array
from .lstm import cell_forward

__all__ = ["quantized_inputs", "quantized_lstm_forward", "quantized_product", "quantized_weight"]


def quantized_weight(weight: Array, limits: Array | None = None) -> tuple[Array, Array]:
    """Return integers q (rows, k), and scales s (rows,) with ``weight * limits ~ s[:, None] * q``, ``|q| <= 127``."""
    scaled = weight if limits is None else weight * limits
    scale = np.abs(scaled).max(axis=1) / weight.dtype.type(127)
    return np.rint(scaled / np.where(scale > 0, scale, 1)[:, None]).astype(np.int64), scale


def quantized_inputs(x: Array, limits: Array | None = None) -> tuple[Array, Array]:
    """Return integers q (rows, k), and factors f (rows,) with ``x ~ f[:, None] * q / 127 * (limits or 1)``.

    With limits (k,), what lies beyond them is cut, and f is 1; without them f is the largest magnitude of a row. A row
    with values that are not finite has f = NaN.
    """
    largest = np.abs(x).max(axis=1)
    finite = np.isfinite(largest)
    by = (np.where(finite & (largest > 0), largest, np.inf) if limits is None else limits).astype(x.dtype)
    with np.errstate(invalid="ignore"):
        levels = x * (x.dtype.type(127) / by if limits is not None else (x.dtype.type(127) / by)[:, None])
        q = np.rint(np.clip(np.where(np.isnan(levels), 0, levels), -127, 127)).astype(np.int64)
    return q, np.where(finite, largest if limits is None else 1, np.nan).astype(x.dtype)


def quantized_product(x: Array, weight: Array, limits: Array | None = None) -> Array:
    """Return an approximation of ``x @ weight.T`` for x (rows, k) and weight (outputs, k), by sums of integers."""
    (q_w, scale), (q_x, factor) = quantized_weight(weight, limits), quantized_inputs(x, limits)
    return np.asarray((q_x @ q_w.T).astype(x.dtype) * (factor[:, None] * (scale / x.dtype.type(127))))


def quantized_lstm_forward(
    x: Array, weight_ih: Array, weight_hh: Array, bias: Array, limits: Array | None = None
) -> tuple[Array, Array]:
    """Compute one LSTM layer for series of one length; return y (B, T, H) and the final c (B, H).

    Parameters
    ----------
    x : (B, T, I) array
    weight_ih, weight_hh, bias : (4H, I), (4H, H), (4H,) arrays
    limits : (I,) array, optional
        Largest magnitudes of the features; by default each row and step has its own scale. The limit of h is 1.
    """
    h = np.zeros((len(x), weight_hh.shape[1]), x.dtype)
    c = np.zeros_like(h)
    ones = np.ones(h.shape[1], x.dtype)
    steps = []
    for t in range(x.shape[1]):
        z = bias + quantized_product(x[:, t], weight_ih, limits) + quantized_product(h, weight_hh, ones)
        h, c, _ = cell_forward(z, c)
        steps.append(h)
    return np.stack(steps, axis=1), c
