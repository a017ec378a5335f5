"""The shapes of benchmarks.ranks in PyTorch: DistributedDataParallel with gloo, one thread for each process.

    python -m benchmarks.ranks_ddp --processes 2 --threads 1 [--epochs 5]
    python -m benchmarks.ranks_ddp --processes 1 --threads 2

`--processes 1` is PyTorch without DistributedDataParallel. Each process has its part of the batch, so that the whole
batch is that of benchmarks.ranks. Needs torch. Prints the median time of an epoch after the first in the slowest
process, and the time per update.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from typing import Any

import numpy as np

from .ranks import BATCHES, SHAPES


def _train(rank: int, size: int, threads: int, epochs: int, port: int) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(threads)
    if size > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=size)
    for hidden, batch, steps, inputs in SHAPES:
        rng = np.random.default_rng(0)
        X = torch.from_numpy(rng.standard_normal((BATCHES * batch, steps, inputs)).astype(np.float32))
        labels = torch.from_numpy(rng.integers(0, 4, len(X)))
        torch.manual_seed(0)

        class Classifier(torch.nn.Module):
            def __init__(self, inputs: int = inputs, hidden: int = hidden) -> None:
                super().__init__()
                self.lstm = torch.nn.LSTM(inputs, hidden, batch_first=True)
                self.head = torch.nn.Linear(hidden, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.lstm(x)[0][:, -1])

        model: Any = Classifier()
        if size > 1:
            model = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        share = batch // size
        seconds = []
        for _ in range(1 + epochs):
            order = torch.from_numpy(rng.permutation(len(X)))
            begin = time.perf_counter()
            for start in range(0, len(X), batch):
                rows = order[start + rank * share : start + (rank + 1) * share]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(X[rows]), labels[rows]).backward()
                optimizer.step()
            seconds.append(time.perf_counter() - begin)
        slowest = torch.tensor(statistics.median(seconds[1:]))
        if size > 1:
            dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        if rank == 0:
            epoch = float(slowest)
            print(
                f"hidden {hidden:4}, batch {batch}, {steps} steps: {size} processes of {threads} threads: epoch "
                f"{1e3 * epoch:8.1f} ms, update {1e3 * epoch / BATCHES:7.2f} ms",
                flush=True,
            )
    if size > 1:
        del model  # its threads end before those of the group, and no process leaves before the others
        dist.barrier()
        dist.destroy_process_group()


def main() -> None:
    """Start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    given = (arguments.processes, arguments.threads, arguments.epochs, port)
    if arguments.processes == 1:
        _train(0, *given)
        return
    import torch.multiprocessing

    torch.multiprocessing.spawn(_train, args=given, nprocs=arguments.processes)


if __name__ == "__main__":
    main()
