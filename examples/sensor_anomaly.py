"""Find faulty engines by their noise, with a detector that has heard normal ones only: FordA of the UCR archive.

    python examples/sensor_anomaly.py --data FordA --picture anomaly.png

--data is the folder with FordA_TRAIN.ts and FordA_TEST.ts (https://www.timeseriesclassification.com, for research) or
the same as .tsv files of the UCR archive; or an .npz file with arrays X_train, y_train, X_test and y_test, labels from
0. Class 1 counts as normal. pip install 'fastlstm[sklearn,plot]'
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm.sklearn import LSTMAnomalyDetector


def read(path: Path) -> list[Any]:
    """Return the series and labels of the training part and of the test."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [(file[f"X_{part}"], file[f"y_{part}"].astype(str)) for part in ("train", "test")]
    if (path / "FordA_TRAIN.ts").exists():
        return [fl.data.read_ts(path / f"FordA_{part}.ts")[:2] for part in ("TRAIN", "TEST")]
    return [fl.data.read_ucr_tsv(path / f"FordA_{part}.tsv")[:2] for part in ("TRAIN", "TEST")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a detector, print how well its scores find the faults, and draw some of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--method", choices=["forecast", "reconstruction"], default="forecast")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    # Your own CSV: one long series of a sensor, X = pandas.read_csv("sensor.csv").to_numpy()[None], is enough to fit.
    (X, y), (X_test, y_test) = read(options.data)
    normal, fault = X[y == "1"], y_test != "1"

    window = 50 if options.method == "reconstruction" else "auto"
    common = {"method": options.method, "window": window, "num_layers": 2, "batch_size": 32, "random_state": 0}
    detector = LSTMAnomalyDetector(**common, epochs=options.epochs)
    untrained = LSTMAnomalyDetector(**common, epochs=1, learning_rate=1e-12)
    scores, chance = (-one.fit(normal).score_samples(X_test) for one in (detector, untrained))
    limit = -detector.offset_  # normal engines that were held out are below it, all but 1 %
    print(f"{len(X_test)} engines, {np.mean(fault):.1%} of them with a fault")
    found, false = np.mean(scores[fault] > limit), np.mean(scores[~fault] > limit)
    print(f"In alarm: {found:.1%} of those with a fault, {false:.1%} of the normal ones")
    print("One engine after the other (period: an engine each minute):")
    report = fl.metrics.anomaly.anomaly_report(
        scores, fault.astype(int), threshold=limit, period=60, baselines={"untrained": chance}
    )
    print(report)

    if options.picture:
        few = np.concatenate([np.flatnonzero(~fault)[:4], np.flatnonzero(fault & (scores > limit))[:2]])
        few = few[[0, 1, 4, 2, 5, 3][: len(few)]]
        steps = np.concatenate(detector.score_steps(X_test[few]))
        marked = np.repeat(fault[few], X_test.shape[1]).astype(int)
        signal = np.concatenate(X_test[few])
        fl.plots.anomaly(
            signal, steps, detector.threshold_, labels=marked, min_gap=50, min_length=3, path=options.picture
        )
        print(f"{options.picture}: six engines, one after the other")


if __name__ == "__main__":
    main()
