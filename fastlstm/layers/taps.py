"""Layers that join the output of an earlier layer: a `Tap` names it, a `Merge` reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import short_repr
from .._typing import Array
from .base import Layer, Signal
from .context import LayerCache, PassContext
from .registry import register
from .stages import Stage

__all__ = ["Merge", "Tap"]

_MODES = ("multiply", "add", "concat")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name is {short_repr(name)}, expected a string")
    if not name:
        raise ValueError("name is empty, expected a name such as 'input'")
    return name


@register
class Tap(Layer):
    """Name the data at this place, so that a later `Merge` can read them. The layer changes nothing.

    Parameters
    ----------
    name : str
        A name that no other Tap of the model has.

    Raises
    ------
    TypeError, ValueError
        If name is not a string, or empty. When the model is built, if the input is token ids or the name is taken.

    Examples
    --------
    A network that computes a mask of its own input, as noise suppressors do:

    >>> import fastlstm as fl
    >>> mask = [fl.LSTM(16, return_sequences=True), fl.Dense(5), fl.Activation("sigmoid")]
    >>> model = fl.Model([fl.Tap("noisy"), *mask, fl.Merge("noisy")], input_size=5)
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = _checked_name(name)
        self._size = 0

    def build(self, signal: Signal) -> Signal:
        signal.require_numbers(self)
        if self.name in dict(signal.taps):
            raise ValueError(f"another Tap before this one has the name {self.name!r}: give each its own")
        self._size = signal.features
        return signal._replace(taps=(*signal.taps, (self.name, signal._replace(taps=()))))

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        kept = cache.buffers.get("kept", x.shape, ctx.dtype)
        np.copyto(kept, x)
        ctx.taps[self.name], ctx.d_taps[self.name] = kept, None
        return x

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        joined = ctx.d_taps.get(self.name)
        if not need_dx or joined is None:
            return dy if need_dx else None
        return np.add(dy, joined, out=cache.buffers.get("dx", dy.shape, ctx.dtype))

    def stages(self) -> list[Stage]:
        return [Stage("tap", self._size, settings={"name": self.name})]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@register
class Merge(Layer):
    """Join the data with those at an earlier `Tap`: their product, their sum, or all features of both.

    Parameters
    ----------
    tap : str
        Name of the Tap. The data at both places have the same steps, and for "multiply" and "add" as many features.
    mode : {"multiply", "add", "concat"}, default "multiply"
        "concat" gives the features of the layer's input, then those at the Tap.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range. When the model is built, if no earlier Tap has this name, or the data there
        have other steps or another number of features.

    Examples
    --------
    A residual connection:

    >>> import fastlstm as fl
    >>> model = fl.Model([fl.Tap("x"), fl.LSTM(3, return_sequences=True), fl.Merge("x", "add")], input_size=3)
    """

    def __init__(self, tap: str, mode: str = "multiply") -> None:
        super().__init__()
        self.tap = _checked_name(tap)
        if mode not in _MODES:
            raise ValueError(f"mode is {short_repr(mode)}, expected one of {', '.join(map(repr, _MODES))}")
        self.mode = mode
        self._size = self._width = 0

    def build(self, signal: Signal) -> Signal:
        taps = dict(signal.taps)
        tapped = taps.get(self.tap)
        if tapped is None:
            there = f"those before it are {', '.join(map(repr, taps))}" if taps else "there is none"
            raise ValueError(f"Merge reads the Tap {self.tap!r}, and {there}: put fl.Tap({self.tap!r}) before it")
        if _steps(signal) != _steps(tapped):
            raise ValueError(f"Merge gets other steps than those at the Tap {self.tap!r}: a layer between changes them")
        self._size = self._width = signal.features
        if self.mode == "concat":
            self._width += tapped.features
            return signal._replace(features=self._width)
        if signal.features != tapped.features:
            raise ValueError(
                f"Merge gets {signal.features} features, and there are {tapped.features} at the Tap {self.tap!r}: "
                "make them as many, for instance by a fl.Dense, or use mode='concat'"
            )
        return signal

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        tapped = ctx.taps[self.tap]
        if self.mode == "concat":
            y = cache.buffers.get("y", (*x.shape[:-1], x.shape[-1] + tapped.shape[-1]), ctx.dtype)
            np.concatenate([x, tapped], axis=-1, out=y)
        else:
            y = cache.buffers.get("y", x.shape, ctx.dtype)
            (np.multiply if self.mode == "multiply" else np.add)(x, tapped, out=y)
        cache.saved["x"] = x if ctx.training and self.mode == "multiply" else None
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        tapped, before = ctx.taps[self.tap], ctx.d_taps.get(self.tap)
        shape = (*dy.shape[:-1], self._size)
        dx = cache.buffers.get("dx", shape, ctx.dtype)
        joined = cache.buffers.get("joined", tapped.shape, ctx.dtype)
        if self.mode == "multiply":
            np.multiply(dy, tapped, out=dx)
            np.multiply(dy, cache.saved["x"], out=joined)
        else:
            np.copyto(dx, dy[..., : self._size])
            np.copyto(joined, dy[..., self._size :] if self.mode == "concat" else dy)
        if before is not None:  # another Merge after this one has read the Tap too
            joined += before
        ctx.d_taps[self.tap] = joined
        return dx

    def stages(self) -> list[Stage]:
        kind, name = {"multiply": ("multiply", "factor"), "add": ("add", "addend"), "concat": ("concat", "second")}[
            self.mode
        ]
        return [Stage(kind, self._width, side={name: self.tap})]

    def get_config(self) -> dict[str, Any]:
        return {"tap": self.tap, "mode": self.mode}


def _steps(signal: Signal) -> tuple[bool, int | None, int, bool]:
    return signal.per_step, signal.steps, signal.stride, signal.keeps_steps
