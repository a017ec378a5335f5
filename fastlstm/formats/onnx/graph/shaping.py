"""Operators that move, select, join and repeat elements, and operators that read or make shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import _core
from ...._typing import Array
from .nodes import MAX_RANK, Node
from .operators import (
    Back,
    Forward,
    Gradients,
    Inputs,
    Run,
    axes_of,
    axis_of,
    integer_list,
    integers,
    operator,
    require,
    unbroadcast,
)


def _reshaped(x: Array, shape: Sequence[int], n_inputs: int) -> tuple[list[Array], Back]:
    def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
        return [None if dy[0] is None else dy[0].reshape(x.shape), *([None] * (n_inputs - 1))]

    return [x.reshape(tuple(shape))], back


@operator("Transpose", 1, perm=list)
def _transpose(node: Node) -> Forward:
    given = node.attributes.get("perm")
    perm = None if given is None else integer_list(given, "perm")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        order = tuple(reversed(range(x.ndim))) if perm is None else tuple(perm)
        require(sorted(order) == list(range(x.ndim)), f"perm {list(order)} does not fit {x.ndim} axes")
        inverse = np.argsort(order)
        return [x.transpose(order)], lambda dy, needs: [None if dy[0] is None else dy[0].transpose(inverse)]

    return forward


def _given_axes(node: Node, inputs: Inputs, since: int) -> list[int] | None:
    """Return the axes of a node: an attribute before opset ``since``, an input from then on."""
    if node.opset < since:
        axes = node.attributes.get("axes")
        return None if axes is None else integer_list(axes, "axes")
    return None if len(inputs) < 2 or inputs[1] is None else integers(inputs[1], "axes")


def _versioned_axes(node: Node, since: int) -> None:
    old = node.opset < since
    require(not (old and len(node.inputs) > 1), f"has axes as an input, which opset {since} introduced")
    require(old or "axes" not in node.attributes, f"has axes as an attribute, which opset {since} removed")
    integer_list(node.attributes.get("axes", []), "axes")


@operator("Squeeze", (1, 2), axes=list)
def _squeeze(node: Node) -> Forward:
    _versioned_axes(node, 13)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        given = _given_axes(node, inputs, 13)
        axes = [k for k, size in enumerate(x.shape) if size == 1] if given is None else axes_of(given, x.ndim)
        for axis in axes:
            require(x.shape[axis] == 1, f"axis {axis} of shape {x.shape} is not 1")
        return _reshaped(x, [size for k, size in enumerate(x.shape) if k not in axes], len(inputs))

    return forward


@operator("Unsqueeze", (1, 2), axes=list)
def _unsqueeze(node: Node) -> Forward:
    _versioned_axes(node, 13)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        given = _given_axes(node, inputs, 13)
        require(given is not None, "axes are missing")
        assert given is not None
        rank = x.ndim + len(given)
        require(rank <= MAX_RANK, f"the result has {rank} axes, at most {MAX_RANK} are supported")
        axes = axes_of(given, rank)
        sizes = iter(x.shape)
        return _reshaped(x, [1 if k in axes else next(sizes) for k in range(rank)], len(inputs))

    return forward


@operator("Reshape", 2, allowzero=int)
def _reshape(node: Node) -> Forward:
    keep_zero = bool(node.attributes.get("allowzero", 0))

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        target = integers(inputs[1], "the shape")
        require(len(target) <= MAX_RANK, f"the result has {len(target)} axes, at most {MAX_RANK} are supported")
        shape = []
        for k, size in enumerate(target):
            if size == 0 and not keep_zero:
                require(k < x.ndim, f"the shape {target} copies axis {k} of {x.shape}, which does not exist")
                size = x.shape[k]
            shape.append(size)
        require(min(shape, default=0) >= -1 and shape.count(-1) <= 1, f"{target} is not a valid shape")
        if -1 in shape:
            rest = 1
            for size in shape:
                rest *= 1 if size == -1 else size
            require(rest > 0 and x.size % rest == 0, f"{x.shape} cannot be reshaped to {target}")
            shape[shape.index(-1)] = x.size // rest
        total = 1
        for size in shape:
            total *= size
        require(total == x.size, f"{x.shape} cannot be reshaped to {target}")
        run.take(shape)
        return _reshaped(x, shape, len(inputs))

    return forward


@operator("Flatten", 1, axis=int)
def _flatten(node: Node) -> Forward:
    axis = node.attributes.get("axis", 1)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        require(-x.ndim <= axis <= x.ndim, f"axis {axis} is out of range for {x.ndim} axes")
        at = axis + x.ndim if axis < 0 else axis
        rows = int(np.prod(x.shape[:at], dtype=np.int64))
        return _reshaped(x, (rows, int(np.prod(x.shape[at:], dtype=np.int64))), 1)

    return forward


@operator("Slice", (1, 5), starts=list, ends=list, axes=list)
def _slice(node: Node) -> Forward:
    old = node.opset < 10
    if old:
        require(len(node.inputs) == 1, "has limits as inputs, which opset 10 introduced")
        require("starts" in node.attributes and "ends" in node.attributes, "has no starts and ends")
        for key, value in node.attributes.items():
            integer_list(value, key)
    else:
        require(not node.attributes and len(node.inputs) >= 3, "expected starts and ends as inputs since opset 10")

    def limits(inputs: Inputs) -> list[list[int] | None]:
        if old:
            values = [node.attributes.get(key) for key in ("starts", "ends", "axes")]
            return [None if one is None else integer_list(one, "a limit") for one in values] + [None]
        parts = [*inputs[1:], *([None] * (5 - len(inputs)))]
        return [integers(parts[0], "starts"), integers(parts[1], "ends")] + [
            None if one is None else integers(one, what) for one, what in zip(parts[2:], ("axes", "steps"), strict=True)
        ]

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        starts, ends, axes, steps = limits(inputs)
        assert starts is not None and ends is not None
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        require(len(starts) == len(ends) == len(axes) == len(steps), "starts, ends, axes, steps differ in number")
        cut = [slice(None)] * x.ndim
        for axis, start, end, step in zip(axes_of(axes, x.ndim), starts, ends, steps, strict=True):
            require(step != 0, "a step is 0")
            cut[axis] = slice(start, end, step)
        index = tuple(cut)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            dx = None
            if dy[0] is not None:
                dx = np.zeros(x.shape, dy[0].dtype)
                dx[index] = dy[0]
            return [dx, *([None] * (len(inputs) - 1))]

        return [x[index]], back

    return forward


@operator("ReverseSequence", 2, since=10, batch_axis=int, time_axis=int)
def _reverse_sequence(node: Node) -> Forward:
    cases, steps = node.attributes.get("batch_axis", 1), node.attributes.get("time_axis", 0)
    require({cases, steps} == {0, 1}, f"batch_axis is {cases} and time_axis {steps}, expected 0 and 1")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, lengths = inputs
        assert x is not None and lengths is not None
        require(x.ndim >= 2 and lengths.shape == (x.shape[cases],), f"lengths {lengths.shape} do not fit {x.shape}")
        require(lengths.dtype.kind in "iu", f"the lengths are {lengths.dtype}, expected integers")
        time = x.shape[steps]
        ends = lengths.astype(np.int64)[:, None]
        require(bool(((ends >= 0) & (ends <= time)).all()), f"a length is out of range for {time} steps")
        step = np.arange(time)[None, :]
        turned = np.where(step < ends, ends - 1 - step, step)  # (cases, steps)
        case = np.arange(len(ends))[:, None]
        index: Any = (turned.T, case.T) if steps == 0 else (case, turned)
        return [x[index]], lambda dy, needs: [None if dy[0] is None else dy[0][index], None]

    return forward


@operator("Concat", (1, 256), axis=int)
def _concat(node: Node) -> Forward:
    require("axis" in node.attributes, "attribute 'axis' is missing")
    given = node.attributes["axis"]

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        arrays = [one for one in inputs if one is not None]
        require(len(arrays) == len(inputs), "an input is missing")
        rank = arrays[0].ndim
        axis = axis_of(given, rank)
        require(all(one.dtype == arrays[0].dtype for one in arrays), "joins different types")
        require(all(one.ndim == rank for one in arrays), "joins different numbers of axes")
        run.take([sum(one.shape[k] for one in arrays) if k == axis else arrays[0].shape[k] for k in range(rank)])
        ends = np.cumsum([one.shape[axis] for one in arrays])[:-1]

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            return [None] * len(arrays) if dy[0] is None else np.split(dy[0], ends, axis=axis)

        return [np.concatenate(arrays, axis=axis)], back

    return forward


@operator("Split", (1, 2), outputs=64, axis=int, split=list, num_outputs=int)
def _split(node: Node) -> Forward:
    given, old = node.attributes.get("axis", 0), node.opset < 13
    require(not (old and len(node.inputs) > 1), "has its sizes as an input, which opset 13 introduced")
    require(old or "split" not in node.attributes, "has its sizes as an attribute, which opset 13 removed")
    count = node.attributes.get("num_outputs", len(node.outputs))
    integer_list(node.attributes.get("split", []), "split")
    require(count == len(node.outputs), f"num_outputs is {count}, but the node has {len(node.outputs)} outputs")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        axis = axis_of(given, x.ndim)
        size = x.shape[axis]
        sizes = None
        if old and "split" in node.attributes:
            sizes = integer_list(node.attributes["split"], "split")
        elif len(inputs) > 1 and inputs[1] is not None:
            sizes = integers(inputs[1], "split")
        if sizes is None:
            chunk = -(-size // count)  # from opset 18 on the last chunk may be smaller
            require(size % count == 0 or node.opset >= 18, f"{size} cannot be split into {count} equal parts")
            sizes = [chunk] * (count - 1) + [size - chunk * (count - 1)]
        fits = len(sizes) == count and min(sizes) >= 0 and sum(sizes) == size
        require(fits, f"an axis of size {size} cannot be split into {count} parts of sizes {sizes}")
        parts = np.split(x, np.cumsum(sizes)[:-1], axis=axis)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            known = [d for d in dy if d is not None]
            if not known:
                return [None] * len(inputs)
            whole = [
                np.zeros(part.shape, known[0].dtype) if d is None else d for d, part in zip(dy, parts, strict=True)
            ]
            return [np.concatenate(whole, axis=axis), *([None] * (len(inputs) - 1))]

        return parts, back

    return forward


@operator("Gather", 2, axis=int)
def _gather(node: Node) -> Forward:
    given = node.attributes.get("axis", 0)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, index = inputs
        assert x is not None and index is not None
        axis = axis_of(given, x.ndim)
        size = x.shape[axis]
        require(index.dtype.kind in "iu", f"the indices are {index.dtype}, expected integers")
        require(x.ndim + index.ndim - 1 <= MAX_RANK, "the result has too many axes")
        run.take(x.shape[:axis] + index.shape + x.shape[axis + 1 :])
        if index.size:
            low, high = int(index.min()), int(index.max())
            wrong = low if low < -size else high
            require(-size <= low and high < size, f"an index is {wrong}, but the axis has size {size}")
        index = np.where(index < 0, index + size, index).astype(np.int64)
        at = index

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None or not needs[0]:
                return [None, None]
            dx = np.zeros(x.shape, dy[0].dtype)
            if axis == 0 and x.ndim == 2 and x.dtype == dy[0].dtype and x.dtype in (np.float32, np.float64):
                rows = np.ascontiguousarray(dy[0]).reshape(-1, x.shape[1])
                _core.embedding_backward(np.ascontiguousarray(at).reshape(-1), rows, dx, run.n_threads)
            else:
                into: Any = (slice(None),) * axis + (at,)
                np.add.at(dx, into, dy[0])
            return [dx, None]

        return [np.take(x, index, axis=axis)], back

    return forward


@operator("Expand", 2, since=8)
def _expand(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        target = integers(inputs[1], "the shape")
        require(len(target) <= MAX_RANK and min(target, default=0) >= 0, f"{target} is not a valid shape")
        run.take(target)
        shape = np.broadcast_shapes(x.shape, tuple(target))
        run.take(shape)
        # Copy: a view that repeats elements takes no memory itself, but hides its size from the operators that follow.
        y = np.array(np.broadcast_to(x, shape))
        return [y], lambda dy, needs: [None if dy[0] is None else unbroadcast(dy[0], x.shape), None]

    return forward


@operator("Tile", 2, since=6)
def _tile(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        repeats = integers(inputs[1], "repeats")
        require(len(repeats) == x.ndim and min(repeats, default=0) >= 0, f"repeats {repeats} do not fit {x.shape}")
        run.take([size * k for size, k in zip(x.shape, repeats, strict=True)])
        require(all(k < 2**31 for k in repeats), f"repeats {repeats} are too many")

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None, None]
            pairs = [n for size, k in zip(x.shape, repeats, strict=True) for n in (k, size)]
            return [dy[0].reshape(pairs).sum(axis=tuple(range(0, 2 * x.ndim, 2))), None]

        return [np.tile(x, repeats)], back

    return forward


@operator("ConstantOfShape", 1, since=9, value=np.ndarray)
def _constant_of_shape(node: Node) -> Forward:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    require(value.size == 1, f"its value has shape {value.shape}, expected one number")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
        shape = integers(inputs[0], "the shape")
        require(len(shape) <= MAX_RANK and min(shape, default=0) >= 0, f"{shape} is not a valid shape")
        run.take(shape)
        require(all(size < 2**62 for size in shape), f"{shape} is not a valid shape")
        return [np.full(shape, value.reshape(())[()], run.floating(value.dtype))], None

    return forward


@operator("Shape", 1, start=int, end=int)
def _shape(node: Node) -> Forward:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    require(node.opset >= 15 or not node.attributes, "has start and end, which opset 15 introduced")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
        x = inputs[0]
        assert x is not None
        return [np.array(x.shape[start:end], np.int64)], None

    return forward


@operator("Size", 1)
def _size(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
        assert inputs[0] is not None
        return [np.array(inputs[0].size, np.int64)], None

    return forward


@operator("Range", 3, since=11, stash_type=int)
def _range(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
        arrays = [one for one in inputs if one is not None]
        require(len(arrays) == 3 and all(one.size == 1 for one in arrays), "expected three numbers")
        require(all(one.dtype == arrays[0].dtype and one.dtype.kind in "fi" for one in arrays), "types differ")
        start, limit, step = (one.reshape(())[()].item() for one in arrays)
        count = np.ceil(np.float64(limit - start) / step) if step else np.nan
        require(bool(np.isfinite(count)), f"the range {start} to {limit} in steps of {step} is infinite")
        count = max(int(count), 0)
        run.take([count])
        return [(start + np.arange(count) * step).astype(arrays[0].dtype)], None

    return forward
