"""Layer that computes other layers for each step by itself, as for a short series."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import count, short_repr
from .._draws import mixed_seed
from .._typing import Array
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .frames import frame_stages
from .registry import layer_config, layer_from_config, register
from .stack import connect, stack_parameters
from .stages import Stage

__all__ = ["TimeDistributed"]


@register
class TimeDistributed(Layer):
    """Compute layers for each step by itself: from (batch, time, steps * k) to (batch, time, outputs).

    The features of each step are a short series, (steps, k), step by step: a frame of sound, a day of a year, a group
    of readings. The layers read it as they read any series, and what they give is the step's new features, flattened if
    there are several steps left. So a series of frames is read as it comes, frame by frame: a model with convolutions
    over a frame and an LSTM over the frames streams, and carries its state from frame to frame. Keras has a layer of
    this name.

    Masked steps, and steps beyond the `lengths`, are not computed; their outputs are 0.

    Parameters
    ----------
    layers : sequence of Layer
        They read numbers.
    steps : int, optional
        Number of steps in which a step is divided; by default one for each feature.

    Raises
    ------
    TypeError, ValueError
        If layers is empty or holds anything else. When the model is built, if the layer's input is token ids or has no
        time axis, the features cannot be divided, or the layers do not fit each other.

    Examples
    --------
    Frames of 160 samples, from each of which a convolution makes four steps, and these 4 * 8 features:

    >>> import fastlstm as fl
    >>> frame = fl.TimeDistributed([fl.Conv1D(8, 40, stride=40, activation="relu")])
    >>> model = fl.Model([frame, fl.LSTM(16, return_sequences=True), fl.Dense(1)], input_size=160)
    >>> model.layers[0].output_size
    32
    """

    def __init__(self, layers: Sequence[Layer | Mapping[str, Any]], steps: int | None = None) -> None:
        if not isinstance(layers, (list, tuple)):
            raise TypeError(f"layers is {short_repr(layers)}, expected a list of layers")
        self.layers = [_layer(one) for one in layers]
        if not self.layers:
            raise ValueError("layers is empty, expected one layer or more")
        super().__init__()
        self.steps = None if steps is None else count("steps", steps, bits=31)
        self.is_stochastic = any(layer.is_stochastic for layer in self.layers)
        self.output_size = 0
        self._shape = (0, 0)
        self._after: tuple[int, ...] = ()

    # ------------------------------------------------------------------------------------ parameters

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters of the layers, each with the number of its layer."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: dict[str, Array]) -> None:
        self._parameters = values
        for index, layer in enumerate(self.layers):
            layer.parameters = _of_layer(values, index)

    @property
    def gradients(self) -> dict[str, Array]:
        """Their gradients."""
        return self._gradients

    @gradients.setter
    def gradients(self, values: dict[str, Array]) -> None:
        self._gradients = values
        for index, layer in enumerate(self.layers):
            layer.gradients = _of_layer(values, index)

    @property
    def bfloat16(self) -> bool:
        """Whether the layers round the operands of matrix products."""
        return any(layer.bfloat16 for layer in self.layers)

    @bfloat16.setter
    def bfloat16(self, value: bool) -> None:
        for layer in self.layers:
            layer.bfloat16 = value

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        for _, name, spec in stack_parameters(self.layers):
            yield spec._replace(name=name)

    def untrained(self) -> Collection[str]:
        if not self.trainable:
            return super().untrained()
        return {f"{index}.{name}" for index, layer in enumerate(self.layers) for name in layer.untrained()}

    # ------------------------------------------------------------------------------------ passes

    def build(self, signal: Signal) -> Signal:
        signal.require_steps(self)
        steps = signal.features if self.steps is None else self.steps
        if signal.features % steps:
            raise ValueError(
                f"TimeDistributed divides each step in {steps} steps, and gets {signal.features} features, which "
                "cannot be divided so"
            )
        self._shape = steps, signal.features // steps
        inner = connect(self.layers, self._shape[1], steps=steps)
        last = inner[-1]
        self._after = (last.steps or 1, last.features) if last.per_step else (last.features,)
        self.output_size = math.prod(self._after)
        return signal._replace(features=self.output_size, taps=signal.taps)

    def _valid(self, x: Array, ctx: PassContext) -> Array | None:
        """Return which steps to compute, (batch, time); None: all."""
        valid = None if ctx.lengths is None else np.arange(x.shape[1]) < ctx.lengths[:, None]
        if ctx.mask is None:
            return valid
        return ctx.mask if valid is None else valid & ctx.mask

    def _context(self, time: int, ctx: PassContext, cache: LayerCache) -> PassContext:
        name = "training" if ctx.training else "inference"
        inner: PassContext | None = cache.saved.get(name)
        if inner is None:
            inner = cache.saved[name] = PassContext(len(self.layers), ctx.dtype, ctx.training)
        inner.packed, inner.n_threads, inner.recompute_every = ctx.packed, ctx.n_threads, ctx.recompute_every
        inner.trainable = ctx.trainable and self.trainable
        inner.lengths = inner.mask = None
        # Exact if all steps are computed. Otherwise the steps before it that are not computed leave numbers unused.
        inner.first_row = ctx.first_row * time
        return inner

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        batch, time = x.shape[:2]
        inner, valid = self._context(time, ctx, cache), self._valid(x, ctx)
        frames = x if valid is None else x[valid]
        frames = np.ascontiguousarray(frames).reshape(-1, *self._shape)
        cache.saved["valid"] = valid
        y = cache.buffers.get("y", (batch, time, self.output_size), ctx.dtype)
        if len(frames) == 0:
            y.fill(0)
            return y
        for index, (layer, of_layer) in enumerate(zip(self.layers, inner.layers, strict=True)):
            if ctx.training and layer.is_stochastic:
                of_layer.seed = mixed_seed(cache.seed, index)
            frames = layer.forward(frames, inner, of_layer)
        if valid is None:
            np.copyto(y, frames.reshape(y.shape))
        else:
            y.fill(0)
            y[valid] = frames.reshape(len(frames), -1)
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        valid: Array | None = cache.saved["valid"]
        inner = self._context(dy.shape[1], ctx, cache)
        d_frames = dy if valid is None else dy[valid]
        d_frames = np.ascontiguousarray(d_frames).reshape(-1, *self._after)
        features = math.prod(self._shape)
        gradient: Array | None = d_frames
        if len(d_frames):
            lowest = 0 if need_dx or not self.trainable else self._lowest()
            for index in reversed(range(lowest, len(self.layers))):
                assert gradient is not None
                wanted = need_dx or index > lowest
                layer = self.layers[index]
                gradient = layer.backward(gradient, inner, inner.layers[index], wanted)
                if not layer.trainable:
                    layer.zero_gradients()  # of a user's layer, which adds to them all the same
        if not need_dx:
            return None
        dx = cache.buffers.get("dx", (*dy.shape[:2], features), ctx.dtype)
        if valid is not None or gradient is None or not len(d_frames):
            dx.fill(0)
        if len(d_frames) and gradient is not None:
            if valid is None:
                np.copyto(dx, gradient.reshape(dx.shape))
            else:
                dx[valid] = gradient.reshape(len(d_frames), features)
        return dx

    def _lowest(self) -> int:
        """Return the number of the first layer with parameters, below which no gradient is needed."""
        return next((k for k, layer in enumerate(self.layers) if layer.parameters), len(self.layers) - 1)

    def shard_obstacle(self) -> str | None:
        inner = (layer.shard_obstacle() for layer in self.layers) if self.trainable else ()
        return next((f"holds a layer that {obstacle}" for obstacle in inner if obstacle is not None), None)

    # ------------------------------------------------------------------------------------ files and streams

    def stages(self) -> list[Stage]:
        return frame_stages(self, self.layers, *self._shape)

    def get_config(self) -> dict[str, Any]:
        return {"layers": [layer_config(layer) for layer in self.layers], "steps": self.steps}

    def __repr__(self) -> str:
        return f"TimeDistributed({self.layers!r}{'' if self.steps is None else f', steps={self.steps}'})"


def _of_layer(values: Mapping[str, Array], index: int) -> dict[str, Array]:
    prefix = f"{index}."
    return {name.removeprefix(prefix): array for name, array in values.items() if name.startswith(prefix)}


def _layer(given: Any) -> Layer:
    """Return a layer, also of its description in a file."""
    layer = layer_from_config(given) if isinstance(given, Mapping) else given
    if not isinstance(layer, Layer):
        raise TypeError(f"layers holds {short_repr(given)}, expected a layer such as fl.Conv1D(8, 3)")
    if layer.takes_tokens or layer.masks_steps:
        raise ValueError(f"layers holds {layer!r}, which cannot stand within a step: put it before TimeDistributed")
    return layer
