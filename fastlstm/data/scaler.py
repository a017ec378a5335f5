"""Scaling of features, fitted to the training part of the data: what all scalers have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _core
from .._arguments import ExplainsArguments
from .._arrays import as_array, as_numeric
from .._checks import one_of, short_repr
from .._foreign import type_name
from .case_objects import gives_cases
from .sequences import Sequences, as_sequences, missing_cure
from .targets import Targets

__all__ = ["SCALERS", "Measured", "Missing", "Rows", "Scaler", "rows_of", "scaler_from_config", "source_of"]

SCALERS = ("scaler", "target_scaler")
"""Attributes of a model whose arrays are saved with its parameters, as tensors such as ``scaler.mean``."""

Missing = Literal["error", "mask", "mask-all"]
"""What a scaler does with missing values (NaN)."""

Rows = Callable[[], Iterator[NDArray[Any]]]
"""Function that begins a pass over the valid steps of training data, in blocks (rows, F)."""


_Self = TypeVar("_Self", bound="Scaler")


class Measured(NamedTuple):
    """Statistics of training data."""

    center: NDArray[np.float64]
    """(F,)."""
    scale: NDArray[np.float64]
    """(F,), 0 for a constant feature; not finite if the data are not, or are too large."""
    counts: NDArray[np.int64]
    """(F,): values of each feature that are not missing."""
    rows: int
    """Steps."""


class Scaler(ExplainsArguments):
    """Base class of the scalers: (x - center) / scale for each feature, computed in float64.

    Parameters
    ----------
    missing : {"error", "mask", "mask-all"}, default "error"
        What happens to missing values (NaN) of the inputs.

        - "error": they are refused.
        - "mask": they become the mean (0 after scaling), and each feature that had missing values in the data of `fit`
          gets an indicator channel, which is 1 where its value is missing, else 0. The k channels come after the F
          scaled features. A missing value in another feature is an error.
        - "mask-all": the same, with a channel for every feature.

    Attributes
    ----------
    missing : str
        The argument.
    indicator_ : ndarray of bool, shape (features,)
        Which features have an indicator channel; known after `fit`.
    """

    _center: ClassVar[str] = "center"
    """Name of the center: that of a tensor, and with an underscore of an attribute."""
    per_series: bool = False
    """Whether each series is scaled by its own statistics."""
    missing: Missing = "error"
    """What happens to missing values."""
    scale_: NDArray[np.float64]
    indicator_: NDArray[np.bool_]

    _kinds: ClassVar[dict[str, type[Scaler]]] = {}
    _draft: tuple[int, int] | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._kinds[cls.__name__] = cls

    def __init__(self, missing: Missing = "error") -> None:
        self.missing = one_of("missing", missing, ("error", "mask", "mask-all"))  # type: ignore[assignment]

    # ------------------------------------------------------------------------------------ what is known

    @property
    def fitted(self) -> bool:
        """Whether `fit` has been called."""
        return hasattr(self, "scale_")

    @property
    def features(self) -> int | None:
        """Number of features that the scaler takes; None before `fit`."""
        return self.scale_.size if self.fitted else None

    @property
    def added_channels(self) -> int:
        """Number of indicator channels, which the scaler adds to the features; 0 before `fit`."""
        if self._draft is not None:
            return self._draft[1]
        return int(self.indicator_.sum()) if self.missing != "error" and self.fitted else 0

    @property
    def may_be_missing(self) -> NDArray[np.bool_] | None:
        """Mask (features,) of the features whose values may be NaN; None if there are none."""
        if self._draft is not None:
            return np.ones(self._draft[0], bool)
        return self.indicator_ if self.missing != "error" and self.fitted else None

    def begin_draft(self, features: int, added: int | None = None) -> None:
        """Let every feature be missing until `fit` or `unfit`: a model is built before its scaler can be fitted.

        `added` is the number of channels for now, by default one for each feature.
        """
        self._draft = features, features if added is None else added

    def unfit(self) -> None:
        """Forget what has been fitted."""
        for name in ("_draft", f"{self._center}_", "scale_", "indicator_", "features_"):
            vars(self).pop(name, None)

    @contextmanager
    def unfitted_on_error(self) -> Iterator[None]:
        """Return a context after whose exceptions the scaler is not fitted, unless it was before."""
        was_fitted = self.fitted
        try:
            yield
        except BaseException:
            if not was_fitted:
                self.unfit()
            raise

    # ------------------------------------------------------------------------------------ fitting

    def fit(
        self: _Self, X: ArrayLike | list[NDArray[Any]] | Sequences | Targets, lengths: ArrayLike | None = None
    ) -> _Self:
        """Measure the valid steps of training data, without loading all data at once. Missing values do not count.

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
        Scaler
            Itself.

        Raises
        ------
        TypeError, ValueError
            If `as_sequences` refuses X, or X holds tokens or labels, infinity, values too large to square, or NaN where
            ``missing="error"``; or if all values of a feature are missing.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> fl.Standardizer().fit(np.array([[0.0, 5.0], [2.0, 5.0]])).scale_.tolist()
        [1.0, 1.0]
        """
        source = source_of(X, lengths)
        rows = partial(rows_of, source)
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._measure(rows, self.missing != "error" or isinstance(source, Targets))
        if not found.rows:
            raise ValueError("X has no step that counts, expected at least one that is neither masked nor missing")
        self._refuse_unmeasured(source, found)
        scale = np.where(found.scale == 0, 1.0, found.scale)
        indicator = (
            found.counts < found.rows if self.missing == "mask" else np.full(scale.size, self.missing != "error")
        )
        # Set together: if memory runs out before, nothing has changed.
        vars(self).update({f"{self._center}_": found.center, "scale_": scale, "indicator_": indicator, "_draft": None})
        return self

    @abstractmethod
    def _measure(self, rows: Rows, skip_missing: bool) -> Measured:
        """Return the statistics of the data; with `skip_missing` without NaN, else NaN may make them NaN."""

    def _refuse_unmeasured(self, source: Sequences | Targets, found: Measured) -> None:
        of_inputs = isinstance(source, Sequences)
        empty = np.flatnonzero(found.counts == 0)
        if len(empty) and not (of_inputs and self.missing == "error"):
            what = f"feature {empty[0]} of X" if of_inputs else f"column {empty[0]} of y"
            raise ValueError(f"{what} is missing (nan) everywhere, expected at least one value: leave it out")
        if np.isfinite(found.scale).all():
            return
        if isinstance(source, Sequences):
            source.check_finite(missing=None if self.missing == "error" else np.ones(source.features, bool))
        raise ValueError(
            "X holds values too large to square, expected squares that fit float64: divide by a constant first"
        )

    # ------------------------------------------------------------------------------------ users' arrays

    @overload
    def transform(self, X: list[NDArray[Any]], lengths: None = None) -> list[NDArray[Any]]: ...
    @overload
    def transform(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[Any]: ...
    def transform(
        self, X: ArrayLike | list[NDArray[Any]], lengths: ArrayLike | None = None
    ) -> NDArray[Any] | list[NDArray[Any]]:
        """Return a scaled copy, with the indicator channels behind the features.

        Parameters
        ----------
        X : array or list of arrays
            The last axis holds the features; for one feature also (n,) and (n, T).
        lengths : array of int, shape (n,), optional
            Valid steps of each case of an array (n, T, F); the values of later steps are arbitrary.

        Returns
        -------
        ndarray or list of ndarray
            Of the same shapes, except for the indicator channels; float32 and float64 are kept, other types become
            float64.

        Raises
        ------
        TypeError
            If X does not hold real numbers.
        ValueError
            If the scaler is not fitted, X has another number of features, or a value is missing in a feature without an
            indicator channel, unless ``missing="error"``, which leaves checks to the model.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> X = np.array([[0.0, 5.0], [2.0, 5.0]])
        >>> fl.Standardizer().fit(X).transform(X).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
        >>> X = np.array([[0.0, 5.0], [2.0, 5.0], [np.nan, 5.0]])
        >>> fl.Standardizer(missing="mask").fit(X).transform(X).tolist()
        [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        """
        if isinstance(X, list):
            return [self.transform(one) for one in X]
        x = self._with_features(_float_copy(X))
        valid = None if lengths is None else as_sequences(x, lengths).lengths
        self._refuse_missing(x, valid)
        return self.scaled_batch(x, x.dtype, valid)

    @overload
    def inverse_transform(self, X: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    @overload
    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]: ...
    def inverse_transform(self, X: ArrayLike | list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
        """Return a copy in the original units: x * scale + center.

        Parameters
        ----------
        X : array or list of arrays
            What `transform` returns: with indicator channels, which become NaN, or without them.

        Returns
        -------
        ndarray or list of ndarray
            Without the indicator channels.

        Raises
        ------
        TypeError, ValueError
            As in `transform`, or if each series has its own scale.

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
        added, features = self.added_channels, self.features
        if not added or features is None or x.shape[-1] != features + added:
            return self.unscaled(x, x.dtype)
        y = self.unscaled(x[..., :features], x.dtype)
        y[..., self.indicator_] = np.where(x[..., features:] != 0, np.nan, y[..., self.indicator_])
        return y

    def fit_transform(self, X: Any, lengths: ArrayLike | None = None) -> Any:
        """Fit to `X` and return its scaled copy; parameters as in `fit`, result as in `transform`.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray or list of ndarray
            As in `transform`.
        """
        return self.fit(X, lengths).transform(X, lengths)

    # ------------------------------------------------------------------------------------ batches

    def scaled_batch(
        self,
        x: NDArray[Any],
        dtype: DTypeLike,
        lengths: NDArray[np.int64] | None = None,
        masks: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Do `scaled` for a batch (b, T, features).

        Parameters
        ----------
        x, dtype
            As in `scaled`.
        lengths : ndarray of int64, shape (b,), optional
            Valid steps of each series.
        masks : ndarray of bool, shape (b, T, k), optional
            The steps that are not masked, `Sequences.masks`.

        Returns
        -------
        ndarray
            As `scaled` returns it.
        """
        return self.scaled(x, dtype)

    def scaled(self, x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        """Scale an array of float32 or float64 in float64, and round the result to a type.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (..., features) or, for one feature, (b,) or (b, T)
            Missing values of features without an indicator channel stay NaN.
        dtype : dtype
            float32 or float64.

        Returns
        -------
        ndarray
            A new C-contiguous array of the same shape, except for the indicator channels.

        Raises
        ------
        ValueError
            If the scaler is not fitted, or x has another number of features.
        """
        self._check_features(x)
        center = self.center()
        if not self.added_channels:
            y = np.empty(x.shape, dtype)
            _core.standardize(np.ascontiguousarray(x), center, self.scale_, y)
            return y
        x = self._with_features(x)
        y = np.empty((*x.shape[:-1], x.shape[-1] + self.added_channels), dtype)
        _core.standardize_missing(np.ascontiguousarray(x), center, self.scale_, self.missing_features(), y)
        return y

    def unscaled(self, x: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return x * scale + center, computed in float64; several outputs may share the scale of one feature.

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
        center, scale = self.center(), self.scale_
        if center.size > 1:
            self._check_features(x)
        y = np.empty(x.shape, dtype)
        _core.unstandardize(np.ascontiguousarray(x), center, scale, y)
        return y

    def transform_batch_(self, x: NDArray[Any]) -> NDArray[Any]:
        """Scale in place.

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
            If the scaler is not fitted, x has another number of features, or the scaler adds indicator channels, which
            have no place in x.
        """
        if self.added_channels:
            raise ValueError(f"{self!r} adds {self.added_channels} indicator channels, expected none: use transform")
        np.copyto(x, self.scaled_batch(x, x.dtype))
        return x

    def center(self) -> NDArray[np.float64]:
        """Return what is subtracted from each feature, (features,); ValueError if the scaler is not fitted."""
        self._check_fitted()
        center: NDArray[np.float64] = getattr(self, f"{self._center}_")
        return center

    def missing_features(self) -> NDArray[np.int64]:
        """Return the indices (k,) of the features that have an indicator channel, in the order of the channels."""
        return np.flatnonzero(self.indicator_)

    # ------------------------------------------------------------------------------------ files and copies

    def get_config(self) -> dict[str, Any]:
        """Return class name and arguments as data for JSON."""
        return {"type": type(self).__name__, "missing": self.missing}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of the fitted arrays.

        Returns
        -------
        dict of str to ndarray
            Of a `Standardizer` "mean" and "scale", of a `RobustScaler` "center" and "scale", each float64 (features,).
            Unless ``missing="error"`` also "indicator", of zeros and ones.

        Raises
        ------
        ValueError
            If the scaler is not fitted.
        """
        state: dict[str, NDArray[Any]] = {self._center: self.center().copy(), "scale": self.scale_.copy()}
        return state if self.missing == "error" else {**state, "indicator": self.indicator_.astype(np.float64)}

    def load_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Set the fitted arrays to those that `state` has returned.

        Parameters
        ----------
        state : mapping of str to array

        Raises
        ------
        TypeError, ValueError
            If an array is missing, not numeric, of the wrong shape, not finite, or a scale is not positive. Nothing has
            changed.
        """
        center, scale = self._arrays_of(state, (self._center, "scale"))
        if center.ndim != 1 or center.shape != scale.shape or center.size == 0:
            raise ValueError(
                f"got a {self._center} of shape {center.shape} and a scale of shape {scale.shape}, expected "
                "(features,) for both"
            )
        if not (np.isfinite(center).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"the state of a {type(self).__name__} must be finite, with positive scales")
        indicator = self._indicator_of(state, scale.size)
        vars(self).update({f"{self._center}_": center, "scale_": scale, "indicator_": indicator, "_draft": None})

    def _arrays_of(self, state: Mapping[str, ArrayLike], names: tuple[str, ...]) -> list[NDArray[np.float64]]:
        """Return arrays of a state in float64."""
        wanted = names if self.missing == "error" else (*names, "indicator")
        if not isinstance(state, Mapping) or not set(wanted) <= set(state):
            expected = " and ".join(map(repr, wanted))
            raise ValueError(f"got the state {short_repr(state)} of a {type(self).__name__}, expected {expected}")
        with np.errstate(over="ignore"):
            return [np.array(as_numeric(state[key], False, key), np.float64) for key in names]

    def _indicator_of(self, state: Mapping[str, ArrayLike], features: int) -> NDArray[np.bool_]:
        if self.missing == "error":
            return np.zeros(features, bool)
        indicator = np.asarray(as_numeric(state["indicator"], False, "indicator"))
        every = self.missing == "mask-all"
        if indicator.shape != (features,) or not np.isin(indicator, [1] if every else [0, 1]).all():
            raise ValueError(
                f"got the indicator {short_repr(indicator)}, expected {'ones' if every else 'zeros and ones'} for "
                f"{features} features"
            )
        return indicator.astype(bool)

    @classmethod
    def from_state(cls: type[_Self], state: Mapping[str, ArrayLike], **settings: Any) -> _Self:
        """Return a fitted scaler, made from the arrays that `state` returned.

        Parameters
        ----------
        state : mapping of str to array
            As `state` returns it.
        **settings
            Arguments of the constructor.

        Returns
        -------
        Scaler

        Raises
        ------
        TypeError, ValueError
            If an array is missing, not numeric, of the wrong shape, not finite, or a scale is not positive.
        """
        scaler = cls(**settings)
        scaler.load_state(state)
        return scaler

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scaler) or self.get_config() != other.get_config() or self.fitted != other.fitted:
            return False
        if not self.fitted:
            return True
        mine, theirs = self.state(), other.state()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        defaults = type(self)().get_config()
        settings = [f"{name}={value!r}" for name, value in self.get_config().items() if value != defaults[name]]
        return f"{type(self).__name__}({', '.join([*settings, self._fit_text()])})"

    def _fit_text(self) -> str:
        return "not fitted" if self.features is None else f"{self.features} features"

    # ------------------------------------------------------------------------------------ checks

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise ValueError(f"this {type(self).__name__} is not fitted: call fit(X_train) first")

    def _check_features(self, x: NDArray[Any]) -> None:
        """Raise ValueError if the scaler is not fitted, or x has another number of features."""
        self._check_fitted()
        features = self.features
        if x.shape[-1:] != (features,) and not (features == 1 and x.ndim <= 2):
            raise ValueError(
                f"got an array of shape {x.shape}, expected {features} features, as fitted, on the last "
                f"axis: for a (batch, time) array of one channel fit the {type(self).__name__} on X[:, :, None]"
            )

    def _with_features(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x with an axis of features, if channels are added and the axis of one feature is left out."""
        one = self.features == 1 and (x.ndim == 1 or (x.ndim == 2 and x.shape[1] != 1))
        return x[..., None] if one and self.added_channels else x

    def _refuse_missing(self, x: NDArray[Any], lengths: NDArray[np.int64] | None) -> None:
        """Raise ValueError if a value of x is missing in a feature without an indicator channel."""
        self._check_features(x)
        known = self.may_be_missing
        if known is None or known.all():
            return
        absent = np.isnan(x) & ~known
        if lengths is not None:
            absent &= (np.arange(x.shape[1]) < lengths[:, None])[..., None]
        if absent.any():
            place = [int(i) for i in np.argwhere(absent)[0]]
            raise ValueError(f"X holds nan at {place}, expected a number: {missing_cure(place[-1])}")


def scaler_from_config(config: Mapping[str, Any]) -> Scaler:
    """Return the scaler, not fitted, that `Scaler.get_config` describes; TypeError or ValueError if there is none."""
    if not isinstance(config, Mapping):
        raise TypeError(f"a scaler is described by {short_repr(config)}, expected an object")
    settings = dict(config)
    kind = one_of("the type of a scaler", settings.pop("type", None), sorted(Scaler._kinds))
    return Scaler._kinds[kind](**settings)


def source_of(X: Any, lengths: ArrayLike | None) -> Sequences | Targets:
    """Wrap the data of `Scaler.fit`."""
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


def rows_of(source: Sequences | Targets) -> Iterator[NDArray[Any]]:
    """Yield the steps that count, or the targets, in blocks (rows, F)."""
    if isinstance(source, Targets):
        return source.blocks()
    return source.unmasked_blocks()


def _float_copy(X: ArrayLike) -> NDArray[Any]:
    array = as_numeric(X, False, "X")
    with np.errstate(over="ignore"):
        dtype = array.dtype.newbyteorder("=")
        return np.array(array, dtype if dtype in (np.float32, np.float64) else np.float64, order="C")
