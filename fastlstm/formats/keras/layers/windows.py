"""Keras's layers that read windows of steps, and the one that joins a fixed number of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...._typing import Array
from ....layers import AvgPool1D, Conv1D, Flatten, MaxPool1D, WindowLayer
from .activations import activation_layers, function_of
from .options import Options
from .registry import Part, SignalState, end_series, names_of_weights, need_steps, reader

__all__: list[str] = []


@reader("Conv1D")
def _conv(options: Options, state: SignalState) -> Part:
    _check(options, state)
    filters, kernel = options.size("filters"), _one_number(options, "kernel_size")
    padding, bias = options.take("padding", "valid"), options.flag("use_bias", True)
    if padding not in ("valid", "same", "causal"):
        raise options.error("padding", padding, "is not supported, expected valid, same or causal")
    window = {
        "stride": _one_number(options, "strides", 1),
        "dilation": _one_number(options, "dilation_rate", 1),
        "groups": _one_number(options, "groups", 1),
    }
    function = function_of(options, "activation", options.take("activation", None), state.version)
    layer = options.build(Conv1D, filters, kernel, padding=padding, bias=bias, **window)
    _take_steps(options, state, layer)
    names = names_of_weights(("kernel", "bias"), bias)
    sizes = filters, kernel, window["groups"]
    layers = [layer, *activation_layers(options, function)]
    return Part(options.name, options.kind, layers, ("",), names, sizes, _convert_conv)


@reader("MaxPooling1D", "AveragePooling1D")
def _pooling(options: Options, state: SignalState) -> Part:
    _check(options, state)
    size = _one_number(options, "pool_size", 2)
    stride = options.take("strides", None)
    padding = options.take("padding", "valid")
    if padding not in ("valid", "same"):
        raise options.error("padding", padding, "is not supported, expected valid or same")
    if isinstance(stride, (list, tuple)) and len(stride) == 1:
        stride = stride[0]
    cls = MaxPool1D if options.kind == "MaxPooling1D" else AvgPool1D
    layer = options.build(cls, size, stride=stride, padding=padding)
    _take_steps(options, state, layer)
    return Part(options.name, options.kind, [layer])


@reader("Flatten")
def _flatten(options: Options, state: SignalState) -> Part:
    options.refuse("data_format", "channels_last")
    if not state.per_step:
        return Part(options.name, options.kind, [])
    if state.steps is None:
        raise ValueError(
            f"Flatten {options.name!r} joins the steps of a series, whose number the file does not tell: its input "
            "needs a shape with a number of steps, such as (30, features)"
        )
    layer = options.build(Flatten, state.steps)
    end_series(state, False)
    return Part(options.name, options.kind, [layer], sizes=(state.steps,), convert=_convert_flatten)


def _convert_flatten(
    part: Part, sets: Sequence[dict[str, Array]], features: int | None
) -> tuple[dict[str, Array], int | None]:
    return {}, None if features is None else features * part.sizes[0]


def _check(options: Options, state: SignalState) -> None:
    need_steps(options, state)
    options.refuse("data_format", "channels_last")
    if state.masked:
        raise ValueError(f"{options.kind} {options.name!r} follows a mask, which Keras ignores in this layer")


def _take_steps(options: Options, state: SignalState, layer: object) -> None:
    """Note how many steps a layer leaves of a fixed number."""
    assert isinstance(layer, WindowLayer)
    if state.steps is not None:
        try:
            state.steps = int(layer.steps_after(np.array([state.steps]))[0])
        except ValueError as error:
            raise ValueError(f"{options.kind} {options.name!r}: {error}") from error


def _one_number(options: Options, option: str, default: int | None = None) -> int:
    """Return an option that is a number of steps, which Keras stores as a list of one."""
    value = options.take(option) if default is None else options.take(option, default)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise options.error(option, value, "is not a number of at least 1")
    return value


def _convert_conv(part: Part, sets: Sequence[dict[str, Array]], features: int | None) -> tuple[dict[str, Array], int]:
    (weights,), (filters, kernel, groups) = sets, part.sizes
    array = weights["kernel"]
    if features is None:
        if array.ndim != 3 or not array.shape[1]:
            raise ValueError(f"{part}: kernel has shape {array.shape}, expected (steps, features, filters)")
        features = array.shape[1] * groups
    if features % groups:
        raise ValueError(f"{part}: groups={groups} does not divide its {features} features")
    part.check_shape("kernel", array, (kernel, features // groups, filters))
    parameters = {"weight": np.ascontiguousarray(array.transpose(2, 1, 0))}
    if "bias" in weights:
        part.check_shape("bias", weights["bias"], (filters,))
        parameters["bias"] = weights["bias"]
    return parameters, filters
