"""Convolution over the steps of a series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import as_bool, count
from .._draws import Draws
from .._typing import Array
from ..activations import Activation, ActivationLike, as_activation
from .base import ParameterSpec, Signal
from .context import LayerCache, PassContext
from .initializers import checked_initializer, initializer
from .registry import register
from .stages import Stage, StageState
from .windows import WindowLayer

__all__ = ["Conv1D"]


@register
class Conv1D(WindowLayer):
    """Convolution over the steps of each series: each filter is a weighted sum over a window of consecutive steps.

    Signals are often read so before an LSTM: windows find short patterns, and with a stride the LSTM takes fewer steps.
    The windows of a series reach beyond its own ends only, wherever it is in a batch; what is there counts as 0.

    Parameters
    ----------
    filters : int
        Number of features of the output.
    kernel_size : int
        Number of steps in a window.
    stride : int, default 1
        Number of steps from a window to the next.
    dilation : int, default 1
        Number of steps from a step of a window to the next one in it; above 1 the steps between are left out. A window
        spans ``(kernel_size - 1) * dilation + 1`` steps.
    groups : int, default 1
        Number of equal groups into which features and filters are divided; a filter reads the features of its group.
    padding : {"valid", "same", "causal"}, int or (int, int), default "valid"
        Zeros before and after each series. ``"valid"``: none, so that a series must span a window. ``"same"``: as many
        as give ``ceil(steps / stride)`` steps, half of them, rounded down, before the series. ``"causal"``: as many
        before the series as let each window end at its own step, so that it reads no later one. A number: so many zeros
        at both ends, as PyTorch's ``padding``.
    activation : str or tuple, optional
        Function applied to the output, as `Activation` has them; a tuple is (name, alpha, beta). By default none.
    bias : bool, default True
        Whether there is a ``bias``.
    weight_init : str, default "uniform"
        Initial values of ``weight``: ``"uniform"`` draws from +-1/sqrt(n) for windows of n numbers, as PyTorch does;
        `LSTM` lists the others, for which a filter is a row of n numbers.

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer of at least 1 (of padding: 0), or there is no such padding, activation or
        initializer. When the model is built, if the layer's input is token ids or has no time axis, or the groups do
        not divide its features. In a pass, if a series is too short for a window.

    Notes
    -----
    Step t of the output is ``bias + sum over k of weight[:, :, k] x[t * stride - before + k * dilation]``. Shapes:
    (batch, time, features) to (batch, steps, filters), where ``steps = (time + before + after - span) // stride + 1``.

    Parameters: ``weight`` (filters, features / groups, kernel_size), ``bias`` (filters,), as those of PyTorch's Conv1d.

    Masked steps are left out before the windows are taken. If the output has a step for each step of the input, a
    masked step repeats the output of the one before; otherwise later layers know no mask.

    Computed in the model's dtype; a quantized model leaves the layer as it is. Streams take ``padding="causal"`` with
    ``stride=1``; `Model.to_c` does not have the layer.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> layers = [fl.Conv1D(16, 5, stride=2, padding="same", activation="relu"), fl.LSTM(8), fl.Dense(3)]
    >>> fl.Model(layers, input_size=2).predict(np.zeros((4, 100, 2))).shape
    (4, 3)
    """

    input_weight = "weight"

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: str | int | tuple[int, int] = "valid",
        activation: ActivationLike | None = None,
        bias: bool = True,
        weight_init: str = "uniform",
    ) -> None:
        super().__init__(kernel_size, stride, dilation, padding)
        self.filters = count("filters", filters)
        self.groups = count("groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"groups is {groups}, expected a divisor of the number of filters, {filters}")
        self.activation = None if activation is None else as_activation("activation", activation)
        self.bias = as_bool("bias", bias)
        self.weight_init = checked_initializer("weight_init", weight_init)
        self.input_size = 0
        self.output_activation = "sigmoid" if self.activation and self.activation.name == "sigmoid" else None

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        if signal.features % self.groups:
            raise ValueError(
                f"Conv1D has {self.groups} groups, which do not divide the {signal.features} features of its input: "
                "use a divisor of them"
            )
        self.input_size = signal.features
        return self.windows_of(signal, self.filters)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        shape = self.filters, self.input_size // self.groups, self.kernel_size
        terms = shape[1] * shape[2]
        bound = 1 / math.sqrt(terms)
        draw = initializer(self.weight_init, bound)

        def initialize(rng: Draws, shape: tuple[int, ...]) -> Array:
            return draw(rng, (shape[0], terms)).reshape(shape)

        yield ParameterSpec("weight", shape, initialize)
        if self.bias:
            yield ParameterSpec("bias", (self.filters,), initializer("uniform", bound))

    def input_size_of(self, weight: Array) -> int | None:
        return weight.shape[1] * self.groups if weight.ndim == 3 else None

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the kernels that say what a filter reads."""
        return {"stride": self.stride, "dilation": self.dilation, "groups": self.groups, "padding": self.zeros}

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        x, lengths, steps = self.enter(x, ctx, cache)
        y = cache.buffers.get("y", (len(x), steps, self.filters), ctx.dtype)
        _core.conv_forward(
            x,
            self.parameters["weight"],
            self.parameters.get("bias"),
            y,
            cache.workspace,
            lengths=lengths,
            n_threads=ctx.n_threads,
            packed=ctx.packed,
            **self._settings(),
        )
        scores = y
        if self.activation is not None:
            if ctx.training:
                y = cache.buffers.get("activated", y.shape, ctx.dtype)
            _core.activation(*_numbers(self.activation), scores, y, ctx.n_threads)
        cache.saved["pass"] = (x, lengths, scores, y) if ctx.training else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        gradients = self.wanted_gradients
        x, lengths, scores, y = cache.saved["pass"]
        dy = np.ascontiguousarray(dy)
        if self.activation is not None:
            d_scores = cache.buffers.get("d_scores", dy.shape, ctx.dtype)
            _core.activation_backward(*_numbers(self.activation), scores, y, dy, d_scores, ctx.n_threads)
            dy = d_scores
        dx = cache.buffers.get("dx", x.shape, ctx.dtype) if need_dx else None
        _core.conv_backward(
            dy,
            x,
            self.parameters["weight"],
            dx,
            gradients.get("weight"),
            gradients.get("bias"),
            cache.workspace,
            lengths=lengths,
            n_threads=ctx.n_threads,
            **self._settings(),
        )
        return self.leave(dx, cache)

    def stages(self) -> list[Stage]:
        settings = {
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding": "causal" if self.is_causal else self.padding,
        }
        states: tuple[StageState, ...] = ()
        if self.is_causal and self.span > 1:
            states = (StageState("steps", (self.span - 1) * self.input_size),)
        result = [Stage("conv", self.filters, dict(self.parameters), settings, states=states)]
        if self.activation is not None:
            result.append(Stage("activation", self.filters, settings={"function": self.activation}))
        return result

    def get_config(self) -> dict[str, Any]:
        return {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding": self.described_padding(),
            "activation": None if self.activation is None else _described(self.activation),
            "bias": self.bias,
            "weight_init": self.weight_init,
        }


def _numbers(function: Activation) -> tuple[int, float, float]:
    """Return the function's number in the kernels, alpha and beta."""
    return function.number, function.alpha, function.beta


def _described(function: Activation) -> str | list[Any]:
    """Return the function as data for JSON: its name, with its parameters if they are not the usual ones."""
    return function.name if function == as_activation("activation", function.name) else list(function)
