"""Keras's layers that normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...._typing import Array
from ....layers import BatchNorm, LayerNorm
from .options import Options
from .registry import Part, SignalState, reader

__all__: list[str] = []

_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
"""Keras's names of the weights, and those here."""


@reader("BatchNormalization")
def _batch_norm(options: Options, state: SignalState) -> Part:
    momentum = options.number("momentum", 0.99)
    if not 0 <= momentum < 1:
        raise options.error("momentum", momentum, "is not supported, expected at least 0 and less than 1")
    settings = _settings(options, state)
    for option in ("renorm", "synchronized"):
        options.refuse(option, False)
    options.ignore(("fused", "virtual_batch_size", "renorm_clipping", "renorm_momentum"))
    layer = options.build(BatchNorm, momentum=1 - momentum, **settings)
    return _part(options, layer, settings, ("moving_mean", "moving_variance"))


@reader("LayerNormalization")
def _layer_norm(options: Options, state: SignalState) -> Part:
    settings = _settings(options, state)
    options.refuse("rms_scaling", False)
    return _part(options, options.build(LayerNorm, **settings), settings, ())


def _settings(options: Options, state: SignalState) -> dict[str, Any]:
    """Return the settings that both layers have; raise ValueError unless they normalise the features."""
    axis = options.take("axis", -1)
    last = 2 if state.per_step else 1
    if axis not in (-1, last, [-1], [last]) or isinstance(axis, bool):
        raise options.error("axis", axis, f"is not supported, expected {last} or -1, the axis of the features")
    return {
        "eps": options.number("epsilon", 1e-3),
        "weight": options.flag("scale", True),
        "bias": options.flag("center", True),
    }


def _part(
    options: Options, layer: BatchNorm | LayerNorm, settings: dict[str, Any], statistics: tuple[str, ...]
) -> Part:
    own = [name for name, key in (("gamma", "weight"), ("beta", "bias")) if settings[key]]
    names = (*own, *statistics)
    if not names:
        return Part(options.name, options.kind, [layer])
    return Part(options.name, options.kind, [layer], ("",), names, (), _convert)


def _convert(part: Part, sets: Sequence[dict[str, Array]], features: int | None) -> tuple[dict[str, Array], int]:
    (weights,) = sets
    first = weights[part.weights[0]]
    size = first.size if features is None else features
    for name in part.weights:
        part.check_shape(name, weights[name], (size,))
    return {_NAMES[name]: weights[name] for name in part.weights}, size
