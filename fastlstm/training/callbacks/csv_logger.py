"""Callback that writes the values of each epoch to a CSV file."""

from __future__ import annotations

import csv
import os
from typing import Any, TextIO

from ... import _checks
from .base import Callback

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write the values of each epoch to a CSV file, one line per epoch, flushed at once.

    The same object in another call of `fit` for the same model appends to its file. When a run continues from a
    checkpoint, the file is truncated to the epochs of the checkpoint.

    Parameters
    ----------
    path : path
        The file. Its columns are ``epoch`` (counted from 1) and the names of `History.history`.
    append : bool, default False
        Whether the first call of `fit` appends to an existing file, which must have the same columns, or replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or, when training begins, the file to append to has other columns.
    OSError
        When training begins, if the file cannot be written.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> X, y = np.ones((8, 5, 1)), np.ones((8, 1))
    >>> history = model.fit(X, y, loss="mse", epochs=2, callbacks=[fl.CSVLogger("log.csv")], verbose=0)
    >>> with open("log.csv") as file:
    ...     print(file.readline().strip())
    epoch,loss,mae,lr
    """

    on_rank_0_only = True

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = _checks.path(path)
        self.append = _checks.as_bool("append", append)
        self._file: TextIO | None = None

    def on_train_begin(self) -> None:
        self._open(self.append or self.goes_on)

    def state_dict(self) -> dict[str, Any]:
        # Size of the file up to the last line of this checkpoint; later lines are dropped when the run is resumed.
        return {"bytes": 0 if self._file is None else os.fstat(self._file.fileno()).st_size}

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        size = _checks.count("bytes", state["bytes"], least=0)
        if os.path.isfile(self.path) and os.path.getsize(self.path) >= size > 0:
            os.truncate(self.path, size)
            self._open(True)
            return
        # The file is missing, or a crash has truncated it: write the lines of this run again from the record.
        self._open(False)
        for done in range(self.history.epochs):
            logs = {name: values[done] for name, values in self.history.history.items()}
            self.on_epoch_end(self.first_epoch + done, logs)

    def _open(self, append: bool) -> None:
        columns = ["epoch", *self.history.history]
        exists = append and os.path.isfile(self.path) and os.path.getsize(self.path) > 0
        if exists:
            with open(self.path, newline="", encoding="utf-8") as file:
                found = next(csv.reader(file))
            if found != columns:
                raise ValueError(
                    f"CSVLogger cannot append to {self.path!r}: its columns are {', '.join(found)}; "
                    f"this run has {', '.join(columns)}: give it another file"
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
