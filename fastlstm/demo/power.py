"""Forecast the power factor of a steel works: ``python -m fastlstm demo power``.

The model returns an output at every step: after every quarter of an hour it reads the data known so far and forecasts
the lagging power factor 15 minutes, 1 hour and 24 hours ahead. Its output is the *change* from the present value, so
that training starts from the forecast "no change", which is hard to beat at 15 minutes.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._typing import Array
from ..data import Standardizer, split
from ..data.datasets import SteelPowerFactor, load_steel_power_factor
from ..layers import LSTM, Dense, Dropout
from ..model import Model
from ..optimizers import AdamW
from ..schedules import CosineLR
from ..training.callbacks import EarlyStopping
from ..training.history import History
from .power_fan import draw_fan
from .report import check_reloaded, printer, save_plot, table

__all__ = [
    "HORIZONS", "PARTS", "baselines", "fit", "forecast", "make_inputs", "make_windows", "mean_errors", "new_model",
    "run_power",
]  # fmt: skip


DAY = 96
"""Steps per day, of 15 minutes each."""
WEEK = 7 * DAY
HORIZONS = {"15 minutes": 1, "1 hour": 4, "24 hours": DAY}
"""Steps ahead."""
PARTS = (0.7, 0.15, 0.15)
"""Shares of training, validation and test, in time."""

# Chosen on the validation part, and on two earlier parts of the year used in its place.
HIDDEN_SIZE = 96
DROPOUT = 0.3
LEARNING_RATE = 0.01
BATCH_SIZE = 8
EPOCHS = 40
PATIENCE = 15


def run_power(out_dir: Path, seed: int = 0, verbose: int = 1) -> dict[str, Any]:
    """Train, validate, test, save and reuse a forecaster of the power factor.

    Parameters
    ----------
    out_dir : Path
        An existing folder, for ``power.safetensors``, ``power.png``, ``power-forecast.png`` and ``power-fan.png``.
    seed : int, default 0
        Decides weights, dropout and the order of the training windows.
    verbose : {0, 1}, default 1
        Whether to print, and to show a progress bar if stderr is a terminal.

    Returns
    -------
    dict
        ``"mae"``: for each of `HORIZONS` the mean absolute errors on the test part, of ``"LSTM"`` and of the
        `baselines`; ``"val_mae"``: the same on the validation part; ``"epochs"`` and ``"best_epoch"``; ``"seconds"``
        that the training took; ``"model"``, ``"plot"``, ``"forecast_plot"`` and ``"fan_plot"``: the files (the plots
        None without matplotlib, the last one without pandas too).

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C ended the training.
    """
    say = printer(verbose)
    data = load_steel_power_factor()
    train, validation, test = split(data.time, PARTS, method="time")
    say("A steel works in 2018: what will its power factor be in 15 minutes, 1 hour, 24 hours?")
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        say(f"  {name:<10}  {data.time[part][0]} to {data.time[part][-1]}, {len(data.time[part]):,} steps")

    (X_train, _), _ = windows = make_windows(data)
    say(f"\nTraining on {len(X_train)} windows of two days, with {X_train.shape[2]} inputs at each step")
    model = new_model(seed)
    start = time.perf_counter()
    history = fit(model, windows, verbose)
    seconds = time.perf_counter() - start
    say(f"  {history.epochs} epochs in {seconds:.1f} s, kept the weights of epoch {history.best_epoch}")

    forecasts = forecast(model, data)
    errors = mean_errors(data, forecasts, test)
    say("\nMean absolute error on the test part")
    say(_error_table(errors))

    say("\nFiles")
    path = out_dir / "power.safetensors"
    model.save(path)
    check_reloaded(path, partial(forecast, data=data), forecasts)
    say(f"  {path}: the model; loaded again, it gives the same forecasts")
    plot = save_plot(history.plot, out_dir / "power.png", "loss and error over the epochs", say)
    week = slice(test.start, test.start + WEEK)
    forecast_plot = save_plot(
        partial(_plot_forecasts, data, forecasts, week), out_dir / "power-forecast.png", "a week of the test part", say
    )
    fan_plot = save_plot(
        partial(draw_fan, data, test.start, seed=seed, verbose=verbose),
        out_dir / "power-fan.png",
        "quantiles of a whole day, by a network for all of its steps, fl.Forecaster",
        say,
        extras="forecast,plot",
    )
    say("\nTo use the model:")
    say("  import fastlstm as fl; from fastlstm.demo import power; data = fl.datasets.load_steel_power_factor()")
    say(f'  power.forecast(fl.load("{path.as_posix()}"), data)[-1]  # the power factors after the last step')
    return {
        "mae": errors,
        "val_mae": mean_errors(data, forecasts, validation),
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "seconds": seconds,
        "model": path,
        "plot": plot,
        "forecast_plot": forecast_plot,
        "fan_plot": fan_plot,
    }


def make_windows(data: SteelPowerFactor) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return inputs and targets of the training and of the validation part, in windows (n, 192, features) of two days.

    A target must not lie in the part after its own, and a forecast needs a day of inputs before it.
    """
    train, validation, _ = split(data.time, PARTS, method="time")
    inputs, changes = make_inputs(data), _changes(data)
    parts = slice(WEEK, train.stop - DAY), slice(validation.start - DAY, validation.stop - DAY)
    found = [(_two_days(inputs[part]), _two_days(changes[part])) for part in parts]
    return found[0], found[1]


def new_model(seed: int = 0, precision: str = "float32") -> Model:
    """Return the network of the demo, with random weights."""
    layers = [LSTM(HIDDEN_SIZE, return_sequences=True), Dropout(DROPOUT), Dense(len(HORIZONS))]
    return Model(layers, precision=precision, seed=seed, scaler=Standardizer(), target_scaler=Standardizer())


def fit(model: Model, windows: tuple[tuple[Array, Array], tuple[Array, Array]], verbose: int = 0) -> History:
    """Train a model of the inputs of `make_windows`, and return its history."""
    (X, y), validation = windows
    return model.fit(
        X,
        y,
        loss="mae",
        optimizer=AdamW(CosineLR(LEARNING_RATE)),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation_data=validation,
        callbacks=[EarlyStopping(patience=PATIENCE)],
        verbose=verbose,
    )


def make_inputs(data: SteelPowerFactor) -> NDArray[np.float32]:
    """Return the features known at the end of each step: measurements so far, and the calendar.

    Parameters
    ----------
    data : SteelPowerFactor

    Returns
    -------
    ndarray of float32, shape (steps, features)
        Row t depends on rows 0 to t of the measurements only. In the first week some features are NaN, because
        they need the values of the week before.
    """
    factor = _power_factor(data)
    columns = [*data.values.T]
    for ahead in HORIZONS.values():
        # Measurements on earlier days at the time of day of the forecast step.
        columns += [_earlier(factor, back - ahead) for back in (DAY, 2 * DAY, 3 * DAY, WEEK) if back > ahead]
    minutes = (data.time - data.time.astype("datetime64[D]")).astype(np.float64)
    for harmonic in (1, 2, 3, 4):
        angle = 2 * np.pi * harmonic * minutes / (24 * 60)
        columns += [np.sin(angle), np.cos(angle)]
    for day_of_week in (data.day_of_week, (data.day_of_week + 1) % 7):  # now, and in 24 hours
        columns += [day_of_week == day for day in (0, 5, 6)]  # Monday, Saturday, Sunday
    return np.stack(columns, axis=1).astype(np.float32)


def forecast(model: Model, data: SteelPowerFactor) -> NDArray[np.float32]:
    """Forecast the power factor from every step of the data.

    Parameters
    ----------
    model : Model
        A model saved by `run_power`.
    data : SteelPowerFactor
        At least nine days, up to the present.

    Returns
    -------
    ndarray of float32, shape (steps, 3)
        Row t: the lagging power factor, from 0 to 1, expected 15 minutes, 1 hour and 24 hours after step t. NaN in
        the first eight to nine days, for which the inputs do not suffice.

    Raises
    ------
    ValueError
        If the data are shorter than nine days.
    """
    if len(data.time) < WEEK + 2 * DAY:
        raise ValueError(f"data has {len(data.time)} steps, expected at least nine days, {WEEK + 2 * DAY} steps")
    inputs = make_inputs(data)
    # The first day of each window only warms up the state of the model for the second day.
    changes = model.predict(_two_days(inputs[WEEK:]))[:, DAY:].reshape(-1, len(HORIZONS))
    forecasts = np.full((len(inputs), len(HORIZONS)), np.nan, np.float32)
    forecasts[-len(changes) :] = np.clip(_power_factor(data)[-len(changes) :, None] + changes, 0.0, 1.0)
    return forecasts


def baselines(data: SteelPowerFactor, ahead: int) -> dict[str, NDArray[np.float32]]:
    """Return forecasts that need no model.

    Parameters
    ----------
    data : SteelPowerFactor
    ahead : int
        Number of steps ahead, 1 to 96.

    Returns
    -------
    dict of str to ndarray of float32, shape (steps,)
        Forecasts for `ahead` steps after each step: ``"persistence"``, the present value; ``"yesterday"`` and
        ``"last week"``, the values 24 hours and 7 days before the forecast step. NaN where these precede the data.
    """
    factor = _power_factor(data)
    return {
        "persistence": factor,
        "yesterday": _earlier(factor, DAY - ahead),
        "last week": _earlier(factor, WEEK - ahead),
    }


def _power_factor(data: SteelPowerFactor) -> NDArray[np.float32]:
    return data.values[:, data.columns.index("lagging_power_factor")]


def _earlier(series: Array, steps: int) -> Array:
    """Return the series delayed by this number of steps, NaN before its start."""
    moved = np.full_like(series, np.nan)
    moved[steps:] = series[: len(series) - steps]
    return moved


def _later(series: Array, steps: int) -> Array:
    """Return the series advanced by this number of steps, NaN after its end."""
    return _earlier(series[::-1], steps)[::-1]


def _changes(data: SteelPowerFactor) -> Array:
    """Return the targets of the model, (steps, 3): the change of the power factor over each horizon."""
    factor = _power_factor(data)
    return np.stack([_later(factor, ahead) - factor for ahead in HORIZONS.values()], axis=1)


def _two_days(rows: Array) -> Array:
    """Return windows of two days, (days - 1, 192, features), one day apart; the last one ends with the rows."""
    days = rows[len(rows) % DAY :].reshape(-1, DAY, rows.shape[1])
    return np.concatenate([days[:-1], days[1:]], axis=1)


def mean_errors(data: SteelPowerFactor, forecasts: Array, part: slice) -> dict[str, dict[str, float]]:
    """Return the mean absolute errors of forecasts made in a part of the data for steps in the same part."""
    errors: dict[str, dict[str, float]] = {}
    for (name, ahead), model_forecast in zip(HORIZONS.items(), forecasts.T, strict=True):
        truth = _later(_power_factor(data), ahead)
        origins = slice(part.start, part.stop - ahead)
        methods = {"LSTM": model_forecast, **baselines(data, ahead)}
        errors[name] = {
            method: float(np.abs(values - truth)[origins].mean(dtype=np.float64)) for method, values in methods.items()
        }
    return errors


def _error_table(errors: dict[str, dict[str, float]]) -> str:
    methods = list(errors[next(iter(HORIZONS))])
    rows = [["", *methods, "LSTM against the best other"]]
    for name, error in errors.items():
        best_other = min(value for method, value in error.items() if method != "LSTM")
        rows.append([name, *(f"{error[m]:.4f}" for m in methods), f"{error['LSTM'] / best_other - 1:+.0%}"])
    return table(rows)


def _plot_forecasts(data: SteelPowerFactor, forecasts: Array, part: slice, path: Path) -> None:
    """Draw measured values, and forecasts at the times that they are for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(HORIZONS), sharex=True, sharey=True)
    for axes, (name, ahead), values in zip(panels, HORIZONS.items(), forecasts.T, strict=True):
        axes.plot(data.time[part], _power_factor(data)[part], color="0.6", label="measured")
        forecast_for = _earlier(values, ahead)
        axes.plot(data.time[part], forecast_for[part], color="C3", linewidth=1.0, label=f"forecast {name} before")
        axes.set_ylabel("power factor")
        axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
