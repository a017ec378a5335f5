"""The loss of classifiers."""

from __future__ import annotations

import numpy as np

from .. import _core
from ..buffers import Buffers
from ..config import resolve_threads
from ..targets import IGNORE
from .base import Array, Loss, check_arrays, padding, position_weights, total_weight, weighted_sum

__all__ = ["CrossEntropy"]


class CrossEntropy(Loss):
    """Softmax cross-entropy of class scores and integer labels: ``-log softmax(out)[label]``.

    `out` holds one score (logit) per class, `target` int64 labels from 0; -100 marks positions to ignore. The
    metric is the accuracy.
    """

    name = "cross_entropy"
    kind = "labels"
    metric_name = "accuracy"

    def __init__(self) -> None:
        self._buffers = Buffers()

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        check_arrays(out, target, lengths, weight)
        d_out = self._buffers.get("d_out", out.shape, out.dtype)
        total, weight_sum = self._compute(out, target, lengths, weight, d_out, n_threads)
        return total, weight_sum, d_out

    def value(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        check_arrays(out, target, lengths, weight)
        return self._compute(out, target, lengths, weight, None, n_threads)

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        check_arrays(out, target, lengths, weight)
        labels = _counted_labels(out, target, lengths)
        right = np.argmax(out, axis=-1) == labels
        return weighted_sum(right, position_weights(labels.shape, labels < 0, weight))

    def _compute(
        self,
        out: Array,
        target: Array,
        lengths: Array | None,
        weight: Array | None,
        d_out: Array | None,
        n_threads: int | None,
    ) -> tuple[float, float]:
        labels = _counted_labels(out, target, lengths)
        classes = out.shape[-1]
        if labels.size and labels.max() >= classes:
            raise ValueError(f"label {labels.max()} is out of range, expected 0 to {classes - 1} ({classes} outputs)")
        ignored = labels < 0
        weights = position_weights(labels.shape, ignored if ignored.any() else None, weight)
        weight_sum = total_weight(weights, labels.size)
        # Dividing the weights by their sum lets the kernel write the final gradient, without another pass
        # over it.
        shares = self._buffers.get("shares", (labels.size,), out.dtype)
        if weights is None:
            shares.fill(1.0 / weight_sum if weight_sum else 0.0)
        elif weight_sum > 0:
            np.divide(weights.reshape(-1), weight_sum, out=shares, casting="same_kind")
        else:
            shares.fill(0.0)
        losses = self._buffers.get("losses", (labels.size,), np.float64)
        _core.softmax_cross_entropy(
            np.ascontiguousarray(out).reshape(-1, classes),
            labels.reshape(-1),
            shares,
            None if d_out is None else d_out.reshape(-1, classes),
            losses,
            resolve_threads(n_threads),
        )
        return float(losses.sum()) * weight_sum, weight_sum


def _counted_labels(out: Array, target: Array, lengths: Array | None) -> Array:
    """Contiguous int64 labels with -100 at the steps that do not count."""
    if target.shape != out.shape[:-1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"target must be integer labels of shape {out.shape[:-1]} for an output of shape {out.shape}, "
            f"got {target.dtype} of shape {target.shape}"
        )
    labels = np.ascontiguousarray(target, np.int64)
    beyond = padding(out, lengths)
    return labels if beyond is None else np.where(beyond, IGNORE, labels)
