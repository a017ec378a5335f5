"""The mathematics of fastlstm in plain NumPy: the specification that the C kernels are tested against.

Read it together with the papers. Nothing here is optimized; every function takes and returns arrays and has no state.
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
.. [7] F. Gers, J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000. (Peepholes.)
.. [8] H. Sak, A. Senior, F. Beaufays, "Long short-term memory recurrent neural network architectures for large scale
       acoustic modeling", Interspeech 2014. (Recurrent projection; clipping of the cell.)
.. [9] K. Greff et al., "LSTM: A search space odyssey", arXiv:1503.04069. (Coupled input and forget gates, and a survey
       of the others.)
.. [10] J. Ba, J. Kiros, G. Hinton, "Layer normalization", arXiv:1607.06450, eqs. (20)-(22).
.. [11] S. Semeniuta, A. Severyn, E. Barth, "Recurrent dropout without memory loss", COLING 2016.
.. [12] Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS
        2016.
.. [13] D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017.
.. [14] ONNX operator LSTM, onnx.ai/onnx/operators/onnx__LSTM.html. (Choice of activations; clipping of their inputs.)
.. [15] A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist temporal classification", ICML 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .cell import NO_MORE, NORM_EPS, PLAIN, Cell, CellWeights

__all__ = [
    "LSTMTrace",
    "adam",
    "any_cell_backward",
    "any_cell_forward",
    "cell_backward",
    "cell_forward",
    "dense_backward",
    "dense_forward",
    "dropout_mask",
    "layer_norm",
    "layer_norm_backward",
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


# ---------------------------------------------------------------------------------------------------- all other cells


def layer_norm(a: Array) -> tuple[Array, Array]:
    """Normalise rows to mean 0 and variance 1; eq. (4) of [10]_ without gain and bias.

    The second result is 1 / sqrt(variance + 1e-5) of each row.
    """
    # Squares overflow long before the numbers themselves: rows of large numbers are scaled down by a power of 2.
    exponent = np.frexp(np.abs(a).max(axis=1, keepdims=True))[1]
    down = np.ldexp(a.dtype.type(1), np.where(exponent > 50, -exponent, 0))
    small = a * down
    centred = small - small.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + NORM_EPS * down**2)
    return centred * scale, scale * down


def layer_norm_backward(d_normed: Array, normed: Array, scale: Array) -> Array:
    """Compute the derivative of :func:`layer_norm`."""
    mean = d_normed.mean(axis=1, keepdims=True)
    along = (d_normed * normed).mean(axis=1, keepdims=True)
    d_a: Array = (d_normed - mean - normed * along) * scale
    return d_a


def _inside(value: Array, limit: float) -> Array:
    """Return where clipping passes the gradient on. Clipping hides no NaN, neither here nor in the value."""
    return ~(np.abs(value) > limit)


def any_cell_forward(
    z: Array, h_before: Array, c_before: Array, cell: Cell, weights: CellWeights, draws: dict[str, Any]
) -> tuple[Array, Array, dict[str, Any]]:
    """Compute one step of any cell.

    Parameters
    ----------
    z : (B, 4H) array, or (B, 3H) with coupled gates
        Net inputs of the gates.
    h_before : (B, P) array
        h_(t-1); P is H without a projection.
    c_before : (B, H) array
    cell : Cell
    weights : CellWeights
    draws : dict
        ``g``, ``h``, ``c``: factors of g, and the fractions of h_(t-1) and of c_(t-1) that are kept; numbers or arrays.

    Returns
    -------
    h, c : (B, P) and (B, H) arrays
    saved : dict
        The argument of :func:`any_cell_backward`.

    Notes
    -----
    The parts of a cell are peepholes p [7]_, the projection W_hr and the clipping of the cell state [8]_, coupled gates
    [9]_, layer normalisation norm [10]_, recurrent dropout draw_g [11]_, zoneout draw_h and draw_c [13]_, and the
    choice of activations and the clipping of their inputs [14]_. With the gate, cell and output activations sigma, psi
    and chi, and clip(v, m) = min(max(v, -m), m), NaN for NaN, and without the parts that the cell does not have::

        i  = sigma(clip(z_i + p_i c_(t-1)))      f  = sigma(clip(z_f + p_f c_(t-1)))    or 1 - i
        g  = psi(clip(z_g)) draw_g               c~ = clip(f c_(t-1) + i g)
        o  = sigma(clip(z_o + p_o c~))           m  = o chi(clip(norm(c~)))
        h~ = W_hr m
        c_t = draw_c c_(t-1) + (1 - draw_c) c~   h_t = draw_h h_(t-1) + (1 - draw_h) h~
    """
    sigma, psi, chi = cell.gate_activation, cell.cell_activation, cell.output_activation
    if cell.coupled:
        z_i, z_g, z_o = np.split(z, 3, axis=1)
        z_f = np.zeros_like(z_i)
    else:
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
    zero = np.zeros_like(c_before[0])
    p_i = p_f = p_o = zero
    if weights.peepholes is not None:
        p_i, p_f, p_o = weights.peepholes[0], weights.peepholes[1], weights.peepholes[-1]
    z_i = z_i + p_i * c_before
    z_f = z_f + p_f * c_before
    clip = cell.gate_clip
    i = sigma(np.clip(z_i, -clip, clip))
    f = 1 - i if cell.coupled else sigma(np.clip(z_f, -clip, clip))
    g = psi(np.clip(z_g, -clip, clip)) * draws["g"]
    c_free = f * c_before + i * g
    c_new = np.clip(c_free, -cell.cell_clip, cell.cell_clip)
    z_o = z_o + p_o * c_new
    o = sigma(np.clip(z_o, -clip, clip))
    normed, scale, out = None, None, c_new
    if cell.layer_norm:
        normed, scale = layer_norm(c_new)
        out = normed * weights.gain_c + weights.bias_c
    m = o * chi(np.clip(out, -cell.output_clip, cell.output_clip))
    h_new = m if weights.weight_hr is None else m @ weights.weight_hr.T
    c = draws["c"] * c_before + (1 - draws["c"]) * c_new
    h = draws["h"] * h_before + (1 - draws["h"]) * h_new
    saved = {
        "z": (z_i, z_f, z_g, z_o), "i": i, "f": f, "g": g, "o": o, "c_free": c_free, "c_new": c_new,
        "c_before": c_before, "normed": normed, "scale": scale, "out": out, "m": m,
        "p": (p_i, p_f, p_o), "draws": draws,
    }  # fmt: skip
    return h, c, saved


def any_cell_backward(
    dh: Array, dc: Array, saved: dict[str, Any], cell: Cell, weights: CellWeights
) -> tuple[Array, Array, Array, dict[str, Array]]:
    """Compute the derivative of :func:`any_cell_forward`.

    Returns
    -------
    dz : (B, 4H) or (B, 3H) array
    dh_before, dc_before : (B, P) and (B, H) arrays
        Gradients with respect to h_(t-1), through zoneout only, and to c_(t-1).
    gradients : dict of arrays
        Gradients of the weights, by the names of :class:`CellWeights`.
    """
    sigma, psi, chi = cell.gate_activation, cell.cell_activation, cell.output_activation
    (z_i, z_f, z_g, z_o), (p_i, p_f, p_o), draws = saved["z"], saved["p"], saved["draws"]
    i, f, g, o, c_before, out = (saved[k] for k in ("i", "f", "g", "o", "c_before", "out"))
    gradients: dict[str, Array] = {}
    dh_new = (1 - draws["h"]) * dh
    dm = dh_new
    if weights.weight_hr is not None:
        dm = dh_new @ weights.weight_hr
        gradients["weight_hr"] = dh_new.T @ saved["m"]

    def through(activation: Any, z: Array, limit: float) -> Array:
        d: Array = activation.derivative(np.clip(z, -limit, limit)) * _inside(z, limit)
        return d

    clip = cell.gate_clip
    d_out = dm * o * through(chi, out, cell.output_clip)
    dz_o = dm * chi(np.clip(out, -cell.output_clip, cell.output_clip)) * through(sigma, z_o, clip)
    if cell.layer_norm:
        gradients["gain_c"] = (d_out * saved["normed"]).sum(axis=0)
        gradients["bias_c"] = d_out.sum(axis=0)
        d_out = layer_norm_backward(d_out * weights.gain_c, saved["normed"], saved["scale"])
    dc_new = (d_out + dz_o * p_o + (1 - draws["c"]) * dc) * _inside(saved["c_free"], cell.cell_clip)
    di, df = dc_new * g, dc_new * c_before
    if cell.coupled:
        di, df = di - df, np.zeros_like(df)
    dz_i = di * through(sigma, z_i, clip)
    dz_f = df * through(sigma, z_f, clip)
    dz_g = dc_new * i * draws["g"] * through(psi, z_g, clip)
    dc_before = dc_new * f + draws["c"] * dc + dz_i * p_i + dz_f * p_f
    if weights.peepholes is not None:
        seen = [dz_i * c_before, dz_f * c_before, dz_o * saved["c_new"]]
        gradients["peepholes"] = np.stack([s.sum(axis=0) for s in (seen[::2] if cell.coupled else seen)])
    dz = np.concatenate([dz_i, dz_g, dz_o] if cell.coupled else [dz_i, dz_f, dz_g, dz_o], axis=1)
    return dz, draws["h"] * dh, dc_before, gradients


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
    more: CellWeights = NO_MORE


def _time_index(step: int, lengths: Array, reverse: bool) -> Array:
    """Return each row's time index at this step: counted up from 0, or (reverse) down from the row's own end."""
    return lengths - 1 - step if reverse else np.full_like(lengths, step)


# The streams of a cell's masks, among Philox's 2^32 streams per seed.
_DRAW_G, _DRAW_VARIATIONAL, _DRAW_H, _DRAW_C = 1, 2, 3, 4


def _drawn(seed: int, stream: int, t: Array, batch: int, rows: Array, units: int, p: float) -> Array:
    """Return whether word n of a stream is >= p 2^32, for n = (t batch + row) w + unit, w: `units` rounded up to 4."""
    width = (units + 3) // 4 * 4
    first = (t * batch + rows) * (width // 4)
    counters = first[:, None] + np.arange(width // 4)
    words = philox4x32(seed, counters.reshape(-1), stream).reshape(len(rows), width)[:, :units]
    kept: Array = words >= int(p * 2**32)
    return kept


def _draws(cell: Cell, training: bool, seed: int, t: Array, batch: int, rows: Array, sizes: tuple[int, int]) -> Any:
    """Draw the masks of one step for :func:`any_cell_forward`; `sizes` are those of h and c."""
    g: Any = 1.0
    h: Any = cell.zoneout_h
    c: Any = cell.zoneout_c
    if training and cell.recurrent_dropout:
        g = _drawn(seed, _DRAW_G, t, batch, rows, sizes[1], cell.recurrent_dropout) / (1 - cell.recurrent_dropout)
    if training and cell.zoneout_h:
        h = 1.0 - _drawn(seed, _DRAW_H, t, batch, rows, sizes[0], cell.zoneout_h)
    if training and cell.zoneout_c:
        c = 1.0 - _drawn(seed, _DRAW_C, t, batch, rows, sizes[1], cell.zoneout_c)
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
    more: CellWeights = NO_MORE,
    training: bool = False,
    seed: int = 0,
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
    more : CellWeights
        Weights of the cell in addition to those of the gates.
    training : bool
        Whether to draw masks of dropout and zoneout; otherwise nothing is dropped, and zoneout takes its expectation.
    seed : int
        Seed of these masks.

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
    trace = LSTMTrace(x, h.copy(), c.copy(), (weight_ih, weight_hh), [], cell, more)
    plain = cell == PLAIN and more is NO_MORE
    mask = np.ones((batch, projected), x.dtype)
    if training and cell.variational_dropout:
        p, rows = cell.variational_dropout, np.arange(batch)
        mask *= _drawn(seed, _DRAW_VARIATIONAL, 0 * rows, batch, rows, projected, p) / x.dtype.type(1 - p)
    for step in range(int(lengths.max(initial=0))):
        live = np.flatnonzero(lengths > step)
        t = _time_index(step, lengths, reverse)[live]
        h_before, c_before = h[live], c[live]
        saved: dict[str, Any] = {"live": live, "t": t, "c_before": c_before, "mask": mask[live]}
        if plain:
            z = x[live, t] @ weight_ih.T + h_before @ weight_hh.T + bias
            h[live], c[live], gate_values = cell_forward(z, c_before)
            saved.update(h_read=h_before, c=c[live], gates=gate_values)
        else:
            saved["h_read"] = h_before * mask[live]
            z_x, z_h = x[live, t] @ weight_ih.T, saved["h_read"] @ weight_hh.T
            if cell.layer_norm:
                (n_x, s_x), (n_h, s_h) = layer_norm(z_x), layer_norm(z_h)
                saved.update(n_x=n_x, s_x=s_x, n_h=n_h, s_h=s_h)
                z_x, z_h = n_x * more.gain_ih, n_h * more.gain_hh
            draws = _draws(cell, training, seed, t, batch, live, (projected, hidden))
            h[live], c[live], saved["cell"] = any_cell_forward(z_x + z_h + bias, h_before, c_before, cell, more, draws)
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
        the :class:`CellWeights` that the cell has.
    """
    weight_ih, weight_hh = trace.weights
    cell, more = trace.cell, trace.more
    dx = np.zeros_like(trace.x)
    dw_ih, dw_hh, db = np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros_like(weight_hh[:, 0])
    d_more = {name: np.zeros_like(value) for name, value in more._asdict().items() if value is not None}
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
            dz, dh_kept, dc[live], of_cell = any_cell_backward(dh[live], dc[live], s["cell"], cell, more)
            for name, gradient in of_cell.items():
                d_more[name] += gradient
        db += dz.sum(axis=0)
        dz_x = dz_h = dz
        if cell.layer_norm:
            d_more["gain_ih"] += (dz * s["n_x"]).sum(axis=0)
            d_more["gain_hh"] += (dz * s["n_h"]).sum(axis=0)
            dz_x = layer_norm_backward(dz * more.gain_ih, s["n_x"], s["s_x"])
            dz_h = layer_norm_backward(dz * more.gain_hh, s["n_h"], s["s_h"])
        dh[live] = dz_h @ weight_hh * s["mask"] + dh_kept
        dx[live, t] = dz_x @ weight_ih
        dw_ih += dz_x.T @ trace.x[live, t]
        dw_hh += dz_h.T @ s["h_read"]
    return {"x": dx, "weight_ih": dw_ih, "weight_hh": dw_hh, "bias": db, "h0": dh, "c0": dc, **d_more}


# ---------------------------------------------------------------------------------------------------- other layers


def dense_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Compute y = x W' + b for x (..., I), W (O, I), b (O,)."""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def dense_backward(dy: Array, x: Array, weight: Array) -> dict[str, Array]:
    """Compute the gradients of :func:`dense_forward`: ``x``, ``weight``, ``bias``."""
    flat_dy, flat_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return {"x": dy @ weight, "weight": flat_dy.T @ flat_x, "bias": flat_dy.sum(axis=0)}


def philox4x32(seed: int, counters: Array, stream: int = 0) -> Array:
    """Compute Philox4x32-10 of [5]_: four 32-bit words (n, 4) for each of n 64-bit counters, keyed by a 64-bit seed.

    ``stream`` is the third word of the 128-bit counter.
    """
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    counters = np.asarray(counters, np.uint64)
    x0, x1 = counters & mask, counters >> shift
    x2, x3 = np.full_like(x0, stream), np.zeros_like(x0)
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x2 = (b >> shift) ^ x1 ^ np.uint64(key0), (a >> shift) ^ x3 ^ np.uint64(key1)
        x1, x3 = b & mask, a & mask
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=-1).astype(np.uint32)


def dropout_mask(n: int, p: float, seed: int, dtype: npt.DTypeLike = np.float64) -> Array:
    """Draw the factors of inverted dropout [4]_ for n elements: 1 / (1 - p) where kept, 0 elsewhere.

    Element k is kept if word k % 4 of Philox at counter k // 4 is at least p 2^32.
    """
    words = philox4x32(seed, np.arange((n + 3) // 4)).reshape(-1)[:n]
    return np.where(words >= int(p * 2**32), 1 / (1 - p), 0).astype(dtype)


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


# ---------------------------------------------------------------------------------------------------- optimizers


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
