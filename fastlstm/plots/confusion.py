"""Picture of a confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numeric
from .._checks import as_list
from .._typing import Array
from .canvas import finish, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]

_MANY_NUMBERS = 25
"""Number of classes up to which the cells show their counts; those of more would be too small to read."""
_LABEL_WIDTH = 0.09
"""Width of a character of 10 points in inches."""
_MANY_LABELS = 60
"""Number of classes up to which each has its label."""


class _Report(Protocol):
    """What is drawn of a `fastlstm.metrics.ClassificationReport`."""

    confusion: Array
    classes: list[str] | list[int]


def confusion_matrix(
    matrix: ArrayLike | _Report,
    classes: Sequence[str] | Sequence[int] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a confusion matrix: the colour is the share of the true class, the number the count.

    It works without a display and needs matplotlib: ``pip install 'fastlstm[plot]'``.

    Parameters
    ----------
    matrix : ClassificationReport or array (K, K)
        A report of `fastlstm.metrics.classification_report`, or counts: rows are the true classes, columns the
        predicted ones. More than 25 classes are shown without numbers.
    classes : sequence of str or int, optional
        Names of the classes, by default those of the report, else 0 to K - 1. Of names with more
        than 24 characters the middle is left out.
    path : path, optional
        File to save the picture to; the suffix (``.png``, ``.pdf``, ``.svg``) selects the format. By default none.
    title : str, optional
        Title of the picture; by default none.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for changes or for display in a notebook.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the matrix is not square, or holds no counts, or the names do not fit.

    Examples
    --------
    >>> import fastlstm as fl
    >>> report = fl.metrics.classification_report(["a", "b", "b"], ["a", "b", "a"])
    >>> figure = fl.plots.confusion_matrix(report, path="confusion.png", title="test set")
    """
    counts, names = _checked(matrix, classes)
    size = len(counts)
    cell = min(max(0.45, 4.5 / size), max(1.2, 2.0 / size)) if size <= _MANY_NUMBERS else 7.5 / size
    labels = _LABEL_WIDTH * max(map(len, names))
    upright = labels <= cell
    figure = new_figure(
        "plots.confusion_matrix", 1.08 * cell * size + labels + 1.9, cell * size + (0 if upright else labels) + 1.0
    )
    axes = figure.subplots()
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if size <= _MANY_LABELS:
        font = 10.0 if size <= _MANY_NUMBERS else 6.0
        axes.set_xticks(range(size), names, fontsize=font, rotation=0 if upright else 90)
        axes.set_yticks(range(size), names, fontsize=font)
    if size <= _MANY_NUMBERS:
        _write_numbers(axes, counts, shares, cell)
    return finish(figure, path, title)


def _checked(matrix: ArrayLike | _Report, classes: Sequence[str] | Sequence[int] | None) -> tuple[Array, list[str]]:
    """Return the counts as float64 and the names of the classes as they are shown."""
    given: Any = matrix
    if hasattr(given, "confusion") and hasattr(given, "classes"):
        classes = given.classes if classes is None else classes
        given = given.confusion
    counts = as_numeric(given, False, "matrix").astype(np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(
            f"matrix has shape {counts.shape}, expected (K, K), a row for each true and a column for each predicted "
            "class: pass fl.metrics.confusion_matrix(y_true, y_pred)"
        )
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("matrix holds numbers that are no counts, expected numbers >= 0")
    names = list(range(len(counts))) if classes is None else as_list("classes", classes, "names")
    if len(names) != len(counts):
        raise ValueError(f"classes names {len(names)} classes and matrix has {len(counts)}, expected one for each")
    return counts, [shortened(str(name)) for name in names]


def _write_numbers(axes: Any, counts: Array, shares: Array, cell: float) -> None:
    """Write the count into each cell of this size in inches; none where it is 0 and there are many classes."""
    size = len(counts)
    texts = [
        [f"{number:,.0f}" if number.is_integer() else f"{number:,.1f}" for number in row] for row in counts.tolist()
    ]
    longest = max(len(text) for row in texts for text in row)
    font = min(11.0, 0.85 * cell / (longest * _LABEL_WIDTH) * 10.0)
    for i in range(size):
        for j in range(size):
            if counts[i, j] == 0 and size > 6:
                continue
            color = "white" if shares[i, j] > 0.55 else "0.15"
            axes.text(j, i, texts[i][j], ha="center", va="center", color=color, fontsize=font)
