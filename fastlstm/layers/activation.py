"""Activation functions and softmax as a layer."""

from __future__ import annotations

from typing import Any

from .. import _core, activations
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Activation"]

_SOFTMAX = "softmax"
_PARAMETERS = {
    "affine": ("alpha", "beta"),
    "leaky_relu": ("alpha",),
    "thresholded_relu": ("alpha",),
    "scaled_tanh": ("alpha", "beta"),
    "hard_sigmoid": ("alpha", "beta"),
    "elu": ("alpha",),
    "selu": ("alpha", "beta"),
}
"""Names of the parameters of each function that has any."""


@register
class Activation(Layer):
    """Apply a function to each element, or softmax over the features, for each case or each step.

    ========================  ====================================================
    ``sigmoid``               1 / (1 + exp(-x))
    ``tanh``                  tanh(x)
    ``relu``                  max(0, x)
    ``affine``, ``linear``    alpha x + beta; alpha is 1 and beta is 0 by default
    ``leaky_relu``            x if x >= 0, else alpha x; alpha is 0.01
    ``thresholded_relu``      x if x > alpha, else 0; alpha is 1
    ``scaled_tanh``           alpha tanh(beta x); both are 1
    ``hard_sigmoid``          min(max(alpha x + beta, 0), 1); 0.2 and 0.5
    ``elu``                   x if x >= 0, else alpha (exp(x) - 1); alpha is 1
    ``softsign``              x / (1 + abs(x))
    ``softplus``              log(1 + exp(x))
    ``silu``, ``swish``       x / (1 + exp(-x))
    ``selu``                  beta (x if x >= 0, else alpha (exp(x) - 1)); 1.6732632423543772 and 1.0507009873554805
    ``gelu``                  x Phi(x), Phi the normal distribution
    ``gelu_tanh``             x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2, close to ``gelu``
    ``softmax``               exp(x) / sum(exp(x)), over the last axis
    ========================  ====================================================

    The losses ``"cross_entropy"`` and ``"binary_cross_entropy"`` take scores and apply softmax or sigmoid themselves,
    and so does `Model.predict_proba`: do not end a model with either of the two for these losses.

    Parameters
    ----------
    kind : str
        Name of the function.
    alpha, beta : float, optional
        Parameters of the function, if it has them.

    Raises
    ------
    TypeError, ValueError
        If there is no function of this name, it has no such parameter, or a parameter is not a finite number.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LastStep(), fl.Activation("leaky_relu", 0.1)], input_size=2)
    >>> model.forward(np.array([[[-1.0, 2.0]]], np.float32)).tolist()
    [[-0.10000000149011612, 2.0]]
    """

    def __init__(self, kind: str, alpha: float | None = None, beta: float | None = None) -> None:
        super().__init__()
        if not isinstance(kind, str):
            raise TypeError(f"kind must be the name of an activation such as 'relu', got {kind!r}")
        self.function: activations.Activation | None = None
        """The scalar function; None for softmax."""
        if kind != _SOFTMAX:
            try:
                self.function = activations.as_activation("kind", kind)
            except ValueError:
                known = ", ".join([*activations.KINDS, _SOFTMAX])
                raise ValueError(f"kind is {kind!r}, expected one of {known}") from None
        self.kind = _SOFTMAX if self.function is None else self.function.name
        given = {"alpha": alpha, "beta": beta}
        own = _PARAMETERS.get(self.kind, ())
        for name, value in given.items():
            if value is not None and name not in own:
                raise ValueError(f"{self.kind} has no parameter {name}, got {name}={value!r}: leave it out")
        if self.function is not None:
            defaults = {"alpha": self.function.alpha, "beta": self.function.beta}
            values = (defaults[name] if value is None else value for name, value in given.items())
            self.function = activations.as_activation("kind", (self.kind, *values))
        self.output_activation = "sigmoid" if kind == "sigmoid" else "softmax" if kind == _SOFTMAX else None
        self.size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        self.size = signal.features
        return signal

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        y = cache.buffers.get("y", x.shape, ctx.dtype)
        if self.function is None:
            _core.softmax(x.reshape(-1, self.size), y.reshape(-1, self.size), ctx.n_threads)
        else:
            _core.activation(*self._numbers(), x, y, ctx.n_threads)
        cache.saved.update({"x": x, "y": y} if ctx.training else {"x": None, "y": None})
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        x, y = cache.saved["x"], cache.saved["y"]
        dx = cache.buffers.get("dx", dy.shape, ctx.dtype)
        if self.function is None:
            y, dy, into = (array.reshape(-1, self.size) for array in (y, dy, dx))
            _core.softmax_backward(y, dy, into, ctx.n_threads)
        else:
            _core.activation_backward(*self._numbers(), x, y, dy, dx, ctx.n_threads)
        return dx

    def _numbers(self) -> tuple[int, float, float]:
        """Return the function's number in the kernels, alpha and beta."""
        assert self.function is not None
        return self.function.number, self.function.alpha, self.function.beta

    def stages(self) -> list[Stage]:
        if self.function is None:
            return [Stage("softmax", self.size)]
        return [Stage("activation", self.size, settings={"function": self.function})]

    def get_config(self) -> dict[str, Any]:
        own = _PARAMETERS.get(self.kind, ())
        return {"kind": self.kind, **{name: getattr(self.function, name) for name in own}}
