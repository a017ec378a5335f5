"""Keras's layers other than recurrent ones and activations."""

from __future__ import annotations

from collections.abc import Sequence

from ...._typing import Array
from ....layers import Dense, Dropout, Embedding, GaussianNoise, Masking, MaxPool, MeanPool, RepeatVector
from .activations import activation_layers, function_of
from .options import Options
from .registry import Part, SignalState, end_series, inner_options, names_of_weights, need_steps, reader


@reader("InputLayer")
def _input(options: Options, state: SignalState) -> Part:
    options.refuse("sparse", False)
    options.refuse("ragged", False)
    options.ignore(("optional",))
    return Part(options.name, options.kind, [])


@reader("Dense")
def _dense(options: Options, state: SignalState) -> Part:
    units, bias = options.size("units"), options.flag("use_bias", True)
    function = function_of(options, "activation", options.take("activation", None), state.version)
    options.ignore(("input_dim",))
    layers = [options.build(Dense, units, bias=bias), *activation_layers(options, function)]
    names = names_of_weights(("kernel", "bias"), bias)
    return Part(options.name, options.kind, layers, ("",), names, (units,), _convert_dense)


def _convert_dense(part: Part, sets: Sequence[dict[str, Array]], features: int | None) -> tuple[dict[str, Array], int]:
    (weights,), (units,) = sets, part.sizes
    part.check_shape("kernel", weights["kernel"], (part.input_features(weights["kernel"], features), units))
    parameters = {"weight": weights["kernel"].T}
    if "bias" in weights:
        part.check_shape("bias", weights["bias"], (units,))
        parameters["bias"] = weights["bias"]
    return parameters, units


@reader("TimeDistributed")
def _time_distributed(options: Options, state: SignalState) -> Part:
    need_steps(options, state)
    inner = inner_options(options, options.take("layer"), "Dense")
    part = _dense(inner, state)
    inner.end()
    return part._replace(name=options.name, kind=options.kind, paths=("layer",))


@reader("Embedding")
def _embedding(options: Options, state: SignalState) -> Part:
    rows, columns = options.size("input_dim"), options.size("output_dim")
    zero = options.flag("mask_zero", False)
    options.ignore(("input_length",))
    options.refuse("sparse", False)
    state.masked = zero
    layer = options.build(Embedding, rows, columns, mask_token=0 if zero else None)
    return Part(options.name, options.kind, [layer], ("",), ("embeddings",), (rows, columns), _convert_embedding)


def _convert_embedding(
    part: Part, sets: Sequence[dict[str, Array]], features: int | None
) -> tuple[dict[str, Array], int]:
    table = sets[0]["embeddings"]
    part.check_shape("embeddings", table, part.sizes)
    return {"weight": table}, part.sizes[1]


@reader("Masking")
def _masking(options: Options, state: SignalState) -> Part:
    need_steps(options, state)
    state.masked = True
    return Part(options.name, options.kind, [options.build(Masking, options.number("mask_value", 0.0))])


@reader("Dropout", "SpatialDropout1D")
def _dropout(options: Options, state: SignalState) -> Part:
    rate = options.number("rate")
    shape = options.take("noise_shape", None)
    per_series = options.kind == "SpatialDropout1D"
    if not per_series and isinstance(shape, list) and len(shape) == 3 and shape[:2] == [None, 1]:
        per_series, shape = True, None
    if shape is not None:
        raise options.error("noise_shape", shape, "is not supported")
    if per_series:
        need_steps(options, state)
    return Part(options.name, options.kind, [options.build(Dropout, rate, per_series=per_series)])


@reader("GaussianNoise")
def _noise(options: Options, state: SignalState) -> Part:
    return Part(options.name, options.kind, [options.build(GaussianNoise, options.number("stddev"))])


@reader("GlobalAveragePooling1D", "GlobalMaxPooling1D")
def _pooling(options: Options, state: SignalState) -> Part:
    need_steps(options, state)
    options.refuse("data_format", "channels_last")
    options.refuse("keepdims", False)
    if options.kind == "GlobalMaxPooling1D" and state.masked:
        raise ValueError(f"{options.kind} {options.name!r} follows a mask, which Keras ignores in this layer")
    end_series(state, False)
    return Part(options.name, options.kind, [MeanPool() if options.kind == "GlobalAveragePooling1D" else MaxPool()])


@reader("RepeatVector")
def _repeat(options: Options, state: SignalState) -> Part:
    if state.per_step:
        raise ValueError(f"RepeatVector {options.name!r} repeats one vector for each case, but gets a series")
    state.per_step, state.steps = True, options.size("n")
    return Part(options.name, options.kind, [options.build(RepeatVector, state.steps)])


@reader("ActivityRegularization", "Identity")
def _nothing(options: Options, state: SignalState) -> Part:
    options.ignore(("l1", "l2"))
    return Part(options.name, options.kind, [])
