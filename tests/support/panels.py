"""Panels made by hand, and engines that are quick to train."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm.forecast.engine import Engine
from fastlstm.forecast.panel import Panel, SeriesData
from fastlstm.forecast.settings import Settings


def series(y: Any, hist: Any = None, futr: Any = None, static: Any = (), id: Any = "a", start: int = 0) -> SeriesData:
    """Return a series whose time is counted in steps."""
    values = np.asarray(y, float)
    rows = len(values)
    columns = [np.zeros((rows, 0)) if one is None else np.asarray(one, float).reshape(rows, -1) for one in (hist, futr)]
    return SeriesData(id, np.arange(start, start + rows), values, *columns, np.asarray(static, float))


def panel(*given: SeriesData) -> Panel:
    """Return a panel with numbered columns."""
    first = given[0]
    names = (
        tuple(f"{kind}{k}" for k in range(n))
        for kind, n in (("h", first.hist.shape[1]), ("f", first.futr.shape[1]), ("s", len(first.static)))
    )
    return Panel(list(given), *names)


def engine(horizon: int, **given: Any) -> Engine:
    """Return a small engine that is not trained yet."""
    small = {"hidden_size": 16, "dropout": 0.0, "epochs": 5, "step_context": 4, "common_context": 8, "local_units": 16}
    return Engine(Settings(horizon, **{**small, **given}))


def noise(rows: int, seed: int = 0) -> np.ndarray:
    """Return normal numbers."""
    return np.random.default_rng(seed).standard_normal(rows)
