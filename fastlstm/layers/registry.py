"""Registry of the layer classes by name, from which files restore the layers of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .._checks import short_repr
from .base import Layer

__all__ = ["copied_layer", "layer_config", "layer_from_config", "register", "registered_layers"]

_L = TypeVar("_L", bound=type[Layer])
_LAYERS: dict[str, type[Layer]] = {}


def register(cls: _L) -> _L:
    """Register a layer class under its name; use as a decorator."""
    _LAYERS[cls.__name__] = cls
    return cls


def registered_layers() -> dict[str, type[Layer]]:
    """Return the registered layer classes by name."""
    return dict(_LAYERS)


def layer_config(layer: Layer) -> dict[str, Any]:
    """Return ``{"type": ..., **layer.get_config()}`` as data for JSON.

    With ``"trainable": False`` if it is, and ``"bits": 8`` if its weights have so many.
    """
    config = {"type": type(layer).__name__, **layer.get_config()}
    if layer.quantized is not None:
        config["bits"] = 8
    return config if layer.trainable else {**config, "trainable": False}


def copied_layer(layer: Layer) -> Layer:
    """Return a new layer with the same settings, which is not built."""
    copy = type(layer)(**layer.get_config())
    copy.trainable, copy.bfloat16 = layer.trainable, layer.bfloat16
    return copy


def layer_from_config(config: Mapping[str, Any]) -> Layer:
    """Return a layer made from the result of `layer_config`.

    Raises
    ------
    ValueError
        If no layer of this type is registered, or its constructor does not take these settings.
    """
    settings = dict(config)
    name = settings.pop("type", None)
    if name not in _LAYERS:
        raise ValueError(f"unknown layer type {name!r}, expected one of {sorted(_LAYERS)}")
    trainable = settings.pop("trainable", True)
    if settings.pop("bits", None) not in (None, 8):
        raise ValueError(f"a {name} layer has weights of {short_repr(config['bits'])} bits, expected 8")
    try:
        layer = _LAYERS[name](**settings)
        layer.trainable = trainable
        return layer
    except TypeError as error:
        raise ValueError(f"wrong settings for a {name} layer: {error}") from error
