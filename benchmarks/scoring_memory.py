"""Measure the memory that predicting a large memory map takes: by one call, and by `fl.dask.predict`.

    python -m benchmarks.scoring_memory --gigabytes 10 --folder /scratch

Writes a file of series to the folder, unless it is there from before, and reads it by each way in a process of its own.
Prints the most that belonged to no file (pages of the map are the system's, which drops them as it needs), what of that
was there before, the size of the answers, which are part of it, and the speed. Some answers are compared with those of
the same cases alone. The file is deleted, unless --keep is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

from .resident import PeakMemory, anonymous

STEPS, FEATURES, HIDDEN = 100, 8, 32
CHUNK = 8192
"""Cases of a chunk of Dask: 26 MB."""


def write(path: Path, gigabytes: float) -> None:
    """Write series to a file, a part at a time."""
    cases = int(gigabytes * 1e9 / (4 * STEPS * FEATURES))
    shape = (cases, STEPS, FEATURES)
    if path.exists():
        if np.load(path, mmap_mode="r").shape == shape:
            return
        raise SystemExit(f"{path} has another shape than {shape}: delete it")
    base = np.random.default_rng(0).standard_normal((CHUNK, STEPS, FEATURES)).astype(np.float32)
    unfinished = path.with_suffix(".part")
    target = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=shape)
    for begin in range(0, cases, CHUNK):
        part = target[begin : begin + CHUNK]
        part[:] = base[: len(part)] + np.float32(begin / cases)  # no two parts are equal
    target.flush()
    unfinished.rename(path)


def model() -> fl.Model:
    """Return the model."""
    model = fl.Model([fl.LSTM(HIDDEN), fl.Dense(4)], seed=1)
    X = np.random.default_rng(1).standard_normal((64, STEPS, FEATURES))
    model.fit(X, np.arange(64) % 4, epochs=1, verbose=0)
    return model


def one_call(model: fl.Model, path: Path) -> Any:
    """Predict the whole map at once."""
    return model.predict(np.load(path, mmap_mode="r"))


def dask_map(model: fl.Model, path: Path) -> Any:
    """Predict a dask array of the map, which `from_array` loads as a whole (dask 2026.8), with threads."""
    import dask.array as da

    cases = da.from_array(np.load(path, mmap_mode="r"), chunks=(CHUNK, -1, -1))
    return fl.dask.predict(model, cases).compute(scheduler="threads")


def dask_tasks(model: fl.Model, path: Path) -> Any:
    """Predict parts that the tasks open, as docs/dask.md has it, with threads."""
    import dask
    import dask.array as da

    total = len(np.load(path, mmap_mode="r"))
    rows = dask.delayed(lambda begin: np.load(path, mmap_mode="r")[begin : begin + CHUNK])
    chunks = [
        da.from_delayed(rows(k), shape=(min(CHUNK, total - k), STEPS, FEATURES), dtype="float32")
        for k in range(0, total, CHUNK)
    ]
    return fl.dask.predict(model, da.concatenate(chunks)).compute(scheduler="threads")


WAYS: dict[str, tuple[str, Callable[[fl.Model, Path], Any]]] = {
    "call": ("model.predict of the map", one_call),
    "map": ("fl.dask.predict of the map", dask_map),
    "tasks": ("fl.dask.predict, opened in tasks", dask_tasks),
}


def run_one(way: str, path: Path) -> None:
    """Predict by one way in this process, check some answers, and print what it took."""
    ready = model()
    X = np.load(path, mmap_mode="r")
    ready.predict(X[:64])
    if way != "call":
        import dask.array  # noqa: F401
    before = anonymous(os.getpid())
    with PeakMemory() as memory:
        begin = time.perf_counter()
        answers = WAYS[way][1](ready, path)
        seconds = time.perf_counter() - begin
    if len(answers) != len(X):
        raise SystemExit(f"{way} gave {len(answers)} answers for {len(X)} cases")
    for place in [0, len(X) - 1, *np.random.default_rng(2).integers(0, len(X), 200)]:
        if not np.array_equal(answers[place], ready.predict(X[place : place + 1])[0]):
            raise SystemExit(f"{way}: the answer for case {place} has other bits than that for this case alone")
    print(json.dumps([before, memory.peak, answers.nbytes, seconds]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--keep", action="store_true", help="leave the file for another run")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["call", "tasks"], help="map loads all")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = arguments.folder / f"fastlstm-scoring-{arguments.gigabytes:g}-GB.npy"
    if arguments.way:
        run_one(arguments.way, path)
        return
    write(path, arguments.gigabytes)
    try:
        for way in arguments.ways:
            command = [sys.executable, "-m", "benchmarks.scoring_memory", "--way", way]
            command += ["--gigabytes", str(arguments.gigabytes), "--folder", str(arguments.folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            before, peak, answers, seconds = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{arguments.gigabytes:g} GB, {WAYS[way][0]:33} {peak / 1e6:7.0f} MB at most, {before / 1e6:.0f} MB "
                f"before, {answers / 1e6:.0f} MB of answers, {seconds:.1f} s, "
                f"{1e3 * arguments.gigabytes / seconds:.0f} MB/s"
            )
    finally:
        if not arguments.keep:
            path.unlink()


if __name__ == "__main__":
    main()
