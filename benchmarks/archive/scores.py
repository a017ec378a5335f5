"""The defaults of `LSTMClassifier` on sets of the archive, beside the nearest neighbour."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

from ..report import table
from .neighbour import nearest_by_dtw, predict_euclidean
from .sets import DEVELOPMENT, Problem, find, longest, read

__all__ = ["convolved", "measure", "report", "run", "standard_error", "write"]

Record = Mapping[str, Any]


def measure(problem: Problem, seeds: Sequence[int], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Train and test on one set.

    Parameters
    ----------
    problem : Problem
    seeds : sequence of int
        A run for each.
    options : mapping, optional
        Arguments of `LSTMClassifier` in place of its defaults.

    Returns
    -------
    dict
        ``name``, ``train``, ``test``, ``steps``, ``channels``, ``classes``; ``runs``, one for each seed, with
        ``accuracy``, ``macro_f1``, ``fit_s``, ``predict_s`` and ``epochs``; ``nearest`` and ``dtw``, accuracies, the
        latter None if it was not computed.
    """
    from fastlstm.sklearn import LSTMClassifier

    runs = []
    for seed in seeds:
        classifier = LSTMClassifier(random_state=seed, **(options or {}))
        start = time.perf_counter()
        classifier.fit(problem.X_train, problem.y_train)
        fitted = time.perf_counter()
        predicted = classifier.predict(problem.X_test)
        end = time.perf_counter()
        runs.append(
            {
                "seed": seed,
                "accuracy": fl.metrics.accuracy(problem.y_test, predicted),
                "macro_f1": fl.metrics.f1(problem.y_test, predicted, average="macro"),
                "fit_s": fitted - start,
                "predict_s": end - fitted,
                "epochs": classifier.n_iter_,
            }
        )
    warped = nearest_by_dtw(problem)
    return {
        "name": problem.name,
        "train": len(problem.X_train),
        "test": len(problem.X_test),
        "steps": longest([problem.X_train, problem.X_test]),
        "channels": int(problem.X_train[0].shape[1]),
        "classes": len(np.unique(problem.y_train)),
        "runs": runs,
        "nearest": fl.metrics.accuracy(problem.y_test, predict_euclidean(problem)),
        "dtw": None if warped is None else fl.metrics.accuracy(problem.y_test, warped),
    }


def convolved(steps: int) -> list[Any]:
    """Return the network of `LSTMClassifier` after a convolution whose stride leaves it about a hundred steps.

    The classifier does the same for long series. With a stride of 2 the LSTM takes 250 steps of FordA, each of 64
    inputs, and an epoch two and a half times as long as with the plain network.

    Parameters
    ----------
    steps : int
        Of the longest series.

    Examples
    --------
    >>> convolved(500)[0]
    Conv1D(filters=64, kernel_size=10, stride=5, padding='same')
    """
    stride = max(2, round(steps / 100))
    return [
        fl.Conv1D(64, max(7, 2 * stride), stride=stride, padding="same"),
        fl.BatchNorm(),
        fl.Activation("relu"),
        fl.LSTM(64, bidirectional=True, return_sequences=True),
        fl.ConcatPool(bidirectional=True),
    ]


def mean_of(record: Record, name: str) -> float:
    """Return the mean of a figure over the runs of a set."""
    return statistics.fmean(one[name] for one in record["runs"])


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None of less than two values."""
    return None if len(values) < 2 else statistics.stdev(values) / len(values) ** 0.5


def _with_error(record: Record) -> str:
    error = standard_error([one["accuracy"] for one in record["runs"]])
    return f"{mean_of(record, 'accuracy'):.3f}" + ("" if error is None else f" ± {error:.3f}")


def _verdict(records: Sequence[Record], what: str) -> str:
    own = [mean_of(record, "accuracy") for record in records]
    nearest = [record["nearest"] for record in records]
    pairs = list(zip(own, nearest, strict=True))
    wins, draws = sum(a > b for a, b in pairs), sum(a == b for a, b in pairs)
    warped = [record["dtw"] for record in records if record["dtw"] is not None]
    lines = [
        f"{what}: {len(records)}. Mean accuracy {statistics.fmean(own):.4f}, nearest neighbour "
        f"{statistics.fmean(nearest):.4f}; {wins} wins, {draws} draws, {len(records) - wins - draws} losses.",
        f"Mean of macro-F1 {statistics.fmean(mean_of(record, 'macro_f1') for record in records):.4f}; training took "
        f"{sum(mean_of(record, 'fit_s') for record in records):.0f} s in all, the slowest set "
        f"{max(mean_of(record, 'fit_s') for record in records):.0f} s.",
    ]
    if warped:
        lines.append(
            f"Nearest neighbour by dynamic time warping on {len(warped)} sets: {statistics.fmean(warped):.4f}."
        )
    return "\n".join(lines)


def report(records: Sequence[Record], heading: str) -> str:
    """Return Markdown: a table of the sets, the means, and the number of sets on which the classifier wins."""
    head = [
        "set",
        "train, test, steps",
        "classes",
        "LSTMClassifier",
        "macro-F1",
        "nearest",
        "DTW",
        "fit s",
        "predict s",
    ]
    rows = []
    for record in records:
        name = record["name"] + (" *" if record["name"] in DEVELOPMENT else "")
        size = f"{record['train']}, {record['test']}, {record['steps']}"
        rows.append(
            [name, size, str(record["classes"]), _with_error(record), f"{mean_of(record, 'macro_f1'):.3f}"]
            + [f"{record['nearest']:.3f}", "" if record["dtw"] is None else f"{record['dtw']:.3f}"]
            + [f"{mean_of(record, 'fit_s'):.1f}", f"{mean_of(record, 'predict_s'):.2f}"]
        )
    known = [record for record in records if record["name"] in DEVELOPMENT]
    other = [record for record in records if record["name"] not in DEVELOPMENT]
    parts = [f"# UCR archive\n\n{heading}\n", table(head, rows)]
    if other:
        parts.append(_verdict(other, "Sets") + "\n")
    if known:
        parts.append("\\* The defaults were chosen on these sets.\n" + _verdict(known, "Sets with \\*") + "\n")
    return "\n".join(parts)


def run(
    names: Sequence[str],
    folder: Path | None,
    seeds: Sequence[int],
    progress: Callable[[str], Any] = lambda text: None,
    convolution: bool = False,
) -> list[dict[str, Any]]:
    """Measure the sets, with `convolved` networks if asked to; `ArchiveError` if they are not there."""
    records = []
    sets = find(names, folder)
    for number, (name, files) in enumerate(sets.items(), start=1):
        problem = read(name, files)
        options = {"layers": convolved(longest([problem.X_train]))} if convolution else {}
        record = measure(problem, seeds, options)
        records.append(record)
        progress(
            f"[{number}/{len(sets)}] {name}: {_with_error(record)}, nearest neighbour {record['nearest']:.3f}, "
            f"fit {mean_of(record, 'fit_s'):.1f} s"
        )
    return records


def write(name: str, text: str, contents: Record, folder: Path) -> list[Path]:
    """Write NAME.md and NAME.json; OSError if a file cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.md", folder / f"{name}.json"]
    written[0].write_text(text, encoding="utf-8")
    written[1].write_text(json.dumps(dict(contents), indent=1) + "\n", encoding="utf-8")
    return written
