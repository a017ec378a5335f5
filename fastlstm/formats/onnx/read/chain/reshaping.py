"""Nodes that rename, order, add or remove axes; the numbers stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...graph.nodes import Node
from ...graph.operators import axes_of, axis_of
from .flattening import flattened
from .selecting import complete, is_whole, known_axes
from .symbols import Fill, MaskPart, Merged, NoChain, Signal, Size, Sizes, fixed_vector, objects, size_vector, vector
from .trace import Trace

__all__ = [
    "read_cast",
    "read_concat",
    "read_flatten",
    "read_identity",
    "read_reshape",
    "read_shape",
    "read_squeeze",
    "read_transpose",
    "read_unsqueeze",
]


def read_shape(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    if not isinstance(inputs[0], Signal):
        raise NoChain(str(node))
    get = node.attributes.get
    sizes = [None if isinstance(size, Merged) else size for size in inputs[0].sizes]
    return [size_vector(sizes[get("start", 0) : get("end")])]


def read_cast(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    floating = node.attributes.get("to") in (1, 10, 11, 16)
    value = inputs[0]
    if isinstance(value, Signal):
        if ("f" in value.axes or "h" in value.axes) != floating:
            raise NoChain(str(node))
    elif floating or node.attributes.get("to") not in (6, 7):
        raise NoChain(str(node))
    return [value]


def read_identity(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [inputs[0]]


def read_squeeze(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], known_axes(node, inputs)
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        if value.array.size != 1:
            raise NoChain(str(node))
        return [Sizes(value.array.reshape(()))]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    if axes is None:
        axes = [k for k, label in enumerate(value.axes) if label == "1" or trace.is_one(value, k)]
    for axis in sorted(axes_of(axes, len(value.axes)), reverse=True):
        if value.axes[axis] != "1" and not trace.is_one(value, axis):
            raise NoChain(str(node))
        value = value.without(axis)
    return [value]


def read_unsqueeze(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value, axes = inputs[0], known_axes(node, inputs)
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


def read_transpose(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if isinstance(value, Fill):
        return [value]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    perm = node.attributes.get("perm", list(reversed(range(len(value.axes)))))
    if sorted(perm) != list(range(len(value.axes))):
        raise NoChain(str(node))
    return [replace(value, axes=tuple(value.axes[k] for k in perm), sizes=tuple(value.sizes[k] for k in perm))]


def read_concat(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    signals = [one for one in inputs if isinstance(one, Signal)]
    if not signals:
        return [Sizes(np.concatenate([np.atleast_1d(objects(one, node)) for one in inputs]))]
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
        return [complete(trace, joined)]
    # The directions of one layer, concatenated.
    parts = tuple(part for s in signals for part in s.parts)
    item = parts[0][0]
    whole = item >= 0 and parts == tuple((item, k) for k in range(trace.items[item].directions))
    if not whole or first.axes[axis] != "h" or len({s.axes for s in signals}) > 1 or "d" in first.axes:
        raise NoChain(str(node))
    axes = tuple("f" if label == "h" else label for label in first.axes)
    size = sum(s.sizes[axis] for s in signals)
    return [replace(first, axes=axes, sizes=(*first.sizes[:axis], size, *first.sizes[axis + 1 :]), parts=parts)]


def read_reshape(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if isinstance(value, Fill):
        return [value]
    if isinstance(value, Sizes):
        shape = fixed_vector(inputs[1], node)
        if shape not in ([-1], [value.array.size], []) or (not shape and value.array.size != 1):
            raise NoChain(str(node))
        return [Sizes(value.array.reshape(() if not shape else -1))]
    if not isinstance(value, Signal):
        raise NoChain(str(node))
    target = vector(inputs[1], node)
    joined = flattened(trace, value, target, node)
    if joined is not None:
        return [joined]
    if not node.attributes.get("allowzero", 0):
        if any(one == 0 and k >= len(value.sizes) for k, one in enumerate(target)):
            raise NoChain(str(node))
        target = [value.sizes[k] if one == 0 else one for k, one in enumerate(target)]
    return [_regrouped(trace, value, target, node)]


def read_flatten(trace: Trace, node: Node, inputs: Sequence[Any]) -> list[Any]:
    value = inputs[0]
    if not isinstance(value, Signal) or node.attributes.get("axis", 1) != 1 or not isinstance(value.sizes[0], Size):
        raise NoChain(str(node))
    joined = flattened(trace, value, [0, -1], node)
    return [joined or _regrouped(trace, value, [value.sizes[0], -1], node)]


def _regrouped(trace: Trace, signal: Signal, target: list[Any], node: Node) -> Signal:
    """Reshape the signal.

    Each new axis must be one old axis, of size 1, the directions with their units, or the cases with their steps.
    """
    left: list[tuple[str, Any]] = []
    for label, size in zip(signal.axes, signal.sizes, strict=True):
        if isinstance(size, Merged):
            left += size.parts
        elif label != "1":
            left.append((label, size))
    axes: list[str] = []
    sizes: list[Any] = []
    for k, wanted in enumerate(target):
        if wanted is None:
            raise NoChain(str(node))
        if wanted == -1:
            rest = target[k + 1 :]
            ones = min(rest.count(1), sum(1 for _, size in left if size == 1))
            count = len(left) - sum(1 for one in rest if one != 1) - ones
        elif wanted == 1 and not (left and _is_one(left[0][1]) and len(left) >= len(target) - k):
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
        elif set(labels) == {"a0", "a1"}:
            axes.append("rows")
            sizes.append(Merged(tuple(group)))
        else:
            raise NoChain(str(node))
    if left:
        raise NoChain(str(node))
    return replace(signal, axes=tuple(axes), sizes=tuple(sizes))


def _is_one(size: Any) -> bool:
    return size == 1 or (isinstance(size, Size) and size.known == 1)
