"""Callbacks that watch one quantity and act when it improves, or no longer does."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import _checks
from ...schedules import ConstantLR
from .base import Callback

__all__ = ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"]

Mode = Literal["auto", "min", "max"]

_LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "mape", "error")
_HIGHER_IS_BETTER = ("accuracy", "acc", "auc", "f1", "r2", "precision", "recall")


class _Monitor(Callback):
    """Base of the callbacks that watch one quantity for improvement."""

    def __init__(self, monitor: str, min_delta: float, mode: Mode) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a text such as 'val_loss', got {_checks.short_repr(monitor)}")
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
        self._best = math.inf
        names = self.history.history
        if self.monitor not in names:
            advice = ""
            if self.monitor.startswith("val_"):
                advice = "; give fit validation_data or validation_split to have it measured"
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, which this run does not have: "
                f"there are {', '.join(map(repr, names))}{advice}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["monitor"] != self.monitor:
            raise ValueError(
                f"the run was begun with a {type(self).__name__} that monitors {state['monitor']!r}, got "
                f"{self.monitor!r}: give fit the same callbacks, or begin a new run without resume"
            )
        self._best = float(state["best"])

    def _improved(self, logs: dict[str, float]) -> bool:
        """Whether the monitored quantity is better than ever, by more than `min_delta`; remembers it if
        so."""
        value = self._sign * logs[self.monitor]
        if value < self._best - self.min_delta:
            self._best = value
            return True
        return False


class EarlyStopping(_Monitor):
    """End the training when a quantity has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`.
    patience : int, default 10
        Epochs without improvement after which training ends; >= 1.
    min_delta : float, default 0.0
        Smallest change that counts as an improvement, >= 0.
    restore_best : bool, default True
        Whether the model gets back the weights of its best epoch at the end of the run, however it ended.
    mode : {"auto", "min", "max"}
        Whether small or large values are good; "auto" knows by the name (loss, mae, accuracy, ...).
    start_from_epoch : int, default 1
        First epoch, counted from 1, that is looked at: the uneven beginning of a run can be passed over.

    Attributes
    ----------
    best : float or None
        Best value seen.
    best_epoch : int or None
        Its epoch, counted from 1.
    stopped_epoch : int or None
        Epoch after which this callback ended the training, counted from 1; None if it did not.
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
        self._forget()

    def _forget(self) -> None:
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._weights: NDArray[Any] | None = None

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self._forget()

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
    """Save the model after each epoch, or after each that improves on all before.

    The file is written atomically: an interruption leaves the last whole one.

    Parameters
    ----------
    path : path
        Where to save. May hold fields, such as ``"model-{epoch:03d}-{val_loss:.3f}.safetensors"``, filled
        with the epoch (counted from 1) and the values of the epoch.
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`; used only with `save_best_only`.
    save_best_only : bool, default False
        Whether to save only when the monitored quantity improves.
    mode : {"auto", "min", "max"}
        Whether small or large values are good; "auto" knows by the name (loss, mae, accuracy, ...).
    """

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
        example = self._file(1, dict.fromkeys(self.history.history, 1.0))  # rather than after an epoch that took hours
        folder = Path(self.path).parent
        if folder == Path(example).parent and not folder.is_dir():
            raise FileNotFoundError(f"ModelCheckpoint cannot write {self.path!r}: there is no folder {str(folder)!r}")
        if Path(example).is_dir():
            raise IsADirectoryError(f"ModelCheckpoint cannot write {self.path!r}: it is a folder; give a file's name")

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

    For an optimizer with a constant learning rate; it cannot be combined with a schedule.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the quantity in `History.history`.
    factor : float, default 0.1
        The learning rate is multiplied by this, between 0 and 1.
    patience : int, default 10
        Epochs without improvement before each reduction; >= 1.
    min_lr : float, default 0.0
        The learning rate goes no lower than this.
    min_delta : float, default 0.0
        Smallest change that counts as an improvement, >= 0.
    mode : {"auto", "min", "max"}
        Whether small or large values are good; "auto" knows by the name (loss, mae, accuracy, ...).
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
            # min() keeps a rate that is below min_lr from the beginning where it is.
            self.optimizer.lr = min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.min_lr))


def _resolve_mode(monitor: str, mode: str) -> str:
    if mode != "auto":
        return mode
    name = monitor.rsplit("_", 1)[-1].lower()
    if name in _LOWER_IS_BETTER:
        return "min"
    if name in _HIGHER_IS_BETTER:
        return "max"
    raise ValueError(f"cannot tell whether a small or a large {monitor!r} is good: give mode='min' or mode='max'")
