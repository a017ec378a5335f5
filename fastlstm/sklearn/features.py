"""Features of time series from the states of an LSTM."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._typing import Array
from ..data.scaler import Missing
from ..layers import LSTM, Layer, MaxPool, MeanPool
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.anomaly import detector_layers, detector_scaler, window_pairs
from ..tasks.series import Series, listed_cases
from .base import SeriesEstimator

__all__ = ["LSTMFeatures"]


class LSTMFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SeriesEstimator):
    """Transformer from series to vectors: the state of an LSTM that has learnt to forecast the next step.

    It needs no labels, so that it can learn from more data than are labelled; a linear model may follow.

    Parameters
    ----------
    hidden_size : int, default 64
        Number of features.
    method : {"forecast", "random"}, default "forecast"
        "random" does not train the network: a reservoir, as in echo state networks.
    pooling : {"last", "mean", "max"}, default "last"
        The last state, or the mean or the largest value over the steps.
    window : int, default 128
        Steps that the network is trained on at a time.
    missing : {"error", "mask", "mask-all"}, default "error"
        Whether values of the series may be missing (NaN), as in `LSTMClassifier`.
    num_layers : int, default 1
        LSTM layers.
    dropout : float, default 0.0
        Dropout between the LSTM layers.
    precision : {"float32", "bfloat16"}, default "float32"
        Type to which the operands of the LSTM's matrix products are rounded; "bfloat16" is faster for large layers on
        some processors, see docs/bfloat16.md.
    optimizer : str or Optimizer, default "adam"
        A name, or an object, of which a copy is used; it then sets the rate, the weight decay and the clipping.
    learning_rate : float, default 3e-3
        Learning rate; with a schedule the highest one.
    schedule : {"cosine"} or None, default "cosine"
        "cosine" lowers the rate to a hundredth over the run.
    weight_decay : float, default 0.0
        See `fastlstm.Adam`.
    clip_norm : float or None, default 1.0
        Largest 2-norm of the gradient.
    batch_size : int or "auto", default "auto"
        Cases of an update; "auto": a tenth of the cases, from 4 to 32.
    epochs : int or "auto", default "auto"
        Passes over the data; "auto": enough for 1000 updates, from 30 to 500.
    warm_start : bool, default False
        Whether another `fit` continues from the current weights.
    random_state : int, RandomState or None, default None
        Seed of the weights, the order of the cases, the dropout and the part that is held out.
    n_jobs : int or None, default None
        Threads; None: as configured (`fastlstm.set_num_threads`), -1: one for each processor. The result does not
        depend on it.
    verbose : {0, 1, 2}, default 0
        As in `Model.fit`.

    Attributes
    ----------
    n_features_in_ : int
        Steps of a case if X was (n, time), else channels.
    feature_names_in_ : ndarray of str
        Names of the columns of a table (n, time).
    channel_names_ : tuple of str or None
        Names of the channels, if X was a list of tables.
    n_iter_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1.
    loss_curve_ : list of float
        Training loss of each epoch.
    history_ : History
        Record of the last call of `fit`.
    model_ : Model
        The network.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from fastlstm.sklearn import LSTMFeatures
    >>> X = np.random.default_rng(0).standard_normal((60, 20)).cumsum(axis=1)
    >>> pipeline = make_pipeline(LSTMFeatures(8, epochs=5, random_state=0), LogisticRegression())
    >>> pipeline.fit(X, X[:, -1] > 0).score(X, X[:, -1] > 0) > 0.9
    True
    """

    _forecaster: Model
    saved_attributes: ClassVar[tuple[str, ...]] = ("_n_features_out",)

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: value
            for name, value in SeriesEstimator._parameter_constraints.items()
            if name
            not in (
                "bidirectional",
                "layers",
                "scaler",
                "early_stopping",
                "validation_fraction",
                "n_iter_no_change",
            )
        },
        "method": [StrOptions({"forecast", "random"})],
        "pooling": [StrOptions({"last", "mean", "max"})],
        "window": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        method: Literal["forecast", "random"] = "forecast",
        pooling: Literal["last", "mean", "max"] = "last",
        window: int = 128,
        missing: Missing = "error",
        num_layers: int = 1,
        dropout: float = 0.0,
        precision: Literal["float32", "bfloat16"] = "float32",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 3e-3,
        schedule: Literal["cosine"] | None = "cosine",
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        batch_size: int | Literal["auto"] = "auto",
        epochs: int | Literal["auto"] = "auto",
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.method = method
        self.pooling = pooling
        self.window = window
        self.missing = missing
        self.num_layers = num_layers
        self.dropout = dropout
        self.precision = precision
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.batch_size = batch_size
        self.epochs = epochs
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, *, lengths: ArrayLike | None = None) -> LSTMFeatures:
        """Train the network to forecast each next step.

        Parameters
        ----------
        X : array (n, time) or (n, time, channels), or list of series
            As in `LSTMClassifier.fit`.
        y : ignored
        lengths : int array (n,), optional
            Valid steps of each case of an array.

        Returns
        -------
        LSTMFeatures
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter do not fit.
        """
        series = listed_cases(self._read(X, lengths, reset=True))
        self._warn_of_short_rows(X)
        channels = series[0].shape[1]
        seed, order = self._seeds()
        if not (self.warm_start and hasattr(self, "_forecaster")):
            scaler = detector_scaler(series, series, self.missing)
            layers = detector_layers("forecast", channels, self.window, self.hidden_size, self.num_layers, self.dropout)
            self.model_ = Model(layers, precision=self.precision, seed=seed, scaler=scaler, input_size=channels)
            self.shuffle_seed_ = order
        else:
            self.model_ = self._forecaster
        forecaster = self.model_
        assert forecaster.scaler is not None
        inputs, targets = window_pairs("forecast", series, self.window, forecaster.scaler)
        if self.method == "forecast" and inputs:
            self._train(Series(inputs, None), targets, "mse", self._recipe(), self.shuffle_seed_)
        else:
            self.n_iter_ = self.best_epoch_ = 0
            self.loss_curve_ = []
        self._forecaster = forecaster
        self.model_ = self._features_of(forecaster)
        self._n_features_out = self.hidden_size
        return self

    def _features_of(self, forecaster: Model) -> Model:
        """Return a model of the LSTM alone."""
        last = self.pooling == "last"
        layers: list[Layer] = [LSTM(self.hidden_size, num_layers=self.num_layers, return_sequences=not last)]
        if not last:
            layers.append(MeanPool() if self.pooling == "mean" else MaxPool())
        model = Model(
            layers, input_size=forecaster.input_size, precision=forecaster.precision, scaler=forecaster.scaler
        )
        weights = forecaster.state_dict()
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        return model

    def transform(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the features of each case.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray of float32, shape (n, hidden_size)
        """
        return self._outputs(X, lengths)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
