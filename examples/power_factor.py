"""The power factor of a steel works in 1 hour and in 24 hours, after each quarter of an hour.

    python examples/power_factor.py                                the copy that the package brings
    python examples/power_factor.py --data Steel_industry_data.csv

--data is the file of "Steel Industry Energy Consumption" in the UCI Machine Learning Repository (CC BY 4.0,
https://doi.org/10.24432/C52G8C). A low lagging power factor costs money: who knows that it comes can switch capacitors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

DAY, WEEK = 96, 7 * 96
AHEAD = {"1 hour": 4, "24 hours": DAY}


def read(path: Path | None) -> Any:
    """Return energy, reactive powers, CO2, and the lagging and leading power factor (0 to 1), a row each 15 minutes."""
    if path is None:
        return fl.datasets.load_steel_power_factor().values
    # Your own CSV: numbers in columns, a row for each reading at even steps of time; which one to forecast is below.
    return np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 7)) / [1, 1, 1, 1, 100, 100]


def ago(values: Any, steps: int) -> Any:
    """Return the values of so many steps ago, or with a negative number of steps ahead; NaN where there are none."""
    moved = np.roll(values, steps).astype(float)
    moved[slice(steps) if steps > 0 else slice(steps, None)] = np.nan
    return moved


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one model for both horizons; print its mean absolute errors and those of two rules of thumb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    values = read(options.data)
    factor = values[:, 4]
    step = np.arange(len(values))
    waves = [wave(2 * np.pi * k * step / DAY) for k in (1, 2, 3, 4) for wave in (np.sin, np.cos)]
    days = [(step // DAY + later) % 7 == day for later in (0, 1) for day in (0, 5, 6)]  # the year began on a Monday
    past = [ago(factor, back - ahead) for ahead in AHEAD.values() for back in (DAY, 2 * DAY, WEEK) if back > ahead]
    inputs = np.stack([*values.T, *waves, *days, *past], axis=1)[WEEK:-DAY].astype(np.float32)
    changes = np.stack([ago(factor, -ahead) - factor for ahead in AHEAD.values()], axis=1)[WEEK:-DAY]
    # Windows of two days, a day apart: the first day makes the model warm, on the second one it is measured.
    X, Y, now = (fl.windows(one, 2 * DAY, 0, DAY)[0] for one in (inputs, changes, np.arange(len(inputs)) + WEEK))
    train, validation, test = fl.split(len(X), (0.7, 0.15, 0.15), method="time", gap=2)  # no target in two parts

    answers = []
    for seed in range(options.seeds):
        layers = [fl.LSTM(96, return_sequences=True), fl.Dropout(0.3), fl.Dense(len(AHEAD))]
        model = fl.Model(layers, scaler=fl.Standardizer(), target_scaler=fl.Standardizer(), seed=seed)
        model.fit(
            X[train], Y[train], loss="mae", optimizer=fl.AdamW(fl.CosineLR(0.01)), epochs=options.epochs, batch_size=8,
            validation_data=(X[validation], Y[validation]), callbacks=[fl.EarlyStopping(patience=15)],
            seed=seed, verbose=0,
        )  # fmt: skip
        answers.append(model.predict(X[test])[:, DAY:].reshape(-1, len(AHEAD)))
    measured = now[test][:, DAY:].reshape(-1).astype(int)
    print(f"Mean absolute error of {len(measured)} forecasts (standard deviation of {options.seeds} models)")
    for k, (name, ahead) in enumerate(AHEAD.items()):
        truth = factor[measured + ahead]
        errors = [fl.metrics.mae(truth, np.clip(factor[measured] + one[:, k], 0, 1)) for one in answers]
        rules = {"as now": measured, "as a week before": measured + ahead - WEEK}
        shown = [f"{rule} {fl.metrics.mae(truth, factor[rows]):.4f}" for rule, rows in rules.items()]
        print(f"  in {name:9}", *shown, f"LSTM {np.mean(errors):.4f} ({np.std(errors):.4f})", sep="   ")


if __name__ == "__main__":
    main()
