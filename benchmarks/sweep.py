"""Find random shapes for which a peer is faster than fastlstm.

Whole training steps and inference of a model stand beside PyTorch and ONNX Runtime; the passes of the kernels alone
beside oneDNN's primitives, which both sides call from C.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, Problem
from .peers import OWN, Peer
from .report import number, peer_names, table
from .suite import measure
from .verify import Answer

__all__ = ["KINDS", "PEERS", "SHAPE_KINDS", "problems", "report", "run", "shape_kind", "worst_ratio", "write"]

PEERS = (OWN, "PyTorch", "ONNX Runtime", "OpenVINO", "oneDNN")

KINDS = ("train", "infer", "passes", "forward")
"""Kinds of cases of each shape; see `benchmarks.cases`."""

SHAPE_KINDS = ("wide input", "small work", "H >= 256", "other")
"""Kinds of shapes: at least twice as many inputs as units; few rows and steps; wide layers; the rest."""

_FEW = 1500
"""Most rows times steps of small work."""

_NARROW = ("bf16", "int8")
"""Words in the names of peers that compute with narrower numbers, whose ratios do not count as the worst."""

_BOUNDS = ((1, 256), (1, 1000), (1, 512), (8, 512))
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


def shape_kind(problem: Mapping[str, Any]) -> str:
    """Return the kind of a shape, out of `SHAPE_KINDS`.

    Parameters
    ----------
    problem : mapping
        ``batch``, ``time``, ``inputs`` and ``hidden``.
    """
    if problem["inputs"] >= 2 * problem["hidden"]:
        return "wide input"
    if problem["batch"] * problem["time"] <= _FEW:
        return "small work"
    return "H >= 256" if problem["hidden"] >= 256 else "other"


def worst_ratio(record: Mapping[str, Any]) -> float:
    """Return the fastest float32 peer's median divided by fastlstm's; infinity without peers."""
    return min((ratio for name, ratio in record["ratios"].items() if _counts(name)), default=math.inf)


def _counts(name: str) -> bool:
    return not name.startswith(OWN) and not any(word in name for word in _NARROW)


def run(
    count: int,
    seed: int,
    peers: Mapping[str, Peer],
    threads: int,
    minutes: float | None = None,
    seconds: float = 0.5,
    progress: Callable[[str], Any] = lambda text: None,
    kinds: Sequence[str] = KINDS,
) -> list[dict[str, Any]]:
    """Measure random shapes.

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
    kinds : sequence of str, optional
        Out of `KINDS`.

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
        for kind in kinds:
            case = Case("sweep", kind, problem)
            expected = None
            if "PyTorch" in peers:
                expected = _by_pytorch(case, peers["PyTorch"], threads)
            records.append(measure(case, peers, threads, seconds, expected=expected, least=1))
            progress(f"[{index}/{count}] {kind} {problem.label}: {worst_ratio(records[-1]):.2f}")
    return sorted(records, key=worst_ratio)


def _by_pytorch(case: Case, peer: Peer, threads: int) -> Answer:
    """Return PyTorch's answer; it has no kernels of its own to call, but its training step has the same gradients."""
    like = replace(case, kind={"passes": "train", "forward": "infer"}.get(case.kind, case.kind))
    answer = peer.prepare(like, like.data(), threads)["PyTorch"].answer
    assert answer is not None
    return {name: value for name, value in answer().items() if case.kind == "train" or name != "norm"}


def _means(records: Sequence[Mapping[str, Any]], base: str, names: Sequence[str]) -> str:
    """Return a table: for each kind of case and of shape the geometric mean and the least of other names' medians
    divided by those of `base`."""
    rows = []
    for kind, shape in itertools.product(KINDS, ("all", *SHAPE_KINDS)):
        members = [r for r in records if r["kind"] == kind and shape in ("all", shape_kind(r["problem"]))]
        if members:
            cells = [kind, shape, str(len(members))]
            for name in names:
                both = [r["figures"] for r in members if {name, base} <= r["figures"].keys()]
                ratios = [figures[name]["median_ms"] / figures[base]["median_ms"] for figures in both]
                cells.append(f"{statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f})" if ratios else "")
            rows.append(cells)
    return table(["", "shapes", "count", *(f"{name} (least)" for name in names)], rows)


def report(records: Sequence[Mapping[str, Any]], heading: str) -> str:
    """Return Markdown: means by kind of shape, the worst cases, and a table of all cases, the worst first."""
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
    parts.append("Ratios of medians to fastlstm's: geometric mean, and the least.\n")
    parts.append(_means(records, OWN, names))
    rounded = f"{OWN} bf16"
    if any(rounded in record["figures"] for record in records):
        parts.append(f"The same to {rounded}.\n")
        parts.append(_means(records, rounded, [OWN, *(name for name in names if "bf16" in name and name != rounded)]))
    if lost:
        lines = (f"- {r['kind']} {r['label']}: {worst_ratio(r):.2f}\n" for r in lost[:10])
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
