"""Run the groups: verify and time every case, and collect the results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np

from . import gemm, machine, peak
from .cases import Case, Data
from .groups import OTHER_GROUPS, Settings, shapes
from .peers import OWN, REFERENCE, Peer, Runner, numpy_reference, own
from .timing import Figures, interleave, ratio
from .verify import Answer, check

__all__ = ["ONE_THREAD", "measure", "progress", "run", "verify"]

ONE_THREAD = f"{OWN}, 1 thread"


def progress(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def verify(case: Case, data: Data, runners: Mapping[str, Runner], expected: Answer) -> None:
    """Compare the answers of all runners with the expected one, except for the meaningless outputs in the padding.

    Raises
    ------
    WrongAnswer
        If an answer differs.
    """
    for name, runner in runners.items():
        if runner.answer is None:
            continue
        answer = dict(runner.answer())
        if data.lengths is not None and "output" in answer:
            padding = np.arange(case.problem.time) >= data.lengths[:, None]
            answer["output"] = np.where(padding[:, :, None], 0, answer["output"])
        check(name, f"{case.kind} {case.label}", answer, expected, runner.tolerances)


def runners_of(case: Case, data: Data, peers: Mapping[str, Peer], threads: int) -> dict[str, Runner]:
    """Return the runners that take part in a case, by name."""
    if case.group == "scaling":
        alone = own.prepare(case, data, 1)
        return {**own.prepare(case, data, threads), ONE_THREAD: alone[OWN]}
    runners: dict[str, Runner] = {}
    for name, peer in peers.items():
        if name != REFERENCE or case.reference:
            runners |= peer.prepare(case, data, threads)
    return runners


def measure(
    case: Case,
    peers: Mapping[str, Peer],
    threads: int,
    seconds: float,
    *,
    peak_loop: Runner | None = None,
    expected: Answer | None = None,
    rounds: int = 3,
    least: int = 3,
) -> dict[str, Any]:
    """Verify and time a case.

    Parameters
    ----------
    case : Case
    peers : mapping of name to Peer
    threads : int
        Number of threads of all peers.
    seconds : float
        Time for the case, without verification.
    peak_loop : Runner, optional
        See `benchmarks.peak`; used if the case asks for it.
    expected : Answer, optional
        The right answer; by default the NumPy reference's in float64.
    rounds : int, default 3
        Minimum number of turns of each runner.
    least : int, default 3
        Minimum number of timings in a turn.

    Returns
    -------
    dict
        ``group``, ``kind``, ``label``, ``problem``, ``flops``, ``figures`` (name to `Figures` as a dict), ``ratios``
        (name to the ratio of medians; above 1 fastlstm is faster); with lengths ``valid_share`` (fraction of valid
        steps); with the loop ``peak_gflops`` and ``peak_fraction`` (fastlstm's rate as a fraction of it).

    Raises
    ------
    WrongAnswer
        If an answer is wrong; nothing has been timed then.
    """
    data = case.data()
    runners = runners_of(case, data, peers, threads)
    verify(case, data, runners, numpy_reference.expected(case, data) if expected is None else expected)
    timed = dict(runners)
    if peak_loop is not None and case.fraction:
        timed[peak.NAME] = peak_loop
    figures = interleave(timed, seconds, rounds, least)
    rate = figures.pop(peak.NAME, None)
    own_figures = figures[OWN]
    record: dict[str, Any] = {
        "group": case.group,
        "kind": case.kind,
        "label": case.label,
        "problem": asdict(case.problem),
        "flops": case.flops,
        "figures": {name: asdict(one) for name, one in figures.items()},
        "ratios": {name: ratio(one, own_figures) for name, one in figures.items() if name != OWN},
    }
    if data.lengths is not None:
        record["valid_share"] = float(data.lengths.sum()) / (len(data.lengths) * int(data.lengths.max()))
    if rate is not None:
        record["peak_gflops"] = peak.gflops(rate, threads)
        record["peak_fraction"] = _gflops(record["flops"], own_figures) / record["peak_gflops"]
    return record


def _gflops(flops: int, figures: Figures) -> float:
    return flops / figures.median_ms / 1e6


def run(
    groups: Sequence[str],
    peers: Mapping[str, Peer],
    versions: Mapping[str, str],
    missing: Sequence[str],
    threads: int,
    seconds: float,
    quick: bool = False,
) -> dict[str, Any]:
    """Run groups of cases.

    Parameters
    ----------
    groups : sequence of str
        Out of `benchmarks.groups.ALL_GROUPS`.
    peers, versions, missing
        The results of `benchmarks.peers.available`.
    threads : int
        Number of threads of all peers.
    seconds : float
        Time for each case.
    quick : bool, default False
        Whether to run fewer cases.

    Returns
    -------
    dict
        ``date``, ``machine``, ``versions``, ``missing``, ``threads``, ``seconds``, ``quick``, ``cases`` (see
        `measure`), and the records of each group of `OTHER_GROUPS`, None if it was not run. Fit for JSON.

    Raises
    ------
    WrongAnswer
        If an answer is wrong.
    """
    missing = list(missing)
    try:
        gemm.limit_blas(threads)
    except ImportError as error:
        missing.append(f"NumPy with its own number of threads ({error}): pip install 'fastlstm[bench]'")
    peak_loop: Runner | None = None
    try:
        peak_loop = peak.runner(threads)
    except ImportError as error:
        missing.append(f"without shares of the machine's peak: {error}")
    for line in missing:
        progress(line)
    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "machine": machine.describe(),
        "versions": dict(versions),
        "missing": missing,
        "threads": threads,
        "seconds": seconds,
        "quick": quick,
        "cases": [],
        **dict.fromkeys(OTHER_GROUPS),
    }
    if "scaling" in groups and threads == 1:
        progress("without scaling: there is only one thread")
        groups = [group for group in groups if group != "scaling"]
    cases = [case for group in groups if group in shapes.GROUPS for case in shapes.cases_of(group, quick)]
    for number, case in enumerate(cases, start=1):
        progress(f"[{number}/{len(cases)}] {case.group}: {case.kind} {case.label}")
        share = 0.5 if case.group == "scaling" else 1.0  # only two runners take part
        results["cases"].append(measure(case, peers, threads, share * seconds, peak_loop=peak_loop))
    settings = Settings(peers, threads, seconds, quick)
    for group, measured in OTHER_GROUPS.items():
        if group in groups:
            progress(group)
            results[group] = measured(settings)
    return results
