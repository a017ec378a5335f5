"""What layers have in common that normalise features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._checks import as_bool, positive
from .._typing import Array
from .base import Layer, ParameterSpec, Signal
from .initializers import ones, zeros

__all__ = ["Norm", "as_steps"]


class Norm(Layer):
    """Base of the layers that normalise each feature or each step, and may multiply by a weight and add a bias.

    Parameters
    ----------
    eps : float
        Added to the variance.
    weight, bias : bool
        Whether there are these parameters.
    """

    touches_padding = False

    def __init__(self, eps: float, weight: bool, bias: bool) -> None:
        super().__init__()
        self.eps = positive("eps", eps)
        self.weight = as_bool("weight", weight)
        self.bias = as_bool("bias", bias)
        self.size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        self.size = signal.features
        return Signal(signal.features, signal.per_step)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        if self.weight:
            yield ParameterSpec("weight", (self.size,), ones)
        if self.bias:
            yield ParameterSpec("bias", (self.size,), zeros)

    def input_size_of(self, weight: Array) -> int | None:
        return weight.shape[0] if weight.ndim == 1 else None

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps, "weight": self.weight, "bias": self.bias}


def as_steps(x: Array) -> Array:
    """Return x as the kernels read it, (batch, time, features): one vector for each case is one step."""
    return np.ascontiguousarray(x if x.ndim == 3 else x[:, None])
