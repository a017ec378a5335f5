"""Measure the machine's rate of float32 matrix products in NumPy, with the same number of threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .peers import Runner, local
from .timing import PAUSE_AFTER_BLAS, Figures

__all__ = ["NAME", "gflops", "limit_blas", "product", "runner", "steady"]

NAME = "sgemm"

_SIZE = 1024

_STEADY = 1.25
"""Largest ratio of median to minimum in an undisturbed measurement."""


def limit_blas(threads: int) -> Any:
    """Set the number of threads of NumPy's BLAS for the rest of the process.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed.
    """
    from threadpoolctl import threadpool_limits

    np.ones((2, 2)) @ np.ones((2, 2))  # loads the BLAS: a library that is not loaded cannot be limited
    return threadpool_limits(limits=threads, user_api="blas")


def product() -> Callable[[], Any]:
    """Return a function that computes the product of two 1024 x 1024 matrices."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((_SIZE, _SIZE), np.float32) for _ in range(2))
    return partial(np.matmul, a, b, out=np.empty_like(a))


def runner() -> Runner:
    """Return a runner of the product of two 1024 x 1024 matrices."""
    return local(product(), None, PAUSE_AFTER_BLAS)


def gflops(figures: Figures) -> float:
    """Return the rate in billions of operations per second."""
    return 2 * _SIZE**3 / figures.median_ms / 1e6


def steady(figures: Figures) -> bool:
    """Return whether the rate can be trusted.

    On some machines products take many times as long for a few turns, with nothing else running. A comparison with such
    a rate is meaningless.
    """
    return figures.median_ms <= _STEADY * figures.min_ms
