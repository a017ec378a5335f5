"""Reduction of gradients and sums over the processes of a training run."""

from __future__ import annotations

from .._typing import Array

__all__ = ["Reduce"]


class Reduce:
    """Sum over the processes of a run; in this base class there is one process, so each sum is its own value.

    For a run over several machines, a subclass implements each method as an all-reduce in a fixed order. `TrainingLoop`
    passes it the gradients between the backward pass and the update, and the sums of loss and metric, of training and
    validation, before it reports them. All processes call the same methods in the same order.
    """

    def gradients(self, flat_gradients: Array, weight: float, total_weight: float) -> None:
        """Replace the gradients of this process by those of all processes, in place.

        Parameters
        ----------
        flat_gradients : ndarray
            Gradients of the mean loss of this process's batch; those of the mean loss of all processes on return: the
            sum over the processes of ``flat_gradients * (weight / total_weight)``.
        weight : float
            Sum of the weights of this process's batch.
        total_weight : float
            Sum of the weights of all processes, > 0.
        """

    def sums(self, *parts: float) -> tuple[float, ...]:
        """Return the sums over all processes, for example of the loss and the weight of a batch."""
        return parts
