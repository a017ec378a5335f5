"""Detection of anomalies in time series."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import _exact
from .._arrays import as_numeric
from .._typing import Array
from ..data.scaler import Missing
from ..inference.stream import Stream
from ..metrics.anomaly import Event, events
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.anomaly import (
    METHODS,
    Method,
    StepScorer,
    calibrated,
    check_length,
    detector_layers,
    detector_scaler,
    normal_parts,
    plan,
    series_scores,
    window_pairs,
)
from ..tasks.series import Series, listed_cases
from .base import SeriesEstimator

__all__ = ["AnomalyStream", "LSTMAnomalyDetector"]


class LSTMAnomalyDetector(OutlierMixin, SeriesEstimator):
    """Detector of anomalies in time series, trained on normal data.

    A network learns to forecast the next step of normal series, or to reconstruct windows of them. The score of a step
    is its squared error relative to that on normal data that were held out, so that normal steps have scores of about
    1. The score of a case is the mean over its steps. Of the first steps of a series, the `warmup`, a forecaster
    knows too little: their score is 0, and they count nowhere.

    Parameters
    ----------
    method : {"forecast", "reconstruction"}, default "forecast"
        "forecast" can score a stream; "reconstruction" reads whole windows.
    window : int or "auto", default "auto"
        Steps that the network is trained on at a time; "auto": 64, or as many as the shortest of several series has, or
        a quarter of a single one.
    warmup : int or "auto", default "auto"
        Steps at the start of each series that are not scored by ``method="forecast"``, because the network has seen too
        little to expect anything; "auto": an eighth of `window`, at least 1.
    quantile : float, default 0.99
        Share of the normal data that were held out whose scores are below the thresholds.
    missing : {"error", "mask", "mask-all"}, default "error"
        Whether values of the series may be missing (NaN), as in `LSTMClassifier`. A missing value is not scored: the
        score of a step is the mean over the channels whose values are known, and 0 if there are none.
    hidden_size : int, default 32
        Units of each LSTM layer.
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
    early_stopping : bool, default False
        Whether to stop when the loss on the data that are held out no longer improves, and to keep the best weights.
    validation_fraction : float, default 0.2
        Share that is held out, for the thresholds: the last cases, or the last part of a single one, after a
        gap of a window.
    n_iter_no_change : int, default 10
        Epochs without improvement after which the training stops.
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
    threshold_ : float
        Score above which a step is an anomaly.
    offset_ : float
        ``score_samples`` below which a case is an anomaly.
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
    >>> from fastlstm.sklearn import LSTMAnomalyDetector
    >>> t = np.arange(2000)
    >>> signal = np.sin(t / 5) + np.random.default_rng(0).normal(0, 0.1, 2000)
    >>> detector = LSTMAnomalyDetector(hidden_size=8, random_state=0).fit(signal[None, :1500])
    >>> signal[1800:1810] = 3
    >>> scores = detector.score_steps(signal[None, 1500:, None])[0]
    >>> int(scores.argmax()) in range(300, 312)
    True
    """

    saved_attributes: ClassVar[tuple[str, ...]] = ("threshold_", "offset_", "window_", "warmup_", "normal_error_")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: value
            for name, value in SeriesEstimator._parameter_constraints.items()
            if name not in ("bidirectional", "pooling", "layers", "scaler")
        },
        "method": [StrOptions(set(METHODS))],
        "window": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "warmup": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        method: Method = "forecast",
        *,
        window: int | Literal["auto"] = "auto",
        warmup: int | Literal["auto"] = "auto",
        quantile: float = 0.99,
        missing: Missing = "error",
        hidden_size: int = 32,
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
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.window = window
        self.warmup = warmup
        self.quantile = quantile
        self.missing = missing
        self.hidden_size = hidden_size
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, *, lengths: ArrayLike | None = None) -> LSTMAnomalyDetector:
        """Train on normal series, and measure the scores of those that are held out.

        Parameters
        ----------
        X : array (n, time) or (n, time, channels), or list of series
            As in `LSTMClassifier.fit`; one long series is ``X[None]``.
        y : ignored
        lengths : int array (n,), optional
            Valid steps of each case of an array.

        Returns
        -------
        LSTMAnomalyDetector
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter do not fit.
        """
        series = listed_cases(self._read(X, lengths, reset=True))
        self._warn_of_short_rows(X)
        window, warmup = plan(series, self.method, self.window, self.warmup)
        train, held = normal_parts(series, self.method, self.validation_fraction, window, warmup)
        if held is None:
            warnings.warn(
                f"X is one series of {len(series[0])} steps, too short to hold out a part after a gap of the window of "
                f"{window}: the thresholds come from the training data, on which scores are too low, so that normal "
                "steps will exceed them more often. Pass a longer series or a smaller window",
                UserWarning,
                stacklevel=3,  # fit is wrapped once
            )
            held = train
        seed, order = self._seeds()
        if not (self.warm_start and hasattr(self, "model_")):
            scaler = detector_scaler(train, series, self.missing)
            layers = detector_layers(
                self.method, series[0].shape[1], window, self.hidden_size, self.num_layers, self.dropout
            )
            self.model_ = Model(layers, precision=self.precision, seed=seed, scaler=scaler)
            self.shuffle_seed_, self.window_, self.warmup_ = order, window, warmup
        assert self.model_.scaler is not None
        pairs = [window_pairs(self.method, part, window, self.model_.scaler) for part in (train, held)]
        (inputs, targets), (held_inputs, held_targets) = pairs
        self._train(
            Series(inputs, None),
            targets,
            "mse",
            self._recipe(),
            self.shuffle_seed_,
            validation=(held_inputs, held_targets) if self.early_stopping else None,
        )
        self._measure(held)
        return self

    def _measure(self, held: list[Array]) -> None:
        """Set the thresholds from normal data."""
        found = calibrated(self.model_, self.method, held, self.window_, self.warmup_, self.quantile, self._threads)
        self.normal_error_, self.threshold_, self.offset_ = found

    def score_steps(self, X: Any, *, lengths: ArrayLike | None = None) -> list[Array]:
        """Return the score of each step of each case: about 1 for normal steps, large for anomalies, 0 in the warm-up.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        list of ndarray of float64, each (T_i,)
        """
        check_is_fitted(self)
        series = listed_cases(self._read(X, lengths, reset=False))
        check_length(series, self.method, self.window_, self.warmup_)
        return series_scores(
            self.model_, self.method, series, self.window_, self.warmup_, self.normal_error_, self._threads
        )

    def events(
        self,
        X: Any,
        *,
        threshold: float | None = None,
        min_gap: int = 1,
        min_length: int = 1,
        lengths: ArrayLike | None = None,
    ) -> list[list[Event]]:
        """Return the events of each case: the runs of steps whose score is above the threshold.

        They are those of `fastlstm.metrics.anomaly.events` for the scores of `score_steps`.

        Parameters
        ----------
        X, lengths
            As in `fit`.
        threshold : float, optional
            The threshold; by default ``threshold_``.
        min_gap : int, default 1
            Smallest number of steps between two events; nearer ones are joined.
        min_length : int, default 1
            Smallest number of steps of an event; shorter ones are dropped, after joining.

        Returns
        -------
        list of list of Event
            For each case tuples ``(start, stop, peak, score)`` in the order of time; ``X[i][start:stop]`` are the steps
            of an event of case i, `peak` is the step with the highest score.

        Raises
        ------
        TypeError, ValueError
            If X or an argument does not fit.

        Examples
        --------
        >>> import numpy as np
        >>> from fastlstm.sklearn import LSTMAnomalyDetector
        >>> signal = np.sin(np.arange(900) / 5) + np.random.default_rng(0).normal(0, 0.1, 900)
        >>> detector = LSTMAnomalyDetector(hidden_size=8, epochs=100, random_state=0).fit(signal[None, :600, None])
        >>> signal[800:805] = 9
        >>> found = detector.events(signal[None, 600:, None], threshold=50, min_gap=10)[0]
        >>> [200 <= event.peak <= 206 for event in found]
        [True]
        """
        check_is_fitted(self)
        limit = self.threshold_ if threshold is None else threshold
        scores = self.score_steps(X, lengths=lengths)
        return [events(one, limit, min_gap=min_gap, min_length=min_length) for one in scores]

    def score_samples(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return minus the mean score of the steps of each case: the larger, the more normal.

        The steps of the warm-up are left out of the mean.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray, shape (n,)
        """
        return np.array([-_exact.mean(one[self.warmup_ :]) for one in self.score_steps(X, lengths=lengths)])

    def decision_function(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return ``score_samples(X) - offset_``, which is negative for anomalies.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray, shape (n,)
        """
        return self.score_samples(X, lengths=lengths) - self.offset_

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return 1 for normal cases and -1 for anomalies.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray of int, shape (n,)
        """
        return np.where(self.decision_function(X, lengths=lengths) >= 0, 1, -1)

    def stream(self, batch_size: int = 1) -> AnomalyStream:
        """Return a stream that scores each step as it arrives.

        Parameters
        ----------
        batch_size : int, default 1
            Number of parallel series.

        Raises
        ------
        ValueError
            If `method` is not "forecast".
        """
        check_is_fitted(self)
        if self.method != "forecast":
            raise ValueError('LSTMAnomalyDetector(method="reconstruction") reads whole windows: use method="forecast"')
        return AnomalyStream(self, self.model_.stream(batch_size, n_threads=self._threads))


class AnomalyStream:
    """Scores of the steps of one or more series as they arrive; `LSTMAnomalyDetector.stream` makes it."""

    def __init__(self, detector: LSTMAnomalyDetector, stream: Stream) -> None:
        self._detector = detector
        scaler = detector.model_.scaler
        assert scaler is not None
        self._scorer = StepScorer(stream, scaler, detector.warmup_, detector.normal_error_)

    def step(self, x: ArrayLike) -> Array:
        """Return the scores of the next step, those of `score_steps`.

        Parameters
        ----------
        x : array (batch_size, channels)

        Returns
        -------
        ndarray of float64, shape (batch_size,)
        """
        array = np.ascontiguousarray(as_numeric(x, False, "x"))
        return self._scorer.step(array if array.dtype in (np.float32, np.float64) else array.astype(np.float64))

    def is_anomaly(self, scores: Array) -> Array:
        """Return which scores exceed the detector's threshold.

        Parameters
        ----------
        scores : ndarray

        Returns
        -------
        ndarray of bool
        """
        return np.asarray(scores > self._detector.threshold_)
