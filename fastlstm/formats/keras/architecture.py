"""What this package has for each layer of Keras's, by the layer's class and options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ...layers import (
    LSTM,
    Activation,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    Layer,
    Masking,
    MaxPool,
    MeanPool,
    Reverse,
)

__all__ = ["LSTM_WEIGHTS", "Part", "parts"]

Config = Mapping[str, Any]

LSTM_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
_KNOWN = (
    "InputLayer, LSTM, Bidirectional, Dense, TimeDistributed, Embedding, Masking, Activation, ReLU, LeakyReLU, ELU, "
    "Softmax, Dropout, SpatialDropout1D, GaussianNoise, GlobalAveragePooling1D, GlobalMaxPooling1D, Flatten"
)
_MERGES = {"concat": "concat", "sum": "sum", "mul": "product", "ave": "mean"}
_UNSAID = object()

# Options that change no prediction: names, initial weights, training, the manner of the computation.
_HARMLESS = {"name", "trainable", "seed", "batch_input_shape", "batch_shape", "input_dtype"}
_HARMLESS_ENDS = ("_initializer", "_regularizer", "_constraint")
_HARMLESS_LSTM = {"stateful", "unroll", "implementation", "use_cudnn", "input_dim", "input_length"}
_DTYPES = {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}


class Part(NamedTuple):
    """A layer of Keras's, as what this package has for it."""

    name: str
    kind: str
    """Keras's name of the class."""
    layers: list[Layer]
    """Of them only the first has weights, if any has."""
    places: tuple[str, ...] = ()
    """For each set of weights, where it stands below the layer; none if the layer has no weights."""
    weights: tuple[str, ...] = ()
    """Keras's names of the weights of a set, in its order."""
    sizes: tuple[int, ...] = ()
    """Units, or rows and columns of a table."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


class _State:
    """What is known in front of a layer."""

    def __init__(self, version: int | None) -> None:
        self.version = version
        self.per_step = True
        self.masked = False


class _Options:
    """The options of one layer: each is asked for, what is left over is unknown."""

    def __init__(self, kind: str, config: Config) -> None:
        self.kind = kind
        self.name = str(config.get("name", kind))
        self._left = {
            key: value
            for key, value in config.items()
            if key not in _HARMLESS and not key.endswith(_HARMLESS_ENDS) and key != "dtype"
        }
        self._check_dtype(config.get("dtype"))

    def wrong(self, option: str, value: Any, why: str) -> ValueError:
        return ValueError(f"{self.kind} {self.name!r}: {option}={str(value)[:100]} {why}")

    def take(self, option: str, default: Any = _UNSAID) -> Any:
        if option not in self._left and default is _UNSAID:
            raise ValueError(f"{self.kind} {self.name!r}: the option {option} is missing")
        return self._left.pop(option, default)

    def flag(self, option: str, default: bool) -> bool:
        value = self.take(option, default)
        if not isinstance(value, bool):
            raise self.wrong(option, value, "is neither true nor false")
        return value

    def size(self, option: str) -> int:
        value = self.take(option)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise self.wrong(option, value, "is no number of units, from 1 on")
        return value

    def number(self, option: str, default: Any = _UNSAID) -> float:
        value = self.take(option, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise self.wrong(option, value, "is no finite number")
        return float(value)

    def refuse(self, option: str, *allowed: Any) -> None:
        """ValueError unless the option is not there, or has one of these values."""
        value = self._left.pop(option, None)
        if value is not None and not any(
            value is one or (value == one and type(value) is type(one)) for one in allowed
        ):
            raise self.wrong(option, value, "is not supported")

    def ignore(self, options: Iterable[str]) -> None:
        for option in options:
            self._left.pop(option, None)

    def end(self) -> None:
        """ValueError if an option is left that nobody knows. None is what all those mean that are not used."""
        for option, value in self._left.items():
            if value is not None:
                raise self.wrong(option, value, "is not supported")

    def _check_dtype(self, policy: Any) -> None:
        name = policy
        if isinstance(policy, dict):
            inner = policy.get("config")
            known = policy.get("class_name") in ("DTypePolicy", "Policy") and isinstance(inner, dict)
            name = inner.get("name") if known and isinstance(inner, dict) else policy
        if name is not None and (not isinstance(name, str) or name not in _DTYPES):
            if not (self.kind in ("InputLayer", "Embedding") and isinstance(name, str)):
                raise self.wrong("dtype", name, f"is not supported, expected one of {', '.join(sorted(_DTYPES))}")


def parts(layers: Iterable[Config], version: int | None) -> list[Part]:
    """The layers of a model, of which the weights are still missing.

    Parameters
    ----------
    layers : iterable of mapping
        Descriptions as `chain` gives them.
    version : int or None
        Keras's major version.

    Raises
    ------
    ValueError
        If there is a layer or an option that has no counterpart here; the message names it.
    """
    state, layers = _State(version), list(layers)
    found = [_part(layer, state) for layer in layers]
    _check_input(layers[0]["config"], found)
    return found


def _check_input(config: Config, found: list[Part]) -> None:
    """ValueError if the model is described as one that reads something else than series or token ids."""
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    first = next((part for part in found if part.kind != "InputLayer"), None)
    if not isinstance(shape, list) or first is None:
        return
    axes = 2 if first.kind == "Embedding" else 3
    if len(shape) != axes:
        form = "(batch, time)" if axes == 2 else "(batch, time, features)"
        raise ValueError(f"the model reads arrays of shape {str(shape)[:100]}, expected {form}")


def _part(layer: Config, state: _State) -> Part:
    kind = _kind(layer)
    options = _Options(kind, layer["config"])
    part = _READERS[kind](options, state)
    options.end()
    return part


def _kind(layer: Any) -> str:
    """The class of a layer, which must be one of Keras's own that is known here."""
    config = layer.get("config") if isinstance(layer, dict) else None
    if not isinstance(config, dict):
        raise ValueError("a layer is described by no object with a class_name and a config")
    kind, name = layer.get("class_name"), str(config.get("name", ""))
    if kind == "Lambda":
        raise ValueError(f"Lambda {name!r} holds code, which is never run; from_keras knows {_KNOWN}")
    module, registered = layer.get("module"), layer.get("registered_name")
    foreign = module is not None and not str(module).startswith(("keras.", "tf_keras."))
    if foreign or kind not in _READERS or registered not in (None, kind):
        shown = str(registered or kind)[:100] if not foreign else f"{module}.{kind}"[:100]
        raise ValueError(f"layer {name!r} is of the class {shown}, which is not supported; from_keras knows {_KNOWN}")
    return str(kind)


def _made(cls: Callable[..., Layer], options: _Options, *args: Any, **settings: Any) -> Layer:
    try:
        return cls(*args, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{options.kind} {options.name!r}: {error}") from error


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


# ---------------------------------------------------------------------------------------------- activations


def _function(options: _Options, option: str, given: Any, version: int | None) -> tuple[Any, ...]:
    """An activation of Keras's as (name, alpha, beta) or, for softmax, (name,)."""
    if isinstance(given, dict):
        return _function_object(options, option, given, version)
    names = {"relu", "sigmoid", "tanh", "elu", "softplus", "softsign", "softmax"}
    if given is None or given == "linear":
        return ("affine", 1.0, 0.0)
    if isinstance(given, str) and given in names:
        return (given,)
    if given == "hard_sigmoid":
        if version is None:
            raise options.wrong(option, given, "differs between Keras 2 and 3, and the file does not tell which it is")
        return ("hard_sigmoid", *((0.2, 0.5) if version == 2 else (1 / 6, 0.5)))
    if given == "leaky_relu":
        return ("leaky_relu", 0.2)
    raise options.wrong(
        option, given, f"is not supported, expected one of linear, hard_sigmoid, leaky_relu, {', '.join(sorted(names))}"
    )


def _function_object(options: _Options, option: str, given: Config, version: int | None) -> tuple[Any, ...]:
    """An activation that is itself described by an object: a function by name, or a layer without weights."""
    kind, config = given.get("class_name"), given.get("config")
    if (
        kind == "function"
        and isinstance(config, str)
        and given.get("module") in (None, "builtins", "keras.activations")
    ):
        return _function(options, option, config, version)
    if kind in ("ReLU", "LeakyReLU", "ELU", "Softmax") and isinstance(config, dict):
        inner = _Options(_kind(given), config)
        found = _FUNCTIONS[str(kind)](inner)
        inner.end()
        return found
    raise options.wrong(option, kind, "is not supported")


def _relu(options: _Options) -> tuple[Any, ...]:
    options.refuse("max_value")
    slope = options.number("negative_slope", 0.0)
    threshold = options.number("threshold", 0.0)
    if threshold and slope:
        raise options.wrong("threshold", threshold, f"together with negative_slope={slope} is not supported")
    if threshold < 0:
        raise options.wrong("threshold", threshold, "is not supported, expected at least 0")
    if threshold:
        return ("thresholded_relu", threshold)
    return ("leaky_relu", slope) if slope else ("relu",)


def _leaky_relu(options: _Options) -> tuple[Any, ...]:
    old = options.take("alpha", None)  # Keras 2
    return ("leaky_relu", options.number("negative_slope", 0.3 if old is None else old))


def _elu(options: _Options) -> tuple[Any, ...]:
    return ("elu", options.number("alpha", 1.0))


def _softmax(options: _Options) -> tuple[Any, ...]:
    options.refuse("axis", -1, [-1])
    return ("softmax",)


def _thresholded_relu(options: _Options) -> tuple[Any, ...]:
    return ("thresholded_relu", options.number("theta", 1.0))


_FUNCTIONS: dict[str, Callable[[_Options], tuple[Any, ...]]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "ThresholdedReLU": _thresholded_relu,
}


def _activation_layers(options: _Options, function: tuple[Any, ...]) -> list[Layer]:
    """None for the function that changes nothing."""
    if function == ("affine", 1.0, 0.0):
        return []
    return [_made(Activation, options, *function)]


# ---------------------------------------------------------------------------------------------- recurrent layers


class _Recurrent(NamedTuple):
    """The options of an LSTM that change its predictions or its training, as `fastlstm.LSTM` calls them."""

    units: int
    bias: bool
    backwards: bool
    return_sequences: bool
    settings: dict[str, Any]


def _recurrent(options: _Options, state: _State) -> _Recurrent:
    units = options.size("units")
    bias = options.flag("use_bias", True)
    backwards = options.flag("go_backwards", False)
    sequences = options.flag("return_sequences", False)
    settings: dict[str, Any] = {"forget_bias": 1.0 if options.flag("unit_forget_bias", True) else 0.0}
    activation = _function(options, "activation", options.take("activation", "tanh"), state.version)
    gate = _function(options, "recurrent_activation", options.take("recurrent_activation", "sigmoid"), state.version)
    for option, function in (("activation", activation), ("recurrent_activation", gate)):
        if function == ("softmax",):
            raise options.wrong(option, "softmax", "is not supported inside an LSTM")
    if activation != ("tanh",):
        settings["cell_activation"] = settings["output_activation"] = activation
    if gate != ("sigmoid",):
        settings["gate_activation"] = gate
    for option, name in (("dropout", "input_dropout"), ("recurrent_dropout", "variational_dropout")):
        share = options.number(option, 0.0)
        if share:
            settings[name] = share
    options.refuse("return_state", False)
    options.refuse("time_major", False)
    options.ignore(_HARMLESS_LSTM)
    return _Recurrent(units, bias, backwards, sequences, settings)


def _weights(names: tuple[str, ...], bias: bool) -> tuple[str, ...]:
    return names if bias else names[:-1]


def _lstm(options: _Options, state: _State) -> Part:
    zeros = options.flag("zero_output_for_mask", False)
    one = _recurrent(options, state)
    _need_steps(options, state)
    if zeros and state.masked and one.return_sequences:
        raise options.wrong("zero_output_for_mask", True, "is not supported for one direction")
    settings = dict(one.settings)
    if one.backwards:
        settings["reverse"] = True
    layers = [_made(LSTM, options, one.units, bias=one.bias, return_sequences=one.return_sequences, **settings)]
    if one.backwards and one.return_sequences:
        if state.masked:
            raise options.wrong(
                "go_backwards",
                True,
                "with return_sequences=True behind a mask is not supported: Keras turns the outputs, not the mask",
            )
        layers.append(Reverse())
    _after_recurrent(state, one.return_sequences)
    return Part(options.name, options.kind, layers, ("cell",), _weights(LSTM_WEIGHTS, one.bias), (one.units,))


def _bidirectional(options: _Options, state: _State) -> Part:
    merge = options.take("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in _MERGES:
        raise options.wrong("merge_mode", merge, f"is not supported, expected one of {', '.join(_MERGES)}")
    directions = [_inner(options, options.take("layer"), "LSTM")]
    back = options.take("backward_layer", None)
    if back is not None:
        directions.append(_inner(options, back, "LSTM"))
    options.ignore(("return_sequences", "stateful", "return_state"))
    _need_steps(options, state)
    found = []
    for inner in directions:
        inner.ignore(("zero_output_for_mask",))  # Bidirectional sets it: zeros where it gives every step
        found.append(_recurrent(inner, state))
        inner.end()
    first, last = found[0], found[-1]
    if first.backwards or (back is not None and not last.backwards):
        raise ValueError(f"{options.kind} {options.name!r}: layer must go forward and backward_layer backward")
    if back is not None and first._replace(backwards=True, settings={}) != last._replace(settings={}):
        raise ValueError(f"{options.kind} {options.name!r}: backward_layer must have the options of layer")
    ours, theirs = (
        {key: value for key, value in one.settings.items() if key != "forget_bias"} for one in (first, last)
    )
    if ours != theirs:
        raise ValueError(f"{options.kind} {options.name!r}: backward_layer must have the options of layer")
    settings = dict(first.settings)
    if merge != "concat":
        settings["merge"] = _MERGES[merge]
    layer = _made(
        LSTM,
        options,
        first.units,
        bias=first.bias,
        bidirectional=True,
        return_sequences=first.return_sequences,
        **settings,
    )
    _after_recurrent(state, first.return_sequences)
    places = ("forward_layer/cell", "backward_layer/cell")
    return Part(options.name, options.kind, [layer], places, _weights(LSTM_WEIGHTS, first.bias), (first.units,))


def _inner(options: _Options, layer: Any, expected: str) -> _Options:
    """The options of the layer that another one wraps."""
    kind = _kind(layer)
    if kind != expected:
        raise ValueError(f"{options.kind} {options.name!r}: it wraps a layer of the class {kind}, expected {expected}")
    return _Options(kind, layer["config"])


def _need_steps(options: _Options, state: _State) -> None:
    if not state.per_step:
        raise ValueError(f"{options.kind} {options.name!r} reads a series and gets only its last step")


def _after_recurrent(state: _State, sequences: bool) -> None:
    state.per_step = sequences
    state.masked &= sequences


# ---------------------------------------------------------------------------------------------- other layers


def _input(options: _Options, state: _State) -> Part:
    options.refuse("sparse", False)
    options.refuse("ragged", False)
    options.ignore(("optional",))
    return Part(options.name, options.kind, [])


def _dense(options: _Options, state: _State, places: tuple[str, ...] = ("",)) -> Part:
    units, bias = options.size("units"), options.flag("use_bias", True)
    function = _function(options, "activation", options.take("activation", None), state.version)
    options.ignore(("input_dim",))
    layers = [_made(Dense, options, units, bias=bias), *_activation_layers(options, function)]
    return Part(options.name, options.kind, layers, places, _weights(("kernel", "bias"), bias), (units,))


def _time_distributed(options: _Options, state: _State) -> Part:
    _need_steps(options, state)
    inner = _inner(options, options.take("layer"), "Dense")
    part = _dense(inner, state, ("layer",))
    inner.end()
    return part._replace(name=options.name, kind=options.kind)


def _embedding(options: _Options, state: _State) -> Part:
    rows, columns = options.size("input_dim"), options.size("output_dim")
    zero = options.flag("mask_zero", False)
    options.ignore(("input_length",))
    options.refuse("sparse", False)
    state.masked = zero
    layer = _made(Embedding, options, rows, columns, mask_token=0 if zero else None)
    return Part(options.name, options.kind, [layer], ("",), ("embeddings",), (rows, columns))


def _masking(options: _Options, state: _State) -> Part:
    _need_steps(options, state)
    state.masked = True
    return Part(options.name, options.kind, [_made(Masking, options, options.number("mask_value", 0.0))])


def _activation(options: _Options, state: _State) -> Part:
    function = _function(options, "activation", options.take("activation"), state.version)
    return Part(options.name, options.kind, _activation_layers(options, function))


def _function_layer(options: _Options, state: _State) -> Part:
    if options.kind == "Softmax" and state.masked:
        raise ValueError(f"Softmax {options.name!r} stands behind a mask, which it would read as one of the features")
    return Part(options.name, options.kind, _activation_layers(options, _FUNCTIONS[options.kind](options)))


def _dropout(options: _Options, state: _State) -> Part:
    share = options.number("rate")
    shape = options.take("noise_shape", None)
    whole = options.kind == "SpatialDropout1D"
    if not whole and isinstance(shape, list) and len(shape) == 3 and shape[:2] == [None, 1]:
        whole, shape = True, None
    if shape is not None:
        raise options.wrong("noise_shape", shape, "is not supported")
    if whole:
        _need_steps(options, state)
    return Part(options.name, options.kind, [_made(Dropout, options, share, per_series=whole)])


def _noise(options: _Options, state: _State) -> Part:
    return Part(options.name, options.kind, [_made(GaussianNoise, options, options.number("stddev"))])


def _flatten(options: _Options, state: _State) -> Part:
    if state.per_step:
        raise ValueError(f"Flatten {options.name!r} puts the steps of a series side by side, which is not supported")
    options.ignore(("data_format",))
    return Part(options.name, options.kind, [])


def _pooling(options: _Options, state: _State) -> Part:
    _need_steps(options, state)
    options.refuse("data_format", "channels_last")
    options.refuse("keepdims", False)
    if options.kind == "GlobalMaxPooling1D" and state.masked:
        raise ValueError(f"{options.kind} {options.name!r} stands behind a mask, which Keras does not heed there")
    _after_recurrent(state, False)
    return Part(options.name, options.kind, [MeanPool() if options.kind == "GlobalAveragePooling1D" else MaxPool()])


def _nothing(options: _Options, state: _State) -> Part:
    options.ignore(("l1", "l2"))
    return Part(options.name, options.kind, [])


_READERS: dict[str, Callable[[_Options, _State], Part]] = {
    "InputLayer": _input,
    "LSTM": _lstm,
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "Embedding": _embedding,
    "Masking": _masking,
    "Activation": _activation,
    "ReLU": _function_layer,
    "LeakyReLU": _function_layer,
    "ELU": _function_layer,
    "Softmax": _function_layer,
    "ThresholdedReLU": _function_layer,
    "Dropout": _dropout,
    "SpatialDropout1D": _dropout,
    "GaussianNoise": _noise,
    "GlobalAveragePooling1D": _pooling,
    "GlobalMaxPooling1D": _pooling,
    "Flatten": _flatten,
    "ActivityRegularization": _nothing,
    "Identity": _nothing,
}
