"""Stacks of layers: signals between the layers and specifications of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .base import Layer, ParameterSpec, Signal

__all__ = ["connect", "stack_parameters", "takes_tokens"]


def takes_tokens(layers: Sequence[Layer]) -> bool:
    """Return whether the stack reads integer token ids, (batch, time)."""
    return layers[0].takes_tokens


def connect(
    layers: Sequence[Layer],
    input_size: int,
    longest: int | None = None,
    memory: int | None = None,
    steps: int | None = None,
) -> list[Signal]:
    """Build each layer with the signal of the layer before; return the output signal of each layer.

    `longest` is the number of steps of the longest training series, if there are data yet; `memory` the number of
    features of the memory, if there is one; `steps` the number of steps of every series, if it is always the same.

    Raises
    ------
    ValueError
        If two layers do not fit each other; the message says which.
    """
    signal = Signal(input_size, True, takes_tokens(layers), steps, longest, memory=memory)
    signals = []
    for index, layer in enumerate(layers):
        try:
            built = layer.build(signal)
        except ValueError as error:
            raise ValueError(f"layer {index}: {error}") from None
        if signal.per_step and built.per_step and built.steps is None:
            built = _continued(signal, built)
        signal = built._replace(memory=memory, taps=built.taps or signal.taps)
        signals.append(signal)
    return signals


def _continued(signal: Signal, built: Signal) -> Signal:
    """Return what a layer returns that has begun no new series, with what it has left out."""
    stride = max(signal.stride, built.stride)
    if stride > signal.stride or not built.keeps_steps:
        return built  # other steps, of which the layer has said how many there are at most
    return built._replace(steps=signal.steps, longest=signal.longest, stride=stride, keeps_steps=signal.keeps_steps)


def stack_parameters(layers: Sequence[Layer]) -> Iterator[tuple[int, str, ParameterSpec]]:
    """Yield layer index, full name and spec of each parameter of connected layers, in the order of storage."""
    for index, layer in enumerate(layers):
        for spec in layer.parameter_specs():
            yield index, f"{index}.{spec.name}", spec
