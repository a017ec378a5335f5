"""Callbacks: what may happen beside the updates while `Model.fit` runs."""

from __future__ import annotations

import csv
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from . import _checks
from .history import History
from .optimizers import Optimizer
from .schedules import ConstantLR

if TYPE_CHECKING:
    from tqdm import tqdm

    from .model import Model

Mode = Literal["auto", "min", "max"]

_LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "mape", "error")
_HIGHER_IS_BETTER = ("accuracy", "acc", "auc", "f1", "r2", "precision", "recall")


class Callback:
    """Base class of the callbacks; override any of the hooks.

    Epochs are counted from 1, batches of an epoch from 1. `logs` maps names to floats and holds, at the end
    of an epoch, what `History` records of it; at the end of a batch, the training loss and metric of the
    epoch so far.

    Set ``self.stop_training = True`` in any hook to end the training after the present batch; an epoch that
    is cut short this way is neither validated nor recorded.

    Attributes
    ----------
    model : Model
        The model in training.
    optimizer : Optimizer
        Its optimizer; set ``self.optimizer.lr`` to change the learning rate.
    history : History
        The record so far. The names of ``history.history`` are known from the beginning.
    epochs, steps_per_epoch : int
        The planned length of the run.
    stop_training : bool
        Set it to True to end the training.
    """

    model: Model
    optimizer: Optimizer
    history: History
    epochs: int
    steps_per_epoch: int
    stop_training: bool = False

    def attach(self, model: Model, optimizer: Optimizer, history: History, epochs: int, steps_per_epoch: int) -> None:
        """Make the run known to the callback; `fit` calls this before anything else."""
        self.model = model
        self.optimizer = optimizer
        self.history = history
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.stop_training = False

    def state_dict(self) -> dict[str, Any]:
        """What a `Checkpoint` is to save of this callback, so that the run can go on from there.

        Override it together with `load_state_dict` if the callback remembers anything from batch to batch.

        Returns
        -------
        dict
            None, bool, int, float, str, arrays of float32, float64 or int64, lists and dicts (with str keys) of these.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave. Tuples have become lists."""

    def on_train_begin(self) -> None:
        """Before the first epoch. An error raised here leaves the weights as they are."""

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        """Instead of `on_train_begin`, in a run that goes on from a checkpoint.

        By default it calls `on_train_begin`, and `load_state_dict` if there is a state. `history` holds the epochs that
        are done. If `batch` is not 0, `on_epoch_begin` has been called for this epoch and is not called again.

        Parameters
        ----------
        epoch : int
            The epoch that goes on, counted from 1; one more than there are if the run was over.
        batch : int
            Updates of it that are done.
        state : dict
            As `state_dict` gave it; empty if this callback has none.
        """
        self.on_train_begin()
        if state:
            self.load_state_dict(state)

    def on_epoch_begin(self, epoch: int) -> None:
        """Before the first batch of an epoch."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """After each update of the weights."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After an epoch and its validation."""

    def on_train_end(self) -> None:
        """After the last epoch, also if the run was stopped, interrupted or ended by an error."""


class _Monitor(Callback):
    """Base of the callbacks that watch one quantity for improvement."""

    def __init__(self, monitor: str, min_delta: float, mode: Mode) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a text such as 'val_loss', got {_checks.shown(monitor)}")
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
        self.restore_best = _checks.flag("restore_best", restore_best)
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
        self.save_best_only = _checks.flag("save_best_only", save_best_only)

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


class CSVLogger(Callback):
    """Write the values of each epoch to a CSV file, one line per epoch, flushed at once.

    In a run that goes on from a checkpoint the file is cut back to the epochs that the checkpoint has.

    Parameters
    ----------
    path : path
        The file. Its columns are ``epoch`` (counted from 1) and the names of `History.history`.
    append : bool, default False
        Whether to go on with an existing file, which must have the same columns, rather than to replace it.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = _checks.path(path)
        self.append = _checks.flag("append", append)
        self._file: TextIO | None = None

    def on_train_begin(self) -> None:
        self._open(self.append)

    def state_dict(self) -> dict[str, Any]:
        # The place behind this run's last line: what comes later in the file is not known to the checkpoint.
        return {"bytes": 0 if self._file is None else os.fstat(self._file.fileno()).st_size}

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        size = _checks.count("bytes", state["bytes"], least=0)
        if os.path.isfile(self.path) and os.path.getsize(self.path) >= size > 0:
            os.truncate(self.path, size)
            self._open(True)
            return
        # The file is gone, or a crash has taken its last lines: those of this run are in the record.
        self._open(False)
        for done in range(1, self.history.epochs + 1):
            self.on_epoch_end(done, {name: values[done - 1] for name, values in self.history.history.items()})

    def _open(self, append: bool) -> None:
        columns = ["epoch", *self.history.history]
        exists = append and os.path.isfile(self.path) and os.path.getsize(self.path) > 0
        if exists:
            with open(self.path, newline="", encoding="utf-8") as file:
                found = next(csv.reader(file))
            if found != columns:
                raise ValueError(
                    f"CSVLogger cannot append to {self.path!r}: its columns are {', '.join(found)}; "
                    f"this run has {', '.join(columns)}"
                )
        self._file = open(self.path, "a" if exists else "w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)
        if not exists:
            self._writer.writeheader()
            self._file.flush()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        assert self._file is not None  # opened by on_train_begin
        self._writer.writerow({"epoch": epoch, **logs})
        self._file.flush()

    def on_train_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class ProgressBar(Callback):
    """A tqdm bar over the updates of the whole run, with loss, metric and the time left.

    `Model.fit` makes one by its argument `verbose`. The bar goes to stderr and is left out if that is not a
    terminal.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._validation = ""
        self._done = 0

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        self._done = (epoch - 1) * self.steps_per_epoch + batch
        self.on_train_begin()
        self._done = 0
        if batch:
            self.on_epoch_begin(epoch)

    def on_train_begin(self) -> None:
        self._validation = ""
        from tqdm import tqdm  # here: it takes 30 ms, and a process that only predicts shows no bar

        self._bar = tqdm(
            total=self.epochs * self.steps_per_epoch,
            initial=self._done,
            disable=not sys.stderr.isatty(),
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def on_epoch_begin(self, epoch: int) -> None:
        assert self._bar is not None  # made by on_train_begin
        self._bar.set_description_str(f"epoch {epoch}/{self.epochs}", refresh=False)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        assert self._bar is not None
        # update() is true when the bar was drawn anew: only then is the text worth its time.
        if self._bar.update(1):
            self._bar.set_postfix_str(_format(logs) + self._validation, refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        assert self._bar is not None
        validation = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._validation = f", {_format(validation)}" if validation else ""
        training = {name: value for name, value in logs.items() if name not in validation and name != "lr"}
        self._bar.set_postfix_str(_format(training) + self._validation)

    def on_train_end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EpochPrinter(Callback):
    """Print one plain line per epoch to stdout: ``verbose=2`` of `Model.fit`."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch}/{self.epochs}: {_format(logs)}", flush=True)


def _format(logs: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in logs.items())


def _resolve_mode(monitor: str, mode: str) -> str:
    if mode != "auto":
        return mode
    name = monitor.rsplit("_", 1)[-1].lower()
    if name in _LOWER_IS_BETTER:
        return "min"
    if name in _HIGHER_IS_BETTER:
        return "max"
    raise ValueError(f"cannot tell whether a small or a large {monitor!r} is good: give mode='min' or mode='max'")
