"""One step of each optimizer.

The numbers in brackets are those of the list in `fastlstm.reference`.
"""

from __future__ import annotations

import numpy as np

from .._typing import Array

__all__ = ["adam", "rmsprop", "sgd"]


def sgd(
    p: Array, g: Array, m: Array, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> tuple[Array, Array]:
    """Compute a step of gradient descent with momentum (Sutskever et al. 2013; torch.optim.SGD): new p and m."""
    g = g + weight_decay * p
    m = momentum * m + g
    return p - lr * (g + momentum * m if nesterov else m), m


def rmsprop(
    p: Array, g: Array, v: Array, m: Array, lr: float, alpha: float, eps: float, momentum: float, weight_decay: float
) -> tuple[Array, Array, Array]:
    """Compute a step of RMSprop (Tieleman & Hinton 2012; torch.optim.RMSprop): new p, v and m."""
    g = g + weight_decay * p
    v = alpha * v + (1 - alpha) * g**2
    m = momentum * m + g / (np.sqrt(v) + eps)
    return p - lr * m, v, m


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> tuple[Array, Array, Array]:
    """Compute step number ``step`` (from 1) of Adam, or of AdamW if ``decoupled`` [6]_: new p, m and v."""
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
