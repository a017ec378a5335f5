"""The measurements, in groups.

Groups of cases are in `shapes`; each other group is a module with a `measure` function of its own. A new group needs
its module, a line in `OTHER_GROUPS` and a section of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..peers import Peer
from . import cells, imports, interference, oversubscription, serving, shapes, signals

__all__ = ["ALL_GROUPS", "OTHER_GROUPS", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Parameters
    ----------
    peers : mapping of name to Peer
        The installed peers.
    threads : int
        Threads of every peer.
    seconds : float
        Time for each case.
    quick : bool, default False
        Whether to measure fewer cases.
    """

    peers: Mapping[str, Peer]
    threads: int
    seconds: float
    quick: bool = False


def _cells(settings: Settings) -> Any:
    return cells.measure(settings.threads, settings.seconds / 6)


def _signals(settings: Settings) -> Any:
    return signals.measure(settings.peers, settings.threads, settings.seconds / 3)


def _interference(settings: Settings) -> Any:
    return interference.measure(settings.peers, settings.threads, 1 if settings.quick else 5)


def _oversubscription(settings: Settings) -> Any:
    cases = oversubscription.CASES[::3] if settings.quick else oversubscription.CASES
    return oversubscription.measure(settings.threads, seconds=settings.seconds / 6, cases=cases)


def _import(settings: Settings) -> Any:
    return imports.measure(5 if settings.quick else 10)


def _serving(settings: Settings) -> Any:
    return serving.measure(settings.seconds, settings.quick)


OTHER_GROUPS: dict[str, Callable[[Settings], Any]] = {
    "cells": _cells,
    "signals": _signals,
    "interference": _interference,
    "oversubscription": _oversubscription,
    "import": _import,
    "serving": _serving,
}
"""Groups that are not lists of cases, in the order in which they run."""

ALL_GROUPS = (*shapes.GROUPS, *OTHER_GROUPS)
