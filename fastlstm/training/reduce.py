"""Reduction of gradients and sums over the processes of a training run."""

from __future__ import annotations

from .._typing import Array

__all__ = ["Reduce"]


class Reduce:
    """Sum over the processes of a run; in this base class there is one process, so each sum is its own value.

    For a run over several machines, a subclass implements each method as an all-reduce in a fixed order. `TrainingLoop`
    passes it the gradients between the backward pass and the update, and the sums of loss and metric before it reports
    them.
    """

    def gradients(self, flat_gradients: Array, weight: float) -> None:
        """Replace the gradients, a weighted mean over positions of this weight, by those of all processes, in place."""

    def sums(self, *parts: float) -> tuple[float, ...]:
        """Return the sums over all processes, for example of the loss and the weight of a batch."""
        return parts
