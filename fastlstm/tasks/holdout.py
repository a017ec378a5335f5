"""The part of the training data that is held out to stop the training and to choose thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_array
from .._draws import Draws
from .._typing import Array
from ..data import split

__all__ = ["hold_out"]


def hold_out(
    n: int, fraction: float, seed: int, *, strata: Array | None = None, groups: ArrayLike | None = None
) -> tuple[Array, Array | None]:
    """Return the numbers of the cases to train on, and of those that are held out; None if there are too few for both.

    Parameters
    ----------
    n : int
        Number of cases.
    fraction : float
        Share that is held out, between 0 and 1.
    seed : int
        Of the random choice.
    strata : int array (n,), optional
        Classes, of which each has the same share in both parts.
    groups : array (n,), optional
        Cases of one group, such as a patient, are in the same part.
    """
    everything = np.arange(n)
    if groups is not None:
        return _by_group(as_array(groups, "groups"), n, fraction, seed)
    held = max(1, round(n * fraction))
    if n - held < 1:
        return everything, None
    if strata is not None and len(np.unique(strata)) <= min(held, n - held):
        train, rest = split(n, (1 - held / n, held / n), method="stratified", y=strata, seed=seed)
    else:
        train, rest = split(n, (1 - held / n, held / n), method="random", seed=seed)
    return (everything, None) if not (len(train) and len(rest)) else (np.sort(train), np.sort(rest))


def _by_group(groups: Array, n: int, fraction: float, seed: int) -> tuple[Array, Array | None]:
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {groups.shape}, expected ({n},): a group for each case")
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.arange(n), None
    order: Any = Draws(seed, "groups").permutation(len(names))
    sizes = np.bincount(members)[order]
    count = int(np.clip(np.searchsorted(np.cumsum(sizes), n * fraction) + 1, 1, len(names) - 1))
    held = np.isin(members, order[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)
