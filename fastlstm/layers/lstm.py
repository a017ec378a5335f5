"""The LSTM layer: stacked, one or two directions, over the kernels of one layer and one direction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _core
from .._checks import below_one, count, real
from .base import Array, Layer, LayerTape, ParameterSpec, Signal, Tape
from .seeds import mixed_seed

__all__ = ["LSTM"]


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

    def _walks(self) -> Iterator[tuple[int, int, str]]:
        """Layer, direction and suffix of the parameter names, in the order of the states."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield layer, direction, f"l{layer}" + ("_reverse" if direction else "")

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

        for layer, _, suffix in self._walks():
            inputs = self.input_size if layer == 0 else self.output_size
            yield ParameterSpec(f"weight_ih_{suffix}", (gates, inputs), uniform)
            yield ParameterSpec(f"weight_hh_{suffix}", (gates, self.hidden_size), uniform)
            if self.bias:
                yield ParameterSpec(f"bias_ih_{suffix}", (gates,), bias_ih)
                yield ParameterSpec(f"bias_hh_{suffix}", (gates,), bias_hh)

    def _passes(self, mine: LayerTape) -> list[_core.LSTMPass]:
        passes: list[_core.LSTMPass] | None = mine.saved.get("passes")
        if passes is None:
            passes = mine.saved["passes"] = [_core.LSTMPass() for _ in self._walks()]
        return passes

    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        batch, time, _ = x.shape
        hidden, directions = self.hidden_size, self.directions
        walks = self.num_layers * directions
        hn = mine.buffers.get("hn", (walks, batch, hidden), tape.dtype)
        cn = mine.buffers.get("cn", (walks, batch, hidden), tape.dtype)
        h0, c0 = mine.state_in or (None, None)
        passes = self._passes(mine)
        y: Array | None = None
        for k, (layer, direction, suffix) in enumerate(self._walks()):
            last_layer = layer == self.num_layers - 1
            if direction == 0:
                y = None
                if not last_layer or self.return_sequences:
                    y = mine.buffers.get(f"y{layer}", (batch, time, directions * hidden), tape.dtype)
            passes[k].forward(
                x,
                self.parameters[f"weight_ih_{suffix}"],
                self.parameters[f"weight_hh_{suffix}"],
                self.parameters.get(f"bias_ih_{suffix}"),
                self.parameters.get(f"bias_hh_{suffix}"),
                lengths=tape.lengths,
                h0=None if h0 is None else h0[k],
                c0=None if c0 is None else c0[k],
                y=None if y is None else y[:, :, direction * hidden : (direction + 1) * hidden],
                hn=hn[k],
                cn=cn[k],
                reverse=direction == 1,
                training=tape.training,
                frozen=tape.frozen,
                n_threads=tape.n_threads,
            )
            if direction == directions - 1 and not last_layer:
                assert y is not None
                if tape.training and self.dropout:
                    # In place: the backward pass of the layer below does not read its output.
                    _core.dropout(y, y, self.dropout, mixed_seed(mine.seed, layer), tape.n_threads)
                x = y
        mine.state_out = hn, cn
        mine.saved["time"] = time
        if y is not None:
            return y
        out = mine.buffers.get("out", (batch, directions * hidden), tape.dtype)
        for direction in range(directions):
            out[:, direction * hidden : (direction + 1) * hidden] = hn[walks - directions + direction]
        return out

    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        batch, time = len(dy), mine.saved["time"]
        hidden, directions = self.hidden_size, self.directions
        walks = self.num_layers * directions
        dhn = dcn = dh0 = dc0 = None
        if mine.d_state_out is not None:
            dhn, dcn = mine.d_state_out
        if not self.return_sequences:
            final = mine.buffers.get("dhn", (walks, batch, hidden), tape.dtype)
            if dhn is None:
                final[:] = 0
            else:
                final[:] = dhn
            for direction in range(directions):
                final[walks - directions + direction] += dy[:, direction * hidden : (direction + 1) * hidden]
            dhn = final
        if tape.want_d_state:
            dh0 = np.empty((walks, batch, hidden), tape.dtype)
            dc0 = np.empty((walks, batch, hidden), tape.dtype)
            mine.d_state_in = dh0, dc0
        passes = self._passes(mine)
        d_sequence: Array | None = dy if self.return_sequences else None
        for k, (layer, direction, suffix) in reversed(list(enumerate(self._walks()))):
            if direction == directions - 1:  # the first of the layer's directions to go back
                inputs = self.input_size if layer == 0 else self.output_size
                dx = None
                if layer > 0 or need_dx:
                    dx = mine.buffers.get(f"dx{layer % 2}", (batch, time, inputs), tape.dtype)
            passes[k].backward(
                dy=None if d_sequence is None else d_sequence[:, :, direction * hidden : (direction + 1) * hidden],
                dhn=None if dhn is None else dhn[k],
                dcn=None if dcn is None else dcn[k],
                dx=dx,
                dx_add=direction < directions - 1,
                dweight_ih=self.gradients[f"weight_ih_{suffix}"],
                dweight_hh=self.gradients[f"weight_hh_{suffix}"],
                dbias_ih=self.gradients.get(f"bias_ih_{suffix}"),
                dbias_hh=self.gradients.get(f"bias_hh_{suffix}"),
                dh0=None if dh0 is None else dh0[k],
                dc0=None if dc0 is None else dc0[k],
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
