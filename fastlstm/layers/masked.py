"""Passes of a layer under a mask: a layer that supports masks reads the unmasked steps as a shorter series.

A layer whose output has other steps than its input leaves the masked ones out itself; the layers after it know no mask.
"""

from __future__ import annotations

from .._typing import Array
from .base import Layer
from .context import LayerCache, PassContext
from .masked_steps import MaskedSteps

__all__ = ["backward_masked", "forward_masked", "leave_out_masked", "with_masked"]


def forward_masked(layer: Layer, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
    """Do ``layer.forward`` under the context's mask; a layer that supports masks reads only the unmasked steps."""
    if not layer.supports_mask:
        return layer.forward(x, ctx, cache)
    assert ctx.mask is not None
    lengths = ctx.lengths
    steps = cache.masked_steps = MaskedSteps.of(ctx.mask, lengths, layer.repeats_output)
    ctx.lengths = steps.lengths
    try:
        y = layer.forward(steps.pack(x, "packed x", cache.buffers), ctx, cache)
    finally:
        ctx.lengths = lengths
    if y.ndim == 2:
        ctx.mask = None
        return y
    return steps.spread(y, "spread y", cache.buffers)


def backward_masked(layer: Layer, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
    """Do ``layer.backward`` after a pass of `forward_masked` by a layer that supports masks."""
    steps, lengths = cache.masked_steps, ctx.lengths
    assert steps is not None
    if dy.ndim == 3:
        dy = steps.spread_backward(dy, "packed dy", cache.buffers)
    ctx.lengths = steps.lengths
    try:
        dx = layer.backward(dy, ctx, cache, need_dx)
    finally:
        ctx.lengths = lengths
    return None if dx is None else steps.unpack(dx, "unpacked dx", cache.buffers)


def leave_out_masked(x: Array, ctx: PassContext, cache: LayerCache) -> tuple[Array, Array | None]:
    """Return x without the masked steps, and its lengths, for a layer that makes other steps; the mask ends here."""
    cache.saved["masked"] = None
    if ctx.mask is None:
        return x, ctx.lengths
    steps = cache.saved["masked"] = MaskedSteps.of(ctx.mask, ctx.lengths, False)
    ctx.mask = None
    return steps.pack(x, "packed x", cache.buffers), steps.lengths


def with_masked(dx: Array, cache: LayerCache) -> Array:
    """Return the gradient of the x that `leave_out_masked` got from that of the x that it returned."""
    steps: MaskedSteps | None = cache.saved["masked"]
    return dx if steps is None else steps.unpack(dx, "unpacked dx", cache.buffers)
