"""Read a long table: ids, times in UTC and numbers by row, before anything is placed on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .axis import TimeAxis
from .ids import read_ids, who
from .numbers import read_numbers
from .repair import Rows
from .sources import Source
from .time_column import TimeKind, read_times
from .zones import NAT, localise, to_local

__all__ = ["Table", "check_kind", "read_table", "time_text"]


@dataclass(eq=False)
class Table:
    """The columns of a long table."""

    rows: Rows
    ids: list[Any]
    id_dtype: str | None
    """None if there is no column of ids."""
    kind: TimeKind
    zone: str | None
    """The zone whose clock the calendar follows."""
    what: str
    """What the times are, in words."""
    notes: list[str]
    told_by_order: int = 0
    taken_as_first: int = 0
    skipped: int = 0


def time_text(time: int, kind: TimeKind, zone: str | None) -> str:
    """Return a time as the user would write it."""
    if kind.form == "integer":
        return str(time)
    local = to_local(np.array([time]), kind.zone if kind.form == "aware" else zone)
    stamp = local.view("M8[ns]")[0]
    text = str(stamp).replace("T", " ")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text.endswith(":00") and text.count(":") == 2:
        text = text[:-3]
    if kind.form != "aware" and text.endswith(" 00:00"):
        text = text[:-6]
    if kind.form != "aware":
        return text
    offset = int(local[0] - time) // 60_000_000_000
    return f"{text}{'+' if offset >= 0 else '-'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"


def read_table(
    source: Source,
    names: tuple[str, str, tuple[str, ...]],
    zone: str | None,
    single: Any,
    after: dict[Any, int] | None = None,
) -> Table:
    """Read a source.

    Parameters
    ----------
    source : Source
    names : tuple
        The columns of ids and of times, and those of numbers.
    zone : str or None
        The zone of the user.
    single : object
        The id of the series of a table without ids.
    after : dict of id: int, optional
        The last known time of each series, which tells the hours that occur twice apart.
    """
    id_col, time_col, numbers = names
    frame = source.frame
    found = read_times(frame[time_col], source.code(time_col), source.row, zone is not None)
    if id_col in frame.columns:
        codes, ids, dtype = read_ids(frame[id_col], source.code(id_col), source.row)
    else:
        codes, ids, dtype = np.zeros(len(frame), np.int64), [single], None
    values = [read_numbers(frame[name], name, source.code(name), source.row) for name in numbers]
    kind = found.kind
    if kind.form == "integer" and zone is not None:
        raise ValueError(f"{source.code(time_col)} holds whole numbers, which have no time zone: pass time_zone=None")
    clock = zone or (kind.zone if kind.form == "aware" else None)
    rows = Rows(
        codes,
        found.values,
        len(ids),
        values,
        source.row,
        lambda code: who(ids[code]),
        lambda time: time_text(time, kind, clock),
        [*([id_col] if dtype is not None else []), time_col],
    )
    table = Table(rows, ids, dtype, kind, clock, found.what, list(found.notes))
    if kind.form not in ("aware", "integer") and zone is not None:
        table.what = f"{table.what} of the clock of {zone}"
        _localise(table, zone, None if after is None else [after.get(one, NAT) for one in ids])
    elif kind.form not in ("aware", "integer"):
        table.what = f"{table.what} without a time zone, taken as they are: no summer time"
    return table


def check_kind(table: Table, axis: TimeAxis, fitted: TimeKind, code: str) -> None:
    """Raise ValueError if times are of another kind than those that were fitted."""
    kind = table.kind
    if (kind.form == "integer") != axis.counted:
        here, there = ("whole numbers", "times") if axis.counted else ("times", "whole numbers")
        raise ValueError(f"{code} holds {there}, expected {here} as in the training data")
    if axis.counted or axis.zone == table.zone or (kind.form == "aware" and axis.zone is not None):
        return
    if kind.form == "aware":
        raise ValueError(
            f"{code} holds times in {kind.zone}, the training data have times without a zone: pass "
            f"{code}.dt.tz_localize(None), or give time_zone=... and fit again"
        )
    raise ValueError(
        f"{code} holds times without a zone, the training data have times in {fitted.zone}: pass "
        f"{code}.dt.tz_localize({fitted.zone!r})"
    )


def _localise(table: Table, zone: str, after: list[int] | None) -> None:
    """Turn the times of a table from the local clock into UTC."""
    rows = table.rows
    known = None if after is None else np.array(after, np.int64)
    found = localise(rows.times, rows.codes, zone, known, rows.row)
    table.told_by_order, table.taken_as_first = found.told_by_order, found.taken_as_first
    skipped = found.times == NAT
    if skipped.any():
        _drop_skipped(table, zone, skipped)
        found = found._replace(times=found.times[~skipped])
    rows.times = found.times


def _drop_skipped(table: Table, zone: str, skipped: NDArray[np.bool_]) -> None:
    """Drop rows at times that do not exist; raise ValueError if one holds a value."""
    rows = table.rows
    held = skipped & np.logical_or.reduce([~np.isnan(column) for column in rows.values] or [skipped])
    if held.any():
        number = int(np.flatnonzero(held)[0])
        stamp = str(np.int64(rows.times[number]).view("M8[ns]").astype("M8[s]")).replace("T", " ")
        raise ValueError(
            f"{rows.row(number)}: {rows.who(int(rows.codes[number]))} has a value for {stamp}, a time that the clock "
            f"of {zone} "
            f"skips ({int(held.sum())} in all): correct the time; if the clock that wrote it has no summer time, "
            "pass "
            "time_zone=None or a zone without it, such as time_zone='Etc/GMT-1' for UTC+1"
        )
    kept = ~skipped
    numbers = np.flatnonzero(kept)
    name = rows.row
    rows.codes = rows.codes[kept]
    rows.values = [column[kept] for column in rows.values]
    rows.row = lambda number: name(int(numbers[number]))
    table.skipped = int(skipped.sum())
    if len(np.unique(rows.codes)) < rows.series:
        code = next(one for one in range(rows.series) if one not in rows.codes)
        raise ValueError(f"{rows.who(code)} has no row at a time that exists on the clock of {zone}")
