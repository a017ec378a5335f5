"""PyTorch with glibc's malloc configured to keep memory, in a child process.

By default large blocks are newly mapped for each tensor and unmapped when it is freed, and the system must clear every
page. Two environment variables prevent that, but only if they are set before a process starts. So this peer runs in a
child process, whose turns are interleaved with the others' and whose times are taken in the child.

The value 4 GiB has no special meaning: it exceeds every tensor here. (glibc up to 2.34 refuses thresholds above 32 MiB;
`version` reports whether it took effect.)
"""

from __future__ import annotations

import os
import platform
import sys

from ..cases import Case, Data
from ..child import Child
from . import Runner, pytorch

_THRESHOLD = str(4 << 30)
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": _THRESHOLD, "MALLOC_TRIM_THRESHOLD_": _THRESHOLD}

_child: Child | None = None


def version() -> str:
    """Return the versions of PyTorch and the C library, and whether large blocks now come from the heap.

    Raises
    ------
    ImportError
        If PyTorch is not installed, or the C library is not glibc, the only one that reads these variables.
    """
    text = pytorch.version()
    library, number = platform.libc_ver()
    if library != "glibc":
        raise ImportError(f"the C library is not glibc but {library or platform.system()}")
    kept = _started().ask("blocks from the heap")
    return f"{text} ({library} {number}, thresholds of 4 GiB {'in effect' if kept else 'NOT IN EFFECT'})"


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return PyTorch's runners, each in the child, which creates the same data itself; see `benchmarks.peers.Peer`."""
    runners = _started().prepare(pytorch.NAME, case, threads)
    return {f"{name}, tuned malloc": runner for name, runner in runners.items()}


def _started() -> Child:
    """Return the child process, the same for all cases; start it if it is not running."""
    global _child
    if _child is None or not _child.alive:
        _child = Child([sys.executable], environment={**os.environ, **ENVIRONMENT})
    return _child


def close() -> None:
    """End the child process, if there is one."""
    global _child
    if _child is not None:
        _child.close()
        _child = None
