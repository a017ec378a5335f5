"""Measure the machine's peak: multiplications and additions of registers alone, in `loops.c`.

A matrix product of a library is no peak: OpenBLAS reaches three quarters of it on some processors.
"""

from __future__ import annotations

import ctypes
import functools
from functools import partial
from pathlib import Path

from ..native import build
from ..peers import Runner, local
from ..timing import Figures

__all__ = ["NAME", "PRECISIONS", "gflops", "operations", "runner"]

NAME = "peak"

PRECISIONS = ("float32", "bfloat16", "int8")

_ROUNDS = 40_000
"""Of the loop in one run: about half a millisecond."""


@functools.cache
def _loops() -> ctypes.CDLL:
    loops = build(Path(__file__).parent / "loops.c", ["-march=native", "-ffp-contract=fast"])
    for precision in PRECISIONS:
        function = getattr(loops, f"peak_{precision}")
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_int64, ctypes.c_int]
    return loops


def operations(precision: str = "float32") -> float:
    """Return the operations of one thread in one run; 0 if the processor has no instruction for the precision.

    Raises
    ------
    ImportError
        If there is no C compiler.
    """
    return float(getattr(_loops(), f"peak_{precision}")(_ROUNDS, 1))


def runner(threads: int, precision: str = "float32") -> Runner:
    """Return a runner of the loop.

    Raises
    ------
    ImportError
        If there is no C compiler.
    """
    return local(partial(getattr(_loops(), f"peak_{precision}"), _ROUNDS, threads), None)


def gflops(figures: Figures, threads: int, precision: str = "float32") -> float:
    """Return the rate of all threads in billions of operations per second, by the least time."""
    return threads * operations(precision) / figures.min_ms / 1e6
