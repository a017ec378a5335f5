"""Keras's LSTM, in one direction or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...._typing import Array
from ....layers import LSTM, Reverse
from .activations import function_of
from .options import Options
from .registry import Part, SignalState, end_series, inner_options, names_of_weights, need_steps, reader

_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
_MERGES = {"concat": "concat", "sum": "sum", "mul": "product", "ave": "mean"}
_HARMLESS_LSTM = {"stateful", "unroll", "implementation", "use_cudnn", "input_dim", "input_length"}


class _Recurrent(NamedTuple):
    """The options of an LSTM that change its predictions or its training; `settings` are arguments of `LSTM`."""

    units: int
    bias: bool
    backwards: bool
    return_sequences: bool
    settings: dict[str, Any]


def _recurrent(options: Options, state: SignalState) -> _Recurrent:
    units = options.size("units")
    bias = options.flag("use_bias", True)
    backwards = options.flag("go_backwards", False)
    sequences = options.flag("return_sequences", False)
    settings: dict[str, Any] = {"forget_bias": 1.0 if options.flag("unit_forget_bias", True) else 0.0}
    activation = function_of(options, "activation", options.take("activation", "tanh"), state.version)
    gate = function_of(options, "recurrent_activation", options.take("recurrent_activation", "sigmoid"), state.version)
    for option, function in (("activation", activation), ("recurrent_activation", gate)):
        if function == ("softmax",):
            raise options.error(option, "softmax", "is not supported inside an LSTM")
    if activation != ("tanh",):
        settings["cell_activation"] = settings["output_activation"] = activation
    if gate != ("sigmoid",):
        settings["gate_activation"] = gate
    for option, name in (("dropout", "input_dropout"), ("recurrent_dropout", "variational_dropout")):
        rate = options.number(option, 0.0)
        if rate:
            settings[name] = rate
    options.refuse("return_state", False)
    options.refuse("time_major", False)
    options.ignore(_HARMLESS_LSTM)
    return _Recurrent(units, bias, backwards, sequences, settings)


@reader("LSTM")
def _lstm(options: Options, state: SignalState) -> Part:
    zeros = options.flag("zero_output_for_mask", False)
    one = _recurrent(options, state)
    need_steps(options, state)
    if zeros and state.masked and one.return_sequences:
        raise options.error("zero_output_for_mask", True, "is not supported for one direction")
    settings = dict(one.settings)
    if one.backwards:
        settings["reverse"] = True
    layers = [options.build(LSTM, one.units, bias=one.bias, return_sequences=one.return_sequences, **settings)]
    if one.backwards and one.return_sequences:
        if state.masked:
            raise options.error(
                "go_backwards",
                True,
                "with return_sequences=True after a mask is not supported: Keras reverses the outputs, not the mask",
            )
        layers.append(Reverse())
    end_series(state, one.return_sequences)
    names = names_of_weights(_WEIGHTS, one.bias)
    return Part(options.name, options.kind, layers, ("cell",), names, (one.units,), _convert)


@reader("Bidirectional")
def _bidirectional(options: Options, state: SignalState) -> Part:
    merge = options.take("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in _MERGES:
        raise options.error("merge_mode", merge, f"is not supported, expected one of {', '.join(_MERGES)}")
    directions = [inner_options(options, options.take("layer"), "LSTM")]
    back = options.take("backward_layer", None)
    if back is not None:
        directions.append(inner_options(options, back, "LSTM"))
    options.ignore(("return_sequences", "stateful", "return_state"))
    need_steps(options, state)
    found = []
    for inner in directions:
        inner.ignore(("zero_output_for_mask",))  # Bidirectional sets it itself if it returns every step
        found.append(_recurrent(inner, state))
        inner.end()
    first, last = found[0], found[-1]
    if first.backwards or (back is not None and not last.backwards):
        raise ValueError(f"{options.kind} {options.name!r}: layer must go forward and backward_layer backward")
    if back is not None and first._replace(backwards=True, settings={}) != last._replace(settings={}):
        raise ValueError(f"{options.kind} {options.name!r}: backward_layer must have the options of layer")
    forward, backward = (
        {key: value for key, value in one.settings.items() if key != "forget_bias"} for one in (first, last)
    )
    if forward != backward:
        raise ValueError(f"{options.kind} {options.name!r}: backward_layer must have the options of layer")
    settings = dict(first.settings)
    if merge != "concat":
        settings["merge"] = _MERGES[merge]
    layer = options.build(
        LSTM,
        first.units,
        bias=first.bias,
        bidirectional=True,
        return_sequences=first.return_sequences,
        **settings,
    )
    end_series(state, first.return_sequences)
    paths = ("forward_layer/cell", "backward_layer/cell")
    names = names_of_weights(_WEIGHTS, first.bias)
    return Part(options.name, options.kind, [layer], paths, names, (first.units,), _convert)


def _convert(part: Part, sets: Sequence[dict[str, Array]], features: int | None) -> tuple[dict[str, Array], int]:
    (units,), layer = part.sizes, part.layers[0]
    assert isinstance(layer, LSTM)
    features = part.input_features(sets[0]["kernel"], features)
    parameters = {}
    for weights, suffix in zip(sets, ("", "_reverse"), strict=False):
        # Keras has the gates in the same order, i, f, c, o, but along the columns, and has only one bias.
        part.check_shape("kernel", weights["kernel"], (features, 4 * units))
        part.check_shape("recurrent_kernel", weights["recurrent_kernel"], (units, 4 * units))
        parameters[f"weight_ih_l0{suffix}"] = weights["kernel"].T
        parameters[f"weight_hh_l0{suffix}"] = weights["recurrent_kernel"].T
        if "bias" in weights:
            part.check_shape("bias", weights["bias"], (4 * units,))
            parameters[f"bias_ih_l0{suffix}"] = weights["bias"]
            parameters[f"bias_hh_l0{suffix}"] = np.zeros_like(weights["bias"])
    return parameters, layer.output_size
