"""What stands between the layers and has no weights: activations, dropout, pooling over the steps, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...layers import (
    Activation,
    AvgPool1D,
    Dropout,
    Flatten,
    GaussianNoise,
    LastStep,
    Layer,
    MaxPool,
    MaxPool1D,
    MeanPool,
    layer_from_config,
)
from .parts import ACTIVATIONS, IDENTITY, Part

__all__ = ["FUNCTION_NAMES", "function_part", "torch_activation"]

_SIMPLE: dict[str, Callable[[], Layer]] = {
    "dropout": lambda: Dropout(0.5),  # the rate of nn.Dropout()
    "identity": lambda: Dropout(0.0),  # never built: `model_of` leaves it out
    "last": LastStep,
    "max": MaxPool,
    "mean": MeanPool,
}
_ACTIVATIONS = {name.lower(): name for name in ACTIVATIONS}
_WITHOUT_WEIGHTS = (Activation, AvgPool1D, Dropout, Flatten, GaussianNoise, LastStep, MaxPool, MaxPool1D, MeanPool)

FUNCTION_NAMES = (*ACTIVATIONS.values(), "dropout", "mean", "max", "last", "identity")
"""Names that `function_part` knows."""


def torch_activation(kind: str, alpha: float | None = None) -> Activation:
    """Return the layer for torch's activation of this name, with torch's parameters unless `alpha` is given."""
    defaults: dict[str, tuple[float | None, float | None]] = {
        "LeakyReLU": (0.01, None),
        "ELU": (1.0, None),
        "Hardsigmoid": (1 / 6, 0.5),
    }
    standard, beta = defaults.get(kind, (None, None))
    return Activation(ACTIVATIONS[kind], standard if alpha is None else alpha, beta)


def function_part(given: Any) -> Part | None:
    """Return the layer that a name such as "relu" or "mean" stands for; None if it is no such name.

    A layer object of this package that has no weights stands for itself.
    """
    if isinstance(given, _WITHOUT_WEIGHTS) and type(given) in _WITHOUT_WEIGHTS:
        name = type(given).__name__
        return Part(repr(given), name, layer_from_config({"type": name, **given.get_config()}))
    if not isinstance(given, str):
        return None
    plain = given.lower().replace("_", "")
    if plain in _ACTIVATIONS:
        kind = _ACTIVATIONS[plain]
        return Part(given, kind, torch_activation(kind))
    if plain in _SIMPLE:
        layer = _SIMPLE[plain]()
        return Part(given, IDENTITY if plain == "identity" else type(layer).__name__, layer)
    return None
