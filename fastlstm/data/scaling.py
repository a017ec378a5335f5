"""Scaling to mean 0 and standard deviation 1, over the training data or over each series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _exact
from .._arrays import as_numeric
from .._checks import as_bool, short_repr
from .scaler import Measured, Missing, Rows, Scaler, rows_of, source_of
from .sequences import Sequences
from .series_scaling import scaled_series
from .targets import Targets

__all__ = ["Standardizer"]

_Self = TypeVar("_Self", bound="Standardizer")


class Standardizer(Scaler):
    """Scale each feature to mean 0 and standard deviation 1: (x - mean) / scale, computed in float64.

    Parameters
    ----------
    missing : {"error", "mask", "mask-all"}, default "error"
        What happens to missing values (NaN) of the inputs, which never count in mean and scale.

        - "error": they are refused.
        - "mask": they become the mean (0 after scaling), and each feature that had missing values in the training data
          gets an indicator channel, which is 1 where its value is missing, else 0. The k channels come after the F
          scaled features, in their order. A missing value in another feature is an error.
        - "mask-all": the same, with a channel for every feature.
    per_series : bool, default False
        Whether each series is scaled by the mean and the standard deviation of its own valid steps instead, where a
        constant series has the scale 1. `fit` then takes note of the number of features, and of those with missing
        values. Level and size of a series are lost to the model. A stream cannot do it, since it does not know the
        steps to come.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (features,)
        Known after `fit`, unless `per_series`. The scale is the standard deviation (divisor: the number of steps), or 1
        for a constant feature.
    indicator_ : ndarray of bool, shape (features,)
        Which features have an indicator channel; known after `fit`.
    missing, per_series
        The arguments.

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
    >>> X[0, 1, 2] = np.nan
    >>> fl.Standardizer(missing="mask").fit_transform(X)[0, :2, 3].tolist()  # the indicator of feature 2
    [0.0, 1.0]
    >>> np.allclose(fl.Standardizer(per_series=True).fit_transform(X[:, :, :2]).mean(axis=1), 0)  # of each series
    True
    """

    _center = "mean"
    mean_: NDArray[np.float64]
    features_: int

    def __init__(self, missing: Missing = "error", per_series: bool = False) -> None:
        super().__init__(missing)
        self.per_series = as_bool("per_series", per_series)

    def _measure(self, rows: Rows, skip_missing: bool) -> Measured:
        mean: NDArray[np.float64] = np.zeros(1)
        squares: NDArray[np.float64] = np.zeros(1)
        low: NDArray[np.float64] = np.full(1, np.inf)
        high = -low
        steps = 0
        seen: Any = 0  # values of each feature: an integer as long as they are as many
        for values in rows():
            if len(values) == 0:
                continue
            block = values.astype(np.float64)
            steps += len(block)
            count: Any = len(block)
            absent = np.isnan(block) if skip_missing else None
            if absent is None or not absent.any():
                low = np.minimum(low, block.min(axis=0))
                high = np.maximum(high, block.max(axis=0))
                block_mean = _exact.column_sums(block) / count
                block -= block_mean
            else:
                count = count - absent.sum(axis=0)
                low = np.minimum(low, np.where(absent, np.inf, block).min(axis=0))
                high = np.maximum(high, np.where(absent, -np.inf, block).max(axis=0))
                block_mean = _share(_exact.column_sums(np.where(absent, 0.0, block)), count)
                block -= block_mean
                block[absent] = 0.0
            delta, total = block_mean - mean, seen + count
            mean = mean + delta * _share(count, total)
            squares = squares + _exact.column_sums(np.square(block, out=block)) + delta**2 * _share(seen * count, total)
            seen = total
        scale = np.sqrt(_share(squares, seen)) if steps else squares
        # Rounding gives a constant feature a tiny deviation, which must not be a divisor.
        constant = low == high
        center, scale = np.where(constant, low, mean), np.where(constant, 0.0, scale)
        return Measured(center, scale, np.broadcast_to(np.asarray(seen, np.int64), scale.shape), steps)

    # ------------------------------------------------------------------------------------ each series by itself

    @property
    def fitted(self) -> bool:
        return hasattr(self, "features_" if self.per_series else "scale_")

    @property
    def features(self) -> int | None:
        return getattr(self, "features_", None) if self.per_series else super().features

    def fit(
        self: _Self, X: ArrayLike | list[NDArray[Any]] | Sequences | Targets, lengths: ArrayLike | None = None
    ) -> _Self:
        if not self.per_series:
            return super().fit(X, lengths)
        source = source_of(X, lengths)
        if isinstance(source, Targets):
            raise ValueError("per_series=True is for inputs: predictions have no scale of their own to be undone")
        indicator = np.full(source.features, self.missing == "mask-all")
        for values in rows_of(source) if self.missing == "mask" else ():
            if values.dtype.kind == "f":
                indicator |= np.isnan(values).any(axis=0)
        vars(self).update(features_=source.features, indicator_=indicator, _draft=None)
        return self

    def scaled_batch(
        self,
        x: NDArray[Any],
        dtype: DTypeLike,
        lengths: NDArray[np.int64] | None = None,
        masks: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        if not self.per_series:
            return super().scaled_batch(x, dtype, lengths, masks)
        self._check_features(x)
        batch = np.ascontiguousarray(x if x.ndim == 3 else x[None])
        missing = self.missing_features() if self.missing != "error" else None
        y = scaled_series(batch, dtype, missing, lengths, masks)
        return y if x.ndim == 3 else y[0]

    def scaled(self, x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        return self.scaled_batch(x, dtype) if self.per_series else super().scaled(x, dtype)

    def unscaled(self, x: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        if self.per_series:
            raise ValueError(
                "per_series=True scales each series by its own mean and scale, which are not kept, so that it cannot "
                "be undone: keep the original series"
            )
        return super().unscaled(x, dtype)

    def _with_features(self, x: NDArray[Any]) -> NDArray[Any]:
        if self.per_series:
            return x[:, None] if x.ndim == 1 and self.features == 1 else x
        return super()._with_features(x)

    def _check_features(self, x: NDArray[Any]) -> None:
        if not self.per_series:
            super()._check_features(x)
            return
        self._check_fitted()
        if x.ndim not in (2, 3) or x.shape[-1] != self.features:
            raise ValueError(
                f"got an array of shape {x.shape}, expected one series (time, {self.features}) or several, (batch, "
                f"time, {self.features}): for a (batch, time) array of one channel pass X[:, :, None]"
            )

    # ------------------------------------------------------------------------------------ files

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "per_series": self.per_series}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of the fitted arrays; if `per_series`, "features", their number, takes the place of others."""
        if not self.per_series:
            return super().state()
        self._check_fitted()
        state: dict[str, NDArray[Any]] = {"features": np.array([self.features_], np.int64)}
        return state if self.missing == "error" else {**state, "indicator": self.indicator_.astype(np.float64)}

    def load_state(self, state: Mapping[str, ArrayLike]) -> None:
        if not self.per_series:
            super().load_state(state)
            return
        self._arrays_of(state, ("features",))
        features = np.asarray(as_numeric(state["features"], False, "features"))
        if features.shape != (1,) or features.dtype.kind not in "iu" or not 1 <= features[0] < 2**31:
            raise ValueError(f"got the features {short_repr(features)} of a Standardizer, expected their number")
        size = int(features[0])
        if self.missing != "error" and np.size(state["indicator"]) != size:  # before memory for `size` is taken
            raise ValueError(f"got an indicator of {np.size(state['indicator'])} features, expected {size}")
        indicator = self._indicator_of(state, size) if self.missing != "error" else np.zeros(0, bool)
        vars(self).update(features_=size, indicator_=indicator, _draft=None)


def _share(part: Any, total: Any) -> Any:
    """Return part / total, 0 for a total of 0."""
    return part / total if isinstance(total, int) else part / np.maximum(total, 1)
