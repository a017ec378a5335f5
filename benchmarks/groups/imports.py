"""Measure the time of `import fastlstm` beyond `import numpy`, in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["import_seconds", "measure"]

_CODE = """
import sys, time
sys.path[:] = [sys.argv[1], *(entry for entry in sys.path if entry)]
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def import_seconds(module: str) -> float:
    """Return the seconds of one import in a fresh process, with the fastlstm that this process uses."""
    import fastlstm

    folder = str(Path(fastlstm.__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", _CODE.format(module=module), folder],
            cwd=elsewhere,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout)


def measure(runs: int = 10, seconds_of: Callable[[str], float] = import_seconds) -> dict[str, float]:
    """Return the medians of alternating imports, in milliseconds.

    Parameters
    ----------
    runs : int, default 10
        Number of fresh processes for each of the two modules, after one each that does not count.
    seconds_of : callable, optional
        Measures one import.

    Returns
    -------
    dict
        ``numpy_ms``, ``fastlstm_ms`` (NumPy's part included), ``beyond_numpy_ms``, ``runs``.
    """
    times: dict[str, list[float]] = {"numpy": [], "fastlstm": []}
    for run in range(runs + 1):
        for module, measured in times.items():
            seconds = seconds_of(module)
            if run:  # the first imports read from disk
                measured.append(seconds)
    numpy_ms, fastlstm_ms = (1e3 * statistics.median(measured) for measured in times.values())
    return {
        "numpy_ms": numpy_ms,
        "fastlstm_ms": fastlstm_ms,
        "beyond_numpy_ms": fastlstm_ms - numpy_ms,
        "runs": runs,
    }
