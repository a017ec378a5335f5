"""Base class of the layers: the constructor stores, `build` takes the input size, then `forward` and `backward`.

A layer holds its settings and named views of the network's flat parameter vector. The results of a pass are kept in the
caller's `PassContext`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from .._arguments import ExplainsArguments
from .._checks import as_bool
from .._draws import Draws
from .._typing import Array
from .context import LayerCache, PassContext
from .stages import Stage

__all__ = ["EightBits", "Layer", "Matrix", "ParameterSpec", "Signal", "stages_describe_forward"]


class Signal(NamedTuple):
    """Form of the data between two layers, known before there are data."""

    features: int
    """Number of features of a step, or of a case; 0 for token ids."""
    per_step: bool
    """Whether the data are (batch, time, features), or (batch, features) once a layer has reduced the time axis."""
    tokens: bool = False
    """Whether the data are integer ids, (batch, time)."""
    steps: int | None = None
    """Number of steps of every case, if a layer has begun new series; None: those of the model's input. A layer that
    keeps the steps may leave it out of what it returns."""
    longest: int | None = None
    """Number of steps of the longest training series, from which a layer may draw its initial values; None: not known.
    A layer that keeps the steps may leave it out."""
    stride: int = 1
    """Number of steps of the series that one step of these data stands for. A layer that keeps the steps may leave it
    out."""
    keeps_steps: bool = True
    """Whether there is a step for each `stride` steps of the series, also at its ends. A layer that keeps the steps may
    leave it out."""
    memory: int | None = None
    """Number of features of the memory that layers can read as a side input: the outputs of an encoder; None if there
    is no memory. A layer may leave it out."""
    taps: tuple[tuple[str, Signal], ...] = ()
    """Name of each `Tap` so far, with the form of the data there. Layers other than `Tap` may leave it out."""

    def require_numbers(self, layer: Layer) -> None:
        """Raise ValueError if a layer that reads numbers would get token ids."""
        if self.tokens:
            name = type(layer).__name__
            raise ValueError(f"{name} reads numbers and gets token ids: put it after the fl.Embedding")

    def require_steps(self, layer: Layer) -> None:
        """Raise ValueError if a layer that reads the steps of series would get token ids, or no time axis."""
        self.require_numbers(layer)
        if not self.per_step:
            raise ValueError(
                f"{type(layer).__name__} reads (batch, time, features) and gets (batch, features): set "
                "return_sequences=True before it, or leave it out"
            )


class Matrix(NamedTuple):
    """A matrix of weights that a quantized layer stores as integers."""

    name: str
    """Name of the parameter."""
    of_input: str | None
    """Name of the input whose features it multiplies, in `Layer.quantized`; None: h, whose limits are 1."""


class EightBits(NamedTuple):
    """What a quantized layer has besides its parameters, which are the numbers that the integers stand for."""

    limits: Mapping[str, Array | None]
    """For each input the largest magnitude of each feature, float32, read-only; None: each row has its own scale."""
    integers: Mapping[str, tuple[Array, Array]]
    """For each matrix of weights the integers, int8, and the scale of each row, float32."""


class ParameterSpec(NamedTuple):
    """Parameter of a layer, which the network allocates and initializes."""

    name: str
    shape: tuple[int, ...]
    initialize: Callable[[Draws, tuple[int, ...]], Array]


class Layer(ExplainsArguments, ABC):
    """Base class of all layers."""

    touches_padding = True
    """Whether the layer computes on steps beyond a case's length (their results are never used)."""
    supports_mask = False
    """Whether the layer skips masked steps; other layers treat them like any step."""
    repeats_output = True
    """Whether a layer that supports masks repeats its last output at a masked step, instead of 0."""
    output_activation: Literal["sigmoid", "softmax"] | None = None
    """Activation with which the layer ends, if it makes probabilities of scores."""
    commutes_with: ClassVar[tuple[str, ...]] = ()
    """Activations that can be computed after the layer, instead of before it, with the same result."""
    keeps_probabilities: ClassVar[bool] = False
    """Whether the output consists of probabilities if the input does."""
    is_stochastic = False
    """Whether a training pass reads ``cache.seed``."""
    takes_tokens = False
    """Whether the layer reads integer token ids, (batch, time), and so must be the first."""
    statistics: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that `backward` sets, after a training pass, and that no optimizer changes."""
    masks_steps = False
    """Whether the layer masks steps for the following layers; `counts` returns the mask. If the layer reads the model's
    input unchanged, the mask is that of the values that users pass, and `forward` finds it in `LayerCache.mask_in`."""
    masks_missing_steps = False
    """Whether these are the steps all of whose features are NaN, which inputs may then hold."""
    needs_longest = False
    """Whether the initial values depend on `Signal.longest`."""
    num_tokens: int | None = None
    """Number of valid token ids, 0 to num_tokens - 1, of a layer that reads tokens; None if there is no limit."""
    quantized: EightBits | None = None
    """The integers of a layer whose weights have 8 bits; None for weights of the model's type."""
    bfloat16 = False
    """Whether the operands of matrix products are rounded to bfloat16, by layers that have kernels for it."""
    input_weight: ClassVar[str | None] = None
    """Name of a parameter from which `input_size_of` reads the input size; None if there is none. When a state dict is
    loaded, a model that is not built takes its input size from this parameter."""

    _trainable = True

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    @property
    def trainable(self) -> bool:
        """Whether training changes the layer's parameters; True by default.

        It can be set at any time between two updates, before and after the model is built. The parameters of a layer
        with ``trainable = False`` keep their bits: they take no part in clipping, in the update with its weight decay,
        and in the optimizer's moments. Their gradients are not computed and stay 0. In all else the layer is as it was,
        so that dropout in it or before it stays active in training; a `BatchNorm` alone normalizes by its running
        statistics then, which stay as they are. Saved with the model.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = as_bool("trainable", value)
        if not self._trainable:
            self.zero_gradients()

    def untrained(self) -> Collection[str]:
        """Return the names of the parameters that no optimizer changes: statistics, or all if it is not trainable."""
        return self.statistics if self.trainable else self.parameters

    @property
    def wanted_gradients(self) -> dict[str, Array]:
        """The gradients to which `backward` adds, by name; empty if the layer is not trainable."""
        return self.gradients if self._trainable else {}

    def zero_gradients(self) -> None:
        """Set the layer's gradients to zero."""
        for gradient in self.gradients.values():
            gradient.fill(0)

    @abstractmethod
    def build(self, signal: Signal) -> Signal:
        """Store the form of the input, return that of the output; ValueError if the layer cannot read the input."""

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        """Yield the parameters of a built layer, in the order in which they are stored."""
        return iter(())

    @abstractmethod
    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        """Return the layer's output: one of the cache's buffers, valid until the next pass."""

    @abstractmethod
    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        """Add to the gradients of the parameters, return that of the input; follows a training forward pass.

        A layer that is not trainable need not compute the gradients of its parameters (`wanted_gradients`): they are
        set to zero afterwards.
        """

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as data for JSON."""

    def streaming_obstacle(self) -> str | None:
        """Return why the layer cannot read a series in segments, to follow "layer 0 ..."; None if it can.

        It can if the output of a step depends only on this step, and on earlier steps through a state.
        """
        return None

    def segment_obstacle(self) -> str | None:
        """Return why a pass cannot continue where another one has ended, as `streaming_obstacle`.

        It cannot if the layer's stages carry a state that its passes neither take nor return.
        """
        return self.streaming_obstacle()

    def shard_obstacle(self) -> str | None:
        """Return why a training pass cannot compute parts of a batch one by one, as `streaming_obstacle`.

        It can if a case does not depend on the other cases of its batch.
        """
        if self.statistics and self.trainable:
            return (
                f"is a {type(self).__name__}: it needs the statistics of the whole batch, which a layer within another "
                "one does not get; leave shards out, set its trainable to False, so that it normalizes by its running "
                "statistics, or use fl.LayerNorm"
            )
        return None

    def steps_after(self, lengths: Array) -> Array:
        """Return the numbers of steps (n,) of the output for series of these numbers of unmasked steps.

        Only a layer that does not begin new series is asked; of one that reduces a series to one vector, the result
        does not matter.

        Raises
        ------
        ValueError
            If a series has too few steps, or another number than the layer can take; 0 is never too few.
        """
        return lengths

    def quantizing_obstacle(self) -> str | None:
        """Return why the weights of a built layer cannot have 8 bits, to follow "layer 0 ..."; None if they can."""
        return "has no matrix that the kernels read in 8 bits"

    def quantized_matrices(self) -> Iterator[Matrix]:
        """Yield the matrices that have 8 bits in a quantized layer."""
        return iter(())

    def input_size_of(self, weight: Array) -> int | None:
        """Return the input size for which the parameter `input_weight` has been made; None if its axes do not fit."""
        return weight.shape[1] if weight.ndim == 2 else None

    def state_shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the shapes of h and c of a recurrent layer; None for a layer that has no state."""
        return None

    def counts(self, x: Array) -> Array:
        """Return the mask of the steps that count, boolean (...), for x (..., features) or token ids (...).

        x is of the type in which users pass it, any real one, if the layer reads the model's input unchanged.
        """
        return np.ones(x.shape if self.takes_tokens else x.shape[:-1], bool)

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        """Return the mask (batch, time) of the layer's output, given that of its input; None if no step is masked.

        Only a layer that neither masks steps nor reduces a series to one vector is asked.
        """
        return mask

    def stages(self) -> list[Stage]:
        """Return the inference computation of a built layer as a list of stages; empty for the identity.

        Raises
        ------
        TypeError
            If the layer cannot be expressed as stages, which streams and exports need.
        """
        raise TypeError(f"{self!r} cannot be expressed as stages, which streams and exports need")

    def __repr__(self) -> str:
        # Keyword arguments with default values are left out.
        settings = inspect.signature(type(self)).parameters
        arguments = [
            f"{name}={value!r}"
            for name, value in self.get_config().items()
            if name not in settings
            or settings[name].kind is not inspect.Parameter.KEYWORD_ONLY
            or settings[name].default != value
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"


def stages_describe_forward(layer: Layer) -> bool:
    """Return whether the class that defines the layer's `forward` defines its `stages` too, or a subclass does.

    The inherited stages of a subclass that overrides only `forward` would describe another computation.
    """
    definers = (vars(cls) for cls in type(layer).__mro__ if "stages" in vars(cls) or "forward" in vars(cls))
    return "stages" in next(definers)
