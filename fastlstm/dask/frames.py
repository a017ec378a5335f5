"""Dataframes of Dask whose rows are steps of series."""

from __future__ import annotations

from typing import Any

from .._checks import short_repr
from .packages import dask_module

__all__ = ["is_dataframe", "require_columns", "whole_series", "with_column", "with_types"]


def is_dataframe(collection: Any) -> bool:
    """Return whether an object is a dataframe of Dask."""
    try:
        return isinstance(collection, dask_module("dask.dataframe").DataFrame)
    except ImportError:  # pandas or pyarrow is missing, so that it cannot be one
        return False


def require_columns(frame: Any, **named: Any) -> None:
    """Raise ValueError if a name, or one of a list of names, is no column of a table, nor its index; skip None."""
    known = list(frame.columns)
    index = getattr(getattr(frame, "index", None), "name", None)
    for argument, names in named.items():
        for name in names if argument != "by" and isinstance(names, (list, tuple)) else [names]:
            if name is not None and name not in known and name != index:
                raise ValueError(
                    f"{argument}={short_repr(name)} is no column of the table, which has {', '.join(map(str, known))}"
                )


def whole_series(collection: Any, by: str, partitioned: bool) -> tuple[Any, bool]:
    """Return a dataframe none of whose series is in two partitions, and whether its rows have been moved for that."""
    require_columns(collection, by=by)
    by_index = collection.index.name == by
    if partitioned or collection.npartitions == 1 or (by_index and collection.known_divisions):
        return collection, False
    return collection.shuffle(on=by), True


def with_column(part: Any, by: str) -> Any:
    """Return a table of pandas that has the names of its series as a column, also if they are its index."""
    return part.reset_index() if part.index.name == by and by not in part.columns else part


def with_types(part: Any, empty: Any, by: str) -> Any:
    """Return a table with the types of an empty one, except for categories of its names that the empty one lacks."""
    types = empty.dtypes.to_dict()
    known = getattr(types[by], "categories", None)
    if known is not None and not part[by].isin(known).all():
        types[by] = "category"
    return part.astype(types)
