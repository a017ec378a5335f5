"""Pooling over windows of the steps of series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._typing import Array
from .layers import conv_padding

__all__ = ["window_pool_backward", "window_pool_forward"]


def _windows(time: int, kernel: int, stride: int, padding: str | tuple[int, int]) -> Iterator[tuple[int, slice]]:
    """Yield the number of each window and its steps, those that the series has."""
    before, after = conv_padding(time, kernel, stride, 1, padding)
    for k in range(max(0, (time + before + after - kernel) // stride + 1)):
        begin = k * stride - before
        yield k, slice(max(0, begin), min(time, begin + kernel))


def window_pool_forward(
    x: Array,
    method: str,
    kernel: int,
    *,
    stride: int = 1,
    padding: str | tuple[int, int] = "valid",
    count_include_pad: bool = False,
) -> Array:
    """Compute the "max" or "mean" over windows of the steps of x (B, T, F): (B, S, F)."""
    pooled = []
    for _, steps in _windows(x.shape[1], kernel, stride, padding):
        window = x[:, steps]
        divisor = kernel if count_include_pad else window.shape[1]
        pooled.append(window.max(axis=1) if method == "max" else window.sum(axis=1) / divisor)
    return np.stack(pooled, axis=1) if pooled else np.zeros((len(x), 0, x.shape[2]), x.dtype)


def window_pool_backward(
    dy: Array,
    x: Array,
    method: str,
    kernel: int,
    *,
    stride: int = 1,
    padding: str | tuple[int, int] = "valid",
    count_include_pad: bool = False,
) -> Array:
    """Compute the gradient of :func:`window_pool_forward`; that of a maximum goes to the first step that has it."""
    dx = np.zeros_like(x)
    for k, steps in _windows(x.shape[1], kernel, stride, padding):
        window = x[:, steps]
        if method == "max":
            first = steps.start + window.argmax(axis=1)
            rows, features = np.ogrid[: x.shape[0], : x.shape[2]]
            dx[rows, first, features] += dy[:, k]
        else:
            dx[:, steps] += dy[:, k, None] / (kernel if count_include_pad else window.shape[1])
    return dx
