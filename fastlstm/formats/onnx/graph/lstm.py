"""The operator LSTM, computed by this package's kernels.

Shapes use D (directions: 1 or 2), B (batch), T (time), I (input size), H (hidden size). ONNX stacks the gates in the
order i, o, f, c and the peepholes in the order i, o, f; the kernels use the order i, f, g (ONNX's c), o.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _core
from ...._typing import Array
from ....activations import KINDS, Activation
from ....cell import Cell, CellWeights
from .elementwise import ACTIVATION_OPERATORS
from .nodes import Node
from .operators import Back, Forward, Inputs, Run, operator, require

__all__ = [
    "ACTIVATION_NAMES",
    "GATES",
    "ONNX_NAMES",
    "PEEPHOLES",
    "TAKES_ALPHA",
    "TAKES_BETA",
    "all_inputs",
    "in_onnx_order",
    "kernel_weights",
    "lstm_settings",
]


DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction, whether it runs backwards in time."""

GATES = {False: (0, 2, 3, 1), True: (0, 3, 1)}
"""Positions of the kernels' gates in ONNX's order, by whether the cell is coupled; a coupled cell has no gate f."""

PEEPHOLES = {False: (0, 2, 1), True: (0, 1)}
"""Positions of the kernels' peepholes in ONNX's order, by whether the cell is coupled."""

ONNX_NAMES = {**ACTIVATION_OPERATORS, "affine": "Affine", "scaled_tanh": "ScaledTanh"}
"""ONNX's names of activations; the last two are activations of an LSTM only, not operators."""

ACTIVATION_NAMES = {theirs.lower(): ours for ours, theirs in ONNX_NAMES.items()}
"""This package's names by ONNX's names in lower case: ONNX ignores their case."""

TAKES_ALPHA = ("affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu")
TAKES_BETA = ("affine", "scaled_tanh", "hard_sigmoid")


class LSTMSettings(NamedTuple):
    """The attributes of an LSTM node, interpreted."""

    reverse: tuple[bool, ...]
    """For each direction, whether it runs backwards in time."""
    cells: tuple[Cell, ...]
    hidden_size: int | None
    batch_first: bool


def lstm_settings(node: Node) -> LSTMSettings:
    """Return the settings of an LSTM node; raise ValueError if an attribute is wrong."""
    get = node.attributes.get
    direction = get("direction", "forward").lower()
    require(direction in DIRECTIONS, f"direction is {direction!r}, expected one of {', '.join(DIRECTIONS)}")
    reverse = DIRECTIONS[direction]
    layout, coupled = get("layout", 0), get("input_forget", 0)
    require(layout in (0, 1), f"layout is {layout}, expected 0 or 1")
    require(layout == 0 or node.opset >= 14, "has a layout, which opset 14 introduced")
    require(coupled in (0, 1), f"input_forget is {coupled}, expected 0 or 1")
    clip = get("clip", np.inf)
    require(clip >= 0, f"clip is {clip}, expected at least 0")
    hidden = get("hidden_size")
    require(hidden is None or hidden >= 1, f"hidden_size is {hidden}, expected at least 1")
    activations = _activations(node, len(reverse))
    cells = []
    for k in range(len(reverse)):
        f, g, h = activations[3 * k : 3 * k + 3]
        cells.append(
            Cell(
                gate_activation=f,
                cell_activation=g,
                output_activation=h,
                coupled=bool(coupled),
                gate_clip=float(clip),
                output_clip=float(clip),
            )
        )
    return LSTMSettings(reverse, tuple(cells), hidden, layout == 1)


def _activations(node: Node, directions: int) -> list[Activation]:
    """Return three activations for each direction; the lists of alpha and beta skip functions without these."""
    names = node.attributes.get("activations", ["Sigmoid", "Tanh", "Tanh"] * directions)
    require(len(names) == 3 * directions, f"has {len(names)} activations, expected {3 * directions}")
    parameters = {}
    for key in ("activation_alpha", "activation_beta"):
        values = node.attributes.get(key, [])
        require(all(isinstance(one, (int, float)) and np.isfinite(one) for one in values), f"{key} must hold numbers")
        parameters[key] = [float(one) for one in values]
    alphas, betas = iter(parameters["activation_alpha"]), iter(parameters["activation_beta"])
    result = []
    for name in names:
        kind = ACTIVATION_NAMES.get(str(name).lower())
        if kind is None:
            raise ValueError(f"activation {name!r} is not known, expected one of {', '.join(ONNX_NAMES.values())}")
        alpha, beta = KINDS[kind]
        if kind in TAKES_ALPHA:
            alpha = next(alphas, alpha)
        if kind in TAKES_BETA:
            beta = next(betas, beta)
        result.append(Activation(kind, alpha, beta))
    for key, rest in (("activation_alpha", alphas), ("activation_beta", betas)):
        left = len(list(rest))
        require(left == 0, f"{key} has {left} values more than the activations {names} take")
    return result


class _Weights(NamedTuple):
    """The weights of one direction in the layout of the kernels."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None
    cell_weights: CellWeights


def _in_kernel_order(stacked: Array, gates: Sequence[int], blocks: int) -> Array:
    """Return the blocks of rows of an array (blocks * H, ...) in the order of the kernels."""
    parts = stacked.reshape(blocks, -1, *stacked.shape[1:])
    return np.ascontiguousarray(parts[list(gates)].reshape(-1, *stacked.shape[1:]))


def in_onnx_order(array: Array, gates: Sequence[int], blocks: int) -> Array:
    """Return the blocks of rows in ONNX's order, the inverse of `_in_kernel_order`.

    Blocks of gates that a coupled cell does not have are zero.
    """
    parts = array.reshape(len(gates), -1, *array.shape[1:])
    whole = np.zeros((blocks, *parts.shape[1:]), array.dtype)
    whole[list(gates)] = parts
    return whole.reshape(-1, *array.shape[1:])


def kernel_weights(w: Array, r: Array, b: Array | None, p: Array | None, coupled: bool) -> _Weights:
    """Return one direction's W (4H, I), R (4H, H), B (8H,) and P (3H,) in the layout of the kernels."""
    gates = GATES[coupled]
    bias_ih = bias_hh = None
    if b is not None:
        bias_ih, bias_hh = (_in_kernel_order(part, gates, 4) for part in np.split(b, 2))
    cell_weights = CellWeights()
    if p is not None:
        cell_weights = CellWeights(
            peepholes=_in_kernel_order(p, PEEPHOLES[coupled], 3).reshape(len(PEEPHOLES[coupled]), -1)
        )
    return _Weights(_in_kernel_order(w, gates, 4), _in_kernel_order(r, gates, 4), bias_ih, bias_hh, cell_weights)


class _Direction(NamedTuple):
    """The inputs of one direction."""

    x: Array
    weights: _Weights
    cell: Cell
    lengths: Array | None
    h0: Array
    c0: Array
    reverse: bool


def _run_direction(given: _Direction, y: Array, hn: Array, cn: Array, lstm: _core.LSTMPass, run: Run) -> Any:
    """Fill y (B, T, H), hn and cn (B, H); return a function that maps dy, dhn, dcn to the dict of gradients."""
    weights = given.weights
    lstm.forward(
        given.x,
        *weights[:4],
        lengths=given.lengths,
        h0=given.h0,
        c0=given.c0,
        y=y,
        hn=hn,
        cn=cn,
        reverse=given.reverse,
        training=run.training,
        recompute_every=run.recompute_every,
        n_threads=run.n_threads,
        cell=given.cell,
        cell_weights=weights.cell_weights,
    )

    def back(dy: Array | None, dhn: Array | None, dcn: Array | None) -> dict[str, Array]:
        gradients = {
            "x": np.zeros_like(given.x, order="C"),
            "weight_ih": np.zeros_like(weights.weight_ih),
            "weight_hh": np.zeros_like(weights.weight_hh),
            "bias": np.zeros_like(weights.weight_hh[:, 0]),
            "h0": np.zeros_like(given.h0),
            "c0": np.zeros_like(given.c0),
        }
        peepholes = weights.cell_weights.peepholes
        if peepholes is not None:
            gradients["peepholes"] = np.zeros_like(peepholes)
        lstm.backward(
            dy=dy,
            dhn=dhn,
            dcn=dcn,
            dx=gradients["x"],
            dweight_ih=gradients["weight_ih"],
            dweight_hh=gradients["weight_hh"],
            dbias_ih=gradients["bias"],
            dh0=gradients["h0"],
            dc0=gradients["c0"],
            n_threads=run.n_threads,
            d_cell_weights=CellWeights(peepholes=gradients.get("peepholes")),
        )
        return gradients

    return back


def all_inputs(inputs: Sequence[Any]) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Return the eight inputs of a node, with None for those omitted at the end."""
    x, w, r, b, lengths, h0, c0, p = list(inputs) + [None] * (8 - len(inputs))
    return x, w, r, b, lengths, h0, c0, p


def _checked(inputs: Inputs, settings: LSTMSettings) -> tuple[list[Array | None], tuple[int, int, int, int, int]]:
    """Return all eight inputs and the sizes D, B, T, I, H; raise ValueError if shapes or types do not fit."""
    x, w, r, b, lengths, h0, c0, p = all_inputs(inputs)
    assert x is not None and w is not None and r is not None
    require(x.ndim == 3, f"X has shape {x.shape}, expected three axes")
    directions = len(settings.reverse)
    batch, time = x.shape[:2] if settings.batch_first else x.shape[1::-1]
    require(r.ndim == 3 and r.shape[2] > 0, f"R has shape {r.shape}, expected (directions, 4 * hidden, hidden)")
    size, hidden = x.shape[2], r.shape[2]
    require(size > 0, "X has no features")
    require(
        settings.hidden_size in (None, hidden),
        f"hidden_size is {settings.hidden_size}, but R has shape {r.shape}: (directions, 4 * hidden, hidden)",
    )
    states = (batch, directions, hidden) if settings.batch_first else (directions, batch, hidden)
    for name, array, shape in (
        ("W", w, (directions, 4 * hidden, size)),
        ("R", r, (directions, 4 * hidden, hidden)),
        ("B", b, (directions, 8 * hidden)),
        ("initial_h", h0, states),
        ("initial_c", c0, states),
        ("P", p, (directions, 3 * hidden)),
    ):
        if array is not None:
            require(array.shape == shape, f"{name} has shape {array.shape}, expected {shape} for X of {x.shape}")
            require(array.dtype == x.dtype, f"{name} is {array.dtype} and X is {x.dtype}, expected the same type")
    require(x.dtype.kind == "f", f"X is {x.dtype}, expected floating-point numbers")
    if lengths is not None:
        require(lengths.dtype.kind in "iu", f"sequence_lens is {lengths.dtype}, expected integers")
        require(lengths.shape == (batch,), f"sequence_lens has shape {lengths.shape}, expected ({batch},)")
        low, high = int(lengths.min(initial=0)), int(lengths.max(initial=0))
        require(low >= 0 and high <= time, f"sequence_lens holds {low if low < 0 else high}, expected 0 to {time}")
    return [x, w, r, b, lengths, h0, c0, p], (directions, batch, time, size, hidden)


@operator(
    "LSTM",
    (3, 8),
    outputs=3,
    since=7,
    activations=list,
    activation_alpha=list,
    activation_beta=list,
    clip=float,
    direction=str,
    hidden_size=int,
    input_forget=int,
    layout=int,
)
def _lstm(node: Node) -> Forward:
    settings = lstm_settings(node)
    coupled = settings.cells[0].coupled

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        arrays, (directions, batch, time, _, hidden) = _checked(inputs, settings)
        run.take(((time + 2) * directions * batch, hidden))
        given = arrays[0]
        assert given is not None
        dtype = given.dtype
        work = np.dtype(np.float32) if dtype == np.float16 else dtype
        x, w, r, b, lengths, h0, c0, p = (
            None if one is None else one.astype(work) if one.dtype == np.float16 else one for one in arrays
        )
        assert x is not None and w is not None and r is not None
        series = x if settings.batch_first else x.transpose(1, 0, 2)
        if series.strides[2] != work.itemsize:
            series = np.ascontiguousarray(series)
        if lengths is not None:
            lengths = lengths.astype(np.int64)
        y = np.zeros((time, directions, batch, hidden), work)
        hn, cn = np.zeros((2, directions, batch, hidden), work)
        backs = []
        for k, (reverse, cell) in enumerate(zip(settings.reverse, settings.cells, strict=True)):
            lstm = run.passes.get((node.name, node.outputs, k))
            if lstm is None:
                lstm = run.passes[node.name, node.outputs, k] = _core.LSTMPass()
            weights = kernel_weights(w[k], r[k], None if b is None else b[k], None if p is None else p[k], coupled)
            states = [
                np.zeros((batch, hidden), work)
                if one is None
                else np.ascontiguousarray(one[:, k] if settings.batch_first else one[k])
                for one in (h0, c0)
            ]
            direction = _Direction(series, weights, cell, lengths, states[0], states[1], reverse)
            backs.append(_run_direction(direction, y[:, k].transpose(1, 0, 2), hn[k], cn[k], lstm, run))

        def back(d: Sequence[Array | None], needs: Sequence[bool]) -> Sequence[Array | None]:
            dy, dhn, dcn = [*d, None, None][:3]
            if dy is not None:
                order = (2, 0, 1, 3) if settings.batch_first else (1, 2, 0, 3)
                dy = np.ascontiguousarray(dy.transpose(order))
            if settings.batch_first:
                dhn, dcn = (None if one is None else one.transpose(1, 0, 2) for one in (dhn, dcn))
            dw: list[Array] = []
            dr: list[Array] = []
            db: list[Array] = []
            dp: list[Array] = []
            dh0: list[Array] = []
            dc0: list[Array] = []
            dx = np.zeros(series.shape, work)
            for k, one in enumerate(backs):
                found = one(
                    None if dy is None else dy[k],
                    *(None if part is None else np.ascontiguousarray(part[k]) for part in (dhn, dcn)),
                )
                dx += found["x"]
                dw.append(in_onnx_order(found["weight_ih"], GATES[coupled], 4))
                dr.append(in_onnx_order(found["weight_hh"], GATES[coupled], 4))
                db.append(np.tile(in_onnx_order(found["bias"], GATES[coupled], 4), 2))
                if p is not None:
                    dp.append(in_onnx_order(found["peepholes"].reshape(-1), PEEPHOLES[coupled], 3))
                dh0.append(found["h0"])
                dc0.append(found["c0"])
            axis = 1 if settings.batch_first else 0
            gradients: list[Array | None] = [
                dx if settings.batch_first else dx.transpose(1, 0, 2),
                np.stack(dw),
                np.stack(dr),
                np.stack(db),
                None,
                np.stack(dh0, axis=axis),
                np.stack(dc0, axis=axis),
                np.stack(dp) if dp else None,
            ]
            return [
                None if one is None or wanted is None else one.astype(dtype, copy=False)
                for one, wanted in zip(gradients[: len(inputs)], inputs, strict=True)
            ]

        if settings.batch_first:
            results = [y.transpose(2, 0, 1, 3), hn.transpose(1, 0, 2), cn.transpose(1, 0, 2)]
        else:
            results = [y, hn, cn]
        return [one.astype(dtype, copy=False) for one in results[: len(node.outputs)]], back

    return forward
