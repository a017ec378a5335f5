"""CSV files as tables of series."""

from __future__ import annotations

import os
from typing import Any

from .packages import pandas_package

__all__ = ["read_csv"]


def read_csv(path: str | os.PathLike[str]) -> tuple[Any, int]:
    """Return a CSV file as a pandas frame, and the line of its first row."""
    return pandas_package().read_csv(path), 2
