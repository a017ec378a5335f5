"""Targets and outputs for the user's metrics, in the order of the cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .._typing import Array
from ..data.batching import case_numbers
from ..losses import Loss
from .feeding import Segment

__all__ = ["Counted"]


class Counted:
    """Copies of the targets and outputs that count, put into the order of cases and steps.

    Parameters
    ----------
    loss : Loss
    in_segments : bool
        Whether the series of a batch are cut into several segments.
    """

    def __init__(self, loss: Loss, in_segments: bool) -> None:
        self._loss = loss
        self._in_segments = in_segments
        self._batches: Iterator[slice | Array] = iter(())
        self._first = 0
        self._numbers: Array = np.zeros(0, np.int64)  # case of each row of the last segment
        self._in_order = False
        self._parts: list[tuple[int, Array, Array]] = []  # first case, targets, outputs

    def begin(self, batches: Iterable[slice | Array], first: int) -> None:
        """Set the case numbers of the batches whose segments are added next, counted from case `first`."""
        self._batches = iter(batches)
        self._first = first

    def add(self, segment: Segment, out: Array) -> None:
        """Copy what counts of a segment and of its output, which is in the units of the targets."""
        if segment.rows is None:
            chosen = next(self._batches)
            self._in_order = isinstance(chosen, slice) and not self._in_segments
            self._numbers = case_numbers(chosen, self._first)
        elif not isinstance(segment.rows, slice):
            self._numbers = self._numbers[segment.rows]
        lengths = segment.lengths
        for rows in [slice(None)] if self._in_order else [slice(k, k + 1) for k in range(len(out))]:
            ends = None if lengths is None else lengths[rows]
            self._parts.append((int(self._numbers[rows][0]), *self._loss.counted(segment.y[rows], out[rows], ends)))

    def joined(self, rank: int, joined: Callable[[dict[int, Any]], dict[int, Any]]) -> tuple[Array, Array]:
        """Return the targets, (N,) or (N, K), and the outputs, (N, F).

        `joined` adds what other processes have counted, each under its `rank`.
        """
        parts = [part for of_rank in joined({rank: self._parts}).values() for part in of_rank]
        parts.sort(key=lambda part: part[0])  # a stable sort, which keeps the segments of a case in order
        return np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
