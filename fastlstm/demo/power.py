"""Forecasting the power factor of a steel works: ``python -m fastlstm demo power``.

A sequence model with one output per step: at every quarter of an hour it reads what is known by then and
forecasts the lagging power factor 15 minutes, 1 hour and 24 hours later. What it puts out is the *change*
from the present value, so that "no change", which is hard to beat at 15 minutes, costs it nothing to learn.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..callbacks import EarlyStopping
from ..data import Standardizer, split
from ..datasets import SteelPowerFactor, load_steel_power_factor
from ..layers import LSTM, Dense, Dropout
from ..model import Model
from ..optimizers import AdamW
from ..schedules import CosineLR
from .report import reload_and_compare, save_plot, table

__all__ = ["HORIZONS", "baselines", "forecast", "make_inputs", "run_power"]

Array = NDArray[Any]

DAY = 96
"""Steps of 15 minutes."""
WEEK = 7 * DAY
HORIZONS = {"15 minutes": 1, "1 hour": 4, "24 hours": DAY}
"""Steps ahead."""

# Chosen on the validation part, and on two earlier parts of the year in its place.
HIDDEN_SIZE = 64
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
        An existing folder, for ``power.safetensors``, ``power.png`` and ``power-forecast.png``.
    seed : int, default 0
        Of weights, dropout and the order of the training windows.
    verbose : {0, 1}, default 1
        Whether to print; with a progress bar if stderr is a terminal.

    Returns
    -------
    dict
        ``"mae"``: for each of `HORIZONS` a dict of the mean absolute errors on the test part, of ``"LSTM"`` and
        the `baselines`; ``"val_mae"``: the same on the validation part; ``"epochs"``, ``"best_epoch"`` (int);
        ``"seconds"`` (of the training); ``"model"``, ``"plot"``, ``"forecast_plot"`` (Path, or None without
        matplotlib).
    """

    def say(text: str) -> None:
        if verbose:
            print(text, flush=True)

    data = load_steel_power_factor()
    train, validation, test = split(data.time, (0.7, 0.15, 0.15), method="time")
    say("Power factor of a steel works in 2018: what will it be in 15 minutes, 1 hour, 24 hours?")
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        days = (part.stop - part.start) / DAY
        first, last = data.time[part][[0, -1]].astype("datetime64[D]")
        say(f"  {name:<10}  {first} to {last}, {days:.0f} days of {DAY} steps")

    inputs, changes = make_inputs(data), _changes(data)
    # No target of one part may lie in the next; and a forecast needs a day of inputs before it.
    X_train, y_train = (_two_days(rows[WEEK : train.stop - DAY]) for rows in (inputs, changes))
    X_val, y_val = (_two_days(rows[validation.start - DAY : validation.stop - DAY]) for rows in (inputs, changes))

    model = Model(
        [LSTM(HIDDEN_SIZE, return_sequences=True), Dropout(DROPOUT), Dense(len(HORIZONS))],
        seed=seed,
        scaler=Standardizer(),
        target_scaler=Standardizer(),
    )
    say(f"\nTraining on {len(X_train)} windows of two days, {X_train.shape[2]} inputs a step")
    start = time.perf_counter()
    stopping = EarlyStopping(patience=PATIENCE)
    history = model.fit(
        X_train,
        y_train,
        loss="mae",
        optimizer=AdamW(CosineLR(LEARNING_RATE)),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation_data=(X_val, y_val),
        callbacks=[stopping],
        verbose=verbose,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - start
    say(f"  {history.epochs} epochs in {seconds:.1f} s; the weights of epoch {history.best_epoch} are kept")

    forecasts = forecast(model, data)
    mae = _errors(data, forecasts, test)
    say("\nMean absolute error on the test part")
    say(_error_table(mae))

    say("\nFiles")
    path = out_dir / "power.safetensors"
    model.save(path)
    say(f"  {path}  the model")
    plot = save_plot(history.plot, out_dir / "power.png", "loss and error over the epochs", say)
    forecast_plot = save_plot(
        lambda file: _plot_week(file, data, forecasts, test),
        out_dir / "power-forecast.png",
        "a week of the test part",
        say,
    )
    reload_and_compare(path, lambda loaded: forecast(loaded, data), forecasts)
    say("The model file, read again, gives the same forecasts. To use it:")
    say(f"  from fastlstm.demo import power; data = fl.datasets.load_steel_power_factor()")
    say(f'  power.forecast(fl.load("{path.as_posix()}"), data)[-1]  # from the last step of the data')
    return {
        "mae": mae,
        "val_mae": _errors(data, forecasts, validation),
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "seconds": seconds,
        "model": path,
        "plot": plot,
        "forecast_plot": forecast_plot,
    }
