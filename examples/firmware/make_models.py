"""Train two small models and write their C: the input of the firmware in this folder.

    python examples/firmware/make_models.py -o firmware
    python examples/firmware/make_models.py -o firmware --ecg ECG5000_TRAIN.tsv ECG5000_TEST.tsv

The power factor of a steel works comes with the package. --ecg takes the files of the data set ECG5000 from
https://www.timeseriesclassification.com: heart beats of 140 readings in five classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastlstm as fl


def export(model: fl.Model, name: str, folder: Path, X: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Write both forms of a model, say what they need, and return what the integers answer to the test data."""
    print(model.to_c(name, folder / f"{name}_float32"))
    report = model.to_c(name, folder / f"{name}_int8", dtype="int8", calibrate=X)
    print(report)
    report.emulator.reset(len(X_test))
    return np.asarray(report.emulator.run(X_test)[:, -1])


def power_factor(folder: Path, epochs: int) -> None:
    """Forecast the lagging power factor one hour ahead from the readings of each quarter of an hour."""
    values = fl.datasets.load_steel_power_factor().values
    X, Y = fl.windows(values, 96, 4, 48, target=[4])
    train, test = fl.split(len(X), (0.8, 0.2), method="time", gap=3)
    model = fl.Model(
        [fl.LSTM(16), fl.Dense(1)],
        scaler=fl.Standardizer(),
        target_scaler=fl.Standardizer(),
        feature_names="usage lagging_kvarh leading_kvarh co2 lagging_factor leading_factor".split(),
    )
    model.fit(X[train], Y[train, -1], epochs=epochs, optimizer=fl.Adam(5e-3), loss="mae", verbose=0)
    answers = export(model, "pf", folder, X[train], X[test])
    for name, y in (("float32", model.predict(X[test])), ("int8", answers)):
        print(f"  {name}: mean absolute error {np.abs(y - Y[test, -1]).mean():.4f} in the last fifth of the year")


def ecg(folder: Path, epochs: int, files: Sequence[Path]) -> None:
    """Tell the class of a heart beat."""
    train, test = (fl.data.read_ucr_tsv(path) for path in files)
    X, X_test = (np.stack(list(part.X)).astype(np.float32) for part in (train, test))
    classes = list(train.meta.classes or ())
    model = fl.Model(
        [fl.LSTM(32), fl.Dense(len(classes)), fl.Activation("softmax")],
        scaler=fl.Standardizer(),
        classes=classes,
        seed=1,
    )
    model.fit(
        X,
        train.y,
        epochs=epochs,
        batch_size=32,
        validation_split=0.1,
        optimizer=fl.Adam(5e-3),
        callbacks=[fl.EarlyStopping(patience=40)],
        verbose=0,
    )
    answers = export(model, "ecg", folder, X, X_test)
    for name, scores in (("float32", model.predict(X_test)), ("int8", answers)):
        right = np.asarray(classes)[scores.argmax(axis=1)] == test.y
        print(f"  {name}: {right.mean():.4f} of the test beats right")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("firmware"))
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--ecg", type=Path, nargs=2, metavar=("TRAIN", "TEST"))
    options = parser.parse_args(arguments)
    power_factor(options.output, max(options.epochs // 10, 1))
    if options.ecg:
        ecg(options.output, options.epochs, options.ecg)


if __name__ == "__main__":
    main()
