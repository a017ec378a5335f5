"""Parts of a panel in the order of time: training, validation, conformal correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .panel import Panel
from .settings import Settings
from .training import Part

__all__ = ["Parts", "split_parts"]


@dataclass(frozen=True)
class Parts:
    """Origins of each series in each part; targets of one part lie in no other."""

    training_stops: list[int]
    """Number of rows of each series before the validation part."""
    training: list[Part]
    validation: list[Part]
    conformal: list[Part]
    """The whole of the validation part: of the network only the epoch was chosen on it."""
    all: list[Part]
    """All origins whose targets are known."""


def split_parts(panel: Panel, settings: Settings, validation: float | None = None) -> Parts:
    """Divide a panel at two times that all series share.

    The last rows are for validation; the last half of them is kept for the conformal correction, which uses all.

    Raises
    ------
    ValueError
        If no origin is left for the training.
    """
    share = settings.validation if validation is None else validation
    reach = settings.gap + settings.horizon
    stops, middles = _cuts(panel, share, settings.conformal)
    context = settings.context_for(stops)
    training = []
    for stop in stops:
        end = stop - reach  # exclusive: the targets of the origin before it end with the part
        training.append(Part(min(context, max(0, end // 2)), max(0, end)))
    if not any(part.stop > part.start for part in training):
        raise ValueError(
            f"the longest series has {max(map(len, panel.series))} rows, of which {max(stops)} are for training, "
            f"expected more than gap + horizon = {reach}: give longer series, a shorter horizon, or validation=0"
        )
    held = [Part(max(stop - 1, 0), middle - reach) for stop, middle in zip(stops, middles, strict=True)]
    if not any(part.stop > part.start for part in held):  # windows that end beyond the part count in part
        held = [Part(max(stop - 1, 0), middle - settings.gap - 1) for stop, middle in zip(stops, middles, strict=True)]
    last = [Part(max(stop - 1, 0), len(one) - settings.gap - 1) for stop, one in zip(stops, panel.series, strict=True)]
    if not share:
        held = last = [Part(0, 0)] * len(panel)
    whole = [
        Part(part.start, max(part.stop, len(one) - reach)) for part, one in zip(training, panel.series, strict=True)
    ]
    return Parts(stops, training, held, last, whole)


def _cuts(panel: Panel, share: float, halves: bool) -> tuple[list[int], list[int]]:
    """Return for each series the row at which the validation part begins, and that at which its last half does."""
    if not share:
        ends = [len(one) for one in panel.series]
        return ends, ends
    times = [one.times for one in panel.series]
    same = all(len(one) == len(times[0]) and one[0] == times[0][0] and one[-1] == times[0][-1] for one in times)
    ordered = times[0] if same else np.sort(np.concatenate(times))
    rows = len(ordered)
    first = ordered[min(rows - 1, int(rows * (1 - share)))]
    second = ordered[min(rows - 1, int(rows * (1 - share / 2)))] if halves else None
    cuts = [int(np.searchsorted(one, first)) for one in times]
    middles = [len(one) if second is None else int(np.searchsorted(one, second)) for one in times]
    return cuts, middles
