"""Symbolic execution of a graph, which collects the layers of a chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....._typing import Array
from ...graph.nodes import Graph, Node
from ...graph.operators import Forward, Run, make_forward
from .symbols import Known, MaskPart, NoChain, Signal, Size

__all__ = ["Handler", "Item", "Trace"]

Handler = Callable[["Trace", Node, Sequence[Any]], list[Any]]


@dataclass
class Item:
    """The description of a layer to build."""

    kind: str
    """Name of the layer's class; ``affine`` for a constant that is added or multiplied."""
    settings: dict[str, Any]
    weights: dict[str, Array] = field(default_factory=dict)
    directions: int = 1
    ends_series: bool = False
    """Whether the layer may keep one vector out of all steps."""


class Trace:
    """One symbolic execution of a graph, which collects the items of the chain."""

    def __init__(self, graph: Graph, data: str, lengths: str | None, input_size: int | None) -> None:
        self.graph = graph
        self.items: list[Item] = []
        self.time: str | None = None
        """The input's time axis, ``a0`` or ``a1``; None until the first LSTM determines it."""
        self.has_lengths = lengths is not None
        """Whether the cases have lengths that apply to the current steps; they end where new series begin."""
        self.input_size = input_size
        self.turned = 0
        """Number of steps if the features of the last value are those of all steps, feature by feature and not step by
        step; 0 otherwise."""
        self.values: dict[str, Any] = {name: Known(value) for name, value in graph.constants.items()}
        weights = sum(value.size for value in graph.constants.values())
        self._folding = Run(0, weights)
        for one in graph.inputs:
            if one.name == lengths:
                self.values[one.name] = MaskPart("lengths", ("cases",))
            elif one.name == data:
                shape = one.shape or (None, None, None)
                sizes: list[Any] = [
                    Size(f"a{k}", size if isinstance(size, int) else None) for k, size in enumerate(shape[:2])
                ]
                axes = ["a0", "a1"]
                if np.dtype(one.dtype).kind == "f":
                    axes.append("f")
                    sizes.append(input_size)
                self.values[one.name] = Signal(tuple(axes), tuple(sizes), ((-1, 0),))

    def run(self, handlers: Mapping[str, Handler]) -> None:
        """Execute the nodes symbolically; raise `NoChain` if an operator has no handler."""
        for node in self.graph.nodes:
            function = make_forward(node)  # also checks the attributes
            inputs = [self.values.get(name) if name else None for name in node.inputs]
            if all(one is None or isinstance(one, Known) for one in inputs):
                results = self._folded(node, function, inputs)
            else:
                handler = handlers.get(node.op)
                if handler is None:
                    raise NoChain(str(node))
                results = handler(self, node, inputs)
            for name, value in zip(node.outputs, results, strict=False):
                if name:
                    self.values[name] = value

    def _folded(self, node: Node, function: Forward, inputs: Sequence[Any]) -> list[Known]:
        with np.errstate(all="ignore"):
            try:
                arrays, _ = function([None if one is None else one.array for one in inputs], self._folding)
            except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
                raise ValueError(f"{node}: {error}") from error
        self._folding.held += sum(one.size for one in arrays if one.base is None)
        return [Known(one) for one in arrays]

    # ------------------------------------------------------------------------------------ data

    def top(self, signal: Any, node: Node | str) -> Signal:
        """Return the signal if it is the complete output of the last item; its features are then one axis."""
        if not isinstance(signal, Signal) or signal.cell:
            raise NoChain(str(node))
        item = len(self.items) - 1
        last = self.items[-1] if self.items else None
        directions = last.directions if last else 1
        if signal.parts != tuple((item, k) for k in range(directions)) or "h" in signal.axes or "d" in signal.axes:
            raise NoChain(f"{node} reads a part of the last layer's output, or an earlier layer's output")
        if last is not None and last.kind == "LSTM":
            steps = not signal.final
            if last.settings.setdefault("return_sequences", steps) != steps:
                raise NoChain(f"{node}: every step and the last one are both used")
        return signal

    def straightened(self, weight: Array) -> Array:
        """Return the weight (outputs, inputs) of a dense layer for inputs that are ordered step by step."""
        if not self.turned:
            return weight
        steps, self.turned = self.turned, 0
        return weight.reshape(len(weight), -1, steps).swapaxes(1, 2).reshape(weight.shape)

    def add(self, item: Item, signal: Signal, size: int | None = None) -> Signal:
        """Append a layer to the chain; return the signal after it."""
        if self.turned and item.kind not in ("Activation", "Dropout"):
            raise NoChain(f"the features of all steps, feature by feature, go into a {item.kind}")
        self.items.append(item)
        sizes = signal.sizes if size is None else (*signal.sizes[:-1], size)
        return Signal(signal.axes, sizes, ((len(self.items) - 1, 0),))

    def features(self, signal: Signal, node: Node) -> None:
        if signal.axes[-1:] != ("f",):
            raise NoChain(f"{node}: the features are not the last axis")
