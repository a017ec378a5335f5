"""Symbolic values of a graph: arrays, sizes, and the data with a label for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....._typing import Array
from ...graph.nodes import Node

__all__ = [
    "Channels",
    "Energy",
    "Fill",
    "Known",
    "MaskPart",
    "Merged",
    "NoChain",
    "Signal",
    "Size",
    "Sizes",
    "fixed_vector",
    "is_zero",
    "objects",
    "size_vector",
    "vector",
]


class NoChain(Exception):
    """The graph is not a chain of layers; the message names the first node that breaks the chain."""


@dataclass(frozen=True)
class Size:
    """The size of one of the input's first two axes, which may vary."""

    axis: str
    known: int | None = None
    """The size that the file declares, if it does."""


@dataclass(frozen=True)
class Merged:
    """The size of an axis that holds every step of every case, as Keras's TimeDistributed reshapes the data."""

    parts: tuple[tuple[str, Any], ...]
    """Labels and sizes of the two axes, in their order."""


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
    (features), ``d`` (directions of LSTMs), ``h`` (units of a direction), ``rows`` (``a0`` and ``a1`` in one axis, of a
    `Merged` size) and ``1`` (size 1).
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


@dataclass(frozen=True)
class Channels:
    """Consecutive features of a signal, or their squares."""

    signal: Signal
    start: int
    stop: int
    squared: bool = False


@dataclass(frozen=True)
class Energy:
    """re^2 + im^2 + eps of a signal whose features are re, then im."""

    signal: Signal
    eps: float = 0.0


def vector(value: Any, node: Node) -> list[Any]:
    """Return a value that holds integers or variable sizes as a list."""
    if isinstance(value, Known) and value.array.dtype.kind in "iu" and value.array.ndim <= 1 and value.array.size <= 64:
        return [int(one) for one in value.array.reshape(-1)]
    if isinstance(value, Sizes):
        return list(value.array.reshape(-1))
    raise NoChain(str(node))


def fixed_vector(value: Any, node: Node) -> list[int]:
    """Return a value that holds integers only as a list."""
    numbers = vector(value, node)
    if not all(isinstance(one, int) for one in numbers):
        raise NoChain(str(node))
    return numbers


def objects(value: Any, node: Node) -> Array:
    """Return integers or variable sizes as an array of objects, in the value's shape."""
    if isinstance(value, Sizes):
        return value.array
    if isinstance(value, Known) and value.array.dtype.kind in "iu" and value.array.ndim <= 1:
        return size_vector(vector(value, node)).array.reshape(value.array.shape)
    raise NoChain(str(node))


def size_vector(numbers: Sequence[Any]) -> Sizes:
    array = np.empty(len(numbers), object)
    for k, one in enumerate(numbers):
        array[k] = one
    return Sizes(array)


def is_zero(value: Any) -> bool:
    if isinstance(value, Known):
        return not value.array.any()
    return value is None or (isinstance(value, Fill) and value.number == 0)
