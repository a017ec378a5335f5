"""Layers that prepare series for an LSTM that reads each of them as a whole."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .. import _checks
from .._typing import Array
from ..data import Scaler, Standardizer
from ..layers import Differences, Layer, StackSteps
from .series import Series

__all__ = ["GROUPS", "difference_scale", "preparing_layers"]

GROUPS = 100
"""Steps that an LSTM takes on the longest series if the stride is "auto"."""


def preparing_layers(
    series: Series,
    scaler: Scaler | None = None,
    *,
    differences: bool | Literal["auto"],
    stride: int | Literal["auto"],
    whole: bool,
) -> list[Layer]:
    """Return the layers that come before the LSTM: `Differences`, then `StackSteps`, as far as they are asked for.

    Parameters
    ----------
    series : Series
        The training data, of which the scale of the differences and the number of steps are measured.
    scaler : Scaler, optional
        Of the model. If it is fitted, the layers read the channels that it adds for missing values, too.
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
    if whole if differences == "auto" else _checks.as_bool("differences", differences):
        added = 0 if scaler is None else scaler.added_channels
        chosen.append(Differences(difference_scale(series, added)))
    if stride == "auto":
        steps = max(1, round(series.longest / GROUPS)) if whole else 1
    else:
        steps = _checks.count("stride", stride)
    return [*chosen, StackSteps(2 * steps, stride=steps, random_start=True)] if steps > 1 else chosen


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
            squares += np.square(np.where(known, changes, 0.0)).sum(axis=0)
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
