"""What the estimators share: their data, their training, their files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .._checks import short_repr
from .._foreign import cure, is_frame, type_name
from .._typing import Array
from ..data import Scaler
from ..data.scaler import Missing
from ..layers import Layer
from ..losses import Loss
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.described import FITTED, description, save_described
from ..tasks.network import POOLINGS, Pooling, directed_pooling, network_layers
from ..tasks.scaling import Scaling, input_scaler
from ..tasks.series import Series, is_list_of_series, read_series, warn_of_axes
from ..tasks.training import Recipe, train
from ..training.history import History

if TYPE_CHECKING:
    from ..formats.c.report import CReport

__all__ = ["SeriesEstimator"]

_FEW_STEPS = 10
_MANY_ROWS = 500


class SeriesEstimator(BaseEstimator):
    """Base class of the estimators: a network for series, and its training."""

    classes_: Array
    n_features_in_: int
    model_: Model
    history_: History
    loss_curve_: list[float]
    n_iter_: int
    best_epoch_: int
    shuffle_seed_: int
    """Seed of the order of the cases, the same in all calls that go on."""
    input_ndim_: int
    """2 if X was (n, time), 3 otherwise."""
    saved_attributes: ClassVar[tuple[str, ...]] = ()
    """Attributes of a fitted estimator that its file holds, besides those of every estimator."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "pooling": [StrOptions(set(POOLINGS))],
        "layers": [None, list, tuple],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "scaler": [None, StrOptions({"standard", "robust"})],
        "missing": [StrOptions({"error", "mask", "mask-all"})],
        "optimizer": [str, Optimizer],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [None, StrOptions({"cosine"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [
            None,
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
        ],
        "verbose": [Interval(Integral, 0, 2, closed="both"), "boolean"],
    }

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        pooling: Pooling | Literal["auto"],
        layers: Sequence[Layer] | None,
        precision: Literal["float32", "bfloat16"],
        scaler: Scaling | None,
        missing: Missing,
        optimizer: str | Optimizer,
        learning_rate: float,
        schedule: Literal["cosine"] | None,
        weight_decay: float,
        clip_norm: float | None,
        batch_size: int | Literal["auto"],
        epochs: int | Literal["auto"],
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        warm_start: bool,
        random_state: int | np.random.RandomState | None,
        n_jobs: int | None,
        verbose: int,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.pooling = pooling
        self.layers = layers
        self.precision = precision
        self.scaler = scaler
        self.missing = missing
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def check_parameters(self) -> None:
        """Raise ValueError if a parameter is wrong; `fit` does the same."""
        self._validate_params()

    @property
    def _takes_missing(self) -> bool:
        """Whether values of the series may be missing (NaN)."""
        return getattr(self, "missing", "error") != "error"

    # ------------------------------------------------------------------------------------------ data

    def _read(self, X: Any, lengths: Any, reset: bool) -> Series:
        """Return the cases; with `reset` store the number and the names of the features, else compare them."""
        if X is not None and not hasattr(X, "__len__") and cure(X, "X") is not None:
            raise TypeError(f"X is a {type_name(X)}, expected an array or a list of series: {cure(X, 'X')}")
        if is_list_of_series(X) or getattr(X, "ndim", 2) == 3:
            return self._read_series(X, lengths, reset)
        self._refuse_other_forms(X, reset)
        finite: Any = "allow-nan" if self._takes_missing else True
        with self._advice_on_missing("X"):
            if not reset and self.input_ndim_ == 3 and self._channels == 1:
                table = check_array(X, ensure_all_finite=finite)
            else:
                table = validate_data(self, X, reset=reset, ensure_all_finite=finite)
        if reset:
            self.input_ndim_ = 2
        if lengths is not None:
            return read_series(table, lengths)
        return Series(table[:, :, None], None)

    def _refuse_other_forms(self, X: Any, reset: bool) -> None:
        """Raise ValueError or TypeError if X is one series, or a table that cannot be series of one channel."""
        if getattr(X, "ndim", 2) == 1 and len(X):
            array = "X" if isinstance(X, np.ndarray) else "X.to_numpy()"
            raise ValueError(
                f"X is a 1D array of shape ({len(X)},), expected (n, time) or (n, time, channels). Reshape your data: "
                f"{array}[None] is one series of {len(X)} steps"
            )
        if not is_frame(X):
            return
        if not reset and getattr(self, "channel_names_", None) is not None:
            raise ValueError(
                f"X is a table, and {type(self).__name__} was fitted on a list of tables, one for each series: pass "
                "[X], or divide it by a column: [one for _, one in X.groupby('id')]"
            )
        others = [name for name in X.columns if not _is_numeric(X[name])]
        if others:
            raise TypeError(
                f"X has columns that are not numbers, {short_repr(others)}: leave them out, {_without(X, others)}; or "
                "read a table with a row for each step by fl.data.from_frame"
            )

    def _warn_of_short_rows(self, X: Any) -> None:
        """Warn if the rows of a table or array, which are series, may have been meant as the steps of one."""
        shape = tuple(getattr(X, "shape", ()))
        if len(shape) == 2 and shape[1] < _FEW_STEPS and shape[0] > _MANY_ROWS:
            array = "X" if isinstance(X, np.ndarray) else "numpy.asarray(X)"
            warnings.warn(
                f"X has shape {shape}, which is {shape[0]} series of {shape[1]} steps. If its rows are the steps of "
                f"one series and its columns the channels, pass {array}[None]",
                UserWarning,
                stacklevel=4,  # fit is wrapped once
            )

    @contextmanager
    def _advice_on_missing(self, name: str) -> Iterator[None]:
        """Return a context in which scikit-learn's refusal of NaN says what to type."""
        try:
            yield
        except ValueError as error:
            if f"{name} contains NaN" not in str(error):
                raise
            advice = ": fill missing values"
            if "missing" in self.get_params(deep=False):
                advice += f", or set missing='mask' in {type(self).__name__}, which reads them"
            raise ValueError(f"Input {name} contains NaN{advice}") from None

    def _read_series(self, X: Any, lengths: Any, reset: bool) -> Series:
        names = None if reset else getattr(self, "channel_names_", None)
        series = read_series(X, lengths, names=names)
        if reset:
            if isinstance(X, np.ndarray):
                warn_of_axes(X)
            self.n_features_in_ = series.channels
            self.input_ndim_ = 3
            self.channel_names_ = series.names
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif series.channels != self._channels:
            raise ValueError(
                f"X has {series.channels} channels, but {type(self).__name__} was fitted with {self._channels}"
            )
        return series

    @property
    def _channels(self) -> int:
        return 1 if self.input_ndim_ == 2 else self.n_features_in_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self._takes_missing
        tags.non_deterministic = False
        return tags

    # ------------------------------------------------------------------------------------------ training

    def _seeds(self) -> tuple[int, int]:
        """Return the seeds of the model and of the order of the cases."""
        draws = check_random_state(self.random_state).randint(2**31 - 1, size=2)
        return int(draws[0]), int(draws[1])

    def _new_layers(self, outputs: int | None) -> list[Layer]:
        return network_layers(
            outputs,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=bool(self.bidirectional),
            dropout=self.dropout,
            pooling=directed_pooling(self.pooling, bool(self.bidirectional)),
            layers=self.layers,
        )

    def _new_scaler(self, series: Series) -> Scaler | None:
        """Return the scaler of a new model; with ``missing="mask"`` it is fitted, as its channels must be known."""
        return input_scaler(self.scaler, self.missing, series)

    @staticmethod
    def _validation_members(given: Any) -> tuple[Any, Any, Any]:
        """Return X, y and lengths of `validation_data`."""
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise ValueError(f"validation_data must be (X, y) or (X, y, lengths), got {short_repr(given)}")
        X, y, lengths = (*given, None)[:3]
        return X, y, lengths

    def _recipe(self, **changes: Any) -> Recipe:
        names = Recipe.__dataclass_fields__
        given = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return Recipe(**{**given, "verbose": int(self.verbose), "n_threads": self._threads, **changes})

    @property
    def _threads(self) -> int | None:
        return None if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _train(self, series: Series, y: Any, loss: Loss | str, recipe: Recipe, seed: int, **options: Any) -> None:
        """Train `model_`, and store the record."""
        if self.model_.loss is None or not hasattr(self, "_optimizer"):  # a new model
            self._optimizer = recipe.new_optimizer()
        elif recipe.constant and not isinstance(self.optimizer, Optimizer):
            self._optimizer.lr = recipe.learning_rate
        names = getattr(self, "channel_names_", None)
        if names is not None:
            self.model_.feature_names = list(names)
        history, stop = train(self.model_, series, y, recipe, loss, self._optimizer, seed=seed, **options)
        earlier = self.loss_curve_ if history.first_epoch > 1 and hasattr(self, "loss_curve_") else []
        self.history_ = history
        self.loss_curve_ = [*earlier, *history.history["loss"]]
        self.n_iter_ = history.first_epoch - 1 + history.epochs
        best = None if stop is None else stop.best_epoch
        self.best_epoch_ = self.n_iter_ if best is None else best

    def _outputs(self, X: Any, lengths: Any) -> Array:
        """Return what the model predicts, as an array."""
        check_is_fitted(self)
        series = self._read(X, lengths, reset=False)
        return np.asarray(self.model_.predict(series.data, series.lengths, n_threads=self._threads))

    # ------------------------------------------------------------------------------------------ deployment

    def stream(self, batch_size: int = 1) -> Any:
        """Return a stream of the model: its answers step by step; see `Model.stream`.

        Raises
        ------
        ValueError
            If the network needs the end of a series, as with ``bidirectional=True``.
        """
        self._check_causal()
        return self.model_.stream(batch_size, n_threads=self._threads)

    def to_c(self, name: str, directory: str | os.PathLike[str] | None = None, **options: Any) -> CReport:
        """Write the model as C for microcontrollers; see `Model.to_c`.

        Raises
        ------
        ValueError
            If the network needs the end of a series, as with ``bidirectional=True``.
        """
        self._check_causal()
        return self.model_.to_c(name, directory, **options)

    def _check_causal(self) -> None:
        check_is_fitted(self)
        if getattr(self, "layers", None) is None and getattr(self, "bidirectional", False):
            raise ValueError(
                f"{type(self).__name__}(bidirectional=True) needs the end of a series, so it cannot answer step by "
                "step: fit one with bidirectional=False"
            )

    def quantize(self, X: Any = None, *, lengths: ArrayLike | None = None, skip: Sequence[int] | int = ()) -> Any:
        """Return a copy of this estimator whose network has weights of 8 bits; see `Model.quantize`.

        Parameters
        ----------
        X, lengths
            Typical series, as in `fit`; some hundred are enough. None: each row of inputs has its own scale.
        skip : int or list of int, optional
            Numbers of layers of ``model_`` that keep their weights.

        Returns
        -------
        estimator
            Its ``model_.quantization_report`` says what has changed. It predicts and is saved; `partial_fit` is
            refused, and `fit` begins anew with weights of float32.
        """
        check_is_fitted(self)
        series = None if X is None else self._read(X, lengths, reset=False)
        made = copy(self)
        made.model_ = self.model_.quantize(
            None if series is None else series.data,
            None if series is None else series.lengths,
            skip=skip,
            n_threads=self._threads,
        )
        return made

    def to_onnx(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the model to an ONNX file; see `Model.to_onnx`."""
        check_is_fitted(self)
        self.model_.to_onnx(path, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted estimator to one ``.safetensors`` file, which `fastlstm.sklearn.load` reads.

        `fastlstm.load` reads the model in it.

        Raises
        ------
        ValueError
            If a setting cannot be saved.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        described = description(
            type(self).__name__,
            self.get_params(deep=False),
            {name: getattr(self, name) for name in (*FITTED, *self.saved_attributes)},
            channel_names=getattr(self, "channel_names_", None),
            feature_names=getattr(self, "feature_names_in_", None),
            classes=getattr(self, "classes_", None),
        )
        save_described(path, self.model_, described)


def _is_numeric(column: Any) -> bool:
    """Return whether the column of a table can be read as numbers."""
    if hasattr(column.dtype, "is_numeric"):  # polars
        return bool(column.dtype.is_numeric()) or str(column.dtype) in ("Boolean", "Null")
    kind = getattr(column.dtype, "kind", "O")
    return kind in "biuf" or (kind == "O" and not any(isinstance(one, str) for one in column[:1000]))


def _without(table: Any, names: list[Any]) -> str:
    return f"X.drop({names!r})" if not hasattr(table, "iloc") else f"X.drop(columns={names!r})"
