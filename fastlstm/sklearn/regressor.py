"""Regression on time series: values or quantiles of one or more targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted

from .. import _checks
from .._typing import Array
from ..data import Standardizer
from ..data.scaler import Missing
from ..layers import Layer
from ..losses import Loss, Quantile
from ..model import Model
from ..optimizers import Optimizer
from ..tasks.answers import REGRESSION_LOSSES, median_of, regression_loss, sorted_quantiles
from ..tasks.network import Pooling
from ..tasks.scaling import Scaling
from ..training.callbacks import Callback
from .base import SeriesEstimator

__all__ = ["LSTMRegressor"]


class LSTMRegressor(RegressorMixin, SeriesEstimator):
    """Regression on time series: an LSTM, a pool over its steps, and a linear layer.

    The targets are scaled to mean 0 and standard deviation 1 for the training; predictions are in their units.

    Parameters
    ----------
    hidden_size : int, default 64
        Units of each LSTM layer and direction.
    num_layers : int, default 1
        LSTM layers.
    bidirectional : bool, default False
        Whether series are read in both directions.
    dropout : float, default 0.0
        Dropout between the LSTM layers and before the output.
    pooling : {"last", "mean", "max", "attention", "concat"}, default "last"
        How the outputs of the steps become one vector per series; "last" is the state at the last step, "concat" that
        state, the maximum and the mean, see `fastlstm.ConcatPool`.
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
        has such a channel. See docs/missing.md. Targets may be missing, too, and do not count then.
    loss : {"squared_error", "absolute_error", "huber"}, default "squared_error"
        What is minimized. It is not used with `quantiles`.
    quantiles : sequence of float, optional
        Probabilities between 0 and 1, such as (0.1, 0.5, 0.9), whose quantiles are learnt. `predict_quantiles` returns
        them, and `predict` that of 0.5, which must be one of them. For one target.
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
        Whether to hold out a part of the data, to stop when its loss no longer improves, and to keep the best weights.
    validation_fraction : float, default 0.1
        Share that is held out, at random or of the `groups`.
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
    >>> from fastlstm.sklearn import LSTMRegressor
    >>> X = np.random.default_rng(0).standard_normal((80, 10))
    >>> y = X[:, -3:].sum(axis=1)
    >>> regressor = LSTMRegressor(hidden_size=8, learning_rate=0.01, random_state=0).fit(X, y)
    >>> regressor.predict(X[:5]).shape, regressor.score(X, y) > 0.9
    ((5,), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SeriesEstimator._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "quantiles": [None, list, tuple, np.ndarray],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: Pooling = "last",
        layers: Sequence[Layer] | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        scaler: Scaling | None = "standard",
        missing: Missing = "error",
        loss: Literal["squared_error", "absolute_error", "huber"] = "squared_error",
        quantiles: Sequence[float] | None = None,
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
        self.loss = loss
        self.quantiles = quantiles

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
    ) -> LSTMRegressor:
        """Train the regressor.

        Parameters
        ----------
        X : array (n, time) or (n, time, channels), or list of series
            A series of a list is an array (T_i, channels) or (T_i,), or a table. Steps of NaN at the end of a case of a
            3-D array are padding.
        y : array (n,) or (n, targets)
            Targets.
        sample_weight : array (n,), optional
            Weight of each case.
        lengths : int array (n,), optional
            Valid steps of each case of an array.
        groups : array (n,), optional
            With `early_stopping`, the cases of a group are either trained on or held out, as those of one engine.
        validation_data : tuple, optional
            ``(X, y)`` or ``(X, y, lengths)`` to hold out instead of a part of X.
        callbacks : sequence of Callback, optional
            As in `Model.fit`; they see "val_loss" if a part is held out.

        Returns
        -------
        LSTMRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter do not fit.
        """
        series = self._read(X, lengths, reset=True)
        fresh = not (self.warm_start and hasattr(self, "model_"))
        return self._fit(series, y, sample_weight, groups, validation_data, fresh=fresh, callbacks=callbacks)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> LSTMRegressor:
        """Train one more epoch on these cases, with a constant learning rate and the scalers of the first call.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As in `fit`.

        Returns
        -------
        LSTMRegressor
            Itself.
        """
        first = not hasattr(self, "model_")
        series = self._read(X, lengths, reset=first)
        return self._fit(series, y, sample_weight, None, None, fresh=first, epochs=1, constant=True)

    def _fit(
        self,
        series: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
        validation_data: tuple[Any, ...] | None,
        *,
        fresh: bool,
        callbacks: Sequence[Callback] = (),
        epochs: int | None = None,
        constant: bool = False,
    ) -> LSTMRegressor:
        targets = self._targets(y, len(series))
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, targets, dtype=np.float64)
        loss = self._loss(targets)
        seed, order = self._seeds()
        if fresh:
            outputs = len(loss.quantiles) if isinstance(loss, Quantile) else int(np.prod(targets.shape[1:]))
            self.model_ = Model(
                self._new_layers(outputs),
                precision=self.precision,
                seed=seed,
                scaler=self._new_scaler(series),
                target_scaler=Standardizer(),
            )
            self.shuffle_seed_ = order
        changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs, "early_stopping": False}
        validation = None
        if validation_data is not None:
            X, rest, lengths = self._validation_members(validation_data)
            held = self._read(X, lengths, reset=False)
            validation = (held.data, self._targets(rest, len(held)), held.lengths)
        self._train(
            series,
            targets,
            loss,
            self._recipe(constant=constant, **changes),
            self.shuffle_seed_,
            sample_weight=weight,
            groups=groups,
            callbacks=callbacks,
            validation=validation,
        )
        return self

    def _targets(self, y: Any, n: int) -> Array:
        if y is None:
            raise ValueError("LSTMRegressor requires y to be passed, but the target y is None")
        if np.asarray(y).dtype.kind in "US":
            raise ValueError("y holds strings, expected numbers: for classes use LSTMClassifier")
        finite: Any = "allow-nan" if self._takes_missing else True
        with self._advice_on_missing("y"):
            targets = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", ensure_all_finite=finite)
        if targets.ndim > 2 or len(targets) != n:
            raise ValueError(
                f"X has {n} cases and y the shape {targets.shape}, inconsistent numbers of samples: expected ({n},) or "
                f"({n}, targets)"
            )
        return np.asarray(targets)

    def _loss(self, targets: Array) -> Loss | str:
        if self.quantiles is None:
            return regression_loss(self.loss, None)
        if targets.ndim > 1 and targets.shape[1] > 1:
            raise ValueError(f"quantiles are for one target, got y of shape {targets.shape}: fit one for each target")
        levels = [float(level) for level in self.quantiles]
        if 0.5 not in levels:
            raise ValueError(f"quantiles must hold 0.5, which predict returns, got {_checks.short_repr(levels)}")
        return regression_loss(self.loss, levels)

    def predict(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the value for each case; with `quantiles` the median.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray of float64, shape (n,) or (n, targets), as y had
        """
        out = self._outputs(X, lengths)
        if isinstance(self.model_.loss, Quantile):
            return median_of(self.model_.loss, sorted_quantiles(out))
        return out

    def predict_quantiles(self, X: Any, *, lengths: ArrayLike | None = None) -> Array:
        """Return the learnt quantiles of each case, in ascending order.

        Parameters
        ----------
        X, lengths
            As in `fit`.

        Returns
        -------
        ndarray of float64, shape (n, quantiles)
            For ``sorted(quantiles)``.

        Raises
        ------
        ValueError
            If the regressor was fitted without `quantiles`.
        """
        check_is_fitted(self)
        if not isinstance(self.model_.loss, Quantile):
            raise ValueError("predict_quantiles needs LSTMRegressor(quantiles=(0.1, 0.5, 0.9)) or others, before fit")
        return sorted_quantiles(self._outputs(X, lengths))

    def score(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, lengths: ArrayLike | None = None
    ) -> float:
        """Return the coefficient of determination R², the mean over the targets.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As in `fit`.

        Returns
        -------
        float
        """
        return float(r2_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.quantiles is None
        tags.target_tags.single_output = True
        return tags
