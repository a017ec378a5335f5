"""Pooling in three ways at once: the end of each direction, the maximum and the mean over the steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._checks import as_bool
from .._typing import Array
from .base import Signal
from .context import LayerCache, PassContext
from .pooling import Pool
from .registry import register
from .stages import Stage

__all__ = ["ConcatPool"]


@register
class ConcatPool(Pool):
    """Return end, maximum and mean of the valid steps of each case, one after the other: 3 F features for F.

    What is said at the end of a series, what stands out once and what holds throughout need not be told from each other
    by the network: "concat pooling" of Howard & Ruder 2018.

    Parameters
    ----------
    bidirectional : bool, default False
        Whether the first half of the features belongs to a forward direction, whose end is the last valid step, and the
        second half to a reverse direction, whose end is the first step. By default the end is the last valid step.

    Raises
    ------
    ValueError
        When the model is built, if the layer's input is token ids or has no time axis, or `bidirectional` is set and
        the number of features is odd.

    Notes
    -----
    J. Howard and S. Ruder, "Universal language model fine-tuning for text classification", ACL 2018.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 0.0]])[:, :, None]
    >>> fl.Model([fl.ConcatPool()], input_size=1).forward(X, lengths=[3, 2]).tolist()
    [[6.0, 6.0, 3.0], [5.0, 5.0, 4.5]]
    """

    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__()
        self.bidirectional = as_bool("bidirectional", bidirectional)

    def build(self, signal: Signal) -> Signal:
        pooled = super().build(signal)
        if self.bidirectional and signal.features % 2:
            raise ValueError(
                f"ConcatPool(bidirectional=True) reads two directions and gets {signal.features} features: put it "
                "after an LSTM with bidirectional=True, or leave bidirectional out"
            )
        return pooled._replace(features=3 * pooled.features)

    def streaming_obstacle(self) -> str | None:
        return "is a ConcatPool, which cannot be streamed; take fl.MaxPool(), fl.MeanPool() or fl.LastStep()"

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        batch, size = len(x), self.size
        y = cache.buffers.get("y", (batch, 3 * size), ctx.dtype)
        index = cache.buffers.get("index", (batch, size), np.int64) if ctx.training else None
        parts = [
            self._pooled("max", x, ctx, cache, {} if index is None else {"index": index}),
            self._pooled("mean", x, ctx, cache, {}),
        ]
        self._ends(x, ctx.lengths, y[:, :size])
        y[:, size : 2 * size], y[:, 2 * size :] = parts
        cache.saved["pass"] = (x, parts, index) if ctx.training else None
        return y

    def _ends(self, x: Array, lengths: Array | None, y: Array) -> None:
        """Write the end of each direction to y; 0 for a case without any step."""
        forward = self.size // 2 if self.bidirectional else self.size
        y[:, forward:] = x[:, 0, forward:]
        if lengths is None:
            y[:, :forward] = x[:, -1, :forward]
        else:
            y[:, :forward] = x[np.arange(len(x)), np.maximum(lengths, 1) - 1, :forward]
            y[lengths == 0] = 0

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        x, parts, index = cache.saved["pass"]
        size = self.size
        dx, of_mean = (cache.buffers.get(name, x.shape, ctx.dtype) for name in ("dx", "dx of mean"))
        for k, (kind, part, to) in enumerate(zip(("max", "mean"), parts, (dx, of_mean), strict=True), start=1):
            d_part = np.ascontiguousarray(dy[:, k * size : (k + 1) * size])
            more = {"index": index} if kind == "max" else {}
            _core.pool_backward(kind, x, part, d_part, to, lengths=ctx.lengths, n_threads=ctx.n_threads, **more)
        dx += of_mean
        self._add_ends(dx, ctx.lengths, dy[:, :size])
        return dx

    def _add_ends(self, dx: Array, lengths: Array | None, dy: Array) -> None:
        forward = self.size // 2 if self.bidirectional else self.size
        if lengths is None:
            dx[:, 0, forward:] += dy[:, forward:]
            dx[:, -1, :forward] += dy[:, :forward]
            return
        known = np.flatnonzero(lengths > 0)
        dx[known, 0, forward:] += dy[known, forward:]
        dx[known, lengths[known] - 1, :forward] += dy[known, :forward]

    def stages(self) -> list[Stage]:
        size = self.size
        return [
            Stage("final", size, settings={"bidirectional": self.bidirectional, "reverse": False}),
            Stage("pool", size, settings={"method": "max"}, main=0),
            Stage("pool", size, settings={"method": "mean"}, main=0),
            Stage("concat", 2 * size, main=1, side={"second": 2}),
            Stage("concat", 3 * size, main=4, side={"second": 3}),
        ]

    def get_config(self) -> dict[str, Any]:
        return {"bidirectional": self.bidirectional}
