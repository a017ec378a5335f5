"""Quantiles of the next day's power factor, with `Forecaster`: the fan chart of ``python -m fastlstm demo power``."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from ..data.datasets import SteelPowerFactor
from ..forecast.forecaster import Forecaster
from ..plots import fan

__all__ = ["EPOCHS", "draw_fan"]

EPOCHS = 15
"""Enough for a picture: ``epochs="auto"`` takes three times as many, for errors that are smaller by some percent."""
_DAY = 96


def draw_fan(
    data: SteelPowerFactor, stop: int, path: str | os.PathLike[str], *, seed: int = 0, verbose: int = 0
) -> None:
    """Train on the rows before `stop`, and draw the forecast of the first Tuesday after them, made at midnight.

    Parameters
    ----------
    data : SteelPowerFactor
    stop : int
        Number of rows for the training. Those from here to the origin are read by `Forecaster.update`.
    path : path
        File of the picture.
    seed, verbose : int
        As in `Forecaster`.

    Raises
    ------
    ImportError
        Without pandas or matplotlib, before the training.
    """
    importlib.import_module("matplotlib.figure")
    columns = [*data.values.T.astype(np.float64)]
    rows: dict[str, Any] = {"ds": data.time, **dict(zip(data.columns, columns, strict=True))}
    target = "lagging_power_factor"
    forecaster = Forecaster(
        "1D",
        hist_exog=[name for name in data.columns if name != target],
        bounds=(0, 1),
        epochs=EPOCHS,
        random_state=seed,
        verbose=verbose,
    )
    forecaster.fit({name: values[:stop] for name, values in rows.items()}, target_col=target)
    origin = _midnight(data, stop)
    forecaster.update({name: values[stop : origin + 1] for name, values in rows.items()})
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    table = forecaster.predict(quantiles=levels)
    past, day = slice(origin + 1 - 2 * _DAY, origin + 1), slice(origin + 1, origin + 1 + _DAY)
    fan(
        data.time[day],
        table[[f"fastlstm-q-{level:g}" for level in levels]].to_numpy(),
        levels,
        past_times=data.time[past],
        past=rows[target][past],
        truth=rows[target][day],
        name="power factor",
        path=path,
        title=f"Power factor of a steel works on Tuesday, {data.time[origin].astype('M8[D]')}, as forecast at midnight",
    )


def _midnight(data: SteelPowerFactor, stop: int) -> int:
    """Return the row of the first midnight from `stop` on with which a Tuesday begins."""
    days = data.time[stop:].astype("M8[D]")
    tuesday = (days.astype(np.int64) + 3) % 7 == 1  # 1970-01-01 was a Thursday
    return stop + int(np.flatnonzero(tuesday & (data.time[stop:] == days))[0])
