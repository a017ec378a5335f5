"""Masks that layers take from the input of the model, before it is scaled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import Array
from .base import Layer, Signal, stages_describe_forward
from .context import PassContext

__all__ = ["InputMasks"]


class InputMasks:
    """Masks of those layers that read the input of the model unchanged.

    Such a layer compares the values that users pass, in the type in which they pass them: a scaler moves these values,
    and the model's dtype may round them. So the masks are computed where a batch is read, and go beside it through the
    layers as a side input. A layer that reads the output of other layers computes its mask in its forward pass.

    Parameters
    ----------
    layers : sequence of Layer
        The layers of a built network.
    signals : sequence of Signal
        What comes out of each layer.

    Attributes
    ----------
    indices : list of int
        The layers whose masks these are, k in number; several of them have only layers between them that change
        nothing in inference, such as `Dropout`.
    masks_output : bool
        Whether the output has masked steps, and which they are is known from the input.
    keeps_order : bool
        Whether a step of the output is masked if and only if the same step of the input is; not so after a `Reverse`.
    """

    def __init__(self, layers: Sequence[Layer], signals: Sequence[Signal]) -> None:
        self._layers = layers
        self._signals = signals
        self.indices = _input_masking(layers)
        probe = np.ones((1, 2, len(self.indices)), bool)
        probe[0, 1] = False
        mask = self._output_mask(probe, None)
        self.masks_output = mask is not None
        self.keeps_order = mask is not None and bool(mask[0, 0])

    @classmethod
    def of(cls, layers: Sequence[Layer], signals: Sequence[Signal]) -> InputMasks | None:
        """Return the masks of a network; None if it has no such layer."""
        masks = cls(layers, signals) if any(layer.masks_steps for layer in layers) else None
        return masks if masks is not None and masks.indices else None

    def counts(self, x: Array) -> Array:
        """Return which steps are not masked by each of the layers, boolean (..., k).

        Parameters
        ----------
        x : ndarray (..., features), or (...) for token ids
            Steps of the input as users pass them.
        """
        if len(self.indices) == 1:
            return self._layers[self.indices[0]].counts(x)[..., None]
        masks = []
        for index in self.indices:
            mask = self._layers[index].counts(x)
            masks.append(mask)
            x = np.where(mask[..., None], x, np.zeros((), x.dtype))  # what the next of the layers reads
        return np.stack(masks, axis=-1)

    def output_mask(self, masks: Array, lengths: Array | None) -> Array:
        """Return which steps of the output are not masked, boolean (batch, time), if `masks_output`.

        Parameters
        ----------
        masks : ndarray (batch, time, k)
            What `counts` returns for the input.
        lengths : int64 ndarray (batch,) or None
            Valid steps of each case; None: all.
        """
        mask = self._output_mask(masks, lengths)
        assert mask is not None
        return mask

    def _output_mask(self, masks: Array, lengths: Array | None) -> Array | None:
        mask: Array | None = None
        for index, (layer, signal) in enumerate(zip(self._layers, self._signals, strict=True)):
            if index in self.indices:
                mask = masks[..., self.indices.index(index)]
            elif layer.masks_steps or not signal.per_step:
                mask = None
            elif mask is not None:
                mask = layer.mask_after(mask, lengths)
        return mask

    def give(self, ctx: PassContext, masks: Array | None) -> None:
        """Hand each of the layers its mask of a pass; with None the layers compute them from what reaches them."""
        for k, index in enumerate(self.indices):
            ctx.layers[index].mask_in = None if masks is None else masks[..., k]


def _input_masking(layers: Sequence[Layer]) -> list[int]:
    """Return the indices of the masking layers that read the input of the model unchanged."""
    last = max((index for index, layer in enumerate(layers) if layer.masks_steps), default=-1)
    found = []
    for index, layer in enumerate(layers[: last + 1]):
        if layer.masks_steps:
            found.append(index)
        if index < last and not _changes_nothing(layer):
            break
    return found


def _changes_nothing(layer: Layer) -> bool:
    """Return whether a layer passes on the steps that it reads in inference, or zeros at those that it masks."""
    if type(layer).stages is Layer.stages or not stages_describe_forward(layer):
        return False
    return all(stage.kind == "mask" for stage in layer.stages())
