"""Division of cases into batches for prediction and evaluation, with a bound on the padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .sequences import Sequences

__all__ = ["SMALL_BATCH", "bounded_batches", "case_numbers", "sequential_batches"]

SMALL_BATCH = 2**14
"""Number of steps, padding included, up to which a batch is never divided, because it takes little memory."""


def sequential_batches(n: int, batch_size: int, first: int = 0) -> Iterator[slice]:
    """Yield n cases in order, one batch after the other, from batch `first` on."""
    for start in range(first * batch_size, n, batch_size):
        yield slice(start, min(start + batch_size, n))


def bounded_batches(inputs: Sequences, batch_size: int) -> Iterator[slice | NDArray[np.int64]]:
    """Yield all cases in batches that padding at most doubles, unless they are small.

    The cases are taken `batch_size` at a time, in order. Where padding to the longest would more than double the number
    of steps, and would give more than `SMALL_BATCH` steps, these cases are sorted by length, the longest first, and
    divided: the lengths of one batch then differ by less than a factor of 2, or the batch is small. So memory follows
    the steps that the cases have, and the cases are still read from nearly consecutive places.

    A result of the kernels for one case does not depend on the batch around it, so the division changes no output.

    Parameters
    ----------
    inputs : Sequences
    batch_size : int
        Largest number of cases in a batch.

    Yields
    ------
    slice or ndarray of int64
        Case numbers of a batch.
    """
    for chosen in sequential_batches(len(inputs), batch_size):
        if inputs.lengths is None:
            yield chosen
        else:
            yield from _divided(chosen, inputs.lengths[chosen])


def _divided(chosen: slice, lengths: NDArray[np.int64]) -> Iterator[slice | NDArray[np.int64]]:
    if len(lengths) * lengths.max() <= max(2 * lengths.sum(), SMALL_BATCH):
        yield chosen
        return
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    start = 0
    while start < len(order):
        stop = len(order)
        if (stop - start) * falling[start] > SMALL_BATCH:
            stop = int(np.count_nonzero(2 * falling > falling[start]))
        yield chosen.start + order[start:stop]
        start = stop


def case_numbers(chosen: slice | NDArray[np.int64], first: int = 0) -> NDArray[np.int64]:
    """Return the numbers of the cases of a batch, which is counted from case `first`."""
    return np.arange(chosen.start + first, chosen.stop + first) if isinstance(chosen, slice) else chosen + first
