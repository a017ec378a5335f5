"""The code in the documents: it parses, and the names and arguments that it uses exist."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastlstm as fl

pytestmark = pytest.mark.packages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
OBJECTS = {"model": fl.Model, "translator": fl.EncoderDecoder, "stream": fl.Stream, "optimizer": fl.Adam}
"""Classes of the variables that examples use without making them."""

OF_KERAS = {"model.to_json", "model.save_weights"}
"""Methods of Keras, whose models are called `model`, too."""


def blocks(text: str) -> list[str]:
    """Return the blocks of Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def trees(text: str) -> Iterator[ast.AST]:
    """Parse the blocks of a page, and the code spans that are Python."""
    for block in blocks(text):
        yield ast.parse(block)
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        try:
            yield ast.parse(span)
        except SyntaxError:
            continue


def dotted(node: ast.expr) -> list[str]:
    """Return the parts of a name such as fl.losses.CTC, or nothing for other expressions."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*parts, node.attr] if (parts := dotted(node.value)) else []
    return []


def resolve(parts: list[str]) -> object:
    """Return what a dotted name is; AttributeError if it does not exist."""
    found: object = fl if parts[0] == "fl" else OBJECTS[parts[0]]
    for part in parts[1:]:
        found = getattr(found, part)
    return found


def is_ours(parts: list[str]) -> bool:
    return len(parts) > 1 and (parts[0] == "fl" or parts[0] in OBJECTS) and ".".join(parts) not in OF_KERAS


def faults(text: str) -> Iterator[str]:
    """Yield each name that does not exist, and each call with an unknown keyword."""
    nodes = [node for tree in trees(text) for node in ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_ours(parts := dotted(node)) and parts[0] == "fl":
            try:
                resolve(parts)
            except AttributeError:
                yield ".".join(parts)
            except ImportError:  # it needs an extra that is not installed
                continue
        if isinstance(node, ast.Call) and is_ours(parts := dotted(node.func)):
            try:
                signature = inspect.signature(resolve(parts))  # type: ignore[arg-type]
            except AttributeError:
                yield ".".join(parts)
                continue
            except ImportError:
                continue
            taken = signature.parameters
            if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values()):
                continue
            yield from (f"{ast.unparse(node)}: {k.arg}" for k in node.keywords if k.arg and k.arg not in taken)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_and_arguments_exist(page: Path) -> None:
    assert list(faults(page.read_text("utf-8"))) == []


def test_faults_are_found() -> None:
    text = (
        "`fl.Nothing`, `fl.LSTM(64, size=3)`, `model.fit(X, y, epoch=2)`, `model.fly()`\n```python\nfl.Other()\n```\n"
    )
    assert set(faults(text)) == {
        "fl.Nothing",
        "fl.LSTM(64, size=3): size",
        "model.fit(X, y, epoch=2): epoch",
        "model.fly",
        "fl.Other",
    }


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    names = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert {name for name in names if f"({name})" not in index} == set()
