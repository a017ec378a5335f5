"""Steps of the inputs that a model masks, as the data see them."""

from __future__ import annotations

from typing import Protocol

from .._typing import Array

__all__ = ["StepMasking"]


class StepMasking(Protocol):
    """How a model masks steps of its inputs; `fastlstm.layers.InputMasks` is one.

    Attributes
    ----------
    masks_output : bool
        Whether the output has masked steps, and which they are is known from the inputs.
    keeps_order : bool
        Whether a step of the output is masked if and only if the same step of the inputs is.
    """

    masks_output: bool
    keeps_order: bool

    def counts(self, x: Array, /) -> Array:
        """Return which steps of x (..., features), or token ids (...), are not masked, for each mask: (..., k)."""

    def output_mask(self, masks: Array, lengths: Array | None, /) -> Array:
        """Return which steps of the output are not masked, (batch, time), from the masks of the inputs."""
