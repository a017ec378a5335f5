"""Will this engine fail within 30 cycles? NASA's turbofan engines (C-MAPSS, set FD001), an answer after each cycle.

    python examples/fails_soon.py --data CMAPSSData

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
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import fastlstm as fl

COLUMNS = ["engine", "cycle", "setting 1", "setting 2", "setting 3", *(f"sensor {k}" for k in range(1, 22))]
WITHIN = 30


def read(path: Path) -> list[Any]:
    """Return the rows of the engines that ran to failure, those of the test, and what was left to the latter."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [file[name] for name in ("train", "test", "rul_test")]
    return [np.loadtxt(path / f"{name}_FD001.txt") for name in ("train", "test", "RUL")]


def fit(X: list[Any], Y: list[Any], epochs: int, seed: int) -> fl.Model:
    """Return a model that gives at every cycle the probability of a failure soon, after all it has seen so far."""
    layers = [fl.GaussianNoise(0.4), fl.LSTM(128, return_sequences=True), fl.Dropout(0.2), fl.Dense(1)]
    model = fl.Model(layers, scaler=fl.Standardizer(), seed=seed)
    optimizer = fl.Adam(fl.CosineLR(3e-3, 3e-5), clip_norm=1.0)
    model.fit(X, Y, loss="binary_cross_entropy", optimizer=optimizer, epochs=epochs, batch_size=8, seed=seed, verbose=0)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Train five models, and print how well they rank the cycles of the 100 test engines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    train, test, left = read(options.data)
    # Your own CSV: table = pandas.read_csv("pumps.csv"), a row for each reading, with a column that names the pump.
    table, new = ({name: part[:, k] for k, name in enumerate(COLUMNS)} for part in (train, test))
    sensors = [name for name in COLUMNS[5:] if len(np.unique(table[name])) > 2]  # the others tell nothing
    table["soon"] = fl.data.will_fail(table["engine"], within=WITHIN)
    new["soon"] = fl.data.will_fail(new["engine"], within=WITHIN, at_end=left.reshape(-1))
    X, Y, X_test, Y_test = (
        fl.data.from_frame(rows, group="engine", time="cycle", features=columns).X
        for rows in (table, new)
        for columns in (sensors, ["soon"])
    )
    every, last = np.concatenate(Y_test)[:, 0].astype(int), np.array([one[-1, 0] for one in Y_test], int)

    def report(name: str, answers: list[list[Any]]) -> None:
        of_all = [fl.metrics.pr_auc(every, np.concatenate(one)) for one in answers]
        of_last = [fl.metrics.pr_auc(last, np.array([part[-1] for part in one])) for one in answers]
        print(f"{name:35} {np.mean(of_all):.3f} (sd {np.std(of_all):.3f})    {np.mean(of_last):.3f}")

    print(f"PR-AUC{'':29} every cycle ({len(every)})   last cycles ({len(last)})")
    print(f"{'a random score':35} {every.mean():.3f}{'':16}{last.mean():.3f}")
    scaler = StandardScaler().fit(np.concatenate(X))
    line = LogisticRegression(max_iter=1000).fit(scaler.transform(np.concatenate(X)), table["soon"])
    report("logistic regression on the last row", [[line.decision_function(scaler.transform(one)) for one in X_test]])
    models = [fit(X, Y, options.epochs, seed) for seed in range(options.seeds)]
    report(f"LSTM, {options.seeds} models one by one", [[one[:, 0] for one in m.predict(X_test)] for m in models])


if __name__ == "__main__":
    main()
