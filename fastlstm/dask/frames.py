"""Dataframes of Dask whose rows are steps of series."""

from __future__ import annotations

from typing import Any

from .packages import dask_module

__all__ = ["is_dataframe", "whole_series", "with_column"]


def is_dataframe(collection: Any) -> bool:
    """Return whether an object is a dataframe of Dask."""
    try:
        return isinstance(collection, dask_module("dask.dataframe").DataFrame)
    except ImportError:  # pandas or pyarrow is missing, so that it cannot be one
        return False


def whole_series(collection: Any, by: str, partitioned: bool) -> tuple[Any, bool]:
    """Return a dataframe none of whose series is in two partitions, and whether its rows have been moved for that."""
    by_index = collection.index.name == by
    if not by_index and by not in collection.columns:
        raise ValueError(
            f"by={by!r} is no column of the dataframe, which has {', '.join(map(str, collection.columns))}"
        )
    if partitioned or collection.npartitions == 1 or (by_index and collection.known_divisions):
        return collection, False
    return collection.shuffle(on=by), True


def with_column(part: Any, by: str) -> Any:
    """Return a table of pandas that has the names of its series as a column, also if they are its index."""
    return part.reset_index() if part.index.name == by and by not in part.columns else part
