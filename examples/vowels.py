"""Who speaks? Nine men say the same two vowels: 12 cepstral coefficients in 7 to 29 frames (Japanese vowels).

    python examples/vowels.py                             the copy that the package brings
    python examples/vowels.py --data JapaneseVowels

--data is a folder with JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts, of the UEA archive,
https://timeseriesclassification.com/description.php?Dataset=JapaneseVowels; or an .npz file with the same numbers as
arrays X_train, lengths_train, y_train, X_test, lengths_test and y_test. Their first home is the UCI Machine Learning
Repository (CC BY 4.0, https://doi.org/10.24432/C5NS47). The recipe was chosen by cross-validation on the training part.
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

FETCH = "https://timeseriesclassification.com/description.php?Dataset=JapaneseVowels"
RECIPE: dict[str, Any] = {"dropout": 0.3}


def read(path: Path | None) -> list[Any]:
    """Return training series, a list of (frames, 12), and labels, then those of the test."""
    if path is None:
        vowels = fl.datasets.load_japanese_vowels()
        return [vowels.X_train, np.asarray(vowels.y_train), vowels.X_test, np.asarray(vowels.y_test)]
    if path.suffix != ".npz":
        files = [path / f"JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST")]
        return [one for file in files for one in fl.data.read_ts(file)[:2]]
    with np.load(path) as file:
        parts = [[file[f"{name}_{part}"] for name in ("X", "lengths", "y")] for part in ("train", "test")]
    return [one for X, ends, y in parts for one in ([case[:end] for case, end in zip(X, ends, strict=True)], y)]


def mean(series: list[Any]) -> Any:
    """Return the mean frame of each series: what the nearest neighbour compares."""
    return np.stack([one.mean(axis=0) for one in series])


def report(name: str, truth: Any, answers: list[Any]) -> None:
    """Print the mean accuracy of several models, with its standard error."""
    scores = [fl.metrics.accuracy(truth, one) for one in answers]
    error = np.std(scores, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    print(f"{name:45} accuracy {np.mean(scores):.4f} ({error:.4f})", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on 270 utterances; print the accuracy on 370 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    if options.data and not options.data.exists():
        parser.error(f"there is no {options.data}; to fetch the data: {FETCH}")
    # Your own recordings: a list with an array (frames, features) for each, and a list of labels. From a CSV with a row
    # for each frame: fl.data.from_frame(pandas.read_csv("voices.csv"), group="recording", features=[...]).X
    X, y, X_test, y_test = read(options.data)
    print(f"{len(X)} utterances trained on, {len(X_test)} tested; means of {options.seeds} models (standard errors)")
    nearest = KNeighborsClassifier(1).fit(mean(X), y)
    report("nearest neighbour by the mean frame", y_test, [nearest.predict(mean(X_test))])
    for name, settings in (("LSTMClassifier as it is", {}), (f"LSTMClassifier with {RECIPE}", RECIPE)):
        chosen = {**settings, **({"epochs": options.epochs} if options.epochs else {})}
        models = [LSTMClassifier(random_state=seed, **chosen).fit(X, y) for seed in range(options.seeds)]
        report(name, y_test, [model.predict(X_test) for model in models])
    print(fl.metrics.classification_report(y_test, models[0].predict(X_test)))
    print("published accuracy: MLSTM-FCN 1.00, an ensemble of 11 LSTMs .989, signature kernel .986, one BiLSTM .954")


if __name__ == "__main__":
    main()
