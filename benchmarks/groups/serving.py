"""Measure what a service needs: answers per second of many threads, memory of many models and streams, cold starts."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["CLIENTS", "THREADS", "measure", "run_child"]

THREADS = (1, 2, 8, 32)
"""Numbers of Python threads that call at the same time."""

CLIENTS = 8
"""Clients of a server."""

_CODE = """
import importlib, importlib.util, sys, json
folder, first = sys.argv[1:3]
sys.path[:] = [first, *(entry for entry in sys.path if entry)]
spec = importlib.util.spec_from_file_location(
    "benchmarks", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["benchmarks"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
child = importlib.import_module("benchmarks.serving.child")
print(json.dumps(child.KINDS[sys.argv[3]](*sys.argv[4:])))
"""


def run_child(kind: str, *arguments: object) -> Any:
    """Return the result of a measurement of `benchmarks.serving.child` in a fresh process, with one OpenMP thread."""
    import fastlstm

    own = str(Path(fastlstm.__file__).resolve().parents[1])
    here = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, here, own, kind, *map(str, arguments)],
            cwd=elsewhere,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the measurement {kind} {arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _peers() -> list[str]:
    needed = {"onnxruntime": ("onnx", "onnxruntime"), "torch": ("torch",)}
    return ["fastlstm", *(peer for peer, modules in needed.items() if all(map(find_spec, modules)))]


def _turns(
    peers: Sequence[str], rounds: int, run: Callable[..., float], choose: Callable[..., float], *arguments: object
) -> dict[str, float]:
    """Return the best or the median result of each peer; they take turns."""
    results: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer, measured in results.items():
            measured.append(run(peer, *arguments))
    return {peer: choose(measured) for peer, measured in results.items()}


def _http(
    peers: Sequence[str], rounds: int, run: Callable[..., Any], folder: str, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians of answers per second and of the server's processor time for an answer, by form and peer."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for form in ("json", "binary"):
        measured: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
        for _ in range(rounds):
            for peer, records in measured.items():
                records.append(run("http", peer, folder, form, CLIENTS, seconds))
        results[form] = {
            peer: {
                "rate": statistics.median(one["rate"] for one in records),
                "processor_us": 1e6 * statistics.median(one["processor"] for one in records),
            }
            for peer, records in measured.items()
        }
    return results


def measure(seconds: float, quick: bool = False, run: Callable[..., Any] = run_child) -> dict[str, Any]:
    """Measure all peers that are installed.

    Parameters
    ----------
    seconds : float
        Time for each number of threads of each peer.
    quick : bool, default False
        Whether to measure fewer models, streams and rounds.
    run : callable, optional
        Runs one measurement; a test has its own.

    Returns
    -------
    dict
        ``calls``: answers per second, by "scaled" and "plain", number of threads and peer; ``http``: ``rate`` and
        ``processor_us`` by the form of the requests and peer, "none" for HTTP alone, empty without uvicorn;
        ``cold_ms``; ``model_kb``; ``heartbeat_ms``; ``stream_kb``, ``stream_us`` and ``reading_us`` of fastlstm;
        ``models``, ``threads``, ``streams``: how many.
    """
    from ..serving.models import save_models

    peers, rounds, median = _peers(), 2 if quick else 5, statistics.median
    models, threads, streams = (20, 4, 500) if quick else (500, 40, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder))
        calls: dict[str, dict[str, dict[str, float]]] = {"scaled": {}, "plain": {}}
        for stem, by_threads in calls.items():
            for n in THREADS:
                arguments = (folder, stem, n, seconds / rounds)
                by_threads[str(n)] = _turns(peers, rounds, partial(run, "calls"), median, *arguments)
        http = _http([*peers, "none"], rounds, run, folder, seconds / rounds) if find_spec("uvicorn") else {}
        cold = _turns(peers, 3 * rounds, partial(run, "cold"), median, folder)
        memory = _turns(peers, 1, partial(run, "memory"), min, folder, models, threads)
        late = _turns(peers, rounds, partial(run, "heartbeat"), median, folder, 32, seconds / rounds)
        of_streams = run("streams", "fastlstm", folder, streams)
        reading = run("subset", "fastlstm", folder, streams // 10, 37)
    return {
        "calls": calls,
        "http": http,
        "cold_ms": {peer: 1e3 * value for peer, value in cold.items()},
        "model_kb": {peer: value / 1e3 for peer, value in memory.items()},
        "heartbeat_ms": {peer: 1e3 * value for peer, value in late.items()},
        "stream_kb": of_streams["bytes"] / 1e3,
        "stream_us": 1e6 * of_streams["seconds"],
        "reading_us": 1e6 * reading,
        "models": models,
        "threads": threads,
        "streams": streams,
    }
