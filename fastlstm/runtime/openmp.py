"""What OpenMP's runtime is told: how long its threads wait for work before they sleep, and what a child keeps of it.

GNU's runtime lets them spin for some 5 milliseconds and LLVM's for 200, on processors that the rest of the program may
want: a matrix product of NumPy right after a pass over an LSTM took twice its time on two cores, and our own two
threads could stay on one core for seconds, because a thread that never sleeps is not placed anew. A spin of a fraction
of a millisecond covers the gaps between the passes of a training step (shorter ones do not: 32 rows, 50 steps, hidden
32 took .38 ms a step with 10,000 rounds, .66 with 300), and a thread that sleeps is woken on a free core.

The runtimes read these settings once, when they are loaded. So they are set around the import of the extension, unless
the user has chosen something, and are taken back for the processes that this one starts. Where another package has
loaded the same runtime before, that package's setting holds.

LLVM's runtime begins anew in a child made by fork, with what the environment says, and forgets a limit of threads that
the parent had set. GNU's keeps both.
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
    """An OpenMP runtime that is loaded in this block lets its threads spin for a short time only."""
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
    """Children made by fork from now on have their parent's limit of threads and short waits."""
    if not hasattr(os, "register_at_fork"):
        return
    in_parent = threading.local()  # several threads may fork at the same time, and each has a limit of its own

    def before() -> None:
        in_parent.limit = max_threads()

    def in_child() -> None:
        with short_waits():
            limit = max_threads()
        known = getattr(in_parent, "limit", limit)  # servers that fork in C may call this alone
        if known != limit:
            set_max_threads(known)

    os.register_at_fork(before=before, after_in_child=in_child)


def never_sleeps() -> bool:
    """Whether the user wants threads that wait for work without sleeping."""
    return os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "active"
