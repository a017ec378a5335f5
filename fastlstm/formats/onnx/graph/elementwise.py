"""Element-wise operators: arithmetic, comparisons, activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import _exact
from ...._typing import Array
from ....activations import KINDS, Activation
from .nodes import Node
from .operators import Back, Forward, Gradients, Inputs, Run, operator, require, unbroadcast
from .tensors import ELEMENT_TYPES

# ---------------------------------------------------------------------------------------------- one input

ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
    "HardSigmoid": "hard_sigmoid",
    "Elu": "elu",
    "Softsign": "softsign",
    "Softplus": "softplus",
}
"""Operators that `fastlstm.activations` implements, with the same defaults, and their names there."""

ACTIVATION_OPERATORS = {name: operator for operator, name in ACTIVATIONS.items()}
"""The inverse of `ACTIVATIONS`."""


def activation_of(node: Node) -> Activation:
    """Return the activation of a node whose operator is in `ACTIVATIONS`."""
    name = ACTIVATIONS[node.op]
    alpha, beta = KINDS[name]
    return Activation(name, float(node.attributes.get("alpha", alpha)), float(node.attributes.get("beta", beta)))


def _activation(node: Node) -> Forward:
    function = activation_of(node)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = _number(inputs[0])
        require(x.dtype.kind == "f", f"reads {x.dtype}, expected floating-point numbers")
        return [function(x)], lambda dy, needs: [dy[0] * function.derivative(x) if dy[0] is not None else None]

    return forward


for _name, _kind in ACTIVATIONS.items():
    _given: dict[str, type] = {}
    if KINDS[_kind] != (0.0, 0.0):
        _given["alpha"] = float
    if _kind == "hard_sigmoid":
        _given["beta"] = float
    operator(_name, 1, outputs=1, since=1, **_given)(_activation)


def _number(x: Array | None) -> Array:
    assert x is not None
    require(x.dtype.kind in "fiu", f"reads {x.dtype}, expected numbers")
    return x


def _unary(name: str, value: Callable[[Array], Any], slope: Callable[[Array, Array], Any]) -> None:
    """Register y = value(x) with dx = dy * slope(x, y)."""

    def make(node: Node) -> Forward:
        def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
            x = _number(inputs[0])
            y = np.asarray(value(x))
            y = y.astype(x.dtype, copy=False)
            return [y], lambda dy, needs: [None if dy[0] is None else np.asarray(dy[0] * slope(x, y))]

        return forward

    operator(name, 1)(make)


_unary("Neg", np.negative, lambda x, y: x.dtype.type(-1))
_unary("Abs", np.abs, lambda x, y: np.sign(x))
_unary("Sqrt", np.sqrt, lambda x, y: 0.5 / y)
_unary("Exp", _exact.exp, lambda x, y: y)
_unary("Log", _exact.log, lambda x, y: 1 / x)
_unary("Reciprocal", lambda x: 1 / x, lambda x, y: -y * y)


def _identity(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        return [x], lambda dy, needs: [dy[0]]

    return forward


operator("Identity", 1)(_identity)


@operator("Dropout", (1, 3), outputs=2, ratio=float, seed=int)
def _dropout(node: Node) -> Forward:
    """Return the identity: in inference Dropout does nothing. `OnnxGraph` draws no masks in training either."""

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        if len(inputs) > 2 and inputs[2] is not None:
            require(not inputs[2].any(), "its training_mode is true; export the model for inference")
        mask = np.broadcast_to(np.True_, x.shape)
        return [x, mask][: len(node.outputs)], lambda dy, needs: [dy[0], None, None][: len(inputs)]

    return forward


def _cast_to(x: Array, dtype: np.dtype[Any]) -> tuple[list[Array], Back]:
    before = x.dtype
    y = x.astype(dtype, copy=False)

    def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
        through = dy[0] is not None and before.kind == "f" and dtype.kind == "f"
        return [dy[0].astype(before) if through and dy[0] is not None else None]

    return [y], back


@operator("Cast", 1, to=int, saturate=int, round_mode=str)
def _cast(node: Node) -> Forward:
    name = ELEMENT_TYPES.get(node.attributes.get("to", 0))
    require(name is not None, f"attribute 'to' is {node.attributes.get('to')}, expected a numeric element type")
    dtype = np.dtype(np.float32) if name == "bfloat16" else np.dtype(str(name))

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        return _cast_to(x, run.floating(dtype))

    return forward


@operator("CastLike", 2, since=15, saturate=int, round_mode=str)
def _cast_like(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, like = inputs
        assert x is not None and like is not None
        y, back = _cast_to(x, like.dtype)
        return y, lambda dy, needs: [*back(dy, needs), None]

    return forward


@operator("Clip", (1, 3), min=float, max=float)
def _clip(node: Node) -> Forward:
    given = (node.attributes.get("min"), node.attributes.get("max"))  # up to opset 10

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = _number(inputs[0])
        bounds = [x.dtype.type(one) if one is not None else None for one in given]
        for k, one in enumerate(inputs[1:]):
            if one is not None:
                require(one.size == 1, f"a limit has shape {one.shape}, expected a scalar")
                bounds[k] = one.reshape(())[()]
        low, high = bounds
        y = x if low is None else np.maximum(x, low)
        y = y if high is None else np.minimum(y, high)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None] * len(inputs)
            inside = np.ones(x.shape, bool) if low is None else x >= low
            inside = inside if high is None else inside & (x <= high)
            return [dy[0] * inside, *([None] * (len(inputs) - 1))]

        return [np.asarray(y)], back

    return forward


# ---------------------------------------------------------------------------------------------- two or more inputs


def _pair(inputs: Inputs, run: Run) -> tuple[Array, Array]:
    a, b = inputs
    assert a is not None and b is not None
    require(a.dtype == b.dtype, f"reads {a.dtype} and {b.dtype}, expected one type")
    run.take(np.broadcast_shapes(a.shape, b.shape))
    return a, b


def _arithmetic(
    name: str,
    value: Callable[[Array, Array], Any],
    to_a: Callable[[Array, Array, Array], Any],
    to_b: Callable[[Array, Array, Array], Any],
) -> None:
    """Register y = value(a, b), with the gradients to_a(dy, a, b) and to_b(dy, a, b) before broadcasting is undone."""

    def make(node: Node) -> Forward:
        def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
            a, b = _pair(inputs, run)
            require(a.dtype.kind in "fiu", f"reads {a.dtype}, expected numbers")

            def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
                d = dy[0]
                if d is None:
                    return [None, None]
                return [
                    unbroadcast(np.asarray(to(d, a, b)), one.shape) if need else None
                    for to, one, need in ((to_a, a, needs[0]), (to_b, b, needs[1]))
                ]

            return [np.asarray(value(a, b))], back

        return forward

    operator(name, 2)(make)


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f":
        return a / b
    require(bool((b != 0).all()), "divides by zero")
    quotient = np.abs(a) // np.abs(b)  # ONNX rounds quotients of integers towards zero
    return (np.sign(a) * np.sign(b) * quotient).astype(a.dtype) if a.dtype.kind == "i" else quotient


_arithmetic("Add", np.add, lambda d, a, b: d, lambda d, a, b: d)
_arithmetic("Sub", np.subtract, lambda d, a, b: d, lambda d, a, b: -d)
_arithmetic("Mul", np.multiply, lambda d, a, b: d * b, lambda d, a, b: d * a)
_arithmetic("Div", _divide, lambda d, a, b: d / b, lambda d, a, b: -d * a / (b * b))


@operator("Pow", 2)
def _pow(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        a, b = _number(inputs[0]), _number(inputs[1])
        require(a.dtype.kind == "f", f"the base is {a.dtype}, expected floating-point numbers")
        run.take(np.broadcast_shapes(a.shape, b.shape))
        power = b.astype(a.dtype)
        y = np.asarray(a**power)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None, None]
            to_a = unbroadcast(dy[0] * power * a ** (power - 1), a.shape) if needs[0] else None
            to_b = None
            if needs[1]:
                to_b = unbroadcast(dy[0] * y * np.log(np.where(a > 0, a, 1)), b.shape)
            return [to_a, to_b]

        return [y], back

    return forward


def _extreme(name: str, value: Callable[[Array, Array], Any]) -> None:
    def make(node: Node) -> Forward:
        def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
            arrays = [_number(one) for one in inputs]
            y = arrays[0]
            for one in arrays[1:]:
                _pair([y, one], run)
                y = np.asarray(value(y, one))

            def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
                if dy[0] is None:
                    return [None] * len(arrays)
                if name == "Sum":
                    return [unbroadcast(dy[0], one.shape) for one in arrays]
                left = np.ones(y.shape, bool)  # of equal elements, the first one gets the gradient
                result: list[Array | None] = []
                for one in arrays:
                    chosen = left & (one == y)
                    left &= ~chosen
                    result.append(unbroadcast(dy[0] * chosen, one.shape))
                return result

            return [y], back

        return forward

    operator(name, (1, 64), since=8)(make)


_extreme("Max", np.maximum)
_extreme("Min", np.minimum)
_extreme("Sum", np.add)


def _comparison(name: str, value: Callable[..., Any], since: int = 7) -> None:
    """Register an operator whose result is boolean and thus has no gradient."""

    def make(node: Node) -> Forward:
        def forward(inputs: Inputs, run: Run) -> tuple[list[Array], None]:
            if len(inputs) == 1:
                assert inputs[0] is not None
                require(inputs[0].dtype == bool, f"reads {inputs[0].dtype}, expected booleans")
                return [np.asarray(value(inputs[0]))], None
            a, b = _pair(inputs, run)
            if name in ("And", "Or", "Xor"):
                require(a.dtype == bool, f"reads {a.dtype}, expected booleans")
            return [np.asarray(value(a, b))], None

        return forward

    operator(name, 1 if name == "Not" else 2, since=since)(make)


_comparison("Equal", np.equal)
_comparison("Less", np.less)
_comparison("Greater", np.greater)
_comparison("LessOrEqual", np.less_equal, since=12)
_comparison("GreaterOrEqual", np.greater_equal, since=12)
_comparison("And", np.logical_and)
_comparison("Or", np.logical_or)
_comparison("Xor", np.logical_xor)
_comparison("Not", np.logical_not)


@operator("Where", 3, since=9)
def _where(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        condition, a, b = inputs
        assert condition is not None and a is not None and b is not None
        require(condition.dtype == bool, f"the condition is {condition.dtype}, expected booleans")
        require(a.dtype == b.dtype, f"chooses between {a.dtype} and {b.dtype}, expected one type")
        run.take(np.broadcast_shapes(condition.shape, a.shape, b.shape))

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            if dy[0] is None:
                return [None, None, None]
            return [None, unbroadcast(dy[0] * condition, a.shape), unbroadcast(dy[0] * ~condition, b.shape)]

        return [np.where(condition, a, b)], back

    return forward
