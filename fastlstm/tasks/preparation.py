"""Layers that prepare series for an LSTM that reads each of them as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Literal, NamedTuple

import numpy as np

from .. import _checks, _exact
from .._typing import Array
from ..data import Scaler, Standardizer
from ..layers import Deviations, Differences, Layer, StackSteps
from .series import Series

__all__ = ["ALIKE", "GROUPS", "Alike", "difference_scale", "measure_alike", "preparing_layers"]

ALIKE = 0.1
"""Share of the deviation of all values that is left around the mean series, below which series are nearly alike."""
_LEAST_SHARE = 1e-5
"""Below it the rounding of the mean series is seen rather than a deviation."""
GROUPS = 100
"""Steps that an LSTM takes on the longest series if the stride is "auto"."""


def preparing_layers(
    series: Series,
    scaler: Scaler | None = None,
    *,
    deviations: bool | Literal["auto"] = False,
    differences: bool | Literal["auto"],
    stride: int | Literal["auto"],
    whole: bool,
) -> list[Layer]:
    """Return the layers that come before the LSTM: `Deviations`, `Differences`, `StackSteps`, as far as asked for.

    Parameters
    ----------
    series : Series
        The training data, of which the scale of the differences and the number of steps are measured.
    scaler : Scaler, optional
        Of the model. If it is fitted, the layers read the channels that it adds for missing values, too. With
        deviations, which are measured in its units, it is fitted here.
    deviations : bool or "auto", default False
        Whether the deviations from the mean series are appended; "auto": if `whole`, all series have the same number of
        steps and no missing values, and the deviations are less than a tenth of those from the mean value.
    differences : bool or "auto"
        Whether the differences are appended; "auto": as `whole`.
    stride : int or "auto"
        Above 1, groups of twice as many steps begin at each such step; "auto": so many that about 100 groups begin in
        the longest series if `whole`, else 1.
    whole : bool
        Whether the network reads whole series before it answers. One that answers step by step can have neither layer.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong.
    """
    chosen: list[Layer] = []
    alike = measured = None
    if (whole and deviations == "auto") or (deviations != "auto" and _checks.as_bool("deviations", deviations)):
        measured = _fitted(scaler, series)
        alike = measure_alike(series, measured)
        if deviations == "auto" and alike is not None and alike.share >= ALIKE:
            alike = None
        if deviations is True and alike is None:
            raise ValueError(
                "deviations=True needs at least two different series of the same number of steps without missing "
                "values: leave it out"
            )
    if alike is not None:
        if scaler is not None and measured is not None and not scaler.fitted:
            scaler.load_state(measured.state())
        chosen.append(Deviations(alike.center, alike.scale))
    if whole if differences == "auto" else _checks.as_bool("differences", differences):
        added = 0 if scaler is None else scaler.added_channels
        scale = difference_scale(series, added)
        if alike is not None:
            scale = [*(scale if isinstance(scale, list) else [scale]), *alike.difference_scale]
        chosen.append(Differences(scale))
    if stride == "auto":
        steps = max(1, round(series.longest / GROUPS)) if whole else 1
    else:
        steps = _checks.count("stride", stride)
    return [*chosen, StackSteps(2 * steps, stride=steps, random_start=True)] if steps > 1 else chosen


def _fitted(scaler: Scaler | None, series: Series) -> Scaler | None:
    """Return a scaler that is fitted: the one given, or a copy of it."""
    if scaler is None or scaler.fitted:
        return scaler
    try:
        return copy(scaler).fit(series.data, series.lengths)
    except (TypeError, ValueError):  # training refuses such data, and says why
        return None


class Alike(NamedTuple):
    """What series of the same number of steps have in common, in the units of the network's input."""

    center: Array
    """(T, channels), the mean series with 6 significant digits; 0 in the channels that tell of missing values."""
    scale: float | list[float]
    """1 / root mean square of the deviations from it; 1 for the channels that tell of missing values."""
    share: float
    """That root mean square, divided by the standard deviation of all values."""
    difference_scale: list[float]
    """As `difference_scale`, of the deviations."""


def measure_alike(series: Series, scaler: Scaler | None) -> Alike | None:
    """Compare series with their mean; None if they have different numbers of steps, missing values, or do not differ.

    `scaler` must be fitted.
    """
    ends = {len(one) for one in series.data} if series.lengths is None else set(np.asarray(series.lengths).tolist())
    if len(series) < 2 or len(ends) > 1:
        return None
    end, features = ends.pop(), series.channels

    def scaled() -> Iterator[Array]:
        for case in series.data:
            one = np.ascontiguousarray(case[:end], np.float64)
            # A missing value becomes the mean over all steps, which is far from that of its step: as nan it ends this.
            yield (
                one if scaler is None else np.where(np.isnan(one), np.nan, scaler.scaled(one, "float64")[:, :features])
            )

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        total = sum(scaled(), start=np.zeros(()))
        center = _rounded(total / len(series))
        around_mean, squares, changes = 0.0, np.zeros(features), np.zeros(features)
        for one in scaled():
            around_mean += _exact.total(np.square(one - center.mean(axis=0)))
            squares += _squares(one - center)
            changes += _squares(np.diff(one - center, axis=0))
        share = float(np.sqrt(_exact.total(squares) / around_mean)) if around_mean > 0 else np.nan
        rms = float(np.sqrt(_exact.total(squares) / (len(series) * center.size)))
        factors = np.sqrt(squares / changes * max(end - 1, 1) / end)
    if not (np.isfinite(share) and share > _LEAST_SHARE):
        return None
    usable = np.where(np.isfinite(factors) & (factors > 0), factors, 1.0)
    by = [float(f"{one:.6g}") for one in usable]
    scale = float(f"{1 / rms:.6g}")
    added = 0 if scaler is None else scaler.added_channels
    if not added:
        return Alike(center, scale, share, by)
    center = np.concatenate([center, np.zeros((end, added))], axis=1)
    return Alike(center, [scale] * features + [1.0] * added, share, by + [1.0] * added)


def _squares(x: Array) -> Array:
    """Return the sums over the rows of x of the squares."""
    return _exact.column_squares(x, np.zeros(x.shape[1]))


def _rounded(values: Array) -> Array:
    """Return values with 6 significant digits of the largest, which are the same in every type and short in a file."""
    largest = np.abs(values).max() if values.size else 0.0
    if not np.isfinite(largest) or largest == 0:
        return values
    return np.asarray(np.round(values, int(np.clip(5 - np.floor(np.log10(largest)), -300, 300))))


def difference_scale(series: Series, added: int = 0) -> float | list[float]:
    """Return the standard deviation of each channel, divided by the root mean square of its differences.

    Where there is no finite such number, as for a channel that is constant, it is 1, as for each of the `added`
    channels that tell of missing values. Differences from or to a missing value do not count.
    """
    squares, counts = np.zeros(series.channels), np.zeros(series.channels)
    ends: Array | list[int] = [len(one) for one in series.data] if series.lengths is None else series.lengths
    for case, end in zip(series.data, ends, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            changes = np.diff(np.asarray(case[:end], np.float64), axis=0)
            known = ~np.isnan(changes)
            squares += _squares(np.where(known, changes, 0.0))
        counts += known.sum(axis=0)
    try:
        deviation = Standardizer(missing="mask").fit(series.data, series.lengths).scale_
    except (TypeError, ValueError):  # training refuses such data, and says why
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = deviation / np.sqrt(squares / np.maximum(counts, 1))
    usable = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    # A shorter number loses nothing, and can be read in the summary of the layers.
    rounded = [float(f"{one:.6g}") for one in usable] + [1.0] * added
    return rounded[0] if len(rounded) == 1 else rounded
