"""What both demos print and check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..model import Model, load

__all__ = ["reload_and_compare", "save_plot", "table"]

Print = Callable[[str], None]


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Lay out rows of equal length in columns: the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


def save_plot(draw: Callable[[Path], object], path: Path, what: str, say: Print) -> Path | None:
    """Save a plot, or say in one line what to install for it.

    Parameters
    ----------
    draw : callable
        Draws into the file that it is given; raises ImportError if matplotlib is missing.
    path : Path
        The file.
    what : str
        What the plot shows.
    say : callable
        Prints a line.

    Returns
    -------
    Path or None
        The file; None if there is none.
    """
    try:
        draw(path)
    except ImportError:
        say(f"  {path.name} is left out: plots need matplotlib, pip install 'fastlstm[plot]'")
        return None
    say(f"  {path}  {what}")
    return path


def reload_and_compare(path: Path, predict: Callable[[Model], np.ndarray], expected: np.ndarray) -> None:
    """Load a model file and check that it predicts what the model in memory did, bit by bit.

    Raises
    ------
    RuntimeError
        If it does not.
    """
    if not np.array_equal(predict(load(path)), expected, equal_nan=expected.dtype.kind == "f"):
        raise RuntimeError(f"the model loaded from {path} predicts something else than the one that was saved")
