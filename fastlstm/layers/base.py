"""What every layer is: a constructor that stores, `build` when the input size is known, `forward` and `backward`.

A layer holds its settings and named views of the network's one flat parameter vector; what a pass leaves behind lives
in its caller's `PassContext`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._typing import Array
from .context import LayerCache, PassContext
from .stages import Stage

__all__ = ["Layer", "ParameterSpec", "Signal"]


class Signal(NamedTuple):
    """What flows between two layers, known before any data do."""

    features: int
    """Features of a step, or of a case; 0 for token ids."""
    per_step: bool
    """(batch, time, features), or (batch, features) once a layer has kept only the last step."""
    tokens: bool = False
    """Integer ids, (batch, time)."""


class ParameterSpec(NamedTuple):
    """A parameter that a layer asks the network for."""

    name: str
    shape: tuple[int, ...]
    initialize: Callable[[np.random.Generator, tuple[int, ...]], Array]


class Layer(ABC):
    """Base class of all layers."""

    touches_padding = True
    """Whether the layer computes on steps beyond a case's length (their results are never used)."""
    supports_mask = False
    """Whether the layer leaves out the steps that a mask does not count; other layers treat them like any step."""
    repeats_output = True
    """Whether a layer that supports masks repeats its last output for a step that does not count, or gives 0."""
    is_stochastic = False
    """Whether a training pass reads ``cache.seed``."""
    takes_tokens = False
    """Whether the layer reads integer token ids, (batch, time), and so must be the first."""
    masks_steps = False
    """Whether the layer tells which steps count for the layers after it; `counts` tells which."""
    num_tokens: int | None = None
    """Number of tokens, of a layer that reads them and knows; ids from 0 to num_tokens - 1 are valid."""
    input_weight: ClassVar[str | None] = None
    """Name of the parameter whose second axis is the input size, if there is one: a state dict tells the size by it."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    @abstractmethod
    def build(self, signal: Signal) -> Signal:
        """Take note of what comes in, and return what goes out."""

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        """Yield the parameters of a built layer, in the order in which they are stored."""
        return iter(())

    @abstractmethod
    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        """Compute the layer's output: one of the cache's buffers, valid until the next pass."""

    @abstractmethod
    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        """Add to the gradients of the parameters and return that of the input, after a training forward pass."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, fit for JSON."""

    def streaming_obstacle(self) -> str | None:
        """Return why the layer cannot be fed a series segment by segment, as the end of "layer 0 ..."; None if it can.

        It can if a step's output depends on this step, on those before it through a state only, and on none after.
        """
        return None

    def state_shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the shapes of h and c of a recurrent layer; None for a layer that has no state."""
        return None

    def counts(self, x: Array) -> Array:
        """Return whether each step counts: x as the layer reads it, (..., features) or token ids (...), gives (...)."""
        return np.ones(x.shape if self.takes_tokens else x.shape[:-1], bool)

    def stages(self) -> list[Stage]:
        """Return what a built layer computes in inference, as a list of stages; empty if it passes what it reads.

        Raises
        ------
        TypeError
            If the layer cannot be expressed as stages, which streams and exports need.
        """
        raise TypeError(f"{self!r} cannot be expressed as stages, which streams and exports need")

    def __repr__(self) -> str:
        # Of the many options only those that are in use.
        settings = inspect.signature(type(self)).parameters
        arguments = [
            f"{name}={value!r}"
            for name, value in self.get_config().items()
            if name not in settings
            or settings[name].kind is not inspect.Parameter.KEYWORD_ONLY
            or settings[name].default != value
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"
