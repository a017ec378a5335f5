"""The operations of an integer model, with their integers; made from stages and ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...._typing import Array
from ....layers import Stage
from ..numbers import divisors
from .arithmetic import NET_BITS

__all__ = ["Matrix", "Operation", "integer_operations"]


class Matrix(NamedTuple):
    """Weights (rows, k) of 8 bits, and the scale of each row: multiplier 2^-shift."""

    weights: Array
    multipliers: Array
    """int32 (rows,)"""
    shift: int

    @property
    def wide(self) -> bool:
        """Whether sums of products may need more than 32 bits."""
        return bool(self.weights.shape[1] * 127 * 32767 >= 2**31)


class Operation(NamedTuple):
    """One stage in integers. Values are numbered as those of the stages: 0 is the input, k + 1 that of operation k."""

    kind: str
    """"input", "embedding", "lstm", "dense", "relu", "tanh", "sigmoid", "add", "mean", "max"."""
    width: int
    bits: int
    """Fractional bits of the value."""
    main: int
    side: int = -1
    matrices: tuple[Matrix, ...] = ()
    bias: Array | None = None
    """int32 (rows,), with the fractional bits of the sums after scaling."""
    cell_bits: int = 0
    """Fractional bits of the cell state."""
    initial: tuple[Array, ...] = ()
    """h and c at the beginning."""
    table: Array | None = None
    """int16 (tokens, width)."""
    scaling: tuple[Array, Array, Array] | None = None
    """float32: mean, what the mean lacks in float32, 2^bits / scale."""
    missing: Array | None = None
    """Features that may be missing."""
    last: bool = False
    """Whether the value has 32 bits, as the last one has."""


def _bits(largest: float, most: int) -> int:
    """Return the fractional bits of a value of 16 bits, with a factor of 2 to spare."""
    return int(np.clip(14 - math.ceil(math.log2(max(largest, 2.0**-14))), -10, most))


def _matrix(weight: Array, of_input: int, of_sum: int) -> Matrix:
    """Return weights of 8 bits for inputs and sums with so many fractional bits."""
    exact = np.asarray(weight, np.float64)
    scale = np.abs(exact).max(axis=1) / 127
    safe = np.where(scale == 0, 1.0, scale)
    whole = np.rint(exact / safe[:, None]).astype(np.int8)
    room = min(31, 62 - 22 - math.ceil(math.log2(exact.shape[1] + 1)))
    factor = scale * 2.0 ** (of_sum - of_input)
    shift = int(np.clip(room - 1 - math.floor(math.log2(max(factor.max(), 2.0**-40))), 1, 60))
    multipliers = np.rint(factor * 2.0**shift)
    if multipliers.max() >= 2**room:
        raise ValueError('the model has weights or inputs beyond the range of int8: use dtype="float32"')
    return Matrix(whole, multipliers.astype(np.int32), shift)


def _whole(value: Array, bits: int, width: int) -> Array:
    largest = 2 ** (width - 1) - 1
    return np.clip(np.rint(np.asarray(value, np.float64) * 2.0**bits), -largest, largest)


def integer_operations(
    stages: Sequence[Stage], inputs: int, tokens: bool, input_range: float, values: Array, cells: Array
) -> list[Operation]:
    """Return the operations of the integer part.

    Parameters
    ----------
    stages : sequence of Stage
        The integer part.
    inputs : int
        Features of the input.
    tokens : bool
        Whether the input is token ids.
    input_range : float
        The largest magnitude of the input.
    values, cells : ndarray
        What `ranges.value_ranges` answers.
    """
    operations: list[Operation] = []
    place = [0]  # of each value of the stages among those of the operations
    if not tokens and stages[0].kind != "standardize":
        operations.append(_input(inputs, _bits(input_range, 15)))
        place = [1]
    for index, stage in enumerate(stages):
        main = place[stage.main]
        before = operations[main - 1].bits if main else 0
        side = place[stage.side["addend"]] if stage.kind == "add" else -1
        one = _operation(stage, before, float(values[index]), float(cells[index]), index == len(stages) - 1)
        operations.append(one._replace(main=main, side=side))
        place.append(len(operations))
    return operations


def _input(features: int, bits: int) -> Operation:
    zeros = np.zeros(features, np.float32)
    return Operation("input", features, bits, 0, scaling=(zeros, zeros, np.full(features, 2.0**bits, np.float32)))


def _operation(stage: Stage, before: int, largest: float, cell: float, last: bool) -> Operation:
    width = stage.output_size
    if stage.kind == "standardize":
        bits = _bits(largest, 14)
        mean, scale = stage.weights["mean"], stage.weights["scale"]
        high = mean.astype(np.float32)
        factor = (2.0**bits / divisors(scale)).astype(np.float32)
        scaling = (high, (mean - high).astype(np.float32), factor)
        return Operation("input", width, bits, 0, scaling=scaling, missing=stage.weights.get("missing"))
    if stage.kind == "embedding":
        bits = _bits(largest, 15)
        return Operation("embedding", width, bits, 0, table=_whole(stage.weights["weight"], bits, 16).astype(np.int16))
    if stage.kind == "lstm":
        return _lstm(stage, before, cell)
    if stage.kind == "dense":
        # the last value has 32 bits, with a factor of 8 to spare
        bits = int(np.clip(27 - math.ceil(math.log2(max(largest, 2.0**-6))), 0, 24)) if last else _bits(largest, 15)
        bias = _whole(stage.weights.get("bias", np.zeros(width)), bits, 32).astype(np.int32)
        matrix = _matrix(stage.weights["weight"], before, bits)
        return Operation("dense", width, bits, 0, matrices=(matrix,), bias=bias, last=last)
    if stage.kind == "activation":
        name = stage.settings["function"].name
        return Operation(name, width, before if name == "relu" else 15, 0)
    if stage.kind == "add":
        return Operation("add", width, _bits(largest, 15), 0)
    return Operation(stage.settings["method"], width, before, 0)


def _lstm(stage: Stage, before: int, cell: float) -> Operation:
    w = stage.weights
    cell_bits = int(np.clip(29 - math.ceil(math.log2(max(cell, 1.0))), 8, 29))
    bias = np.zeros(len(w["weight_ih"])) + w.get("bias_ih", 0.0) + w.get("bias_hh", 0.0)
    initial = tuple(
        np.zeros(one.size) if one.initial is None else _whole(one.initial, bits, width)
        for one, bits, width in zip(stage.states, (15, cell_bits), (16, 32), strict=True)
    )
    return Operation(
        "lstm",
        stage.output_size,
        15,
        0,
        matrices=(_matrix(w["weight_ih"], before, NET_BITS), _matrix(w["weight_hh"], 15, NET_BITS)),
        bias=_whole(bias, NET_BITS, 32).astype(np.int32),
        cell_bits=cell_bits,
        initial=tuple(one.astype(np.int64) for one in initial),
    )
