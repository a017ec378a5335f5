"""Measure what narrower numbers cost: scores of one training in each precision, over several seeds.

    python -m benchmarks.precision [--precisions float32,bfloat16,int8] [--tasks vowels,power] [--seeds 5]
        [--digits digits.npz] [--engines CMAPSSData]

float32 and bfloat16 are trained; int8 is the float32 model with weights of 8 bits, once with limits of the inputs from
the training data ("calibrated") and once with a scale for each row of inputs ("dynamic"). Every seed draws initial
weights, order of the data and, of the digits, the parts. "change" is the mean of the differences from float32 of the
same seed.

The vowels and the power factor come with the package. --digits is the file that examples/spoken_digits.py reads,
--engines the folder or file of examples/engine_life.py; without them these tasks are left out. The recipes are those of
the examples and demos, "forecast" is `Forecaster` with its defaults. pip install 'fastlstm[sklearn,forecast]'
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import fastlstm as fl
from fastlstm.demo import power

from .report import table

__all__ = ["PRECISIONS", "TASKS", "Task", "main", "measure", "report"]

_EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Scores = dict[str, float]


class Trained(NamedTuple):
    """A model, and what is needed to make others of it and to judge them."""

    model: Any
    typical: Any
    """Calibration data, from the training part."""
    score: Callable[[Any], Scores]
    """Scores of a model on the test part."""


class Task(NamedTuple):
    """What is learnt."""

    title: str
    train: Callable[[Any, int, str], Trained]
    """From the file of the data, None if they come with the package, a seed, and a type to train in."""
    option: str | None = None
    """Which option gives the file."""
    digits: int = 4
    """How many are printed after the point."""


def _int8(trained: Trained) -> Iterator[tuple[str, Any]]:
    yield "int8, calibrated", trained.model.quantize(trained.typical)
    yield "int8, dynamic", trained.model.quantize()


PRECISIONS: dict[str, Callable[[Trained], Iterator[tuple[str, Any]]]] = {
    "float32": lambda trained: iter([("float32", trained.model)]),
    "bfloat16": lambda trained: iter([]),  # trained anew
    "int8": _int8,
}
"""For each precision the models to judge that are made of the float32 model, and their names in the table."""


def _example(name: str) -> ModuleType:
    """Return a program of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _classes(X: Any, y: Any, seed: int, X_test: Any, y_test: Any, **settings: Any) -> Trained:
    from fastlstm.sklearn import LSTMClassifier

    classifier = LSTMClassifier(random_state=seed, **settings).fit(X, y)
    expected = classifier.predict(X_test)

    def score(model: Any) -> Scores:
        found = model.predict(X_test)
        return {"accuracy": fl.metrics.accuracy(y_test, found), "same answers": float((found == expected).mean())}

    return Trained(classifier, X, score)


def _vowels(path: None, seed: int, precision: str) -> Trained:
    data = fl.datasets.load_japanese_vowels()
    return _classes(data.X_train, data.y_train, seed, data.X_test, data.y_test, precision=precision)


def _digits(path: Path, seed: int, precision: str) -> Trained:
    example = _example("spoken_digits")
    X, y = example.read(path)
    train, test = fl.split(len(X), (0.8, 0.2), seed=seed)
    settings = {**example.RECIPE, "precision": precision}
    return _classes([X[k] for k in train], y[train], seed, [X[k] for k in test], y[test], **settings)


def _engines(path: Path, seed: int, precision: str) -> Trained:
    example = _example("engine_life")
    train, test, left = example.read(path)
    X, Y, X_test = example.series(train, test)
    model = example.fit(X, Y, example.EPOCHS, seed, precision)
    truth = np.minimum(left.reshape(-1), example.CAP)

    def score(model: Any) -> Scores:
        found = np.array([one[-1, 0] for one in model.predict(X_test)])
        return {"RMSE in cycles": fl.metrics.rmse(truth, np.clip(found, 0, example.CAP))}

    return Trained(model, X, score)


def _power(path: None, seed: int, precision: str) -> Trained:
    data = fl.datasets.load_steel_power_factor()
    windows = power.make_windows(data)
    model = power.new_model(seed, precision)
    power.fit(model, windows)
    test = fl.split(data.time, power.PARTS, method="time")[2]

    def score(model: Any) -> Scores:
        errors = power.mean_errors(data, power.forecast(model, data), test)
        return {f"error in {ahead}": methods["LSTM"] for ahead, methods in errors.items()}

    return Trained(model, windows[0][0], score)


def _forecast(path: None, seed: int, precision: str) -> Trained:
    import pandas as pd

    data = fl.datasets.load_steel_power_factor()
    frame = pd.DataFrame(data.values.astype(np.float64), columns=list(data.columns))
    frame = frame.rename(columns={"lagging_power_factor": "y"})
    others = [name for name in frame.columns if name != "y"]
    frame.insert(0, "ds", data.time)
    test = fl.split(data.time, power.PARTS, method="time")[2]
    given = {"hist_exog": others, "bounds": (0, 1), "precision": precision, "random_state": seed, "verbose": 0}
    forecaster = fl.Forecaster(96, **given)
    forecaster.fit(frame[: test.start])

    def score(model: Any) -> Scores:
        found = model.evaluate(frame, step_size=4).scores.iloc[0]
        return {"mean error": float(found["mae"]), "pinball loss": float(found["pinball"]),
                "coverage of 90 %": float(found["coverage"])}  # fmt: skip

    return Trained(forecaster, frame[test.start - 5000 : test.start], score)


TASKS = {
    "vowels": Task("Japanese vowels, `LSTMClassifier()`", _vowels),
    "digits": Task("spoken digits, `LSTMClassifier(dropout=.3)`", _digits, "digits"),
    "engines": Task("remaining life of engines, FD001", _engines, "engines", 3),
    "power": Task("power factor, demo", _power, digits=5),
    "forecast": Task("power factor, `Forecaster(96)`", _forecast, digits=5),
}


def measure(
    task: Task, path: Path | None, precisions: Sequence[str], seeds: Sequence[int], progress: Callable[[str], Any]
) -> dict[str, list[Scores]]:
    """Return for each model of `PRECISIONS` its scores, one for each seed."""
    found: dict[str, list[Scores]] = {}
    for seed in seeds:
        start = time.perf_counter()
        trained = task.train(path, seed, "float32")
        seconds = time.perf_counter() - start
        for precision in precisions:
            if precision == "bfloat16":
                found.setdefault(precision, []).append(trained.score(task.train(path, seed, precision).model))
            for name, model in PRECISIONS[precision](trained):
                found.setdefault(name, []).append(trained.score(model))
        shown = "; ".join(f"{name}: {_text(runs[-1], task.digits)}" for name, runs in found.items())
        progress(f"{task.title}, seed {seed}, trained in {seconds:.0f} s: {shown}")
    return found


def _text(scores: Scores, digits: int) -> str:
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in scores.items())


def report(results: Mapping[str, dict[str, list[Scores]]], heading: str) -> str:
    """Return Markdown: for each task and score the mean in each precision, and the change from the first one."""
    rows = []
    for name, found in results.items():
        digits, first = TASKS[name].digits, next(iter(found.values()))
        for score in first[0]:
            row = [f"{TASKS[name].title}: {score}"]
            for number, runs in enumerate(found.values()):
                values = [run[score] for run in runs]
                cell = f"{statistics.fmean(values):.{digits}f}"
                if number:
                    changes = [value - run[score] for value, run in zip(values, first, strict=True)]
                    cell += f" ({statistics.fmean(changes):+.{digits}f})"
                elif len(values) > 1:
                    cell += f" (sd {statistics.stdev(values):.{digits}f})"
                row.append(cell)
            rows.append(row)
    names = next(iter(results.values())) if results else {}
    head = ["task and score", *(name if k == 0 else f"{name} (change)" for k, name in enumerate(names))]
    return f"{heading}\n\n{table(head, rows)}"


def _listed(text: str, known: Mapping[str, Any], option: str, parser: argparse.ArgumentParser) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"--{option}: {name!r} is not one of {', '.join(known)}")
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="(default: %(default)s)")
    parser.add_argument("--tasks", default=",".join(TASKS), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--digits", type=Path, metavar="FILE")
    parser.add_argument("--engines", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, help="(default: fastlstm's)")
    options = parser.parse_args(arguments)
    precisions = _listed(options.precisions, PRECISIONS, "precisions", parser)
    if options.threads is not None:
        fl.set_num_threads(options.threads)
    results = {}
    for name in _listed(options.tasks, TASKS, "tasks", parser):
        option = TASKS[name].option
        path = None if option is None else getattr(options, option)
        if option is not None and path is None:
            print(f"{name} is left out: give --{option}", flush=True)
            continue
        results[name] = measure(TASKS[name], path, precisions, range(options.seeds), _progress)
    print(report(results, f"Seeds 0 to {options.seeds - 1}; fastlstm {fl.__version__}"), end="")


def _progress(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
