"""JSON of files that may be damaged or hostile: an object in which no key stands twice, or a `ValueError`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["json_object"]


def json_object(text: str | bytes, what: str, parse_constant: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Reads a JSON object.

    Parameters
    ----------
    text : str or bytes
    what : str
        What the text is, for messages.
    parse_constant : callable, optional
        As in `json.loads`; by default ``NaN`` and ``Infinity`` are read as Python writes them.

    Raises
    ------
    ValueError
        It is not JSON, is nested too deeply, is something else than an object, or a key stands in it twice.
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
    # Readers differ in which of two equal keys they take, so that a checked value may not be the used one.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value
