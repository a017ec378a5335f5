"""The mathematics of fastlstm in plain NumPy: the specification that the C kernels are tested against.

Read it beside the papers. Nothing here is optimized; every function takes and returns arrays and keeps no state.
Shapes use B (batch), T (time), I (input size), H (hidden size). Weights have PyTorch's layout: ``weight_ih`` (4H, I),
``weight_hh`` (4H, H), gates stacked in the order i, f, g, o.

References
----------
.. [1] S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
.. [2] F. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation
       12(10), 2000. (The forget gate; today's LSTM cell.)
.. [3] A. Graves, J. Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", Neural Networks 18, 2005.
       (The full gradient through time; both directions.)
.. [4] N. Srivastava et al., "Dropout", JMLR 15, 2014.
.. [5] J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. (Philox.)
.. [6] D. Kingma, J. Ba, "Adam", ICLR 2015; I. Loshchilov, F. Hutter, "Decoupled weight decay", ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "LSTMTrace",
    "adam",
    "cell_backward",
    "cell_forward",
    "dense_backward",
    "dense_forward",
    "dropout_mask",
    "lstm_backward",
    "lstm_forward",
    "philox4x32",
    "rmsprop",
    "sgd",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
]

Array = npt.NDArray[Any]


def sigmoid(x: Array) -> Array:
    """The logistic function 1 / (1 + exp(-x)), without overflow for any x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


# ---------------------------------------------------------------------------------------------------- the cell


def cell_forward(z: Array, c_before: Array) -> tuple[Array, Array, tuple[Array, Array, Array, Array]]:
    """One step of the memory cell: eqs. (1)-(6) of [2]_ in today's notation.

    Parameters
    ----------
    z : (B, 4H) array
        Net inputs of the gates, ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``.
    c_before : (B, H) array
        The cell state c_(t-1), which [1]_ calls the constant error carousel.

    Returns
    -------
    h, c : (B, H) arrays
        The output h_t and the cell state c_t.
    gates : tuple of four (B, H) arrays
        i (input gate), f (forget gate), g (candidate), o (output gate).
    """
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = np.tanh(z_g)
    o = sigmoid(z_o)
    c = f * c_before + i * g
    h = o * np.tanh(c)
    return h, c, (i, f, g, o)


def cell_backward(
    dh: Array, dc: Array, gates: tuple[Array, Array, Array, Array], c: Array, c_before: Array
) -> tuple[Array, Array]:
    """The derivative of :func:`cell_forward` (section 3 and appendix of [3]_).

    Parameters
    ----------
    dh, dc : (B, H) arrays
        Gradients of the loss with respect to h_t and c_t.
    gates, c, c_before
        What the forward step computed.

    Returns
    -------
    dz : (B, 4H) array
        Gradient with respect to the net inputs.
    dc_before : (B, H) array
        Gradient with respect to c_(t-1).
    """
    i, f, g, o = gates
    tanh_c = np.tanh(c)
    dc = dc + dh * o * (1 - tanh_c**2)
    dz_i = dc * g * i * (1 - i)
    dz_f = dc * c_before * f * (1 - f)
    dz_g = dc * i * (1 - g**2)
    dz_o = dh * tanh_c * o * (1 - o)
    return np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1), dc * f


# ---------------------------------------------------------------------------------------------------- through time


@dataclass(frozen=True)
class LSTMTrace:
    """What :func:`lstm_forward` leaves for :func:`lstm_backward`: one entry per step of the walk through time."""

    x: Array
    h0: Array
    weights: tuple[Array, Array]
    steps: list[dict[str, Any]]


def _time_index(step: int, lengths: Array, reverse: bool) -> Array:
    """The time at which each row is at a step of its walk: forwards from 0, or backwards from its own end."""
    return lengths - 1 - step if reverse else np.full_like(lengths, step)


def lstm_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    *,
    lengths: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Array, Array, LSTMTrace]:
    """One LSTM layer in one direction.

    Parameters
    ----------
    x : (B, T, I) array
        Values at or beyond a row's length are never used.
    weight_ih, weight_hh, bias_ih, bias_hh : (4H, I), (4H, H), (4H,), (4H,) arrays
    lengths : (B,) integers in [0, T], optional
    h0, c0 : (B, H) arrays, optional
        Initial state, zeros by default.
    reverse : bool
        Walk from each row's last valid step to its first.

    Returns
    -------
    y : (B, T, H) array
        h_t at each time, zero in the padding.
    hn, cn : (B, H) arrays
        The state after each row's last step of the walk.
    trace : LSTMTrace
    """
    batch, time, _ = x.shape
    hidden = weight_hh.shape[1]
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    h = np.zeros((batch, hidden), x.dtype) if h0 is None else h0.copy()
    c = np.zeros((batch, hidden), x.dtype) if c0 is None else c0.copy()
    bias = sum((b for b in (bias_ih, bias_hh) if b is not None), np.zeros(4 * hidden, x.dtype))
    y = np.zeros((batch, time, hidden), x.dtype)
    trace = LSTMTrace(x, h.copy(), (weight_ih, weight_hh), [])
    for step in range(int(lengths.max(initial=0))):
        live = np.flatnonzero(lengths > step)
        t = _time_index(step, lengths, reverse)[live]
        z = x[live, t] @ weight_ih.T + h[live] @ weight_hh.T + bias
        h_before, c_before = h[live], c[live]
        h[live], c[live], gates = cell_forward(z, c_before)
        y[live, t] = h[live]
        trace.steps.append(
            {"live": live, "t": t, "h_before": h_before, "c_before": c_before, "c": c[live], "gates": gates}
        )
    return y, h, c, trace


def lstm_backward(
    trace: LSTMTrace, dy: Array | None = None, dhn: Array | None = None, dcn: Array | None = None
) -> dict[str, Array]:
    """Back-propagation through time: the gradients of :func:`lstm_forward`.

    Parameters
    ----------
    trace : LSTMTrace
    dy : (B, T, H) array, optional
        Gradient of the loss with respect to y; the padding is ignored.
    dhn, dcn : (B, H) arrays, optional
        Gradients with respect to the final state.

    Returns
    -------
    dict of arrays
        ``x``, ``weight_ih``, ``weight_hh``, ``bias`` (the same for bias_ih and bias_hh), ``h0``, ``c0``.
    """
    weight_ih, weight_hh = trace.weights
    dx = np.zeros_like(trace.x)
    dw_ih, dw_hh, db = np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros_like(weight_hh[:, 0])
    dh = np.zeros_like(trace.h0) if dhn is None else dhn.copy()
    dc = np.zeros_like(trace.h0) if dcn is None else dcn.copy()
    for s in reversed(trace.steps):
        live, t = s["live"], s["t"]
        if dy is not None:
            dh[live] += dy[live, t]
        dz, dc[live] = cell_backward(dh[live], dc[live], s["gates"], s["c"], s["c_before"])
        dh[live] = dz @ weight_hh
        dx[live, t] = dz @ weight_ih
        dw_ih += dz.T @ trace.x[live, t]
        dw_hh += dz.T @ s["h_before"]
        db += dz.sum(axis=0)
    return {"x": dx, "weight_ih": dw_ih, "weight_hh": dw_hh, "bias": db, "h0": dh, "c0": dc}


# ---------------------------------------------------------------------------------------------------- other layers


def dense_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x W' + b for x (..., I), W (O, I), b (O,)."""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def dense_backward(dy: Array, x: Array, weight: Array) -> dict[str, Array]:
    """Gradients of :func:`dense_forward`: ``x``, ``weight``, ``bias``."""
    flat_dy, flat_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return {"x": dy @ weight, "weight": flat_dy.T @ flat_x, "bias": flat_dy.sum(axis=0)}


def philox4x32(seed: int, counters: Array) -> Array:
    """Philox4x32-10 of [5]_: four 32-bit words (n, 4) for each of n 64-bit counters, keyed by a 64-bit seed."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    counters = np.asarray(counters, np.uint64)
    x0, x1 = counters & mask, counters >> shift
    x2, x3 = np.zeros_like(x0), np.zeros_like(x0)
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x2 = (b >> shift) ^ x1 ^ np.uint64(key0), (a >> shift) ^ x3 ^ np.uint64(key1)
        x1, x3 = b & mask, a & mask
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def dropout_mask(n: int, p: float, seed: int, dtype: npt.DTypeLike = np.float64) -> Array:
    """Factors of inverted dropout [4]_ for n elements: 1 / (1 - p) where kept, 0 elsewhere.

    Element k is kept when word k % 4 of Philox at counter k // 4 is at least p 2^32.
    """
    words = philox4x32(seed, np.arange((n + 3) // 4)).reshape(-1)[:n]
    return np.where(words >= int(p * 2**32), 1 / (1 - p), 0).astype(dtype)


def softmax(logits: Array) -> Array:
    """exp(z - max z) / sum exp(z - max z) over the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def softmax_cross_entropy(logits: Array, labels: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Losses ``-w log softmax(z)[label]`` (N,) and their gradients (N, C); negative labels count nothing."""
    n = np.arange(len(labels))
    w = (np.ones(len(labels)) if weights is None else weights) * (labels >= 0)
    labels = np.maximum(labels, 0)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    losses = w * (log_sum - logits[n, labels])
    gradient = softmax(logits)
    gradient[n, labels] -= 1
    return losses, gradient * w[:, None]


# ---------------------------------------------------------------------------------------------------- optimizers


def sgd(
    p: Array, g: Array, m: Array, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> tuple[Array, Array]:
    """One step of gradient descent with momentum (Sutskever et al. 2013, as torch.optim.SGD): new p and m."""
    g = g + weight_decay * p
    m = momentum * m + g
    return p - lr * (g + momentum * m if nesterov else m), m


def rmsprop(
    p: Array, g: Array, v: Array, m: Array, lr: float, alpha: float, eps: float, momentum: float, weight_decay: float
) -> tuple[Array, Array, Array]:
    """One step of RMSprop (Tieleman & Hinton 2012, as torch.optim.RMSprop): new p, v and m."""
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
    """Step number ``step`` (from 1) of Adam, or AdamW when ``decoupled`` [6]_: new p, m and v."""
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
