"""From the description of a Keras model to layers of this package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .layers import (  # noqa: F401  (importing them registers their layers)
    activations,
    normalizing,
    recurrent,
    stateless,
    windows,
)
from .layers.options import Config, Options
from .layers.registry import READERS, Part, SignalState, kind_of

__all__ = ["parts"]


def parts(layers: Iterable[Config], version: int | None) -> list[Part]:
    """Return the layers of a model, without weights.

    Parameters
    ----------
    layers : iterable of mapping
        Descriptions of the layers, as `chain` returns them.
    version : int or None
        Keras's major version.

    Raises
    ------
    ValueError
        If a layer or an option has no counterpart here; the message names it.
    """
    state, layers = SignalState(version), list(layers)
    shape = _shape(layers[0]["config"])
    if shape is not None and len(shape) > 1 and type(shape[1]) is int and shape[1] > 0:
        state.steps = shape[1]
    found = [_part(layer, state) for layer in layers]
    _check_input(layers[0]["config"], found)
    return found


def _part(layer: Config, state: SignalState) -> Part:
    kind = kind_of(layer)
    options = Options(kind, layer["config"])
    part = READERS[kind](options, state)
    options.end()
    return part


def _check_input(config: Config, found: list[Part]) -> None:
    """Raise ValueError if the model takes something other than series or token ids."""
    shape = _shape(config)
    first = next((part for part in found if part.kind != "InputLayer"), None)
    if shape is None or first is None:
        return
    axes = 2 if first.kind == "Embedding" else 3
    if len(shape) != axes:
        form = "(batch, time)" if axes == 2 else "(batch, time, features)"
        raise ValueError(f"the model takes arrays of shape {str(shape)[:100]}, expected {form}")


def _shape(config: Config) -> list[Any] | None:
    """Return the shape of the model's input, as its first layer tells it; None if it does not."""
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    return shape if isinstance(shape, list) else None
