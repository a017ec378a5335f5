"""The memory of a process and of those that it starts, on Linux."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PeakMemory", "anonymous"]


def anonymous(process: int) -> int:
    """Return the resident bytes of a process that are no pages of files; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    # Shared memory without a file, which workers may pass arrays in, belongs to no file either.
    return sum(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))


def _with_descendants(process: int) -> Iterator[int]:
    yield process
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            children = Path(f"/proc/{process}/task/{thread}/children").read_text().split()
            for child in children:
                yield from _with_descendants(int(child))
    except OSError:  # it has ended
        return


class PeakMemory:
    """Watch a process and its descendants in the background, every few milliseconds.

    Attributes
    ----------
    peak : int
        The largest sum of their `anonymous` bytes.
    """

    def __init__(self, process: int | None = None, every: float = 0.02) -> None:
        self.peak = 0
        self._process = os.getpid() if process is None else process
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._end.is_set():
            self.peak = max(self.peak, sum(map(anonymous, _with_descendants(self._process))))
            self._end.wait(self._every)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
