"""Blocks of code in documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Block", "blocks", "recipe"]

DOCS = Path(__file__).parents[2] / "docs"


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    code: str
    line: int
    """Number of its first line in the page."""
    reason: str | None
    """Why it is not run."""


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in all languages."""
    found = []
    pattern = r"(?:^<!-- not run: (.+?) -->\n+)?^```([^\n`]*)\n(.*?)^```$"
    for match in re.finditer(pattern, text, re.M | re.S):
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(match[2].strip(), match[3], line, match[1]))
    return found


def recipe(text: str, replacements: dict[str, str] | None = None, page: str = "machines.md") -> str:
    """Return the code of the block of a page that has a text, with others in the place of some of its words."""
    found = [block.code for block in blocks((DOCS / page).read_text("utf-8")) if text in block.code]
    assert len(found) == 1, f"{len(found)} blocks of {page} have {text!r}"
    code = found[0]
    for old, new in (replacements or {}).items():
        assert old in code, f"the block of {page} with {text!r} has no {old!r}"
        code = code.replace(old, new)
    return code
