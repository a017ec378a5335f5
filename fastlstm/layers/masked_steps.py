"""The steps of a batch that a mask counts, moved together and back.

A layer that knows only series with padding at the end reads the steps that count as if the others had never been there;
its output is moved back to where they were. Boolean arrays choose the steps, so that the packed arrays hold them in
their old order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._typing import Array
from ..runtime.buffers import Buffers

__all__ = ["MaskedSteps"]


class MaskedSteps(NamedTuple):
    """Which steps of a batch count."""

    valid: Array
    """(batch, time), boolean."""
    packed: Array
    """(batch, longest), boolean: the places that hold a step once those that count are moved together."""
    covered: Array
    """(batch, time), boolean: from the first step that counts to the end of the series."""
    repeats: bool
    """Whether a step that does not count gets the output of the one before, rather than zeros."""

    @classmethod
    def of(cls, mask: Array, lengths: Array | None, repeats: bool) -> MaskedSteps:
        """What a mask (batch, time) leaves of series of these lengths."""
        steps = np.arange(mask.shape[1])
        inside = np.ones_like(mask) if lengths is None else steps < lengths[:, None]
        valid = mask & inside
        counts = valid.sum(axis=1)
        # One step at least: the kernels take series without any, but no arrays without any.
        longest = max(1, int(counts.max(initial=0)))
        covered = np.logical_or.accumulate(valid, axis=1) & inside
        return cls(valid, steps[:longest] < counts[:, None], covered, repeats)

    @property
    def lengths(self) -> Array:
        """Steps of each case that count, int64."""
        lengths: Array = self.packed.sum(axis=1, dtype=np.int64)
        return lengths

    def pack(self, x: Array, name: str, buffers: Buffers) -> Array:
        """The steps of x (batch, time, features) that count, (batch, longest, features), zeros behind them."""
        out = buffers.get(name, (*self.packed.shape, x.shape[2]), x.dtype)
        out[~self.packed] = 0
        out[self.packed] = x[self.valid]
        return out

    def unpack(self, y: Array, name: str, buffers: Buffers) -> Array:
        """The steps of y (batch, longest, features) in their old places, zeros in all others."""
        out = buffers.get(name, (*self.valid.shape, y.shape[2]), y.dtype)
        out[~self.valid] = 0
        out[self.valid] = y[self.packed]
        return out

    def spread(self, y: Array, name: str, buffers: Buffers) -> Array:
        """What goes out: `unpack`, or with repetition; zeros before the first step that counts and in padding."""
        if not self.repeats:
            return self.unpack(y, name, buffers)
        out = buffers.get(name, (*self.valid.shape, y.shape[2]), y.dtype)
        out[~self.covered] = 0
        # Row by row and step by step, each step that counts begins a run of equal outputs.
        run = np.cumsum(self.valid) - 1
        out[self.covered] = y[self.packed][run[self.covered.ravel()]]
        return out

    def spread_backward(self, dy: Array, name: str, buffers: Buffers) -> Array:
        """The gradient of `spread`: that of a step is the sum over its run."""
        if not self.repeats:
            return self.pack(dy, name, buffers)
        out = buffers.get(name, (*self.packed.shape, dy.shape[2]), dy.dtype)
        out[~self.packed] = 0
        starts = np.flatnonzero(self.valid[self.covered])
        if len(starts):
            out[self.packed] = np.add.reduceat(dy[self.covered], starts, axis=0)
        return out
