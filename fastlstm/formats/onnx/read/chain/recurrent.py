"""The node LSTM as a layer: its settings, its weights, and the axes of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....._typing import Array
from ...graph.lstm import all_inputs, kernel_weights, lstm_settings
from ...graph.nodes import Node
from .symbols import Known, MaskPart, NoChain, Signal, is_zero
from .trace import Item, Trace

__all__ = ["read_lstm"]


def read_lstm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    x, w, r, b, lengths, h0, c0, p = all_inputs(inputs)
    settings = lstm_settings(node)
    weights = [w, r, b, p]
    if not all(one is None or isinstance(one, Known) for one in weights) or None in (w, r):
        raise NoChain(str(node))
    if not is_zero(h0) or not is_zero(c0):
        raise NoChain(f"{node} has initial states that are not zero")
    if (lengths is not None) != trace.has_lengths or lengths not in (None, MaskPart("lengths", ("cases",))):
        raise NoChain(str(node))
    signal = trace.top(x, node)
    if trace.framed:
        signal = trace.close_frame(signal, node)
    arrays = [None if one is None else one.array for one in weights]
    hidden, size = _checked_weights(arrays, settings.reverse, settings.hidden_size, signal.sizes[-1], node)
    if len(signal.axes) != 3 or signal.axes[2] != "f" or set(signal.axes[:2]) != {"a0", "a1"}:
        raise NoChain(str(node))
    if trace.items == [] and trace.input_size is None:
        trace.input_size = size
    cases, steps = (0, 1) if settings.batch_first else (1, 0)
    if trace.time not in (None, signal.axes[steps]):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier LSTM")
    trace.time = signal.axes[steps]
    directions = len(settings.reverse)
    found = {"hidden_size": hidden, "reverse": settings.reverse, "bias": b is not None, "cells": settings.cells}
    found["peepholes"] = p is not None
    item = Item("LSTM", found, directions=directions, ends_series=True)
    coupled = settings.cells[0].coupled
    for k in range(directions):
        of_w, of_r, of_b, of_p = (None if one is None else one[k] for one in arrays)
        assert of_w is not None and of_r is not None
        item.weights.update(_named(kernel_weights(of_w, of_r, of_b, of_p, coupled), "_reverse" if k else ""))
    trace.items.append(item)
    parts = tuple((len(trace.items) - 1, k) for k in range(directions))
    case, step = (signal.axes[cases], signal.sizes[cases]), (signal.axes[steps], signal.sizes[steps])
    d, h = (("d", directions), ("h", hidden)) if directions > 1 else (("1", 1), ("f", hidden))
    full = [case, step, d, h] if settings.batch_first else [step, d, case, h]
    state = [case, d, h] if settings.batch_first else [d, case, h]
    # In a block of one step the final h is the output of that step.
    every_step = trace.carried and trace.steps_of(signal, steps) == 1
    outputs = [
        Signal(tuple(a for a, _ in axes), tuple(s for _, s in axes), parts, k > 0 and not every_step, cell=k == 2)
        for k, axes in enumerate((full, state, state))
    ]
    return outputs[: len(node.outputs)]


def _checked_weights(
    arrays: Sequence[Array | None], reverse: Sequence[bool], hidden_size: int | None, features: Any, node: Node
) -> tuple[int, int]:
    """Return the hidden and input size; raise ValueError if the shapes of the weights do not match."""
    w, r = arrays[:2]
    assert w is not None and r is not None
    n = len(reverse)
    hidden = r.shape[-1] if r.ndim == 3 else 0
    size = w.shape[-1] if w.ndim == 3 else 0
    expected = {"W": (n, 4 * hidden, size), "R": (n, 4 * hidden, hidden), "B": (n, 8 * hidden), "P": (n, 3 * hidden)}
    for (name, shape), array in zip(expected.items(), arrays, strict=True):
        if array is not None and (array.shape != shape or 0 in shape or array.dtype.kind != "f"):
            raise ValueError(f"{node}: {name} is {array.dtype} of shape {array.shape}, expected {shape}")
    if hidden_size not in (None, hidden):
        raise ValueError(f"{node}: hidden_size is {hidden_size}, but R has shape {r.shape}")
    if features not in (None, size):
        raise ValueError(f"{node}: W has shape {w.shape}, but X has {features} features")
    return hidden, size


def _named(weights: Any, suffix: str) -> dict[str, Array]:
    named = {
        "weight_ih": weights.weight_ih,
        "weight_hh": weights.weight_hh,
        "bias_ih": weights.bias_ih,
        "bias_hh": weights.bias_hh,
        "peepholes": weights.cell_weights.peepholes,
    }
    return {f"{name}_l0{suffix}": value for name, value in named.items() if value is not None}
