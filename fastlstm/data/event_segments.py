"""Segments around events of a long signal, such as heart beats."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from .._arguments import explain_arguments
from .._arrays import as_numeric
from .._checks import count, one_of

__all__ = ["segments"]


@explain_arguments
def segments(
    signal: ArrayLike,
    peaks: ArrayLike,
    before: int,
    after: int,
    *,
    pad: Literal["edge", "nan"] | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut a segment around each peak of a signal.

    The segment of the peak p holds the steps p - before to p + after - 1, so the peak is its step `before`.

    Parameters
    ----------
    signal : array or memory map, shape (T,) or (T, channels)
        Numbers of any real type.
    peaks : array of int, shape (m,)
        Positions of the peaks, from 0 to T - 1, in any order.
    before : int
        Steps of a segment before its peak, at least 0.
    after : int
        Steps from the peak on, at least 1.
    pad : {"edge", "nan"}, optional
        What to do with peaks too near to an end of the signal for a whole segment: by default they are left out;
        "edge" repeats the first or last step of the signal, "nan" puts NaN where there is no signal.

    Returns
    -------
    X : ndarray, shape (n, before + after, channels)
        Read-only. A view of the signal if the peaks are evenly spaced, else a copy of the segments only. Of the
        signal's type, except that integers become float64 with `pad="nan"`.
    kept : ndarray of int64, shape (n,)
        Which of the peaks the segments belong to: `labels[kept]` are their labels.

    Raises
    ------
    TypeError
        If the signal does not hold real numbers, or the peaks are not integers.
    ValueError
        If a shape does not fit, a peak is outside the signal, or no whole segment is left.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X, kept = fl.data.segments(np.arange(10.0), peaks=[1, 4, 7], before=2, after=3)
    >>> X[:, :, 0].tolist(), kept.tolist()
    ([[2.0, 3.0, 4.0, 5.0, 6.0], [5.0, 6.0, 7.0, 8.0, 9.0]], [1, 2])
    """
    before, after = count("before", before, 0), count("after", after)
    if pad is not None:
        one_of("pad", pad, ("edge", "nan"))
    array = as_numeric(signal, False, "signal")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(f"signal has shape {array.shape}, expected (T,) or (T, channels) with at least one step")
    columns = array[:, None] if array.ndim == 1 else array
    places = _checked_peaks(peaks, len(columns))
    starts = places - before
    length = before + after
    whole = (starts >= 0) & (starts + length <= len(columns))
    kept = np.arange(len(places)) if pad else np.flatnonzero(whole)
    if not len(kept):
        raise ValueError(
            f"none of {len(places)} peaks has before = {before} steps before it and after = {after} from it on in "
            f"the signal of {len(columns)} steps, expected at least one: take shorter segments, or pad='edge'"
        )
    X = _views(columns, starts[kept], length) if whole[kept].all() else _padded(columns, starts, length, pad == "nan")
    X.flags.writeable = False
    return X, kept


def _checked_peaks(peaks: ArrayLike, steps: int) -> NDArray[np.int64]:
    if isinstance(peaks, (list, tuple)) and not peaks:
        peaks = np.zeros(0, np.int64)  # NumPy makes float64 of an empty list
    places = as_numeric(peaks, True, "peaks")
    if places.ndim != 1:
        raise ValueError(f"peaks has shape {places.shape}, expected (m,): one position for each peak")
    bad = (places < 0) | (places >= steps)
    if bad.any():
        number = int(np.argmax(bad))
        raise ValueError(
            f"peaks[{number}] is {places[number]}, expected a position from 0 to {steps - 1}, the steps of the signal"
        )
    return places.astype(np.int64)


def _views(columns: NDArray[Any], starts: NDArray[np.int64], length: int) -> NDArray[Any]:
    """Return whole segments, (n, length, channels): a view if they are evenly spaced."""
    cuts = np.moveaxis(sliding_window_view(columns, length, axis=0), -1, 1)
    hops = np.unique(np.diff(starts))
    if len(hops) == 0:
        return cuts[starts[0] : starts[0] + 1]
    if len(hops) == 1 and hops[0] > 0:
        return cuts[starts[0] : starts[-1] + 1 : hops[0]]
    return np.ascontiguousarray(cuts[starts])


def _padded(columns: NDArray[Any], starts: NDArray[np.int64], length: int, nan: bool) -> NDArray[Any]:
    steps = starts[:, None] + np.arange(length)
    inside = np.clip(steps, 0, len(columns) - 1)
    X: NDArray[Any] = columns[inside]
    if nan:
        X = X if X.dtype.kind == "f" else X.astype(np.float64)
        X[inside != steps] = np.nan
    return X
