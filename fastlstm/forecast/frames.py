"""From tables to a `Panel` and back: the reader that a forecaster keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .._typing import Array
from .axis import TimeAxis
from .future import Wanted, next_points, read_future
from .grid import Grid
from .grid_files import grid_of_freq
from .infer import infer_grid
from .output import PACKAGES, OutputKind, as_frame
from .packages import pandas_package
from .panel import Columns, Panel, SeriesData
from .repair import Layout, arrange
from .report import GridReport
from .report_of import fill_report
from .roles import LISTS, as_columns, check_roles, names_of
from .runs_of_times import Runs
from .sources import Source, as_source, is_wide
from .static import StaticFeatures
from .table import Table, check_kind, read_table
from .time_column import TimeKind
from .zones import zone_name

__all__ = ["FrameReader"]


_KEYS = {
    *("id_col", "time_col", "target_col", "lists", "time_zone", "wide"),
    *("axis", "times", "package", "id_dtype", "static"),
}


class FrameReader:
    """Read tables of series, and write tables of the same kind.

    `fit` learns the columns, the time grid, the kinds of ids and times, and the categories; `read` and `read_future`
    check later tables against them.

    Parameters
    ----------
    freq : str, optional
        The step of the time grid, an alias of pandas such as "15min", "D" or "MS"; a whole number where times are. By
        default it is inferred.
    time_zone : str, optional
        The zone whose clock the series follow, such as "Europe/Berlin". Times without a zone are those of its clock.
    hist_exog, futr_exog, stat_exog, cat_exog : list of str
        Columns of numbers known up to the present, of numbers known in advance, of numbers and of categories that do
        not change within a series.
    calendar : "auto", None, or list of str
        Features of the calendar, see `calendar.choose_cycles`.
    holidays : None, str, list of dates, or callable
        A country such as "DE" or "DE-BY", dates, or a function from a date to a bool.

    Attributes
    ----------
    columns : Columns
    axis : TimeAxis
    report : GridReport
        What was understood of the table that was read last.

    Examples
    --------
    >>> import pandas as pd
    >>> times = pd.date_range("2024-01-01", periods=4, freq="15min")
    >>> reader = FrameReader()
    >>> panel = reader.fit(pd.DataFrame({"ds": times, "y": [1.0, 2.0, 3.0, 4.0]}).drop(index=2))
    >>> panel.series[0].y.tolist(), reader.report.frequency, reader.report.gaps
    ([1.0, 2.0, nan, 4.0], '15 min', 1)
    >>> reader.make_future(panel, 2)
                       ds
    0 2024-01-01 01:00:00
    1 2024-01-01 01:15:00
    """

    columns: Columns
    axis: TimeAxis
    report: GridReport

    def __init__(
        self,
        *,
        freq: Any = None,
        time_zone: Any = None,
        hist_exog: Any = (),
        futr_exog: Any = (),
        stat_exog: Any = (),
        cat_exog: Any = (),
        calendar: Any = "auto",
        holidays: Any = None,
    ) -> None:
        self._freq, self._calendar, self._holidays = freq, calendar, holidays
        self._zone = zone_name(time_zone) if time_zone is not None else None
        given = (hist_exog, futr_exog, stat_exog, cat_exog)
        self._lists = {name: names_of(name, value) for name, value in zip(LISTS, given, strict=True)}
        self._wide = False
        self._static: StaticFeatures
        self._output: OutputKind

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` was called."""
        return hasattr(self, "axis")

    @property
    def static_names(self) -> tuple[str, ...]:
        """Names of the static inputs, categories one by one."""
        return self._static.names

    def fit(
        self,
        df: Any,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: Any = "y",
        static_df: Any = None,
    ) -> Panel:
        """Read the training data and learn their form.

        Parameters
        ----------
        df : DataFrame of pandas or polars, Series, mapping of columns, CsvTable, or path of a CSV file
            Long: a row for each series and time. Without a column of ids it is one series. A wide frame, each column a
            series, is recognised by the name of its columns, `id_col`, or is asked for by a list `target_col`.
        id_col, time_col : str
        target_col : str, or list of str
        static_df : DataFrame, optional
            A row for each series, with the columns of stat_exog and cat_exog that `df` has not.

        Returns
        -------
        Panel

        Raises
        ------
        TypeError, ValueError
            If the table cannot be understood; the message names the row or series, and what to type.
        """
        wide = is_wide(df, id_col, time_col, target_col)
        target = "y" if isinstance(target_col, (list, tuple)) else target_col
        columns = as_columns(id_col, time_col, target, self._lists)
        source = as_source(df, id_col, time_col, target_col)
        static = StaticFeatures(columns)
        check_roles(source, columns, static.all_columns)
        table = self._table(source, columns, None)
        learnt = static.collect(table.ids, table.rows.codes, source, static_df)

        def find(runs: Runs) -> Grid:
            counted, local_first = table.kind.form == "integer", table.kind.zone not in ("UTC", "Etc/UTC")
            if self._freq is not None:
                return grid_of_freq(self._freq, runs, table.zone, counted, local_first)
            return infer_grid(runs, table.zone, counted, local_first)

        grid, layout = arrange(table.rows, find, None)
        phases = np.unique(layout.phases)
        phase = int(phases[0]) if len(phases) == 1 else None
        ends = int(table.rows.times.min()), int(table.rows.times.max())
        axis = TimeAxis.fitted(grid, table.zone, phase, self._calendar, self._holidays, ends)
        double = set(columns.futr_exog) & set(axis.feature_names)
        if double:
            raise ValueError(f"column {min(double)!r} is called like a feature of the calendar: rename it")
        static.learn(learnt)
        _check_observed(table, target)
        self._wide, self._static, self.columns, self.axis = wide, static, columns, axis
        package = source.package if source.package in PACKAGES else "pandas"
        self._output = OutputKind(package, columns, table.id_dtype, table.kind, axis.zone)
        return self._panel(source, table, layout)

    def read(self, df: Any, static_df: Any = None, *, after: dict[Any, Any] | None = None) -> Panel:
        """Read later data, or other series, of the form that was fitted.

        Parameters
        ----------
        df, static_df
            As in `fit`. Static columns of series that were fitted may be left out.
        after : dict of id: datetime64, optional
            The last known time of series: an hour that occurs twice when summer time ends, and once in `df`, is the
            second one if the first lies before that.

        Raises
        ------
        TypeError, ValueError
            As in `fit`, and if the table has other columns, other kinds of times, or another grid.
        """
        self._require_fitted()
        columns = self.columns
        target: Any = columns.target_col
        source = as_source(df, columns.id_col, columns.time_col, target, wide=self._wide)
        check_roles(source, columns, self._static.all_columns)
        table = self._table(source, columns, self._known_ends(after))
        check_kind(table, self.axis, self._output.kind, source.code(columns.time_col))
        static = self._static.collect(table.ids, table.rows.codes, source, static_df)
        _, layout = arrange(table.rows, lambda runs: self.axis.grid, self.axis.phase)
        return self._panel(source, table, layout, static)

    def _known_ends(self, after: dict[Any, Any] | None) -> dict[Any, int] | None:
        if after is None:
            return None
        return {one: int(self.axis.as_numbers(np.atleast_1d(time))[0]) for one, time in after.items()}

    def _require_fitted(self) -> None:
        if not self.is_fitted:
            raise ValueError("nothing was fitted yet: call fit(df) first")

    def _table(self, source: Source, columns: Columns, after: dict[Any, int] | None) -> Table:
        numbers = (columns.target_col, *columns.hist_exog, *columns.futr_exog)
        names = (columns.id_col, columns.time_col, numbers)
        return read_table(source, names, self._zone, columns.target_col, after)

    def _panel(
        self, source: Source, table: Table, layout: Layout, static: dict[Any, dict[str, Any]] | None = None
    ) -> Panel:
        """Return the rows of a table as a panel, and write the report."""
        columns, axis = self.columns, self.axis
        y, *others = [layout.spread(column) for column in table.rows.values]
        width = len(columns.hist_exog)
        hist = np.stack(others[:width], axis=1) if width else np.empty((layout.points, 0))
        known = np.stack(others[width:], axis=1) if others[width:] else None
        times = _GridTimes(axis, layout)
        values = self._static.known if static is None else static
        series = []
        for number, one in enumerate(table.ids):
            start, end = layout.starts[number : number + 2]
            stamps, calendar = times.of(number)
            futr = calendar if known is None else np.concatenate([known[start:end], calendar], axis=1)
            features = self._static.of(one, values.get(one, {}))
            series.append(SeriesData(one, stamps, y[start:end], hist[start:end], futr, features))
        names = columns.futr_exog + axis.feature_names
        self.report = fill_report(source, columns, table, axis, layout, [y, *others])
        return Panel(series, columns.hist_exog, names, self._static.names)

    def read_future(self, future: Any, panel: Panel, steps: int | list[int]) -> list[Array]:
        """Return what is known of the steps after each series: futr_exog, then the calendar.

        Parameters
        ----------
        future : DataFrame, mapping of columns, CsvTable, path of a CSV file, or None
            Columns of ids, times and futr_exog, one row for each step; None if there is no futr_exog. Columns of the
            training data that are not known in advance are not read.
        panel : Panel
            The series.
        steps : int, or list of int for each series

        Returns
        -------
        list of (steps, m) arrays
            In the order of ``panel.series``.

        Raises
        ------
        ValueError
            If a cell is missing; the message names the series, the column and the first time.
        """
        self._require_fitted()
        wanted = Wanted(
            self.axis, self.columns, self._output.kind, self._zone, panel, next_points(self.axis, panel, steps)
        )
        return read_future(wanted, future)

    def make_future(self, panel: Panel, steps: int | list[int]) -> Any:
        """Return a frame of the ids and times of the steps after each series, of the user's kind."""
        self._require_fitted()
        points = next_points(self.axis, panel, steps)
        ids = [one.id for one, times in zip(panel.series, points, strict=True) for _ in range(len(times))]
        return self.frame(ids, np.concatenate(points), {})

    def frame(self, ids: Any, times: Array, columns: dict[str, Array]) -> Any:
        """Return a frame of the user's kind: ids (if the user's have them), times in the user's zone, and columns.

        Parameters
        ----------
        ids : sequence of n
            As in ``panel.series``.
        times : (n,) datetime64[ns] in UTC, or int64
        columns : dict of str: (n,) array
        """
        self._require_fitted()
        return as_frame(self._output, ids, self.axis.as_numbers(times), columns)

    def to_config(self) -> dict[str, Any]:
        """Return a description for JSON, from which `from_config` makes a fitted reader."""
        self._require_fitted()
        columns = self.columns
        return {
            "id_col": columns.id_col,
            "time_col": columns.time_col,
            "target_col": columns.target_col,
            "lists": {name: list(getattr(columns, name)) for name in LISTS},
            "time_zone": self._zone,
            "wide": self._wide,
            "axis": self.axis.to_config(),
            "times": self._output.kind.to_config(),
            "package": self._output.package,
            "id_dtype": self._output.id_dtype,
            "static": self._static.to_config(),
        }

    @classmethod
    def from_config(cls, config: Any) -> FrameReader:
        """Return the reader that `to_config` described; raise ValueError if that is damaged."""
        pandas_package()
        if not isinstance(config, dict) or set(config) != _KEYS:
            raise ValueError(f"a reader of tables must have {', '.join(sorted(_KEYS))}, got {short_repr(config)}")
        try:
            return cls._from_checked(config)
        except TypeError as error:  # of the checks of arguments
            raise ValueError(str(error)) from None

    @classmethod
    def _from_checked(cls, config: dict[str, Any]) -> FrameReader:
        lists = config["lists"]
        if (
            not isinstance(lists, dict)
            or set(lists) != set(LISTS)
            or not all(type(one) is list for one in lists.values())
        ):
            raise ValueError(f"the lists of columns must be {', '.join(LISTS)}, got {short_repr(lists)}")
        if type(config["wide"]) is not bool or config["package"] not in PACKAGES:
            raise ValueError("a reader of tables must say whether they are wide, and of which package")
        dtype = config["id_dtype"]
        if not isinstance(dtype, (str, type(None))) or not isinstance(config["time_zone"], (str, type(None))):
            raise ValueError(f"the type of ids and the time zone must be texts, got {short_repr(dtype)}")
        reader = cls(time_zone=config["time_zone"], **lists)
        reader.columns = as_columns(config["id_col"], config["time_col"], config["target_col"], reader._lists)
        reader.axis = TimeAxis.from_config(config["axis"])
        kind = TimeKind.from_config(config["times"])
        if (kind.form == "integer") != reader.axis.counted:
            raise ValueError("times and their axis do not agree on whether they are whole numbers")
        reader._wide = config["wide"]
        reader._static = StaticFeatures.from_config(config["static"], reader.columns)
        reader._output = OutputKind(config["package"], reader.columns, dtype, kind, reader.axis.zone)
        reader.report = GridReport()
        return reader


def _check_observed(table: Table, target: str) -> None:
    """Raise ValueError if a series has no value of the target at all."""
    rows = table.rows
    observed = np.bincount(rows.codes[~np.isnan(rows.values[0])], minlength=rows.series)
    if not observed.all():
        raise ValueError(
            f"{rows.who(int(observed.argmin()))} has no value in column {target!r}, expected at least one: drop the "
            "series"
        )


class _GridTimes:
    """Times and calendar of series; series on the same grid share one array, of which they get views."""

    def __init__(self, axis: TimeAxis, layout: Layout) -> None:
        self._axis, self._layout = axis, layout
        self._lengths: NDArray[np.int64] = np.diff(layout.starts)
        self._shared: dict[int, tuple[int, Array, Array] | None] = {}

    def of(self, number: int) -> tuple[Array, Array]:
        """Return the times and the calendar of a series."""
        first, length = int(self._layout.first[number]), int(self._lengths[number])
        phase = int(self._layout.phases[number])
        if phase not in self._shared:
            self._shared[phase] = self._of_phase(phase)
        shared = self._shared[phase]
        if shared is None:
            return self._made(first, length, phase)
        begin, times, calendar = shared
        return times[first - begin : first - begin + length], calendar[first - begin : first - begin + length]

    def _of_phase(self, phase: int) -> tuple[int, Array, Array] | None:
        chosen = self._layout.phases == phase
        first = self._layout.first[chosen]
        begin, end = int(first.min()), int((first + self._lengths[chosen]).max())
        if end - begin > 2 * int(self._lengths[chosen].sum()):  # series of different eras
            return None
        return begin, *self._made(begin, end - begin, phase)

    def _made(self, first: int, length: int, phase: int) -> tuple[Array, Array]:
        times = self._axis.as_times(self._axis.grid.times(np.arange(first, first + length), phase))
        return times, self._axis.features(times)
