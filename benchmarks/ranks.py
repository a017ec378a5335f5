"""Measure training by several processes of MPI against one process with as many threads.

    FASTLSTM_NUM_THREADS=1 mpiexec -n 2 python -m mpi4py -m benchmarks.ranks [--shards 2] [--epochs 3] [--plain]
    python -m benchmarks.ranks --threads 2
    FASTLSTM_NUM_THREADS=1 mpiexec -n 2 python -m mpi4py -m benchmarks.ranks --forecaster

Prints, for three shapes, the median time of an epoch after the first in the slowest process, the time per update, and
the size of a gradient. Without `mpiexec` there is one process, and without `--shards` it computes whole batches. With
`--plain` gradients are summed by MPI's own all-reduce, whose order depends on the number of processes. With several
`--layers` those of the upper ones are sent while the lowest is computed, unless `--late`. With `--forecaster` the time
of `Forecaster.fit` on 32 series instead, the pass over the validation part and that to the end of each series included.
`python -m benchmarks.ranks_compare` runs this program and its peers in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm.training import ranks
from fastlstm.training.ranks import Ranks
from fastlstm.training.reduce import Sums

SHAPES = [  # hidden units, batch, steps, inputs
    (32, 64, 100, 8),
    (128, 64, 100, 32),
    (512, 64, 50, 64),
]
BATCHES = 8


class Clock(fl.Callback):
    """Time of each epoch."""

    def on_train_begin(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.seconds.append(time.perf_counter() - self._start)


class Plain(Ranks):
    """A sum by MPI's all-reduce, in an order of its own."""

    def __init__(self, shards: int, communicator: Any, deadline: float) -> None:
        super().__init__(shards, communicator, deadline)
        self._mpi = communicator

    def __call__(self, compute: Callable[[int], Sums], gradients: Any) -> Sums:
        own, total = Sums(), np.zeros_like(gradients)
        for index in self.shards_here:
            one = compute(index)
            total += gradients * one.weight
            own = own.plus(one)
        sums = Sums(*self._mpi.allreduce(np.array(own)).tolist())
        self._mpi.Allreduce(total, gradients)
        gradients /= sums.weight
        return sums


class Late(Ranks):
    """A sum that begins when all gradients are known."""

    sends_early = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]


def measure_forecaster(arguments: argparse.Namespace, shards: int, communicator: Any) -> None:
    """Print the least time of three calls of `Forecaster.fit` in the slowest process."""
    hours = np.arange(2000)
    columns: dict[str, Any] = {"unique_id": np.repeat(np.arange(32), len(hours)), "ds": np.tile(hours, 32)}
    noise = np.random.default_rng(0).standard_normal((32, len(hours)))
    columns["y"] = (np.sin(hours * np.pi / 12 + np.arange(32)[:, None]) + 0.1 * noise).ravel()
    seconds = []
    for _ in range(3):
        forecaster = fl.Forecaster(
            24, season_length=24, batch_size=32, epochs=arguments.epochs, random_state=0, n_jobs=arguments.threads,
            verbose=0,
        )  # fmt: skip
        if communicator is not None:
            communicator.Barrier()
        start = time.perf_counter()
        forecaster.fit(columns, shards=shards, communicator=communicator)
        seconds.append(time.perf_counter() - start)
    slowest = min(seconds) if communicator is None else max(communicator.allgather(min(seconds)))
    if communicator is None or communicator.Get_rank() == 0:
        size = 1 if communicator is None else communicator.Get_size()
        print(
            f"forecaster of 32 series of {len(hours)} rows: {size} processes, {shards} shards: {slowest:.2f} s, loss "
            f"{forecaster.history_.history['loss'][-1]:.6f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, help="by default as many as there are processes")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of each process; by default as configured")
    parser.add_argument("--layers", type=int, default=1, help="LSTM layers")
    parser.add_argument("--late", action="store_true", help="send no gradient before all are known")
    parser.add_argument("--plain", action="store_true", help="sum the gradients by MPI's all-reduce")
    parser.add_argument("--forecaster", action="store_true", help="measure Forecaster.fit")
    arguments = parser.parse_args()
    if arguments.plain:
        ranks.Ranks = Plain  # type: ignore[misc]
    if arguments.late:
        ranks.Ranks = Late  # type: ignore[misc]
    communicator, size = None, 1
    try:
        from mpi4py import MPI

        communicator, size = MPI.COMM_WORLD, MPI.COMM_WORLD.Get_size()
    except ImportError:
        print("without mpi4py: one process")
    shards = size if arguments.shards is None else arguments.shards
    if arguments.forecaster:
        measure_forecaster(arguments, shards, communicator if size > 1 else None)
        return
    for hidden, batch, steps, inputs in SHAPES:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((BATCHES * batch, steps, inputs)).astype(np.float32)
        lower = [fl.LSTM(hidden, return_sequences=True) for _ in range(arguments.layers - 1)]
        model = fl.Model([*lower, fl.LSTM(hidden), fl.Dense(4)])
        clock = Clock()
        labels = rng.integers(0, 4, len(X))
        model.fit(
            X,
            labels,
            batch_size=batch,
            epochs=1 + arguments.epochs,
            shards=shards,
            communicator=communicator if size > 1 else None,
            n_threads=arguments.threads,
            callbacks=[clock],
            verbose=0,
        )
        epoch = statistics.median(clock.seconds[1:])
        if communicator is not None and size > 1:
            epoch = max(communicator.allgather(epoch))
        if communicator is None or communicator.Get_rank() == 0:
            print(
                f"hidden {hidden:4}, batch {batch}, {steps} steps: {size} processes, {shards} shards: epoch "
                f"{1e3 * epoch:8.1f} ms, update {1e3 * epoch / BATCHES:7.2f} ms, gradient "
                f"{model.flat_parameters.nbytes / 1e6:.2f} MB"
            )


if __name__ == "__main__":
    main()
