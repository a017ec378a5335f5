"""Batch normalisation and layer normalisation."""

from __future__ import annotations

import numpy as np

from .._typing import Array

__all__ = ["batch_norm_backward", "batch_norm_forward", "feature_norm_backward", "feature_norm_forward"]


def batch_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float = 1e-5, counts: Array | None = None
) -> tuple[Array, Array, Array]:
    """Normalise each feature of x (..., F) by its statistics over the rows that count [16]_.

    Returns y, and mean and variance (F,), with divisor n, of the rows for which `counts` (...) is true.
    """
    rows = x[np.ones(x.shape[:-1], bool) if counts is None else counts]
    mean = rows.mean(axis=0)
    variance = ((rows - mean) ** 2).mean(axis=0)
    return weight * (x - mean) / np.sqrt(variance + eps) + bias, mean, variance


def batch_norm_backward(
    dy: Array, x: Array, weight: Array, eps: float = 1e-5, counts: Array | None = None
) -> dict[str, Array]:
    """Compute the gradients of :func:`batch_norm_forward`: ``x``, ``weight``, ``bias``.

    Rows that do not count are normalised too, but change no statistics.
    """
    counts = np.ones(x.shape[:-1], bool) if counts is None else counts
    _, mean, variance = batch_norm_forward(x, weight, weight, eps, counts)
    scale = 1 / np.sqrt(variance + eps)
    normed = (x - mean) * scale
    axes = tuple(range(x.ndim - 1))
    d_weight, d_bias = (dy * normed).sum(axis=axes), dy.sum(axis=axes)
    through = (d_bias + normed * d_weight) / counts.sum()
    return {"x": weight * scale * (dy - counts[..., None] * through), "weight": d_weight, "bias": d_bias}


def feature_norm_forward(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Normalise each row of x (..., F) over its features; eq. (4) of [10]_."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    y: Array = weight * (x - mean) / np.sqrt(variance + eps) + bias
    return y


def feature_norm_backward(dy: Array, x: Array, weight: Array, eps: float = 1e-5) -> dict[str, Array]:
    """Compute the gradients of :func:`feature_norm_forward`: ``x``, ``weight``, ``bias``."""
    mean = x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps)
    normed, g = (x - mean) * scale, weight * dy
    axes = tuple(range(x.ndim - 1))
    dx = scale * (g - g.mean(axis=-1, keepdims=True) - normed * (g * normed).mean(axis=-1, keepdims=True))
    return {"x": dx, "weight": (dy * normed).sum(axis=axes), "bias": dy.sum(axis=axes)}
