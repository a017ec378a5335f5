"""The layers by name, so that a file can say of which layers its model consists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .base import Layer

__all__ = ["layer_from_config", "register", "registered_layers"]

_L = TypeVar("_L", bound=type[Layer])
_LAYERS: dict[str, type[Layer]] = {}


def register(cls: _L) -> _L:
    """Make a layer class known under its name; for use as a decorator."""
    _LAYERS[cls.__name__] = cls
    return cls


def registered_layers() -> dict[str, type[Layer]]:
    """Return the known layer classes by name."""
    return dict(_LAYERS)


def layer_from_config(config: Mapping[str, Any]) -> Layer:
    """Make the layer that ``{"type": ..., **layer.get_config()}`` describes.

    Raises
    ------
    ValueError
        If no layer of this type is known, or the settings are not those of its constructor.
    """
    settings = dict(config)
    name = settings.pop("type", None)
    if name not in _LAYERS:
        raise ValueError(f"unknown layer type {name!r}, expected one of {sorted(_LAYERS)}")
    try:
        return _LAYERS[name](**settings)
    except TypeError as error:
        raise ValueError(f"wrong settings for a {name} layer: {error}") from error
