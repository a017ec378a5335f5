"""Panels of series over time, which several pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import as_numeric
from .._checks import as_list
from .._typing import Array
from .canvas import shortened

__all__ = ["as_signal", "draw_signal", "names_of", "step_axis"]

_MANY_CHANNELS = 8
"""Number of channels up to which a legend names each."""


def as_signal(name: str, given: Any) -> Array:
    """Return one series as float64 (T, F); missing values (NaN) leave gaps."""
    signal = as_numeric(given, False, name).astype(np.float64)
    if signal.ndim == 3 and len(signal) == 1:
        signal = signal[0]
    if signal.ndim == 1:
        signal = signal[:, None]
    if signal.ndim != 2 or not signal.size:
        raise ValueError(f"{name} has shape {signal.shape}, expected one series, (T, F) or (T,): pass {name}[0]")
    return signal


def names_of(given: Sequence[str] | None, channels: int) -> list[str] | None:
    """Return the names of the channels as they are shown."""
    if given is None:
        return None
    names = as_list("names", given, "strings")
    if len(names) != channels:
        raise ValueError(
            f"names holds {len(names)} names and the series has {channels} channels, expected one for each"
        )
    return [shortened(str(name)) for name in names]


def step_axis(axes: Any, steps: int) -> None:
    """Let the axis show the steps, whole numbers from 0, each half a step wide on either side."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-0.5, steps - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def draw_signal(axes: Any, signal: Array, names: list[str] | None) -> None:
    """Draw the channels of a series; a legend names them if they have names and are not too many."""
    steps, channels = signal.shape
    width = 1.2 if steps <= 500 and channels <= _MANY_CHANNELS else 0.8 if steps <= 5000 else 0.5
    marker = "." if steps <= 30 else None
    lines = axes.plot(signal, linewidth=width, marker=marker)
    if names is not None and channels <= _MANY_CHANNELS:
        axes.legend(lines, names, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axes.set_ylabel("signal" if channels == 1 and not names else names[0] if channels == 1 and names else "channels")
    step_axis(axes, steps)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
