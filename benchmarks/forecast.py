"""Forecaster beside naive forecasts and LightGBM, on the power factor of a steel works and on a CSV of demand.

The power factor comes with fastlstm. Half-hourly demand is fpp2's `elecdemand` (Victoria, 2014), of the R package fpp2,
as a CSV with the columns ds, Demand, Temperature and WorkDay; the last 15 % are the test part of both. LightGBM has a
model for each quantile, with the step as a feature, the calendar, the columns that are known in advance, the last six
values, and those at the time of day of the forecast on seven days and in three weeks, each known at the origin.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .report import table

__all__ = ["DEMO", "demand", "power", "report"]

DEMO = {1: 0.0163, 4: 0.0263, 96: 0.0381}
"""Mean absolute errors of ``fastlstm demo power`` by steps ahead, mean of three seeds, see docs/benchmarks.md."""
_TEST = 0.15
_DAYS, _WEEKS, _LAST = 7, 3, 6
_EVERY = 3
"""LightGBM learns from each third origin, as many rows as it can hold."""
_Record = dict[str, Any]


def power(seed: int, threads: int, progress: Callable[[str], None]) -> _Record:
    """Measure the power factor, next day in quarters of an hour."""
    import pandas as pd

    from fastlstm.datasets import load_steel_power_factor

    data = load_steel_power_factor()
    frame = pd.DataFrame(data.values.astype(np.float64), columns=list(data.columns))
    frame = frame.rename(columns={"lagging_power_factor": "y"})
    others = [name for name in frame.columns if name != "y"]
    frame.insert(0, "ds", data.time)
    settings = {"hist_exog": others, "bounds": (0, 1)}
    result = _measure(frame, 96, len(frame) - 5256, settings, seed, threads, progress)
    demo = [_row(f"demo, {step} ahead", mae=error) for step, error in DEMO.items()]
    return {"title": "Power factor of a steel works, 96 quarter hours", **result, "demo": demo}


def demand(path: Path, seed: int, threads: int, progress: Callable[[str], None]) -> _Record:
    """Measure the demand for electricity, next day in half hours.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    import pandas as pd

    frame = pd.read_csv(path)
    missing = {"ds", "Demand", "Temperature", "WorkDay"} - set(frame.columns)
    if missing:
        raise ValueError(f"{path}: no column {min(missing)!r}, expected ds, Demand, Temperature, WorkDay")
    frame["ds"] = pd.to_datetime(frame["ds"])
    frame = frame.rename(columns={"Demand": "y"})
    settings = {"futr_exog": ["Temperature", "WorkDay"]}
    result = _measure(frame, 48, int(len(frame) * (1 - _TEST)), settings, seed, threads, progress)
    return {"title": "Demand for electricity in Victoria, 48 half hours", **result}


def _measure(
    frame: Any, horizon: int, stop: int, settings: Mapping[str, Any], seed: int, threads: int, progress: Any
) -> _Record:
    """Fit on the rows before `stop`, and measure at each origin from the last of them on."""
    import fastlstm as fl

    forecaster = fl.Forecaster(horizon, random_state=seed, verbose=0, n_jobs=threads, **settings)
    progress(f"Forecaster: training on {stop} rows")
    start = time.perf_counter()
    forecaster.fit(frame[:stop])
    fitted = time.perf_counter()
    found = forecaster.evaluate(frame)
    done = time.perf_counter()
    steps = found.by_horizon
    rows = []
    for method, scores in found.scores.iterrows():
        own = steps[steps["method"] == method].set_index("step")
        row = _row(method, **{key: scores[key] for key in ("mae", "mase", "pinball", "coverage")})
        row["steps"] = {step: float(own["mae"][step]) for step in (1, 4, horizon)}
        if method == "fastlstm":
            row.update(fit_s=fitted - start, predict_s=done - fitted)
            row["coverage_steps"] = [float(own["coverage"].min()), float(own["coverage"].max())]
        rows.append(row)
    if importlib.util.find_spec("lightgbm") is None:
        progress("LightGBM is left out: pip install lightgbm")
    else:
        progress("LightGBM: training a model for each quantile")
        known = list(settings.get("futr_exog", ()))
        rows.insert(1, _lightgbm(frame, horizon, stop, known, forecaster.quantiles, settings.get("bounds"), threads))
    return {"rows": rows, "horizon": horizon, "seed": seed, "threads": threads}


def _row(method: str, **scores: float) -> _Record:
    return {"method": method, **{name: float(value) for name, value in scores.items()}}


def _features(frame: Any, day: int, horizon: int, origins: np.ndarray, known: Sequence[str]) -> tuple[Any, np.ndarray]:
    """Return the features of each step from each origin, and the rows of these steps."""
    y, times = frame["y"].to_numpy(), frame["ds"].dt
    origin, ahead = np.repeat(origins, horizon), np.tile(np.arange(1, horizon + 1), len(origins))
    at = origin + ahead
    columns = [ahead, (times.hour * 60 + times.minute).to_numpy()[at], times.day_of_week.to_numpy()[at]]
    columns += [frame[name].to_numpy()[at] for name in known]
    columns += [y[at - day * k] for k in range(1, _DAYS + 1)]
    columns += [y[at - 7 * day * k] for k in range(2, _WEEKS + 1)]
    columns += [y[origin - k] for k in range(_LAST)]
    return np.stack(columns, axis=1), at


def _lightgbm(
    frame: Any, horizon: int, stop: int, known: Sequence[str], quantiles: Sequence[float], bounds: Any, threads: int
) -> _Record:
    import lightgbm

    day, y = horizon, frame["y"].to_numpy()
    features, at = _features(frame, day, horizon, np.arange(7 * day * _WEEKS + 2, stop - horizon, _EVERY), known)
    start = time.perf_counter()
    options = {"n_estimators": 300, "learning_rate": 0.05, "num_leaves": 63, "n_jobs": threads, "verbose": -1}
    models = [
        lightgbm.LGBMRegressor(objective="quantile", alpha=level, **options).fit(features, y[at]) for level in quantiles
    ]
    fitted = time.perf_counter()
    features, at = _features(frame, day, horizon, np.arange(stop - 1, len(y) - horizon), known)
    answers = np.sort(np.stack([model.predict(features) for model in models], axis=1), axis=1)
    done = time.perf_counter()
    if bounds is not None:
        answers = np.clip(answers, *bounds)
    over = y[at][:, None] - answers
    levels = np.asarray(quantiles)
    error = np.abs(over[:, list(quantiles).index(0.5)]).reshape(-1, horizon)
    row = _row(
        "LightGBM",
        mae=error.mean(),
        mase=error.mean() / np.abs(y[day:stop] - y[: stop - day]).mean(),
        pinball=np.maximum(levels * over, (levels - 1) * over).mean(),
        coverage=((answers[:, 0] <= y[at]) & (y[at] <= answers[:, -1])).mean(),
        fit_s=fitted - start,
        predict_s=done - fitted,
    )
    row["steps"] = {step: float(error[:, step - 1].mean()) for step in (1, 4, horizon)}
    return row


def report(results: Sequence[_Record], heading: str) -> str:
    """Return Markdown: a table for each set of data."""
    parts = [f"# Forecasts\n\n{heading}. The last 15 % of the time, a forecast from each row.\n"]
    for result in results:
        horizon = result["horizon"]
        first = ["mean", "1 ahead", "4 ahead", f"{horizon} ahead"]
        names = ["", *(f"MAE {one}" for one in first), "MASE", "pinball", "coverage of 90 %", "fit s", "predict s"]
        rows = [_cells(row) for row in result["rows"]]
        if "demo" in result:
            errors = [f"{row['mae']:.4f}" for row in result["demo"]]
            rows.append(["demo power (mean of 3 seeds)", "", *errors, *[""] * 5])
        least, most = result["rows"][0]["coverage_steps"]
        parts.append(f"## {result['title']}\n")
        parts.append(table(names, rows))
        parts.append(f"Coverage of single steps: {least:.3f} to {most:.3f}. Seed {result['seed']}.\n")
    return "\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    errors = [row["mae"], *row["steps"].values()]
    scores = [row["mase"], row["pinball"], row.get("coverage", np.nan)]
    seconds = [row.get("fit_s", np.nan), row.get("predict_s", np.nan)]
    formats = [*["{:.4f}"] * len(errors), "{:.3f}", "{:.5f}", "{:.3f}", "{:.1f}", "{:.1f}"]
    values = [*errors, *scores, *seconds]
    return [
        row["method"],
        *("" if np.isnan(one) else how.format(one) for how, one in zip(formats, values, strict=True)),
    ]
