"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["cores", "describe"]

_LEVELS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4_2", "SSE4.2"), ("asimd", "NEON"))
"""Flags of /proc/cpuinfo, the highest first."""


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(cpuinfo: str | None = None) -> dict[str, str | int]:
    """Processor, cores, highest instruction set, system.

    Parameters
    ----------
    cpuinfo : str, optional
        Text of /proc/cpuinfo; by default that of this machine, if there is one.

    Returns
    -------
    dict
        ``cpu``, ``cores``, ``isa``, ``system``, ``python``.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            cpuinfo = ""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    model = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [
        f"{key} {fields[name]}" for key, name in (("family", "cpu family"), ("model", "model")) if name in fields
    ]
    return {
        "cpu": f"{model} ({', '.join(numbers)})" if numbers else model,
        "cores": cores(),
        "isa": next((name for flag, name in _LEVELS if flag in flags), platform.machine()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
