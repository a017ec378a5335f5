"""Streams of models that mask steps of their input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._arrays import as_numeric
from .._typing import Array, State
from ..layers import Layer
from ..protocols import InferenceModel
from .inputs import input_features
from .predict import original_units
from .stream import Stream

__all__ = ["MaskedStream", "Masking", "new_stream"]


class Masking(NamedTuple):
    """What a stream does at a masked step, for exports that do the same."""

    layers: list[int]
    """Indices of the layers that mask."""
    empty: Array
    """Output (output_size,) of a series all of whose steps are masked."""
    repeats: bool
    """Whether a masked step has the output of the step before, instead of `empty`."""
    obstacle: Layer | None
    """A layer whose state a masked step would change; None if there is none."""


class MaskedStream(Stream):
    """Stream of a model that masks steps of its input.

    A masked step changes no state of its series. Its output is that of `Model.predict`: after a layer that leaves
    masked steps out the output of the step before, and at the beginning of a series that of a series all of whose steps
    are masked. Where only some series of a batch are masked, the others take their step.
    """

    def __init__(self, model: InferenceModel, batch_size: int = 1, n_threads: int | None = None) -> None:
        super().__init__(model, batch_size, n_threads)
        network, masks = model.network, model.network.input_masks
        for index, layer in enumerate(network.layers):
            if layer.masks_steps and (masks is None or index not in masks.indices):
                raise ValueError(
                    f"layer {index}, {layer!r}, reads the output of other layers, so a stream cannot tell from its "
                    "input which steps are masked: leave the layer out, or predict on blocks"
                )
        assert masks is not None
        self._masks = masks
        self._tokens = network.takes_tokens
        self._axes: tuple[int, ...] = () if self._tokens else (input_features(model),)
        later = network.layers[masks.indices[-1] + 1 :]
        self._repeats = any(layer.supports_mask for layer in later)
        advanced = (one for one in later if not one.supports_mask and any(stage.states for stage in one.stages()))
        self._advanced = next(advanced, None)  # a user's layer, whose state a masked step would change
        read = () if self._tokens else (network.input_size or 0,)
        x = np.zeros((1, 1, *read), np.int64 if self._tokens else network.dtype)
        none = np.zeros((1, 1, len(masks.indices)), bool)
        out = original_units(network.forward(x, None, False, n_threads, masks=none), model.target_scaler)
        self._empty: Array = out.reshape(-1).copy()
        self._last: Array = np.tile(self._empty, (self.batch_size, 1))  # output of each series at a masked step
        self._known: Array = np.ones(self.batch_size, bool)  # whether it is known

    @property
    def masking(self) -> Masking:
        """What the stream does at a masked step."""
        return Masking(list(self._masks.indices), self._empty.copy(), self._repeats, self._advanced)

    def step(self, x: npt.ArrayLike, out: Array | None = None, rows: npt.ArrayLike | None = None) -> Array:
        array = as_numeric(x, self._tokens, "x")
        chosen = None if rows is None else self._checked(rows)
        counts = self._counts(array, (self.batch_size if chosen is None else len(chosen), 1), chosen)
        if counts is None:
            y = super().step(array, out, chosen)
            self._remember(y, chosen)
            return y
        return self._step(_zeroed(array, counts), counts[:, 0], out, chosen)

    def run(self, x: npt.ArrayLike, out: Array | None = None) -> Array:
        array = as_numeric(x, self._tokens, "x")
        counts = None if array.ndim < 2 else self._counts(array, (self.batch_size, array.shape[1]))
        if counts is None:
            y = super().run(array, out)
            self._remember(y[:, -1])
            return y
        array = _zeroed(array, counts)
        before = self._copies(slice(None))
        y = super().run(array, out)  # refuses what does not fit; the outputs are right up to the first masked step
        self._put_back(before, slice(None))
        whole = np.asarray(counts.all(axis=0))
        for steps in np.split(np.arange(len(whole)), np.flatnonzero(np.diff(whole)) + 1):
            if whole[steps[0]]:
                y[:, steps] = super().run(np.ascontiguousarray(array[:, steps]))
                self._remember(y[:, steps[-1]])
            else:
                for t in steps:
                    y[:, t] = self._step(np.ascontiguousarray(array[:, t]), counts[:, t])
        return y

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        super().reset(rows)
        chosen = slice(None) if rows is None else np.asarray(rows, None if np.size(rows) else np.int64)
        self._last[chosen] = self._empty
        self._known[chosen] = True

    def add_rows(self, count: int = 1) -> Array:
        added = super().add_rows(count)
        self._last = np.concatenate((self._last, np.tile(self._empty, (len(added), 1))))
        self._known = np.concatenate((self._known, np.ones(len(added), bool)))
        return added

    def remove_rows(self, rows: npt.ArrayLike) -> Array:
        kept = super().remove_rows(rows)
        self._last, self._known = self._last[kept], self._known[kept]
        return kept

    def _state_arrays(self) -> dict[str, Array]:
        return {**super()._state_arrays(), "last": self._last.copy(), "known": self._known.copy()}

    def _put(self, arrays: Mapping[str, Array]) -> None:
        super()._put(arrays)
        self._last, self._known = arrays["last"].copy(), arrays["known"].copy()

    def _set_states(self, value: Sequence[State]) -> None:
        super()._set_states(value)
        self._known[:] = not self._repeats

    def _counts(self, x: Array, shape: tuple[int, int], rows: Array | None = None) -> Array | None:
        """Return which steps of x, (batch, steps, features), count; None if all do, or x has another shape.

        `rows` are the numbers of the series in x; None: all.
        """
        expected = (*shape, *self._axes)
        if [n for n in x.shape if n != 1] != [n for n in expected if n != 1]:
            return None  # an axis of length 1 may be left out; other shapes are refused by the stream
        masks = self._masks.counts(x.reshape(expected))
        if masks.all():
            return None
        counts: Array = masks[..., -1]
        if self._advanced is not None:
            raise ValueError(
                f"x has a masked step, which would change the state of {self._advanced!r}: leave the step out; the "
                "output of the step before remains valid"
            )
        if (counts & ~masks.all(axis=-1)).any():
            raise ValueError(
                "x has a step that one Masking layer masks and a later one does not, which a stream cannot follow: "
                "leave one of the layers out, or predict on blocks"
            )
        known = self._known if rows is None else self._known[rows]
        if not (known | counts[:, 0]).all():
            raise ValueError(
                "x begins with a masked step after an assignment of the state, so that the output of the step before "
                "is not known: leave the step out"
            )
        return counts

    def _step(self, x: Array, counts: Array, out: Array | None = None, rows: Array | None = None) -> Array:
        """Feed a step to the series in which it counts."""
        masked = np.flatnonzero(~counts) if rows is None else rows[~counts]
        before = self._copies(masked)
        y = super().step(x, out, rows)
        self._put_back(before, masked)
        y[~counts] = self._last[masked]
        self._remember(y, rows)
        return y

    def _remember(self, y: Array, rows: Array | None = None) -> None:
        if self._repeats:
            chosen = slice(None) if rows is None else rows
            self._last[chosen] = y
            self._known[chosen] = True

    def _copies(self, rows: Array | slice) -> list[list[Array]]:
        """Return copies of the states of some series."""
        return [[array[rows].copy() for array in arrays] for arrays in self._states]

    def _put_back(self, copies: list[list[Array]], rows: Array | slice) -> None:
        for arrays, copied in zip(self._states, copies, strict=True):
            for array, values in zip(arrays, copied, strict=True):
                array[rows] = values


def _zeroed(x: Array, counts: Array) -> Array:
    """Return a copy of x with zeros in place of the masked steps, which may hold NaN."""
    copied = np.array(x, order="C")
    copied.reshape(*counts.shape, -1)[~counts] = 0
    return copied


def new_stream(model: InferenceModel, batch_size: int, n_threads: int | None) -> Stream:
    """Do the work of `Model.stream`."""
    masked = any(layer.masks_steps for layer in model.network.layers)
    return (MaskedStream if masked else Stream)(model, batch_size, n_threads)
