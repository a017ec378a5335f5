"""Activation functions of cells and activation layers: names, parameters, values and derivatives.

Names and parameters are those of the ONNX operator LSTM (onnx.ai/onnx/operators/onnx__LSTM.html) in lower case with
underscores; `csrc/kernels/activation.h` computes the same functions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ._checks import real, short_repr
from ._typing import Array

__all__ = ["KINDS", "SIGMOID", "SOFTPLUS", "TANH", "Activation", "ActivationLike", "as_activation"]


KINDS: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 0.0),
    "tanh": (0.0, 0.0),
    "relu": (0.0, 0.0),
    "affine": (1.0, 0.0),
    "leaky_relu": (0.01, 0.0),
    "thresholded_relu": (1.0, 0.0),
    "scaled_tanh": (1.0, 1.0),
    "hard_sigmoid": (0.2, 0.5),
    "elu": (1.0, 0.0),
    "softsign": (0.0, 0.0),
    "softplus": (0.0, 0.0),
    "silu": (0.0, 0.0),
    "selu": (1.6732632423543772, 1.0507009873554805),
    "gelu": (0.0, 0.0),
    "gelu_tanh": (0.0, 0.0),
}
"""Each function's default alpha and beta, 0 if it has none; its position in this table is its number in the kernels."""

_NUMBERS = {name: number for number, name in enumerate(KINDS)}

_ALIASES = {"linear": "affine", "identity": "affine", "swish": "silu"}


class Activation(NamedTuple):
    """A scalar function, applied to each element.

    ========================  ==================================================
    ``sigmoid``               1 / (1 + exp(-x))
    ``tanh``                  tanh(x)
    ``relu``                  max(0, x)
    ``affine``                alpha x + beta
    ``leaky_relu``            x if x >= 0, else alpha x
    ``thresholded_relu``      x if x > alpha, else 0
    ``scaled_tanh``           alpha tanh(beta x)
    ``hard_sigmoid``          min(max(alpha x + beta, 0), 1)
    ``elu``                   x if x >= 0, else alpha (exp(x) - 1)
    ``softsign``              x / (1 + abs(x))
    ``softplus``              log(1 + exp(x))
    ``silu``                  x / (1 + exp(-x))
    ``selu``                  beta (x if x >= 0, else alpha (exp(x) - 1))
    ``gelu``                  x Phi(x), Phi the normal distribution
    ``gelu_tanh``             x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2
    ========================  ==================================================

    All of them map NaN to NaN.
    """

    name: str
    alpha: float
    beta: float

    @property
    def number(self) -> int:
        """The function's number in the kernels."""
        return _NUMBERS[self.name]

    def __call__(self, x: Array) -> Array:
        """Return the function's values in the dtype of x."""
        return np.asarray(self._value(x))

    def derivative(self, x: Array) -> Array:
        """Return the derivative at x; at a kink a one-sided one (``relu``: 0). NaN stays NaN except for ``affine``."""
        return np.asarray(self._slope(x) if self.name == "affine" else np.where(np.isnan(x), x, self._slope(x)))

    def _value(self, x: Array) -> Any:
        alpha, beta = x.dtype.type(self.alpha), x.dtype.type(self.beta)
        if self.name == "sigmoid":
            e = np.exp(-np.abs(x))
            return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
        if self.name == "tanh":
            return np.tanh(x)
        if self.name == "relu":
            return np.maximum(x, 0)
        if self.name == "affine":
            return alpha * x + beta
        if self.name == "leaky_relu":
            return np.where(x >= 0, x, alpha * x)
        if self.name == "thresholded_relu":
            return np.where(x <= alpha, 0, x)
        if self.name == "scaled_tanh":
            return alpha * np.tanh(beta * x)
        if self.name == "hard_sigmoid":
            return np.clip(alpha * x + beta, 0, 1)
        if self.name == "elu":
            return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
        if self.name == "softsign":
            largest = np.finfo(x.dtype).max  # infinity / infinity would be NaN
            x = np.clip(x, -largest, largest)
            return x / (1 + np.abs(x))
        if self.name == "silu":
            return _times(x, SIGMOID(x))
        if self.name == "selu":
            return beta * np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
        if self.name == "gelu":
            return _times(x, _normal(x))
        if self.name == "gelu_tanh":
            return _times(x, SIGMOID(_inner(x)))
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def _slope(self, x: Array) -> Any:
        alpha, beta = x.dtype.type(self.alpha), x.dtype.type(self.beta)
        if self.name == "sigmoid":
            s = self(x)
            return s * (1 - s)
        if self.name == "tanh":
            return 1 - np.tanh(x) ** 2
        if self.name == "relu":
            return np.where(x > 0, x.dtype.type(1), 0)
        if self.name == "affine":
            return np.full_like(x, alpha)
        if self.name == "leaky_relu":
            return np.where(x >= 0, x.dtype.type(1), alpha)
        if self.name == "thresholded_relu":
            return np.where(x > alpha, x.dtype.type(1), 0)
        if self.name == "scaled_tanh":
            return alpha * beta * (1 - np.tanh(beta * x) ** 2)
        if self.name == "hard_sigmoid":
            y = alpha * x + beta
            return np.where((y > 0) & (y < 1), alpha, 0)
        if self.name == "elu":
            return np.where(x >= 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))
        if self.name == "softsign":
            return 1 / (1 + np.abs(x)) ** 2
        if self.name == "silu":
            s = SIGMOID(x)
            return s + _times(x, s * (1 - s))
        if self.name == "selu":
            return beta * np.where(x >= 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))
        if self.name == "gelu":
            density = np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
            return _normal(x) + _times(x, density.astype(x.dtype))
        if self.name == "gelu_tanh":
            s = SIGMOID(_inner(x))
            near = np.clip(x, -40, 40)
            rise = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near.astype(np.float64) ** 2)
            return s + near * s * (1 - s) * rise.astype(x.dtype)
        return SIGMOID(x)


def _times(x: Array, factor: Array) -> Array:
    """Return x * factor, 0 where the factor is: infinity * 0 would be NaN."""
    product: Array = np.where(factor == 0, factor, x) * factor
    return product


def _normal(x: Array) -> Array:
    """Return the normal distribution at x in the dtype of x."""
    flat = [math.erfc(-one / math.sqrt(2)) / 2 for one in x.astype(np.float64).reshape(-1).tolist()]
    return np.array(flat).reshape(x.shape).astype(x.dtype)


def _inner(x: Array) -> Array:
    """Return twice the argument of the tanh of ``gelu_tanh``, where it is far from overflow."""
    near = np.clip(x, -40, 40).astype(np.float64)
    inner: Array = (2 * math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)).astype(x.dtype)
    return inner


SIGMOID, TANH = Activation("sigmoid", 0.0, 0.0), Activation("tanh", 0.0, 0.0)
SOFTPLUS = Activation("softplus", 0.0, 0.0)

ActivationLike = str | tuple[Any, ...]
"""A name, or (name, alpha) or (name, alpha, beta)."""


def as_activation(what: str, given: ActivationLike) -> Activation:
    """Return the activation that a user named; raise an error if it is invalid.

    Parameters
    ----------
    what : str
        Name of the argument in error messages.
    given : str or tuple
        A name from `KINDS` (or ``"linear"``, which is ``("affine", 1, 0)``), or a tuple of the name and alpha, or of
        the name, alpha and beta.

    Returns
    -------
    Activation

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or a parameter is not a finite number.
    """
    if isinstance(given, str):
        parts: tuple[Any, ...] = (given,)
    elif isinstance(given, (tuple, list)) and 1 <= len(given) <= 3:
        parts = tuple(given)
    else:
        raise TypeError(f"{what} is {short_repr(given)}, expected a name or a tuple (name, alpha, beta)")
    name = _ALIASES.get(parts[0], parts[0]) if isinstance(parts[0], str) else parts[0]
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"{what} is {short_repr(parts[0])}, expected one of {', '.join(KINDS)}")
    numbers = list(KINDS[name])
    for k, number in enumerate(parts[1:]):
        if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
            raise TypeError(
                f"{what} is {short_repr(given)}: {short_repr(number)} is not a number, expected (name, alpha, beta)"
            )
        numbers[k] = real(f"each number of {what}", number)
    return Activation(name, *numbers)
