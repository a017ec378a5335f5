"""The LSTM layer: stacked, one or two directions, over the kernels of one layer and one direction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._checks import below_one, count, real
from .base import Array, Layer, LayerTape, ParameterSpec, Signal, Tape
from .seeds import mixed_seed

__all__ = ["LSTM"]


class Walk(NamedTuple):
    """One layer in one direction, with the names of its parameters."""

    layer: int
    direction: int
    weight_ih: str
    weight_hh: str
    bias_ih: str
    bias_hh: str
    y: str
    """Name of the layer's output among the buffers."""
    dx: str
    """Name of the gradient of its input; that of the layer above is still read when it is written."""


class LSTM(Layer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    The arguments mean what they mean in ``torch.nn.LSTM``, and the parameters have its names and layout.

    Parameters
    ----------
    hidden_size : int
        Units of a layer and direction.
    num_layers : int, default 1
        Layers stacked on each other.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    dropout : float in [0, 1), default 0
        In training, the share of each layer's outputs, but for the last layer's, that is set to zero before the next
        layer reads them.
    bidirectional : bool, default False
        Adds a second direction that reads each series from its own end; the outputs stand side by side,
        forward first (Graves & Schmidhuber 2005).
    return_sequences : bool, default False
        Whether the output is that of every step, (batch, time, features), or only the final one, (batch, features):
        each direction's output at the end of its way. As in Keras.
    forget_bias : float or None, default 1.0
        Initial bias of the forget gate; 1 lets gradients through from the start (Gers et al. 2000, Jozefowicz et al.
        2015). None draws it like the other biases, as PyTorch does.

    Notes
    -----
    Parameters: ``weight_ih_l{k}`` (4 * hidden_size, input), ``weight_hh_l{k}`` (4 * hidden_size, hidden_size),
    ``bias_ih_l{k}``, ``bias_hh_l{k}`` (4 * hidden_size), with the suffix ``_reverse`` for the second direction; gates
    in the order i, f, g, o. They start uniform in +-1/sqrt(hidden_size).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    reads_padding = False

    def __init__(
        self,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = False,
        forget_bias: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.hidden_size = count("hidden_size", hidden_size)
        self.num_layers = count("num_layers", num_layers)
        self.bias = bool(bias)
        self.dropout = below_one("dropout", dropout)
        self.bidirectional = bool(bidirectional)
        self.return_sequences = bool(return_sequences)
        self.forget_bias = None if forget_bias is None else real("forget_bias", forget_bias)
        self.input_size = 0
        self.draws = self.dropout > 0
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                "dropout of an LSTM acts between its layers and num_layers is 1: put a fl.Dropout after it instead"
            )

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Features of the output: hidden_size times the directions."""
        return self.hidden_size * self.directions

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("an LSTM reads numbers and gets token ids: put a fl.Embedding before it")
        if not signal.per_step:
            raise ValueError(
                "an LSTM reads (batch, time, features) and gets (batch, features): "
                "set return_sequences=True in the LSTM before it"
            )
        self.input_size = signal.features
        return Signal(self.output_size, self.return_sequences)

    def _each_walk(self) -> Iterator[Walk]:
        """In the order of the states. One by one: a file may ask for any number of layers."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                suffix = f"l{layer}" + ("_reverse" if direction else "")
                weight_ih, weight_hh, bias_ih, bias_hh = (
                    f"{name}_{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
                yield Walk(layer, direction, weight_ih, weight_hh, bias_ih, bias_hh, f"y{layer}", f"dx{layer % 2}")

    @cached_property
    def _walks(self) -> list[Walk]:
        """The same as a list, for the passes."""
        return list(self._each_walk())

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        gates = 4 * self.hidden_size
        bound = 1 / math.sqrt(self.hidden_size)

        def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
            return rng.uniform(-bound, bound, shape)

        def with_forget(value: float | None, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
            bias = uniform(rng, shape)
            if value is not None:
                bias[self.hidden_size : 2 * self.hidden_size] = value
            return bias

        def bias_ih(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
            return with_forget(self.forget_bias, rng, shape)

        def bias_hh(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
            return with_forget(None if self.forget_bias is None else 0.0, rng, shape)

        for walk in self._each_walk():
            inputs = self.input_size if walk.layer == 0 else self.output_size
            yield ParameterSpec(walk.weight_ih, (gates, inputs), uniform)
            yield ParameterSpec(walk.weight_hh, (gates, self.hidden_size), uniform)
            if self.bias:
                yield ParameterSpec(walk.bias_ih, (gates,), bias_ih)
                yield ParameterSpec(walk.bias_hh, (gates,), bias_hh)

    def _passes(self, mine: LayerTape) -> list[_core.LSTMPass]:
        passes: list[_core.LSTMPass] | None = mine.saved.get("passes")
        if passes is None:
            passes = mine.saved["passes"] = [_core.LSTMPass() for _ in self._walks]
        return passes

    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        batch, time, _ = x.shape
        hidden, directions, parameters = self.hidden_size, self.directions, self.parameters
        top = self.num_layers - 1
        states = (len(self._walks), batch, hidden)
        hn, hn_rows = mine.buffers.rows("hn", states, tape.dtype)
        cn, cn_rows = mine.buffers.rows("cn", states, tape.dtype)
        h0, c0 = mine.state_in or (None, None)
        y: Array | None = None
        for k, (walk, lstm) in enumerate(zip(self._walks, self._passes(mine), strict=True)):
            layer, direction = walk.layer, walk.direction
            if direction == 0:
                y = None
                if layer < top or self.return_sequences:
                    y = mine.buffers.get(walk.y, (batch, time, directions * hidden), tape.dtype)
            lstm.forward(
                x,
                parameters[walk.weight_ih],
                parameters[walk.weight_hh],
                parameters.get(walk.bias_ih),
                parameters.get(walk.bias_hh),
                lengths=tape.lengths,
                h0=None if h0 is None else h0[k],
                c0=None if c0 is None else c0[k],
                y=y if y is None or directions == 1 else self._half(y, direction),
                hn=hn_rows[k],
                cn=cn_rows[k],
                reverse=direction == 1,
                training=tape.training,
                checkpoint_every=tape.checkpoint_every,
                frozen=tape.frozen,
                n_threads=tape.n_threads,
            )
            if direction == directions - 1 and layer < top:
                assert y is not None
                if tape.training and self.dropout:
                    # In place: the backward pass of the layer below does not read its output.
                    _core.dropout(y, y, self.dropout, mixed_seed(mine.seed, layer), tape.n_threads)
                x = y
        mine.state_out = hn, cn
        mine.saved["time"] = time
        if y is not None:
            return y
        if directions == 1:
            return hn_rows[-1]
        out = mine.buffers.get("out", (batch, directions * hidden), tape.dtype)
        np.concatenate(hn_rows[-directions:], axis=1, out=out)
        return out

    def _half(self, array: Array, direction: int) -> Array:
        """What belongs to one direction of an array (..., directions * hidden_size)."""
        return array[..., direction * self.hidden_size : (direction + 1) * self.hidden_size]

    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        batch, time = len(dy), mine.saved["time"]
        directions, gradients = self.directions, self.gradients
        states = (len(self._walks), batch, self.hidden_size)
        # Gradients of the final states, one for each walk; None: zeros.
        dhn: list[Array | None] = [None] * len(self._walks)
        dcn, dh0, dc0 = dhn, dhn, dhn
        if mine.d_state_out is not None:
            dhn, dcn = list(mine.d_state_out[0]), list(mine.d_state_out[1])
        if not self.return_sequences:
            # Where only the final output is used, its gradient comes in by the final state of the top layer.
            _, final = mine.buffers.rows("dhn", (directions, batch, self.hidden_size), tape.dtype)
            for k, into in enumerate(final, start=len(dhn) - directions):
                part, given = self._half(dy, k % directions), dhn[k]
                if given is None:
                    np.copyto(into, part)
                else:
                    np.add(given, part, out=into)
            dhn = [*dhn[:-directions], *final]
        if tape.want_d_state:
            mine.d_state_in = np.empty(states, tape.dtype), np.empty(states, tape.dtype)
            dh0, dc0 = list(mine.d_state_in[0]), list(mine.d_state_in[1])
        passes = self._passes(mine)
        d_sequence: Array | None = dy if self.return_sequences else None
        dx: Array | None = None
        for k in reversed(range(len(passes))):
            walk = self._walks[k]
            layer, direction = walk.layer, walk.direction
            if direction == directions - 1:  # the first of the layer's directions to go back
                inputs = self.input_size if layer == 0 else self.output_size
                wanted = layer > 0 or need_dx
                dx = mine.buffers.get(walk.dx, (batch, time, inputs), tape.dtype) if wanted else None
            passes[k].backward(
                dy=d_sequence if d_sequence is None or directions == 1 else self._half(d_sequence, direction),
                dhn=dhn[k],
                dcn=dcn[k],
                dx=dx,
                dx_add=direction < directions - 1,
                dweight_ih=gradients[walk.weight_ih],
                dweight_hh=gradients[walk.weight_hh],
                dbias_ih=gradients.get(walk.bias_ih),
                dbias_hh=gradients.get(walk.bias_hh),
                dh0=dh0[k],
                dc0=dc0[k],
                n_threads=tape.n_threads,
            )
            if direction == 0 and layer > 0:
                assert dx is not None
                if self.dropout:
                    _core.dropout(dx, dx, self.dropout, mixed_seed(mine.seed, layer - 1), tape.n_threads)
                d_sequence = dx
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
            "forget_bias": self.forget_bias,
        }
