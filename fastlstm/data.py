"""Preparing data: splits, standardizing, forecasting windows.

The adapters that training reads its batches through, of `fastlstm.sequences`, are at hand here as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from itertools import pairwise
from typing import Any, Literal, overload

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ._checks import MANY, count, listed, one_of, real, shown
from .sequences import Sequences, as_sequences, plain_array, real_numbers
from .shuffle import Shuffle
from .targets import Targets, as_targets, encode_labels

__all__ = [
    "Sequences",
    "Shuffle",
    "Standardizer",
    "Targets",
    "as_sequences",
    "as_targets",
    "encode_labels",
    "split",
    "windows",
]


SCALERS = ("scaler", "target_scaler")
"""Attributes of a model that are saved as tensors beside its parameters, such as ``scaler.mean``."""


# --------------------------------------------------------------------------------------------- windows


def windows(
    series: ArrayLike,
    length: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    target: int | slice | list[int] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut a long series into forecasting windows, without copying it.

    Window i holds the steps i * stride to i * stride + length - 1; its target the `horizon` steps after.

    Parameters
    ----------
    series : array or memory map, shape (steps,) or (steps, features)
        Numbers of any real type.
    length : int
        Steps of a window.
    horizon : int
        Steps to forecast. With 0 the windows reach to the very end of the series, for a forecast of what is not
        known yet, and `y` is empty.
    stride : int
        Steps from one window to the next.
    target : int, slice or list of int, optional
        Columns to forecast. By default all of them. A list must be evenly spaced, such as [0, 2, 4], since
        only then a view exists.

    Returns
    -------
    X : ndarray, shape (n, length, features)
        Read-only view of the series, n = (steps - length - horizon) // stride + 1.
    y : ndarray, shape (n, horizon) or (n, horizon, targets)
        Read-only view. The last axis is absent for a 1-D series and for an integer `target`.

    Raises
    ------
    TypeError
        If the series does not hold real numbers.
    ValueError
        If the series is too short, or a parameter is out of range.

    Notes
    -----
    Neighbouring windows share steps: split them by time (`split(..., method="time", gap=...)`), not at
    random, lest the validation part be seen in training.

    Examples
    --------
    >>> X, y = windows(np.arange(6.0), length=3, horizon=2)
    >>> X[:, :, 0].tolist(), y.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    length, horizon, stride = count("length", length), count("horizon", horizon, 0), count("stride", stride)
    array = real_numbers(series, False, "series")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise ValueError(f"series has shape {array.shape}, expected (steps,) or (steps, features)")
    if len(array) < length + horizon:
        raise ValueError(
            f"series has {len(array)} steps, expected at least length + horizon = {length + horizon}: "
            "shorten the window"
        )
    columns = array[:, None] if array.ndim == 1 else array
    if target is None:
        wanted = array
    elif isinstance(target, list):
        wanted = columns[:, _evenly_spaced(target, columns.shape[1])]
    else:
        if not isinstance(target, slice) and count("target", target, 0) >= columns.shape[1]:
            raise ValueError(f"got target = {target}, expected a column from 0 to {columns.shape[1] - 1}")
        wanted = columns[:, target]
    X = sliding_window_view(columns[: len(columns) - horizon], length, axis=0)[::stride]
    y = sliding_window_view(wanted[length:], horizon, axis=0)[::stride]
    return np.moveaxis(X, -1, 1), y if y.ndim == 2 else np.moveaxis(y, -1, 1)


def _evenly_spaced(columns: list[int], n: int) -> slice:
    if not columns or not all(count("each of target", column, 0) < n for column in columns):
        raise ValueError(f"got target = {columns}, expected columns from 0 to {n - 1}")
    steps = set(np.diff(columns).tolist())
    if len(steps) > 1 or steps == {0}:
        raise ValueError(
            f"got target = {columns}, expected evenly spaced columns, of which a view can be made: reorder "
            "the columns of the series, or call windows once for each target"
        )
    step = steps.pop() if steps else 1
    stop = columns[-1] + step
    return slice(columns[0], None if stop < 0 else stop, step)


# ---------------------------------------------------------------------------------------------- splits


@overload
def split(
    cases: int | Sized,
    fractions: tuple[float, ...] = ...,
    *,
    method: Literal["random", "stratified"] = ...,
    y: ArrayLike | None = ...,
    seed: int = ...,
) -> tuple[NDArray[np.int64], ...]: ...


@overload
def split(
    cases: int | Sized, fractions: tuple[float, ...] = ..., *, method: Literal["time"], gap: int = ...
) -> tuple[slice, ...]: ...


def split(
    cases: int | Sized,
    fractions: tuple[float, ...] = (0.7, 0.15, 0.15),
    *,
    method: Literal["random", "stratified", "time"] = "random",
    y: ArrayLike | None = None,
    seed: int = 0,
    gap: int = 0,
) -> tuple[NDArray[np.int64], ...] | tuple[slice, ...]:
    """Divide cases into parts, such as training, validation and test.

    Parameters
    ----------
    cases : int, or anything with a length
        How many cases there are: a number, or the inputs or targets themselves.
    fractions : tuple of float
        Share of each part; they sum to 1.
    method : {"random", "stratified", "time"}
        - "random": any case anywhere;
        - "stratified": at random, each class with the same share in every part, to about one case;
        - "time": consecutive parts, the first cases first.
    y : array, shape (n,), optional
        Labels for "stratified". By default `cases`, if that is an array or list of labels.
    seed : int
        Decides the random parts.
    gap : int
        For "time": cases left out between parts. Windows of length L, stride 1 and horizon H share no step
        with another part for gap = L + H - 1, and no target for gap = H - 1.

    Returns
    -------
    tuple of ndarray of int64, or of slice
        For each part the sorted indices of its cases; for "time" slices, which give views of an array.

    Raises
    ------
    ValueError
        If the fractions do not fit, or a part would be empty.

    Examples
    --------
    >>> split(10, (0.8, 0.2), method="time")
    (slice(0, 8, None), slice(8, 10, None))
    """
    n = len(cases) if isinstance(cases, Sized) and getattr(cases, "shape", None) != () else count("cases", cases)
    gap = count("gap", gap, 0)
    one_of("method", method, ("random", "stratified", "time"))
    fractions = tuple(real("each of fractions", fraction) for fraction in listed("fractions", fractions, "numbers"))
    if any(fraction <= 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"got fractions {fractions}, expected positive numbers that sum to 1")
    bounds = np.rint(np.cumsum((0.0, *fractions)) * n).astype(np.int64)
    if method == "time":
        starts = bounds[:-1] + gap * (np.arange(len(fractions)) > 0)
        if np.any(starts >= bounds[1:]):
            raise ValueError(
                f"{n} cases with gap = {gap} leave a part of fractions {fractions} empty, expected at least "
                "one case in each: take fewer parts or a smaller gap"
            )
        return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, bounds[1:], strict=True))
    if gap:
        raise ValueError(f"got gap = {gap} with method = {method!r}, expected method = 'time'")
    if np.any(np.diff(bounds) < 1):
        raise ValueError(
            f"{n} cases leave a part of fractions {fractions} empty, expected at least one case in each: "
            "take fewer parts"
        )
    rng = np.random.default_rng(count("seed", seed, 0, bits=MANY))
    order = rng.permutation(n)
    if method == "stratified":
        order = order[_spread(_class_numbers(cases if y is None else y, n)[order], rng)]
    return tuple(np.sort(order[start:stop]) for start, stop in pairwise(bounds))


def _class_numbers(y: Any, n: int) -> NDArray[np.int64]:
    labels = plain_array(y, "y")
    if labels.shape != (n,) or labels.dtype.kind not in "iubUO":
        raise ValueError(
            f"got labels of shape {labels.shape} and type {labels.dtype}, expected ({n},) integers or "
            "strings: a stratified split needs y=labels"
        )
    return np.unique(labels, return_inverse=True)[1]


def _spread(classes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Order cases so that every run of them holds each class by its share.

    Member j of a class of m gets the key (j + offset) / m: each class lies evenly over (0, 1), whatever its
    size. The offsets are spread over (0, 1) too, so that the roundings of many small classes cancel.
    """
    by_class = np.argsort(classes, kind="stable")
    counts = np.bincount(classes)
    offsets = (rng.permutation(len(counts)) + 0.5) / len(counts)
    members = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = (members + np.repeat(offsets, counts)) / np.repeat(counts, counts)
    return by_class[np.argsort(keys, kind="stable")]


# --------------------------------------------------------------------------------------- standardizing


class Standardizer:
    """Bring each feature to mean 0 and standard deviation 1: (x - mean) / scale.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (features,)
        After `fit`. The scale is the standard deviation (divisor: the number of steps), 1 for a constant
        feature.

    Notes
    -----
    Means and variances of bounded blocks are merged in float64: Chan, Golub and LeVeque, "Algorithms for
    computing the sample variance", The American Statistician 37(3), 1983, equation 2.1.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> scaler = fl.Standardizer().fit([[1.0, 3.0], [5.0]])
    >>> scaler.mean_.tolist(), scaler.inverse_transform(scaler.transform(np.array([7.0]))).tolist()
    ([3.0], [7.0])
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    @property
    def fitted(self) -> bool:
        """Whether mean and scale are known."""
        return hasattr(self, "mean_")

    def fit(
        self, X: ArrayLike | list[NDArray[Any]] | Sequences | Targets, lengths: ArrayLike | None = None
    ) -> Standardizer:
        """Measure mean and scale on training data, valid steps only, without loading all of it.

        Parameters
        ----------
        X : array, memory map, list of arrays, Sequences or Targets
            - (n, T, F), or a list of (T_i, F) or (T_i,): each of the F features over all valid steps;
            - (rows, F): each column, as in scikit-learn; so for one long series, or targets of K columns;
            - (n,): one feature.

            A (n, T) array of one channel is (n, T, 1) here: pass ``X[:, :, None]``, ``as_sequences(X)``, or
            `lengths`, which say that the second axis is time. Windows of one series count each of its steps
            once.
        lengths : array of int, shape (n,), optional
            Valid steps of each case of an array.

        Returns
        -------
        Standardizer
            Itself.

        Raises
        ------
        TypeError, ValueError
            If X is refused by `as_sequences`, holds tokens or labels, NaN, infinity, or values too large to
            square.
        """
        mean: NDArray[np.float64] = np.zeros(1)
        squares: NDArray[np.float64] = np.zeros(1)
        low: NDArray[np.float64] = np.full(1, np.inf)
        high = -low
        seen = 0
        source = _source(X, lengths)
        with np.errstate(over="ignore", invalid="ignore"):
            for values in _rows(source):
                if len(values) == 0:
                    continue
                block = values.astype(np.float64)
                low = np.minimum(low, block.min(axis=0))
                high = np.maximum(high, block.max(axis=0))
                block_mean = block.mean(axis=0)
                block -= block_mean
                delta, total = block_mean - mean, seen + len(block)
                mean = mean + delta * (len(block) / total)
                squares = squares + np.square(block, out=block).sum(axis=0) + delta**2 * (seen * len(block) / total)
                seen = total
        scale = np.sqrt(squares / seen)
        if not np.isfinite(scale).all():
            if isinstance(source, Sequences):
                source.check_finite()
            raise ValueError(
                "X holds values too large to square, expected squares that fit float64: divide by a constant first"
            )
        # Rounding leaves a constant feature a tiny deviation, by which nothing may be divided.
        constant = low == high
        mean, scale = np.where(constant, low, mean), np.where(constant | (scale == 0), 1.0, scale)
        self.mean_, self.scale_ = mean, scale  # both or, where memory is short, neither
        return self

    @overload
    def transform(self, X: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def transform(self, X: ArrayLike) -> NDArray[Any]: ...
    def transform(self, X: ArrayLike | list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
        """Standardize a copy.

        Parameters
        ----------
        X : array or list of arrays
            The last axis holds the features; of one feature also (n,) and (n, T).

        Returns
        -------
        ndarray or list of ndarray
            Of the same shapes; float32 and float64 stay, other types become float64.

        Raises
        ------
        ValueError
            If not fitted, or if X has other features.
        """
        if isinstance(X, list):
            return [self.transform_batch_(_float_copy(one)) for one in X]
        return self.transform_batch_(_float_copy(X))

    @overload
    def inverse_transform(self, X: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]: ...
    def inverse_transform(self, X: ArrayLike | list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
        """Undo `transform` on a copy: x * scale + mean; parameters and result as there."""
        if isinstance(X, list):
            return [self._inverse(one) for one in X]
        return self._inverse(X)

    def _inverse(self, X: ArrayLike) -> NDArray[Any]:
        x = _float_copy(X)
        mean, scale = self._constants(x)
        x *= scale
        x += mean
        return x

    def fit_transform(self, X: Any, lengths: ArrayLike | None = None) -> Any:
        """Do `fit`, then `transform`."""
        return self.fit(X, lengths).transform(X)

    def transform_batch_(self, x: NDArray[Any]) -> NDArray[Any]:
        """Standardize in place.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (b, T, features), (b, features) or, of one feature, (b,)
            C-contiguous, writable.

        Returns
        -------
        ndarray
            x itself.

        Raises
        ------
        ValueError
            If not fitted, or if x has other features.
        """
        mean, scale = self._constants(x)
        if x.ndim == 3 and x.shape[2] > 1 and x.size and x.flags.c_contiguous:
            # One long row for each case: NumPy's inner loop over a few features costs up to 4 times as much.
            rows = x.reshape(len(x), -1)
            rows -= np.tile(mean, x.shape[1])
            rows /= np.tile(scale, x.shape[1])
        else:
            x -= mean
            x /= scale
        return x

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return copies of the fitted arrays, ``{"mean": ..., "scale": ...}``, each float64 (features,)."""
        self._check_fitted()
        return {"mean": self.mean_.copy(), "scale": self.scale_.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, ArrayLike]) -> Standardizer:
        """Make a fitted Standardizer of what `state` returned.

        Raises
        ------
        ValueError
            If an array is missing, of the wrong shape, not finite, or a scale is not positive.
        """
        if not isinstance(state, Mapping) or not {"mean", "scale"} <= set(state):
            raise ValueError(f"got the state {shown(state)} of a Standardizer, expected 'mean' and 'scale'")
        scaler = cls()
        with np.errstate(over="ignore"):
            mean, scale = (np.array(real_numbers(state[key], False, key), np.float64) for key in ("mean", "scale"))
        if mean.ndim != 1 or mean.shape != scale.shape or mean.size == 0:
            raise ValueError(
                f"got a mean of shape {mean.shape} and a scale of shape {scale.shape}, expected (features,) for both"
            )
        if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("the state of a Standardizer must be finite, with positive scales")
        scaler.mean_, scaler.scale_ = mean, scale
        return scaler

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Standardizer) or self.fitted != other.fitted:
            return False
        return not self.fitted or (
            np.array_equal(self.mean_, other.mean_) and np.array_equal(self.scale_, other.scale_)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Standardizer({f'{self.mean_.size} features' if self.fitted else 'not fitted'})"

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise ValueError("this Standardizer is not fitted: call fit(X_train) first")

    def _constants(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and scale in the type of x, which must have their features."""
        self._check_fitted()
        features = self.mean_.size
        if x.shape[-1:] != (features,) and not (features == 1 and x.ndim <= 2):
            raise ValueError(
                f"got an array of shape {x.shape}, expected {features} features, as fitted, on the last "
                "axis: for a (batch, time) array of one channel fit the Standardizer on X[:, :, None]"
            )
        scale = np.where(self.scale_ < np.finfo(x.dtype).tiny, 1.0, self.scale_)  # smaller numbers count as 0
        return self.mean_.astype(x.dtype), scale.astype(x.dtype)


def _source(X: Any, lengths: ArrayLike | None) -> Sequences | Targets:
    source: Sequences | Targets
    if isinstance(X, (Sequences, Targets)) and lengths is None:
        source = X
    elif lengths is None and (_is_flat(X) or not isinstance(X, (list, tuple))):
        array = plain_array(X, "X")
        if array.ndim == 1:
            array = array[None, :, None]
        elif array.ndim == 2:
            array = array[None]
        source = as_sequences(array)
    else:
        source = as_sequences(X, lengths)
    if source.kind != "values":
        raise TypeError("got token ids or labels, expected measured values: ids have no mean or scale")
    return source


def _is_flat(X: Any) -> bool:
    """Whether X is a list of numbers, rather than of series."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and plain_array(X[0], "X[0]").ndim == 0


def _rows(source: Sequences | Targets) -> Iterator[NDArray[Any]]:
    if isinstance(source, Targets):
        return source.blocks()
    return (block.values for block in source.blocks())


def _float_copy(X: ArrayLike) -> NDArray[Any]:
    array = real_numbers(X, False, "X")
    with np.errstate(over="ignore"):
        dtype = array.dtype.newbyteorder("=")
        return np.array(array, dtype if dtype in (np.float32, np.float64) else np.float64, order="C")
