"""Figures of matplotlib without pyplot, which would choose a backend for the whole process and keep figures alive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finish", "new_figure", "shortened"]


def new_figure(name: str, width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches for the function `name`; ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{name} needs matplotlib: pip install 'fastlstm[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, path: str | os.PathLike[str] | None, title: str | None) -> Figure:
    """Write the title, save the figure if there is a path, and return it."""
    if title is not None:
        figure.suptitle(title.replace("$", r"\$"))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def shortened(text: str, longest: int = 24) -> str:
    """Return a label as matplotlib shows it: a dollar sign as it is, the middle left out if it is too long.

    Not the end, by which labels often differ.
    """
    tail = longest // 2 - 1
    short = text if len(text) <= longest else f"{text[: longest - tail - 1]}…{text[-tail:]}"
    return short.replace("$", r"\$")
