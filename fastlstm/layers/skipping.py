"""How a layer that knows only series with padding at the end walks over the steps that a mask leaves.

The steps that count are moved together, as if the others had never been there; what comes out is moved back. Each
function takes boolean arrays, so that what stands in a row of the packed arrays is in the order of the steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..buffers import Buffers
from .base import Array

__all__ = ["Skipped"]


class Skipped(NamedTuple):
    """Which steps of a batch count."""

    valid: Array
    """(batch, time), boolean."""
    packed: Array
    """(batch, longest), boolean: the places that hold a step once those that count are moved together."""
    inside: Array
    """(batch, time), boolean: the steps within a case's length."""

    @classmethod
    def of(cls, mask: Array, lengths: Array | None) -> Skipped:
        """What a mask (batch, time) leaves of series of these lengths."""
        steps = np.arange(mask.shape[1])
        inside = np.ones_like(mask) if lengths is None else steps < lengths[:, None]
        valid = mask & inside
        counts = valid.sum(axis=1)
        # One step at least: the kernels take series without any, but no arrays without any.
        longest = max(1, int(counts.max(initial=0)))
        return cls(valid, steps[:longest] < counts[:, None], inside)

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

    def repeat(self, y: Array, name: str, buffers: Buffers) -> Array:
        """The same, but a step that does not count repeats the one before; zeros before the first and in padding."""
        out = buffers.get(name, (*self.valid.shape, y.shape[2]), y.dtype)
        covered = self._covered()
        out[~covered] = 0
        # Row by row and step by step, each step that counts begins a run of equal outputs.
        run = np.cumsum(self.valid) - 1
        out[covered] = y[self.packed][run[covered.ravel()]]
        return out

    def repeat_backward(self, dy: Array, name: str, buffers: Buffers) -> Array:
        """The gradient of `repeat`: that of a step is the sum over its run."""
        out = buffers.get(name, (*self.packed.shape, dy.shape[2]), dy.dtype)
        out[~self.packed] = 0
        covered = self._covered()
        starts = np.flatnonzero(self.valid[covered])
        if len(starts):
            out[self.packed] = np.add.reduceat(dy[covered], starts, axis=0)
        return out

    def _covered(self) -> Array:
        """(batch, time), boolean: the steps from the first that counts to the end of the series."""
        covered: Array = np.logical_or.accumulate(self.valid, axis=1) & self.inside
        return covered
