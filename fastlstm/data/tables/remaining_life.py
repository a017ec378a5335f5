"""Targets of run-to-failure data: how long until a failure, and whether one is near."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._arguments import explain_arguments
from ..._arrays import as_numeric
from ..._checks import non_negative, positive
from ..groups import Groups, as_groups, check_increasing, value_per_group

__all__ = ["rul", "will_fail"]


@explain_arguments
def rul(
    groups: ArrayLike,
    *,
    cap: float | None = 125,
    time: ArrayLike | None = None,
    failed: Any = True,
    at_end: Any = 0,
) -> NDArray[np.float64]:
    """Compute the remaining useful life of each row of run-to-failure data.

    The remaining useful life of a row is the number of rows of its group that follow, or the time until the last of
    them, plus `at_end`; at most `cap`, since wear does not show long before a failure [1]_.

    Parameters
    ----------
    groups : array of int or str, shape (rows,)
        Group of each row, such as the number of the engine; the rows of a group are in the order of time.
    cap : float or None, default 125
        Largest value; None: no limit.
    time : array, shape (rows,), optional
        Times as numbers, in the unit that the result shall have; they must increase within each group. By default a row
        counts 1.
    failed : bool, dict of group: bool, or array of bool, shape (groups,) or (rows,), default True
        Whether a group ended with a failure; an array of shape (groups,) is in the order of first appearance, and a
        pandas Series whose index holds the groups, as of a groupby, is read by its index. What is
        left to a group without a failure is not known, except that it is more than what was seen: `cap` where that is
        already as much, else NaN.
    at_end : float, dict of group: float, or array of shape (groups,) or (rows,), default 0
        Remaining useful life at the last row of a group.

    Returns
    -------
    ndarray of float64, shape (rows,)
        NaN where it is not known: drop such rows, or give them a `sample_weight` of 0.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a shape does not fit, a group has no value, times do not increase, or a number is out of range.

    References
    ----------
    .. [1] Heimes, "Recurrent neural networks for remaining useful life estimation", PHM 2008, which takes 130; later
       work on the same data mostly takes 125.

    Examples
    --------
    >>> import fastlstm as fl
    >>> engines = [1, 1, 1, 1, 2, 2, 2]
    >>> fl.data.rul(engines, cap=2).tolist()
    [2.0, 2.0, 1.0, 0.0, 2.0, 1.0, 0.0]
    >>> fl.data.rul(engines, cap=2, failed={1: True, 2: False}).tolist()
    [2.0, 2.0, 1.0, 0.0, 2.0, nan, nan]
    """
    limit = np.inf if cap is None else positive("cap", cap)
    left, known = _remaining(groups, time, failed, at_end)
    return np.where(known | (left >= limit), np.minimum(left, limit), np.nan)


@explain_arguments
def will_fail(
    groups: ArrayLike,
    *,
    within: float = 48,
    time: ArrayLike | None = None,
    failed: Any = True,
    at_end: Any = 0,
) -> NDArray[np.int64]:
    """Label each row of run-to-failure data: 1 if its group fails within some steps, else 0.

    Parameters
    ----------
    groups : array of int or str, shape (rows,)
        Group of each row, such as the number of the engine; the rows of a group are in the order of time.
    within : float, default 48
        A row is labelled 1 if what remains until the failure is at most this: rows or, with `time`, its unit. The row
        of the failure itself, with which a group ends, has 0 left.
    time : array, shape (rows,), optional
        Times as numbers; they must increase within each group. By default a row counts 1.
    failed : bool, dict of group: bool, or array of bool, shape (groups,) or (rows,), default True
        Whether a group ended with a failure; an array of shape (groups,) is in the order of first appearance. For a
        group without one the label is 0 as long as `within` steps without a failure follow, then -100: not known.
    at_end : float, dict of group: float, or array of shape (groups,) or (rows,), default 0
        What remains at the last row of a group.

    Returns
    -------
    ndarray of int64, shape (rows,)
        0, 1, or -100 where it is not known, which a loss ignores.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a shape does not fit, a group has no value, times do not increase, or a number is out of range.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.data.will_fail([1, 1, 1, 1, 2, 2, 2], within=1, failed={1: True, 2: False}).tolist()
    [0, 0, 1, 1, 0, 0, -100]
    """
    near = non_negative("within", within)
    left, known = _remaining(groups, time, failed, at_end)
    # A group without a failure has more than `left` left, so that `near` of them say that it does not fail within.
    return np.where(known, (left <= near).astype(np.int64), np.where(left >= near, 0, -100))


def _remaining(
    groups: ArrayLike, time: ArrayLike | None, failed: Any, at_end: Any
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what each row has left until the end of its group plus `at_end`, and whether the group failed, (rows,)."""
    every = as_groups(groups, None, "groups")
    ends = _checked_ends(at_end, every)
    known = value_per_group(failed, every, "failed")
    if known.dtype.kind != "b" and not np.isin(known, (0, 1)).all():
        raise ValueError(f"failed holds {known[~np.isin(known, (0, 1))][0]}, expected True or False for each group")
    times = _times(every, time)
    last = np.full(len(every.names), -np.inf)
    np.maximum.at(last, every.numbers, times)
    left = last[every.numbers] - times + ends[every.numbers]
    return left, known.astype(bool)[every.numbers]


def _times(groups: Groups, time: ArrayLike | None) -> NDArray[np.float64]:
    """Return the time of each row; by default its number in its group."""
    if time is None:
        order = groups.order()
        firsts = np.cumsum(groups.counts) - groups.counts
        numbers = np.empty(len(order), np.float64)
        numbers[order] = np.arange(len(order)) - np.repeat(firsts, groups.counts)
        return numbers
    values = as_numeric(time, False, "time")
    return check_increasing(values, groups, "time", "sort the rows by group and time first").astype(np.float64)


def _checked_ends(at_end: Any, groups: Groups) -> NDArray[np.float64]:
    ends = as_numeric(value_per_group(at_end, groups, "at_end"), False, "at_end").astype(np.float64)
    bad = ~(ends >= 0) | np.isinf(ends)
    if bad.any():
        raise ValueError(f"at_end holds {ends[bad][0]}, expected finite numbers of at least 0")
    return ends
