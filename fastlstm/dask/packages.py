"""Dask and the packages it needs, which are imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["active_client", "dask_module"]


def dask_module(name: str = "dask") -> Any:
    """Import a module of Dask, or of a package that comes with it; ImportError says what to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"fl.dask needs {name}: pip install 'fastlstm[dask]'") from error


def active_client() -> Any:
    """Return the client of a cluster that this program has opened last; None without one."""
    distributed = dask_module("distributed")
    try:
        return distributed.get_client()
    except ValueError:
        return None
