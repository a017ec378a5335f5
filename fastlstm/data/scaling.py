"""Scaling of features, fitted to the training part of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _core
from .._arrays import as_array, as_numeric
from .._checks import short_repr
from .._foreign import type_name
from .case_objects import gives_cases
from .sequences import Sequences, as_sequences
from .targets import Targets

__all__ = ["SCALERS", "Standardizer"]

SCALERS = ("scaler", "target_scaler")
"""Attributes of a model whose arrays are saved with its parameters, as tensors such as ``scaler.mean``."""


class Standardizer:
    """Scale each feature to mean 0 and standard deviation 1: (x - mean) / scale, computed in float64.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (features,)
        Known after `fit`. The scale is the standard deviation (divisor: the number of steps), or 1 for a constant
        feature.

    Notes
    -----
    Means and variances of bounded blocks are merged in float64: Chan, Golub and LeVeque, "Algorithms for
    computing the sample variance", The American Statistician 37(3), 1983, equation 2.1.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> scaler = fl.Standardizer().fit([[1.0, 3.0], [5.0]])  # two series of one feature
    >>> scaler.mean_.tolist(), scaler.inverse_transform(scaler.transform(np.array([7.0]))).tolist()
    ([3.0], [7.0])
    >>> X = np.arange(24.0).reshape(2, 4, 3)  # (cases, steps, features)
    >>> scaled = fl.Standardizer().fit_transform(X)
    >>> scaled.shape, np.allclose(scaled.mean(axis=(0, 1)), 0)
    ((2, 4, 3), True)
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    @property
    def fitted(self) -> bool:
        """Whether `fit` has been called."""
        return hasattr(self, "mean_")

    def fit(
        self, X: ArrayLike | list[NDArray[Any]] | Sequences | Targets, lengths: ArrayLike | None = None
    ) -> Standardizer:
        """Measure mean and scale over the valid steps of training data, without loading all data at once.

        Parameters
        ----------
        X : array, memory map, list of arrays, Sequences or Targets
            - (n, T, F), or a list of (T_i, F) or (T_i,): each of the F features over all valid steps;
            - (rows, F): each column, as in scikit-learn; also for one long series, or targets of K columns;
            - (n,): one feature.

            For an (n, T) array of one channel pass ``X[:, :, None]``, ``as_sequences(X)``, or `lengths`: all of these
            say that the second axis is time. Each step of a series counts once, even if several windows contain it.
        lengths : array of int, shape (n,), optional
            Valid steps of each case of an array.

        Returns
        -------
        Standardizer
            Itself.

        Raises
        ------
        TypeError, ValueError
            If `as_sequences` refuses X, or X holds tokens or labels, NaN, infinity, or values too large to square.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> fl.Standardizer().fit(np.array([[0.0, 5.0], [2.0, 5.0]])).scale_.tolist()
        [1.0, 1.0]
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
        if not seen:
            raise ValueError("X has no step that counts, expected at least one that is neither masked nor missing")
        scale = np.sqrt(squares / seen)
        if not np.isfinite(scale).all():
            if isinstance(source, Sequences):
                source.check_finite()
            raise ValueError(
                "X holds values too large to square, expected squares that fit float64: divide by a constant first"
            )
        # Rounding gives a constant feature a tiny deviation, which must not be a divisor.
        constant = low == high
        mean, scale = np.where(constant, low, mean), np.where(constant | (scale == 0), 1.0, scale)
        self.mean_, self.scale_ = mean, scale  # set together: if memory runs out before, neither has changed
        return self

    @overload
    def transform(self, X: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def transform(self, X: ArrayLike) -> NDArray[Any]: ...
    def transform(self, X: ArrayLike | list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
        """Return a standardized copy.

        Parameters
        ----------
        X : array or list of arrays
            The last axis holds the features; for one feature also (n,) and (n, T).

        Returns
        -------
        ndarray or list of ndarray
            Of the same shapes; float32 and float64 are kept, other types become float64.

        Raises
        ------
        TypeError
            If X does not hold real numbers.
        ValueError
            If the scaler is not fitted, or X has another number of features.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> X = np.array([[0.0, 5.0], [2.0, 5.0]])
        >>> fl.Standardizer().fit(X).transform(X).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
        """
        if isinstance(X, list):
            return [self.transform(one) for one in X]
        x = _float_copy(X)
        return self.scaled(x, x.dtype)

    @overload
    def inverse_transform(self, X: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]: ...
    def inverse_transform(self, X: ArrayLike | list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
        """Return a copy in the original units: x * scale + mean.

        Parameters
        ----------
        X : array or list of arrays
            As in `transform`.

        Returns
        -------
        ndarray or list of ndarray
            As in `transform`.

        Raises
        ------
        TypeError, ValueError
            As in `transform`.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> scaler = fl.Standardizer().fit(np.array([1.0, 3.0]))
        >>> scaler.inverse_transform(np.array([-1.0, 1.0])).tolist()
        [1.0, 3.0]
        """
        if isinstance(X, list):
            return [self._inverse(one) for one in X]
        return self._inverse(X)

    def _inverse(self, X: ArrayLike) -> NDArray[Any]:
        x = _float_copy(X)
        return self.unscaled(x, x.dtype)

    def fit_transform(self, X: Any, lengths: ArrayLike | None = None) -> Any:
        """Fit to `X` and return its standardized copy; parameters as in `fit`, result as in `transform`.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray or list of ndarray
            As in `transform`.
        """
        return self.fit(X, lengths).transform(X)

    def scaled(self, x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        """Standardize an array of float32 or float64 in float64, and round the result to a type.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (..., features) or, for one feature, (b,) or (b, T)
        dtype : dtype
            float32 or float64.

        Returns
        -------
        ndarray
            A new C-contiguous array of the same shape.

        Raises
        ------
        ValueError
            If the scaler is not fitted, or x has another number of features.
        """
        self._check_features(x)
        y = np.empty(x.shape, dtype)
        _core.standardize(np.ascontiguousarray(x), self.mean_, self.scale_, y)
        return y

    def unscaled(self, x: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return x * scale + mean, computed in float64; several outputs may share the scale of one feature.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (..., outputs)
        dtype : dtype, default float64
            float32 or float64.

        Returns
        -------
        ndarray
            A new C-contiguous array of the same shape.

        Raises
        ------
        ValueError
            If the scaler is not fitted, or x has another number of features.
        """
        self._check_fitted()
        mean, scale = self.mean_, self.scale_
        if mean.size > 1:
            self._check_features(x)
        y = np.empty(x.shape, dtype)
        _core.unstandardize(np.ascontiguousarray(x), mean, scale, y)
        return y

    def transform_batch_(self, x: NDArray[Any]) -> NDArray[Any]:
        """Standardize in place.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (b, T, features), (b, features) or, for one feature, (b,)
            C-contiguous, writable.

        Returns
        -------
        ndarray
            x itself.

        Raises
        ------
        ValueError
            If the scaler is not fitted, or x has another number of features.
        """
        np.copyto(x, self.scaled(x, x.dtype))
        return x

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return copies of the fitted arrays.

        Returns
        -------
        dict of str to ndarray
            ``{"mean": ..., "scale": ...}``, each float64 (features,).

        Raises
        ------
        ValueError
            If the scaler is not fitted.
        """
        self._check_fitted()
        return {"mean": self.mean_.copy(), "scale": self.scale_.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, ArrayLike]) -> Standardizer:
        """Return a fitted Standardizer, made from the arrays that `state` returned.

        Parameters
        ----------
        state : mapping of str to array
            ``{"mean": ..., "scale": ...}``.

        Returns
        -------
        Standardizer

        Raises
        ------
        TypeError, ValueError
            If an array is missing, not numeric, of the wrong shape, not finite, or a scale is not positive.
        """
        if not isinstance(state, Mapping) or not {"mean", "scale"} <= set(state):
            raise ValueError(f"got the state {short_repr(state)} of a Standardizer, expected 'mean' and 'scale'")
        scaler = cls()
        with np.errstate(over="ignore"):
            mean, scale = (np.array(as_numeric(state[key], False, key), np.float64) for key in ("mean", "scale"))
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

    def _check_features(self, x: NDArray[Any]) -> None:
        """Raise ValueError if the scaler is not fitted, or x has another number of features."""
        self._check_fitted()
        features = self.mean_.size
        if x.shape[-1:] != (features,) and not (features == 1 and x.ndim <= 2):
            raise ValueError(
                f"got an array of shape {x.shape}, expected {features} features, as fitted, on the last "
                "axis: for a (batch, time) array of one channel fit the Standardizer on X[:, :, None]"
            )


def _source(X: Any, lengths: ArrayLike | None) -> Sequences | Targets:
    source: Sequences | Targets
    if gives_cases(X):
        raise TypeError(
            f"X is a {type_name(X)}, an object that is read case by case, expected an array or a list: give "
            "scaler=fl.Standardizer() to the Model, whose fit measures it, or pass [X[i][0] for i in range(len(X))] if "
            "each case is a tuple (x, y)"
        )
    if isinstance(X, (Sequences, Targets)) and lengths is None:
        source = X
    elif lengths is None and (_is_flat(X) or not isinstance(X, (list, tuple))):
        array = as_numeric(X, False, "X")
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
    """Return whether X is a list of numbers rather than a list of series."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and as_array(X[0], "X[0]").ndim == 0


def _rows(source: Sequences | Targets) -> Iterator[NDArray[Any]]:
    if isinstance(source, Targets):
        return source.blocks()
    return source.unmasked_blocks()


def _float_copy(X: ArrayLike) -> NDArray[Any]:
    array = as_numeric(X, False, "X")
    with np.errstate(over="ignore"):
        dtype = array.dtype.newbyteorder("=")
        return np.array(array, dtype if dtype in (np.float32, np.float64) else np.float64, order="C")
