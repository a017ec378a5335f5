"""Nodes that compute magnitudes of complex numbers: squares of two halves of the features, their sum, its root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...graph.nodes import Node
from .symbols import Channels, Energy, Known, NoChain, Signal
from .trace import Item, Trace

__all__ = ["channels", "read_energy", "read_pow", "read_sqrt"]


def channels(trace: Trace, signal: Signal, axis: int, start: int, stop: int, node: Node) -> Channels:
    """Return consecutive features of the last item's output."""
    size = signal.sizes[axis]
    if signal.axes[axis] != "f" or not isinstance(size, int) or not 0 <= start < stop <= size:
        raise NoChain(str(node))
    return Channels(trace.top(signal, node), start, stop)


def read_pow(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Pow: squares of a half of the features."""
    value, exponent = inputs
    if not isinstance(exponent, Known) or exponent.array.size != 1:
        raise NoChain(str(node))
    return [_squared(value, float(exponent.array.reshape(-1)[0]), node)]


def _squared(value: Any, exponent: float, node: Node) -> Any:
    if isinstance(value, Channels) and not value.squared and exponent == 2:
        return replace(value, squared=True)
    raise NoChain(f"{node} computes powers of other values than real and imaginary parts")


def read_energy(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Mul and Add of halves of the features, and Add of a small number to the sum of their squares."""
    a, b = inputs
    if node.op == "Mul" and a == b:
        return [_squared(a, 2.0, node)]
    if node.op == "Add" and isinstance(a, Channels) and isinstance(b, Channels) and a.squared and b.squared:
        first, second = (a, b) if a.start == 0 else (b, a)
        size = first.signal.sizes[first.signal.axes.index("f")]
        if first.signal == second.signal and (first.start, first.stop, second.stop) == (0, second.start, size):
            return [Energy(first.signal)]
    constant, energy = (a, b) if isinstance(a, Known) else (b, a)
    if node.op == "Add" and isinstance(energy, Energy) and isinstance(constant, Known) and constant.array.size == 1:
        return [replace(energy, eps=energy.eps + float(constant.array.reshape(-1)[0]))]
    raise NoChain(f"{node} computes with a part of the features")


def read_sqrt(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Sqrt of a sum of squares: a layer Magnitude."""
    energy = inputs[0]
    if not isinstance(energy, Energy):
        raise NoChain(str(node))
    signal = trace.top(energy.signal, node)
    axis = signal.axes.index("f")
    size = signal.sizes[axis]
    if size % 2:
        raise NoChain(f"{node}: the features are no pairs of real and imaginary parts")
    trace.items.append(Item("Magnitude", {"eps": energy.eps}))
    sizes = (*signal.sizes[:axis], size // 2, *signal.sizes[axis + 1 :])
    return [Signal(signal.axes, sizes, ((len(trace.items) - 1, 0),))]
