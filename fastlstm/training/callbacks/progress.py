"""Callbacks of the argument `verbose` of `Model.fit`: a progress bar, or a printed line for each epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .base import Callback

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["EpochPrinter", "ProgressBar"]


class ProgressBar(Callback):
    """Show a tqdm bar over the updates of the whole run, with loss, metric and the remaining time.

    `Model.fit` adds one for ``verbose=1``. The bar is written to stderr, but only if that is a terminal.
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
        from tqdm import tqdm  # imported here because it takes 30 ms, and prediction needs no bar

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
        # update() returns True if it has redrawn the bar; the text is formatted only then, to save time.
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
    """Print one line per epoch to stdout; `Model.fit` adds one for ``verbose=2``."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch}/{self.epochs}: {_format(logs)}", flush=True)


def _format(logs: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in logs.items())
