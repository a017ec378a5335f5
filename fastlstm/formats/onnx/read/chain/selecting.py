"""Nodes that select a part of the data: a step, a direction, a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ....._typing import Array
from ...graph.nodes import Node
from ...graph.operators import axes_of, axis_of
from .spectra import channels
from .symbols import Fill, Known, NoChain, Signal, Size, Sizes, fixed_vector, size_vector
from .trace import Item, Trace

__all__ = ["complete", "is_whole", "known_axes", "read_gather", "read_reduce", "read_slice", "read_split"]


def read_gather(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, index = inputs
    axis = node.attributes.get("axis", 0)
    if isinstance(value, Known) and isinstance(index, Signal):
        table, signal = value.array, trace.top(index, node)
        if table.ndim != 2 or table.dtype.kind != "f" or axis % 2 or trace.items or "f" in signal.axes:
            raise NoChain(str(node))
        item = Item("Embedding", {"num_embeddings": table.shape[0], "embedding_dim": table.shape[1]})
        item.weights["weight"] = table
        signal = replace(signal, axes=(*signal.axes, "f"), sizes=(*signal.sizes, table.shape[1]))
        return [trace.add(item, signal)]
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        if not isinstance(index, Known) or index.array.ndim > 1:
            raise NoChain(str(node))
        entries = [_entry(value.array.reshape(-1), at, node) for at in fixed_vector(index, node)]
        taken = size_vector(entries)
        return [Sizes(taken.array.reshape(index.array.shape))]
    if not isinstance(value, Signal) or not isinstance(index, Known) or index.array.ndim > 1:
        raise NoChain(str(node))
    numbers = fixed_vector(index, node)
    return [chosen(trace, value, axis_of(axis, len(value.axes)), numbers, index.array.ndim == 1, node)]


def _entry(array: Array, index: int, node: Node) -> Any:
    if not -len(array) <= index < len(array):
        raise NoChain(str(node))
    return array[index]


def read_slice(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    if isinstance(inputs[0], Fill):
        return inputs[:1]  # type: ignore[return-value]
    if node.opset < 10:
        starts, ends = node.attributes.get("starts", []), node.attributes.get("ends", [])
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends = (fixed_vector(one, node) for one in inputs[1:3])
        axes, steps = (fixed_vector(one, node) if one is not None else None for one in [*inputs[3:], None, None][:2])
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
            if value.axes[axis] == "f" and step == 1 and 0 < len(index) < size and len(axes) == 1:
                return [channels(trace, value, axis, index[0], index[-1] + 1, node)]
            if index != list(range(size)):
                value = chosen(trace, value, axis, index, True, node)
        elif (start, step) == (0, 1) and end >= 2**31 - 1:
            pass
        elif start == -1 and step == 1 and end >= 2**31 - 1:
            value = chosen(trace, value, axis, [-1], True, node)
        elif (start, end, step) == (0, 1, 1):
            value = chosen(trace, value, axis, [0], True, node)
        else:
            raise NoChain(str(node))
    return [value]


def read_split(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    axis = axis_of(node.attributes.get("axis", 0), len(value.axes))
    sizes = node.attributes.get("split")
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = fixed_vector(inputs[1], node)
    size = value.sizes[axis]
    if value.axes[axis] == "f" and isinstance(size, int):
        parts = sizes or [-(-size // len(node.outputs))] * len(node.outputs)
        if sum(parts) != size or len(parts) != len(node.outputs):
            raise NoChain(str(node))
        ends = [sum(parts[: k + 1]) for k in range(len(parts))]
        return [channels(trace, value, axis, end - n, end, node) for n, end in zip(parts, ends, strict=True)]
    if value.axes[axis] != "d" or (sizes is not None and set(sizes) != {1}) or len(node.outputs) != len(value.parts):
        raise NoChain(str(node))
    return [chosen(trace, value, axis, [k], True, node) for k in range(len(value.parts))]


def read_reduce(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], known_axes(node, inputs)
    if not isinstance(value, Signal) or axes is None or len(axes) != 1:
        raise NoChain(str(node))
    kind = {"ReduceMean": "MeanPool", "ReduceMax": "MaxPool"}[node.op]
    axis = axis_of(axes[0], len(value.axes))
    if trace.is_one(value, axis):
        keep = bool(node.attributes.get("keepdims", 1))
        return [value if keep else value.without(axis)]
    return [pooled(trace, value, axis, bool(node.attributes.get("keepdims", 1)), kind, node)]


def chosen(trace: Trace, signal: Signal, axis: int, index: Sequence[int], keep: bool, node: Node) -> Signal:
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
            return complete(trace, signal)
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
    if trace.is_one(signal, axis) and step in (0, -1):
        return signal if keep else signal.without(axis)
    size = signal.sizes[axis]
    known = size.known if isinstance(size, Size) else size
    is_last = step == -1 or (known is not None and step == known - 1)
    is_first = step == 0 or (known is not None and step == -known)
    item = trace.items[signal.parts[0][0]] if signal.parts[0][0] >= 0 else None
    if item is not None and item.kind == "LSTM" and not signal.final and len({k for k, _ in signal.parts}) == 1:
        reverse = item.settings["reverse"]
        ends = {reverse[direction] for _, direction in signal.parts}
        if (is_last and ends == {False}) or (is_first and ends == {True}):
            cut = replace(signal, final=True)
            if keep:
                labels = cut.axes[:axis] + ("1",) + cut.axes[axis + 1 :]
                return replace(cut, axes=labels, sizes=(*cut.sizes[:axis], 1, *cut.sizes[axis + 1 :]))
            return cut.without(axis)
    if not is_last:
        raise NoChain(str(node))
    return pooled(trace, signal, axis, keep, "LastStep", node)


def pooled(trace: Trace, signal: Any, axis: int, keep: bool, kind: str, node: Node) -> Signal:
    signal = trace.top(signal, node)
    trace.features(signal, node)
    if signal.axes[axis] != trace.time or trace.has_lengths:
        raise NoChain(str(node))
    out = trace.add(Item(kind, {}, ends_series=True), signal)
    if keep:
        return replace(
            out,
            axes=(*out.axes[:axis], "1", *out.axes[axis + 1 :]),
            sizes=(*out.sizes[:axis], 1, *out.sizes[axis + 1 :]),
        )
    return out.without(axis)


def complete(trace: Trace, signal: Signal) -> Signal:
    """Relabel d and h as 1 and f if the signal comes from an LSTM that has only one direction."""
    if "d" in signal.axes and len(signal.parts) == 1 and trace.items[signal.parts[0][0]].directions == 1:
        return replace(signal, axes=tuple({"d": "1", "h": "f"}.get(axis, axis) for axis in signal.axes))
    return signal


def known_axes(node: Node, inputs: Sequence[Any]) -> list[int] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return fixed_vector(inputs[1], node)
    return node.attributes.get("axes")


def is_whole(trace: Trace, signal: Signal) -> bool:
    item = signal.parts[0][0]
    return item >= 0 and signal.parts == tuple((item, k) for k in range(trace.items[item].directions))
