"""Small CSV files for tests of the command line, and the command itself, in this process and in another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlstm import cli

__all__ = ["COMMAND", "INTERRUPTED", "refusal_of", "run", "write_beats", "write_pump", "write_runs"]

COMMAND = [sys.executable, "-m", "fastlstm"]


# Starts the command with Python's own handler of Ctrl-C, and sends it the signal at the tenth update.
INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from fastlstm.training.callbacks.progress import ProgressBar
updates = 0
def count(self, batch, logs):
    global updates
    updates += 1
    if updates == 10:
        os.kill(os.getpid(), signal.SIGINT)
ProgressBar.on_batch_end = count
from fastlstm.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a new process, outside the checkout."""
    environment = {**os.environ, **options.pop("environment", {})}
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, **options)


def refusal_of(text: str, options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message, of one line, with which train refuses a table; no model is written."""
    (folder / "d.csv").write_text(text)
    assert cli.main(["train", str(folder / "d.csv"), *options, "--quiet", "-o", str(folder / "m")]) == 3
    message = capsys.readouterr().err
    assert message.startswith("fastlstm: error: ") and message.count("\n") == 1
    assert not (folder / "m").exists()
    return message


def write_beats(folder: Path, n: int = 40, steps: int = 8) -> Path:
    """Write a table with a case in each row: an id, a class, a value for each step."""
    rng = np.random.default_rng(0)
    lines = ["id,kind," + ",".join(f"s{k}" for k in range(steps))]
    for number in range(n):
        up = rng.random() < 0.5
        values = np.linspace(0, 1 if up else -1, steps) + rng.normal(0, 0.2, steps)
        lines.append(f"b{number},{'up' if up else 'down'}," + ",".join(f"{value:.3f}" for value in values))
    path = folder / "beats.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_runs(folder: Path, n: int = 24) -> Path:
    """Write a table with several rows for each case, of two channels, with decimal commas."""
    rng = np.random.default_rng(1)
    lines = ["run;t;a;b;wear"]
    for number in range(n):
        wear = rng.random()
        for step in range(int(rng.integers(5, 9))):
            cells = f"{number};{step};{wear + rng.normal(0, 0.1):.3f};{rng.normal():.3f};{wear:.4f}"
            lines.append(cells.replace(".", ","))
    path = folder / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pump(folder: Path) -> tuple[Path, Path]:
    """Write a normal series, and one with an event in rows 101 to 110."""
    rng = np.random.default_rng(2)
    start, minute = np.datetime64("2026-01-01T00:00"), np.timedelta64(1, "m")
    paths = folder / "normal.csv", folder / "today.csv"
    for path, steps, first in zip(paths, (800, 200), (0, 5000), strict=True):
        lines = ["time,p,q" + (",wrong" if first else "")]
        for step in range(steps):
            wrong = bool(first) and 100 <= step < 110
            p, q = np.sin(step / 5) + rng.normal(0, 0.1), np.cos(step / 7) + rng.normal(0, 0.1)
            time = str(start + (first + step) * minute).replace("T", " ")
            lines.append(f"{time},{4.0 if wrong else p:.4f},{q:.4f}" + (f",{int(wrong)}" if first else ""))
        path.write_text("\n".join(lines) + "\n")
    return paths
