"""Read JSON objects from files that may be damaged or hostile; duplicate keys are errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["json_object"]


def json_object(text: str | bytes, what: str, parse_constant: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Return a JSON object as a dict.

    Parameters
    ----------
    text : str or bytes
    what : str
        Name of the text in messages.
    parse_constant : callable, optional
        As in `json.loads`; by default ``NaN`` and ``Infinity`` are accepted, as Python writes them.

    Raises
    ------
    ValueError
        If the text is not JSON, is nested too deeply, is not an object, or has a duplicate key.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a {type(value).__name__}, expected an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON readers differ in which of two equal keys they use, so a checker might see another value than the user.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value
