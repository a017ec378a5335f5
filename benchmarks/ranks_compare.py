"""Run benchmarks.ranks by one and two processes, and its peer in PyTorch, in turns, and compare the times of an update.

    python -m benchmarks.ranks_compare [--rounds 3] [--epochs 5] [--no-torch]

Needs mpi4py with mpiexec, and torch unless it is left out. Each program is run `--rounds` times, one after the other,
and the least time counts. Prints for each shape the milliseconds of an update, and how much of twice the speed of one
thread two processes or two threads reach.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_LINE = re.compile(r"hidden +(\d+),.*update +([0-9.]+) ms")


def programs(epochs: int, torch: bool) -> dict[str, list[str]]:
    """Return the commands by what they measure."""
    beside_python = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside_python) if beside_python.exists() else shutil.which("mpiexec") or "mpiexec"
    ranks = ["-m", "benchmarks.ranks", "--epochs", str(epochs)]
    two = [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py", *ranks, "--threads", "1"]
    found = {
        "1 thread": [sys.executable, *ranks, "--threads", "1"],
        "2 threads": [sys.executable, *ranks, "--threads", "2"],
        "2 processes": two,
        "2 processes, plain": [*two, "--plain"],
    }
    if torch:
        peer = [sys.executable, "-m", "benchmarks.ranks_ddp", "--epochs", str(epochs)]
        found["PyTorch, 1 thread"] = [*peer, "--processes", "1", "--threads", "1"]
        found["PyTorch, 2 threads"] = [*peer, "--processes", "1", "--threads", "2"]
        found["PyTorch, DDP of 2"] = [*peer, "--processes", "2", "--threads", "1"]
    return found


def main() -> None:
    """Run all programs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    least: dict[str, dict[int, float]] = {}
    commands = programs(arguments.epochs, not arguments.no_torch)
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
            for hidden, ms in _LINE.findall(done.stdout):
                times = least.setdefault(name, {})
                times[int(hidden)] = min(float(ms), times.get(int(hidden), float("inf")))
    shapes = list(least["1 thread"])
    print("| ms of an update | " + " | ".join(f"{hidden} units" for hidden in shapes) + " |")
    print("|---|" + "---|" * len(shapes))
    for name, times in least.items():
        single = least["PyTorch, 1 thread" if name.startswith("PyTorch") else "1 thread"]
        cells = []
        for hidden in shapes:
            twice = "" if "1 thread" in name else f" ({single[hidden] / times[hidden] / 2:.0%})"
            cells.append(f"{times[hidden]:.2f}{twice}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("in brackets: speed as a part of twice that of one thread")


if __name__ == "__main__":
    main()
