"""Symbolic execution of a graph, which collects the layers of a chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

    def __init__(
        self, graph: Graph, data: str, lengths: str | None, input_size: int | None, carried: bool, framed: bool
    ) -> None:
        self.graph = graph
        self.items: list[Item] = []
        self.carried = carried
        """Whether the graph reads a series in blocks of steps, and the LSTMs carry their states from block to block."""
        self.framed = framed
        """Whether such a block is one step, a frame, and the nodes so far read its samples as the steps of a series."""
        self.taps: dict[int, str] = {}
        """Names of the outputs of items that are read again later; of item -1, the input."""
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
                if framed:
                    self.values[one.name] = _frame(shape, input_size)
                    continue
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
        straight: Array = weight.reshape(len(weight), -1, steps).swapaxes(1, 2).reshape(weight.shape)
        return straight

    def add(self, item: Item, signal: Signal, size: int | None = None) -> Signal:
        """Append a layer to the chain; return the signal after it."""
        if self.turned and item.kind not in ("Activation", "Dropout"):
            raise NoChain(f"the features of all steps, feature by feature, go into a {item.kind}")
        self.items.append(item)
        sizes = signal.sizes if size is None else (*signal.sizes[:-1], size)
        return Signal(signal.axes, sizes, ((len(self.items) - 1, 0),))

    def tapped(self, signal: Signal, node: Node) -> str:
        """Return the name under which the complete output of an earlier item is read again."""
        item = signal.parts[0][0] if len(signal.parts) == 1 else -2
        if item < -1 or signal.cell or signal.final or (item >= 0 and self.items[item].directions > 1):
            raise NoChain(f"{node} reads a part of an earlier layer's output")
        if (
            item >= 0
            and self.items[item].kind == "LSTM"
            and not self.items[item].settings.setdefault("return_sequences", True)
        ):
            raise NoChain(f"{node} reads every step of an LSTM whose last step is used, too")
        return self.taps.setdefault(item, f"layer {item}" if item >= 0 else "input")

    def close_frame(self, signal: Signal, node: Node) -> Signal:
        """Put all items so far into one that reads frames; return the signal with a step for each frame.

        From here on the time axis is that of the frames, of which a call of the graph has one.
        """
        self.framed = False
        if any(item >= 0 for item in self.taps):
            raise NoChain(f"{node}: a layer before it reads the output of an earlier one")
        others = [k for k, label in enumerate(signal.axes) if label not in ("a0", "f")]
        if len(others) != 1 or self.steps_of(signal, others[0]) != 1:
            raise NoChain(f"{node} reads several steps of each block, of which each call begins the windows anew")
        axis = others[0]
        signal = replace(
            signal,
            axes=(*signal.axes[:axis], "a1", *signal.axes[axis + 1 :]),
            sizes=(*signal.sizes[:axis], Size("a1", 1), *signal.sizes[axis + 1 :]),
        )
        if not self.items:
            raise NoChain(f"{node} reads the frames themselves")
        weights = {f"{k}.{name}": array for k, item in enumerate(self.items) for name, array in item.weights.items()}
        self.items = [Item("TimeDistributed", {"layers": self.items, "steps": self.input_size}, weights)]
        return replace(signal, parts=((0, 0),))

    def is_one(self, signal: Signal, axis: int) -> bool:
        """Return whether an axis is that of the steps of a block, of which there is one."""
        return self.carried and signal.axes[axis] == "a1" and self.steps_of(signal, axis) == 1

    @staticmethod
    def steps_of(signal: Signal, axis: int) -> int | None:
        """Return the size of an axis, if it is known."""
        size = signal.sizes[axis]
        return size.known if isinstance(size, Size) else size if isinstance(size, int) else None

    def features(self, signal: Signal, node: Node) -> None:
        if signal.axes[-1:] != ("f",):
            raise NoChain(f"{node}: the features are not the last axis")


def _frame(shape: Sequence[Any], samples: int | None) -> Signal:
    """Return the symbol of a block (cases, samples) that is one frame; its axes of size 1 mean nothing."""
    axes, sizes = ["a0"], [Size("a0", shape[0] if isinstance(shape[0], int) else None)]
    left = [k for k in range(1, len(shape)) if shape[k] != 1]
    if len(left) != 1 or not samples:
        raise NoChain("a block of the input has no fixed number of samples")
    for k in range(1, len(shape)):
        axes.append("a1" if k == left[0] else "1")
        sizes.append(Size("a1", samples) if k == left[0] else 1)  # type: ignore[arg-type]
    return Signal(tuple(axes), tuple(sizes), ((-1, 0),))
