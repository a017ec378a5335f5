"""The LSTM cell, and an LSTM layer forward and backward through time.

The numbers in brackets are those of the list in `fastlstm.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import Array
from ..cell import NO_CELL_WEIGHTS, PLAIN, Cell, CellWeights
from .bfloat16 import bfloat16
from .cells import any_cell_backward, any_cell_forward, layer_norm, layer_norm_backward
from .random import philox4x32

__all__ = ["LSTMTrace", "cell_backward", "cell_forward", "lstm_backward", "lstm_forward", "sigmoid"]


def sigmoid(x: Array) -> Array:
    """Compute the logistic function 1 / (1 + exp(-x)), without overflow for any x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


# ---------------------------------------------------------------------------------------------------- the cell


def cell_forward(z: Array, c_before: Array) -> tuple[Array, Array, tuple[Array, Array, Array, Array]]:
    """Compute one step of the memory cell: eqs. (1)-(6) of [2]_ in today's notation.

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
    """Compute the derivative of :func:`cell_forward` (section 3 and appendix of [3]_).

    Parameters
    ----------
    dh, dc : (B, H) arrays
        Gradients of the loss with respect to h_t and c_t.
    gates, c, c_before
        Results of the forward step.

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
    """Results of :func:`lstm_forward` that :func:`lstm_backward` needs: one entry per step."""

    x: Array
    h0: Array
    c0: Array
    weights: tuple[Array, Array]
    steps: list[dict[str, Any]]
    cell: Cell = PLAIN
    cell_weights: CellWeights = NO_CELL_WEIGHTS
    precision: str = "full"


def _rounded(x: Array, precision: str) -> Array:
    """Return an operand of a product with W_ih or W_hh."""
    return bfloat16(x) if precision == "bfloat16" else x


def _time_index(step: int, lengths: Array, reverse: bool) -> Array:
    """Return each row's time index at this step: counted up from 0, or (reverse) down from the row's own end."""
    return lengths - 1 - step if reverse else np.full_like(lengths, step)


# The streams of a cell's masks, among Philox's 2^32 streams per seed.
_DRAW_G, _DRAW_VARIATIONAL, _DRAW_H, _DRAW_C = 1, 2, 3, 4


def _drawn(seed: int, stream: int, t: Array, rows: Array, units: int, p: float) -> Array:
    """Draw the mask of kept elements.

    Element (row, unit) is kept if word n of the row's Philox stream is at least p 2^32, where
    n = t * w + unit and w is `units` rounded up to a multiple of 4.
    """
    width = (units + 3) // 4 * 4
    first = t * (width // 4)
    counters = first[:, None] + np.arange(width // 4)
    words = philox4x32(seed, counters.reshape(-1), stream, np.repeat(rows, width // 4)).reshape(len(rows), width)
    kept: Array = words[:, :units] >= int(p * 2**32)
    return kept


def _draws(cell: Cell, training: bool, seed: int, t: Array, rows: Array, sizes: tuple[int, int]) -> Any:
    """Draw the masks of one step for :func:`any_cell_forward`; `sizes` are those of h and c."""
    g: Any = 1.0
    h: Any = cell.zoneout_h
    c: Any = cell.zoneout_c
    if training and cell.recurrent_dropout:
        g = _drawn(seed, _DRAW_G, t, rows, sizes[1], cell.recurrent_dropout) / (1 - cell.recurrent_dropout)
    if training and cell.zoneout_h:
        h = 1.0 - _drawn(seed, _DRAW_H, t, rows, sizes[0], cell.zoneout_h)
    if training and cell.zoneout_c:
        c = 1.0 - _drawn(seed, _DRAW_C, t, rows, sizes[1], cell.zoneout_c)
    return {"g": g, "h": h, "c": c}


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
    cell: Cell = PLAIN,
    cell_weights: CellWeights = NO_CELL_WEIGHTS,
    training: bool = False,
    seed: int = 0,
    precision: str = "full",
) -> tuple[Array, Array, Array, LSTMTrace]:
    """Compute one LSTM layer in one direction.

    Parameters
    ----------
    x : (B, T, I) array
        Values at or beyond a row's length are never used.
    weight_ih, weight_hh, bias_ih, bias_hh : (4H, I), (4H, P), (4H,), (4H,) arrays
        P is H without a projection. With coupled gates 4H becomes 3H.
    lengths : (B,) integers in [0, T], optional
    h0, c0 : (B, P) and (B, H) arrays, optional
        Initial state, zeros by default.
    reverse : bool
        Go from each row's last valid step to its first.
    cell : Cell
        The default cell is :func:`cell_forward`, all others are :func:`any_cell_forward`.
    cell_weights : CellWeights
        Weights of the cell in addition to those of the gates.
    training : bool
        Whether to draw masks of dropout and zoneout; otherwise nothing is dropped, and zoneout takes its expectation.
    seed : int
        Seed of these masks.
    precision : {"full", "bfloat16"}
        With ``"bfloat16"`` the operands of the products with W_ih and W_hh are rounded to bfloat16, also in
        :func:`lstm_backward`: weights, x, h, and the gradients of the net inputs. Sums and all else are not.

    Returns
    -------
    y : (B, T, P) array
        h_t at each time, zero in the padding.
    hn, cn : (B, P) and (B, H) arrays
        The state after each row's final step.
    trace : LSTMTrace

    Notes
    -----
    The net inputs are ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``. With variational dropout h_(t-1) is multiplied by one
    mask for all steps [12]_. With layer normalisation each product is normalised over all gates together and multiplied
    by its gain, and the biases are those of the normalisations [10]_.
    """
    batch, time, _ = x.shape
    gates, hidden = cell.gates, weight_ih.shape[0] // cell.gates
    projected = weight_hh.shape[1]
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    h = np.zeros((batch, projected), x.dtype) if h0 is None else h0.copy()
    c = np.zeros((batch, hidden), x.dtype) if c0 is None else c0.copy()
    bias = sum((b for b in (bias_ih, bias_hh) if b is not None), np.zeros(gates * hidden, x.dtype))
    y = np.zeros((batch, time, projected), x.dtype)
    x, weight_ih, weight_hh = (_rounded(operand, precision) for operand in (x, weight_ih, weight_hh))
    trace = LSTMTrace(x, h.copy(), c.copy(), (weight_ih, weight_hh), [], cell, cell_weights, precision)
    plain = cell == PLAIN and cell_weights is NO_CELL_WEIGHTS
    mask = np.ones((batch, projected), x.dtype)
    if training and cell.variational_dropout:
        p, rows = cell.variational_dropout, np.arange(batch)
        mask *= _drawn(seed, _DRAW_VARIATIONAL, 0 * rows, rows, projected, p) / x.dtype.type(1 - p)
    for step in range(int(lengths.max(initial=0))):
        live = np.flatnonzero(lengths > step)
        t = _time_index(step, lengths, reverse)[live]
        h_before, c_before = h[live], c[live]
        saved: dict[str, Any] = {"live": live, "t": t, "c_before": c_before, "mask": mask[live]}
        if plain:
            saved["h_read"] = _rounded(h_before, precision)
            z = x[live, t] @ weight_ih.T + saved["h_read"] @ weight_hh.T + bias
            h[live], c[live], gate_values = cell_forward(z, c_before)
            saved.update(c=c[live], gates=gate_values)
        else:
            saved["h_read"] = _rounded(h_before * mask[live], precision)
            z_x, z_h = x[live, t] @ weight_ih.T, saved["h_read"] @ weight_hh.T
            if cell.layer_norm:
                (n_x, s_x), (n_h, s_h) = layer_norm(z_x), layer_norm(z_h)
                saved.update(n_x=n_x, s_x=s_x, n_h=n_h, s_h=s_h)
                z_x, z_h = n_x * cell_weights.gain_ih, n_h * cell_weights.gain_hh
            draws = _draws(cell, training, seed, t, live, (projected, hidden))
            h[live], c[live], saved["cell"] = any_cell_forward(
                z_x + z_h + bias, h_before, c_before, cell, cell_weights, draws
            )
        y[live, t] = h[live]
        trace.steps.append(saved)
    return y, h, c, trace


def lstm_backward(
    trace: LSTMTrace, dy: Array | None = None, dhn: Array | None = None, dcn: Array | None = None
) -> dict[str, Array]:
    """Compute the gradients of :func:`lstm_forward` by back-propagation through time.

    Parameters
    ----------
    trace : LSTMTrace
    dy : (B, T, P) array, optional
        Gradient of the loss with respect to y; the padding is ignored.
    dhn, dcn : (B, P) and (B, H) arrays, optional
        Gradients with respect to the final state.

    Returns
    -------
    dict of arrays
        ``x``, ``weight_ih``, ``weight_hh``, ``bias`` (the same for bias_ih and bias_hh), ``h0``, ``c0``, and those of
        the ``CellWeights`` that the cell has.
    """
    weight_ih, weight_hh = trace.weights
    cell, cell_weights = trace.cell, trace.cell_weights
    dx = np.zeros_like(trace.x)
    dw_ih, dw_hh, db = np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros_like(weight_hh[:, 0])
    d_cell_weights = {name: np.zeros_like(value) for name, value in cell_weights._asdict().items() if value is not None}
    dh = np.zeros_like(trace.h0) if dhn is None else dhn.copy()
    dc = np.zeros_like(trace.c0) if dcn is None else dcn.copy()
    for s in reversed(trace.steps):
        live, t = s["live"], s["t"]
        if dy is not None:
            dh[live] += dy[live, t]
        dh_kept: Array | float = 0.0
        if "gates" in s:
            dz, dc[live] = cell_backward(dh[live], dc[live], s["gates"], s["c"], s["c_before"])
        else:
            dz, dh_kept, dc[live], of_cell = any_cell_backward(dh[live], dc[live], s["cell"], cell, cell_weights)
            for name, gradient in of_cell.items():
                d_cell_weights[name] += gradient
        db += dz.sum(axis=0)
        dz_x = dz_h = dz
        if cell.layer_norm:
            d_cell_weights["gain_ih"] += (dz * s["n_x"]).sum(axis=0)
            d_cell_weights["gain_hh"] += (dz * s["n_h"]).sum(axis=0)
            dz_x = layer_norm_backward(dz * cell_weights.gain_ih, s["n_x"], s["s_x"])
            dz_h = layer_norm_backward(dz * cell_weights.gain_hh, s["n_h"], s["s_h"])
        dz_x, dz_h = _rounded(dz_x, trace.precision), _rounded(dz_h, trace.precision)
        dh[live] = dz_h @ weight_hh * s["mask"] + dh_kept
        dx[live, t] = dz_x @ weight_ih
        dw_ih += dz_x.T @ trace.x[live, t]
        dw_hh += dz_h.T @ s["h_read"]
    return {"x": dx, "weight_ih": dw_ih, "weight_hh": dw_hh, "bias": db, "h0": dh, "c0": dc, **d_cell_weights}
