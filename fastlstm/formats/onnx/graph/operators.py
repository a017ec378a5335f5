"""What an operator is to the interpreter: a function made from its node, that gives results and the way back.

An operator's module registers a *maker* with `operator`: it gets a `Node` whose attributes have been checked, and gives
a function ``forward(inputs, run)``, which gives the outputs and a function ``back(gradients, needs)``: from the
gradients of the outputs (None: zero) to those of the inputs (None: zero, or not among the ``needs``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .nodes import Node

__all__ = ["OPERATORS", "Back", "Forward", "Run", "make_forward", "operator", "require", "unbroadcast"]

Array = npt.NDArray[Any]
Inputs = Sequence[Array | None]
Back = Callable[[Sequence[Array | None], Sequence[bool]], Sequence[Array | None]]
Forward = Callable[[Inputs, "Run"], tuple[Sequence[Array], Back | None]]
Maker = Callable[[Node], Forward]


class Run:
    """One execution of a graph: its settings, and the memory that it may take.

    A small file can ask for any amount of memory (Expand, or an outer product of an outer product). What the results
    of an honest graph take goes with the data and the weights: a step of the data has as many numbers as a weight
    matrix has rows, which are at most about the root of the weights' number.

    Parameters
    ----------
    data, weights : int
        Numbers in the inputs and in the constants.
    """

    FLOOR = 2**24
    """Numbers that any graph may take."""

    def __init__(
        self,
        data: int = 0,
        weights: int = 0,
        *,
        training: bool = False,
        dtype: np.dtype[Any] | None = None,
        n_threads: int = 1,
        checkpoint_every: int = 0,
        passes: dict[Any, Any] | None = None,
    ) -> None:
        self.training = training
        self.dtype = dtype
        """The one floating-point type of all values; None: those that the graph names."""
        self.n_threads = n_threads
        self.checkpoint_every = checkpoint_every
        self.passes = {} if passes is None else passes
        """Kernels' workspaces, by node and direction."""
        self.limit = self.FLOOR + 64 * (data + weights) + 16 * data * math.isqrt(weights)
        self.held = 0
        """Numbers in the results that are still needed."""

    def take(self, shape: Sequence[Any]) -> None:
        """ValueError if a result of this shape is more than the run may take."""
        total = 1
        for size in shape:
            total *= max(int(size), 1)  # what is empty must not hide sizes that a sum over its axes would bring out
        if self.held + total > self.limit:
            raise ValueError(
                f"a result of shape {[int(size) for size in shape]} would take more memory than its inputs and "
                f"weights account for ({self.limit:,} numbers at once): give less data at a time, if it is meant so"
            )

    def floating(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type of a value that the graph says is of this type."""
        return self.dtype if self.dtype is not None and dtype.kind == "f" else dtype


class _Operator(NamedTuple):
    make: Maker
    inputs: tuple[int, int]
    """Least and most."""
    outputs: int
    attributes: dict[str, type]
    since: int


OPERATORS: dict[str, _Operator] = {}


def operator(
    name: str, inputs: int | tuple[int, int], *, outputs: int = 1, since: int = 1, **attributes: type
) -> Callable[[Maker], Maker]:
    """Registers the maker of an operator.

    Parameters
    ----------
    name : str
    inputs : int or (int, int)
        How many there are, or the least and the most.
    outputs : int
        The most.
    since : int
        The first opset that has it.
    **attributes : type
        int, float, str, list or np.ndarray, of each attribute that it may have.
    """

    def register(make: Maker) -> Maker:
        bounds = (inputs, inputs) if isinstance(inputs, int) else inputs
        OPERATORS[name] = _Operator(make, bounds, outputs, attributes, since)
        return make

    return register


def make_forward(node: Node) -> Forward:
    """The function of a node.

    Raises
    ------
    ValueError
        If the operator is not supported, or its inputs, outputs or attributes are not what it may have.
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
    """ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of this shape, out of that of what it was broadcast to."""
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + extra] != 1
    )
    return gradient.sum(axis=axes, keepdims=True).reshape(shape) if axes else gradient


def integers(value: Array | None, what: str) -> list[int]:
    """An input that holds sizes, axes or indices, one-dimensional or a scalar."""
    require(value is not None, f"{what} is missing")
    assert value is not None
    require(value.dtype.kind in "iu" and value.ndim <= 1, f"{what} must be a list of integers")
    require(value.size <= 64, f"{what} has {value.size} numbers, at most 64 are read")
    return [int(one) for one in value.reshape(-1)]


def integer_list(value: Any, what: str) -> list[int]:
    """An attribute that is a list of integers."""
    require(isinstance(value, list) and all(isinstance(one, int) for one in value), f"{what} must hold integers")
    require(len(value) <= 64, f"{what} has {len(value)} numbers, at most 64 are read")
    return [int(one) for one in value]


def axis_of(axis: int, rank: int) -> int:
    """The axis, counted from the first."""
    require(-rank <= axis < rank, f"axis {axis} is out of range for {rank} axes")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """The axes, counted from the first, each once."""
    result = tuple(axis_of(axis, rank) for axis in axes)
    require(len(set(result)) == len(result), f"axes {list(axes)} name one twice")
    return result
