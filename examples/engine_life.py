"""How many cycles has an engine left? NASA's turbofan engines (C-MAPSS, set FD001), read as whole lives.

    python examples/engine_life.py --data CMAPSSData

--data is the folder with train_FD001.txt, test_FD001.txt and RUL_FD001.txt: data set 6, "Turbofan Engine Degradation
Simulation", of NASA's Prognostics Center of Excellence Data Set Repository (public domain); or an .npz file with the
same numbers as arrays train, test and rul_test. pip install 'fastlstm[sklearn]'
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

import fastlstm as fl

COLUMNS = ["engine", "cycle", "setting 1", "setting 2", "setting 3", *(f"sensor {k}" for k in range(1, 22))]
EPOCHS = 100
CAP = 125  # wear does not show earlier: the usual cap, in training and in the test


def read(path: Path) -> list[Any]:
    """Return the rows of the engines that ran to failure, those of the test, and what was left to the latter."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [file[name] for name in ("train", "test", "rul_test")]
    return [np.loadtxt(path / f"{name}_FD001.txt") for name in ("train", "test", "RUL")]


def series(train: Any, test: Any) -> list[list[Any]]:
    """Return the sensors of the engines that ran to failure, what was left to them, and the sensors of the test."""
    # Your own CSV: table = pandas.read_csv("pumps.csv"), a row for each reading, with a column that names the pump.
    table, new = ({name: part[:, k] for k, name in enumerate(COLUMNS)} for part in (train, test))
    sensors = [name for name in COLUMNS[5:] if len(np.unique(table[name])) > 2]  # the others tell nothing
    table["left"] = fl.data.rul(table["engine"], cap=CAP)
    return [
        fl.data.from_frame(rows, group="engine", time="cycle", features=columns).X
        for rows, columns in ((table, sensors), (table, ["left"]), (new, sensors))
    ]


def fit(X: list[Any], Y: list[Any], epochs: int, seed: int, precision: str = "float32") -> fl.Model:
    """Return a model that answers at every cycle: how many are left, after all that it has seen of this engine."""
    # Noise on the sensors, two fifths of their standard deviation, makes up for the few engines.
    layers = [fl.GaussianNoise(0.4), fl.LSTM(128, return_sequences=True), fl.Dropout(0.2), fl.Dense(1)]
    scalers = {"scaler": fl.Standardizer(), "target_scaler": fl.Standardizer()}
    model = fl.Model(layers, **scalers, precision=precision, seed=seed)
    optimizer = fl.Adam(fl.CosineLR(3e-3, 3e-5), clip_norm=1.0)
    model.fit(X, Y, loss="mse", optimizer=optimizer, epochs=epochs, batch_size=8, seed=seed, verbose=0)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Train five models, and print their errors on the 100 test engines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    train, test, left = read(options.data)
    X, Y, X_test = series(train, test)
    truth = np.minimum(left.reshape(-1), CAP)

    def report(name: str, answers: list[Any]) -> None:
        found = [np.clip(one, 0, CAP) for one in answers]
        rmse = [fl.metrics.rmse(truth, one) for one in found]
        phm = [fl.metrics.phm08_score(truth, one) for one in found]
        print(f"{name:35} RMSE {np.mean(rmse):6.2f} (sd {np.std(rmse):.2f})   PHM'08 score {np.mean(phm):8.0f}")

    last = np.array([one[-1] for one in X_test])
    report("the mean of the training data", [np.full(len(last), np.concatenate(Y).mean())])
    line = LinearRegression().fit(np.concatenate(X), np.concatenate(Y)[:, 0])
    report("linear regression on the last row", [line.predict(last)])
    models = [fit(X, Y, options.epochs, seed) for seed in range(options.seeds)]
    answers = [np.array([one[-1, 0] for one in model.predict(X_test)]) for model in models]
    report(f"LSTM, {options.seeds} models one by one", answers)
    print("published: LSTM 16.14 (Zheng et al. 2017), 14.93 (Samarthkumar, Astitva & Sumit 2026, arXiv:2604.27234)")


if __name__ == "__main__":
    main()
