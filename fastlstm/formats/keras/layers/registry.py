"""Keras's layers by the names of their classes, and what a function that reads one takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...._typing import Array
from ....layers import Layer
from .options import Options

__all__ = [
    "READERS",
    "Part",
    "SignalState",
    "end_series",
    "inner_options",
    "kind_of",
    "names_of_weights",
    "need_steps",
    "reader",
]


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
    convert: Converter | None = None
    """Function that takes the part, its sets of weights by Keras's names, and the number of input features (None if not
    known yet); it returns the parameters of the first layer and the number of output features. None if the layer has no
    weights and keeps the number."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    def check_shape(self, name: str, array: Array, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a weight has this shape."""
        if array.shape != shape:
            raise ValueError(f"{self}: {name} has shape {array.shape}, expected {shape}")

    def input_features(self, kernel: Array, features: int | None) -> int:
        """Return the number of input features: that of the kernel's rows if it is not known yet."""
        if features is not None:
            return features
        if kernel.ndim != 2 or not kernel.shape[0]:
            raise ValueError(f"{self}: kernel has shape {kernel.shape}, expected (features, units)")
        return int(kernel.shape[0])


Converter = Callable[[Part, Sequence[dict[str, Array]], int | None], tuple[dict[str, Array], int | None]]


class SignalState:
    """Properties of the signal before a layer."""

    def __init__(self, version: int | None) -> None:
        self.version = version
        self.per_step = True
        self.masked = False
        self.steps: int | None = None
        """Number of steps of each series, if the model has a fixed one."""


Reader = Callable[[Options, SignalState], Part]
READERS: dict[str, Reader] = {}


def reader(*kinds: str) -> Callable[[Reader], Reader]:
    """Register the function that reads the layers of these classes; used as a decorator.

    The function takes the layer's options, of which it reads all that matter, and changes the state of the signal to
    that after the layer.
    """

    def register(read: Reader) -> Reader:
        READERS.update(dict.fromkeys(kinds, read))
        return read

    return register


def kind_of(layer: Any) -> str:
    """Return the class of a layer; raise ValueError unless it is one of Keras's own and supported here."""
    config = layer.get("config") if isinstance(layer, dict) else None
    if not isinstance(config, dict):
        raise ValueError("the description of a layer is not an object with a class_name and a config")
    kind, name = layer.get("class_name"), str(config.get("name", ""))
    if kind == "Lambda":
        raise ValueError(f"Lambda {name!r} holds code, which is never run; {_supported()}")
    module, registered = layer.get("module"), layer.get("registered_name")
    foreign = module is not None and not str(module).startswith(("keras.", "tf_keras."))
    if foreign or kind not in READERS or registered not in (None, kind):
        shown = str(registered or kind)[:100] if not foreign else f"{module}.{kind}"[:100]
        raise ValueError(f"layer {name!r} has class {shown}, which is not supported; {_supported()}")
    return str(kind)


def _supported() -> str:
    return f"from_keras supports {', '.join(sorted(READERS))}"


def inner_options(options: Options, layer: Any, expected: str) -> Options:
    """Return the options of the layer that another one wraps."""
    kind = kind_of(layer)
    if kind != expected:
        raise ValueError(f"{options.kind} {options.name!r}: it wraps a layer of class {kind}, expected {expected}")
    return Options(kind, layer["config"])


def need_steps(options: Options, state: SignalState) -> None:
    """Raise ValueError if an earlier layer has kept only the last step."""
    if not state.per_step:
        raise ValueError(f"{options.kind} {options.name!r} needs a series, but gets only its last step")


def end_series(state: SignalState, sequences: bool) -> None:
    """Note whether a layer returns every step; a mask ends with the series."""
    state.per_step = sequences
    state.masked &= sequences


def names_of_weights(names: tuple[str, ...], bias: bool) -> tuple[str, ...]:
    """Return the names; without a bias, drop the last one."""
    return names if bias else names[:-1]
