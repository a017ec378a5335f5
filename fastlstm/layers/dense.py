"""Fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import _core
from .._checks import as_bool, count
from .._typing import Array
from .base import Layer, Matrix, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .initializers import checked_initializer, initializer
from .quantization import MOST_TERMS, with_limits
from .registry import register
from .stages import Stage

__all__ = ["Dense"]


@register
class Dense(Layer):
    """Fully connected layer, y = x W' + b, for each case or each step (``torch.nn.Linear``).

    Parameters
    ----------
    output_size : int
        Number of features of the output: classes, or values to predict.
    bias : bool, default True
        Whether there is a ``bias``.
    weight_init : str, default "uniform"
        Initial values of ``weight``: ``"uniform"`` draws from +-1/sqrt(input), as PyTorch does; `LSTM` lists the
        others.

    Raises
    ------
    TypeError, ValueError
        If output_size is not an integer of at least 1, or there is no such initializer.

    Notes
    -----
    Parameters: ``weight`` (output_size, input), ``bias`` (output_size). The bias is drawn uniformly from
    +-1/sqrt(input).

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.Model([fl.LSTM(8), fl.Dense(3)], input_size=4)
    >>> {name: p.shape for name, p in model.parameters().items() if name.startswith("1.")}
    {'1.weight': (3, 8), '1.bias': (3,)}
    """

    input_weight = "weight"

    def __init__(self, output_size: int, *, bias: bool = True, weight_init: str = "uniform") -> None:
        super().__init__()
        self.output_size = count("output_size", output_size)
        self.bias = as_bool("bias", bias)
        self.weight_init = checked_initializer("weight_init", weight_init)
        self.input_size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("a Dense layer reads numbers and gets token ids: put a fl.Embedding before it")
        self.input_size = signal.features
        return Signal(self.output_size, signal.per_step)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        bound = 1 / math.sqrt(self.input_size)
        yield ParameterSpec("weight", (self.output_size, self.input_size), initializer(self.weight_init, bound))
        if self.bias:
            yield ParameterSpec("bias", (self.output_size,), initializer("uniform", bound))

    def quantizing_obstacle(self) -> str | None:
        return None if self.input_size <= MOST_TERMS else f"has more than {MOST_TERMS} inputs"

    def quantized_matrices(self) -> Iterator[Matrix]:
        yield Matrix("weight", "x")

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        if ctx.observe is not None:
            ctx.observe("x", x, ctx.lengths if x.ndim == 3 else None)
        rows = x.reshape(-1, self.input_size)
        y = cache.buffers.get("y", (*x.shape[:-1], self.output_size), ctx.dtype)
        _core.dense_forward(
            rows,
            self.parameters["weight"],
            self.parameters.get("bias"),
            y.reshape(-1, self.output_size),
            cache.workspace,
            ctx.n_threads,
            ctx.packed,
            self.quantized is not None,
            None if self.quantized is None else self.quantized.limits["x"],
        )
        cache.saved["x"] = rows if ctx.training else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        x, gradients = cache.saved["x"], self.wanted_gradients
        dx = cache.buffers.get("dx", (*dy.shape[:-1], self.input_size), ctx.dtype) if need_dx else None
        _core.dense_backward(
            dy.reshape(-1, self.output_size),
            x,
            self.parameters["weight"],
            None if dx is None else dx.reshape(-1, self.input_size),
            gradients.get("weight"),
            gradients.get("bias"),
            cache.workspace,
            ctx.n_threads,
        )
        return dx

    def stages(self) -> list[Stage]:
        if self.quantized is None:
            return [Stage("dense", self.output_size, dict(self.parameters))]
        weights = with_limits(self.parameters, self.quantized.limits["x"])
        return [Stage("dense", self.output_size, weights, {"quantized": True})]

    def get_config(self) -> dict[str, Any]:
        return {"output_size": self.output_size, "bias": self.bias, "weight_init": self.weight_init}
