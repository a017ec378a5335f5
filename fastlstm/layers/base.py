"""What every layer is: a constructor that stores, `build` when the input size is known, `forward` and `backward`.

A layer holds its settings and named views of the model's one flat parameter vector. What a forward pass leaves for the
backward pass, and all temporary arrays, live in a `Tape` that the caller owns: so one model may serve several threads
at once, each with a tape of its own.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..runtime.buffers import Buffers
from .skipping import Skipped
from .stages import Stage

__all__ = ["Layer", "LayerTape", "ParameterSpec", "Signal", "Tape"]

Array = npt.NDArray[Any]


class Signal(NamedTuple):
    """What flows between two layers, known before any data do."""

    features: int
    """Features of a step, or of a case; 0 for token ids."""
    per_step: bool
    """(batch, time, features), or (batch, features) once a layer has kept only the last step."""
    tokens: bool = False
    """Integer ids, (batch, time)."""


class ParameterSpec(NamedTuple):
    """A parameter that a layer asks the model for."""

    name: str
    shape: tuple[int, ...]
    initialize: Callable[[np.random.Generator, tuple[int, ...]], Array]


class LayerTape:
    """One layer's part of a `Tape`."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.skipped: Skipped | None = None
        """The steps that were left out in the last pass, for backward; None: none."""
        self.seed = 0
        """Seed of the layer's dropout masks in this pass."""
        self.saved: dict[str, Any] = {}
        """What forward leaves for backward."""
        self.state_in: tuple[Array, Array] | None = None
        """Initial (h, c) of an LSTM, each (num_layers * directions, batch, hidden_size); None: those of the layer."""
        self.state_out: tuple[Array, Array] | None = None
        self.d_state_out: tuple[Array, Array] | None = None
        """Gradient of the loss with respect to `state_out`; None: zeros."""
        self.d_state_in: tuple[Array, Array] | None = None


class Tape:
    """One run of data through a model's layers."""

    def __init__(self, n_layers: int) -> None:
        self.layers = [LayerTape() for _ in range(n_layers)]
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.lengths: Array | None = None
        self.mask: Array | None = None
        """(batch, time), boolean: the steps that count; None: all. A layer sets it as the data pass."""
        self.training = False
        self.frozen = False
        """Whether the parameters are read-only for good, so that a workspace may keep them packed."""
        self.n_threads = 1
        self.checkpoint_every = 0
        """Of how many steps at a time an LSTM keeps what the backward pass needs; 0: of all."""
        self.want_d_state = False
        """Whether the backward pass is to leave the gradients of the initial states."""
        self.out_shape: tuple[int, ...] = ()
        self.pending = False
        """Whether a forward pass of a custom loop waits for its backward pass."""


class Layer(ABC):
    """Base class of all layers."""

    reads_padding = True
    """Whether the layer computes on steps beyond a case's length (their results are never used)."""
    skips = False
    """Whether the layer leaves out the steps that a mask does not count; to the others they are like any step."""
    repeats = True
    """Whether a layer that skips gives, for a step that does not count, its output of the step before; else zeros."""
    draws = False
    """Whether a training pass reads ``mine.seed``."""
    takes_tokens = False
    """Whether the layer reads integer token ids, (batch, time), and so must be the first."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    @abstractmethod
    def build(self, signal: Signal) -> Signal:
        """Takes note of what comes in and tells what goes out."""

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        """The parameters of a built layer, in the order in which they are stored."""
        return iter(())

    @abstractmethod
    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        """The layer's output: an array of the tape's buffers, valid until the next pass."""

    @abstractmethod
    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        """Adds to the gradients of the parameters and gives that of the input, after a training forward pass."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-able."""

    def why_not_in_pieces(self) -> str:
        """Why the layer cannot be fed a series piece by piece, as the end of "layer 0 ..."; empty if it can.

        It can if a step's output depends on this step, on those before it by way of a state only, and on none after.
        """
        return ""

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
