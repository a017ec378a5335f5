"""Map each Keras layer, by its class and options, to layers of this package."""

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
_REQUIRED = object()

# Options that do not change predictions: names, initial weights, training, the implementation.
_HARMLESS = {"name", "trainable", "seed", "batch_input_shape", "batch_shape", "input_dtype"}
_HARMLESS_ENDS = ("_initializer", "_regularizer", "_constraint")
_HARMLESS_LSTM = {"stateful", "unroll", "implementation", "use_cudnn", "input_dim", "input_length"}
_DTYPES = {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}


class Part(NamedTuple):
    """A Keras layer and the layers of this package that replace it."""

    name: str
    kind: str
    """Keras's name of the class."""
    layers: list[Layer]
    """Only the first of them can have weights."""
    paths: tuple[str, ...] = ()
    """For each set of weights, its path below the layer; empty if the layer has no weights."""
    weights: tuple[str, ...] = ()
    """Keras's names of the weights of a set, in Keras's order."""
    sizes: tuple[int, ...] = ()
    """Number of units, or of rows and columns of a table."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


class _State:
    """Properties of the signal before a layer."""

    def __init__(self, version: int | None) -> None:
        self.version = version
        self.per_step = True
        self.masked = False


class _Options:
    """The options of one layer. Reading an option removes it; those left at the end are unknown."""

    def __init__(self, kind: str, config: Config) -> None:
        self.kind = kind
        self.name = str(config.get("name", kind))
        self._left = {
            key: value
            for key, value in config.items()
            if key not in _HARMLESS and not key.endswith(_HARMLESS_ENDS) and key != "dtype"
        }
        self._check_dtype(config.get("dtype"))

    def error(self, option: str, value: Any, why: str) -> ValueError:
        return ValueError(f"{self.kind} {self.name!r}: {option}={str(value)[:100]} {why}")

    def take(self, option: str, default: Any = _REQUIRED) -> Any:
        if option not in self._left and default is _REQUIRED:
            raise ValueError(f"{self.kind} {self.name!r}: the option {option} is missing")
        return self._left.pop(option, default)

    def flag(self, option: str, default: bool) -> bool:
        value = self.take(option, default)
        if not isinstance(value, bool):
            raise self.error(option, value, "is neither true nor false")
        return value

    def size(self, option: str) -> int:
        value = self.take(option)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise self.error(option, value, "is not a number of units, expected at least 1")
        return value

    def number(self, option: str, default: Any = _REQUIRED) -> float:
        value = self.take(option, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise self.error(option, value, "is not a finite number")
        return float(value)

    def refuse(self, option: str, *allowed: Any) -> None:
        """Raise ValueError if the option is present and has none of these values."""
        value = self._left.pop(option, None)
        if value is not None and not any(
            value is one or (value == one and type(value) is type(one)) for one in allowed
        ):
            raise self.error(option, value, "is not supported")

    def ignore(self, options: Iterable[str]) -> None:
        for option in options:
            self._left.pop(option, None)

    def end(self) -> None:
        """Raise ValueError if an unknown option is left whose value is not None, which means "not used"."""
        for option, value in self._left.items():
            if value is not None:
                raise self.error(option, value, "is not supported")

    def _check_dtype(self, policy: Any) -> None:
        name = policy
        if isinstance(policy, dict):
            inner = policy.get("config")
            known = policy.get("class_name") in ("DTypePolicy", "Policy") and isinstance(inner, dict)
            name = inner.get("name") if known and isinstance(inner, dict) else policy
        if name is not None and (not isinstance(name, str) or name not in _DTYPES):
            if not (self.kind in ("InputLayer", "Embedding") and isinstance(name, str)):
                raise self.error("dtype", name, f"is not supported, expected one of {', '.join(sorted(_DTYPES))}")


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
    state, layers = _State(version), list(layers)
    found = [_part(layer, state) for layer in layers]
    _check_input(layers[0]["config"], found)
    return found


def _check_input(config: Config, found: list[Part]) -> None:
    """Raise ValueError if the model takes something other than series or token ids."""
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    first = next((part for part in found if part.kind != "InputLayer"), None)
    if not isinstance(shape, list) or first is None:
        return
    axes = 2 if first.kind == "Embedding" else 3
    if len(shape) != axes:
        form = "(batch, time)" if axes == 2 else "(batch, time, features)"
        raise ValueError(f"the model takes arrays of shape {str(shape)[:100]}, expected {form}")


def _part(layer: Config, state: _State) -> Part:
    kind = _kind(layer)
    options = _Options(kind, layer["config"])
    part = _READERS[kind](options, state)
    options.end()
    return part


def _kind(layer: Any) -> str:
    """Return the class of a layer; raise ValueError unless it is one of Keras's own and supported here."""
    config = layer.get("config") if isinstance(layer, dict) else None
    if not isinstance(config, dict):
        raise ValueError("the description of a layer is not an object with a class_name and a config")
    kind, name = layer.get("class_name"), str(config.get("name", ""))
    if kind == "Lambda":
        raise ValueError(f"Lambda {name!r} holds code, which is never run; from_keras supports {_KNOWN}")
    module, registered = layer.get("module"), layer.get("registered_name")
    foreign = module is not None and not str(module).startswith(("keras.", "tf_keras."))
    if foreign or kind not in _READERS or registered not in (None, kind):
        shown = str(registered or kind)[:100] if not foreign else f"{module}.{kind}"[:100]
        raise ValueError(f"layer {name!r} has class {shown}, which is not supported; from_keras supports {_KNOWN}")
    return str(kind)


def _build(cls: Callable[..., Layer], options: _Options, *args: Any, **settings: Any) -> Layer:
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
    """Return a Keras activation as (name, alpha, beta) or, for softmax, (name,)."""
    if isinstance(given, dict):
        return _function_object(options, option, given, version)
    names = {"relu", "sigmoid", "tanh", "elu", "softplus", "softsign", "softmax"}
    if given is None or given == "linear":
        return ("affine", 1.0, 0.0)
    if isinstance(given, str) and given in names:
        return (given,)
    if given == "hard_sigmoid":
        if version is None:
            raise options.error(option, given, "differs between Keras 2 and 3, and the file does not state its version")
        return ("hard_sigmoid", *((0.2, 0.5) if version == 2 else (1 / 6, 0.5)))
    if given == "leaky_relu":
        return ("leaky_relu", 0.2)
    raise options.error(
        option, given, f"is not supported, expected one of linear, hard_sigmoid, leaky_relu, {', '.join(sorted(names))}"
    )


def _function_object(options: _Options, option: str, given: Config, version: int | None) -> tuple[Any, ...]:
    """Return an activation that is described by an object: a function's name, or a layer without weights."""
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
    raise options.error(option, kind, "is not supported")


def _relu(options: _Options) -> tuple[Any, ...]:
    options.refuse("max_value")
    slope = options.number("negative_slope", 0.0)
    threshold = options.number("threshold", 0.0)
    if threshold and slope:
        raise options.error("threshold", threshold, f"together with negative_slope={slope} is not supported")
    if threshold < 0:
        raise options.error("threshold", threshold, "is not supported, expected at least 0")
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
    """Return the layer for an activation; no layer for the identity."""
    if function == ("affine", 1.0, 0.0):
        return []
    return [_build(Activation, options, *function)]


# ---------------------------------------------------------------------------------------------- recurrent layers


class _Recurrent(NamedTuple):
    """The options of an LSTM that change its predictions or its training; `settings` are arguments of `LSTM`."""

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


def _weights(names: tuple[str, ...], bias: bool) -> tuple[str, ...]:
    return names if bias else names[:-1]


def _lstm(options: _Options, state: _State) -> Part:
    zeros = options.flag("zero_output_for_mask", False)
    one = _recurrent(options, state)
    _need_steps(options, state)
    if zeros and state.masked and one.return_sequences:
        raise options.error("zero_output_for_mask", True, "is not supported for one direction")
    settings = dict(one.settings)
    if one.backwards:
        settings["reverse"] = True
    layers = [_build(LSTM, options, one.units, bias=one.bias, return_sequences=one.return_sequences, **settings)]
    if one.backwards and one.return_sequences:
        if state.masked:
            raise options.error(
                "go_backwards",
                True,
                "with return_sequences=True after a mask is not supported: Keras reverses the outputs, not the mask",
            )
        layers.append(Reverse())
    _after_recurrent(state, one.return_sequences)
    return Part(options.name, options.kind, layers, ("cell",), _weights(LSTM_WEIGHTS, one.bias), (one.units,))


def _bidirectional(options: _Options, state: _State) -> Part:
    merge = options.take("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in _MERGES:
        raise options.error("merge_mode", merge, f"is not supported, expected one of {', '.join(_MERGES)}")
    directions = [_inner(options, options.take("layer"), "LSTM")]
    back = options.take("backward_layer", None)
    if back is not None:
        directions.append(_inner(options, back, "LSTM"))
    options.ignore(("return_sequences", "stateful", "return_state"))
    _need_steps(options, state)
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
    layer = _build(
        LSTM,
        options,
        first.units,
        bias=first.bias,
        bidirectional=True,
        return_sequences=first.return_sequences,
        **settings,
    )
    _after_recurrent(state, first.return_sequences)
    paths = ("forward_layer/cell", "backward_layer/cell")
    return Part(options.name, options.kind, [layer], paths, _weights(LSTM_WEIGHTS, first.bias), (first.units,))


def _inner(options: _Options, layer: Any, expected: str) -> _Options:
    """Return the options of the layer that another one wraps."""
    kind = _kind(layer)
    if kind != expected:
        raise ValueError(f"{options.kind} {options.name!r}: it wraps a layer of class {kind}, expected {expected}")
    return _Options(kind, layer["config"])


def _need_steps(options: _Options, state: _State) -> None:
    if not state.per_step:
        raise ValueError(f"{options.kind} {options.name!r} needs a series, but gets only its last step")


def _after_recurrent(state: _State, sequences: bool) -> None:
    state.per_step = sequences
    state.masked &= sequences


# ---------------------------------------------------------------------------------------------- other layers


def _input(options: _Options, state: _State) -> Part:
    options.refuse("sparse", False)
    options.refuse("ragged", False)
    options.ignore(("optional",))
    return Part(options.name, options.kind, [])


def _dense(options: _Options, state: _State, paths: tuple[str, ...] = ("",)) -> Part:
    units, bias = options.size("units"), options.flag("use_bias", True)
    function = _function(options, "activation", options.take("activation", None), state.version)
    options.ignore(("input_dim",))
    layers = [_build(Dense, options, units, bias=bias), *_activation_layers(options, function)]
    return Part(options.name, options.kind, layers, paths, _weights(("kernel", "bias"), bias), (units,))


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
    layer = _build(Embedding, options, rows, columns, mask_token=0 if zero else None)
    return Part(options.name, options.kind, [layer], ("",), ("embeddings",), (rows, columns))


def _masking(options: _Options, state: _State) -> Part:
    _need_steps(options, state)
    state.masked = True
    return Part(options.name, options.kind, [_build(Masking, options, options.number("mask_value", 0.0))])


def _activation(options: _Options, state: _State) -> Part:
    function = _function(options, "activation", options.take("activation"), state.version)
    return Part(options.name, options.kind, _activation_layers(options, function))


def _function_layer(options: _Options, state: _State) -> Part:
    if options.kind == "Softmax" and state.masked:
        raise ValueError(f"Softmax {options.name!r} follows a mask, which Keras would apply to the features")
    return Part(options.name, options.kind, _activation_layers(options, _FUNCTIONS[options.kind](options)))


def _dropout(options: _Options, state: _State) -> Part:
    rate = options.number("rate")
    shape = options.take("noise_shape", None)
    per_series = options.kind == "SpatialDropout1D"
    if not per_series and isinstance(shape, list) and len(shape) == 3 and shape[:2] == [None, 1]:
        per_series, shape = True, None
    if shape is not None:
        raise options.error("noise_shape", shape, "is not supported")
    if per_series:
        _need_steps(options, state)
    return Part(options.name, options.kind, [_build(Dropout, options, rate, per_series=per_series)])


def _noise(options: _Options, state: _State) -> Part:
    return Part(options.name, options.kind, [_build(GaussianNoise, options, options.number("stddev"))])


def _flatten(options: _Options, state: _State) -> Part:
    if state.per_step:
        raise ValueError(f"Flatten {options.name!r} concatenates the steps of a series, which is not supported")
    options.ignore(("data_format",))
    return Part(options.name, options.kind, [])


def _pooling(options: _Options, state: _State) -> Part:
    _need_steps(options, state)
    options.refuse("data_format", "channels_last")
    options.refuse("keepdims", False)
    if options.kind == "GlobalMaxPooling1D" and state.masked:
        raise ValueError(f"{options.kind} {options.name!r} follows a mask, which Keras ignores in this layer")
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
