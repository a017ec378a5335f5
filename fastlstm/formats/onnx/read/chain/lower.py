"""Convert a graph that is a chain of layers to these layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....._typing import Array
from .....activations import SIGMOID, TANH
from .....cell import Cell
from .....data import Standardizer
from .....layers import LSTM, Layer, Tap, TimeDistributed, layer_from_config
from .....layers import Activation as ActivationLayer
from ...graph.nodes import Graph
from .fusing import fused
from .handlers import HANDLERS
from .selecting import is_whole
from .symbols import NoChain, Signal
from .trace import Item, Trace

__all__ = ["Chain", "lower"]


@dataclass(frozen=True)
class Chain:
    """The layers, weights and scalers that express a graph."""

    layers: list[Layer]
    weights: dict[str, Array]
    """Weights by the names that `Model.load_state_dict` takes."""
    scaler: Standardizer | None
    target_scaler: Standardizer | None


def lower(
    graph: Graph,
    data: str,
    lengths: str | None,
    input_size: int | None,
    time_major: bool | None,
    *,
    carried: bool = False,
    framed: bool = False,
) -> tuple[Chain | str, bool | None]:
    """Return the layers equivalent to a graph, or the reason why there are none; and whether the graph is time-major.

    Parameters
    ----------
    graph : Graph
        A graph with one output.
    data : str
        Name of its input for the data.
    lengths : str or None
        Name of its input for the lengths.
    input_size : int, optional
        Number of features of the input, if known.
    time_major : bool, optional
        The layout that the user asks for.
    carried : bool, default False
        Whether the graph reads a series in blocks of steps, and its LSTMs carry their states from block to block.
    framed : bool, default False
        Whether such a block is one step of the model, a frame (cases, samples), with the samples as its features.

    Returns
    -------
    chain : Chain or str
        A string is the reason why no chain of layers expresses the graph.
    time_major : bool or None
        Whether the graph takes (time, batch, ...); None if it leaves that open.

    Raises
    ------
    ValueError
        If the graph contradicts itself or `time_major`.
    """
    graph = fused(graph)
    reason = ""
    try:
        trace = Trace(graph, data, lengths, input_size, carried, framed)
    except NoChain as stop:
        return str(stop), None
    try:
        trace.run(HANDLERS)
        signal = _output(trace, trace.values[graph.outputs[0]])
    except NoChain as stop:
        reason = str(stop)
    found = None if trace.time is None else trace.time == "a0"
    if found is not None and time_major is not None and found != time_major:
        raise ValueError(
            f"time_major is {time_major}, but the graph's LSTM reads axis {(trace.time or '')[1:]} as time: "
            "omit time_major"
        )
    if reason:
        return reason, found
    if found is None:
        trace.time = "a0" if time_major else "a1"
    per_step = trace.time in signal.axes or (carried and not signal.final)
    if not per_step and not any(item.ends_series for item in trace.items):
        return "the output has no time axis, but no LSTM or pooling layer removes the axis", found
    try:
        if carried:
            _require_steps(trace)
        return _chain(trace), found
    except NoChain as stop:
        return str(stop), found


def _require_steps(trace: Trace) -> None:
    """Raise NoChain if a layer of a graph that reads a series in blocks reads other steps than its own."""
    if trace.framed:
        raise NoChain("no LSTM reads the frames")
    for item in trace.items:
        if item.kind in ("Conv1D", "Pad1D", "MaxPool", "MeanPool", "LastStep", "RepeatVector"):
            raise NoChain(f"a {item.kind} reads several steps of each block, and begins anew with each call")


def _output(trace: Trace, signal: Any) -> Signal:
    """Return the signal if its axes are (cases, steps, features) or (cases, features), in any order."""
    if not isinstance(signal, Signal):
        raise NoChain("the output is not computed from the data by a chain of layers")
    core = [axis for axis in signal.axes if axis != "1"]
    if "d" in core and "h" in core and core.index("d") < core.index("h") and is_whole(trace, signal):
        signal = replace(signal, axes=tuple("1" if a == "d" else "f" if a == "h" else a for a in signal.axes))
        core = [axis for axis in signal.axes if axis != "1"]
    if sorted(core) not in (["a0", "a1", "f"], ["a0", "f"], ["a1", "f"]):
        raise NoChain("the output's axes are not cases, steps and features")
    if trace.time is not None and trace.time in core and len(core) == 2:
        raise NoChain("the output has no batch axis")
    if not trace.items:
        raise NoChain("the output is the input")
    if trace.turned:
        raise NoChain("the output holds all steps, feature by feature")
    return trace.top(signal, "the output")


def _standardizer(mean: Array, scale: Array, size: int) -> Standardizer:
    return Standardizer.from_state(
        {key: np.array(np.broadcast_to(value, size), np.float64) for key, value in (("mean", mean), ("scale", scale))}
    )


def _pop_affine(items: list[Item], operators: Sequence[str], at_end: bool) -> list[Array] | None:
    """Remove items of these operators from the chain's start or end; return their constants, or None if not there."""
    ends = items[-len(operators) :] if at_end else items[: len(operators)]
    if [item.settings.get("op") if item.kind == "affine" else None for item in ends] != list(operators):
        return None
    if at_end:
        del items[-len(operators) :]
    else:
        del items[: len(operators)]
    return [item.settings["by"] for item in ends]


def _chain(trace: Trace) -> Chain:
    items = list(trace.items)
    scaler = target_scaler = None
    try:
        constants = None if -1 in trace.taps else _pop_affine(items, ["Sub", "Div"], at_end=False)
        if constants is not None and trace.input_size is not None:
            scaler = _standardizer(constants[0], constants[1], trace.input_size)
        constants = _pop_affine(items, ["Mul", "Add"], at_end=True)
        if constants is not None:
            target_scaler = _standardizer(constants[1], constants[0], max(one.size for one in constants))
    except ValueError as error:
        raise NoChain(f"the graph scales by values that no Standardizer can have ({error})") from None
    # What reads the scaled input again reads the model's first value.
    first = -1 if scaler is None else 1
    layers: list[Layer] = [Tap(trace.taps[first])] if first in trace.taps else []
    if scaler is not None and not trace.taps.keys().isdisjoint((-1, 0)):
        raise NoChain("the graph reads its input again before it is scaled")
    weights: dict[str, Array] = {}
    names = {id(trace.items[number]): name for number, name in trace.taps.items() if number >= 0}
    for item in items:
        weights.update({f"{len(layers)}.{name}": value for name, value in item.weights.items()})
        layers.append(_layer(item))
        if id(item) in names:
            layers.append(Tap(names[id(item)]))
    if not layers:
        raise NoChain("the graph has no layers")
    return Chain(layers, weights, scaler, target_scaler)


def _layer(item: Item) -> Layer:
    """Build the layer of an item: by its class name and settings, or by its function in `_MAKERS`."""
    make = _MAKERS.get(item.kind)
    try:
        return make(item) if make is not None else layer_from_config({"type": item.kind, **item.settings})
    except (TypeError, ValueError) as error:
        raise NoChain(f"no layer {item.kind}: {error}") from None


def _refuse_affine(item: Item) -> Layer:
    raise NoChain("the graph scales between layers")


def _activation_layer(item: Item) -> Layer:
    function = item.settings["kind"]
    if isinstance(function, str):
        return ActivationLayer(function)
    for given in ({"alpha": function.alpha, "beta": function.beta}, {"alpha": function.alpha}, {}):
        try:
            return ActivationLayer(function.name, **given)
        except ValueError:
            continue
    raise NoChain(f"no layer for {function}")


def _lstm_layer(item: Item) -> Layer:
    settings = item.settings
    arguments: dict[str, Any] = {
        "hidden_size": settings["hidden_size"],
        "bias": settings["bias"],
        "bidirectional": len(settings["reverse"]) == 2,
        "return_sequences": settings["return_sequences"],
    }
    cell: Cell = settings["cells"][0]
    if any(one != cell for one in settings["cells"]):
        raise NoChain("the two directions of an LSTM have different activations")
    if settings["reverse"] == (True,):
        arguments["reverse"] = True
    if settings["peepholes"]:
        arguments["peepholes"] = True
    if cell.coupled:
        arguments["coupled"] = True
    for name in ("gate_clip", "output_clip"):
        if np.isfinite(getattr(cell, name)):
            arguments[name] = getattr(cell, name)
    plain = {"gate_activation": SIGMOID, "cell_activation": TANH, "output_activation": TANH}
    for name, default in plain.items():
        if getattr(cell, name) != default:
            arguments[name] = tuple(getattr(cell, name))
    return LSTM(**arguments)


def _distributed_layer(item: Item) -> Layer:
    return TimeDistributed([_layer(one) for one in item.settings["layers"]], steps=item.settings["steps"])


_MAKERS: dict[str, Callable[[Item], Layer]] = {
    "Activation": _activation_layer,
    "LSTM": _lstm_layer,
    "TimeDistributed": _distributed_layer,
    "affine": _refuse_affine,
}
"""Builders for items whose settings differ from the constructor's arguments."""
