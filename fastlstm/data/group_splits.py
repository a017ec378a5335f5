"""Divide cases into parts that keep groups whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _exact
from .._draws import Draws
from .groups import Groups

__all__ = ["split_groups"]


def split_groups(
    groups: Groups, classes: NDArray[np.int64], fractions: tuple[float, ...], draws: Draws
) -> tuple[NDArray[np.int64], ...]:
    """Give each group to one part, so that each part has about its share of the cases of each class.

    The groups come in random order, or, where there are several classes, those first whose classes are the least
    balanced, because groups that come late repair what is uneven. Each goes to the part that lacks it most: the one for
    which the sum of (missing cases of a class)^2 / (cases of the class) over classes and parts becomes least. A part is
    never left empty.

    Parameters
    ----------
    groups : Groups
        Group of each of n cases.
    classes : ndarray of int64, shape (n,)
        Class of each case; all 0 if only the numbers of cases count.
    fractions : tuple of float
        Share of each part.
    draws : Draws
        Random numbers.

    Returns
    -------
    tuple of ndarray of int64
        Sorted indices of the cases of each part.
    """
    n_groups, n_classes = len(groups.names), int(classes.max()) + 1
    if n_groups < len(fractions):
        raise ValueError(
            f"{n_groups} groups leave a part of fractions {fractions} empty, expected at least one group in each: "
            "take fewer parts"
        )
    counts = np.zeros((n_groups, n_classes), np.int64)
    np.add.at(counts, (groups.numbers, classes), 1)
    order = draws.permutation(n_groups)
    if n_classes > 1:
        # The variance of the counts times n_classes^2, in integers, so that equal groups stay in random order.
        uneven = n_classes * (counts**2).sum(axis=1) - counts.sum(axis=1) ** 2
        order = order[np.argsort(-uneven[order], kind="stable")]
    totals = counts.sum(axis=0)
    totals[totals == 0] = 1
    lacking = np.outer(fractions, totals)
    part_of = np.full(n_groups, -1)
    for place, group in enumerate(order):
        candidates = np.arange(len(fractions))
        empty = np.setdiff1d(candidates, part_of)
        if n_groups - place == len(empty):
            candidates = empty
        # Of the sum of (lacking - count)^2 over the parts only one term changes, by count^2 - 2 lacking count.
        change = _exact.row_sums((counts[group] ** 2 - 2 * lacking[candidates] * counts[group]) / totals)
        part = int(candidates[np.argmin(change)])
        part_of[group] = part
        lacking[part] -= counts[group]
    return tuple(np.flatnonzero(part_of[groups.numbers] == part) for part in range(len(fractions)))
