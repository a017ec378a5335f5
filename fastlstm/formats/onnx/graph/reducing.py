"""Operators that sum over axes: matrix products, reductions, softmax, normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .... import _exact
from ...._typing import Array
from .nodes import Node
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

# ---------------------------------------------------------------------------------------------- products


@operator("MatMul", 2)
def _matmul(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        a, b = inputs
        assert a is not None and b is not None
        require(a.ndim >= 1 and b.ndim >= 1, "multiplies a scalar")
        require(a.dtype == b.dtype and a.dtype.kind in "fiu", f"reads {a.dtype} and {b.dtype}, expected one type")
        left, right = np.atleast_2d(a), b if b.ndim > 1 else b[:, None]
        require(left.shape[-1] == right.shape[-2], f"shapes {a.shape} and {b.shape} do not fit")
        stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        shape = (*stack, left.shape[-2], right.shape[-1])
        run.take(shape)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None, None]
            d = dy[0].reshape(shape)
            to_a = to_b = None
            if needs[0]:
                to_a = unbroadcast(d @ right.swapaxes(-1, -2), left.shape).reshape(a.shape)
            if needs[1]:
                if right.ndim == 2:  # the weights of a dense layer: one product for all cases, not one for each
                    to_b = left.reshape(-1, left.shape[-1]).T @ d.reshape(-1, d.shape[-1])
                else:
                    to_b = unbroadcast(left.swapaxes(-1, -2) @ d, right.shape)
                to_b = to_b.reshape(b.shape)
            return [to_a, to_b]

        return [np.asarray(a @ b)], back

    return forward


@operator("Gemm", (2, 3), alpha=float, beta=float, transA=int, transB=int)
def _gemm(node: Node) -> Forward:
    get = node.attributes.get
    alpha, beta, turn_a, turn_b = get("alpha", 1.0), get("beta", 1.0), get("transA", 0), get("transB", 0)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        a, b, c = [*inputs, None][:3]
        assert a is not None and b is not None
        require(a.ndim == b.ndim == 2, f"multiplies shapes {a.shape} and {b.shape}, expected two matrices")
        require(a.dtype == b.dtype and a.dtype.kind == "f", f"reads {a.dtype} and {b.dtype}, expected one type")
        left, right = (a.T if turn_a else a), (b.T if turn_b else b)
        require(left.shape[1] == right.shape[0], f"shapes {left.shape} and {right.shape} do not fit")
        shape = (left.shape[0], right.shape[1])
        run.take(shape)
        y = left @ right
        if alpha != 1:
            y = y * a.dtype.type(alpha)
        if c is not None:
            require(c.dtype == a.dtype, f"adds {c.dtype} to {a.dtype}")
            require(np.broadcast_shapes(c.shape, shape) == shape, f"adds shape {c.shape} to {shape}")
            y = y + (c if beta == 1 else a.dtype.type(beta) * c)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None] * len(inputs)
            scaled = dy[0] if alpha == 1 else dy[0] * a.dtype.type(alpha)
            result: list[Array | None] = [None, None]
            if needs[0]:
                to_a = scaled @ right.T
                result[0] = to_a.T if turn_a else to_a
            if needs[1]:
                to_b = left.T @ scaled
                result[1] = to_b.T if turn_b else to_b
            if len(inputs) == 3:
                to_c = None
                if c is not None and needs[2]:
                    to_c = unbroadcast(dy[0] if beta == 1 else dy[0] * a.dtype.type(beta), c.shape)
                result.append(to_c)
            return result

        return [y], back

    return forward


# ---------------------------------------------------------------------------------------------- reductions


def _reduction(name: str, since: int, compute: Callable[[Array, tuple[int, ...]], Array]) -> None:
    """Register a reduction. Its axes are an attribute before opset ``since``, and an input from then on."""

    def make(node: Node) -> Forward:
        keep, nothing = bool(node.attributes.get("keepdims", 1)), bool(node.attributes.get("noop_with_empty_axes", 0))
        old = node.opset < since
        require(not (old and len(node.inputs) > 1), f"has axes as an input, which opset {since} introduced")
        require(old or "axes" not in node.attributes, f"has axes as an attribute, which opset {since} removed")
        fixed = None if "axes" not in node.attributes else integer_list(node.attributes["axes"], "axes")

        def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
            x = inputs[0]
            assert x is not None
            require(x.dtype.kind in "fiu", f"reads {x.dtype}, expected numbers")
            given = fixed
            if len(inputs) > 1 and inputs[1] is not None:
                given = integers(inputs[1], "axes")
            if not given and nothing:
                axes: tuple[int, ...] = ()
            else:
                axes = axes_of(given, x.ndim) if given else tuple(range(x.ndim))
            count = 1
            for axis in axes:
                count *= x.shape[axis]
            require(count > 0 or name == "ReduceSum", f"reduces an axis of size 0 of {x.shape}")
            kept = compute(x, axes) if axes else x
            if name == "ReduceSumSquare" and not axes:
                kept = x * x
            kept = kept.astype(x.dtype, copy=False)

            def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
                if dy[0] is None:
                    return [None] * len(inputs)
                d = dy[0].reshape(kept.shape)
                if name == "ReduceProd":
                    dx = np.broadcast_to(d, x.shape) * _others(x, axes)
                elif name == "ReduceSumSquare":
                    dx = 2 * x * d
                elif name in ("ReduceSum", "ReduceMean"):
                    share = d / count if name == "ReduceMean" else d
                    dx = np.array(np.broadcast_to(share, x.shape))
                else:
                    # The first of equal elements gets the gradient, as in torch's max with an axis.
                    rest = tuple(k for k in range(x.ndim) if k not in axes)
                    rows = x.transpose(rest + axes).reshape(*(x.shape[k] for k in rest), -1)
                    first = rows.argmax(-1) if name == "ReduceMax" else rows.argmin(-1)
                    flat = np.zeros(rows.shape, d.dtype)
                    values = d.transpose(rest + axes).reshape(first.shape)
                    np.put_along_axis(flat, first[..., None], values[..., None], -1)
                    turned = flat.reshape([x.shape[k] for k in rest + axes])
                    dx = turned.transpose(np.argsort(rest + axes))
                return [dx, *([None] * (len(inputs) - 1))]

            y = kept if keep or not axes else kept.reshape([n for k, n in enumerate(x.shape) if k not in axes])
            return [y], back

        return forward

    operator(name, (1, 2), axes=list, keepdims=int, noop_with_empty_axes=int)(make)


def _others(x: Array, axes: tuple[int, ...]) -> Array:
    """Return for each element the product of the others that are reduced with it."""
    rest = tuple(k for k in range(x.ndim) if k not in axes)
    order = rest + axes
    turned = x.transpose(order)
    rows = turned.reshape(math.prod(turned.shape[: len(rest)]), -1)
    ones = np.ones_like(rows[:, :1])
    before = np.concatenate([ones, rows[:, :-1]], axis=1).cumprod(axis=1)
    after = np.concatenate([ones, rows[:, :0:-1]], axis=1).cumprod(axis=1)[:, ::-1]
    products: Array = (before * after).reshape(turned.shape).transpose(np.argsort(order))
    return products


_reduction("ReduceProd", 18, lambda x, axes: x.prod(axis=axes, keepdims=True, dtype=x.dtype))
_reduction("ReduceSumSquare", 18, lambda x, axes: (x * x).sum(axis=axes, keepdims=True, dtype=x.dtype))
_reduction("ReduceSum", 13, lambda x, axes: x.sum(axis=axes, keepdims=True, dtype=x.dtype))
_reduction("ReduceMean", 18, lambda x, axes: x.mean(axis=axes, keepdims=True))
_reduction("ReduceMax", 18, lambda x, axes: x.max(axis=axes, keepdims=True))
_reduction("ReduceMin", 18, lambda x, axes: x.min(axis=axes, keepdims=True))


@operator("GlobalAveragePool", 1)
def _global_average_pool(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        require(x.ndim > 2 and x.dtype.kind == "f", f"reads {x.dtype} of shape {x.shape}, expected further axes")
        axes = tuple(range(2, x.ndim))
        count = math.prod(x.shape[2:])
        require(count > 0, f"averages no elements of {x.shape}")

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            return [None if dy[0] is None else np.array(np.broadcast_to(dy[0] / count, x.shape))]

        return [x.mean(axis=axes, keepdims=True)], back

    return forward


@operator("ArgMax", 1, axis=int, keepdims=int, select_last_index=int)
def _arg_max(node: Node) -> Forward:
    given, keep = node.attributes.get("axis", 0), bool(node.attributes.get("keepdims", 1))
    last = bool(node.attributes.get("select_last_index", 0))

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
        x = inputs[0]
        assert x is not None
        axis = axis_of(given, x.ndim)
        require(x.shape[axis] > 0, f"reduces an axis of size 0 of {x.shape}")
        y = x.shape[axis] - 1 - np.flip(x, axis).argmax(axis) if last else x.argmax(axis)
        return [np.expand_dims(y, axis).astype(np.int64) if keep else np.asarray(y, np.int64)], None

    return forward


# ---------------------------------------------------------------------------------------------- softmax


def _softmax(node: Node) -> Forward:
    log = node.op == "LogSoftmax"
    given = node.attributes.get("axis", 1 if node.opset < 13 else -1)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        require(x.dtype.kind == "f" and x.ndim > 0, f"reads {x.dtype} with {x.ndim} axes, expected floating-point")
        axis = axis_of(given, x.ndim)
        # Up to opset 12 the sum runs over this axis and all later ones.
        axes = tuple(range(axis, x.ndim)) if node.opset < 13 else (axis,)
        require(x.size > 0 or all(x.shape[k] for k in axes), f"sums over an axis of size 0 of {x.shape}")
        top = x.max(axis=axes, keepdims=True)
        e = _exact.exp(x - top).astype(x.dtype)
        total = e.sum(axis=axes, keepdims=True)
        p = e / total
        y = x - top - _exact.log(total).astype(x.dtype) if log else p

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            d = dy[0]
            if d is None:
                return [None]
            if log:
                return [d - p * d.sum(axis=axes, keepdims=True)]
            return [p * (d - (d * p).sum(axis=axes, keepdims=True))]

        return [y], back

    return forward


operator("Softmax", 1, axis=int)(_softmax)
operator("LogSoftmax", 1, axis=int)(_softmax)


# ---------------------------------------------------------------------------------------------- normalisations


@operator("LayerNormalization", (2, 3), outputs=3, since=17, axis=int, epsilon=float, stash_type=int)
def _layer_normalization(node: Node) -> Forward:
    given, eps = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, gain, bias = [*inputs, None][:3]
        assert x is not None and gain is not None
        require(x.dtype.kind == "f" and x.dtype == gain.dtype, "expected floating-point numbers of one type")
        axes = tuple(range(axis_of(given, x.ndim), x.ndim))
        require(np.broadcast_shapes(gain.shape, x.shape) == x.shape, f"the scale has shape {gain.shape}")
        require(all(x.shape[k] for k in axes), f"normalises over an axis of size 0 of {x.shape}")
        centred = x - x.mean(axis=axes, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + x.dtype.type(eps))
        normed = centred * scale
        y = normed * gain
        if bias is not None:
            require(np.broadcast_shapes(bias.shape, x.shape) == x.shape, f"the bias has shape {bias.shape}")
            y = y + bias

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            d = dy[0]
            if d is None:
                return [None] * len(inputs)
            inner = d * gain
            dx = inner - inner.mean(axis=axes, keepdims=True)
            dx = (dx - normed * (inner * normed).mean(axis=axes, keepdims=True)) * scale
            result: list[Array | None] = [dx, unbroadcast(d * normed, gain.shape)]
            if len(inputs) == 3:
                result.append(None if bias is None else unbroadcast(d, bias.shape))
            return result

        mean = np.asarray(x.mean(axis=axes, keepdims=True))
        return [y, mean, scale][: len(node.outputs)], back

    return forward


@operator("BatchNormalization", 5, epsilon=float, momentum=float, spatial=int, training_mode=int)
def _batch_normalization(node: Node) -> Forward:
    eps = node.attributes.get("epsilon", 1e-5)
    require(not node.attributes.get("training_mode", 0), "is in training mode; export the model for inference")
    require(node.attributes.get("spatial", 1) == 1, "attribute 'spatial' is 0, which is not supported")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, *rest = (one for one in inputs if one is not None)
        require(x.ndim >= 2 and x.dtype.kind == "f" and len(rest) == 4, "expected (batch, channels, ...)")
        require(all(one.shape == (x.shape[1],) for one in rest), f"its parameters do not fit {x.shape}")
        wide = (-1, *([1] * (x.ndim - 2)))
        gain, bias, mean, variance = (one.astype(x.dtype, copy=False).reshape(wide) for one in rest)
        scale = 1 / np.sqrt(variance + x.dtype.type(eps))
        normed = (x - mean) * scale

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            d = dy[0]
            if d is None:
                return [None] * 5
            others = tuple(k for k in range(x.ndim) if k != 1)
            # The running mean and variance are statistics, not parameters: they get no gradient.
            return [d * gain * scale, (d * normed).sum(axis=others), d.sum(axis=others), None, None]

        return [normed * gain + bias], back

    return forward
