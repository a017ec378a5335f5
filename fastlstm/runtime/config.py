"""Number of threads and instruction set of the kernels, and a report of both.

The number of threads is resolved in one place, :func:`resolve_threads`, in this order:

1. the ``n_threads`` argument of a call,
2. :func:`set_num_threads`,
3. the environment variable ``FASTLSTM_NUM_THREADS``,
4. the environment variable ``OMP_NUM_THREADS``,
5. the CPUs this process may use: its affinity mask and its container's CPU quota (cgroup v1 and v2).

A limit set with ``threadpoolctl`` lowers 2 to 5. Where several Python threads call at the same time, a number from 2 to
5 is divided by the number of calls (:func:`call_threads`). A call uses fewer threads where more do not pay: for little
work, and while other programs keep the processors busy. The number never changes a result: the kernels give the same
bits for any number of threads.
"""

from __future__ import annotations

import math
import operator
import os
import platform
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import TextIO

import numpy as np

from .. import _core
from .._checks import short_repr
from .._version import __version__

StrPath = str | os.PathLike[str]

__all__ = [
    "call_threads",
    "check_isa",
    "config",
    "get_num_threads",
    "resolve_threads",
    "set_num_threads",
    "show_config",
]

# OpenMP ends the whole process when the system refuses a thread, so a typo such as 100000 is refused here.
_MAX_THREADS = 1024

# threadpoolctl and omp_set_num_threads set OpenMP's own limit: a limit lower than at import was set by one of the two.
_OPENMP_THREADS_AT_IMPORT = _core.openmp_max_threads()

_chosen: int | None = None  # what set_num_threads was given


def set_num_threads(n: int | None) -> None:
    """Set the number of threads for all later calls of this process that get no ``n_threads`` of their own.

    Parameters
    ----------
    n : int or None
        From 1 to 1024. ``None`` restores the default: environment variables, then the CPUs of this process.

    Raises
    ------
    TypeError
        ``n`` is not an integer.
    ValueError
        ``n`` is below 1 or above 1024.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.set_num_threads(1)
    >>> fl.get_num_threads()
    1
    >>> fl.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n is None else _check_count(n, "n")


def get_num_threads() -> int:
    """Return the number of threads that a call without ``n_threads`` uses.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        ``FASTLSTM_NUM_THREADS`` or ``OMP_NUM_THREADS`` does not hold a number of threads.
    """
    return resolve_threads(None)


def resolve_threads(n: int | None = None) -> int:
    """Return the number of threads to use, at least 1; see the module's docstring for the order.

    Parameters
    ----------
    n : int or None
        The caller's explicit ``n_threads`` argument.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        ``n`` is not an integer.
    ValueError
        ``n`` is below 1 or above 1024, or an environment variable that decides is malformed.
    """
    # Fast path: nearly all calls pass a valid int.
    if type(n) is int and 1 <= n <= _MAX_THREADS and _core.openmp():
        return n
    return _resolve(n)[0]


def call_threads(n: int | None = None) -> int:
    """Return the number of threads for a call that begins now; argument and errors are those of `resolve_threads`.

    A number that the caller has not given is divided by the number of calls that compute at the same time, in several
    Python threads, so that they share the processors.
    """
    if n is not None:
        return resolve_threads(n)
    threads = _resolve(None)[0]
    return threads if threads == 1 else max(1, threads // _core.calls_at_once())


def check_isa() -> None:
    """Raise ValueError if FASTLSTM_ISA or FASTLSTM_BF16 in the environment names what this machine lacks."""
    name = os.environ.get("FASTLSTM_ISA", "")
    if name and name.lower() not in _core.available_isas():
        raise ValueError(
            f"environment variable FASTLSTM_ISA={name!r}: expected one of the instruction sets of this machine, "
            f"{', '.join(_core.available_isas())}; correct it, or unset it to use the best one"
        )
    way = os.environ.get("FASTLSTM_BF16", "")
    if way and _core.bf16_way() != way:
        raise ValueError(
            f"environment variable FASTLSTM_BF16={way!r}: expected 'wide', or 'dots' or 'tiles' on machines that have "
            f"them, and {_core.bf16_way()!r} would be used here; correct it, or unset it to use the fastest"
        )


def config() -> dict[str, object]:
    """Return what :func:`show_config` prints, as a dict.

    Returns
    -------
    dict
        ``version``, ``isa`` (in use), ``available_isas``, ``lanes`` (vector width by dtype), ``bfloat16`` (how products
        are computed with ``precision="bfloat16"``: "wide", "dots" or "tiles"), ``openmp``, ``threads``,
        ``threads_source`` (what decided the number), ``compiler``, ``numpy``, ``python``, ``platform``.
    """
    threads, source = _resolve(None)
    return {
        "version": __version__,
        "isa": _core.isa(),
        "available_isas": _core.available_isas(),
        "lanes": _core.lanes(),
        "bfloat16": _core.bf16_way(),
        "openmp": _core.openmp(),
        "threads": threads,
        "threads_source": source,
        "compiler": _core.compiler(),
        "numpy": np.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def show_config(file: TextIO | None = None) -> None:
    """Print version, instruction set, vector width, way of computing bfloat16, OpenMP, threads, compiler and platform.

    Parameters
    ----------
    file : text file, optional
        Where to print; standard output by default.
    """
    c = config()
    available = ", ".join(_core.available_isas())
    width = ", ".join(f"{lanes} x {dtype}" for dtype, lanes in _core.lanes().items())
    lines = {
        "fastlstm": c["version"],
        "instruction set": f"{c['isa']} (available: {available})",
        "vector width": width,
        "bfloat16": c["bfloat16"],
        "OpenMP": "yes" if c["openmp"] else "no",
        "threads": f"{c['threads']} ({c['threads_source']})",
        "compiler": c["compiler"],
        "numpy": c["numpy"],
        "python": c["python"],
        "platform": c["platform"],
    }
    for name, value in lines.items():
        print(f"{name:<16} {value}", file=file)


def _resolve(n: int | None) -> tuple[int, str]:
    """Return the number of threads and what decided it."""
    if n is not None:
        threads, source = _check_count(n, "n_threads"), "n_threads"
    elif _chosen is not None:
        threads, source = _limited(_chosen, "set_num_threads")
    else:
        threads, source = _limited(*_default_threads())
    if not _core.openmp():
        return 1, "built without OpenMP"
    return threads, source


def _limited(threads: int, source: str) -> tuple[int, str]:
    limit = _core.openmp_max_threads()
    if limit < min(threads, _OPENMP_THREADS_AT_IMPORT):
        return limit, "OpenMP's limit set in this process, e.g. by threadpoolctl"
    return threads, source


@lru_cache(maxsize=1)
def _default_threads() -> tuple[int, str]:
    """Return the number of threads from the environment or the CPUs; read once in each process, at the first use."""
    for name in ("FASTLSTM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").strip()
        if text:
            return _parse_count(name, text), name
    return min(_usable_cpus(), _MAX_THREADS), "CPUs this process may use"


if hasattr(os, "register_at_fork"):
    # A child may be allowed other processors than its parent.
    os.register_at_fork(after_in_child=_default_threads.cache_clear)


def _parse_count(name: str, text: str) -> int:
    # OMP_NUM_THREADS may hold one number for each nesting level, "4,2"; the outermost level is used here.
    first = text.split(",")[0].strip() if name == "OMP_NUM_THREADS" else text
    if not (first.isascii() and first.isdigit() and len(first) <= 9 and 1 <= int(first) <= _MAX_THREADS):
        raise ValueError(
            f"environment variable {name}={text!r}: expected a number of threads from 1 to {_MAX_THREADS}; "
            f"correct it, or unset it to use every CPU this process may use"
        )
    return int(first)


def _check_count(n: int, name: str) -> int:
    expected = f"expected an integer from 1 to {_MAX_THREADS}, or None for the default"
    try:
        if isinstance(n, (bool, np.bool_)):  # integers to Python, but mistakes here
            raise TypeError
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} is {short_repr(n)} of type {type(n).__name__}; {expected}") from None
    if not 1 <= count <= _MAX_THREADS:
        raise ValueError(f"{name} is {short_repr(count)}; {expected}")
    return count


def _usable_cpus(proc: StrPath = "/proc/self", cgroup_root: StrPath = "/sys/fs/cgroup") -> int:
    """Return how many CPUs this process may keep busy: affinity mask, then the container's quota."""
    if sys.platform == "linux":
        # If OpenMP binds threads to processors, this thread's affinity mask has a single processor left.
        cpus = max(len(os.sched_getaffinity(0)), _core.openmp_bound_processors())
    else:
        cpus = os.cpu_count() or 1
    quota = _cgroup_quota(proc, cgroup_root)
    # Rounded up, as in Java, Go and loky: only two threads can use 1.5 CPUs fully.
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _cgroup_quota(proc: StrPath, cgroup_root: StrPath) -> float | None:
    """Return the smallest quota, in CPUs, over this process's cgroups and their ancestors; None without one.

    ``proc`` is ``/proc/self`` and ``cgroup_root`` is ``/sys/fs/cgroup``, or a test's copies of them.
    """
    quotas = []
    for line in _read(os.path.join(proc, "cgroup")).splitlines():  # hierarchy-ID:controllers:path, see cgroups(7)
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:  # v2; mounted at "unified" on systems that also mount v1
            for folder in _with_ancestors(cgroup_root, path):
                quotas.append(_read_v2(folder))
            for folder in _with_ancestors(os.path.join(cgroup_root, "unified"), path):
                quotas.append(_read_v2(folder))
        elif "cpu" in controllers.split(","):
            for mount in {controllers, "cpu"}:
                for folder in _with_ancestors(os.path.join(cgroup_root, mount), path):
                    quotas.append(_read_v1(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _with_ancestors(root: StrPath, path: str) -> Iterator[str]:
    """Yield ``root/path`` and each folder above it, ``root`` last.

    Inside a container ``path`` may be a path of the host, invisible here; ``root`` is then the container's own cgroup.
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts:  # the process was moved out of its cgroup namespace: only the root can be read
        parts = []
    for depth in range(len(parts), -1, -1):
        yield os.path.join(root, *parts[:depth])


def _read_v2(folder: str) -> float | None:
    words = _read(os.path.join(folder, "cpu.max")).split()  # "max 100000" or "<quota> <period>", microseconds
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _read_v1(folder: str) -> float | None:
    quota = _read(os.path.join(folder, "cpu.cfs_quota_us")).split()  # -1: no limit
    period = _read(os.path.join(folder, "cpu.cfs_period_us")).split()
    return _ratio(quota[0], period[0]) if len(quota) == 1 and len(period) == 1 else None


def _read(path: str) -> str:
    """Return the text of a file; nothing if it cannot be read: not Linux, not mounted, or no such cgroup."""
    try:
        with open(path) as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _ratio(quota: str, period: str) -> float | None:
    try:
        q, p = int(quota), int(period)
    except ValueError:
        return None
    return q / p if q > 0 and p > 0 else None
