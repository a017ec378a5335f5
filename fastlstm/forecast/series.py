"""A series from which the network's numbers are computed: its scale, filled gaps, units of the other columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from .. import _exact
from .._typing import Array
from .panel import Panel, SeriesData

__all__ = ["LARGEST", "ColumnScales", "ReadySeries", "Scale", "ScalerName", "fill_forward", "ready", "scale_of"]

ScalerName = Literal["standard", "robust"]

LARGEST = 1e30
"""Largest distance from the center, in units of the scale: the network computes in float32."""


@dataclass(frozen=True)
class Scale:
    """Units of a series: ``(y - center) / scale`` is what the network reads."""

    center: float
    scale: float


@dataclass(frozen=True, eq=False)
class ColumnScales:
    """Units of the other columns, common to all series; each pair of arrays is (n,), float64."""

    hist: tuple[Array, Array]
    futr: tuple[Array, Array]
    static: tuple[Array, Array]

    @classmethod
    def of(cls, panel: Panel, stops: list[int]) -> ColumnScales:
        """Return mean and deviation of each column over the first `stops` rows of the series."""
        pairs = list(zip(panel.series, stops, strict=True))
        return cls(
            _moments([one.hist[:stop] for one, stop in pairs], len(panel.hist_names)),
            _moments([one.futr[:stop] for one, stop in pairs], len(panel.futr_names)),
            _moments([one.static[None] for one, _ in pairs], len(panel.static_names)),
        )


@dataclass(eq=False)
class ReadySeries:
    """A series with its scale."""

    data: SeriesData
    scale: Scale
    filled: Array
    """(T,), float64: y with each gap filled by the last value before it; NaN before the first value."""
    observed: Array | None
    """(T + 1,), int32: number of observed values before each row; None if no value is missing."""
    future: Array | None = None
    """(n, m), float64: what is known in advance of the rows that follow the series."""

    def __len__(self) -> int:
        return len(self.data)

    @cached_property
    def units(self) -> Array:
        """(T,), float64: y in units of the network, NaN if missing."""
        values: Array = (self.data.y - self.scale.center) / self.scale.scale
        return values

    @cached_property
    def level(self) -> Array:
        """(T,), float64: `filled` in units of the network, 0 before the first value."""
        if self.filled is self.data.y and self.observed is None:
            return self.units
        values = (self.filled - self.scale.center) / self.scale.scale
        return np.where(np.isnan(values), 0.0, values)

    def observed_share(self, start: Array, stop: Array) -> Array:
        """Return the share of rows with a value from each `start` to each `stop`, both clipped to the series."""
        first, last = (np.clip(one, 0, len(self)) for one in (start, stop))
        known = last - first if self.observed is None else self.observed[last] - self.observed[first]
        return np.asarray(known / np.maximum(stop - np.maximum(start, 0), 1))


def ready(data: SeriesData, scale: Scale, future: Array | None = None) -> ReadySeries:
    """Return a series whose gaps are filled; ValueError if a value is too large for its scale."""
    missing = np.isnan(data.y)
    inside = np.abs(data.y - scale.center) <= LARGEST * scale.scale
    if not np.isfinite(scale.scale) or not (inside | missing).all():
        most = data.y[np.nanargmax(np.abs(data.y))]
        raise ValueError(
            f"the series {data.id!r} holds {most:g}, expected numbers whose squares are finite, and which lie within "
            f"{LARGEST:g} times the scale {scale.scale:g} of the training data: correct it, or divide the series by "
            "its size"
        )
    if not missing.any():
        return ReadySeries(data, scale, data.y, None, future)
    observed = np.zeros(len(data) + 1, np.int32)
    np.cumsum(~missing, out=observed[1:])
    return ReadySeries(data, scale, fill_forward(data.y), observed, future)


def fill_forward(values: Array) -> Array:
    """Return values (T,) with each NaN replaced by the last number before it, if there is one."""
    rows = np.where(np.isnan(values), 0, np.arange(len(values)))
    filled: Array = values[np.maximum.accumulate(rows)]
    return filled


def scale_of(values: Array, scaler: ScalerName | None) -> Scale:
    """Return the units of a series with these values (T,); NaN is left out.

    A constant series keeps its size: its scale is 1. One without any value is refused by the caller.
    """
    known = values[~np.isnan(values)]
    if scaler is None or not len(known):
        return Scale(0.0, 1.0)
    if scaler == "robust":
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        center, scale = float(middle), float(high - low) / 1.349  # that of the normal distribution with deviation 1
        if scale <= 1e-12 * abs(center):  # more than half of the values are equal
            scale = _deviation(known, _exact.mean(known))
    else:
        with np.errstate(over="ignore"):  # `ready` refuses such series
            center = _exact.mean(known)
            scale = _deviation(known, center)
    return Scale(center, scale if scale > 1e-12 * max(abs(center), 1e-290) else 1.0)


def _deviation(known: Array, center: float) -> float:
    """Return the standard deviation of values around their mean."""
    off = known - center
    return math.sqrt(_exact.total(off, off) / len(known))


def _moments(blocks: list[Array], columns: int) -> tuple[Array, Array]:
    """Return mean and deviation (columns,) of rows in blocks (n, columns), without NaN; a constant has deviation 1."""
    count, mean = np.zeros(columns), np.zeros(columns)
    for block in blocks:
        count += (~np.isnan(block)).sum(axis=0)
        mean += _exact.column_sums(np.nan_to_num(block, posinf=np.inf, neginf=-np.inf))
    mean /= np.maximum(count, 1)
    squares = np.zeros(columns)
    for block in blocks:
        squares += _exact.column_squares(np.where(np.isnan(block), mean, block), mean)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
