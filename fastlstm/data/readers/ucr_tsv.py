"""Reader of the .tsv files of the UCR archive."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..._arguments import explain_arguments
from ..._checks import one_of, short_repr
from ..._checks import path as as_path
from .series_file import LabelledSeries, SeriesMeta, lines_of, numbers_of, place, text_of

__all__ = ["read_ucr_tsv"]


@explain_arguments
def read_ucr_tsv(path: Any, *, trailing_nan: Literal["padding", "missing"] = "padding") -> LabelledSeries:
    r"""Read a ``.tsv`` file of the UCR archive: one case in each line, its label first, values separated by tabs.

    Parameters
    ----------
    path : str or path-like
        A file such as ``GunPoint_TRAIN.tsv``.
    trailing_nan : {"padding", "missing"}, default "padding"
        What NaN at the end of a line is. The archive fills up the lines of shorter series with NaN, which by default is
        cut off. If all series have the same length, and the last values of some are missing, "missing" keeps them as
        NaN.

    Returns
    -------
    LabelledSeries
        `X`, float64 of shape (n, T, 1), or a list of (T_i, 1) if lengths differ; ``NaN`` and ``?`` become NaN. `y`,
        shape (n,): labels as strings, as ``fit`` takes them (``y.astype(int)`` makes numbers). `meta`: the name of the
        file's problem, the labels in order, and whether values are missing.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is none of this format; the message names the line.

    Notes
    -----
    The files come from https://www.cs.ucr.edu/~eamonn/time_series_data_2018.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastlstm as fl
    >>> _ = Path("Two_TRAIN.tsv").write_text("1\t0.5\t0.25\n-1\t2\tNaN\n")
    >>> X, y, meta = fl.data.read_ucr_tsv("Two_TRAIN.tsv")
    >>> [one[:, 0].tolist() for one in X], y.tolist(), meta.name, meta.classes
    ([[0.5, 0.25], [2.0]], ['1', '-1'], 'Two', ('-1', '1'))
    """
    one_of("trailing_nan", trailing_nan, ("padding", "missing"))
    name = as_path(path)
    series: list[NDArray[np.float64]] = []
    labels: list[str] = []
    width = 0
    for number, line in lines_of(name):
        where = place(name, number)
        label, values = _read_case(line, where)
        width = width or len(values)
        if len(values) != width:
            raise ValueError(f"{where}: got {len(values)} values, expected {width}, as in the first case")
        if trailing_nan == "padding":
            known = np.flatnonzero(~np.isnan(values))
            if not len(known):
                raise ValueError(f"{where}: got no value that is a number, expected at least one")
            values = values[: known[-1] + 1]
        series.append(values[:, None])
        labels.append(label)
    if not series:
        raise ValueError(f"{name} is empty, expected one case in each line")
    equal = all(len(one) == len(series[0]) for one in series)
    missing = any(bool(np.isnan(one).any()) for one in series)
    meta = SeriesMeta(_problem(name), _in_order(set(labels)), missing, {})
    return LabelledSeries(np.stack(series) if equal else series, np.array(labels, np.str_), meta)


def _read_case(line: bytes, where: str) -> tuple[str, NDArray[np.float64]]:
    label, tab, rest = text_of(line, where).partition("\t")
    if not tab:
        advice = ""
        if label.startswith(("@", "#")):
            advice = ": a .ts file is read by fl.data.read_ts(path)"
        elif "," in label:
            advice = ": replace the commas between values by tabs"
        raise ValueError(
            f"{where}: got {short_repr(label[:80])}, expected a label and values, separated by tabs{advice}"
        )
    label = label.strip()
    if not label or label.lower() in ("nan", "?"):
        raise ValueError(f"{where}: got the label {short_repr(label)}, expected that of the case")
    return label, numbers_of(rest, "\t", where)


def _problem(name: str) -> str:
    stem = os.path.splitext(os.path.basename(name))[0]
    return stem.removesuffix("_TRAIN").removesuffix("_TEST")


def _in_order(labels: set[str]) -> tuple[str, ...]:
    """Return labels in order: as numbers, if all are."""
    try:
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    except ValueError:
        return tuple(sorted(labels))
