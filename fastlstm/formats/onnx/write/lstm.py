"""The stage ``lstm`` as ONNX's operator LSTM: what it can express, its attributes, and its weights in its order.

The shapes use D (directions: 1 or 2), B (batch), T (time), H (hidden size), F (features of the output).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...._typing import Array
from ....cell import PLAIN, Cell
from ....layers import Stage
from ..graph.lstm import GATES, ONNX_NAMES, PEEPHOLES, TAKES_ALPHA, TAKES_BETA, in_onnx_order
from .builder import GraphBuilder, Value
from .placed import PlacedStage

__all__ = ["write_lstm"]

# Settings, settings of the cell and weights of a stage that the operator can express, or that act in training only.
_SETTINGS = {"cell", "hidden_size", "bidirectional", "reverse", "merge", "return_sequences"}
_CELL = {
    "gate_activation", "cell_activation", "output_activation", "coupled", "gate_clip", "output_clip",
    "recurrent_dropout", "variational_dropout",
}  # fmt: skip
_WEIGHTS = {"weight_ih", "weight_hh", "bias_ih", "bias_hh", "peepholes"}


def write_lstm(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write one layer of an LSTM, in one direction or both."""
    _require_writable(at)
    settings = at.stage.settings
    inputs = [graph.arranged(at.x, time_major=True).name, *_inputs(graph, at)]
    while inputs[-1] == "":
        inputs.pop()
    y, y_h, y_c = graph.add_several("LSTM", inputs, 3, **_attributes(at))
    if graph.with_state:
        graph.final_states.setdefault(at.index, []).append((y_h, y_c))
    steps: bool = settings["return_sequences"]
    return Value(_merged(graph, y if steps else y_h, at.stage, final=not steps), per_step=steps, time_major=steps)


def _require_writable(at: PlacedStage) -> None:
    """Raise ValueError if ONNX's LSTM cannot express the stage, or a setting or weight of the stage is unknown here."""
    cell: Cell = at.stage.settings["cell"]
    used = {name: value for name, value in at.stage.settings.items() if name not in _SETTINGS and value}
    for name, value, standard in zip(Cell._fields, cell, PLAIN, strict=True):
        if name not in _CELL and value != standard:
            used[name] = value
    if used:
        name, value = next(iter(used.items()))
        raise at.refusal(f"ONNX's LSTM has no counterpart of {name}={value!r}")
    for name in at.stage.weights:
        if name.removesuffix("_reverse") not in _WEIGHTS:
            raise at.refusal(f"ONNX's LSTM has no counterpart of the weights {name}")
    if cell.gate_clip != cell.output_clip:
        gate, output = (None if math.isinf(limit) else limit for limit in (cell.gate_clip, cell.output_clip))
        raise at.refusal(
            f"ONNX's LSTM has one limit for all activations, got gate_clip={gate} and output_clip={output}"
        )


def _attributes(at: PlacedStage) -> dict[str, Any]:
    stage = at.stage
    settings, cell = stage.settings, stage.settings["cell"]
    both: bool = settings["bidirectional"]
    direction = "bidirectional" if both else "reverse" if settings["reverse"] else "forward"
    attributes: dict[str, Any] = {"hidden_size": settings["hidden_size"], "direction": direction}
    if cell.coupled:
        attributes["input_forget"] = 1
    if math.isfinite(cell.gate_clip):
        attributes["clip"] = cell.gate_clip
    functions = [cell.gate_activation, cell.cell_activation, cell.output_activation] * (2 if both else 1)
    if [one.name for one in functions[:3]] != ["sigmoid", "tanh", "tanh"]:
        for one in functions:
            if one.name not in ONNX_NAMES:
                raise at.refusal(f"the operator LSTM does not have the activation {one.name}")
        attributes["activations"] = [ONNX_NAMES[one.name] for one in functions]
        alphas = [one.alpha for one in functions if one.name in TAKES_ALPHA]
        betas = [one.beta for one in functions if one.name in TAKES_BETA]
        if alphas:
            attributes["activation_alpha"] = alphas
        if betas:
            attributes["activation_beta"] = betas
    return attributes


def _inputs(graph: GraphBuilder, at: PlacedStage) -> list[str]:
    """Return the names of the inputs W, R, B, sequence_lens, initial_h, initial_c, P; "" for those not used."""
    stage, weights = at.stage, at.stage.weights
    tails = ("", "_reverse")[: 2 if stage.settings["bidirectional"] else 1]
    coupled: bool = stage.settings["cell"].coupled
    found = at.parameter("weight_ih")
    which = found.removeprefix("weight_ih") if found.startswith("weight_ih") else f"_{at.number}"

    def stacked(name: str, order: Sequence[int], blocks: int) -> Array:
        return np.stack([in_onnx_order(weights[name + tail], order, blocks) for tail in tails])

    def constant(value: Array, name: str) -> str:
        return graph.constant(value, f"{at.index}.{name}{which}")

    gates = GATES[coupled]
    names = [
        constant(stacked("weight_ih", gates, 4), "W"),
        constant(stacked("weight_hh", gates, 4), "R"),
        "",
        graph.lengths,
        "",
        "",
        "",
    ]
    if "bias_ih" in weights:
        both = [stacked("bias_ih", gates, 4), stacked("bias_hh", gates, 4)]
        names[2] = constant(np.concatenate(both, axis=1), "B")
    if graph.with_state:
        row = len(graph.final_states.get(at.index, ()))
        limits = [graph.constant([row]), graph.constant([row + 1]), graph.constant([0])]
        names[4], names[5] = (graph.add("Slice", [f"state_{at.index}_{name}", *limits]) for name in "hc")
    elif any(state.initial is not None for state in stage.states):
        hidden: int = stage.settings["hidden_size"]
        size = graph.add("Concat", [graph.constant([len(tails)]), graph.batch(), graph.constant([hidden])], axis=0)
        initial = {state.name: np.zeros(hidden) if state.initial is None else state.initial for state in stage.states}
        for position, name in ((4, "h"), (5, "c")):
            state = np.stack([initial[name + tail] for tail in tails])[:, None, :]
            names[position] = graph.add("Expand", [constant(state, f"{name}0"), size])
    if "peepholes" in weights:
        order = PEEPHOLES[coupled]
        arrays = [in_onnx_order(weights["peepholes" + tail].reshape(-1), order, 3) for tail in tails]
        names[6] = constant(np.stack(arrays), "P")
    return names


def _merged(graph: GraphBuilder, name: str, stage: Stage, final: bool) -> str:
    """Return Y (T, D, B, H) as (T, B, F), or Y_h (D, B, H) as (B, F)."""
    axis = 0 if final else 1
    if not stage.settings["bidirectional"]:
        return graph.add("Squeeze", [name, graph.constant([axis])])
    merge = stage.settings["merge"]
    if merge == "concat":
        turned = graph.add("Transpose", [name], perm=[1, 0, 2] if final else [0, 2, 1, 3])
        return graph.add("Reshape", [turned, graph.constant([*([0] if final else [0, 0]), stage.output_size])])
    split = graph.add_several("Split", [name], 2, axis=axis)
    halves = [graph.add("Squeeze", [half, graph.constant([axis])]) for half in split]
    y = graph.add("Mul" if merge == "product" else "Add", halves)
    return graph.add("Mul", [y, graph.constant(0.5)]) if merge == "mean" else y
