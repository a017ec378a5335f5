"""Checkpoints: the state of a training run in a file, from which it continues to the same bits."""

from __future__ import annotations

import os
import re
import string
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from .. import _checks
from ..formats import atomic, safetensors
from .callbacks import Callback
from .history import History
from .run_state import RunState, SavedRun

__all__ = ["Checkpoint", "CheckpointError", "find_saved"]

_FIELDS = ("epoch", "batch")


class CheckpointError(OSError):
    """Error raised when a `Checkpoint` with ``on_error="raise"`` cannot write its file.

    Model and optimizer keep their current state, and older checkpoints are unchanged.

    Attributes
    ----------
    history : History
        Record of the epochs completed before.
    """

    history: History


class Checkpoint(Callback):
    """Save the whole state of the training, so that an interrupted run can be continued to the same result.

    ``model.fit(..., callbacks=[fl.Checkpoint("run.safetensors")], resume=True)`` continues the run in the file, or
    starts it if there is no file: the same script can be started repeatedly. docs/checkpoints.md says what is saved and
    promised. The file is also a model file: `load` returns the model of that moment.

    Files are written atomically: a kill or a power cut leaves the previous file. A checkpoint is written after all
    other callbacks have been called, wherever it is in the list, and always after the last epoch, when a callback ends
    the run, and after Ctrl-C.

    Parameters
    ----------
    path : path
        The file, in an existing folder. To keep several files, its name must have the fields ``{epoch}`` or
        ``{batch}``, such as ``"run-{epoch:04d}-{batch:06d}.safetensors"``: the current epoch and its completed updates.
    every_epochs, every_batches : int, optional
        Save after this many epochs, or after this many updates.
    every_seconds : float, optional
        Save after the first update that ends this many seconds after the last save. The three may be combined; by
        default a checkpoint is saved after each epoch.
    keep : int or None, default 1
        Number of newest files to keep; None keeps all. Files of older runs are not deleted, unless this run continues
        from them.
    on_error : {"warn", "raise"}, default "warn"
        What to do if a file cannot be written, for example because the disk is full: "warn" issues a RuntimeWarning,
        continues the training and tries again at the next checkpoint; "raise" raises `CheckpointError`. If the folder
        is not writable when the run begins, an error is raised in both cases.

    Attributes
    ----------
    latest : str or None
        The file that was written last in this run.
    failures : int
        Number of failed writes in this run.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> saved = fl.Checkpoint("run.safetensors")
    >>> history = model.fit(X, y, loss="mse", epochs=1, callbacks=[saved], verbose=0)
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])  # in a new process
    >>> model.fit(X, y, loss="mse", epochs=3, callbacks=[saved], resume=True, verbose=0).epochs
    3
    """

    on_rank_0_only = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_epochs: int | None = None,
        every_batches: int | None = None,
        every_seconds: float | None = None,
        keep: int | None = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.path = _checks.path(path)
        self.every_epochs = None if every_epochs is None else _checks.count("every_epochs", every_epochs)
        self.every_batches = None if every_batches is None else _checks.count("every_batches", every_batches)
        self.every_seconds = None if every_seconds is None else _checks.positive("every_seconds", every_seconds)
        if self.every_epochs is self.every_batches is self.every_seconds is None:
            self.every_epochs = 1
        self.keep = None if keep is None else _checks.count("keep", keep)
        self.on_error = _checks.one_of("on_error", on_error, ("warn", "raise"))
        self._pattern = _pattern(Path(self.path).name)
        if {"{", "}"} & set(str(Path(self.path).parent)):
            raise ValueError(f"path must have its fields in the name of the file, not of the folder, got {self.path!r}")
        if self.keep != 1 and not self._pattern.groupindex:
            raise ValueError(
                f"keep={keep} needs a name for each file, such as 'run-{{epoch:04d}}.safetensors', got "
                f"path={self.path!r}"
            )
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.latest: str | None = None
        self.failures = 0
        self._files: list[str] = []  # files of this run, oldest first
        self._updates = 0
        self._batch = 0
        self._time = time.monotonic()

    def newest(self) -> str | None:
        """Return the newest file that matches the callback's path; None if there is none."""
        files = self._existing()
        return files[-1] if files else None

    def _existing(self) -> list[str]:
        """Return all files that match the pattern of the name, oldest first."""
        folder = Path(self.path).parent
        found = []
        for entry in os.scandir(folder) if folder.is_dir() else ():
            match = self._pattern.fullmatch(entry.name)
            if match and entry.is_file():
                numbers = {name: int(text) for name, text in match.groupdict().items()}
                place = (numbers.get("epoch", 0), numbers.get("batch", 0))
                found.append((entry.stat().st_mtime_ns, place, str(folder / entry.name)))
        return [path for *_, path in sorted(found)]

    def bind(self, state: RunState) -> None:
        """Set the state that is saved; `fit` calls this before the run begins."""
        self._state: RunState | None = state

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copy and pickle, without the model and the data of the run."""
        return {**self.__dict__, "_state": None}

    def on_train_begin(self) -> None:
        self._begin_anew()
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"Checkpoint cannot write {self.path!r}: there is no folder {str(folder)!r}")
        if Path(self.path).is_dir():
            raise IsADirectoryError(f"Checkpoint cannot write {self.path!r}: it is a folder; give a file name")
        atomic.check_folder(folder)
        atomic.remove_leftovers(folder)
        self._run.saved()  # fails now, rather than after hours, if the state of a callback cannot be saved

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        self.on_train_begin()
        self._files = self._existing()
        self._batch = batch

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._updates += 1
        self._batch = batch
        due = self.every_batches is not None and self._updates >= self.every_batches
        if self.every_seconds is not None:
            due = due or time.monotonic() - self._time >= self.every_seconds
        if due or self._stopping():
            self._save(self._run.progress.epoch, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        due = self.every_epochs is not None and epoch % self.every_epochs == 0
        if due or epoch == self.epochs or self._stopping():
            self._save(epoch, self._batch)

    def save_now(self) -> None:
        """Save the run between two updates; `fit` calls this after Ctrl-C."""
        progress = self._run.progress
        self._save(progress.epoch, progress.batch)

    def on_train_end(self) -> None:
        self._state = None  # so that the callback does not keep model and data alive

    @property
    def _run(self) -> RunState:
        assert self._state is not None
        return self._state

    def _stopping(self) -> bool:
        return any(callback.stop_training for callback in self._run.callbacks)

    def _save(self, epoch: int, batch: int) -> None:
        path = Path(self.path)
        file = str(path.parent / path.name.format(epoch=epoch, batch=batch))
        self._updates = 0
        try:
            safetensors.save(file, *self._run.saved())
        except OSError as error:
            self._time = time.monotonic()
            self.failures += 1
            if self.on_error == "raise":
                raised = CheckpointError(
                    error.errno, f"no checkpoint could be written: {error.strerror or error}", file
                )
                raised.history = self.history
                raise raised from error
            warnings.warn(f"training continues without a checkpoint: {error}", RuntimeWarning, stacklevel=2)
            return
        self._time = time.monotonic()
        self.latest = file
        self._files = [*(one for one in self._files if one != file), file]
        while self.keep is not None and len(self._files) > self.keep:
            Path(self._files.pop(0)).unlink(missing_ok=True)


def find_saved(resume: str | os.PathLike[str] | bool | None, callbacks: Iterable[Callback]) -> SavedRun | None:
    """Return the saved run to which ``fit(resume=...)`` refers; None if a new run is to be started.

    Raises
    ------
    TypeError, ValueError
        If `resume` is True without a `Checkpoint` among the callbacks, or the file holds no run.
    OSError
        If the file cannot be read.
    """
    if resume is None or resume is False:
        return None
    path: str | os.PathLike[str] | None
    if resume is True:
        checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
        if not checkpoints:
            raise ValueError("resume=True continues from the files of a fl.Checkpoint: give one among the callbacks")
        path = checkpoints[0].newest()
        if path is None:
            return None
    elif isinstance(resume, (str, os.PathLike)):
        path = resume
    else:
        raise TypeError(f"resume must be the path of a checkpoint, True, False or None, got {resume!r}")
    atomic.remove_leftovers(Path(path).parent)
    return SavedRun(path)


def _pattern(name: str) -> re.Pattern[str]:
    """Return a pattern that matches the file names that result from a name with fields."""
    parts, seen = [], set()
    try:
        for text, field, spec, conversion in string.Formatter().parse(name):
            parts.append(re.escape(text))
            if field is None:
                continue
            if field not in _FIELDS or conversion or not re.fullmatch("(0?[0-9]+)?d?", spec or ""):
                raise ValueError(f"the field {field!r}")
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>[0-9]+)")
            seen.add(field)
    except ValueError as error:
        raise ValueError(
            f"path may have the fields {{epoch}} and {{batch}}, also as {{epoch:04d}}, got {name!r} ({error})"
        ) from error
    return re.compile("".join(parts))
