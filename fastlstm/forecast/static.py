"""What does not change within a series: numbers and categories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import short_repr
from .._foreign import is_missing, type_name
from .ids import check_id, plain_value, who
from .numbers import read_numbers
from .packages import pandas_package
from .panel import Columns
from .sources import Source, no_column, plain_frame

__all__ = ["StaticFeatures"]

_CATEGORIES = (str, int, float, bool)


class StaticFeatures:
    """Static features of known series, and the categories that occurred in training.

    Attributes
    ----------
    names : tuple of str
        Names of the features: the numbers, then "column=category" for each category, 1 where it applies.
    categories : dict of str: list
    known : dict
        From the id of a series to its values, by column.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.categories: dict[str, list[Any]] = {name: [] for name in columns.cat_exog}
        self.known: dict[Any, dict[str, Any]] = {}

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Names of the static columns."""
        return self.columns.stat_exog + self.columns.cat_exog

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns.stat_exog + tuple(
            f"{name}={value}" for name in self.columns.cat_exog for value in self.categories[name]
        )

    def learn(self, table: dict[Any, dict[str, Any]]) -> None:
        """Take note of series, and of their categories."""
        if self.all_columns:
            self.known.update(table)
        for name in self.columns.cat_exog:
            values = {values[name] for values in table.values()}
            self.categories[name] = sorted(values, key=lambda value: (type(value).__name__, value))

    def of(self, one: Any, values: dict[str, Any]) -> NDArray[np.float64]:
        """Return the features of a series; raise ValueError if a category is unknown."""
        features = [float(values[name]) for name in self.columns.stat_exog]
        for name in self.columns.cat_exog:
            known = self.categories[name]
            if values[name] not in known:
                raise ValueError(
                    f"{who(one)} has the {name} {values[name]!r}, a category that did not occur in training, expected "
                    "one of "
                    f"{', '.join(map(repr, known[:20]))}{', ...' if len(known) > 20 else ''}"
                )
            features += [float(value == values[name]) for value in known]
        return np.array(features)

    def collect(
        self, ids: list[Any], codes: NDArray[np.int64], source: Source, static_df: Any
    ) -> dict[Any, dict[str, Any]]:
        """Return the static values of the series of a table, from its columns, `static_df`, or what is known.

        Raises
        ------
        ValueError
            If a value is missing or changes within a series.
        """
        found: dict[Any, dict[str, Any]] = {one: {} for one in ids}
        inside = [name for name in self.all_columns if name in source.frame.columns]
        for name in inside:
            for one, value in zip(ids, self._constant(name, ids, codes, source), strict=True):
                found[one][name] = value
        if static_df is not None:
            for one, values in self._of_frame(static_df, ids, inside, source.form).items():
                found[one].update(values)
        for one in ids:
            for name in self.all_columns:
                if name not in found[one]:
                    found[one][name] = self._recall(one, name)
        return found

    def _recall(self, one: Any, name: str) -> Any:
        if one in self.known:
            return self.known[one][name]
        raise ValueError(
            f"{who(one)} has no value of the static column {name!r}: give it in a column of df, or in static_df"
        )

    def _values(self, name: str, column: Any, code: str, row: Any) -> list[Any]:
        """Return a column as a list; numbers for stat_exog."""
        if name in self.columns.stat_exog:
            values: list[Any] = read_numbers(column, name, code, row).tolist()
            return values
        _category_codes(column, name, code, row)
        return [None if missing else plain_value(value) for value, missing in zip(column, column.isna(), strict=True)]

    def _constant(self, name: str, ids: list[Any], codes: NDArray[np.int64], source: Source) -> list[Any]:
        """Return the value of each series in a column that must not change."""
        column = source.frame[name]
        code = source.code(name)
        firsts = np.zeros(len(ids), np.int64)
        firsts[codes[::-1]] = np.arange(len(codes))[::-1]
        if name in self.columns.stat_exog:
            kinds = read_numbers(column, name, code, source.row)
            same = kinds[firsts][codes]
            differ = np.flatnonzero((kinds != same) & ~(np.isnan(kinds) & np.isnan(same)))
        else:
            kinds = _category_codes(column, name, code, source.row)
            differ = np.flatnonzero(kinds != kinds[firsts][codes])
        if len(differ):
            row = int(differ[0])
            first = int(firsts[codes[row]])
            role = "stat_exog" if name in self.columns.stat_exog else "cat_exog"
            other = (
                "put it into hist_exog or futr_exog" if role == "stat_exog" else "make columns of 0 and 1 for futr_exog"
            )
            raise ValueError(
                f"column {name!r} is in {role}, but changes within {who(ids[codes[row]])}, from "
                f"{short_repr(plain_value(column.iloc[first]))} ({source.row(first)}) to "
                f"{short_repr(plain_value(column.iloc[row]))} ({source.row(row)}): {other}"
            )
        values = self._values(name, column.iloc[firsts], code, lambda n: source.row(int(firsts[n])))
        for one, value in zip(ids, values, strict=True):
            _check_present(one, name, value)
        return values

    def _of_frame(self, static_df: Any, ids: list[Any], inside: list[str], form: str) -> dict[Any, dict[str, Any]]:
        """Return the values of series in a frame with a row for each."""
        frame, _ = plain_frame(static_df, "static_df", "")
        id_col = self.columns.id_col
        if id_col not in frame.columns:
            if frame.index.name == id_col:
                frame = frame.reset_index()
            elif len(ids) == 1 == len(frame) and form in ("series", "single series"):
                frame = frame.assign(**{id_col: [ids[0]]})
            else:
                raise ValueError(no_column(list(frame.columns), id_col, "id_col", "static_df"))
        names = [column for column in frame.columns if column != id_col]
        for name in names:
            if name not in self.all_columns:
                raise ValueError(
                    f"static_df has the column {name!r}, which is in no list: name it in stat_exog if it holds "
                    "numbers or in "
                    f"cat_exog if it holds categories, or drop it with static_df.drop(columns=[{name!r}])"
                )
            if name in inside:
                raise ValueError(f"column {name!r} is in df and in static_df, expected it in one of them")
        wanted = set(ids)
        row_ids = [plain_value(value) for value in frame[id_col]]
        found: dict[Any, dict[str, Any]] = {}
        columns = {
            name: self._values(name, frame[name], f"static_df[{name!r}]", lambda n: f"row {n} of static_df")
            for name in names
        }
        for number, one in enumerate(row_ids):
            check_id(one, f"row {number} of static_df")
            if one in found:
                raise ValueError(f"static_df has two rows for {who(one)}, expected one for each series")
            found[one] = {name: values[number] for name, values in columns.items()}
        for one in wanted & set(found):
            for name, value in found[one].items():
                _check_present(one, name, value)
        return {one: values for one, values in found.items() if one in wanted}

    def to_config(self) -> dict[str, Any]:
        """Return a description for JSON."""
        for one in self.known:
            if not isinstance(one, (str, int, float, bool)):
                raise ValueError(f"ids of type {type(one).__name__} cannot be saved: use texts or whole numbers")
        return {"categories": self.categories, "known": [[one, values] for one, values in self.known.items()]}

    @classmethod
    def from_config(cls, config: Any, columns: Columns) -> StaticFeatures:
        """Return what `to_config` described; raise ValueError if that is damaged."""
        features = cls(columns)
        if not isinstance(config, dict) or set(config) != {"categories", "known"}:
            raise ValueError(f"static features must have categories and known, got {short_repr(config)}")
        categories, known = config["categories"], config["known"]
        if not isinstance(categories, dict) or set(categories) != set(columns.cat_exog):
            raise ValueError(f"the categories must be those of {columns.cat_exog}, got {short_repr(categories)}")
        for name, values in categories.items():
            if not isinstance(values, list) or not all(isinstance(one, (str, int, float)) for one in values):
                raise ValueError(f"the categories of {name!r} must be a list, got {short_repr(values)}")
        features.categories = {name: list(categories[name]) for name in columns.cat_exog}
        if not isinstance(known, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in known):
            raise ValueError("the known static values must be pairs")
        for one, values in known:
            if not isinstance(one, (str, int, float)) or not isinstance(values, dict):
                raise ValueError(f"static values of {short_repr(one)} must be an object")
            if set(values) != set(features.all_columns):
                raise ValueError(f"static values of {short_repr(one)} must be those of {features.all_columns}")
            for name in columns.stat_exog:
                if type(values[name]) not in (int, float) or not math.isfinite(values[name]):
                    raise ValueError(f"the static {name!r} of {short_repr(one)} must be a number")
            for name in columns.cat_exog:
                if not isinstance(values[name], (str, int, float)):
                    raise ValueError(f"the static {name!r} of {short_repr(one)} must be a category")
            features.known[one] = dict(values)
        return features


def _category_codes(column: Any, name: str, code: str, row: Any) -> NDArray[Any]:
    """Return a number for each category of a column; raise TypeError if a category is no text, number or bool."""
    pd = pandas_package()
    try:
        codes, unique = pd.factorize(column, use_na_sentinel=False)
        odd = next((one for one in unique if not (is_missing(one) or isinstance(plain_value(one), _CATEGORIES))), None)
    except TypeError:  # values that cannot be compared
        codes, odd = None, next(one for one in column if not isinstance(plain_value(one), _CATEGORIES))
    if odd is not None:
        number = next(number for number, one in enumerate(column) if one is odd or one == odd)
        raise TypeError(
            f"{row(number)} has the category {short_repr(odd)} in column {name!r}, a {type_name(odd)}, expected a "
            "text, a "
            f"number or a bool: {code} = {code}.astype(str)"
        )
    return np.asarray(codes)


def _check_present(one: Any, name: str, value: Any) -> None:
    if value is None or value != value:
        raise ValueError(
            f"{who(one)} has no value of the static column {name!r}, expected one: fill it or drop the series"
        )
