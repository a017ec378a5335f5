"""Objects that give one case at a time, such as a data set of PyTorch: how they are told from arrays and loaders."""

from __future__ import annotations

from collections.abc import Mapping

from .._foreign import type_name
from .sequences import Sequences

__all__ = ["gives_cases", "refuse_batches", "refuse_dataset"]

_NOT_CASES = ("array", "builtins", "collections", "pandas", "polars", "scipy")
"""Packages whose containers hold values, or tables, rather than cases."""


def gives_cases(X: object) -> bool:
    """Return whether an object is to be read case by case: it has a length and an index, and is no array or table."""
    kind = type(X)
    if isinstance(X, (Sequences, Mapping, list, tuple)) or (hasattr(X, "shape") and hasattr(X, "dtype")):
        return False
    if any(hasattr(kind, name) for name in ("__array__", "__array_interface__", "__dataframe__")):
        return False
    if kind.__module__.partition(".")[0] in _NOT_CASES:
        return False
    return hasattr(kind, "__len__") and hasattr(kind, "__getitem__")


def refuse_batches(X: object, name: str) -> None:
    """Raise TypeError if an object gives batches in its own order, as loaders of other packages do."""
    kind = type(X)
    if hasattr(kind, "__getitem__") or not hasattr(kind, "__iter__"):
        return
    if hasattr(X, "dataset"):
        raise TypeError(
            f"{name} is a {type_name(X)}, which gives batches in its own order, expected an object that gives one "
            f"case at a time: pass {name}.dataset, and batch_size and shuffle to fit"
        )
    if kind.__module__.partition(".")[0] == "tensorflow":
        raise TypeError(
            f"{name} is a {type_name(X)} of TensorFlow, which has no index, expected an object with __len__ and "
            f"__getitem__ that gives one case (x, y): pass list({name}.unbatch().as_numpy_iterator()), without "
            "unbatch() if its elements are single cases"
        )


def refuse_dataset(X: object, name: str = "X") -> None:
    """Raise TypeError if the inputs that belong to given targets come case by case, or in batches of a loader."""
    refuse_batches(X, name)
    if gives_cases(X):
        raise TypeError(
            f"{name} is a {type_name(X)}, an object that is read case by case, expected no y beside it: let "
            f"its __getitem__ return (x, y) and leave y out, or pass [{name}[i] for i in range(len({name}))] as a list "
            "of series"
        )
