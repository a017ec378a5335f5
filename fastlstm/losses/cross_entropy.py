"""Cross-entropy, the loss of classifiers."""

from __future__ import annotations

import numpy as np

from .. import _core, _exact
from .._typing import Array
from ..data.targets import IGNORE
from ..runtime.buffers import ThreadBuffers
from ..runtime.config import call_threads
from .base import Loss
from .batch import Batch, padding, position_weights, total_weight, weighted_sum
from .registry import register

__all__ = ["CrossEntropy"]


@register
class CrossEntropy(Loss):
    """Softmax cross-entropy of class scores and integer labels: ``-log softmax(out)[label]``.

    `out` holds one score (logit) per class, `target` int64 labels from 0; -100 marks positions to ignore. The metric is
    the accuracy.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> total, weight_sum, d_out = fl.CrossEntropy()(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([1, -100]))
    >>> round(total, 4), weight_sum, d_out.tolist()
    (0.6931, 1.0, [[0.5, -0.5], [0.0, 0.0]])
    """

    name = "cross_entropy"
    kind = "labels"
    metric_name = "accuracy"

    def __init__(self) -> None:
        self._buffers = ThreadBuffers()

    def gradient_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float, Array]:
        d_out = self._buffers.get("d_out", batch.out.shape, batch.out.dtype)
        total, weight_sum = self._compute(batch, d_out, n_threads)
        return total, weight_sum, d_out

    def value_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float]:
        return self._compute(batch, None, n_threads)

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        labels = _counted_labels(batch)
        right = np.argmax(batch.out, axis=-1) == labels
        return weighted_sum(right, position_weights(labels.shape, labels < 0, batch.weight))

    def _compute(self, batch: Batch, d_out: Array | None, n_threads: int | None) -> tuple[float, float]:
        out = batch.out
        labels = _counted_labels(batch)
        classes = out.shape[-1]
        if labels.size and labels.max() >= classes:
            raise ValueError(f"label {labels.max()} is out of range, expected 0 to {classes - 1} ({classes} outputs)")
        ignored = labels < 0
        weights = position_weights(labels.shape, ignored if ignored.any() else None, batch.weight)
        weight_sum = total_weight(weights, labels.size)
        # The kernel gets the weights divided by their sum, so that it writes the final gradient in one pass.
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
            call_threads(n_threads),
        )
        return _exact.total(losses) * weight_sum, weight_sum


def _counted_labels(batch: Batch) -> Array:
    """Return contiguous int64 labels with -100 in the padding."""
    out, target = batch.out, batch.target
    if target.shape != out.shape[:-1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"target must be integer labels of shape {out.shape[:-1]} for an output of shape {out.shape}, "
            f"got {target.dtype} of shape {target.shape}"
        )
    labels = np.ascontiguousarray(target, np.int64)
    beyond = padding(out, batch.lengths)
    return labels if beyond is None else np.where(beyond, IGNORE, labels)
