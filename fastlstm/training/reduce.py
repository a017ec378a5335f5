"""The seam where a training run that is spread over several processes adds up its parts."""

from __future__ import annotations

from .._typing import Array

__all__ = ["Reduce"]


class Reduce:
    """Sums over the parts of a run; here the one process is all there is, so every sum is the part itself.

    A run over several machines derives a class whose methods are an all-reduce in a fixed order. `TrainingLoop` passes
    the gradients through it between the backward pass and the update, and the sums of loss and metric before it
    reports them.
    """

    def gradients(self, flat_gradients: Array, weight: float) -> None:
        """Replace the gradients of this part, a mean over positions of this weight, by those of all, in place."""

    def sums(self, *parts: float) -> tuple[float, ...]:
        """Return the sums over all parts of numbers such as loss and weight of a batch."""
        return parts
