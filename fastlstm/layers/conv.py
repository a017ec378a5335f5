"""Convolution over the steps of a series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import as_bool, count, short_repr
from .._draws import Draws
from .._typing import Array
from ..activations import Activation, ActivationLike, as_activation
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .initializers import checked_initializer, initializer
from .masked_steps import MaskedSteps
from .registry import register
from .stages import Stage, StageState

__all__ = ["Conv1D"]

_PADDINGS = ("valid", "same", "causal")
_MOST_STEPS = 2**31 - 1


@register
class Conv1D(Layer):
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
        super().__init__()
        self.filters = count("filters", filters)
        self.kernel_size = count("kernel_size", kernel_size, bits=31)
        self.stride = count("stride", stride, bits=31)
        self.dilation = count("dilation", dilation, bits=31)
        self.groups = count("groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"groups is {groups}, expected a divisor of the number of filters, {filters}")
        self.span = (self.kernel_size - 1) * self.dilation + 1
        if self.span > _MOST_STEPS:
            raise ValueError(
                f"a window of {kernel_size} steps, {dilation} apart, spans {self.span} steps, more than {_MOST_STEPS}: "
                "use a smaller dilation"
            )
        self.padding = _checked_padding(padding)
        self.activation = None if activation is None else as_activation("activation", activation)
        self.bias = as_bool("bias", bias)
        self.weight_init = checked_initializer("weight_init", weight_init)
        self.input_size = 0
        self.output_activation = "sigmoid" if self.activation and self.activation.name == "sigmoid" else None
        zeros = self._zeros()
        self.is_causal = self.stride == 1 and (self.span == 1 if zeros is None else zeros == (self.span - 1, 0))
        """Whether the output at each step depends on this step and earlier ones."""
        self.keeps_steps = self.stride == 1 and (zeros is None or sum(zeros) == self.span - 1)
        """Whether the output has a step for each step of the input."""
        self.supports_mask = self.keeps_steps

    def _zeros(self) -> tuple[int, int] | None:
        """Return the numbers of zeros before and after a series; None for "same"."""
        if not isinstance(self.padding, str):
            return self.padding
        return None if self.padding == "same" else (self.span - 1 if self.padding == "causal" else 0, 0)

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("Conv1D reads numbers and gets token ids: put it after the fl.Embedding")
        if not signal.per_step:
            raise ValueError(
                "Conv1D reads (batch, time, features) and gets (batch, features): set return_sequences=True before it, "
                "or leave it out"
            )
        if signal.features % self.groups:
            raise ValueError(
                f"Conv1D has {self.groups} groups, which do not divide the {signal.features} features of its input: "
                "use a divisor of them"
            )
        self.input_size = signal.features
        if self.keeps_steps:
            return Signal(self.filters, True)
        steps, longest = (
            None if n is None else int(self.steps_after(np.array([n]))[0]) for n in (signal.steps, signal.longest)
        )
        return Signal(self.filters, True, False, steps, longest, signal.stride * self.stride, False)

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

    def streaming_obstacle(self) -> str | None:
        if self.is_causal:
            return None
        if self.stride > 1:
            return (
                f"is a Conv1D with stride {self.stride}, which has no output at the steps between its windows; use "
                "stride=1 and padding='causal'"
            )
        return (
            f"is a Conv1D with padding {self.padding!r}, whose windows reach steps that are not known yet when the "
            "series arrives in segments; use padding='causal'"
        )

    def segment_obstacle(self) -> str | None:
        if self.is_causal and self.span > 1:
            return (
                f"is a Conv1D, which reads the {self.span - 1} steps before each step, also those of the segment "
                "before; leave it out"
            )
        return self.streaming_obstacle()

    def steps_after(self, lengths: Array) -> Array:
        zeros = self._zeros()
        if zeros is None:
            return -(-lengths // self.stride)
        room = lengths + (sum(zeros) - self.span)
        short = np.flatnonzero((room < 0) & (lengths > 0))
        if len(short):
            case = int(short[0])
            raise ValueError(
                f"Conv1D reads windows of {self.span} steps, and series {case} has {lengths[case]}"
                + (f" and {sum(zeros)} zeros around them" if sum(zeros) else "")
                + ": leave such series out, or use padding='same' or padding='causal'"
            )
        return np.where(lengths > 0, room // self.stride + 1, 0)

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return mask if self.keeps_steps else None

    def _window(self) -> dict[str, Any]:
        """Return the arguments of the kernels that say which steps a window has."""
        return {"stride": self.stride, "dilation": self.dilation, "groups": self.groups, "padding": self._zeros()}

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        cache.saved["lengths"], cache.saved["masked"] = ctx.lengths, None
        lengths = ctx.lengths
        if ctx.mask is not None and not self.keeps_steps:
            masked = cache.saved["masked"] = MaskedSteps.of(ctx.mask, lengths, False)
            x, lengths, ctx.mask = masked.pack(x, "packed x", cache.buffers), masked.lengths, None
        x = np.ascontiguousarray(x)
        batch, steps, _ = x.shape
        if not self.keeps_steps:
            counts = self.steps_after(np.full(batch, steps) if lengths is None else lengths)
            steps = max(1, int(counts.max(initial=0)))
            ctx.lengths = counts if (counts < steps).any() else None
        y = cache.buffers.get("y", (batch, steps, self.filters), ctx.dtype)
        _core.conv_forward(
            x,
            self.parameters["weight"],
            self.parameters.get("bias"),
            y,
            cache.workspace,
            lengths=lengths,
            n_threads=ctx.n_threads,
            packed=ctx.packed,
            **self._window(),
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
            **self._window(),
        )
        masked: MaskedSteps | None = cache.saved["masked"]
        return dx if masked is None or dx is None else masked.unpack(dx, "unpacked dx", cache.buffers)

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
        padding = self.padding if isinstance(self.padding, str) else list(self.padding)
        return {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding": padding,
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


def _checked_padding(padding: Any) -> str | tuple[int, int]:
    if isinstance(padding, str):
        if padding not in _PADDINGS:
            raise ValueError(
                f"padding is {padding!r}, expected one of {', '.join(map(repr, _PADDINGS))}, or numbers of zeros"
            )
        return padding
    pair = tuple(padding) if isinstance(padding, (list, tuple)) else (padding, padding)
    if len(pair) != 2:
        raise ValueError(
            f"padding is {short_repr(padding)}, expected two numbers, of zeros before and after each series"
        )
    before, after = (count("padding", one, 0, bits=31) for one in pair)
    return before, after
