"""Windows within the groups of a table, such as engines or patients."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..._arguments import explain_arguments
from ..._arrays import as_array, strings
from ..._checks import as_bool, count, one_of, short_repr
from ..groups import Groups, as_groups, check_increasing
from .frames import Table, as_table

__all__ = ["GroupWindows", "windows_by_group"]


class GroupWindows(NamedTuple):
    """Windows of a table: n windows, in the order of the groups and of time in each."""

    X: NDArray[Any]
    """(n, length, features)."""
    y: NDArray[Any] | None
    """(n,) or (n, targets): the target of each window; None without a target."""
    groups: NDArray[Any]
    """(n,): the group of each window, for `split(..., groups=)`."""
    features: tuple[str, ...]
    """Names of the features, in the order of the last axis of `X`."""
    lengths: NDArray[np.int64] | None
    """(n,): with `pad="right"` the number of steps of each window, for `fit(..., lengths=)`; else None."""
    rows: NDArray[np.int64]
    """(n,): number of the row of the table at which each window ends."""


@explain_arguments
def windows_by_group(
    df: Any,
    group: Any,
    length: int,
    *,
    stride: int = 1,
    horizon: int = 0,
    pad: Literal["left", "edge", "right"] | None = None,
    min_length: int | None = None,
    last_only: bool = False,
    target: Any = None,
    time: Any = None,
    features: Any = None,
) -> GroupWindows:
    """Cut windows from a long table, each within one group: never across two engines or two patients.

    The windows of a group end at its rows length - 1, length - 1 + stride, and so on (counted from 0). The target of a
    window that ends at row t of its group is the value of row t + horizon: with the default of 0 that of the window's
    last row, such as the remaining useful life at that time; with 1 that of the row after it, a forecast.

    Parameters
    ----------
    df : DataFrame of pandas or polars, dict of str: array of shape (rows,), or array of shape (rows, columns)
        Each row is a step of a group; the rows of a group are in the order of time, but need not be next to each other.
        Frames need narwhals (``pip install 'fastlstm[frames]'``).
    group : str, or array of shape (rows,)
        Column that holds the group of each row, or the groups themselves; for an array the number of the column.
    length : int
        Steps of a window, at least 1.
    stride : int, default 1
        Rows from one window to the next.
    horizon : int, default 0
        Rows from the end of a window to its target.
    pad : {"left", "edge", "right"}, optional
        What to do with windows that begin before the first row of their group. By default there are none, and a group
        of fewer than `length` rows has no window, with a warning.

        - "left": rows of NaN in front, for a model whose first layer is ``fl.Masking("nan")``, which skips them;
        - "edge": the group's first row repeated in front, which a model takes for measurements;
        - "right": the rows first and zeros after them, with `lengths` for `fit` and `predict`. A model of one direction
          gives what it gives for "left", and faster.
    min_length : int, optional
        With `pad`: windows end at each row from the row min_length - 1 of a group on, not only from the row length - 1
        on; groups with fewer rows have no window, with a warning. By default a group that is too short for a whole
        window has one window, of all its rows.
    last_only : bool, default False
        Only the last window of each group, which ends at its last row (`horizon` rows before it).
    target : str, list of str, or array of shape (rows,) or (rows, targets), optional
        Column or columns, or values for each row, such as those of `rul`. Numbers or labels.
    time : str, or array of shape (rows,), optional
        Times, which must increase within each group. By default the order of the rows. Gaps are not looked for.
    features : list of str, optional
        Columns that become features, in this order. By default all but those of `group`, `time` and `target`; with a
        `horizon` above 0 the target is one of them, since its past is known.

    Returns
    -------
    GroupWindows
        The windows `X`, their targets `y`, `groups`, the names of the `features`, `lengths`, and `rows`, the row at
        which each window ends. A copy: windows of different groups cannot be views of one table.

    Raises
    ------
    ImportError
        If the frame needs narwhals, and it is not installed.
    TypeError
        If a column does not hold numbers; the message says what to do with dates, texts and categories.
    ValueError
        If a column does not exist, times do not increase (the message names the group and the row), a feature would
        tell the target, or there is no window.

    Warns
    -----
    UserWarning
        If groups have too few rows for a window.

    Examples
    --------
    >>> import fastlstm as fl
    >>> table = {"engine": [1, 1, 1, 2, 2], "cycle": [1, 2, 3, 1, 2], "speed": [5.0, 6.0, 7.0, 1.0, 2.0]}
    >>> left = fl.data.rul(table["engine"])
    >>> w = fl.data.windows_by_group(table, "engine", 2, time="cycle", target=left)
    >>> w.X[:, :, 0].tolist(), w.y.tolist(), w.groups.tolist(), w.features
    ([[5.0, 6.0], [6.0, 7.0], [1.0, 2.0]], [1.0, 0.0, 0.0], [1, 1, 2], ('speed',))
    """
    length, stride, horizon = count("length", length), count("stride", stride), count("horizon", horizon, 0)
    last_only = as_bool("last_only", last_only)
    least = _least(length, pad, min_length)
    table = as_table(df)
    values, name = _values(table, group, "group")
    groups = as_groups(values, table.rows, name)
    if time is not None:
        times, name = _values(table, time, "time")
        by_columns = table.has(group) and table.has(time)
        check_increasing(times, groups, name, table.sorting([group, time] if by_columns else ["group", "time"]))
    targets, of_targets = _targets(table, target)
    if horizon and target is None:
        raise ValueError(f"got horizon = {horizon} without a target, expected the target too: target='name'")
    keys = _features(table, features, [key for key in (group, time) if table.has(key)], of_targets, horizon)
    values = table.numbers(keys)

    order = groups.order()
    firsts = np.cumsum(groups.counts) - groups.counts
    ends = [_ends(rows - horizon, length, least, stride, last_only) for rows in groups.counts.tolist()]
    sizes = np.array([len(one) for one in ends])
    _check_sizes(sizes, groups, horizon + (1 if least is None else least), pad)
    X, lengths = _cut(values, order, firsts, ends, length, pad)
    places = np.concatenate([first + one for first, one in zip(firsts, ends, strict=True)])
    return GroupWindows(
        X,
        None if targets is None else targets[order[places + horizon]],
        np.repeat(groups.names, sizes),
        table.names(keys),
        lengths if pad == "right" else None,
        order[places],
    )


def _least(length: int, pad: str | None, min_length: int | None) -> int | None:
    """Return the number of rows of the shortest window; None: that of the group, up to `length`."""
    if pad is None:
        if min_length is not None:
            raise ValueError(
                f"got min_length = {min_length} without pad, expected pad='left', 'edge' or 'right' for windows with "
                "fewer rows than length"
            )
        return length
    one_of("pad", pad, ("left", "edge", "right"))
    if min_length is None:
        return None
    if count("min_length", min_length) > length:
        raise ValueError(f"got min_length = {min_length}, expected at most length = {length}")
    return int(min_length)


def _values(table: Table, given: Any, argument: str) -> tuple[Any, str]:
    """Return a column, or values for each row as they are; and their name in messages."""
    if isinstance(given, (str, int, np.integer)) or table.has(given):
        table.check(given, argument)
        return table.column(given), table.code(given)
    return given, argument


def _targets(table: Table, target: Any) -> tuple[NDArray[Any] | None, list[Any]]:
    """Return the target of each row, (rows,) or (rows, targets), and the columns from which they come."""
    if target is None:
        return None, []
    if isinstance(target, list) and target and all(map(table.has, target)) and len(target) != table.rows:
        return table.numbers(target), target
    given, name = _values(table, target, "target")
    values = as_array(given, name)
    keys = [target] if isinstance(target, str) or table.has(target) else []
    if values.ndim not in (1, 2) or len(values) != table.rows:
        raise ValueError(
            f"{name} has shape {values.shape}, expected a column, a list of columns, or an array with one target for "
            f"each of {table.rows} rows"
        )
    if values.dtype.kind in "OU":
        values = strings(values, name)
    if values.dtype.kind not in "iufbU":
        raise TypeError(
            f"{name} has type {values.dtype}, expected targets that are numbers or labels (integers or strings)"
        )
    return values, keys


def _features(table: Table, features: Any, left_out: list[Any], targets: list[Any], horizon: int) -> list[Any]:
    keys = table.features(features, left_out if horizon else [*left_out, *targets])
    told = [key for key in keys if key in targets]
    if told and not horizon:
        raise ValueError(
            f"the target {told[0]!r} is one of the features, and with horizon = 0 each window would hold its own "
            "answer: leave it out of features, or take horizon=1 for a forecast of the next row"
        )
    return keys


def _ends(rows: int, length: int, least: int | None, stride: int, last_only: bool) -> NDArray[np.int64]:
    """Return the rows of a group at which windows end; `rows` counts those that have a target."""
    first = min(length, rows) if least is None else least
    if rows < 1 or rows < first:
        return np.zeros(0, np.int64)
    return np.arange(rows - 1 if last_only else first - 1, rows, stride, dtype=np.int64)


def _check_sizes(sizes: NDArray[np.int64], groups: Groups, needed: int, pad: str | None) -> None:
    short = np.flatnonzero(sizes == 0)
    if not len(short):
        return
    names = short_repr(groups.names[short[:5]].tolist())[1:-1] + (", ..." if len(short) > 5 else "")
    text = f"{len(short)} of {len(groups.names)} groups have fewer than {needed} rows and no window: {names}"
    advice = "pad='left' or 'right' keeps them" if pad is None else "a smaller min_length or horizon keeps them"
    if len(short) == len(groups.names):
        raise ValueError(f"{text}; expected at least one window: take a smaller length, or {advice}")
    warnings.warn(f"{text}; {advice}", stacklevel=4)


def _cut(
    values: NDArray[Any],
    order: NDArray[np.int64],
    firsts: NDArray[np.int64],
    ends: list[NDArray[np.int64]],
    length: int,
    pad: str | None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the windows, (n, length, features), and their numbers of rows, (n,)."""
    in_order = bool((order[:-1] < order[1:]).all())
    every = np.concatenate(ends)
    X = np.zeros((len(every), length, values.shape[1]), values.dtype)
    lengths = np.minimum(every + 1, length)
    start = 0
    for first, stop, of_group in zip(firsts, [*firsts[1:], len(order)], ends, strict=True):
        if not len(of_group):
            continue
        block = values[first:stop] if in_order else values[order[first:stop]]
        windows, start = X[start : start + len(of_group)], start + len(of_group)
        whole = of_group >= length - 1
        if whole.any():
            cuts = np.moveaxis(sliding_window_view(block, length, axis=0), -1, 1)
            windows[whole] = cuts[of_group[whole] - (length - 1)]
        for window, end in zip(windows[: int((~whole).sum())], of_group[~whole].tolist(), strict=True):
            _fill(window, block[: end + 1], pad)
    return X, lengths


def _fill(window: NDArray[Any], rows: NDArray[Any], pad: str | None) -> None:
    """Write fewer rows than a window has into it."""
    if pad == "right":
        window[: len(rows)] = rows
        return
    window[-len(rows) :] = rows
    window[: -len(rows)] = np.nan if pad == "left" else rows[0]
