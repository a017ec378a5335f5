"""Pieces of C text, of which a file gets those that its model needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Piece", "all_needs", "ordered", "used"]


class Piece(NamedTuple):
    """C text, and the names of the pieces that must precede it."""

    text: str
    needs: tuple[str, ...] = ()


def all_needs(names: Iterable[str], pieces: Mapping[str, Piece]) -> set[str]:
    """Return the names of some pieces and of all that they need."""
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += pieces[name].needs
    return wanted


def ordered(pieces: Mapping[str, Piece], names: Iterable[str]) -> list[str]:
    """Return the text of some pieces and of those that they need, in an order in which C can read them."""
    wanted = all_needs(names, pieces)
    return [piece.text for name, piece in pieces.items() if name in wanted]


def used(texts: list[str], rest: str) -> list[str]:
    """Return those of some pieces, in their order, of which a later one or the rest of the file uses a function."""
    kept: list[str] = []
    for text in reversed(texts):
        functions = re.findall(r"^(?:@@UNUSED )?static [^(=;]*(@\w+)\(", text, re.MULTILINE)
        if any(re.search(rf"{name}\b", rest) for name in functions):
            kept.insert(0, text)
            rest = text + rest
    return kept
