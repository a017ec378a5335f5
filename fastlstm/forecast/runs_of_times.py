"""The times of several series, one after another, in blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "Runs", "Tally"]

_Times = NDArray[np.int64]

BLOCK = 2**19
"""Rows of a block: temporary arrays of millions of rows would take more memory than the table."""


class Tally(NamedTuple):
    """How often each step occurs."""

    values: _Times
    """Ascending."""
    counts: _Times

    @property
    def most_common(self) -> int:
        """The step that occurs most; the smallest of several."""
        return int(self.values[self.counts.argmax()])

    @property
    def median(self) -> int:
        """The median step."""
        return int(self.values[np.searchsorted(np.cumsum(self.counts), self.counts.sum() / 2)])


class Runs(NamedTuple):
    """The times of several series."""

    times: _Times
    """(n,), ascending within each series, in UTC."""
    starts: _Times
    """(series + 1,): where each series begins, and n."""

    def blocks(self) -> Iterator[Runs]:
        """Yield some series after others, about `BLOCK` rows or one series each."""
        first = 0
        while first < len(self.starts) - 1:
            begin = self.starts[first]
            last = max(first + 1, int(np.searchsorted(self.starts, begin + BLOCK, "right")) - 1)
            yield Runs(self.times[begin : self.starts[last]], self.starts[first : last + 1] - begin)
            first = last

    def steps(self, times: _Times) -> _Times:
        """Return the positive differences between neighbours of the same series, of times in the same order."""
        steps = np.diff(times)
        inside = np.ones(len(steps), bool)
        inside[self.starts[1:-1] - 1] = False
        return steps[inside & (steps > 0)]

    def spread(self, values: _Times) -> _Times:
        """Repeat a value per series for each of its rows."""
        if len(values) and (values == values[0]).all():
            return np.broadcast_to(values[:1], len(self.times))
        return np.repeat(values, np.diff(self.starts))
