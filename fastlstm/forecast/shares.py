"""The best fixed mixture of the naive and the seasonal naive forecast, for each step of the horizon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import Array
from .layout import Layout
from .series import ReadySeries
from .training import Part

__all__ = ["best_shares"]

_ORIGINS = 4000
"""Number of origins at which the mixtures are compared, about."""
_SHARES = np.linspace(0.0, 1.0, 17)
"""Shares of the last value that are compared; float32 holds them exactly."""


def best_shares(layout: Layout, series: Sequence[ReadySeries], parts: Sequence[Part]) -> Array:
    """Return for each step of the horizon the share of the last value, (horizon,), with the least absolute error.

    The rest is that of the seasonal naive forecast. 0.5 where no value is known.
    """
    stride = max(1, sum(max(0, part.stop - part.start) for part in parts) // _ORIGINS)
    errors = np.zeros((len(_SHARES), layout.horizon))
    for one, part in zip(series, parts, strict=True):
        origins = np.arange(part.start, part.stop, stride)
        if not len(origins):
            continue
        last = layout.last(one, origins)
        base = layout.seasonal(one, origins, last)
        target = layout.targets(one, origins)
        for k, share in enumerate(_SHARES):
            errors[k] += np.nansum(np.abs(target - base - share * (last - base)), axis=0)
    best: Array = np.where(errors.any(axis=0), _SHARES[errors.argmin(axis=0)], 0.5)
    return best
