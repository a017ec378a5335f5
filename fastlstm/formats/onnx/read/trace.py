"""Recognise a chain of layers in a graph by symbolic execution.

The nodes run on descriptions instead of values: a known array, a shape with variable sizes, a uniform fill, or the
data with a label for each axis. Exporters write a dozen nodes around an LSTM (to make its zero state, to transpose
axes, to drop the axis of directions); in terms of the descriptions these only relabel an axis. An operation that is
not understood raises `NoChain`; the graph then becomes a single layer, `OnnxGraph`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .... import layers as layer_types
from ..graph.elementwise import ACTIVATIONS, activation_of
from ..graph.lstm import all_inputs, kernel_weights, lstm_settings
from ..graph.nodes import Graph, Node
from ..graph.operators import Forward, Run, axes_of, axis_of, make_forward

__all__ = ["Item", "NoChain", "Signal", "Trace", "is_whole"]

Array = npt.NDArray[Any]


class NoChain(Exception):
    """The graph is not a chain of layers; the message names the first node that breaks the chain."""


# ---------------------------------------------------------------------------------------------- descriptions


@dataclass(frozen=True)
class Size:
    """The size of one of the input's first two axes, which may vary."""

    axis: str
    known: int | None = None
    """The size that the file declares, if it does."""


@dataclass(frozen=True)
class Known:
    """A value that does not depend on the data."""

    array: Array


@dataclass(frozen=True)
class Sizes:
    """A vector or scalar of integers and `Size` objects; an element computed from a `Size` is None."""

    array: Array


@dataclass(frozen=True)
class Fill:
    """An array whose elements are all this number; its shape is not tracked."""

    number: float


@dataclass(frozen=True)
class MaskPart:
    """A value from which a mask is computed, or the mask: step indices, lengths of the cases, or which are valid."""

    kind: str
    """``steps``, ``lengths`` or ``valid``."""
    axes: tuple[str, ...]
    """Labels of its axes: ``time``, ``cases`` or ``1``."""


@dataclass(frozen=True)
class Signal:
    """A value computed from the data.

    The labels of its axes are ``a0`` and ``a1`` (the first two axes of the input, one the cases, one the steps), ``f``
    (features), ``d`` (directions of LSTMs), ``h`` (units of a direction) and ``1`` (size 1).
    """

    axes: tuple[str, ...]
    sizes: tuple[Any, ...]
    parts: tuple[tuple[int, int], ...]
    """For each element of the axis d: the index of the item that computed it, and the direction."""
    final: bool = False
    """Whether it is the final state of an LSTM."""
    cell: bool = False

    def without(self, axis: int) -> Signal:
        return replace(
            self, axes=self.axes[:axis] + self.axes[axis + 1 :], sizes=self.sizes[:axis] + self.sizes[axis + 1 :]
        )


@dataclass
class Item:
    """The description of a layer to build."""

    kind: str
    settings: dict[str, Any]
    weights: dict[str, Array] = field(default_factory=dict)
    directions: int = 1


# ---------------------------------------------------------------------------------------------- the trace


class Trace:
    """One symbolic execution of a graph, which collects the items of the chain."""

    def __init__(self, graph: Graph, data: str, lengths: str | None, input_size: int | None) -> None:
        self.graph = graph
        self.items: list[Item] = []
        self.time: str | None = None
        """The input's time axis, ``a0`` or ``a1``; None until the first LSTM determines it."""
        self.has_lengths = lengths is not None
        self.input_size = input_size
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

    def run(self) -> None:
        for node in self.graph.nodes:
            function = make_forward(node)  # also checks the attributes
            inputs = [self.values.get(name) if name else None for name in node.inputs]
            if all(one is None or isinstance(one, Known) for one in inputs):
                results = self._folded(node, function, inputs)
            else:
                handler = _HANDLERS.get(node.op)
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
        if last is not None and last.kind == "lstm":
            steps = not signal.final
            if last.settings.setdefault("return_sequences", steps) != steps:
                raise NoChain(f"{node}: every step and the last one are both used")
        return signal

    def add(self, item: Item, signal: Signal, size: int | None = None) -> Signal:
        """Append a layer to the chain; return the signal after it."""
        self.items.append(item)
        sizes = signal.sizes if size is None else (*signal.sizes[:-1], size)
        return Signal(signal.axes, sizes, ((len(self.items) - 1, 0),))

    def features(self, signal: Signal, node: Node) -> None:
        if signal.axes[-1:] != ("f",):
            raise NoChain(f"{node}: the features are not the last axis")


def _complete(trace: Trace, signal: Signal) -> Signal:
    """Relabel d and h as 1 and f if the signal comes from an LSTM that has only one direction."""
    if "d" in signal.axes and len(signal.parts) == 1 and trace.items[signal.parts[0][0]].directions == 1:
        return replace(signal, axes=tuple({"d": "1", "h": "f"}.get(axis, axis) for axis in signal.axes))
    return signal


def _chosen(trace: Trace, signal: Signal, axis: int, index: Sequence[int], keep: bool, node: Node) -> Signal:
    """Select these elements of an axis; drop the axis unless it is kept."""
    label = signal.axes[axis]
    if label == "1":
        if any(k not in (0, -1) for k in index) or len(index) != 1:
            raise NoChain(str(node))
        return signal if keep else signal.without(axis)
    if label == "d":
        size = len(signal.parts)
        if any(not -size <= k < size for k in index) or (len(index) != 1 and not keep):
            raise NoChain(str(node))
        signal = replace(signal, parts=tuple(signal.parts[k] for k in index))
        signal = replace(signal, sizes=(*signal.sizes[:axis], len(index), *signal.sizes[axis + 1 :]))
        if keep:
            return _complete(trace, signal)
        only = signal.parts[0]
        axes = signal.axes
        if trace.items[only[0]].directions == 1:
            axes = tuple("f" if one == "h" else one for one in axes)
        return replace(signal, axes=axes).without(axis)
    if label != trace.time or trace.has_lengths or len(index) != 1:
        raise NoChain(str(node))
    return _at_step(trace, signal, axis, index[0], keep, node)


def _at_step(trace: Trace, signal: Signal, axis: int, step: int, keep: bool, node: Node) -> Signal:
    """Select one step: the last one, or the first one of directions that run backwards."""
    known = signal.sizes[axis].known if isinstance(signal.sizes[axis], Size) else None
    is_last = step == -1 or (known is not None and step == known - 1)
    is_first = step == 0 or (known is not None and step == -known)
    item = trace.items[signal.parts[0][0]] if signal.parts[0][0] >= 0 else None
    last_of = {(k, direction) for k, direction in signal.parts}
    if item is not None and item.kind == "lstm" and not signal.final and len({k for k, _ in last_of}) == 1:
        reverse = item.settings["reverse"]
        ends = {reverse[direction] for _, direction in signal.parts}
        if (is_last and ends == {False}) or (is_first and ends == {True}):
            cut = replace(signal, final=True)
            if keep:
                labels = cut.axes[:axis] + ("1",) + cut.axes[axis + 1 :]
                return replace(cut, axes=labels, sizes=(*cut.sizes[:axis], 1, *cut.sizes[axis + 1 :]))
            return cut.without(axis)
    pool = getattr(layer_types, "LastStep", None)
    if not is_last or pool is None:
        raise NoChain(str(node))
    return _pooled(trace, signal, axis, keep, "LastStep", node)


def _pooled(trace: Trace, signal: Any, axis: int, keep: bool, kind: str, node: Node) -> Signal:
    signal = trace.top(signal, node)
    trace.features(signal, node)
    if signal.axes[axis] != trace.time or trace.has_lengths or not hasattr(layer_types, kind):
        raise NoChain(str(node))
    out = trace.add(Item(kind, {}), signal)
    if keep:
        return replace(
            out,
            axes=(*out.axes[:axis], "1", *out.axes[axis + 1 :]),
            sizes=(*out.sizes[:axis], 1, *out.sizes[axis + 1 :]),
        )
    return out.without(axis)


# ---------------------------------------------------------------------------------------------- shapes


def _vector(value: Any, node: Node) -> list[Any]:
    """Return a value that holds integers or variable sizes as a list."""
    if isinstance(value, Known) and value.array.dtype.kind in "iu" and value.array.ndim <= 1 and value.array.size <= 64:
        return [int(one) for one in value.array.reshape(-1)]
    if isinstance(value, Sizes):
        return list(value.array.reshape(-1))
    raise NoChain(str(node))


def _fixed_vector(value: Any, node: Node) -> list[int]:
    """Return a value that holds integers only as a list."""
    numbers = _vector(value, node)
    if not all(isinstance(one, int) for one in numbers):
        raise NoChain(str(node))
    return numbers


def _objects(value: Any, node: Node) -> Array:
    """Return integers or variable sizes as an array of objects, in the value's shape."""
    if isinstance(value, Sizes):
        return value.array
    if isinstance(value, Known) and value.array.dtype.kind in "iu" and value.array.ndim <= 1:
        return _size_vector(_vector(value, node)).array.reshape(value.array.shape)
    raise NoChain(str(node))


def _size_vector(numbers: Sequence[Any]) -> Sizes:
    array = np.empty(len(numbers), object)
    for k, one in enumerate(numbers):
        array[k] = one
    return Sizes(array)


def _shape_of(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    if not isinstance(inputs[0], Signal):
        raise NoChain(str(node))
    get = node.attributes.get
    return [_size_vector(inputs[0].sizes[get("start", 0) : get("end")])]


def _known_axes(node: Node, inputs: Sequence[Any]) -> list[int] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return _fixed_vector(inputs[1], node)
    return node.attributes.get("axes")


def _cast(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    floating = node.attributes.get("to") in (1, 10, 11, 16)
    value = inputs[0]
    if isinstance(value, Signal):
        if ("f" in value.axes or "h" in value.axes) != floating:
            raise NoChain(str(node))
    elif floating or node.attributes.get("to") not in (6, 7):
        raise NoChain(str(node))
    return [value]


def _identity(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [inputs[0]]


def _dropout(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    ratio = node.attributes.get("ratio", 0.5)
    if len(inputs) > 1 and inputs[1] is not None:
        if not isinstance(inputs[1], Known) or inputs[1].array.size != 1:
            raise NoChain(str(node))
        ratio = float(inputs[1].array.reshape(()))
    if len(node.outputs) > 1 and node.outputs[1]:
        raise NoChain(str(node))
    if not isinstance(inputs[0], Signal) or not 0 < ratio < 1:
        return [inputs[0]]
    return [trace.add(Item("dropout", {"p": ratio}), trace.top(inputs[0], node))]


def _gather(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, index = inputs
    axis = node.attributes.get("axis", 0)
    if isinstance(value, Known) and isinstance(index, Signal):
        table, signal = value.array, trace.top(index, node)
        if table.ndim != 2 or table.dtype.kind != "f" or axis % 2 or trace.items or "f" in signal.axes:
            raise NoChain(str(node))
        item = Item("embedding", {"num_embeddings": table.shape[0], "embedding_dim": table.shape[1]})
        item.weights["weight"] = table
        signal = replace(signal, axes=(*signal.axes, "f"), sizes=(*signal.sizes, table.shape[1]))
        return [trace.add(item, signal)]
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        if not isinstance(index, Known) or index.array.ndim > 1:
            raise NoChain(str(node))
        entries = [_entry(value.array.reshape(-1), at, node) for at in _fixed_vector(index, node)]
        taken = _size_vector(entries)
        return [Sizes(taken.array.reshape(index.array.shape))]
    if not isinstance(value, Signal) or not isinstance(index, Known) or index.array.ndim > 1:
        raise NoChain(str(node))
    numbers = _fixed_vector(index, node)
    return [_chosen(trace, value, axis_of(axis, len(value.axes)), numbers, index.array.ndim == 1, node)]


def _entry(array: Array, index: int, node: Node) -> Any:
    if not -len(array) <= index < len(array):
        raise NoChain(str(node))
    return array[index]


def _slice(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    if isinstance(inputs[0], Fill):
        return inputs[:1]  # type: ignore[return-value]
    if node.opset < 10:
        starts, ends = node.attributes.get("starts", []), node.attributes.get("ends", [])
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends = (_fixed_vector(one, node) for one in inputs[1:3])
        axes, steps = (_fixed_vector(one, node) if one is not None else None for one in [*inputs[3:], None, None][:2])
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(step == 0 for step in steps):
        raise NoChain(str(node))
    value = inputs[0]
    if isinstance(value, Sizes):
        cut = value.array
        for start, end, step in zip(starts, ends, steps, strict=True):
            cut = cut[slice(start, end, step)]
        return [Sizes(cut)]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    for axis, start, end, step in zip(axes_of(axes, len(value.axes)), starts, ends, steps, strict=True):
        size = value.sizes[axis]
        if isinstance(size, int):
            index = list(range(size))[slice(start, end, step)]
            if index != list(range(size)):
                value = _chosen(trace, value, axis, index, True, node)
        elif (start, step) == (0, 1) and end >= 2**31 - 1:
            pass
        elif start == -1 and step == 1 and end >= 2**31 - 1:
            value = _chosen(trace, value, axis, [-1], True, node)
        elif (start, end, step) == (0, 1, 1):
            value = _chosen(trace, value, axis, [0], True, node)
        else:
            raise NoChain(str(node))
    return [value]


def _squeeze(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], _known_axes(node, inputs)
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        if value.array.size != 1:
            raise NoChain(str(node))
        return [Sizes(value.array.reshape(()))]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    if axes is None:
        axes = [k for k, label in enumerate(value.axes) if label == "1"]
    for axis in sorted(axes_of(axes, len(value.axes)), reverse=True):
        if value.axes[axis] != "1":
            raise NoChain(str(node))
        value = value.without(axis)
    return [value]


def _unsqueeze(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], _known_axes(node, inputs)
    if axes is None:
        raise NoChain(str(node))
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, MaskPart):
        labels = iter(value.axes)
        rank = len(value.axes) + len(axes)
        new = axes_of(axes, rank)
        return [replace(value, axes=tuple("1" if k in new else next(labels) for k in range(rank)))]
    if isinstance(value, Sizes):
        if len(axes) != 1 or value.array.ndim != 0:
            raise NoChain(str(node))
        return [Sizes(value.array.reshape(1))]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    for axis in sorted(axes_of(axes, len(value.axes) + len(axes))):
        value = replace(
            value,
            axes=(*value.axes[:axis], "1", *value.axes[axis:]),
            sizes=(*value.sizes[:axis], 1, *value.sizes[axis:]),
        )
    return [value]


def _transpose(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if isinstance(value, Fill):
        return [value]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    perm = node.attributes.get("perm", list(reversed(range(len(value.axes)))))
    if sorted(perm) != list(range(len(value.axes))):
        raise NoChain(str(node))
    return [replace(value, axes=tuple(value.axes[k] for k in perm), sizes=tuple(value.sizes[k] for k in perm))]


def _concat(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signals = [one for one in inputs if isinstance(one, Signal)]
    if not signals:
        return [Sizes(np.concatenate([np.atleast_1d(_objects(one, node)) for one in inputs]))]
    if len(signals) < len(inputs):
        raise NoChain(str(node))
    first = signals[0]
    axis = axis_of(node.attributes.get("axis", 0), len(first.axes))
    if len({(len(s.axes), s.final, s.cell) for s in signals}) > 1:
        raise NoChain(str(node))
    if first.axes[axis] in ("1", "d"):  # the states of several layers, stacked
        labels = {s.axes[:axis] + s.axes[axis + 1 :] for s in signals}
        labels = {tuple("h" if one == "f" else one for one in label) for label in labels}
        if len(labels) > 1 or not first.final or any(s.axes[axis] not in ("1", "d") for s in signals):
            raise NoChain(str(node))
        if len({s.sizes[:axis] + s.sizes[axis + 1 :] for s in signals}) > 1:
            raise NoChain(str(node))
        (label,) = labels
        parts = tuple(part for s in signals for part in s.parts)
        joined = replace(
            first,
            axes=(*label[:axis], "d", *label[axis:]),
            sizes=(*first.sizes[:axis], len(parts), *first.sizes[axis + 1 :]),
            parts=parts,
        )
        return [_complete(trace, joined)]
    # The directions of one layer, concatenated.
    parts = tuple(part for s in signals for part in s.parts)
    item = parts[0][0]
    whole = item >= 0 and parts == tuple((item, k) for k in range(trace.items[item].directions))
    if not whole or first.axes[axis] != "h" or len({s.axes for s in signals}) > 1 or "d" in first.axes:
        raise NoChain(str(node))
    axes = tuple("f" if label == "h" else label for label in first.axes)
    size = sum(s.sizes[axis] for s in signals)
    return [replace(first, axes=axes, sizes=(*first.sizes[:axis], size, *first.sizes[axis + 1 :]), parts=parts)]


def _split(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    axis = axis_of(node.attributes.get("axis", 0), len(value.axes))
    sizes = node.attributes.get("split")
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = _fixed_vector(inputs[1], node)
    if value.axes[axis] != "d" or (sizes is not None and set(sizes) != {1}) or len(node.outputs) != len(value.parts):
        raise NoChain(str(node))
    return [_chosen(trace, value, axis, [k], True, node) for k in range(len(value.parts))]


def _reshape(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        shape = _fixed_vector(inputs[1], node)
        if shape not in ([-1], [value.array.size], []) or (not shape and value.array.size != 1):
            raise NoChain(str(node))
        return [Sizes(value.array.reshape(() if not shape else -1))]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    target = _vector(inputs[1], node)
    if not node.attributes.get("allowzero", 0):
        if any(one == 0 and k >= len(value.sizes) for k, one in enumerate(target)):
            raise NoChain(str(node))
        target = [value.sizes[k] if one == 0 else one for k, one in enumerate(target)]
    return [_regrouped(trace, value, target, node)]


def _flatten(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if not isinstance(value, Signal) or node.attributes.get("axis", 1) != 1 or not isinstance(value.sizes[0], Size):
        raise NoChain(str(node))
    return [_regrouped(trace, value, [value.sizes[0], -1], node)]


def _regrouped(trace: Trace, signal: Signal, target: list[Any], node: Node) -> Signal:
    """Reshape the signal; each new axis must be one old axis, of size 1, or the directions with their units."""
    left = [(label, size) for label, size in zip(signal.axes, signal.sizes, strict=True) if label != "1"]
    axes: list[str] = []
    sizes: list[Any] = []
    for k, wanted in enumerate(target):
        if wanted is None:
            raise NoChain(str(node))
        if wanted == -1:
            count = len(left) - sum(1 for one in target[k + 1 :] if one != 1)
        elif wanted == 1 and not (left and left[0][1] == 1 and len(left) >= len(target) - k):
            count = 0
        else:
            count = 1
            product = left[0][1] if left else None
            while isinstance(wanted, int) and isinstance(product, int) and product < wanted and count < len(left):
                following = left[count][1]
                if not isinstance(following, int):
                    break
                product *= following
                count += 1
            if not left or (isinstance(product, int) and product != wanted):
                raise NoChain(str(node))
            if isinstance(wanted, Size) and wanted != left[0][1]:
                raise NoChain(str(node))
            if isinstance(product, Size) and isinstance(wanted, int) and product.known not in (None, wanted):
                raise NoChain(str(node))
        if count < 0 or count > len(left):
            raise NoChain(str(node))
        group, left = left[:count], left[count:]
        labels = tuple(label for label, _ in group)
        if not labels:
            axes.append("1")
            sizes.append(1)
        elif len(labels) == 1:
            axes.append(labels[0])
            sizes.append(group[0][1])
        elif labels == ("d", "h") and is_whole(trace, signal):
            axes.append("f")
            sizes.append(group[0][1] * group[1][1])
        else:
            raise NoChain(str(node))
    if left:
        raise NoChain(str(node))
    return replace(signal, axes=tuple(axes), sizes=tuple(sizes))


def is_whole(trace: Trace, signal: Signal) -> bool:
    item = signal.parts[0][0]
    return item >= 0 and signal.parts == tuple((item, k) for k in range(trace.items[item].directions))


def _filled(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle ConstantOfShape and Expand."""
    if node.op == "ConstantOfShape":
        value = node.attributes.get("value", np.zeros(1, np.float32))
    elif isinstance(inputs[0], Fill):
        return [inputs[0]]
    elif isinstance(inputs[0], Known):
        value = inputs[0].array
    else:
        raise NoChain(str(node))
    if value.size == 0 or value.dtype.kind != "f" or not (value == value.flat[0]).all():
        raise NoChain(str(node))
    return [Fill(float(value.flat[0]))]


def _range(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Range: 0, 1, 2, ... are the indices of the steps."""
    start, limit, step = (_vector(one, node) for one in inputs)
    if start != [0] or step != [1] or not isinstance(limit[0], Size) or limit[0].axis != trace.time:
        raise NoChain(str(node))
    return [MaskPart("steps", ("time",))]


def _less(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Less: step indices less than the lengths make the mask of valid steps."""
    steps, lengths = inputs
    if not isinstance(steps, MaskPart) or not isinstance(lengths, MaskPart) or len(steps.axes) != len(lengths.axes):
        raise NoChain(str(node))
    pairs = list(zip(steps.axes, lengths.axes, strict=True))
    if (steps.kind, lengths.kind) != ("steps", "lengths") or any("1" not in pair for pair in pairs):
        raise NoChain(str(node))
    return [MaskPart("valid", tuple(b if a == "1" else a for a, b in pairs))]


def _where(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Where: zeros beyond the lengths, which a model's outputs have anyway."""
    valid, signal, other = inputs
    if not isinstance(valid, MaskPart) or valid.kind != "valid" or not isinstance(signal, Signal):
        raise NoChain(str(node))
    if not _is_zero(other):
        raise NoChain(str(node))
    if not isinstance(other, Known) or other.array.size != 1 or len(valid.axes) != len(signal.axes):
        raise NoChain(str(node))
    names = {trace.time: "time", {"a0": "a1", "a1": "a0"}.get(trace.time or "", ""): "cases"}
    if any(mark not in ("1", names.get(axis)) for mark, axis in zip(valid.axes, signal.axes, strict=True)):
        raise NoChain(str(node))
    return [signal]


# ---------------------------------------------------------------------------------------------- layers


def _arithmetic(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Handle Add, Sub, Mul and Div: a bias, a scaler, or arithmetic on sizes."""
    if any(isinstance(one, Sizes) for one in inputs):
        a, b = (_objects(one, node) for one in inputs)
        if a.size != 1 or b.size != 1:
            raise NoChain(str(node))
        x, y = a.reshape(-1)[0], b.reshape(-1)[0]
        result: Any = None
        if isinstance(x, int) and isinstance(y, int) and node.op != "Div":
            result = {"Add": x + y, "Sub": x - y, "Mul": x * y}[node.op]
        elif node.op == "Mul" and 1 in (x, y):
            result = y if x == 1 else x
        filled = np.empty(np.broadcast_shapes(a.shape, b.shape), object)
        filled.fill(result)
        return [Sizes(filled)]
    swapped = isinstance(inputs[0], Known)
    value, constant = inputs[::-1] if swapped else inputs
    if not isinstance(constant, Known) or (swapped and node.op in ("Sub", "Div")):
        raise NoChain(str(node))
    signal = trace.top(value, node)
    trace.features(signal, node)
    array, size = constant.array, signal.sizes[-1]
    flat = array.reshape(-1)
    if array.dtype.kind != "f" or not isinstance(size, int) or array.shape[-1:] not in ((size,), (1,), ()):
        raise NoChain(str(node))
    if flat.size != (array.shape[-1] if array.ndim else 1) or array.ndim > len(signal.axes):
        raise NoChain(str(node))
    last = trace.items[-1] if trace.items else None
    if node.op == "Add" and last is not None and last.kind == "dense" and not last.settings["bias"]:
        last.settings["bias"] = True
        last.weights["bias"] = np.broadcast_to(flat, size)
        return [signal]
    return [trace.add(Item("affine", {"op": node.op, "by": flat}), signal)]


def _dense(trace: Trace, signal: Signal, weight: Array, bias: Array | None) -> Signal:
    item = Item("dense", {"output_size": weight.shape[0], "bias": bias is not None}, {"weight": weight})
    if bias is not None:
        item.weights["bias"] = bias
    return trace.add(item, signal, weight.shape[0])


def _matmul(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, weight = inputs
    if not isinstance(weight, Known) or weight.array.ndim != 2 or weight.array.dtype.kind != "f":
        raise NoChain(str(node))
    signal = trace.top(value, node)
    trace.features(signal, node)
    if signal.sizes[-1] != weight.array.shape[0] or 0 in weight.array.shape:
        raise NoChain(str(node))
    return [_dense(trace, signal, weight.array.T, None)]


def _gemm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    get = node.attributes.get
    if not all(isinstance(one, Known) or one is None for one in inputs[1:]) or get("transA", 0):
        raise NoChain(str(node))
    signal = trace.top(inputs[0], node)
    trace.features(signal, node)
    weight = inputs[1].array if inputs[1] is not None else np.zeros(0)
    if weight.ndim != 2 or weight.dtype.kind != "f" or len(signal.axes) != 2 or not isinstance(signal.sizes[0], Size):
        raise NoChain(str(node))
    weight = (weight if get("transB", 0) else weight.T) * weight.dtype.type(get("alpha", 1.0))
    if weight.shape[1] != signal.sizes[1] or 0 in weight.shape:
        raise NoChain(str(node))
    bias = None
    if len(inputs) > 2 and inputs[2] is not None:
        given = inputs[2].array
        if given.size not in (1, weight.shape[0]) or given.shape[-1:] not in ((), (1,), (weight.shape[0],)):
            raise NoChain(str(node))
        bias = np.broadcast_to(given.reshape(-1) * given.dtype.type(get("beta", 1.0)), weight.shape[0])
    return [_dense(trace, signal, weight, bias)]


def _activation(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signal = trace.top(inputs[0], node)
    trace.features(signal, node)
    if node.op == "Softmax":
        axis = axis_of(node.attributes.get("axis", 1 if node.opset < 13 else -1), len(signal.axes))
        if axis != len(signal.axes) - 1:
            raise NoChain(str(node))
        return [trace.add(Item("activation", {"kind": "softmax"}), signal)]
    function = activation_of(node)
    return [trace.add(Item("activation", {"kind": function}), signal)]


def _reduce(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], _known_axes(node, inputs)
    if not isinstance(value, Signal) or axes is None or len(axes) != 1:
        raise NoChain(str(node))
    kind = {"ReduceMean": "MeanPool", "ReduceMax": "MaxPool"}[node.op]
    axis = axis_of(axes[0], len(value.axes))
    return [_pooled(trace, value, axis, bool(node.attributes.get("keepdims", 1)), kind, node)]


def _is_zero(value: Any) -> bool:
    if isinstance(value, Known):
        return not value.array.any()
    return value is None or (isinstance(value, Fill) and value.number == 0)


def _lstm(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    x, w, r, b, lengths, h0, c0, p = all_inputs(inputs)
    settings = lstm_settings(node)
    weights = [w, r, b, p]
    if not all(one is None or isinstance(one, Known) for one in weights) or None in (w, r):
        raise NoChain(str(node))
    if not _is_zero(h0) or not _is_zero(c0):
        raise NoChain(f"{node} has initial states that are not zero")
    if (lengths is not None) != trace.has_lengths or lengths not in (None, MaskPart("lengths", ("cases",))):
        raise NoChain(str(node))
    signal = trace.top(x, node)
    arrays = [None if one is None else one.array for one in weights]
    checked = _checked_weights(arrays, settings.reverse, settings.hidden_size, signal.sizes[-1], node)
    hidden, size = checked
    if len(signal.axes) != 3 or signal.axes[2] != "f" or set(signal.axes[:2]) != {"a0", "a1"}:
        raise NoChain(str(node))
    if trace.items == [] and trace.input_size is None:
        trace.input_size = size
    cases, steps = (0, 1) if settings.batch_first else (1, 0)
    if trace.time not in (None, signal.axes[steps]):
        raise NoChain(f"{node}: the batch and time axes are swapped compared with an earlier LSTM")
    trace.time = signal.axes[steps]
    directions = len(settings.reverse)
    item = Item("lstm", {"hidden_size": hidden, "reverse": settings.reverse, "bias": b is not None}, {}, directions)
    item.settings["cells"] = settings.cells
    item.settings["peepholes"] = p is not None
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
    outputs = [
        Signal(tuple(a for a, _ in axes), tuple(s for _, s in axes), parts, final=k > 0, cell=k == 2)
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
        "peepholes": weights.more.peepholes,
    }
    return {f"{name}_l0{suffix}": value for name, value in named.items() if value is not None}


_HANDLERS: dict[str, Callable[[Trace, Node, Sequence[Any]], list[Any]]] = {
    "Add": _arithmetic, "Sub": _arithmetic, "Mul": _arithmetic, "Div": _arithmetic,
    "Cast": _cast, "Concat": _concat, "ConstantOfShape": _filled, "Dropout": _dropout, "Expand": _filled,
    "Flatten": _flatten, "Gather": _gather, "Gemm": _gemm, "Identity": _identity, "Less": _less,
    "LSTM": _lstm, "MatMul": _matmul, "Range": _range, "ReduceMax": _reduce, "ReduceMean": _reduce, "Reshape": _reshape,
    "Shape": _shape_of, "Slice": _slice,
    "Softmax": _activation, "Split": _split, "Squeeze": _squeeze, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
    "Where": _where,
    **dict.fromkeys(ACTIVATIONS, _activation),
}  # fmt: skip
