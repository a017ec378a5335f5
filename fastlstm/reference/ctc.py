"""Connectionist temporal classification.

The numbers in brackets are those of the list in `fastlstm.reference`.
"""

from __future__ import annotations

import numpy as np

from .._typing import Array
from .layers import softmax

__all__ = ["ctc"]


def ctc(logits: Array, labels: Array, blank: int = 0) -> tuple[float, Array]:
    """Compute loss and gradient of connectionist temporal classification [15]_ for one case.

    Parameters
    ----------
    logits : (T, C) array
    labels : (L,) array of int
        The label sequence, without blanks.
    blank : int
        The class that means "no label".

    Returns
    -------
    loss : float
        -log of the sum of the probabilities of all paths that yield these labels; infinity if there is none.
    dlogits : (T, C) array
        Zeros if the loss is infinite.
    """
    y = logits - logits.max(axis=1, keepdims=True)
    y = y - np.log(np.exp(y).sum(axis=1, keepdims=True))
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)  # whether a path may jump here over one state
    skips[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    time, n = len(logits), len(states)
    alpha, beta = np.full((time, n), -np.inf), np.full((time, n), -np.inf)
    alpha[0, :2], beta[-1, -2:] = y[0, states[:2]], 0
    for t in range(1, time):
        for s in range(n):
            before = [alpha[t - 1, k] for k in (s, s - 1, s - 2) if k >= 0 and (k > s - 2 or skips[s])]
            alpha[t, s] = y[t, states[s]] + np.logaddexp.reduce(before)
    for t in reversed(range(time - 1)):
        for s in range(n):
            after = [k for k in (s, s + 1, s + 2) if k < n and (k < s + 2 or skips[k])]
            beta[t, s] = np.logaddexp.reduce([beta[t + 1, k] + y[t + 1, states[k]] for k in after])
    total = np.logaddexp.reduce(alpha[-1, -2:])
    gradient = np.zeros_like(logits)
    if total > -np.inf:
        gradient = softmax(logits)
        for s in range(n):
            gradient[:, states[s]] -= np.exp(alpha[:, s] + beta[:, s] - total)
    return -float(total), gradient
