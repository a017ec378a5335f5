"""Run the trials that are missing, show progress, and write table and pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from . import results
from .trial import Progress

__all__ = ["ProgressLine", "Runnable", "run"]

Record = dict[str, Any]


class Runnable(Protocol):
    """What `run` needs of an experiment."""

    @property
    def name(self) -> str:
        """Name, also of the folder of its records."""

    def settings(self) -> dict[str, Any]:
        """Return the settings on which the results depend, as data for JSON."""

    def trial(self, seed: int, progress: Progress) -> tuple[Record, Any]:
        """Run a trial; return its record and the model."""


class ProgressLine:
    """Show the progress of a trial: in a terminal a line that is overwritten, elsewhere a line every half minute."""

    def __init__(self, label: str, stream: Any = None) -> None:
        self.label = label
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.started = self.shown = time.monotonic()

    def __call__(self, presented: int, error: float) -> None:
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else 30):
            return
        self.shown = now
        text = f"{self.label}: {presented:,} presented, error {error:.3f}, {now - self.started:.0f} s"
        self.stream.write(f"\r{text}\x1b[K" if self.terminal else f"{text}\n")
        self.stream.flush()

    def close(self, text: str) -> None:
        """Replace the line by the outcome of the trial."""
        self.stream.write(f"\r{self.label}: {text}\x1b[K\n" if self.terminal else f"{self.label}: {text}\n")
        self.stream.flush()


def run(
    experiments: Sequence[Runnable], seeds: Sequence[int], folder: Path, minutes: float | None = None
) -> tuple[dict[str, list[Record]], int]:
    """Run the trials that have no record yet; return the records by experiment, and the number of trials not run.

    Parameters
    ----------
    experiments : sequence of Runnable
    seeds : sequence of int
    folder : path
        Folder of the records, with a folder for each experiment.
    minutes : float, optional
        Start no trial after this time.
    """
    end = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    found = {}
    for one in experiments:
        found[one.name] = results.run_missing(
            folder,
            one.name,
            seeds,
            one.settings(),
            partial(_trial, one, folder),
            lambda: time.monotonic() >= end,
        )
    return found, sum(len(seeds) - len(records) for records in found.values())


def _trial(experiment: Runnable, folder: Path, seed: int) -> Record:
    line = ProgressLine(f"{experiment.name}, seed {seed}")
    record, model = experiment.trial(seed, line)
    place = folder / experiment.name
    place.mkdir(parents=True, exist_ok=True)
    model.save(place / f"{seed}.safetensors")
    line.close(outcome(record))
    return record


def outcome(record: Record) -> str:
    """Describe how a trial ended."""
    if "accuracy" in record["milestones"]:
        text = f"accuracy {record['milestones']['accuracy']:.3f}"
    else:
        text = "solved" if record["solved"] else "NOT solved"
    text += f" after {record['presented']:,} presented, {record['seconds']:.1f} s"
    test = record.get("test")
    return (
        text if not test else f"{text}; {test['wrong']} of {test['of']} new ones wrong, mean error {test['error']:.4f}"
    )
