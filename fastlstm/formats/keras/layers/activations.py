"""Keras's activations: functions, and layers without weights that are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....layers import Activation, Layer
from .options import Config, Options
from .registry import Part, SignalState, kind_of, reader

__all__ = ["activation_layers", "function_of"]


def function_of(options: Options, option: str, given: Any, version: int | None) -> tuple[Any, ...]:
    """Return a Keras activation as (name, alpha, beta) or, for softmax, (name,)."""
    if isinstance(given, dict):
        return _function_object(options, option, given, version)
    names = {"relu", "sigmoid", "tanh", "elu", "softplus", "softsign", "softmax", "selu", "gelu", "silu", "swish"}
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


def _function_object(options: Options, option: str, given: Config, version: int | None) -> tuple[Any, ...]:
    """Return an activation that is described by an object: a function's name, or a layer without weights."""
    kind, config = given.get("class_name"), given.get("config")
    if (
        kind == "function"
        and isinstance(config, str)
        and given.get("module") in (None, "builtins", "keras.activations")
    ):
        return function_of(options, option, config, version)
    if kind in ("ReLU", "LeakyReLU", "ELU", "Softmax") and isinstance(config, dict):
        inner = Options(kind_of(given), config)
        found = _FUNCTIONS[str(kind)](inner)
        inner.end()
        return found
    raise options.error(option, kind, "is not supported")


def _relu(options: Options) -> tuple[Any, ...]:
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


def _leaky_relu(options: Options) -> tuple[Any, ...]:
    old = options.take("alpha", None)  # Keras 2
    return ("leaky_relu", options.number("negative_slope", 0.3 if old is None else old))


def _elu(options: Options) -> tuple[Any, ...]:
    return ("elu", options.number("alpha", 1.0))


def _softmax(options: Options) -> tuple[Any, ...]:
    options.refuse("axis", -1, [-1])
    return ("softmax",)


def _thresholded_relu(options: Options) -> tuple[Any, ...]:
    return ("thresholded_relu", options.number("theta", 1.0))


_FUNCTIONS: dict[str, Callable[[Options], tuple[Any, ...]]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "ThresholdedReLU": _thresholded_relu,
}


def activation_layers(options: Options, function: tuple[Any, ...]) -> list[Layer]:
    """Return the layer for an activation; no layer for the identity."""
    if function == ("affine", 1.0, 0.0):
        return []
    return [options.build(Activation, *function)]


@reader("Activation")
def _activation(options: Options, state: SignalState) -> Part:
    function = function_of(options, "activation", options.take("activation"), state.version)
    return Part(options.name, options.kind, activation_layers(options, function))


@reader(*_FUNCTIONS)
def _function_layer(options: Options, state: SignalState) -> Part:
    if options.kind == "Softmax" and state.masked:
        raise ValueError(f"Softmax {options.name!r} follows a mask, which Keras would apply to the features")
    return Part(options.name, options.kind, activation_layers(options, _FUNCTIONS[options.kind](options)))
