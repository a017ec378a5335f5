"""Series on regular grids of time: what tables become before a network reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._typing import Array

__all__ = ["Columns", "Panel", "SeriesData"]


@dataclass(frozen=True)
class Columns:
    """Names of the columns of the training data."""

    id_col: str
    time_col: str
    target_col: str
    hist_exog: tuple[str, ...] = ()
    """Numbers that are known up to the present."""
    futr_exog: tuple[str, ...] = ()
    """Numbers that are known in advance."""
    stat_exog: tuple[str, ...] = ()
    """Numbers that do not change, one for each series."""
    cat_exog: tuple[str, ...] = ()
    """Categories that do not change, one for each series."""


@dataclass(frozen=True, eq=False)
class SeriesData:
    """One series on its grid. Missing values are NaN."""

    id: Any
    """As the user gave it."""
    times: Array
    """(T,), datetime64[ns] in UTC, or int64 if time is counted in steps."""
    y: Array
    """(T,), float64."""
    hist: Array
    """(T, n), float64: what is known up to the present."""
    futr: Array
    """(T, m), float64: what is known in advance, calendar and holidays among it."""
    static: Array
    """(s,), float64: what does not change."""

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, eq=False)
class Panel:
    """Series with the same columns."""

    series: list[SeriesData]
    hist_names: tuple[str, ...] = ()
    futr_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of grid points of all series."""
        return sum(map(len, self.series))

    def __len__(self) -> int:
        return len(self.series)
