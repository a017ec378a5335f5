"""Settings of the OpenMP runtime: how long idle threads spin before they sleep, and what a forked child inherits.

Idle threads of GNU's runtime spin for some 5 milliseconds, those of LLVM's for 200, on processors that the rest of the
program may need: a matrix product of NumPy right after a pass over an LSTM took twice as long on two cores, and our own
two threads could share one core for seconds, because the scheduler does not move a thread that never sleeps. A spin of
a fraction of a millisecond covers the gaps between the passes of a training step (shorter spins do not: 32 rows,
50 steps, hidden 32 took .38 ms a step with 10,000 rounds, .66 with 300), and a sleeping thread is woken on a free core.

The runtimes read these settings once, when they are loaded. So the settings are made around the import of the
extension, unless the user has made some, and removed afterwards, so that child processes do not inherit them. If
another package has loaded the same runtime before, the runtime keeps the settings that it read then.

LLVM's runtime starts afresh in a forked child: it reads the environment again and forgets a limit of threads that the
parent has set. GNU's keeps both.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["keep_in_children", "never_sleeps", "short_waits"]

_SETTINGS = {
    "GOMP_SPINCOUNT": "10000",  # rounds; GNU
    "KMP_BLOCKTIME": "1",  # milliseconds; LLVM and Intel
}
_CHOSEN_BY_THE_USER = {"OMP_WAIT_POLICY", *_SETTINGS}


@contextmanager
def short_waits() -> Iterator[None]:
    """Let the threads of an OpenMP runtime that is loaded in this block spin for a short time only."""
    if _CHOSEN_BY_THE_USER & os.environ.keys():
        yield
        return
    os.environ.update(_SETTINGS)
    try:
        yield
    finally:
        for name in _SETTINGS:
            os.environ.pop(name, None)


def keep_in_children(max_threads: Callable[[], int], set_max_threads: Callable[[int], None]) -> None:
    """Give children that are forked from now on their parent's limit of threads, and short waits."""
    if not hasattr(os, "register_at_fork"):
        return
    in_parent = threading.local()  # several threads may fork at the same time, each with its own limit

    def before() -> None:
        in_parent.limit = max_threads()

    def in_child() -> None:
        with short_waits():
            limit = max_threads()
        known = getattr(in_parent, "limit", limit)  # a server that forks in C may call only this hook
        if known != limit:
            set_max_threads(known)

    os.register_at_fork(before=before, after_in_child=in_child)


def never_sleeps() -> bool:
    """Return whether the user wants idle threads never to sleep."""
    return os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "active"
