"""Run an integer model in NumPy, with the integers of the exported C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .... import _core
from ...._checks import count
from ...._typing import Array
from ....inference.masked_stream import Masking
from ....layers import Stage
from ..readings import checked_series, checked_step, require_answers, require_tokens
from .arithmetic import GATE_BITS, NET_BITS, clipped, rounded, sigmoid, tanh, to_net
from .operations import Matrix, Operation

__all__ = ["Emulator"]


class Emulator:
    """An integer model at work on a batch of series, as its exported C works on one.

    Attributes
    ----------
    operations : list of Operation
        The integer part.
    values : list of ndarray
        The integers of the last step: those of each operation, (batch, width).
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        tail: Sequence[Stage],
        counts: Callable[[Array], Array] | None = None,
        masking: Masking | None = None,
    ) -> None:
        self.operations = list(operations)
        self._tail = list(tail)
        self._counts = counts
        self._masking = masking
        self.values: list[Array] = []
        first = self.operations[0]
        self._table = first.table
        self._features = 0 if first.scaling is None else len(first.scaling[0])
        self._outputs = self._tail[-1].output_size if self._tail else self.operations[-1].width
        self.reset()

    def reset(self, batch: int = 1) -> None:
        """Begin new series, `batch` in number."""
        self._batch = count("batch", batch)
        self._begun = False
        self._states: list[Any] = [_initial(one, batch) for one in self.operations]
        self._end = None
        if self._tail:
            chain = _core.Chain(self._tail, self.operations[-1].width, np.dtype(np.float32))
            self._end = _core.Stream(chain, batch, 1)
        self._last = None if self._masking is None else np.tile(self._masking.empty.astype(np.float32), (batch, 1))

    def step(self, x: npt.ArrayLike) -> Array:
        """Return the answers (batch, outputs), float32, to the next step (batch, inputs), or token ids (batch,).

        The first step says how many series there are. NaN in a feature that may not be missing gives NaN and changes
        nothing, as in the firmware.

        Raises
        ------
        TypeError
            If x does not hold numbers, or, for a model of token ids, integers.
        ValueError
            If x has another shape or number of series, a number does not fit float32, or the model does not know a
            token id. No state has changed.
        """
        return self._answers(self._known(checked_step(x, self._features, self._table is not None)))

    def run(self, x: npt.ArrayLike) -> Array:
        """Return the answers (batch, steps, outputs) to (batch, steps, inputs), or token ids (batch, steps).

        Raises
        ------
        TypeError, ValueError
            As by `step`, before the first step; and if an answer is NaN.
        """
        series = self._known(checked_series(x, self._features, self._table is not None, several=True))
        y = np.empty((*series.shape[:2], self._outputs), np.float32)
        for t in range(series.shape[1]):
            y[:, t] = self._answers(series[:, t])
        return require_answers(y)

    def _known(self, x: Array) -> Array:
        """Return steps or series whose first axis is that of the series at work, with known token ids."""
        if self._table is not None:
            require_tokens(x, len(self._table))
        if len(x) != self._batch:
            if self._begun:
                raise ValueError(
                    f"x has {len(x)} series, the emulator is at work on {self._batch}: reset({len(x)}) begins new ones"
                )
            self.reset(len(x))
        return x

    def _answers(self, given: Array) -> Array:
        self._begun = True
        counts = None if self._counts is None else np.asarray(self._counts(given))
        before = [_copied(one) for one in self._states]
        values, valid = self._integers(given)
        self.values = values
        last = self.operations[-1]
        y: Array = values[-1].astype(np.float32) * np.float32(2.0**-last.bits)
        if self._end is not None:
            y = np.asarray(self._end.step(y), np.float32)
        skipped = ~valid if counts is None else ~(valid & counts)
        if skipped.any():
            self._states = [_kept(old, new, skipped) for old, new in zip(before, self._states, strict=True)]
        y[~valid] = np.nan
        if counts is not None and self._last is not None and self._masking is not None:
            y[~counts] = self._last[~counts]
            if self._masking.repeats:
                taken = counts & valid
                self._last[taken] = y[taken]
        return y

    def _integers(self, x: Array) -> tuple[list[Array], Array]:
        """Return the value of each operation, and which series have no NaN in a feature that may not miss."""
        values: list[Array] = []
        valid = np.ones(self._batch, bool)
        for index, one in enumerate(self.operations):
            given = x if one.main == 0 else values[one.main - 1]
            if one.kind == "input":
                value, valid = _input(one, given)
            elif one.kind == "embedding":
                assert one.table is not None
                value = one.table[given].astype(np.int64)
            elif one.kind == "lstm":
                value = _lstm(one, given, self._states[index])
            elif one.kind == "dense":
                value = _dense(one, given)
            elif one.kind == "add":
                first, second = self.operations[one.main - 1].bits, self.operations[one.side - 1].bits
                value = _added(one, given, first, values[one.side - 1], second)
            elif one.kind in ("mean", "max"):
                value = _pooled(one, given, self._states[index])
            else:
                value = _function(one, given, self.operations[one.main - 1].bits)
            values.append(value)
        return values, valid


def _initial(one: Operation, batch: int) -> Any:
    if one.kind == "lstm":
        return [np.tile(array, (batch, 1)) for array in one.initial]
    if one.kind in ("mean", "max"):
        return [np.zeros((batch, one.width), np.int64), np.zeros((batch, 1), np.int64)]
    return []


def _copied(state: list[Array]) -> list[Array]:
    return [array.copy() for array in state]


def _kept(old: list[Array], new: list[Array], rows: Array) -> list[Array]:
    return [np.where(rows[:, None], a, b) for a, b in zip(old, new, strict=True)]


def _input(one: Operation, x: Array) -> tuple[Array, Array]:
    """Return the scaled input as integers; all is computed in float32, a rounding for each operation."""
    assert one.scaling is not None
    mean, low, factor = one.scaling
    with np.errstate(over="ignore", invalid="ignore"):
        y = ((x - mean) - low) * factor
        absent = np.isnan(y)
        y = np.where(absent, np.float32(0), np.clip(y, np.float32(-32767), np.float32(32767)))
        whole = np.where(y < 0, -np.floor(np.float32(0.5) - y), np.floor(y + np.float32(0.5))).astype(np.int64)
    if one.missing is None:
        return whole, ~absent.any(axis=1)
    channels = absent[:, one.missing].astype(np.int64) << max(one.bits, 0)
    if one.bits < 0:
        channels = rounded(channels, -one.bits)
    needed = np.ones(absent.shape[1], bool)
    needed[one.missing] = False
    return np.concatenate([whole, channels], axis=1), ~(absent & needed).any(axis=1)


def _product(matrix: Matrix, x: Array) -> Array:
    """Return the scaled sums (batch, rows). Sums of these integers are exact in float64."""
    sums = (x.astype(np.float64) @ matrix.weights.T.astype(np.float64)).astype(np.int64)
    return rounded(sums * matrix.multipliers.astype(np.int64), matrix.shift)


def _dense(one: Operation, x: Array) -> Array:
    assert one.bias is not None
    return clipped(_product(one.matrices[0], x) + one.bias, 32 if one.last else 16)


def _lstm(one: Operation, x: Array, state: list[Array]) -> Array:
    assert one.bias is not None
    h, c = state
    net = to_net(_product(one.matrices[0], x) + _product(one.matrices[1], h) + one.bias, NET_BITS)
    z_i, z_f, z_g, z_o = np.split(net, 4, axis=1)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    c = clipped(rounded(f * c, GATE_BITS) + rounded(i * g, 2 * GATE_BITS - one.cell_bits), 32)
    h = clipped(rounded(o * tanh(to_net(c, one.cell_bits)), 2 * GATE_BITS - 15), 16)
    state[:] = h, c
    return h


def _function(one: Operation, x: Array, bits: int) -> Array:
    if one.kind == "relu":
        return np.maximum(x, 0)
    value = tanh(to_net(x, bits)) if one.kind == "tanh" else sigmoid(to_net(x, bits))
    return clipped(rounded(value, GATE_BITS - 15), 16)


def _added(one: Operation, x: Array, bits: int, y: Array, other: int) -> Array:
    finest = max(bits, other)
    both = (x << (finest - bits)) + (y << (finest - other))
    moved = rounded(both, finest - one.bits) if finest >= one.bits else both << (one.bits - finest)
    return clipped(moved, 16)


def _pooled(one: Operation, x: Array, state: list[Array]) -> Array:
    sums: Array = state[0]
    count: Array = state[1]
    if one.kind == "max":
        sums = np.where(count == 0, x, np.maximum(sums, x))
        state[:] = sums, np.ones_like(count)
        return sums
    sums, count = sums + x, count + 1
    state[:] = sums, count
    return np.asarray(np.where(sums < 0, -((-sums + count // 2) // count), (sums + count // 2) // count))
