"""Pooling over windows of the steps of a series."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._checks import as_bool
from .._typing import Array
from .base import Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage, StageState
from .windows import WindowLayer

__all__ = ["AvgPool1D", "MaxPool1D"]


class _WindowPool(WindowLayer):
    """Base of the layers that pool windows; `stride` None is the size of a window."""

    kind: ClassVar[str]
    """Name of the method in ``csrc/kernels/window_pool.h``."""
    count_include_pad = False

    def __init__(self, kernel_size: int, stride: int | None, padding: str | int | tuple[int, int]) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, 1, padding)
        if self.zeros is not None and max(self.zeros) >= self.kernel_size:
            raise ValueError(
                f"padding is {padding!r}, expected less than kernel_size, {kernel_size}, on each side: a window must "
                "have a step of the series"
            )
        self.size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        self.size = signal.features
        return self.windows_of(signal, signal.features)

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the kernels that describe a window."""
        return {
            "kernel": self.kernel_size,
            "stride": self.stride,
            "padding": self.zeros,
            "count_include_pad": self.count_include_pad,
        }

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        x, lengths, steps = self.enter(x, ctx, cache)
        y = cache.buffers.get("y", (len(x), steps, self.size), ctx.dtype)
        _core.window_pool_forward(self.kind, x, y, lengths=lengths, n_threads=ctx.n_threads, **self._settings())
        cache.saved["pass"] = (x, lengths) if ctx.training else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        if not need_dx:
            return None
        x, lengths = cache.saved["pass"]
        dx = cache.buffers.get("dx", x.shape, ctx.dtype)
        _core.window_pool_backward(
            self.kind,
            np.ascontiguousarray(dy),
            x,
            dx,
            lengths=lengths,
            n_threads=ctx.n_threads,
            **self._settings(),
        )
        return self.leave(dx, cache)

    def stages(self) -> list[Stage]:
        settings = {
            "method": self.kind,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": "causal" if self.is_causal else self.padding,
            "count_include_pad": self.count_include_pad,
        }
        states: tuple[StageState, ...] = ()
        if self.is_causal and self.kernel_size > 1:
            earlier = (self.kernel_size - 1) * self.size
            states = StageState("steps", earlier), StageState("count", 1, dtype="float64")
        return [Stage("window_pool", self.size, {}, settings, states=states)]

    def get_config(self) -> dict[str, Any]:
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.described_padding()}


@register
class MaxPool1D(_WindowPool):
    """Return the maximum of each feature over windows of steps (``torch.nn.MaxPool1d``).

    `MaxPool` takes the maximum over all steps of a case.

    Parameters
    ----------
    kernel_size : int
        Number of steps in a window.
    stride : int, optional
        Number of steps from a window to the next; by default `kernel_size`.
    padding : {"valid", "same", "causal"}, int or (int, int), default "valid"
        How far windows reach beyond the ends of each series, as in `Conv1D`; less than `kernel_size` at each end. The
        maximum is over the steps that the series has.

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer of at least 1 (of padding: 0), or there is no such padding. When the model is
        built, if the layer's input is token ids or has no time axis. In a pass, if a series is too short for a window.

    Notes
    -----
    Number of steps, lengths and masks as in `Conv1D`. The gradient goes to the first step of a window that has the
    maximum.

    Nothing is computed but comparisons, in the model's dtype, also in a quantized model. Streams take
    ``padding="causal"`` with ``stride=1``; `Model.to_c` does not have the layer.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0, 3.0, 5.0]])[:, :, None]
    >>> fl.Model([fl.MaxPool1D(2), fl.LastStep()], input_size=1).forward(X).tolist()
    [[6.0]]
    """

    kind = "max"
    commutes_with = ("sigmoid",)  # an increasing function: the largest number gives the largest result

    def __init__(
        self, kernel_size: int, *, stride: int | None = None, padding: str | int | tuple[int, int] = "valid"
    ) -> None:
        super().__init__(kernel_size, stride, padding)


@register
class AvgPool1D(_WindowPool):
    """Return the mean of each feature over windows of steps (``torch.nn.AvgPool1d``).

    `MeanPool` takes the mean over all steps of a case.

    Parameters
    ----------
    kernel_size : int
        Number of steps in a window.
    stride : int, optional
        Number of steps from a window to the next; by default `kernel_size`.
    padding : {"valid", "same", "causal"}, int or (int, int), default "valid"
        How far windows reach beyond the ends of each series, as in `Conv1D`; less than `kernel_size` at each end.
    count_include_pad : bool, default False
        Whether steps beyond the ends count as zeros. By default the mean is over the steps that the series has, as in
        Keras; PyTorch's default is True, which matters only with a padding of numbers.

    Raises
    ------
    TypeError, ValueError
        As `MaxPool1D`.

    Notes
    -----
    Number of steps, lengths and masks as in `Conv1D`. Sums are in float64, in the order of the steps.

    The result has the model's dtype, also in a quantized model. Streams take ``padding="causal"`` with ``stride=1``;
    `Model.to_c` does not have the layer.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.array([[1.0, 2.0, 6.0, 3.0, 5.0]])[:, :, None]
    >>> fl.Model([fl.AvgPool1D(2, padding="same"), fl.LastStep()], input_size=1).forward(X).tolist()
    [[5.0]]
    """

    kind = "mean"

    def __init__(
        self,
        kernel_size: int,
        *,
        stride: int | None = None,
        padding: str | int | tuple[int, int] = "valid",
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = as_bool("count_include_pad", count_include_pad)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count_include_pad": self.count_include_pad}
