"""Layers on top of each other, before there are any parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .base import Layer, ParameterSpec, Signal

__all__ = ["connect", "stack_parameters", "takes_tokens"]


def takes_tokens(layers: Sequence[Layer]) -> bool:
    """Whether the stack reads integer token ids, (batch, time)."""
    return layers[0].takes_tokens


def connect(layers: Sequence[Layer], input_size: int) -> list[Signal]:
    """Tells each layer what comes in; gives what goes out of each.

    Raises
    ------
    ValueError
        If two layers do not fit each other; the message says which.
    """
    signal = Signal(input_size, True, takes_tokens(layers))
    signals = []
    for index, layer in enumerate(layers):
        try:
            signal = layer.build(signal)
        except ValueError as error:
            raise ValueError(f"layer {index}: {error}") from None
        signals.append(signal)
    return signals


def stack_parameters(layers: Sequence[Layer]) -> Iterator[tuple[int, str, ParameterSpec]]:
    """Layer index, full name and spec of each parameter of connected layers, in the order in which they are stored."""
    for index, layer in enumerate(layers):
        for spec in layer.parameter_specs():
            yield index, f"{index}.{spec.name}", spec
