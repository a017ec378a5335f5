"""What was understood of a table, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["GridReport"]


@dataclass(eq=False)
class GridReport:
    """What was read, inferred and repaired; `print` it, or take `to_dict`."""

    form: str = ""
    """"long", "single series", "series" or "wide"."""
    columns: dict[str, str] = field(default_factory=dict)
    """The role and type of each column."""
    time_column: str = ""
    times: str = ""
    """What the times are, such as "naive local times"."""
    time_zone: str | None = None
    """The zone whose clock the calendar follows; None if there is none."""
    frequency: str = ""
    series: int = 0
    rows: int = 0
    """Rows of the table."""
    points: int = 0
    """Points of the grids of all series."""
    start: str = ""
    end: str = ""
    gaps: int = 0
    """Points without a row."""
    series_with_gaps: int = 0
    longest_gap: int = 0
    """Points of the longest gap."""
    duplicates: int = 0
    """Identical rows that were dropped."""
    snapped: int = 0
    """Rows whose times were moved to the grid."""
    largest_shift: str = ""
    tolerance: str = ""
    """How far a time may be moved."""
    sorted_rows: bool = False
    """Whether rows had to be sorted."""
    repeated_hours: int = 0
    """Rows in hours that occur twice; their order told which is which."""
    hours_taken_as_first: int = 0
    """Rows in hours that occur twice of which the data hold one."""
    skipped_hours: int = 0
    """Empty rows at times that the clock skips; they were dropped."""
    missing: dict[str, int] = field(default_factory=dict)
    """Points without a value, by column; gaps count."""
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = self.table()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def table(self) -> list[tuple[str, str]]:
        """Return names and values as text, a row each."""
        return [
            ("table", f"{self.form}, {self.rows:,} rows, {self.series:,} series"),
            *((f"column {name}", role) for name, role in self.columns.items()),
            ("time", f"{self.times}, {self.start} to {self.end}"),
            ("time zone", self.time_zone or "none: calendar of the times as they are"),
            ("frequency", self.frequency),
            *self._repairs(),
            *((f"missing {name}", f"{count:,} of {self.points:,}") for name, count in self.missing.items() if count),
            *(("note", note) for note in self.notes),
        ]

    def _repairs(self) -> list[tuple[str, str]]:
        rows = []
        if self.gaps:
            rows.append(
                (
                    "gaps",
                    f"{self.gaps:,} of {self.points:,} points have no row, in {self.series_with_gaps:,} series; "
                    f"the longest gap has {self.longest_gap:,}",
                )
            )
        if self.duplicates:
            rows.append(("duplicates", f"{self.duplicates:,} identical rows dropped"))
        if self.snapped:
            rows.append(
                (
                    "snapped",
                    f"{self.snapped:,} rows moved to the grid by at most {self.largest_shift} ({self.tolerance} "
                    "allowed)",
                )
            )
        if self.sorted_rows:
            rows.append(("order", "rows sorted by time"))
        if self.repeated_hours:
            rows.append(("repeated hour", f"{self.repeated_hours:,} rows told apart by their order"))
        if self.hours_taken_as_first:
            rows.append(("repeated hour", f"{self.hours_taken_as_first:,} rows occur once, taken as the first hour"))
        if self.skipped_hours:
            rows.append(("skipped hour", f"{self.skipped_hours:,} empty rows at times that do not exist dropped"))
        return rows
