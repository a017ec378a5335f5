"""PyTorch with glibc's malloc told to keep memory, in a child process.

By default large blocks are mapped anew for each tensor and given back when it dies, and the system must clear every
page of them. Two variables stop that, but only if they are set before a process starts. So this peer lives in a child,
whose turns are interleaved with the others' and whose times are taken there.

4 GiB is no special value: it is above every tensor here. (glibc up to 2.34 refuses thresholds above 32 MiB; `version`
tells whether it took effect.)
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
    """PyTorch's version, the C library's, and whether large blocks now come from the heap.

    Raises
    ------
    ImportError
        If PyTorch is not installed, or the C library is another, to which the variables mean nothing.
    """
    text = pytorch.version()
    library, number = platform.libc_ver()
    if library != "glibc":
        raise ImportError(f"the C library is not glibc but {library or platform.system()}")
    kept = _started().ask("blocks from the heap")
    return f"{text} ({library} {number}, thresholds of 4 GiB {'in effect' if kept else 'NOT IN EFFECT'})"


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """See `benchmarks.peers.Peer`: what PyTorch has, each in the child. (The child makes the same data itself.)"""
    runners = _started().prepare(pytorch.NAME, case, threads)
    return {f"{name}, tuned malloc": runner for name, runner in runners.items()}


def _started() -> Child:
    """The child of this process; one for all cases."""
    global _child
    if _child is None or not _child.alive:
        _child = Child([sys.executable], environment={**os.environ, **ENVIRONMENT})
    return _child


def close() -> None:
    """Ends the child, if there is one."""
    global _child
    if _child is not None:
        _child.close()
        _child = None
