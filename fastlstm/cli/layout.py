"""Which column of a table is what: decided at training, kept in the model's file, checked in later tables."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .._arguments import closest
from ..data import CsvTable
from .config import Configuration
from .errors import DataRefused, UsageError, refusing
from .tables import csv_options, read_table

__all__ = ["Layout", "layout_from", "layout_of", "time_is_counted"]


@dataclass(frozen=True)
class Layout:
    """The roles of the columns."""

    task: str
    target: str | None
    time: str | None
    id: str | None
    group: str | None
    keep_together: str | None
    features: tuple[str, ...]
    """Columns of numbers that the network reads: channels, or the steps of one channel."""
    columns: tuple[str, ...]
    """All columns of the training data in their order, for lines without names."""
    separator: str
    decimal: str | None
    """The decimal mark of the training data; None if their numbers have no marks."""
    day_first: bool | None
    """Whether days come first in the dates of the training data; None if nothing decides it."""
    counted: bool | None = None
    """Whether time is counted in steps rather than given as dates; None without times."""

    @property
    def wide(self) -> bool:
        """Whether a row is a whole case, a column for each step."""
        return self.task in ("classify", "regress") and self.group is None

    @property
    def channels(self) -> int:
        """Number of channels of the network."""
        return 1 if self.wide else len(self.features)

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as data for JSON."""
        return {**asdict(self), "features": list(self.features), "columns": list(self.columns)}

    def csv_options(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return how later tables are read: as the command line says, and the order of dates as in the training."""
        return csv_options(arguments, {} if self.day_first is None else {"day_first": self.day_first})

    def read(self, source: str, arguments: argparse.Namespace) -> CsvTable:
        """Read a later table, see `read_table`."""
        return read_table(source, self.csv_options(arguments))

    def needed(self, *, target: bool) -> list[str]:
        """Return the columns that a table must have."""
        roles = [self.time, self.group, *([self.target] if target else [])]
        return [*(role for role in roles if role is not None), *self.features]

    def check(self, table: CsvTable, *, target: bool = False) -> None:
        """Raise DataRefused with the names if columns are missing; others are ignored."""
        missing = [name for name in self.needed(target=target) if name not in table.columns]
        if missing:
            near = closest(missing[0], table.columns)
            advice = f" (did you mean {near!r} for {missing[0]!r}?)" if near else ""
            raise DataRefused(
                f"{table.name} has no column {', '.join(map(repr, missing[:5]))}{', ...' if len(missing) > 5 else ''}, "
                f"which the model needs; it has {', '.join(map(repr, list(table)[:20]))}{advice}"
            )


def layout_of(table: CsvTable, configured: Configuration) -> Layout:
    """Return the roles of the columns of the training data.

    Raises
    ------
    UsageError
        If roles contradict each other, or one that the task needs is missing.
    DataRefused
        If a column does not exist or holds no numbers.
    """
    task = configured.task
    roles = {key: configured.get(key) for key in ("target", "time", "id", "group", "keep_together")}
    if task in ("classify", "regress") and roles["target"] is None:
        raise UsageError(f"--task {task} needs --target, the column to predict, one of {', '.join(table)}")
    if task != "anomaly" and roles["time"] is not None and roles["group"] is None:
        raise UsageError(
            "--time orders the rows of a case, so it needs --group, the column whose values are the cases; without "
            "--group a row is a whole case: leave out --time, or --ignore the column"
        )
    if roles["group"] is not None and roles["id"] is not None:
        raise UsageError("--group gives the cases their names: leave out --id")
    with refusing():
        for name in (*roles.values(), *(configured.get("features") or ()), *(configured.get("ignore") or ())):
            if name is not None:
                table.column(name)
    taken = [name for name in roles.values() if name is not None]
    twice = {name for name in taken if taken.count(name) > 1}
    if twice:
        raise UsageError(f"the column {twice.pop()!r} has two roles, expected one")
    return Layout(
        task,
        **roles,
        features=_features(table, configured, taken),
        columns=tuple(table),
        separator=table.separator,
        decimal=table.decimal if table.shows_decimal else None,
        day_first=table.day_first(roles["time"]),
        counted=time_is_counted(table, roles["time"]),
    )


def time_is_counted(table: CsvTable, name: str | None) -> bool | None:
    """Return whether a column counts steps rather than holds times; None without a column.

    Raises
    ------
    DataRefused
        If it holds neither.
    """
    if name is None:
        return None
    with refusing():
        return table.times(name).values.dtype.kind != "M"


def _features(table: CsvTable, configured: Configuration, taken: list[str]) -> tuple[str, ...]:
    chosen, ignored = configured.get("features"), configured.get("ignore") or []
    if chosen is not None:
        both = [name for name in chosen if name in taken]
        if both:
            raise UsageError(f"--features names {both[0]!r}, which has another role already")
        names = list(chosen)
    else:
        names = [name for name in table if name not in taken and name not in ignored]
    if not names:
        raise DataRefused(f"{table.name} has no column left that the network could read, beside {', '.join(taken)}")
    for name in names:
        column = table.column(name)
        if column.kind == "empty":
            raise DataRefused(f"{table.name}: column {name!r} has no values: leave it out with --ignore {name}")
        try:
            table.numbers(name)
        except ValueError as error:
            ignore = f"leave the column out with --ignore {name!r}"
            advice = f"{ignore}, or repair the file"
            if column.kind == "text":
                roles = [one for one in ("id", "group", "keep_together") if not configured.get(one)]
                if configured.task == "anomaly":
                    roles = [one for one in roles if one == "group"]
                options = ", ".join(f"--{one.replace('_', '-')} {name!r}" for one in roles)
                advice = f"say what it tells ({options}), or {ignore}" if options else ignore
            raise DataRefused(f"{error}: {advice}") from error
    return tuple(names)


def layout_from(described: Any) -> Layout:
    """Return the layout that a file describes; raise ValueError if it describes none."""
    if not isinstance(described, Mapping) or {*described, "counted"} != {field.name for field in fields(Layout)}:
        raise ValueError("the roles of the columns are not those of this version")
    values = {"counted": None, **described}  # files of earlier versions do not say it
    for name in ("features", "columns"):
        if not isinstance(values[name], list) or not all(isinstance(one, str) for one in values[name]):
            raise ValueError(f"{name} must be names of columns")
        values[name] = tuple(values[name])
    for name in ("target", "time", "id", "group", "keep_together"):
        if not isinstance(values[name], (str, type(None))):
            raise ValueError(f"{name} must be the name of a column")
    for name in ("task", "separator", "decimal"):
        if not (values[name] is None and name == "decimal") and (not isinstance(values[name], str) or not values[name]):
            raise ValueError(f"{name} must be a string")
    flags = [values["day_first"], values["counted"]]
    if not all(one in (None, True, False) for one in flags) or not values["features"]:
        raise ValueError("the roles of the columns are damaged")
    return Layout(**values)
