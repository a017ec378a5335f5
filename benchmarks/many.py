"""Measure the training of one small forecaster for each of many series: loops, `fl.dask.fit_many`, a pool of processes.

    python -m benchmarks.many [--series 500] [--epochs 10] [--repeats 3]

Each way runs in a process of its own, in turns, and saves all its models. Prints the median of the seconds, with those
that the way needs to start its workers (not those of imports in the first process), the ratio to the plain loop, and
the peak of the memory of all its processes that belongs to no file. The models must have the same bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

from .resident import PeakMemory

HOURS, HORIZON = 28 * 24, 24


def table(series: int) -> Any:
    """Return hourly series with a day, a week, noise, and different levels and sizes."""
    import pandas as pd

    hours = np.arange(HOURS)
    parts = []
    for number in range(series):
        rng = np.random.default_rng(number)
        level, size, shift = 10 ** rng.uniform(0, 4), rng.uniform(0.1, 0.5), rng.uniform(0, 24)
        day, week = np.sin(2 * np.pi * (hours - shift) / 24), np.sin(2 * np.pi * (hours - shift) / 168)
        y = level * (1 + size * (day + 0.3 * week) + 0.05 * rng.standard_normal(HOURS))
        parts.append(pd.DataFrame({"id": f"s{number:05}", "ds": pd.Timestamp("2026-01-01"), "y": y}))
        parts[-1]["ds"] += pd.to_timedelta(hours, unit="h")
    return pd.concat(parts, ignore_index=True)


def forecaster(epochs: int, threads: int = 1) -> fl.Forecaster:
    """Return what is trained on each series."""
    return fl.Forecaster(HORIZON, hidden_size=16, epochs=epochs, random_state=0, verbose=0, n_jobs=threads)


def file_of(folder: Path, name: str) -> Path:
    """Return the file of a model, as `fit_many` calls it."""
    return folder / f"{name}.safetensors"


def loop(frame: Any, folder: Path, epochs: int, threads: int = 1) -> None:
    """Train the models one after the other."""
    for name, rows in frame.groupby("id", sort=False):
        forecaster(epochs, threads).fit(rows, id_col="id").save(file_of(folder, name))


def loop_2(frame: Any, folder: Path, epochs: int) -> None:
    """Do the same with two threads for each model."""
    loop(frame, folder, epochs, threads=2)


def fit_many(frame: Any, folder: Path, epochs: int) -> None:
    """Train by two processes of this machine."""
    fl.set_num_threads(2)
    fl.dask.fit_many(forecaster(epochs), frame, by="id", folder=folder)


def cluster_of(workers: int, threads: int) -> Callable[[Any, Path, int], None]:
    """Return how to train by the processes of a cluster of Dask."""

    def train(frame: Any, folder: Path, epochs: int) -> None:
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=None) as cluster,
            Client(cluster),
        ):
            fl.dask.fit_many(forecaster(epochs), frame, by="id", folder=folder)

    return train


def pool(frame: Any, folder: Path, epochs: int) -> None:
    """Train by a pool of two processes, each of which gets half of the series at once, as statsforecast does it."""
    from concurrent.futures import ProcessPoolExecutor

    numbers = frame["id"].factorize()[0]
    half = (numbers.max() + 1) // 2
    with ProcessPoolExecutor(2) as executor:
        parts = [frame[numbers < half], frame[numbers >= half]]
        for done in [executor.submit(loop, part, folder, epochs) for part in parts]:
            done.result()


def loky(frame: Any, folder: Path, epochs: int) -> None:
    """Train by a pool of two processes, each of which gets one series after the other."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=2)(delayed(loop)(rows, folder, epochs) for _, rows in frame.groupby("id", sort=False))


WAYS: dict[str, tuple[str, Callable[[Any, Path, int], None]]] = {
    "loop": ("loop, 1 thread", loop),
    "loop-2": ("loop, 2 threads", loop_2),
    "fit_many": ("fit_many, 2 processes, no cluster", fit_many),
    "cluster": ("fit_many, LocalCluster of 2 processes", cluster_of(2, 1)),
    "threads": ("fit_many, LocalCluster of 2 threads", cluster_of(1, 2)),
    "pool": ("ProcessPoolExecutor(2), halves", pool),
    "loky": ("joblib's loky, 2 processes", loky),
}


def run_one(way: str, series: int, epochs: int, folder: Path) -> None:
    """Train by one way in this process; print the seconds."""
    frame = table(series)
    forecaster(1).fit(frame[frame["id"] == "s00000"], id_col="id")  # what is imported at the first use
    begin = time.perf_counter()
    WAYS[way][1](frame, folder, epochs)
    print(json.dumps(time.perf_counter() - begin))


def measured(way: str, series: int, epochs: int) -> tuple[float, int, list[np.ndarray]]:
    """Return seconds, bytes, and forecasts of some models, of one way in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.many", "--way", way, "--series", str(series)]
        with subprocess.Popen(
            [*command, "--epochs", str(epochs), "--folder", folder], stdout=subprocess.PIPE, text=True
        ) as process:
            with PeakMemory(process.pid) as memory:
                printed = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{way} failed: status {process.returncode}")
        files = sorted(Path(folder).glob("*.safetensors"))
        if len(files) != series:
            raise SystemExit(f"{way} wrote {len(files)} of {series} models")
        some = [files[k] for k in sorted({0, series // 2, series - 1})]
        forecasts = [fl.Forecaster.load(file).predict()["fastlstm"].to_numpy() for file in some]
        return json.loads(printed.splitlines()[-1]), memory.peak, forecasts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        run_one(arguments.way, arguments.series, arguments.epochs, arguments.folder)
        return
    seconds: dict[str, list[float]] = {way: [] for way in arguments.ways}
    peaks = dict.fromkeys(arguments.ways, 0)
    expected: list[np.ndarray] = []
    for _ in range(arguments.repeats):
        for way in arguments.ways:
            taken, peak, forecasts = measured(way, arguments.series, arguments.epochs)
            seconds[way].append(taken)
            peaks[way] = max(peaks[way], peak)
            expected = expected or forecasts
            if not all(map(np.array_equal, forecasts, expected)):
                raise SystemExit(f"the models of {way} have other bits")
    print(f"{arguments.series} series of {HOURS} hours, {arguments.epochs} epochs, {arguments.repeats} repeats:")
    first = statistics.median(seconds[arguments.ways[0]])
    for way in arguments.ways:
        median = statistics.median(seconds[way])
        print(
            f"{WAYS[way][0]:38} {median:8.1f} s  {min(seconds[way]):8.1f} to {max(seconds[way]):6.1f}"
            f"  {first / median:5.2f} times as fast as the first  {peaks[way] / 1e6:6.0f} MB"
        )


if __name__ == "__main__":
    main()
