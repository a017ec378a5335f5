"""Groups of rows or cases: the engine, patient or meter to which each belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_array, strings
from .._checks import short_repr
from .._foreign import is_missing

__all__ = ["Groups", "as_groups", "check_increasing", "value_per_group"]


class Groups(NamedTuple):
    """Groups in the order in which they first appear."""

    names: NDArray[Any]
    """(g,): the value that the rows of a group share."""
    numbers: NDArray[np.int64]
    """(n,): for each row the index of its group in `names`."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of rows of each group, (g,)."""
        return np.bincount(self.numbers, minlength=len(self.names)).astype(np.int64)

    def order(self) -> NDArray[np.int64]:
        """Return the rows sorted by group, (n,); within a group they keep their order."""
        return np.argsort(self.numbers, kind="stable").astype(np.int64)


def as_groups(values: ArrayLike, n: int | None, name: str) -> Groups:
    """Return the group of each of `n` rows (None: of any number, at least one); an error calls `values` `name`."""
    array = as_array(values, name)
    if array.ndim != 1 or not len(array) or (n is not None and len(array) != n):
        raise ValueError(
            f"{name} has shape {array.shape}, expected {'(rows,)' if n is None else f'({n},)'}: one value for each "
            f"{'row' if n is None else 'case or row'}, such as the number of the engine or the name of the patient"
        )
    if array.dtype.kind in "OU":
        array = strings(values, name)
    if array.dtype.kind not in "iufbUM":
        raise TypeError(f"{name} has type {array.dtype}, expected integers or strings: use {name}.astype(str)")
    if array.dtype.kind in "fM":
        missing = np.isnat(array) if array.dtype.kind == "M" else np.isnan(array)
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(f"{name}[{row}] is missing ({array[row]}), expected the group of each row: drop such rows")
    names, first, numbers = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Groups(names[order], rank[numbers.reshape(-1)])


def check_increasing(time: ArrayLike, groups: Groups, name: str, cure: str, *, named: bool = True) -> NDArray[Any]:
    """Return the times of all rows, (n,); raise ValueError unless they increase strictly within each group.

    Parameters
    ----------
    time : array, shape (n,)
        Numbers or datetime64.
    groups : Groups
        Group of each row.
    name : str
        Name of the times in messages.
    cure : str
        What to do about rows that are not in order.
    named : bool, default True
        Whether messages name the group; there may be only one.
    """
    times = as_array(time, name)
    if times.shape != groups.numbers.shape:
        raise ValueError(f"{name} has shape {times.shape}, expected {groups.numbers.shape}: one time for each row")
    if times.dtype.kind not in "iufMm":
        raise TypeError(
            f"{name} has type {times.dtype}, expected numbers or datetime64: convert it first, for example by "
            f"pandas.to_datetime({name}), or {name}.str.to_datetime() of polars"
        )
    order = groups.order()
    sorted_times, numbers = times[order], groups.numbers[order]
    # The comparison is false for nan and NaT too.
    bad = (numbers[1:] == numbers[:-1]) & ~(sorted_times[1:] > sorted_times[:-1])
    missing = np.isnat(sorted_times) if times.dtype.kind in "Mm" else sorted_times != sorted_times
    if missing.any():
        row = int(order[np.argmax(missing)])
        where = f" of the group {_shown(groups.names[groups.numbers[row]])}" if named else ""
        raise ValueError(f"{name}: row {row}{where} has no time, expected one in each row: drop such rows")
    if bad.any():
        place = int(np.argmax(bad))
        before, row = int(order[place]), int(order[place + 1])
        where = f" of the group {_shown(groups.names[groups.numbers[row]])}" if named else ""
        again = times[row] == times[before]
        raise ValueError(
            f"{name}: row {row}{where} has the time {times[row]}, "
            f"{'that of' if again else f'which is before {times[before]} of'} row {before}, expected increasing times"
            f"{' in each group' if named else ''}: {'drop rows that are there twice' if again else cure}"
        )
    return times


def value_per_group(value: Any, groups: Groups, name: str) -> NDArray[Any]:
    """Return one value for each group, (g,), of a single value, a mapping, or an array for groups or for rows."""
    if hasattr(type(value), "to_dict") and len(value) == len(groups.names) < len(groups.numbers):
        # A Series of pandas, such as that of a groupby, which sorts the groups: read it by its index.
        by_index = value.to_dict()
        value = by_index if by_index.keys() == set(groups.names.tolist()) else value
    if isinstance(value, Mapping):
        lost = [one for one in groups.names.tolist() if one not in value]
        if lost:
            raise ValueError(
                f"{name} has no value for the group {_shown(lost[0])}, expected one for each of {len(groups.names)} "
                f"groups: it has {short_repr(list(value)[:10])}"
            )
        return as_array([value[one] for one in groups.names.tolist()], name)
    array = as_array(value, name)
    n = len(groups.names)
    if array.ndim == 0:
        return np.broadcast_to(array, (n,))
    if array.shape == (n,):
        return array
    if array.shape != groups.numbers.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected one value, a dict of group: value, ({n},) for the groups in the "
            f"order of their first rows, or {groups.numbers.shape} for the rows"
        )
    first = np.full(n, len(array), np.int64)
    np.minimum.at(first, groups.numbers, np.arange(len(array)))
    result: NDArray[Any] = array[first]
    same = (array == result[groups.numbers]) | np.array([is_missing(one) for one in array.tolist()])
    if not same.all():
        row = int(np.argmin(same))
        group = groups.numbers[row]
        raise ValueError(
            f"{name} is {result[group]} in row {first[group]} and {array[row]} in row {row} of the group "
            f"{_shown(groups.names[group])}, expected one value in all rows of a group"
        )
    return result


def _shown(name: Any) -> str:
    """Return the name of a group as it is typed."""
    return short_repr(name.item() if isinstance(name, np.generic) else name)
