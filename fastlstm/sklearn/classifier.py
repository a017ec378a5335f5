"""Classification of time series."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d

from .. import _exact
from .._foreign import is_missing
from .._typing import Array
from ..data import Scaler
from ..data.scaler import Missing
from ..layers import Layer
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.answers import class_probabilities
from ..tasks.network import POOLINGS, Pooling
from ..tasks.preparation import preparing_layers
from ..tasks.scaling import Scaling
from ..tasks.series import Series
from ..tasks.training import CLASSIFIER_UPDATES
from ..training.callbacks import Callback
from .base import SeriesEstimator

__all__ = ["LSTMClassifier"]


class LSTMClassifier(ClassifierMixin, SeriesEstimator):
    """Classifier of time series: an LSTM, a pool over its steps, and a softmax.

    Parameters
    ----------
    hidden_size : int, default 64
        Units of each LSTM layer and direction.
    num_layers : int, default 1
        LSTM layers.
    bidirectional : bool, default True
        Whether series are read in both directions; such a classifier has no `stream`.
    dropout : float, default 0.0
        Dropout between the LSTM layers and before the output.
    pooling : {"auto", "last", "mean", "max", "attention", "concat"}, default "auto"
        How the outputs of the steps become one vector per series; "last" is the state at the last step, "concat" that
        state, the maximum and the mean, see `fastlstm.ConcatPool`. "auto": "concat" with ``bidirectional=True``, else
        "max", which streams.
    deviations : bool or "auto", default "auto"
        Whether the network also reads how far each step is from the mean series of the training data; see
        `fastlstm.Deviations`. "auto": yes with ``bidirectional=True``, unless `layers` are given, if all series have
        the same number of steps and are nearly alike, as spectra are.
    differences : bool or "auto", default "auto"
        Whether the network also reads the change of each channel since the step before, scaled to the deviation of the
        values; see `fastlstm.Differences`. "auto": yes with ``bidirectional=True``, unless `layers` are given.
    stride : int or "auto", default "auto"
        Steps of a series for which the LSTM takes one step: above 1 it reads groups of ``2 * stride`` steps, see
        `fastlstm.StackSteps`. "auto": so many that the LSTM takes about 100 steps on the longest series, with
        ``bidirectional=True``; else, and if `layers` are given, 1.
    layers : list of Layer, optional
        Replaces the LSTM, the pooling and the dropout; the output layer is added. Copies of the objects are used.
    precision : {"float32", "bfloat16"}, default "float32"
        Type to which the operands of the LSTM's matrix products are rounded; "bfloat16" is faster for large layers on
        some processors, see docs/bfloat16.md.
    scaler : {"standard", "robust"} or None, default "standard"
        "standard" brings each channel to mean 0 and standard deviation 1, "robust" to median 0 and interquartile range
        1, on which outliers have no influence.
    missing : {"error", "mask", "mask-all"}, default "error"
        Whether values of the series may be missing (NaN). "mask": a channel of its own tells the network of the missing
        values of each channel that has some in `fit`; one that had none must have none later. "mask-all": each channel
        has such a channel. See docs/missing.md.
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
        Passes over the data; "auto": enough for 1500 updates, from 30 to 500.
    early_stopping : bool, default False
        Whether to hold out a part of the data, to stop when its loss no longer improves, and to keep the best weights.
    validation_fraction : float, default 0.1
        Share that is held out, of each class, or of the `groups`.
    n_iter_no_change : int, default 10
        Epochs without improvement after which the training stops.
    class_weight : dict, "balanced" or None, default None
        Weight of each class in the loss, by label; "balanced": as if all classes were equally frequent.
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
    classes_ : ndarray
        The labels, sorted.
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
    >>> from fastlstm.sklearn import LSTMClassifier
    >>> X = np.random.default_rng(0).standard_normal((60, 20))
    >>> y = np.where(X[:, :10].sum(axis=1) > 0, "up", "down")
    >>> classifier = LSTMClassifier(hidden_size=8, learning_rate=0.01, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3]).tolist() == y[:3].tolist(), classifier.predict_proba(X).shape
    (True, (60, 2))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SeriesEstimator._parameter_constraints,
        "pooling": [StrOptions({*POOLINGS, "auto"})],
        "deviations": ["boolean", StrOptions({"auto"})],
        "differences": ["boolean", StrOptions({"auto"})],
        "stride": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        pooling: Pooling | Literal["auto"] = "auto",
        deviations: bool | Literal["auto"] = "auto",
        differences: bool | Literal["auto"] = "auto",
        stride: int | Literal["auto"] = "auto",
        layers: Sequence[Layer] | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        scaler: Scaling | None = "standard",
        missing: Missing = "error",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 3e-3,
        schedule: Literal["cosine"] | None = "cosine",
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        batch_size: int | Literal["auto"] = "auto",
        epochs: int | Literal["auto"] = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            pooling=pooling,
            layers=layers,
            precision=precision,
            scaler=scaler,
            missing=missing,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            batch_size=batch_size,
            epochs=epochs,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.deviations = deviations
        self.differences = differences
        self.stride = stride
        self.class_weight = class_weight

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> LSTMClassifier:
        """Train the classifier.

        Parameters
        ----------
        X : array (n, time) or (n, time, channels), or list of series
            A series of a list is an array (T_i, channels) or (T_i,), or a table. Steps of NaN at the end of a case of a
            3-D array are padding.
        y : array (n,)
            Labels.
        sample_weight : array (n,), optional
            Weight of each case.
        lengths : int array (n,), optional
            Valid steps of each case of an array.
        groups : array (n,), optional
            With `early_stopping`, the cases of a group are either trained on or held out, as those of one patient.
        validation_data : tuple, optional
            ``(X, y)`` or ``(X, y, lengths)`` to hold out instead of a part of X.
        callbacks : sequence of Callback, optional
            As in `Model.fit`; they see "val_loss" if a part is held out.

        Returns
        -------
        LSTMClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter do not fit.
        """
        series = self._read(X, lengths, reset=True)
        codes = self._codes(y, len(series), reset=not (self.warm_start and hasattr(self, "model_")))
        fresh = not self.warm_start
        return self._fit(series, codes, sample_weight, groups, validation_data, fresh=fresh, callbacks=callbacks)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> LSTMClassifier:
        """Train one more epoch on these cases; the learning rate is constant.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As in `fit`.
        classes : array, optional
            All labels that will occur; required in the first call.

        Returns
        -------
        LSTMClassifier
            Itself.
        """
        first = not hasattr(self, "model_")
        series = self._read(X, lengths, reset=first)
        if first:
            if classes is None:
                raise ValueError("classes must be given in the first call of partial_fit: all labels that will occur")
            self.classes_ = np.unique(column_or_1d(classes))
        codes = self._codes(y, len(series), reset=False)
        return self._fit(series, codes, sample_weight, None, None, fresh=False, epochs=1, constant=True)

    def _codes(self, y: Any, n: int, reset: bool) -> Array:
        """Return labels as numbers of the classes."""
        shape = tuple(getattr(y, "shape", ()))
        if len(shape) == 2 and shape[1] > 1 and np.isin(y, (0, 1)).all():
            raise ValueError(f"y should be a 1d array, got shape {shape}, a column a class: pass y.argmax(axis=1)")
        labels = column_or_1d(y, warn=True)
        missing = [k for k, label in enumerate(labels.tolist()) if is_missing(label)]
        if missing:
            place = f"y[{missing[0]}]"
            raise ValueError(f"{place} is missing ({labels[missing[0]]}, Input y contains NaN): leave such cases out")
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        if len(labels) != n:
            raise ValueError(f"X has {n} cases and y {len(labels)} labels, inconsistent numbers of samples")
        if reset:
            self.classes_ = np.unique(labels)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y has only one class, {self.classes_.tolist()[0]!r}, expected at least two: add cases of another"
                )
        codes = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        unknown = np.flatnonzero(self.classes_[codes] != labels)
        if len(unknown):
            raise ValueError(
                f"y[{unknown[0]}] is {labels.tolist()[unknown[0]]!r}, expected one of the classes "
                f"{self.classes_.tolist()}"
            )
        return np.asarray(codes)

    def _fit(
        self,
        series: Series,
        codes: Array,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        validation_data: tuple[Any, ...] | None,
        *,
        fresh: bool,
        callbacks: Sequence[Callback] = (),
        epochs: int | None = None,
        constant: bool = False,
    ) -> LSTMClassifier:
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, codes, dtype=np.float64)
        seed, order = self._seeds()
        if fresh or not hasattr(self, "model_"):
            scaler = self._new_scaler(series)
            layers = [*self._preparing_layers(series, scaler), *self._new_layers(len(self.classes_))]
            self.model_ = Model(layers, precision=self.precision, seed=seed, scaler=scaler)
            self.shuffle_seed_ = order
        changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs, "early_stopping": False}
        self._train(
            series,
            codes,
            "cross_entropy",
            self._recipe(constant=constant, updates=CLASSIFIER_UPDATES, **changes),
            self.shuffle_seed_,
            sample_weight=weight,
            class_weight=self._class_weights(),
            groups=groups,
            callbacks=callbacks,
            strata=codes,
            validation=self._validation(validation_data),
        )
        return self

    def _preparing_layers(self, series: Series, scaler: Scaler | None) -> list[Layer]:
        return preparing_layers(
            series,
            scaler,
            deviations=self.deviations,
            differences=self.differences,
            stride=self.stride,
            whole=bool(self.bidirectional) and self.layers is None,
        )

    def _validation(self, given: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if given is None:
            return None
        X, y, lengths = self._validation_members(given)
        series = self._read(X, lengths, reset=False)
        return series.data, self._codes(y, len(series), reset=False), series.lengths

    def _class_weights(self) -> Any:
        if not isinstance(self.class_weight, dict):
            return self.class_weight
        labels = self.classes_.tolist()
        unknown = [label for label in self.class_weight if label not in labels]
        if unknown:
            raise ValueError(f"class_weight names {unknown[0]!r}, expected one of the classes {labels}")
        return {labels.index(label): weight for label, weight in self.class_weight.items()}

    def predict_proba(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray, shape (n, classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        series = self._read(X, lengths, reset=False)
        return class_probabilities(self.model_, series, self._threads)

    def predict_log_proba(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray, shape (n, classes)
        """
        probabilities = self.predict_proba(X, lengths=lengths)
        return _exact.log(probabilities).astype(probabilities.dtype)

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the most probable label of each case.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray, shape (n,)
        """
        best = self.predict_proba(X, lengths=lengths).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> float:
        """Return the share of cases whose label is predicted.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As in `fit`.

        Returns
        -------
        float
        """
        return float(accuracy_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))
