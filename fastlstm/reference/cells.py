"""One step of any cell: options in any combination.

The numbers in brackets are those of the list in `fastlstm.reference`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import Array
from ..cell import NORM_EPS, Cell, CellWeights

__all__ = ["any_cell_backward", "any_cell_forward", "layer_norm", "layer_norm_backward"]


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
    """Return the mask of elements whose gradient passes through the clipping. NaN passes, as in the clipped value."""
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
        Gradients of the weights, by the names of ``CellWeights``.
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
