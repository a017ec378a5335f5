"""Packing of the unmasked steps of a batch, and unpacking of the results.

A layer that supports only padding at the end reads the packed series, from which the masked steps have been removed.
Its output is moved back to the original positions. Steps are selected by boolean arrays, which keep their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._typing import Array
from ..runtime.buffers import Buffers

__all__ = ["MaskedSteps"]


class MaskedSteps(NamedTuple):
    """Unmasked steps of a batch, before and after packing."""

    valid: Array
    """(batch, time), boolean: steps that are neither masked nor padding."""
    packed: Array
    """(batch, longest), boolean: valid steps of the packed series; the rest is padding."""
    covered: Array
    """(batch, time), boolean: steps from the first valid step to the end of the series."""
    repeats: bool
    """Whether a masked step gets the output of the previous step, rather than zeros."""

    @classmethod
    def of(cls, mask: Array, lengths: Array | None, repeats: bool) -> MaskedSteps:
        """Return the valid steps of series of these lengths under a mask (batch, time)."""
        steps = np.arange(mask.shape[1])
        inside = np.ones_like(mask) if lengths is None else steps < lengths[:, None]
        valid = mask & inside
        counts = valid.sum(axis=1)
        # At least one step: the kernels accept empty series, but not empty arrays.
        longest = max(1, int(counts.max(initial=0)))
        covered = np.logical_or.accumulate(valid, axis=1) & inside
        return cls(valid, steps[:longest] < counts[:, None], covered, repeats)

    @property
    def lengths(self) -> Array:
        """Number of valid steps of each case, int64."""
        lengths: Array = self.packed.sum(axis=1, dtype=np.int64)
        return lengths

    def pack(self, x: Array, name: str, buffers: Buffers, fill: int = 0) -> Array:
        """Pack x (batch, time, ...) into (batch, longest, ...), padded with `fill`."""
        out = buffers.get(name, (*self.packed.shape, *x.shape[2:]), x.dtype)
        out[~self.packed] = fill
        out[self.packed] = x[self.valid]
        return out

    def unpack(self, y: Array, name: str, buffers: Buffers) -> Array:
        """Move y (batch, longest, features) to the valid steps of (batch, time, features), zeros elsewhere."""
        out = buffers.get(name, (*self.valid.shape, y.shape[2]), y.dtype)
        out[~self.valid] = 0
        out[self.valid] = y[self.packed]
        return out

    def spread(self, y: Array, name: str, buffers: Buffers) -> Array:
        """Do `unpack`; if `repeats`, repeat the last output at masked steps, except before the first valid step."""
        if not self.repeats:
            return self.unpack(y, name, buffers)
        out = buffers.get(name, (*self.valid.shape, y.shape[2]), y.dtype)
        out[~self.covered] = 0
        # In row-major order, each valid step begins a run of equal outputs.
        run = np.cumsum(self.valid) - 1
        out[self.covered] = y[self.packed][run[self.covered.ravel()]]
        return out

    def spread_backward(self, dy: Array, name: str, buffers: Buffers) -> Array:
        """Return the gradient of `spread`: for each valid step, the sum over its run."""
        if not self.repeats:
            return self.pack(dy, name, buffers)
        out = buffers.get(name, (*self.packed.shape, dy.shape[2]), dy.dtype)
        out[~self.packed] = 0
        starts = np.flatnonzero(self.valid[self.covered])
        if len(starts):
            out[self.packed] = np.add.reduceat(dy[self.covered], starts, axis=0)
        return out
