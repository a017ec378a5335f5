"""Callbacks that monitor one quantity and act when it improves or stops improving."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import _checks
from ..._arguments import closest
from ...schedules import ConstantLR
from .base import Callback

__all__ = ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"]

Mode = Literal["auto", "min", "max"]

_LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "mape", "error")
_RECORDED = ("loss", "accuracy", "mae", "label_error_rate")
_HIGHER_IS_BETTER = ("accuracy", "acc", "auc", "f1", "r2", "precision", "recall")


class _Monitor(Callback):
    """Base of the callbacks that monitor one quantity.

    The same object in another call of `fit` for the same model goes on with what it has measured.
    """

    _forgets = True
    """Whether the best value is forgotten when the callback gets another model."""

    def __init__(self, monitor: str, min_delta: float, mode: Mode) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a str such as 'val_loss', got {_checks.short_repr(monitor)}")
        self.monitor = monitor
        self.min_delta = _checks.non_negative("min_delta", min_delta)
        self.mode = _checks.one_of("mode", mode, ("auto", "min", "max"))
        self._sign = 1.0 if _resolve_mode(monitor, self.mode) == "min" else -1.0
        self._best = math.inf

    @property
    def best(self) -> float | None:
        """Best value of the monitored quantity; None before the first epoch."""
        return None if math.isinf(self._best) else self._sign * self._best

    def on_train_begin(self) -> None:
        if self._forgets and not self.goes_on:
            self._best = math.inf
        names = self.history.history
        if self.monitor not in names:
            validated = any(name.startswith("val_") for name in names)
            possible = names if validated else [*names, *(f"val_{name}" for name in names if name != "lr")]
            near = closest(self.monitor, possible)
            advice = "" if near in (None, self.monitor) else f"; did you mean {near!r}?"
            if not validated and (near or self.monitor).startswith("val_"):
                advice += "; give fit validation_data or validation_split"
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, which this run does not have: "
                f"there are {', '.join(map(repr, names))}{advice}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["monitor"] != self.monitor:
            raise ValueError(
                f"the run was started with a {type(self).__name__} that monitors {state['monitor']!r}, got "
                f"{self.monitor!r}: give fit the same callbacks, or start a new run without resume"
            )
        self._best = float(state["best"])

    def _improved(self, logs: dict[str, float]) -> bool:
        """Return whether the quantity is better than the best by more than `min_delta`; if so, store it."""
        value = self._sign * logs[self.monitor]
        if value < self._best - self.min_delta:
            self._best = value
            return True
        return False


class EarlyStopping(_Monitor):
    """End the training when a quantity has not improved for `patience` epochs.

    The same object in another call of `fit` for the same model keeps its best value, and returns to the weights with
    which that call began unless it improves; make a new object for other data.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`.
    patience : int, default 10
        Number of epochs without improvement after which training ends; >= 1.
    min_delta : float, default 0.0
        Smallest change that counts as an improvement, >= 0.
    restore_best : bool, default True
        Whether to restore the weights of the best epoch at the end of the run, however it ends.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large values are good; "auto" decides by the name (loss, mae, accuracy, ...).
    start_from_epoch : int, default 1
        First monitored epoch, counted from 1; use it to skip an uneven beginning.

    Attributes
    ----------
    best : float or None
        Best value so far.
    best_epoch : int or None
        Epoch of the best value, counted from 1.
    stopped_epoch : int or None
        Epoch after which this callback ended the training, counted from 1; None if it did not.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or, when training begins, the run does not record the monitored quantity.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model, stop = fl.Model([fl.LSTM(4), fl.Dense(1)]), fl.EarlyStopping("loss", patience=2, min_delta=1e9)
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> history = model.fit(X, y, loss="mse", epochs=100, callbacks=[stop], verbose=0)
    >>> stop.best_epoch, stop.stopped_epoch
    (1, 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Mode = "auto",
        start_from_epoch: int = 1,
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        self.patience = _checks.count("patience", patience)
        self.start_from_epoch = _checks.count("start_from_epoch", start_from_epoch)
        self.restore_best = _checks.as_bool("restore_best", restore_best)
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._weights: NDArray[Any] | None = None

    def on_train_begin(self) -> None:
        super().on_train_begin()
        if not self.goes_on:
            self.best_epoch = None
        if not self.goes_on or self.stopped_epoch is not None:  # another call after the end means to go on
            self._waited = 0
        self.stopped_epoch = self._weights = None
        if self.restore_best and self.best is not None:
            # The last call has restored the best weights, to which this one returns unless it finds better ones.
            self._weights = self.model.flat_parameters.copy()

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "waited": self._waited,
            "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        weights = state["weights"]
        parameters = self.model.flat_parameters
        if weights is not None and (weights.shape, weights.dtype) != (parameters.shape, parameters.dtype):
            raise ValueError(
                f"the best weights of EarlyStopping have shape {weights.shape} and type {weights.dtype}, expected "
                f"those of the model, {parameters.shape} and {parameters.dtype}"
            )
        epochs = {name: state[name] for name in ("best_epoch", "stopped_epoch")}
        self.best_epoch, self.stopped_epoch = (v if v is None else _checks.count(k, v) for k, v in epochs.items())
        self._waited, self._weights = _checks.count("waited", state["waited"], least=0), weights

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch < self.start_from_epoch:
            return
        if self._improved(logs):
            self.best_epoch = epoch
            self._waited = 0
            if self.restore_best:
                if self._weights is None:
                    self._weights = np.empty_like(self.model.flat_parameters)
                np.copyto(self._weights, self.model.flat_parameters)
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            self.stop_training = True

    def on_train_end(self) -> None:
        if self._weights is not None:
            np.copyto(self.model.flat_parameters, self._weights)
            self._weights = None


class ModelCheckpoint(_Monitor):
    """Save the model after each epoch, or only after epochs that improve the monitored quantity.

    With `save_best_only` the same object remembers the best value, also in another call of `fit` and for another model,
    so that a worse model never replaces a better one. Files are written atomically: an interruption leaves the previous
    complete file. To continue an interrupted run, use `Checkpoint`.

    Parameters
    ----------
    path : path
        File to save to. Its name may have fields, such as ``"model-{epoch:03d}-{val_loss:.3f}.safetensors"``, which are
        replaced by the epoch (counted from 1) and the values of the epoch.
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`; used only with `save_best_only`.
    save_best_only : bool, default False
        Whether to save only when the monitored quantity improves.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large values are good; "auto" decides by the name (loss, mae, accuracy, ...).

    Attributes
    ----------
    best : float or None
        Best value so far, with `save_best_only`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or, when training begins, the run does not record a quantity.
    OSError
        When training begins, if the file cannot be written because of its folder, or later, for any other reason.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> best = fl.ModelCheckpoint("best.safetensors", monitor="loss", save_best_only=True)
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> history = model.fit(X, y, loss="mse", epochs=2, callbacks=[best], verbose=0)
    >>> fl.load("best.safetensors")
    Model([LSTM(hidden_size=4), Dense(output_size=1)])
    """

    on_rank_0_only = True

    _forgets = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode = "auto",
    ) -> None:
        super().__init__(monitor, 0.0, mode)
        self.path = _checks.path(path)
        self.save_best_only = _checks.as_bool("save_best_only", save_best_only)

    def on_train_begin(self) -> None:
        if self.save_best_only:
            super().on_train_begin()
        example = self._file(1, dict.fromkeys(self.history.history, 1.0))  # fails now, not after hours
        folder = Path(self.path).parent
        if folder == Path(example).parent and not folder.is_dir():
            raise FileNotFoundError(f"ModelCheckpoint cannot write {self.path!r}: there is no folder {str(folder)!r}")
        if Path(example).is_dir():
            raise IsADirectoryError(f"ModelCheckpoint cannot write {self.path!r}: it is a folder; give a file name")

    def _file(self, epoch: int, logs: dict[str, float]) -> str:
        try:
            return self.path.format(epoch=epoch, **logs)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            fields = ", ".join(f"{{{name}}}" for name in ("epoch", *logs))
            raise ValueError(f"path may have the fields {fields}, got {self.path!r} ({error})") from error

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if not self.save_best_only or self._improved(logs):
            self.model.save(self._file(epoch, logs))


class ReduceLROnPlateau(_Monitor):
    """Lower the learning rate when a quantity has not improved for `patience` epochs.

    It needs an optimizer with a constant learning rate and cannot be combined with a schedule. The optimizer keeps the
    lowered rate. The same object in another call of `fit` for the same model keeps its best value.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`.
    factor : float, default 0.1
        Factor of each reduction of the learning rate, between 0 and 1.
    patience : int, default 10
        Number of epochs without improvement before each reduction; >= 1.
    min_lr : float, default 0.0
        Lower limit of the learning rate, >= 0.
    min_delta : float, default 0.0
        Smallest change that counts as an improvement, >= 0.
    mode : {"auto", "min", "max"}, default "auto"
        Whether small or large values are good; "auto" decides by the name (loss, mae, accuracy, ...).

    Attributes
    ----------
    best : float or None
        Best value so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or, when training begins, the optimizer has a schedule or the run does not record the
        monitored quantity.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model, optimizer = fl.Model([fl.LSTM(4), fl.Dense(1)]), fl.Adam(0.1)
    >>> slower = fl.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> history = model.fit(X, y, loss="mse", optimizer=optimizer, epochs=3, callbacks=[slower], verbose=0)
    >>> history.history["lr"], optimizer.lr
    ([0.1, 0.1, 0.05], 0.025)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        min_delta: float = 0.0,
        mode: Mode = "auto",
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        self.factor = _checks.inside_unit("factor", factor)
        self.patience = _checks.count("patience", patience)
        self.min_lr = _checks.non_negative("min_lr", min_lr)
        self._waited = 0

    def on_train_begin(self) -> None:
        super().on_train_begin()
        if not isinstance(self.optimizer.schedule, ConstantLR):
            raise ValueError(
                "ReduceLROnPlateau needs a constant learning rate, and the optimizer follows "
                f"{self.optimizer.schedule!r}: give the optimizer a number as lr, or leave out the callback"
            )
        if not self.goes_on:
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._waited = _checks.count("waited", state["waited"], least=0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if self._improved(logs):
            self._waited = 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._waited = 0
            # min() does not raise a rate that is below min_lr from the beginning.
            self.optimizer.lr = min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.min_lr))


def _resolve_mode(monitor: str, mode: str) -> str:
    if mode != "auto":
        return mode
    name = monitor.rsplit("_", 1)[-1].lower()
    if name in _LOWER_IS_BETTER:
        return "min"
    if name in _HIGHER_IS_BETTER:
        return "max"
    near = closest(monitor, [prefix + name for name in _RECORDED for prefix in ("", "val_")])
    advice = "" if near is None else f"did you mean {near!r}? Else "
    raise ValueError(
        f"cannot tell whether a small or a large {monitor!r} is good: {advice}give mode='min' or mode='max'"
    )
