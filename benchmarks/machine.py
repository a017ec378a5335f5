"""Describe the machine on which the figures were measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["cores", "describe", "flags"]

_LEVELS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4_2", "SSE4.2"), ("asimd", "NEON"))
"""Flags of /proc/cpuinfo and their instruction sets, the highest first."""


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def flags(cpuinfo: str | None = None) -> set[str]:
    """Return the flags of the processor, from the contents of /proc/cpuinfo; none where there is no such file."""
    fields = _fields(cpuinfo)
    return set(fields.get("flags", fields.get("Features", "")).split())


def _fields(cpuinfo: str | None) -> dict[str, str]:
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            cpuinfo = ""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def describe(cpuinfo: str | None = None) -> dict[str, str | int]:
    """Return processor, cores, highest instruction set and system.

    Parameters
    ----------
    cpuinfo : str, optional
        Contents of /proc/cpuinfo; by default those of this machine, if it has this file.

    Returns
    -------
    dict
        ``cpu``, ``cores``, ``isa``, ``system``, ``python``.
    """
    fields = _fields(cpuinfo)
    known = flags(cpuinfo)
    model = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [
        f"{key} {fields[name]}" for key, name in (("family", "cpu family"), ("model", "model")) if name in fields
    ]
    return {
        "cpu": f"{model} ({', '.join(numbers)})" if numbers else model,
        "cores": cores(),
        "isa": next((name for flag, name in _LEVELS if flag in known), platform.machine()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
