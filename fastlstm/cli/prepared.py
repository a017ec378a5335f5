"""What a training is made of: cases, parts, settings; and how to say it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tables import aligned
from ..data import CsvTable
from ..tasks.holdout import hold_out
from .cases import Cases, read_cases
from .config import Configuration
from .errors import DataRefused, UsageError
from .fitting import classes_of
from .layout import Layout, layout_of
from .settings import checked_settings
from .tables import read_table

__all__ = ["Prepared", "prepare"]

_MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training, ready to run."""

    table: CsvTable
    layout: Layout
    cases: Cases
    """What is trained on, the part by which the training stops included."""
    held: Cases | None
    """Data of another file by which the training stops."""
    test: Cases | None
    """What is measured at the end."""
    settings: dict[str, Any]
    configured: Configuration

    @property
    def summary(self) -> dict[str, Any]:
        """What the model's file says of the data."""
        lengths = [len(one) for one in self.cases.series]
        found: dict[str, Any] = {
            "file": self.table.name,
            "rows": len(self.table),
            "cases": len(self.cases),
            "steps": [min(lengths), max(lengths)],
            "channels": self.layout.channels,
        }
        if self.test is not None:
            found["test_cases"] = len(self.test)
        if self.cases.labels is not None and self.layout.task == "classify":
            counts = Counter(str(label) for label in self.cases.labels)
            found["classes"] = {str(name): counts[str(name)] for name in classes_of(self.cases.labels).tolist()}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all that was understood, as data for JSON."""
        return {
            "table": self.table.to_dict(),
            "layout": self.layout.to_dict(),
            "data": self.summary,
            "configuration": {**self.configured.to_dict(), "settings": self.settings},
        }

    @property
    def lines(self) -> list[str]:
        """All that was understood, to read."""
        layout, data = self.layout, self.summary
        low, high = data["steps"]
        steps = f"{low} steps" if low == high else f"{low} to {high} steps"
        lines = [*self.table.describe(), ""]
        if layout.wide:
            lines.append(
                f"each row is a case: {data['cases']} cases of {steps}, in the columns {_listed(layout.features)}"
            )
        else:
            what = "one series" if layout.group is None else f"{data['cases']} series, one for each {layout.group}"
            order = f"in the order of {layout.time}" if layout.time else "in the order of the file"
            lines.append(
                f"{what} of {steps}, {order}, {layout.channels} channel{'s' if layout.channels > 1 else ''}: "
                f"{_listed(layout.features)}"
            )
            lines += self._grid()
        if "classes" in data:
            rows = [[name, str(count)] for name, count in list(data["classes"].items())[:_MOST_CLASSES]]
            lines.append(f"{len(data['classes'])} classes of {layout.target!r}:")
            lines += [f"  {line}" for line in aligned(rows)]
            names = [str(name) for name in data["classes"]]
            if len({name.lower() for name in names}) < len(names):
                lines.append("  classes that differ in upper and lower case only are different ones")
        elif layout.task == "regress":
            values = np.array(self.cases.labels, np.float64)
            lines.append(f"to predict: {layout.target!r}, {values.min():.6g} to {values.max():.6g}")
        if self.test is not None:
            lines.append(f"{len(self.test)} further cases are kept out for the test")
        changed = {key: value for key, value in self.settings.items() if value is not None}
        lines.append("settings: " + ", ".join(f"{key}={value}" for key, value in changed.items()))
        return lines

    def _grid(self) -> list[str]:
        """Describe the times: step, gaps."""
        times = self.cases.times
        if times is None or not any(len(one) > 1 for one in times):
            return []
        steps = np.concatenate([np.diff(one) for one in times])
        common = np.sort(steps)[len(steps) // 2]
        gaps = int((steps > common).sum())
        unit = f"{common.astype('timedelta64[ns]').astype(np.int64) / 1e9:g} s" if steps.dtype.kind == "m" else common
        return [f"a step is {unit}; {gaps} gaps: the rows are taken as they follow each other"]


def prepare(table: CsvTable, configured: Configuration) -> Prepared:
    """Return the training that a configuration describes.

    Raises
    ------
    UsageError
        If options contradict each other.
    DataRefused
        If the data are not what the task needs.
    """
    if not len(table):
        raise DataRefused(f"{table.name} has names of columns, but no rows")
    layout = layout_of(table, configured)
    given = dict(configured.settings)
    for key in ("epochs", "quantiles"):
        if key in configured.options:
            given[key] = configured.options[key]
    validation = configured.get("validation")
    held = None
    if validation is not None and layout.task != "anomaly":
        given["early_stopping"] = True
    if isinstance(validation, float):
        given["validation_fraction"] = validation
    settings = checked_settings(layout.task, given)
    needs_target = layout.target is not None
    missing = settings["missing"] != "error"
    cases = read_cases(table, layout, target=needs_target, missing=missing)
    if isinstance(validation, str):
        held = read_cases(read_table(validation, configured.csv), layout, target=needs_target, missing=missing)
    if layout.task == "anomaly":
        _check_normal(layout, cases)
    elif layout.task == "classify":
        _check_classes(layout, cases)
    cases, test = _test_part(layout, cases, configured, missing)
    return Prepared(table, layout, cases, held, test, settings, configured)


def _check_classes(layout: Layout, cases: Cases) -> None:
    """Raise DataRefused if the labels are measured values: fractions of which most occur once."""
    labels = cases.labels or []
    fractions = [label for label in labels if isinstance(label, float) and not label.is_integer()]
    if fractions and len(set(labels)) > len(labels) / 2:
        raise DataRefused(
            f"the column {layout.target!r} holds {len(set(labels))} different numbers such as {fractions[0]} in "
            f"{len(labels)} cases, expected classes that occur several times: predict values with --task regress"
        )


def _check_normal(layout: Layout, cases: Cases) -> None:
    wrong = 0 if cases.labels is None else sum(int(one.sum()) for one in cases.labels)
    if wrong:
        raise DataRefused(
            f"the column {layout.target!r} says that {wrong} steps are not normal, but a detector is trained on normal "
            "data only: give a file, or groups, without them; fastlstm evaluate reads files with both"
        )


def _test_part(layout: Layout, cases: Cases, configured: Configuration, missing: bool) -> tuple[Cases, Cases | None]:
    given = configured.get("test")
    if given is None:
        return cases, None
    if isinstance(given, str):
        return cases, read_cases(read_table(given, configured.csv), layout, target=True, missing=missing)
    strata = None
    if layout.task == "classify" and cases.labels is not None:
        strata = np.unique([str(label) for label in cases.labels], return_inverse=True)[1]
    together = None if cases.together is None else np.array([str(one) for one in cases.together])
    # Another seed than that of the part by which the training stops.
    rows, rest = hold_out(len(cases), given, configured.get("seed", 0) + 1, strata=strata, groups=together)
    if rest is None:
        raise UsageError(f"--test {given:g}: there are too few cases, {len(cases)}, to keep some out")
    return cases.subset(rows), cases.subset(rest)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:3])}, ..., {names[-1]}"
