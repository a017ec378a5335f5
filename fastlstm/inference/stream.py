"""Models fed as the data come in: one step at a time, or block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._arrays import as_array
from .._checks import count
from .._typing import Array, State
from ..activations import TANH, as_activation
from ..data import Standardizer
from ..layers import (
    LSTM,
    Activation,
    AttentionPool,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    LastStep,
    Layer,
    Masking,
    Pool,
)
from ..layers.states import checked_states
from ..protocols import InferenceModel
from ..runtime.config import resolve_threads

__all__ = ["MaskedStream", "Stream", "new_stream"]

IDENTITY = as_activation("identity", "affine")
PASSING = (Dropout, GaussianNoise, LastStep, Masking)
"""Layers that a step passes unchanged."""


def _stages(layer: Layer) -> int:
    """How many steps of computation a layer is at most."""
    return layer.num_layers if isinstance(layer, LSTM) else 4 if isinstance(layer, AttentionPool) else 1


class Stream(_core.Stream):
    """A model that remembers where its series are; made by `Model.stream`.

    Each `step` or `run` goes on where the last one ended, and gives, bit for bit, what the model gives for the whole
    series up to there. The weights, packed once, and the scalers are those that the model had when the stream was made.
    A step takes raw data where the model has a scaler, and allocates nothing. One thread at a time may use a stream.

    Attributes
    ----------
    batch_size : int
        Series side by side.
    state : list of (h, c)
        Copies of the states, one pair for each LSTM layer object, each (num_layers, batch_size, hidden_size), and for
        each pooling layer but `LastStep`, whose pair is what it has summed and counted so far. May be set.
    """

    def __init__(self, model: InferenceModel, batch_size: int = 1, n_threads: int | None = None) -> None:
        network = model.network
        network.require_built()
        self.batch_size = count("batch_size", batch_size, bits=31)
        self._depths: list[int] = []
        self._starts: list[tuple[Array | float, Array | float]] = []
        for index, layer in enumerate(network.layers):
            if layer.streaming_obstacle():
                raise ValueError(f"layer {index} {layer.streaming_obstacle()}, or predict on blocks")
            if not isinstance(layer, (LSTM, Activation, Dense, Dropout, Embedding, GaussianNoise, Masking, Pool)):
                raise TypeError(f"layer {index}, {layer!r}, cannot be streamed")
        self._begin(self.batch_size, network.dtype, sum(map(_stages, network.layers)) + 3, resolve_threads(n_threads))
        if model.scaler is not None:
            self._add_scaler(model.scaler, network.input_size or 0, inverse=False)
        for layer in network.layers:
            # Frozen parameters stay what they are without a copy, whatever becomes of the model.
            own = (
                layer.parameters
                if network.parameters.frozen
                else {name: p.copy() for name, p in layer.parameters.items()}
            )
            if isinstance(layer, LSTM):
                self._depths.append(layer.num_layers)
                for k in range(layer.num_layers):
                    names = (f"{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0", "c0"))
                    weight_ih, weight_hh, bias_ih, bias_hh, h0, c0 = (own.get(name) for name in names)
                    assert weight_ih is not None and weight_hh is not None
                    sizes = layer.state_size, layer.hidden_size
                    h, c = (np.zeros((self.batch_size, size), network.dtype) for size in sizes)
                    residual, more = layer.residual and k > 0, layer.more(own, f"_l{k}")
                    self._add_lstm(weight_ih, weight_hh, bias_ih, bias_hh, h, c, residual, layer.kernel_cell, more)
                    self._starts.append((0.0 if h0 is None else h0, 0.0 if c0 is None else c0))
            elif isinstance(layer, Dense):
                self._add_dense(own["weight"], own.get("bias"))
            elif isinstance(layer, Pool) and not isinstance(layer, LastStep):  # each step is the last one so far
                self._add_pooling(layer, own)
            elif isinstance(layer, Activation):
                if layer.function is None:
                    self._add_softmax(layer.size)
                else:
                    self._add_activation(layer.function.number, layer.function.alpha, layer.function.beta, layer.size)
            elif isinstance(layer, Embedding):
                self._add_embedding(own["weight"])
        if not self._depths and all(isinstance(layer, PASSING) for layer in network.layers):
            self._add_activation(IDENTITY.number, IDENTITY.alpha, IDENTITY.beta, network.output_size)
        if model.target_scaler is not None:
            self._add_scaler(model.target_scaler, network.output_size, inverse=True)
        self._end()
        self.reset()

    def _add_pooling(self, layer: Pool, own: dict[str, Array]) -> None:
        sums, counts = (np.zeros((self.batch_size, n)) for n in (layer.size, _core.POOL_COUNTS))
        if isinstance(layer, AttentionPool):
            self._add_dense(own["weight"], own["bias"])
            self._add_activation(TANH.number, 0.0, 0.0, layer.attention_size)
            self._add_dense(own["vector"].reshape(1, -1), None)
        self._add_pool(layer.kind, layer.size, sums, counts, 3 if isinstance(layer, AttentionPool) else 0)
        self._depths.append(1)
        self._starts.append((0.0, 0.0))

    def _add_scaler(self, scaler: Standardizer, width: int, inverse: bool) -> None:
        # One mean for all outputs stands for each of them, as in Model.predict.
        mean, scale = (
            np.array(np.broadcast_to(np.asarray(value, np.float64).reshape(-1), width))
            for value in (scaler.mean_, scaler.scale_)
        )
        self._add_scaling(mean, scale, width, inverse)

    @property
    def state(self) -> list[State]:
        """Copies of the states, one pair for each layer that has one."""
        pairs = iter(self.states)
        result = []
        for depth in self._depths:
            layers = [next(pairs) for _ in range(depth)]
            result.append((np.stack([h for h, _ in layers]), np.stack([c for _, c in layers])))
        return result

    @state.setter
    def state(self, value: Sequence[State]) -> None:
        expected = [(h.shape, c.shape, h.dtype) for h, c in self.state]
        pairs = checked_states(value, expected, "layers with a state")
        new = [layer for pair in pairs for layer in zip(*pair, strict=True)]
        for (h, c), (new_h, new_c) in zip(self.states, new, strict=True):
            h[:], c[:] = new_h, new_c

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Begins new series: sets the states to zero, or to what the layers have learnt (``learn_state``).

        Parameters
        ----------
        rows : int array or boolean mask, optional
            Which of the series; all by default.

        Raises
        ------
        ValueError
            If there is no such series. No state has changed.
        """
        chosen: Any = slice(None)
        if rows is not None:
            chosen = as_array(rows, "rows")
            mask = chosen.dtype == bool and chosen.shape == (self.batch_size,)
            index = chosen.ndim < 2 and chosen.dtype.kind in "iu"
            index = index and bool(((chosen >= -self.batch_size) & (chosen < self.batch_size)).all())
            if chosen.ndim > 1 or not (mask or index or chosen.size == 0):
                raise ValueError(
                    f"rows holds {chosen!r:.200}, expected numbers of series from 0 to {self.batch_size - 1}, or "
                    f"{self.batch_size} booleans"
                )
            if chosen.size == 0:
                return
        for (h, c), (h0, c0) in zip(self.states, self._starts, strict=True):
            h[chosen] = h0
            c[chosen] = c0


class MaskedStream(Stream):
    """A stream of a model whose layers skip steps: it is fed only those that count, and says so where one does not."""

    def __init__(self, model: InferenceModel, batch_size: int = 1, n_threads: int | None = None) -> None:
        super().__init__(model, batch_size, n_threads)
        network = model.network
        self._dtype = network.dtype
        self._checks: list[Masking | Embedding] = []
        for index, layer in enumerate(network.layers):
            if isinstance(layer, Embedding) and layer.mask_token is not None:
                self._checks.append(layer)
            elif isinstance(layer, Masking):
                if model.scaler is not None or not all(
                    isinstance(before, PASSING) for before in network.layers[:index]
                ):
                    raise ValueError(
                        f"layer {index}, {layer!r}, sees what a scaler or other layers have made of a step, and a "
                        "stream cannot tell whether that is to be skipped: leave the layer out, or predict on blocks"
                    )
                self._checks.append(layer)

    def step(self, x: npt.ArrayLike) -> Array:
        return super().step(self._checked_steps(x))

    def run(self, x: npt.ArrayLike) -> Array:
        return super().run(self._checked_steps(x))

    def _checked_steps(self, x: npt.ArrayLike) -> npt.ArrayLike:
        array = np.asarray(x)
        for layer in self._checks:
            if isinstance(layer, Masking):
                counts = layer.counts(array.astype(self._dtype)) if array.ndim else np.ones((), bool)
            else:
                counts = array != layer.mask_token
            if not counts.all():
                raise ValueError(
                    f"x has a step that {layer!r} skips: leave it out, the answer of the step before stands for it"
                )
        return x


def new_stream(model: InferenceModel, batch_size: int, n_threads: int | None) -> Stream:
    """The work of `Model.stream`."""
    skipping = any(isinstance(k, Masking) or getattr(k, "mask_token", None) is not None for k in model.network.layers)
    return (MaskedStream if skipping else Stream)(model, batch_size, n_threads)
