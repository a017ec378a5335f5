"""Ctrl-C during training: taken between two batches, so that weights, moments and progress belong together."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["BetweenBatches", "Interrupt"]


class BetweenBatches(KeyboardInterrupt):
    """Ctrl-C that was taken after a batch, when the state of the run is complete."""


class Interrupt:
    """Handler of Ctrl-C while a run lasts: the first one is noted, the second one raises KeyboardInterrupt at once.

    It is set in the main thread only, and only in place of Python's own handler: a program's handler stays.
    """

    def __init__(self) -> None:
        self._noted = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        own = threading.current_thread() is threading.main_thread()
        if own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    @property
    def noted(self) -> bool:
        """Whether Ctrl-C was noted in this process."""
        return self._noted

    def take(self, noted: bool | None = None) -> None:
        """Raise `BetweenBatches` if Ctrl-C was noted, by default in this process."""
        if self._noted if noted is None else noted:
            raise BetweenBatches
