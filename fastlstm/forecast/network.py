"""The network of a forecaster: an encoder that reads the past, and a head that answers for each step of the horizon.

The head is that of MQ-RNN (Wen, Torkkola, Narayanaswamy & Madeka 2017, A multi-horizon quantile recurrent forecaster):
a common part turns the state at the origin into a context for each step of the horizon and one for all steps; a local
part, the same for all steps, turns these and what is known in advance of the step into quantiles. The common part is
linear, without the ReLU of the paper (power factor of the steel works, validation part, mean absolute error one step
ahead: 0.0193, with the ReLU 0.0203).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _exact
from .._typing import Array, State
from ..inference.quantizing import QuantizationReport, quantize_networks
from ..layers import Activation, Dense, Layer
from ..model import Model
from ..optimizers import TrainingKey
from ..runtime.buffers import ThreadBuffers

__all__ = ["Encoded", "ForecastNetwork", "Widths"]

_HEAD_ROWS = 32768
"""Steps of horizons that the head computes at a time, which bounds its memory."""


class Widths(NamedTuple):
    """Sizes of a network's parts."""

    inputs: int
    """Inputs of each step of the past."""
    horizon: int
    ahead: int
    """Inputs of each step of the horizon."""
    quantiles: int
    per_step: int
    """Numbers of the context of each step of the horizon."""
    common: int
    """Numbers of the context of all steps."""
    local: int
    """Units of the local part."""
    gate: int | None = None
    """Number of that input of a step of the horizon of which a share is added, see `ForecastNetwork.gated`."""


class Encoded(NamedTuple):
    """What the encoder makes of a piece of series."""

    out: Array
    """(batch, steps, features)."""
    states: list[State]
    """At the end of the piece."""


class ForecastNetwork:
    """Encoder, common part and local part, and their parameters as one vector.

    Parameters
    ----------
    layers : sequence of Layer
        Layers of the encoder, with an output at each step.
    widths : Widths
    seed : int
        Of the initial weights and of dropout.
    precision : str, default "float32"
        As in `Model`.

    Attributes
    ----------
    flat_parameters, flat_gradients : ndarray, (n,)
        Those of all parts, as an optimizer updates them.
    direct : bool
        Whether the first number of the context of a step is added to its quantiles; in old files it is not.
    shares : ndarray, (horizon,)
        Share of the last value from which each step of the horizon starts, see `gated`.
    """

    def __init__(self, layers: Sequence[Layer], widths: Widths, seed: int, precision: str = "float32") -> None:
        self.widths: Widths = widths
        encoder = Model(layers, input_size=widths.inputs, precision=precision, seed=seed)
        if not encoder.per_step:
            raise ValueError("the last layer must have an output at each step: give it return_sequences=True")
        for index, layer in enumerate(layers):
            if layer.segment_obstacle():
                raise ValueError(f"layer {index} {layer.segment_obstacle()}")
        contexts = widths.horizon * widths.per_step + widths.common
        common = Model([Dense(contexts)], input_size=encoder.output_size + widths.inputs, seed=seed + 1)
        # The part of each step that is added to its quantiles starts from zero, so that the naive forecast does.
        weights = common.flat_parameters[: contexts * (common.input_size or 0)].reshape(contexts, -1)
        weights[: widths.horizon * widths.per_step : widths.per_step] = 0.0
        local = Model(
            [
                Dense(widths.local),
                Activation("relu"),
                Dense(_outputs(widths)),
            ],
            input_size=widths.per_step + widths.common + widths.ahead,
            seed=seed + 2,
        )
        self.set_parts((encoder, common, local))

    @classmethod
    def of_parts(cls, parts: tuple[Model, Model, Model], widths: Widths) -> ForecastNetwork:
        """Return the network of parts that exist; ValueError if they do not have these sizes."""
        outputs = parts[0].output_size
        size = outputs + widths.inputs
        expected = (
            (widths.inputs, outputs),
            (size, widths.horizon * widths.per_step + widths.common),
            (widths.per_step + widths.common + widths.ahead, _outputs(widths)),
        )
        for name, part, sizes in zip(("encoder", "common", "local"), parts, expected, strict=True):
            if (part.input_size, part.output_size) != sizes or not part.per_step or part.scaler or part.target_scaler:
                raise ValueError(
                    f"the {name} has {part.input_size} inputs and {part.output_size} outputs, expected {sizes[0]} and "
                    f"{sizes[1]} at each step"
                )
        network = cls.__new__(cls)
        network.widths = widths
        network.set_parts(parts)
        return network

    def set_parts(self, parts: tuple[Model, Model, Model]) -> None:
        """Replace the three parts by others of the same sizes; the shares are those of no data."""
        self.encoder, self.common, self.local = parts
        self.direct = True
        self.shares: Array = np.full(self.widths.horizon, 0.5, self.encoder.dtype)
        self.training_key = TrainingKey()
        self.flat_parameters = np.concatenate([part.flat_parameters for part in parts])
        self.flat_gradients = np.zeros_like(self.flat_parameters)
        self._buffers = ThreadBuffers()
        self._share_slope: Array | None = None

    @property
    def parts(self) -> tuple[Model, Model, Model]:
        """The three models."""
        return self.encoder, self.common, self.local

    @property
    def context_size(self) -> int:
        """Number of inputs of the head at an origin: the encoder's output and the inputs of the step."""
        return self.encoder.output_size + self.widths.inputs

    @property
    def encoder_cost(self) -> int:
        """Number of weights that a step of the encoder reads."""
        return self.encoder.flat_parameters.size

    @property
    def head_cost(self) -> int:
        """Number of weights that the head reads for an origin, counted for each step of the horizon."""
        return self.common.flat_parameters.size + self.widths.horizon * self.local.flat_parameters.size

    # ------------------------------------------------------------------------------------ parameters

    def scatter(self) -> None:
        """Copy the vector of all parameters into the parts."""
        at = 0
        for part in self.parts:
            size = part.flat_parameters.size
            part.flat_parameters[:] = self.flat_parameters[at : at + size]
            at += size

    def gather_gradients(self) -> None:
        """Copy the gradients of the parts into the vector of all gradients."""
        np.concatenate([part.flat_gradients for part in self.parts], out=self.flat_gradients)

    def zero_gradients(self) -> None:
        """Set the gradients of the parts to zero."""
        for part in self.parts:
            part.zero_grad()

    @property
    def passes(self) -> list[int]:
        """Numbers of training passes of the parts, on which the masks of dropout depend; they can be set."""
        return [part.network.passes for part in self.parts]

    @passes.setter
    def passes(self, values: Sequence[int]) -> None:
        for part, value in zip(self.parts, values, strict=True):
            part.network.passes = value

    # ------------------------------------------------------------------------------------ weights of 8 bits

    @property
    def quantized(self) -> bool:
        """Whether layers have weights of 8 bits."""
        return any(part.quantized for part in self.parts)

    def quantize(self, predict: Callable[[], Any] | None, skip: Sequence[int] | int) -> QuantizationReport:
        """Give the parts weights of 8 bits, as `quantize_networks` does."""
        networks = [part.network for part in self.parts]
        report = quantize_networks(networks, predict, skip, names=("encoder", "common part", "local part"))
        np.concatenate([part.flat_parameters for part in self.parts], out=self.flat_parameters)
        return report

    # ------------------------------------------------------------------------------------ passes

    def encode(
        self,
        x: Array,
        lengths: Array | None = None,
        states: list[State] | None = None,
        training: bool = False,
        n_threads: int | None = None,
        first_row: int = 0,
    ) -> Encoded:
        """Return the encoder's outputs for x (batch, steps, inputs), a buffer that the next pass overwrites.

        `first_row` is the number of the first row of x in the batch of which it is a part.
        """
        network = self.encoder.network
        out = network.forward_from(states, x, lengths, training, n_threads, first_row=first_row)
        return Encoded(out, network.final_states(training))

    def answers(self, context: Array, ahead: Array, n_threads: int | None = None) -> Array:
        """Return quantiles (n, horizon, quantiles) for contexts (n, context_size) and inputs (n, horizon, ahead)."""
        per_call = max(1, _HEAD_ROWS // self.widths.horizon)
        result = np.empty((len(context), self.widths.horizon, self.widths.quantiles), context.dtype)
        for start in range(0, len(context), per_call):
            rows = slice(start, start + per_call)
            result[rows] = self.head(context[rows], ahead[rows], False, n_threads)
        return result

    def head(self, context: Array, ahead: Array, training: bool, n_threads: int | None = None) -> Array:
        """Return what `answers` does, at once, as a buffer that the next pass overwrites."""
        n, width = len(context), self.widths
        contexts = self.common.network.forward(context[:, None], None, training, n_threads)[:, 0]
        x = self._buffers.get("local", (n, width.horizon, self.local.input_size or 0), context.dtype)
        per_step = width.horizon * width.per_step
        x[:, :, : width.per_step] = contexts[:, :per_step].reshape(n, width.horizon, width.per_step)
        x[:, :, width.per_step : width.per_step + width.common] = contexts[:, None, per_step:]
        x[:, :, width.per_step + width.common :] = ahead
        answers, self._share_slope = self.gated(self.local.network.forward(x, None, training, n_threads), ahead)
        if self.direct:
            answers = answers + x[:, :, :1]
        return answers

    def gated(self, raw: Array, ahead: Array) -> tuple[Array, Array | None]:
        """Return quantiles for the outputs of the local part, and what its backward pass needs.

        The last output z says which share ``min(max(s + z / 4, 0), 1)`` of the last value, relative to the seasonal
        naive forecast, is added to all quantiles: for each step the network chooses between what is now and what was a
        season ago, and reaches both exactly. It starts from s, one of `shares`.
        """
        place = self.widths.gate
        if place is None:
            return raw, None
        difference = ahead[:, :, place]
        share = raw[:, :, -1] * 0.25 + self.shares
        inside = (share > 0) & (share < 1)
        added = np.clip(share, 0, 1) * difference
        return raw[:, :, :-1] + added[:, :, None], np.where(inside, 0.25 * difference, 0).astype(raw.dtype)

    def head_backward(self, gradient: Array) -> Array:
        """Add the gradients of the head's last training pass; return that of the encoder's outputs."""
        n, width = len(gradient), self.widths
        shift = _exact.row_sums(gradient).astype(gradient.dtype)
        if self._share_slope is not None:
            gradient = np.concatenate([gradient, (shift * self._share_slope)[:, :, None]], axis=2)
        dx = self.local.network.backward(gradient, need_dx=True)
        assert dx is not None
        d_contexts = self._buffers.get("d_contexts", (n, 1, self.common.output_size), gradient.dtype)
        per_step = width.horizon * width.per_step
        d_contexts[:, 0, :per_step] = dx[:, :, : width.per_step].reshape(n, per_step)
        if self.direct:
            d_contexts[:, 0, : per_step : width.per_step] += shift
        dx[:, :, width.per_step : width.per_step + width.common].sum(axis=1, out=d_contexts[:, 0, per_step:])
        d_context = self.common.network.backward(d_contexts, need_dx=True)
        assert d_context is not None
        return d_context[:, 0, : self.encoder.output_size]

    # ------------------------------------------------------------------------------------ files

    def tensors(self) -> dict[str, Array]:
        """Return the parameters of the parts by name."""
        names = ("encoder", "common", "local")
        return {
            f"{name}.{key}": value
            for name, part in zip(names, self.parts, strict=True)
            for key, value in part.saved_tensors().items()
        }


def _outputs(widths: Widths) -> int:
    """Return the number of outputs of the local part."""
    return widths.quantiles + (widths.gate is not None)
