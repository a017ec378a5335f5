"""Functions that both demos use: print tables, save plots, check the saved model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..formats.model_file import load
from ..model import Model

__all__ = ["Print", "check_reloaded", "printer", "save_plot", "table"]

Print = Callable[..., None]


def printer(verbose: int) -> Print:
    """Return `print` with flushing, which keeps the order with progress bars; if not `verbose`, a silent function."""
    return partial(print, flush=True) if verbose else lambda *args, **kwargs: None


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of equal length in columns, the first one flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for head, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  " + "  ".join([head.ljust(widths[0]), *aligned]))
    return "\n".join(lines)


def save_plot(draw: Callable[[Path], object], path: Path, what: str, say: Print, extras: str = "plot") -> Path | None:
    """Save a plot and say so, or say in one line what to install for it.

    Parameters
    ----------
    draw : callable
        Draws into the file at a given path. Raises ImportError if a package is missing.
    path : Path
        The file.
    what : str
        Description of the plot.
    say : callable
        The result of `printer`.
    extras : str, default "plot"
        Extras of this package that bring what `draw` needs.

    Returns
    -------
    Path or None
        The file; None if a package is missing.
    """
    try:
        draw(path)
    except ImportError:
        say(f"  no {path.name}: it needs more packages, pip install 'fastlstm[{extras}]'")
        return None
    say(f"  {path}: {what}")
    return path


def check_reloaded(path: Path, predict: Callable[[Model], NDArray[Any]], expected: NDArray[Any]) -> None:
    """Load a model and check that its predictions have the same bits as before it was saved.

    Raises
    ------
    RuntimeError
        If they differ.
    """
    if predict(load(path)).tobytes() != expected.tobytes():
        raise RuntimeError(f"the model read from {path} does not predict what the saved one did")
