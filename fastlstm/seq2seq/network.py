"""The network of an encoder and a decoder: two chains of layers over one flat parameter vector, joined by states.

The final states of the encoder's LSTM layers are the initial states of the decoder's, layer by layer; a bidirectional
layer gives those of its two directions side by side. The encoder's outputs are the memory that attention layers of the
decoder read as a side input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._core import PackedWeights
from .._typing import Array, State
from ..layers import (
    LSTM,
    Embedding,
    Layer,
    LuongAttention,
    MaskedSteps,
    Memory,
    PassContext,
    Signal,
    connect,
)
from ..network import Network

__all__ = ["Encoded", "Pair", "PairNetwork"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A batch of sources with the tokens that the decoder reads."""

    source: Array
    """(batch, time, features), or (batch, time) for token ids; its padding may be overwritten."""
    lengths: Array | None
    """(batch,), int64: valid steps of each source; None: all."""
    masks: Array | None
    """As in `Network.forward`, of the source."""
    given: Array
    """(batch, steps), int64: the token that the decoder reads at each step."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: slice) -> Pair:
        lengths, masks = (None if part is None else part[rows] for part in (self.lengths, self.masks))
        return Pair(self.source[rows], lengths, masks, self.given[rows])


class Encoded(NamedTuple):
    """What a decoder needs of its sources."""

    states: list[State]
    """Initial states, one for each LSTM object of the decoder: (num_layers, batch, size)."""
    memory: Memory | None
    """The encoder's outputs; None if no layer of the decoder reads them."""


class _Sources(NamedTuple):
    """What the backward pass of the encoder needs, besides what its layers keep."""

    lengths: Array | None
    """Valid steps after the last layer."""
    left: MaskedSteps | None
    """Steps of the outputs that a mask leaves; None: all."""
    out_shape: tuple[int, ...]


class PairNetwork(Network):
    """Layers of an encoder, then those of a decoder.

    Parameters
    ----------
    encoder, decoder : list of Layer
    dtype, seed
        As in `Network`.

    Raises
    ------
    ValueError
        If a layer cannot be in its place.
    """

    is_chain = False

    def __init__(
        self, encoder: list[Layer], decoder: list[Layer], dtype: np.dtype[Any], seed: int, precision: str | None = None
    ) -> None:
        names = [f"encoder.{k}" for k in range(len(encoder))] + [f"decoder.{k}" for k in range(len(decoder))]
        super().__init__([*encoder, *decoder], dtype, seed, precision, names)
        self.cut = len(encoder)
        """Number of layers of the encoder."""
        self._of_encoder = [k for k in self._recurrent if k < self.cut]
        self._of_decoder = [k for k in self._recurrent if k >= self.cut]
        self.attends = any(isinstance(layer, LuongAttention) for layer in decoder)
        """Whether the decoder reads the encoder's outputs."""
        _check_encoder(encoder)
        _check_decoder(decoder)

    @property
    def encoder(self) -> list[Layer]:
        """The layers of the encoder."""
        return self.layers[: self.cut]

    @property
    def decoder(self) -> list[Layer]:
        """The layers of the decoder."""
        return self.layers[self.cut :]

    @property
    def input_layers(self) -> list[Layer]:
        return self.encoder

    @property
    def num_tokens(self) -> int:
        """Number of tokens that the decoder reads and gives."""
        table = self.layers[self.cut]
        assert isinstance(table, Embedding)
        return table.num_embeddings

    # ------------------------------------------------------------------------------------ building

    def connected(self, input_size: int, longest: int | None = None) -> list[Signal]:
        with _named("encoder"):
            of_encoder = connect(self.encoder, input_size, longest)
            self._refuse_groups(of_encoder[-1])
        memory = of_encoder[-1].features if of_encoder[-1].per_step else None
        if self.attends and memory is None:
            raise ValueError(
                "the decoder attends to the steps of the encoder, whose last layer has one output for each case: set "
                "return_sequences=True in its LSTM, or leave LuongAttention out"
            )
        with _named("decoder"):
            of_decoder = connect(self.decoder, 0, memory=memory)
        if not of_decoder[-1].per_step:
            raise ValueError(
                "the decoder has one output for each case, expected one at each step: set return_sequences=True in its "
                "LSTM layers, and leave pooling out"
            )
        if of_decoder[-1].features != self.num_tokens:
            raise ValueError(
                f"the decoder reads {self.num_tokens} tokens and has {of_decoder[-1].features} outputs, expected one "
                f"for each token: end it with fl.Dense({self.num_tokens})"
            )
        self._check_states()
        return [*of_encoder, *of_decoder]

    def _check_states(self) -> None:
        """Raise ValueError if the states of the encoder are not those of the decoder, layer by layer."""
        given, taken = self._sizes(self._of_encoder), self._sizes(self._of_decoder)
        if given != taken:
            raise ValueError(
                f"the encoder has {_described(given)}, and the decoder {_described(taken)}: the final states of the "
                "one are the initial states of the other, layer by layer, those of two directions side by side. Give "
                "the decoder as many layers, of these sizes, or change the encoder"
            )

    def _sizes(self, indices: list[int]) -> list[tuple[int, int, int]]:
        """Return the sizes of h and c, both directions together, and how many layers in a row have them."""
        runs: list[tuple[int, int, int]] = []
        for k in indices:
            layer = self.layers[k]
            assert isinstance(layer, LSTM)
            h, c, count = layer.directions * layer.state_size, layer.directions * layer.hidden_size, layer.num_layers
            if runs and runs[-1][:2] == (h, c):
                count += runs.pop()[2]
            runs.append((h, c, count))
        return runs

    # ------------------------------------------------------------------------------------ passes

    def forward(  # type: ignore[override]
        self,
        x: Pair,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        recompute_every: int = 0,
        skip: int | None = None,
        masks: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        """Return the decoder's outputs (batch, steps, tokens) for sources and the tokens that it is given.

        `lengths` are those of the given tokens; the rest is as in `Network.forward`.
        """
        ctx = self.begin(training, n_threads, recompute_every, skip, first_row)
        encoded = self._encode(x.source, x.lengths, x.masks, ctx)
        out = self._decode(x.given, lengths, encoded, ctx)
        ctx.out_shape = out.shape
        if not training:
            ctx.memory = None
        return out

    def _encode(self, x: Array, lengths: Array | None, masks: Array | None, ctx: PassContext) -> Encoded:
        ctx.memory = None
        out = self.enter(range(self.cut), x, lengths, masks, ctx)
        left = _left_by_mask(out, ctx)
        memory = None
        if self.attends:
            memory = Memory(out, ctx.lengths)
            if left is not None:
                memory = Memory(left.pack(out, "memory", ctx.layers[self.cut - 1].buffers), left.lengths)
        ctx.layers[self.cut - 1].saved["sources"] = _Sources(ctx.lengths, left, out.shape)
        ctx.mask = None
        return Encoded(self._joined(ctx), memory)

    def _decode(self, given: Array, lengths: Array | None, encoded: Encoded, ctx: PassContext) -> Array:
        ctx.lengths, ctx.mask, ctx.memory = lengths, None, encoded.memory
        caches = [ctx.layers[k] for k in self._of_decoder]
        try:
            for cache, state in zip(caches, encoded.states, strict=True):
                cache.state_in = state
            return self.through(range(self.cut, len(self.layers)), given, ctx)
        finally:
            for cache in caches:
                cache.state_in = None

    def _joined(self, ctx: PassContext) -> list[State]:
        """Return the final states of the encoder as initial states of the decoder, copies."""
        by_layer: list[State] = []
        for k in self._of_encoder:
            layer, state = self.layers[k], ctx.layers[k].state_out
            assert isinstance(layer, LSTM) and state is not None
            for first in range(0, len(state[0]), layer.directions):
                h, c = (np.concatenate(part[first : first + layer.directions], axis=-1) for part in state)
                by_layer.append((h, c))
        return [
            (np.stack([h for h, _ in states]), np.stack([c for _, c in states])) for states in self._by_object(by_layer)
        ]

    def _by_object(self, by_layer: Sequence[State]) -> Iterator[Sequence[State]]:
        """Yield the states of the stacked layers of each LSTM object of the decoder."""
        first = 0
        for k in self._of_decoder:
            layer = self.layers[k]
            assert isinstance(layer, LSTM)
            yield by_layer[first : first + layer.num_layers]
            first += layer.num_layers

    def backward(
        self, d_out: Array, need_dx: bool = False, known_from: Callable[[int], None] | None = None
    ) -> Array | None:
        ctx = self.context(True)
        lowest = 0 if need_dx else self.parameters.lowest_trainable
        into_encoder = lowest < self.cut
        ctx.want_d_state = into_encoder
        try:
            self.back_through(range(max(lowest, self.cut), len(self.layers)), d_out, ctx, False, known_from)
        finally:
            ctx.want_d_state = False
        return self._encoder_backward(lowest, ctx, need_dx, known_from) if into_encoder else None

    def _encoder_backward(
        self, lowest: int, ctx: PassContext, need_dx: bool, known_from: Callable[[int], None] | None
    ) -> Array | None:
        sources: _Sources = ctx.layers[self.cut - 1].saved["sources"]
        d_memory = None if ctx.memory is None else ctx.memory.d_values
        buffers = ctx.layers[self.cut - 1].buffers
        if d_memory is None:
            d_memory = buffers.get("d_memory", sources.out_shape, self.dtype)
            d_memory.fill(0)
        elif sources.left is not None:
            d_memory = sources.left.unpack(d_memory, "d_memory", buffers)
        caches = [ctx.layers[k] for k in self._of_encoder]
        try:
            for cache, state in zip(caches, self._d_states(ctx), strict=True):
                cache.d_state_out = state
            ctx.lengths = sources.lengths
            return self.back_through(range(lowest, self.cut), d_memory, ctx, need_dx, known_from)
        finally:
            for cache in caches:
                cache.d_state_out = None

    def _d_states(self, ctx: PassContext) -> list[State]:
        """Return the gradients of the encoder's final states from those of the decoder's initial states."""
        by_layer: list[State] = []
        for k in self._of_decoder:
            state = ctx.layers[k].d_state_in
            assert state is not None
            by_layer += zip(*state, strict=True)
        result: list[State] = []
        for k in self._of_encoder:
            layer = self.layers[k]
            assert isinstance(layer, LSTM)
            own, by_layer = by_layer[: layer.num_layers], by_layer[layer.num_layers :]
            split = [[np.split(part, layer.directions, axis=-1) for part in state] for state in own]
            h, c = (np.stack([one for state in split for one in state[which]]) for which in (0, 1))
            result.append((h, c))
        return result

    # ------------------------------------------------------------------------------------ steps of a decoder

    def encode(self, x: Array, lengths: Array | None, masks: Array | None, n_threads: int | None = None) -> Encoded:
        """Return what a decoder needs of sources, as arrays of its own."""
        ctx = self.begin(False, n_threads)
        encoded = self._encode(x, lengths, masks, ctx)
        return encoded._replace(memory=None if encoded.memory is None else encoded.memory.copy())

    def decode(
        self,
        given: Array,
        encoded: Encoded,
        n_threads: int | None = None,
        *,
        packed: PackedWeights | None = None,
        skip: int | None = None,
    ) -> tuple[Array, list[State]]:
        """Return the outputs (batch, steps, tokens) for the next given tokens, and the states after them.

        The batch may have several rows for each case of the memory. The outputs are a buffer that is valid until this
        thread's next pass.

        Parameters
        ----------
        given : int64 ndarray (batch, steps)
        encoded : Encoded
            The states before the tokens, and the memory.
        n_threads : int, optional
        packed : PackedWeights, optional
            Where to keep packed weights, if nobody writes to the parameters meanwhile.
        skip : int, optional
            Index of the final activation, to leave it out.
        """
        ctx = self.begin(False, n_threads, skip=skip)
        if packed is not None:
            ctx.packed = packed
        out = self._decode(given, None, encoded, ctx)
        ctx.memory = None
        states = [ctx.layers[k].state_out for k in self._of_decoder]
        return out, [(state[0].copy(), state[1].copy()) for state in states if state is not None]

    def attention_weights(self) -> Array:
        """Return what each step of the decoder took of each step of the memory in this thread's last inference pass."""
        layer = next(k for k in range(self.cut, len(self.layers)) if isinstance(self.layers[k], LuongAttention))
        weights: Array = self.context(False).layers[layer].saved["weights"]
        return weights

    # ------------------------------------------------------------------------------------ copies and files

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoder_layers": self.cut}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "cut": self.cut}

    @staticmethod
    def _unbuilt(state: Mapping[str, Any]) -> PairNetwork:
        layers, cut = state["layers"], state["cut"]
        return PairNetwork(layers[:cut], layers[cut:], state["dtype"], state["seed"], state.get("precision"))


def _left_by_mask(out: Array, ctx: PassContext) -> MaskedSteps | None:
    """Return the steps of outputs that the context's mask leaves; None if it leaves all."""
    return None if ctx.mask is None or out.ndim == 2 else MaskedSteps.of(ctx.mask, ctx.lengths, False)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the name of a chain before the number of a layer in an error."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_encoder(layers: Sequence[Layer]) -> None:
    recurrent = [layer for layer in layers if layer.state_shapes(1) is not None]
    if not recurrent or not all(isinstance(layer, LSTM) for layer in recurrent):
        raise ValueError(
            "the encoder has no LSTM layer, whose final states the decoder would begin with: put one in it"
        )


def _check_decoder(layers: Sequence[Layer]) -> None:
    table = layers[0]
    if not isinstance(table, Embedding):
        raise ValueError(
            f"the decoder begins with {table!r}, expected the table of the tokens that it gives and reads: "
            "fl.Embedding(number of tokens, size)"
        )
    if table.masks_steps:
        raise ValueError(
            "the decoder's Embedding has mask_token, which is for padding: leave it out, the lengths of the targets "
            "are known (target_lengths, or a list of sequences)"
        )
    recurrent = [layer for layer in layers if layer.state_shapes(1) is not None]
    if not recurrent or not all(isinstance(layer, LSTM) for layer in recurrent):
        raise ValueError("the decoder has no LSTM layer to continue from the encoder's states: put one in it")
    for index, layer in enumerate(layers):
        obstacle = layer.segment_obstacle()
        if obstacle:
            raise ValueError(f"decoder: layer {index} {obstacle}")
        if layer.masks_steps:
            raise ValueError(
                f"decoder: layer {index}, {layer!r}, masks steps, which a decoder has none of: leave it out, the "
                "lengths of the targets are known (target_lengths, or a list of sequences)"
            )
        if isinstance(layer, LSTM) and layer.learn_state:
            raise ValueError(
                f"decoder: layer {index} has learn_state=True, and begins with the encoder's states: leave it out"
            )


def _described(runs: Sequence[tuple[int, int, int]]) -> str:
    parts = [f"{count} LSTM layer{'s' * (count > 1)} of size {h if h == c else f'{h}, {c}'}" for h, c, count in runs]
    return " and ".join(parts)
