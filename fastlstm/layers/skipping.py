"""How a layer that knows only series with padding at the end walks over the steps that a mask counts.

The steps that count are moved together, as if the others had never been there; what comes out is moved back. Boolean
arrays choose the steps, so that they stand in the packed arrays in their old order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.buffers import Buffers

if TYPE_CHECKING:
    from .base import Layer, LayerTape, Tape

__all__ = ["Skipped", "backward_counting", "forward_counting"]

Array = npt.NDArray[Any]


class Skipped(NamedTuple):
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
    def of(cls, mask: Array, lengths: Array | None, repeats: bool) -> Skipped:
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


def forward_counting(layer: Layer, x: Array, tape: Tape, mine: LayerTape) -> Array:
    """``layer.forward`` under the tape's mask: a layer that skips sees the steps that count alone."""
    if not layer.skips:
        return layer.forward(x, tape, mine)
    assert tape.mask is not None
    lengths = tape.lengths
    skipped = mine.skipped = Skipped.of(tape.mask, lengths, layer.repeats)
    tape.lengths = skipped.lengths
    try:
        y = layer.forward(skipped.pack(x, "packed x", mine.buffers), tape, mine)
    finally:
        tape.lengths = lengths
    if y.ndim == 2:
        tape.mask = None
        return y
    return skipped.spread(y, "spread y", mine.buffers)


def backward_counting(layer: Layer, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
    """``layer.backward`` after a pass of `forward_counting` in which steps were skipped."""
    skipped, lengths = mine.skipped, tape.lengths
    assert skipped is not None
    if dy.ndim == 3:
        dy = skipped.spread_backward(dy, "packed dy", mine.buffers)
    tape.lengths = skipped.lengths
    try:
        dx = layer.backward(dy, tape, mine, need_dx)
    finally:
        tape.lengths = lengths
    return None if dx is None else skipped.unpack(dx, "unpacked dx", mine.buffers)
