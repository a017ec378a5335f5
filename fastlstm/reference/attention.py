"""Attention of queries over the steps of a memory."""

from __future__ import annotations

import numpy as np

from .._typing import Array

__all__ = ["attention_backward", "attention_forward"]


def attention_forward(query: Array, keys: Array, values: Array, lengths: Array | None = None) -> tuple[Array, Array]:
    """Compute y_u = sum_i a_ui v_i, a_u = softmax_i(q_u . k_i) over the valid steps of each case [17].

    Returns y (B, U, M) and a (B, U, T) for q (B, U, K), k (B, T, K), v (B, T, M).
    """
    scores = query @ keys.transpose(0, 2, 1)
    if lengths is not None:
        scores = np.where(np.arange(keys.shape[1]) < lengths[:, None, None], scores, -np.inf)
    with np.errstate(invalid="ignore"):  # a case without valid steps
        powers = np.nan_to_num(np.exp(scores - scores.max(axis=2, keepdims=True)))
    sums = powers.sum(axis=2, keepdims=True)
    weights = np.divide(powers, sums, out=np.zeros_like(powers), where=sums > 0)
    return weights @ values, weights


def attention_backward(dy: Array, query: Array, keys: Array, values: Array, weights: Array) -> dict[str, Array]:
    """Compute the gradients of :func:`attention_forward`: ``query``, ``keys``, ``values``."""
    d_weights = dy @ values.transpose(0, 2, 1)
    d_scores = weights * (d_weights - (weights * d_weights).sum(axis=2, keepdims=True))
    return {
        "query": d_scores @ keys,
        "keys": d_scores.transpose(0, 2, 1) @ query,
        "values": weights.transpose(0, 2, 1) @ dy,
    }
