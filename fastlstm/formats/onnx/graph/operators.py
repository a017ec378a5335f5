"""The interface between the interpreter and its operators: a registry of factories for forward functions.

A module registers a factory ("maker") for each operator with `operator`. The factory takes a `Node` whose attributes
have been checked, and returns a function ``forward(inputs, run)``. That function returns the outputs and a function
``back(gradients, needs)``, which maps the gradients of the outputs (None: zero) to those of the inputs (None: zero, or
not wanted according to ``needs``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...._typing import Array
from .nodes import Node

__all__ = [
    "OPERATORS",
    "Back",
    "Forward",
    "Gradients",
    "Inputs",
    "Run",
    "axes_of",
    "axis_of",
    "integer_list",
    "integers",
    "make_forward",
    "operator",
    "require",
    "unbroadcast",
]

Inputs = Sequence[Array | None]
Gradients = Sequence[Array | None]
Back = Callable[[Gradients, Sequence[bool]], Gradients]
Forward = Callable[[Inputs, "Run"], tuple[Sequence[Array], Back | None]]
Maker = Callable[[Node], Forward]


class Run:
    """One execution of a graph: its settings, and a limit on its memory.

    A small file can ask for any amount of memory (Expand, or an outer product of an outer product). In an ordinary
    graph, a result has at most as many elements as the data times the rows of a weight matrix, and a weight matrix has
    about as many rows as the square root of its number of weights.

    Parameters
    ----------
    data, weights : int
        Numbers of elements in the inputs and in the constants.
    """

    FLOOR = 2**24
    """Number of elements that every graph may hold."""

    def __init__(
        self,
        data: int = 0,
        weights: int = 0,
        *,
        training: bool = False,
        dtype: np.dtype[Any] | None = None,
        n_threads: int = 1,
        recompute_every: int = 0,
        passes: dict[Any, Any] | None = None,
    ) -> None:
        self.training = training
        self.dtype = dtype
        """The floating-point type of all values; None: each value has the type that the graph names."""
        self.n_threads = n_threads
        self.recompute_every = recompute_every
        self.passes = {} if passes is None else passes
        """Workspaces of the kernels by node and direction."""
        self.limit = self.FLOOR + 64 * (data + weights) + 16 * data * math.isqrt(weights)
        self.held = 0
        """Number of elements in the results that are still needed."""

    def take(self, shape: Sequence[Any]) -> None:
        """Raise ValueError if a result of this shape would exceed the memory limit of the run."""
        total = 1
        for size in shape:
            total *= max(int(size), 1)  # a size of 0 must not hide large sizes: a sum over its axis would expose them
        if self.held + total > self.limit:
            raise ValueError(
                f"a result of shape {[int(size) for size in shape]} would take more memory than its inputs and "
                f"weights account for ({self.limit:,} elements at once): if this is intended, pass less data at a time"
            )

    def floating(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type that the run uses for a value that has this type in the graph."""
        return self.dtype if self.dtype is not None and dtype.kind == "f" else dtype


class _Operator(NamedTuple):
    make: Maker
    inputs: tuple[int, int]
    """Minimum and maximum number."""
    outputs: int
    attributes: dict[str, type]
    since: int


OPERATORS: dict[str, _Operator] = {}


def operator(
    name: str, inputs: int | tuple[int, int], *, outputs: int = 1, since: int = 1, **attributes: type
) -> Callable[[Maker], Maker]:
    """Register the factory of an operator; used as a decorator.

    Parameters
    ----------
    name : str
    inputs : int or (int, int)
        The number of inputs, or its minimum and maximum.
    outputs : int
        The maximum number of outputs.
    since : int
        The first opset that has the operator.
    **attributes : type
        The type of each attribute that the operator may have: int, float, str, list or np.ndarray.
    """

    def register(make: Maker) -> Maker:
        bounds = (inputs, inputs) if isinstance(inputs, int) else inputs
        OPERATORS[name] = _Operator(make, bounds, outputs, attributes, since)
        return make

    return register


def make_forward(node: Node) -> Forward:
    """Return the forward function of a node.

    Raises
    ------
    ValueError
        If the operator is not supported, or the node has inputs, outputs or attributes that the operator does not have.
    """
    known = OPERATORS.get(node.op)
    if known is None or node.opset < known.since:
        raise ValueError(f"{node} is not supported; supported are {', '.join(sorted(OPERATORS))}")
    least, most = known.inputs
    if not least <= len(node.inputs) <= most or "" in node.inputs[:least]:
        raise ValueError(f"{node}: has the inputs {list(node.inputs)}, expected {least} to {most}")
    if not 1 <= len(node.outputs) <= known.outputs:
        raise ValueError(f"{node}: has the outputs {list(node.outputs)}, expected 1 to {known.outputs}")
    for key, value in node.attributes.items():
        kind = known.attributes.get(key)
        if kind is None:
            raise ValueError(f"{node}: attribute {key!r} is not known, expected one of {sorted(known.attributes)}")
        if kind is float and isinstance(value, int):
            continue
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{node}: attribute {key!r} is {value!r}, expected {kind.__name__}")
    try:
        return known.make(node)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{node}: {error}") from error


def require(condition: bool, message: str) -> None:
    """Raise ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an array of this shape, given the gradient of the array that it was broadcast to."""
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + extra] != 1
    )
    return gradient.sum(axis=axes, keepdims=True).reshape(shape) if axes else gradient


def integers(value: Array | None, what: str) -> list[int]:
    """Return an input that holds sizes, axes or indices, one-dimensional or a scalar, as a list."""
    require(value is not None, f"{what} is missing")
    assert value is not None
    require(value.dtype.kind in "iu" and value.ndim <= 1, f"{what} must be a list of integers")
    require(value.size <= 64, f"{what} has {value.size} elements, at most 64 are supported")
    return [int(one) for one in value.reshape(-1)]


def integer_list(value: Any, what: str) -> list[int]:
    """Return an attribute that is a list of integers."""
    require(isinstance(value, list) and all(isinstance(one, int) for one in value), f"{what} must hold integers")
    require(len(value) <= 64, f"{what} has {len(value)} elements, at most 64 are supported")
    return [int(one) for one in value]


def axis_of(axis: int, rank: int) -> int:
    """Return the axis as an index that is not negative."""
    require(-rank <= axis < rank, f"axis {axis} is out of range for {rank} axes")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return the axes as indices that are not negative; raise ValueError if one is named twice."""
    result = tuple(axis_of(axis, rank) for axis in axes)
    require(len(set(result)) == len(result), f"axes {list(axes)} name an axis twice")
    return result
