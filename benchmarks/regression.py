"""Compare two builds of fastlstm and report the cases that have become slower.

Each build runs in its own process, and the two take turns, so that a drift of the machine's speed affects both. A case
that is slower by more than `LIMIT` is measured again, longer, up to twice, so that the result is not noise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .cases import STREAM_STEPS, Case, Problem
from .child import Child, ChildError
from .peers import OWN, Runner
from .report import number, table
from .timing import Figures, interleave
from .verify import check

__all__ = ["ATTEMPTS", "CASES", "LIMIT", "Verdict", "Worker", "compare", "report", "start"]

LIMIT = 1.10
"""Largest allowed ratio of the medians, new to old."""

ATTEMPTS = 3
"""Maximum number of measurements of a case that looks slower; each takes twice as long as the one before."""

_SHAPES = (
    (1, 1, 32, 64),
    (1, 100, 32, 128),
    (3, 200, 30, 100),
    (32, 100, 16, 64),
    (64, 100, 32, 128),
    (64, 100, 64, 256),
    (256, 187, 1, 64),
)

CASES = (
    *(Case(kind, kind, Problem(*shape)) for kind in ("train", "infer") for shape in _SHAPES),
    *(Case("lengths", kind, Problem(32, 200, 8, 64, shortest=10)) for kind in ("train", "infer")),
    *(Case("deep", kind, Problem(32, 100, 16, 64, layers=2, bidirectional=True)) for kind in ("train", "infer")),
    *(Case("stream", "step", Problem(1, STREAM_STEPS, 32, hidden)) for hidden in (16, 64, 256)),
    Case("epoch", "epoch", Problem(32, 50, 8, 32, series=512, classes=8)),
)


class Worker(Protocol):
    """A build that takes turns; `benchmarks.child.Child` is one."""

    def prepare(self, peer: str, case: Case, threads: int) -> Mapping[str, Runner]:
        """Return the runners for a case by name."""


@dataclass(frozen=True)
class Verdict:
    """The result for one case and number of threads."""

    case: Case
    threads: int
    old: Figures
    new: Figures
    attempts: int

    @property
    def ratio(self) -> float:
        """Ratio of the medians, new to old; above 1 the new build is slower."""
        return self.new.median_ms / self.old.median_ms

    @property
    def slow(self) -> bool:
        """Whether the last measurement was still above the limit."""
        return self.ratio > LIMIT

    @property
    def label(self) -> str:
        """Kind, sizes, threads."""
        return f"{self.case.kind} {self.case.label}, {self.threads} thread{'s' * (self.threads > 1)}"


def compare(
    old: Worker,
    new: Worker,
    threads: Sequence[int],
    seconds: float,
    cases: Sequence[Case] = CASES,
    progress: Callable[[str], Any] = lambda text: None,
) -> list[Verdict]:
    """Measure all cases.

    Parameters
    ----------
    old, new : Worker
    threads : sequence of int
        Numbers of threads to measure with.
    seconds : float
        Time for the first measurement of a case.
    cases : sequence of Case, optional
    progress : callable, optional
        Called with a line of text for each measurement.

    Returns
    -------
    list of Verdict

    Raises
    ------
    WrongAnswer
        If the answers of the two builds differ.
    ChildError
        If a build fails.
    """
    verdicts = []
    for count in threads:
        for case in cases:
            runners = {name: worker.prepare(OWN, case, count)[OWN] for name, worker in (("old", old), ("new", new))}
            answers = {name: runner.answer() for name, runner in runners.items() if runner.answer is not None}
            if len(answers) == 2:
                check("the new build", f"{case.kind} {case.label}", answers["new"], answers["old"])
            for attempt in range(1, ATTEMPTS + 1):
                figures = interleave(runners, seconds * 2 ** (attempt - 1))
                verdict = Verdict(case, count, figures["old"], figures["new"], attempt)
                again = verdict.slow and attempt < ATTEMPTS
                progress(f"{verdict.label}: {verdict.ratio:.2f}" + (", once more" if again else ""))
                if not again:
                    break
            verdicts.append(verdict)
    return verdicts


def report(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table and the list of the slow cases."""
    rows = [
        [v.label, number(v.old.median_ms), number(v.new.median_ms), f"{v.ratio:.2f}", str(v.attempts)] for v in verdicts
    ]
    text = table(["", "old ms", "new ms", "new / old", "measured"], rows)
    slow = [verdict for verdict in verdicts if verdict.slow]
    if not slow:
        return f"{text}\nno case is slower by more than {LIMIT - 1:.0%}\n"
    lines = "\n".join(f"- {verdict.label}: {verdict.ratio:.2f}" for verdict in slow)
    return f"{text}\nslower by more than {LIMIT - 1:.0%}:\n\n{lines}\n"


def start(build: Path) -> Child:
    """Start a worker for a build.

    Parameters
    ----------
    build : Path
        A folder made by ``pip install --target FOLDER .``; or a Python interpreter that has fastlstm, or the folder of
        its environment.

    Raises
    ------
    ValueError
        If `build` is none of these, or another fastlstm is imported.
    ChildError
        If fastlstm cannot be imported there.
    """
    if build.is_dir() and (build / "fastlstm" / "__init__.py").is_file():
        folder = build.resolve()
        child = Child([sys.executable], first=str(folder))
        where = _where(child)
        if where != folder / "fastlstm":
            child.close()
            raise ValueError(f"for {build}, fastlstm was imported from {where}")
        return child
    pythons = [build, build / "bin" / "python", build / "Scripts" / "python.exe"]
    python = next((path for path in pythons if path.is_file() and os.access(path, os.X_OK)), None)
    if python is None:
        raise ValueError(
            f"{build} is neither a folder with an installed fastlstm (pip install --target FOLDER .) nor a Python "
            "interpreter nor the folder of an environment"
        )
    # The search path for packages of this process does not apply to another interpreter.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    child = Child([str(python.absolute())], environment)
    _where(child)
    return child


def _where(child: Child) -> Path:
    """Return the folder of a child's fastlstm; end the child if it has none."""
    try:
        return Path(child.ask("where")).resolve()
    except ChildError:
        child.close()
        raise
