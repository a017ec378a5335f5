"""Layers and losses without a state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import Array

__all__ = [
    "concat_pool_backward",
    "concat_pool_forward",
    "conv_backward",
    "conv_forward",
    "conv_padding",
    "dense_backward",
    "dense_forward",
    "deviations_backward",
    "deviations_forward",
    "differences_backward",
    "differences_forward",
    "magnitude_backward",
    "magnitude_forward",
    "pad_backward",
    "pad_forward",
    "repeat_vector_backward",
    "repeat_vector_forward",
    "softmax",
    "softmax_cross_entropy",
    "stack_steps_backward",
    "stack_steps_forward",
    "standardize",
]


def dense_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Compute y = x W' + b for x (..., I), W (O, I), b (O,)."""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def dense_backward(dy: Array, x: Array, weight: Array) -> dict[str, Array]:
    """Compute the gradients of :func:`dense_forward`: ``x``, ``weight``, ``bias``."""
    flat_dy, flat_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return {"x": dy @ weight, "weight": flat_dy.T @ flat_x, "bias": flat_dy.sum(axis=0)}


def conv_padding(
    time: int, kernel: int, stride: int = 1, dilation: int = 1, padding: str | tuple[int, int] = "valid"
) -> tuple[int, int]:
    """Return the zeros before and after a series of `time` steps; the names are Keras's."""
    span = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return span - 1, 0
    if padding == "same":
        beyond = max(0, (-(-time // stride) - 1) * stride + span - time)
        return beyond // 2, beyond - beyond // 2
    assert not isinstance(padding, str)
    return padding


def conv_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: str | tuple[int, int] = "valid",
) -> Array:
    """Compute y_t = b + sum_k W_k x_(t stride + k dilation) for padded x (B, T, F), W (O, F / groups, K): (B, S, O)."""
    filters, _, kernel = weight.shape
    before, after = conv_padding(x.shape[1], kernel, stride, dilation, padding)
    padded = np.pad(x, ((0, 0), (before, after), (0, 0)))
    steps = max(0, (padded.shape[1] - (kernel - 1) * dilation - 1) // stride + 1)
    y = np.zeros((len(x), steps, filters), x.dtype)
    for of_filters, of_features in _conv_groups(filters, x.shape[2], groups):
        for k in range(kernel):
            window = padded[:, k * dilation :][:, : (steps - 1) * stride + 1 : stride, of_features]
            y[..., of_filters] += window[:, :steps] @ weight[of_filters, :, k].T
    return y if bias is None else y + bias


def conv_backward(
    dy: Array,
    x: Array,
    weight: Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: str | tuple[int, int] = "valid",
) -> dict[str, Array]:
    """Compute the gradients of :func:`conv_forward`: ``x``, ``weight``, ``bias``."""
    filters, _, kernel = weight.shape
    before, after = conv_padding(x.shape[1], kernel, stride, dilation, padding)
    padded = np.pad(x, ((0, 0), (before, after), (0, 0)))
    d_padded, d_weight = np.zeros_like(padded), np.zeros_like(weight)
    for of_filters, of_features in _conv_groups(filters, x.shape[2], groups):
        for k in range(kernel):
            steps = k * dilation + stride * np.arange(dy.shape[1])
            d_weight[of_filters, :, k] = np.einsum("bto,btf->of", dy[..., of_filters], padded[:, steps, of_features])
            d_padded[:, steps, of_features] += dy[..., of_filters] @ weight[of_filters, :, k]
    return {"x": d_padded[:, before : before + x.shape[1]], "weight": d_weight, "bias": dy.sum(axis=(0, 1))}


def _conv_groups(filters: int, features: int, groups: int) -> list[tuple[slice, slice]]:
    """Return the filters and the features of each group."""
    of_filters, of_features = filters // groups, features // groups
    return [
        (slice(g * of_filters, (g + 1) * of_filters), slice(g * of_features, (g + 1) * of_features))
        for g in range(groups)
    ]


def repeat_vector_forward(x: Array, n: int) -> Array:
    """Compute y_t = x at n steps for x (B, F): y (B, n, F)."""
    return np.repeat(x[:, None], n, axis=1)


def repeat_vector_backward(dy: Array) -> Array:
    """Compute the gradient of :func:`repeat_vector_forward`, (B, F): the sum of dy over its steps."""
    dx: Array = dy.sum(axis=1)
    return dx


def stack_steps_forward(x: Array, size: int, stride: int) -> Array:
    """Stack groups of `size` steps of x (B, T, F), of which one begins at each `stride`-th step.

    y (B, ceil(T / stride), size F). The last step fills the places beyond it.
    """
    batch, time, features = x.shape
    starts = range(0, time, stride)
    groups = [x[:, [min(start + k, time - 1) for k in range(size)]] for start in starts]
    return np.stack(groups, axis=1).reshape(batch, len(starts), size * features)


def stack_steps_backward(dy: Array, size: int, stride: int, time: int) -> Array:
    """Compute the gradient of :func:`stack_steps_forward`, (B, T, F): each step gets that of all its copies."""
    batch, groups, width = dy.shape
    by_place = dy.reshape(batch, groups, size, width // size)
    dx = np.zeros((batch, time, width // size), dy.dtype)
    for group in range(groups):
        for k in range(size):
            dx[:, min(group * stride + k, time - 1)] += by_place[:, group, k]
    return dx


def differences_forward(x: Array, scale: float | Array = 1.0) -> Array:
    """Compute y_t = [x_t, scale (x_t - x_{t-1})] for x (B, T, F), with x_0 = x_1: y (B, T, 2F)."""
    before = np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    return np.concatenate([x, scale * (x - before)], axis=2)


def differences_backward(dy: Array, scale: float | Array = 1.0) -> Array:
    """Compute the gradient of :func:`differences_forward`, (B, T, F)."""
    d_values, d_changes = np.split(dy, 2, axis=2)
    dx: Array = d_values.copy()
    dx[:, 1:] += scale * d_changes[:, 1:]
    dx[:, :-1] -= scale * d_changes[:, 1:]
    return dx


def deviations_forward(x: Array, center: Array, scale: float | Array = 1.0) -> Array:
    """Compute y_t = [x_t, scale (x_t - center_t)] for x (B, T, F), 0 beyond the end of center (S, F): y (B, T, 2F)."""
    known = min(x.shape[1], len(center))
    deviations = np.zeros_like(x)
    deviations[:, :known] = scale * (x[:, :known] - center[:known])
    return np.concatenate([x, deviations], axis=2)


def deviations_backward(dy: Array, steps: int, scale: float | Array = 1.0) -> Array:
    """Compute the gradient of :func:`deviations_forward` for a center of so many steps, (B, T, F)."""
    d_values, d_deviations = np.split(dy, 2, axis=2)
    dx: Array = d_values.copy()
    dx[:, :steps] += scale * d_deviations[:, :steps]
    return dx


def concat_pool_forward(x: Array, forward: int | None = None) -> Array:
    """Compute [end, max_t x_t, mean_t x_t] for x (B, T, F): (B, 3F).

    The end is the last step of the first `forward` features (None: all), and the first step of the others.
    """
    forward = x.shape[2] if forward is None else forward
    ends = np.concatenate([x[:, -1, :forward], x[:, 0, forward:]], axis=1)
    return np.concatenate([ends, x.max(axis=1), x.mean(axis=1)], axis=1)


def concat_pool_backward(x: Array, dy: Array, forward: int | None = None) -> Array:
    """Compute the gradient of :func:`concat_pool_forward`, (B, T, F); that of a maximum goes to its first step."""
    batch, time, features = x.shape
    forward = features if forward is None else forward
    d_end, d_max, d_mean = np.split(dy, 3, axis=1)
    dx = np.repeat(d_mean[:, None] / time, time, axis=1)
    dx[np.arange(batch)[:, None], x.argmax(axis=1), np.arange(features)] += d_max
    dx[:, -1, :forward] += d_end[:, :forward]
    dx[:, 0, forward:] += d_end[:, forward:]
    return dx


def softmax(logits: Array) -> Array:
    """Compute exp(z - max z) / sum exp(z - max z) over the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def softmax_cross_entropy(logits: Array, labels: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Compute losses ``-w log softmax(z)[label]`` (N,) and gradients (N, C); negative labels have weight 0."""
    n = np.arange(len(labels))
    w = (np.ones(len(labels)) if weights is None else weights) * (labels >= 0)
    labels = np.maximum(labels, 0)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    losses = w * (log_sum - logits[n, labels])
    gradient = softmax(logits)
    gradient[n, labels] -= 1
    return losses, gradient * w[:, None]


def standardize(x: Array, mean: Array, scale: Array, missing: Sequence[int] = ()) -> Array:
    """Compute (x - mean) / scale for x (..., F), in float64: (..., F + k) for k features that may be missing (NaN).

    A missing value of these features becomes 0, the mean; behind the F features, each of the k has a channel that is 1
    where its value is missing, else 0.
    """
    features = list(missing)
    absent = np.isnan(x[..., features])
    y = (x.astype(np.float64) - mean) / scale
    y[..., features] = np.where(absent, 0.0, y[..., features])
    return np.concatenate([y, absent.astype(np.float64)], axis=-1)


def pad_forward(x: Array, before: int, after: int, mode: str = "constant", value: float = 0.0) -> Array:
    """Add steps before and after series x (B, T, F): a constant, the series mirrored, or its first and last step."""
    around = ((0, 0), (before, after), (0, 0))
    if mode == "constant":
        return np.pad(x, around, constant_values=value)
    return np.pad(x, around, mode="reflect" if mode == "reflect" else "edge")


def pad_backward(dy: Array, before: int, after: int, mode: str = "constant") -> Array:
    """Compute the gradient of :func:`pad_forward` with respect to x."""
    time = dy.shape[1] - before - after
    sources = pad_forward(np.arange(time, dtype=float)[None, :, None], before, after, mode, -1.0)[0, :, 0]
    dx = np.zeros((len(dy), time, dy.shape[2]), dy.dtype)
    for place, step in enumerate(sources.astype(int)):
        if step >= 0:
            dx[:, step] += dy[:, place]
    return dx


def magnitude_forward(x: Array, eps: float = 0.0) -> Array:
    """Compute y = sqrt(re^2 + im^2 + eps) for x (..., 2 F), whose first half is re: (..., F)."""
    re, im = np.split(x, 2, axis=-1)
    y: Array = np.sqrt(re**2 + im**2 + x.dtype.type(eps))
    return y


def magnitude_backward(dy: Array, x: Array, eps: float = 0.0) -> Array:
    """Compute the gradient of :func:`magnitude_forward`: dy re / y and dy im / y, 0 where y is 0."""
    y = magnitude_forward(x, eps)
    factor = np.divide(dy, y, out=np.zeros_like(dy), where=y > 0)
    dx: Array = x * np.concatenate([factor, factor], axis=-1)
    return dx
