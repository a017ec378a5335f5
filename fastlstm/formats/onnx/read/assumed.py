"""What the shape that a file declares for its input says, and what is assumed about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["counted", "fixed_sizes", "time_first_by_names"]

_Shape = Sequence[int | str | None] | None
_TIME = re.compile(r"time|seq|step|len|frame", re.IGNORECASE)
_BATCH = re.compile(r"batch", re.IGNORECASE)
_LETTERS = {"nt": False, "bt": False, "tn": True, "tb": True}
"""A single letter says something only beside the other one: exporters also name axes a and b."""


def time_first_by_names(shape: _Shape) -> bool | None:
    """Return whether the names of an input's first two axes say that the first is time; None if they do not tell."""
    first, second = (str(one) if isinstance(one, str) else "" for one in (shape or ("", ""))[:2])
    if (first + second).lower() in _LETTERS:
        return _LETTERS[(first + second).lower()]
    if _BATCH.search(first) or (_TIME.search(second) and not _TIME.search(first)):
        return False
    if _BATCH.search(second) or _TIME.search(first):
        return True
    return None


def counted(number: int, unit: str) -> str:
    """Return a number with its unit, "series" or "step"."""
    return f"{number} {unit}{'s' if number != 1 and not unit.endswith('s') else ''}"


def fixed_sizes(shape: _Shape, time_first: bool) -> list[str]:
    """Return what is assumed if an input of fixed sizes becomes layers, which take any."""
    if shape is None:
        return []
    steps, cases = (shape[0], shape[1]) if time_first else (shape[1], shape[0])
    fixed = [counted(one, unit) for one, unit in ((cases, "series"), (steps, "step")) if isinstance(one, int)]
    if not fixed:
        return []
    return [f"any number of series and steps may be given, though the file declares {' of '.join(fixed)}"]
