"""Callbacks of the argument `verbose` of `Model.fit`: a progress bar, or a printed line for each epoch."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from .base import Callback

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["EpochPrinter", "ProgressBar"]


_LINE_SECONDS = 5.0
"""Least time between two lines where there is no bar."""


class ProgressBar(Callback):
    """Show the progress of a run on stderr: loss, metric and the remaining time.

    `Model.fit` adds one for ``verbose=1``. In a terminal and in a notebook it is a bar of tqdm over the updates of the
    whole run. Elsewhere, in a log or under nohup, it prints a line after an epoch, at most one in five seconds, and
    after the last one.
    """

    on_rank_0_only = True

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._validation = ""
        self._done = 0
        self._printed = 0.0
        self._unprinted = ""

    def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
        self._done = (epoch - self.first_epoch) * self.steps_per_epoch + batch
        self.on_train_begin()
        self._done = 0
        if batch:
            self.on_epoch_begin(epoch)

    def on_train_begin(self) -> None:
        self._validation = self._unprinted = ""
        self._printed = time.monotonic()
        notebook = _in_notebook()
        if not (notebook or sys.stderr.isatty()):
            return
        # Imported here because it takes 30 ms, and prediction needs no bar.
        if notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        self._bar = tqdm(
            total=(self.epochs - self.first_epoch + 1) * self.steps_per_epoch,
            initial=self._done,
            unit="step",
            dynamic_ncols=True,
            file=sys.stdout if notebook else sys.stderr,
        )

    def on_epoch_begin(self, epoch: int) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {epoch}/{self.epochs}", refresh=False)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        # update() returns True if it has redrawn the bar; the text is formatted only then, to save time.
        if self._bar is not None and self._bar.update(1):
            self._bar.set_postfix_str(_format(logs) + self._validation, refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        validation = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._validation = f", {_format(validation)}" if validation else ""
        training = {name: value for name, value in logs.items() if name not in validation and name != "lr"}
        text = _format(training) + self._validation
        if self._bar is not None:
            self._bar.set_postfix_str(text)
            return
        self._unprinted = f"epoch {epoch}/{self.epochs}: {text}"
        if time.monotonic() - self._printed >= _LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        if self._unprinted:
            print(self._unprinted, file=sys.stderr, flush=True)
            self._printed, self._unprinted = time.monotonic(), ""

    def on_train_end(self) -> None:
        self._print()
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EpochPrinter(Callback):
    """Print one line per epoch to stdout; `Model.fit` adds one for ``verbose=2``."""

    on_rank_0_only = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch}/{self.epochs}: {_format(logs)}", flush=True)


def _in_notebook() -> bool:
    """Return whether a kernel of Jupyter runs this process; its stderr is no terminal, but it can draw a bar."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _format(logs: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in logs.items())
