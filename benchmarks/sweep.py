"""Find random shapes for which a peer is faster than fastlstm."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, Problem
from .peers import OWN, Peer
from .report import number, peer_names, table
from .suite import measure

__all__ = ["PEERS", "problems", "report", "run", "worst_ratio", "write"]

PEERS = (OWN, "PyTorch", "ONNX Runtime")

_BOUNDS = ((1, 512), (1, 10_000), (1, 512), (8, 1024))
"""Bounds of batch, time, inputs, hidden; each is drawn log-uniformly."""

_SECONDS, _GFLOPS = 2.0, 50.0
"""Longest training step in seconds, estimated at this rate in billions of operations per second."""

_BYTES = 4e9


def _fits(problem: Problem) -> bool:
    """Return whether a training step is short enough, and the memory of all peers together small enough."""
    elements = problem.batch * problem.time * (4 * problem.inputs + 14 * problem.hidden)
    weights = 4 * problem.hidden * (problem.inputs + problem.hidden)
    return problem.flops("train") < _SECONDS * _GFLOPS * 1e9 and 4 * len(PEERS) * (elements + 6 * weights) < _BYTES


def problems(count: int, seed: int) -> list[Problem]:
    """Return random problems, the same for the same seed.

    Parameters
    ----------
    count, seed : int
    """
    rng = np.random.default_rng(seed)
    chosen: list[Problem] = []
    while len(chosen) < count:
        batch, steps, inputs, hidden = (
            int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))) for low, high in _BOUNDS
        )
        problem = Problem(batch, steps, inputs, hidden)
        if _fits(problem):
            chosen.append(problem)
    return chosen


def worst_ratio(record: Mapping[str, Any]) -> float:
    """Return the fastest peer's median divided by fastlstm's; infinity without peers."""
    return min(record["ratios"].values(), default=math.inf)


def run(
    count: int,
    seed: int,
    peers: Mapping[str, Peer],
    threads: int,
    minutes: float | None = None,
    seconds: float = 0.5,
    progress: Callable[[str], Any] = lambda text: None,
) -> list[dict[str, Any]]:
    """Measure a training step and inference of random shapes.

    The answers are compared with PyTorch's, which is faster than the reference; without PyTorch with the reference's.

    Parameters
    ----------
    count, seed : int
        Number of shapes, and the seed that selects them.
    peers : mapping of name to Peer
    threads : int
    minutes : float, optional
        No new shape is started after this time.
    seconds : float, default 0.5
        Time for each case, if its runs are short.
    progress : callable, optional
        Called with a line of text for each case.

    Returns
    -------
    list of dict
        Records of `benchmarks.suite.measure`, the worst ratio first.

    Raises
    ------
    WrongAnswer
        If an answer is wrong.
    """
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    records: list[dict[str, Any]] = []
    for index, problem in enumerate(problems(count, seed), start=1):
        if time.monotonic() > end:
            progress(f"stopped after {index - 1} of {count} shapes: the time is up")
            break
        for kind in ("train", "infer"):
            case = Case("sweep", kind, problem)
            expected = None
            if "PyTorch" in peers:
                answer = peers["PyTorch"].prepare(case, case.data(), threads)["PyTorch"].answer
                assert answer is not None
                expected = answer()
            records.append(measure(case, peers, threads, seconds, expected=expected, least=1))
            progress(f"[{index}/{count}] {kind} {problem.label}: {worst_ratio(records[-1]):.2f}")
    return sorted(records, key=worst_ratio)


def report(records: Sequence[Mapping[str, Any]], heading: str) -> str:
    """Return Markdown: the number of cases with a faster peer, and a table of all cases, the worst first."""
    names = peer_names(records)
    rows = []
    for record in records:
        cells = [record["kind"], record["label"], number(record["figures"][OWN]["median_ms"])]
        for name in names:
            median = record["figures"].get(name)
            cells.append("" if median is None else f"{number(median['median_ms'])} ({record['ratios'][name]:.2f})")
        rows.append([*cells, f"{worst_ratio(record):.2f}"])
    lost = [record for record in records if worst_ratio(record) < 1]
    parts = [f"# Random shapes\n\n{heading}\n\nA peer is faster in {len(lost)} of {len(records)} cases.\n"]
    if lost:
        lines = (f"- {r['kind']} {r['label']}: {worst_ratio(r):.2f}\n" for r in lost[:20])
        parts.append(f"The worst:\n\n{''.join(lines)}")
    head = ["", "batch, time, input, hidden", f"{OWN} ms", *(f"{name} ms (ratio)" for name in names), "worst ratio"]
    return "\n".join([*parts, table(head, rows)])


def write(records: Sequence[Mapping[str, Any]], heading: str, folder: Path) -> list[Path]:
    """Write sweep.md and sweep.json.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "sweep.md", folder / "sweep.json"]
    written[0].write_text(report(records, heading), encoding="utf-8")
    written[1].write_text(json.dumps(list(records), indent=1) + "\n", encoding="utf-8")
    return written
