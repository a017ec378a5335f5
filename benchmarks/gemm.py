"""NumPy's float32 matrix products: the number of their threads, and a large one to load the machine with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

__all__ = ["limit_blas", "product"]

_SIZE = 1024


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
