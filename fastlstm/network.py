"""Network: layers over one flat parameter vector, and passes of a batch through them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_array
from ._checks import short_repr
from ._draws import mixed_seed
from ._typing import Array, State
from .data.sequences import Sequences
from .layers import (
    Activation,
    InputMasks,
    Layer,
    LayerCache,
    MaskedSteps,
    PassContext,
    Signal,
    WindowLayer,
    backward_masked,
    checked_states,
    connect,
    copied_layer,
    forward_masked,
    layer_config,
    quantized_layers,
    require_small,
    sealed,
    stack_parameters,
    takes_tokens,
)
from .parameters import Parameters
from .runtime.config import call_threads

__all__ = ["FinalActivation", "Network"]


class FinalActivation(NamedTuple):
    """Activation that makes the outputs of a network probabilities."""

    kind: Literal["sigmoid", "softmax"]
    layer: int | None
    """Index of the layer that can be skipped to get the scores; None if the activation cannot be separated."""
    where: str
    """Description of the place, for messages."""


class Network:
    """Layers over one flat parameter vector.

    A network works on checked arrays in its own units; scalers, losses and the conversion of users' data belong to the
    floors above. Several threads may run passes at once, because each has its own contexts.

    Parameters
    ----------
    layers : list of Layer
        The layers from the input to the output.
    dtype : dtype
        Type of parameters and computation, float32 or float64.
    seed : int
        Seed of the initial weights and of all random numbers of training.
    precision : str, optional
        Type of the operands of the LSTM layers' matrix products, "bfloat16" or, by default, the name of `dtype`.
    names : sequence of str, optional
        Name of each layer, before those of its parameters: by default its number.

    Attributes
    ----------
    parameters : Parameters
        The flat vectors and their named views.
    input_size : int or None
        Number of features of a step, 0 for token ids; None before `build`.
    output_size : int
        Number of features of the output.
    per_step : bool
        Whether the output is (batch, time, features) rather than (batch, features).
    output_steps : int or None
        Number of steps of each case's output, if a layer sets it; None: those of the input.
    input_masks : InputMasks or None
        Masks of the layers that mask steps of the input; None if there are none, or before `build`.
    passes : int
        Number of training passes so far; each draws its own dropout masks.
    chains : dict
        What `fastlstm.inference` has found out and made of the network; empty in a copy.
    """

    is_chain = True
    """Whether the input goes through all layers, one after the other."""
    chains: dict[str, Any]

    def __init__(
        self,
        layers: list[Layer],
        dtype: np.dtype[Any],
        seed: int,
        precision: str | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.layers = layers
        self.dtype = dtype
        self.set_precision(precision or dtype.name)
        self.seed = seed
        self.parameters = Parameters(layers, dtype, names)
        self.input_size: int | None = None
        self.output_size = 0
        self.per_step = False
        self.output_steps: int | None = None
        self.input_masks: InputMasks | None = None
        self.passes = 0
        self.observer: Callable[[int, str, Array, Array | None], None] | None = None
        self._longest: int | None = None
        self._recurrent = [k for k, layer in enumerate(layers) if layer.state_shapes(1) is not None]

    # ------------------------------------------------------------------------------------ building

    @property
    def input_layers(self) -> list[Layer]:
        """The layers through which the input goes, one after the other: the first ones."""
        return self.layers

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is integer token ids, (batch, time)."""
        return takes_tokens(self.layers)

    @property
    def built(self) -> bool:
        """Whether the input size is known and the parameters exist."""
        return self.input_size is not None

    def build(self, input_size: int, values: Array | None = None, longest: int | None = None) -> None:
        """Create the parameters and draw their initial values from the seed, unless `values` (n_parameters,) are given.

        `longest` is the number of steps of the longest training series, if there are data yet.

        Raises
        ------
        ValueError
            If the layers do not fit each other, or the network is already built for another size.
        """
        if self.input_size is not None:
            if input_size != self.input_size:
                raise ValueError(
                    f"input_size is {input_size}, expected {self.input_size}, for which the model is built"
                )
            return
        signals = self.connected(input_size, longest)
        contexts = threading.local()  # new ones: the old contexts refer to the old parameters
        self.parameters.initialize(self.seed, values)
        self._contexts = contexts
        self.output_size, self.per_step = signals[-1].features, signals[-1].per_step
        self.output_steps = signals[-1].steps
        self.input_masks = InputMasks.of(self.input_layers, signals[: len(self.input_layers)])
        self.input_size = input_size
        self._longest = longest

    def connected(self, input_size: int, longest: int | None = None) -> list[Signal]:
        """Return what comes out of each layer; raise ValueError if the layers do not fit each other."""
        signals = connect(self.layers, input_size, longest)
        self._refuse_groups(signals[-1])
        return signals

    def _refuse_groups(self, signal: Signal) -> None:
        """Raise ValueError if the output has other steps than the input."""
        if not signal.per_step:
            return
        if signal.stride > 1:
            names = (type(layer).__name__ for layer in self.layers if type(layer).steps_after is not Layer.steps_after)
            raise ValueError(
                f"the model would have an output for each group of {signal.stride} steps, which no target fits: put a "
                f"pooling layer such as fl.MaxPool() after the {' and the '.join(dict.fromkeys(names))}, or leave it "
                "out for an output for each step"
            )
        if not signal.keeps_steps and signal.steps is None:
            windows = next(layer for layer in self.layers if isinstance(layer, WindowLayer) and not layer.keeps_steps)
            raise ValueError(
                "the model would have fewer or more outputs than steps, which no target fits: give the "
                f'{type(windows).__name__} padding="same" or padding="causal", or put a pooling layer such as '
                "fl.MaxPool() after it"
            )

    def build_for(
        self, inputs: Sequences, training: bool = False, *, added: int = 0, missing: Array | None = None
    ) -> None:
        """Check that inputs fit the network; build it for them if it is not built yet.

        Parameters
        ----------
        inputs : Sequences
        training : bool, default False
            Whether they are training data, which alone tell how long the series are, on which initial values may
            depend.
        added : int, default 0
            Number of channels that a scaler adds to the features of the inputs.
        missing : boolean ndarray (features,), optional
            Features that may hold NaN, since a scaler handles it.
        """
        if self.input_size is not None and inputs.features + added != self.input_size:
            advice = "the last axis must hold the features in the order of the training data"
            if inputs.feature_names is not None:
                advice += f", {short_repr(inputs.feature_names)}"
            if inputs.one_series:
                advice = f"two axes are (batch, time), so pass {inputs.one_series} for one series"
            raise ValueError(
                f"{inputs.name} has {inputs.features} feature{'' if inputs.features == 1 else 's'}, the model was "
                f"built for {self.input_size - added}: {advice}"
            )
        # Last, because it may take long.
        inputs.check_finite(self.dtype, missing_steps=self.layers[0].masks_missing_steps, missing=missing)
        longest = inputs.time if inputs.lengths is None else int(inputs.lengths.max())
        self.build(inputs.features + added, longest=longest if training else None)
        self._check_lengths(inputs)
        num_tokens = self.layers[0].num_tokens
        if num_tokens is not None:
            inputs.check_tokens(num_tokens)

    def _check_lengths(self, inputs: Sequences) -> None:
        """Raise ValueError if a layer cannot take the number of steps of a series, as `Layer.steps_after` says."""
        layers = self.input_layers
        if all(type(layer).steps_after is Layer.steps_after for layer in layers):
            return
        lengths = np.array([inputs.time]) if inputs.lengths is None else inputs.lengths
        for layer, signal in zip(layers, self.signals()[: len(layers)], strict=True):
            if signal.steps is not None:
                return
            lengths = layer.steps_after(lengths)
            if not signal.per_step:
                return

    def require_tensors(self, input_size: int, tensors: Mapping[str, Array]) -> None:
        """Raise ValueError unless a file has a tensor for each parameter of an input size.

        No memory is allocated for parameters, so that a file that claims a billion layers costs nothing.
        """
        self.connected(input_size)
        for index, _, spec in stack_parameters(self.layers):
            name = f"{self.parameters.names[index]}.{spec.name}"
            if name not in tensors:
                raise ValueError(f"the tensors do not fit the model: missing {[name]}")
            if tensors[name].shape != spec.shape:
                raise ValueError(f"{name} has shape {tensors[name].shape}, expected {spec.shape}")

    def require_built(self) -> None:
        """Raise RuntimeError if the input size is not known yet, so that there are no weights."""
        if not self.built:
            raise RuntimeError(
                "the model is not built yet, so it has no weights: call fit, load weights, or give Model its "
                "input_size to work with the random initial weights"
            )

    @contextmanager
    def unbuilt_on_error(self) -> Iterator[None]:
        """Return a context after whose exceptions a network is unbuilt again, unless it was built before."""
        was_built = self.built
        try:
            yield
        except BaseException:
            if not was_built and self.built:
                self._unbuild()
            raise

    def rebuild(self, input_size: int) -> None:
        """Build a network that is built anew for another input size, as if it had been built for this one at once."""
        longest = self._longest
        self._unbuild()
        self.build(input_size, longest=longest)

    def _unbuild(self) -> None:
        for layer in self.layers:
            layer.parameters, layer.gradients = {}, {}
        self.parameters = Parameters(self.layers, self.dtype, self.parameters.names)
        self.output_size, self.per_step, self.output_steps = 0, False, None
        self.input_masks = None
        self.input_size = None
        self.chains = {}

    def output_lengths(self, lengths: Array | None) -> Array | None:
        """Return the valid steps of the output of cases whose inputs have these lengths; None: all steps."""
        return lengths if self.output_steps is None else None

    def signals(self) -> list[Signal]:
        """Return what comes out of each layer of a built network."""
        return self.connected(self.input_size or 0)

    def final_activation(self) -> FinalActivation | None:
        """Return the sigmoid or softmax that makes the outputs probabilities; None if they are none."""
        for index in reversed(range(len(self.layers))):
            layer = self.layers[index]
            if layer.output_activation is not None:
                kind = layer.output_activation
                later = self.layers[index + 1 :]
                if not all(kind in one.commutes_with or one.keeps_probabilities for one in later):
                    return None
                separable = isinstance(layer, Activation) and all(kind in one.commutes_with for one in later)
                where = f"layer {index}, {layer!r}"
                if later:
                    where += f", is followed by {', '.join(map(repr, later))}"
                return FinalActivation(kind, index if separable else None, where)
            if not (layer.commutes_with or layer.keeps_probabilities):
                return None
        return None

    # ------------------------------------------------------------------------------------ parameters

    def freeze(self) -> None:
        """Make the parameters read-only, so that the weights are packed only once, for all threads."""
        self.require_built()
        if not self.parameters.frozen:
            contexts = threading.local()
            self.parameters.freeze()
            self._contexts, self.chains = contexts, {}

    def unfreeze(self) -> None:
        """Make the parameters writable again."""
        if self.parameters.frozen:
            contexts = threading.local()
            self.parameters.unfreeze()
            self._contexts, self.chains = contexts, {}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Replace the parameters; build the network for the size of the tensors if it is not built yet."""
        self.parameters.require_unfrozen("load_state_dict")
        if not isinstance(state, Mapping):
            raise TypeError(f"state must map names to arrays, as state_dict() does, got a {type(state).__name__}")
        arrays = {name: as_array(value, str(name)) for name, value in state.items()}
        if not self.built:
            first = next(((k, layer) for k, layer in enumerate(self.layers) if layer.input_weight), None)
            weight = None if first is None else arrays.get(f"{self.parameters.names[first[0]]}.{first[1].input_weight}")
            size = None if first is None or weight is None else first[1].input_size_of(weight)
            if size is None:
                raise ValueError(f"the tensors {sorted(arrays)} do not give the input size: give Model its input_size")
            self.build(size)
        self.parameters.load(arrays)

    def set_precision(self, precision: str) -> None:
        """Set `precision`; no pass may be running, and none waits for its backward pass."""
        self.precision = precision
        for layer in self.layers:
            layer.bfloat16 = precision == "bfloat16"
        self._contexts, self.chains = threading.local(), {}

    # ------------------------------------------------------------------------------------ passes

    def context(self, training: bool) -> PassContext:
        """Return this thread's context; inference has its own, so that it cannot disturb a pending backward pass."""
        name = "training" if training else "inference"
        ctx: PassContext | None = getattr(self._contexts, name, None)
        if ctx is None:
            ctx = PassContext(len(self.layers), self.dtype, training)
            setattr(self._contexts, name, ctx)
        return ctx

    @contextmanager
    def using(self, ctx: PassContext) -> Iterator[None]:
        """Return a context manager within which this thread's training passes use another context than its own."""
        own = self.context(True)
        self._contexts.training = ctx
        try:
            yield
        finally:
            self._contexts.training = own

    def forward(
        self,
        x: Array,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        recompute_every: int = 0,
        skip: int | None = None,
        masks: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        """Return the output for a batch of checked inputs, a buffer that is valid until this thread's next pass.

        Parameters
        ----------
        x : ndarray, (batch, time, features), or (batch, time) for token ids
            Its padding may be overwritten.
        lengths : int64 ndarray (batch,), or None
            Valid steps of each case; None: all.
        training : bool
            Whether a backward pass may follow; dropout is applied then.
        n_threads : int, optional
            Threads to use; by default as configured.
        recompute_every : int, default 0
            Number of steps whose gates are stored for the backward pass; 0: all steps.
        skip : int, optional
            Index of a layer that is left out, here and in the backward pass: the final activation.
        masks : boolean ndarray (batch, time, k), optional
            Masks of the steps as users have passed them, `Sequences.masks`, if the network has `input_masks`; by
            default the layers compute them from x.
        first_row : int, default 0
            Number of the first case in the batch of which x is a part: its random numbers are those of the whole batch.
        """
        ctx = self.begin(training, n_threads, recompute_every, skip, first_row)
        x = self.enter(range(len(self.layers)), x, lengths, masks, ctx)
        ctx.out_shape = x.shape
        return x

    def begin(
        self,
        training: bool,
        n_threads: int | None,
        recompute_every: int = 0,
        skip: int | None = None,
        first_row: int = 0,
    ) -> PassContext:
        """Return this thread's context for a new pass."""
        ctx = self.context(training)
        ctx.skipped = skip
        ctx.recompute_every = recompute_every
        ctx.n_threads = call_threads(n_threads)
        ctx.packed = self.parameters.packed
        ctx.first_row = first_row
        ctx.pending = False
        if training:
            self.passes += 1
        return ctx

    def enter(self, indices: range, x: Array, lengths: Array | None, masks: Array | None, ctx: PassContext) -> Array:
        """Do `through` for the input of the network, with the lengths and masks of `forward`."""
        ctx.lengths, ctx.mask = lengths, None
        if self.input_masks is not None:
            self.input_masks.give(ctx, masks)
        if lengths is not None and self.layers[0].touches_padding:
            # The padding may hold NaN or invalid token ids, so it is set to zero.
            x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
        return self.through(indices, x, ctx)

    def through(self, indices: range, x: Array, ctx: PassContext) -> Array:
        """Return the output of some consecutive layers for x, in a pass that the context describes."""
        for index in indices:
            if index == ctx.skipped:
                continue
            layer, cache = self.layers[index], ctx.layers[index]
            if ctx.training and layer.is_stochastic:
                cache.seed = mixed_seed(self.seed, self.passes, index)
            cache.masked_steps = None
            ctx.observe = None if self.observer is None else partial(self.observer, index)
            x = layer.forward(x, ctx, cache) if ctx.mask is None else forward_masked(layer, x, ctx, cache)
            if cache.mask_in is not None:
                ctx.mask = cache.mask_in  # also of a user's layer, whose forward computes a mask from what it reads
        return x

    def forward_from(
        self,
        states: Sequence[State | None] | None,
        x: Array,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        recompute_every: int = 0,
        skip: int | None = None,
        masks: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        """Do `forward` from checked initial states, one for each LSTM layer object; None: the layers' own."""
        caches = self.recurrent_caches(training)
        try:
            for cache, state in zip(caches, states or [None] * len(caches), strict=True):
                cache.state_in = state
            return self.forward(x, lengths, training, n_threads, recompute_every, skip, masks, first_row)
        finally:
            for cache in caches:
                cache.state_in = None

    def masked_steps(self, training: bool) -> MaskedSteps | None:
        """Return the steps of the output of this thread's last pass that a mask leaves; None if it leaves all."""
        ctx = self.context(training)
        if ctx.mask is None or len(ctx.out_shape) == 2:
            return None
        steps = MaskedSteps.of(ctx.mask, ctx.lengths, False)
        every = ctx.out_shape[1] if ctx.lengths is None else ctx.lengths
        return None if (steps.lengths == every).all() else steps

    def final_states(self, training: bool) -> list[State]:
        """Return copies of the final states of this thread's last pass, one for each LSTM layer object."""
        caches = self.recurrent_caches(training)
        return [(cache.state_out[0].copy(), cache.state_out[1].copy()) for cache in caches if cache.state_out]

    def backward(
        self, d_out: Array, need_dx: bool = False, known_from: Callable[[int], None] | None = None
    ) -> Array | None:
        """Add the gradients of this thread's last training pass; return that of the input if `need_dx`.

        Unless `need_dx`, the layers below the lowest one with parameters to train are left out. After each layer
        `known_from` is told from which element on the flat gradient is complete.
        """
        lowest = 0 if need_dx else self.parameters.lowest_trainable
        return self.back_through(range(lowest, len(self.layers)), d_out, self.context(True), need_dx, known_from)

    def back_through(
        self,
        indices: range,
        d_out: Array,
        ctx: PassContext,
        need_dx: bool,
        known_from: Callable[[int], None] | None = None,
    ) -> Array | None:
        """Do the backward pass of what `through` has computed with these layers."""
        gradient: Array | None = d_out
        starts = [] if known_from is None else self.parameters.starts
        for index in reversed(indices):
            assert gradient is not None
            if index == ctx.skipped:
                continue
            layer, cache = self.layers[index], ctx.layers[index]
            backward = layer.backward if cache.masked_steps is None else partial(backward_masked, layer)
            gradient = backward(gradient, ctx, cache, need_dx or index > indices.start)
            if not layer.trainable:
                layer.zero_gradients()  # of a user's layer, which adds to them all the same
            if known_from is not None:
                known_from(starts[index])
        return gradient

    def recurrent_caches(self, training: bool) -> list[LayerCache]:
        """Return the caches of the layers that have a state, in this thread's context."""
        caches = self.context(training).layers
        return [caches[k] for k in self._recurrent]

    def checked_states(self, state: State | Sequence[State] | None, batch: int) -> list[State | None]:
        """Check states from a user: one (h, c), or None, for each LSTM layer object."""
        shapes = [shape for k in self._recurrent if (shape := self.layers[k].state_shapes(batch)) is not None]
        if state is None:
            return [None] * len(shapes)
        expected = [(*shape, self.dtype) for shape in shapes]
        states = checked_states([state] if isinstance(state, tuple) else state, expected, "LSTM layer objects")
        for k, (h, _) in zip(self._recurrent, states, strict=True):
            if self.layers[k].quantized is not None:
                require_small(h)
        return list(states)

    # ------------------------------------------------------------------------------------ copies and files

    def get_config(self) -> dict[str, Any]:
        """Return architecture and settings of the network, without its weights, as data for JSON."""
        return {
            "layers": [layer_config(layer) for layer in self.layers],
            "input_size": self.input_size,
            "dtype": self.dtype.name,
            **({"precision": self.precision} if self.precision != self.dtype.name else {}),
            "seed": self.seed,
            "steps": self.passes,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copy and pickle, without the contexts, which belong to this process's threads."""
        return {
            "layers": [_copied(layer) for layer in self.layers],
            "dtype": self.dtype,
            "precision": self.precision,
            "seed": self.seed,
            "passes": self.passes,
            "input_size": self.input_size,
            "flat": self.parameters.flat.copy() if self.built else None,
            "frozen": self.parameters.frozen,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(self._unbuilt(state).__dict__, passes=state["passes"])
        for _, layer in quantized_layers(self.layers):
            assert layer.quantized is not None
            layer.quantized = sealed(layer.quantized)
        if state["input_size"] is not None:
            self.build(state["input_size"], state["flat"])
        if state["frozen"]:
            self.freeze()

    @staticmethod
    def _unbuilt(state: Mapping[str, Any]) -> Network:
        """Return a new network of the layers of a state."""
        return Network(state["layers"], state["dtype"], state["seed"], state.get("precision"))


def _copied(layer: Layer) -> Layer:
    """Return a copy of a layer for weights that are copied, too."""
    copy = copied_layer(layer)
    copy.quantized = layer.quantized
    return copy
