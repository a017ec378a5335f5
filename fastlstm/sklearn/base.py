"""What the estimators share: their data, their training, their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .._checks import short_repr
from .._foreign import cure, type_name
from .._typing import Array
from ..data import Standardizer
from ..layers import Layer
from ..losses import Loss
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.described import FITTED, description, save_described
from ..tasks.network import POOLINGS, Pooling, network_layers
from ..tasks.series import Series, is_list_of_series, read_series, warn_of_axes
from ..tasks.training import Recipe, train
from ..training.history import History

__all__ = ["SeriesEstimator"]


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
        "scaler": [None, StrOptions({"standard"})],
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
        pooling: Pooling,
        layers: Sequence[Layer] | None,
        scaler: Literal["standard"] | None,
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
        self.scaler = scaler
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

    # ------------------------------------------------------------------------------------------ data

    def _read(self, X: Any, lengths: Any, reset: bool) -> Series:
        """Return the cases; with `reset` store the number and the names of the features, else compare them."""
        if X is not None and not hasattr(X, "__len__") and cure(X, "X") is not None:
            raise TypeError(f"X is a {type_name(X)}, expected an array or a list of series: {cure(X, 'X')}")
        if is_list_of_series(X) or getattr(X, "ndim", 2) == 3:
            return self._read_series(X, lengths, reset)
        if not reset and self.input_ndim_ == 3 and self._channels == 1:
            table = check_array(X)
        else:
            table = validate_data(self, X, reset=reset)
        if reset:
            self.input_ndim_ = 2
        if lengths is not None:
            return read_series(table, lengths)
        return Series(table[:, :, None], None)

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
            pooling=self.pooling,
            layers=self.layers,
        )

    def _new_scaler(self) -> Standardizer | None:
        return None if self.scaler is None else Standardizer()

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
        check_is_fitted(self)
        if getattr(self, "layers", None) is None and getattr(self, "bidirectional", False):
            raise ValueError(
                f"{type(self).__name__}(bidirectional=True) needs the end of a series, so it cannot answer step by "
                "step: fit one with bidirectional=False"
            )
        return self.model_.stream(batch_size, n_threads=self._threads)

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
