"""Every block of Python and shell in README.md and docs/ runs, page by page, as a reader would type it.

The blocks of a page share their names and a folder. What a page takes for granted, such as the reader's own data, is in
prepared.py. A block that is not meant to run has a comment before it that says why: ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import prepared
import pytest
from documents import Block, blocks

import fastlstm as fl

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "sh"}
NOT_PROGRAMS = {"", "c", "console", "text", "toml", "csv"}

NEEDS = {
    "README.md": ["sklearn"],
    "command-line.md": ["pandas", "utilsforecast"],
    "dask.md": ["distributed", "pandas", "utilsforecast"],
    "estimators.md": ["sklearn"],
    "forecasting.md": ["pandas", "utilsforecast"],
    "keras.md": ["h5py"],
    "metrics.md": ["matplotlib"],
    "onnx.md": ["onnx"],
    "pytorch.md": ["torch"],
    "tables.md": ["pandas", "narwhals", "wfdb"],
}
"""Packages without which a page is skipped."""

TOOLS = {"firmware.md": "cc"}
"""Programs of the system without which it is skipped."""

WARNINGS = {"keras.md": "model.weights.h5: the file has weights only"}
"""Beginnings of warnings of which a page speaks."""


WITH_BLOCKS = [page for page in PAGES if any(block.language in LANGUAGES for block in blocks(page.read_text("utf-8")))]


def missing_package(error: BaseException) -> str | None:
    """Return the name of the package of others that an import did not find."""
    names = [e.name or "" for e in (error, error.__cause__) if isinstance(e, ImportError)]
    return next((name for name in names if name and name.partition(".")[0] != "fastlstm"), None)


def run_shell(block: Block, page: str) -> None:
    # The programs of this environment are found first; a command that fails ends the block.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["sh", "-e", "-c", block.code], capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False
    )
    if done.returncode:
        pytest.fail(f"{page}:{block.line}: status {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name in WARNINGS:
        warnings.filterwarnings("ignore", re.escape(WARNINGS[page.name]))
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    tool = TOOLS.get(page.name)
    if tool is not None and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    names: dict[str, Any] = {"__name__": "__main__", "np": np, "fl": fl}
    pending = dict(prepared.BEFORE.get(page.name, {}))
    found = blocks(page.read_text("utf-8"))
    for block in found:
        for text in [text for text in pending if text in block.code]:
            names.update(pending.pop(text)(names, [other.code for other in found if other.language == "c"]) or {})
        if block.reason or block.language not in LANGUAGES:
            continue
        if block.language == "sh":
            if shutil.which("sh") is None:
                pytest.skip("no shell")
            run_shell(block, page.name)
            continue
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        try:
            exec(code, names)
        except ImportError as error:
            package = missing_package(error)
            if package is None:
                raise
            pytest.skip(f"needs {package}")
    assert list(pending) == [], "prepared.py speaks of blocks that the page does not have"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_says_why(page: Path) -> None:
    text = page.read_text("utf-8")
    found = blocks(text)
    assert len(re.findall(r"^```", text, re.M)) == 2 * len(found), "a block is not closed, or indented"
    assert {block.language for block in found} <= LANGUAGES | NOT_PROGRAMS
    assert len(re.findall("<!-- not run:", text)) == sum(block.reason is not None for block in found)


def test_blocks_are_found() -> None:
    text = "x\n```python\na = 1\n```\n\n<!-- not run: too slow -->\n```sh\nmake\n```\n```c\nint i;\n```\n"
    assert blocks(text) == [
        Block("python", "a = 1\n", 3, None),
        Block("sh", "make\n", 8, "too slow"),
        Block("c", "int i;\n", 11, None),
    ]


def test_most_blocks_run() -> None:
    found = [block for page in PAGES for block in blocks(page.read_text("utf-8")) if block.language in LANGUAGES]
    assert len(found) >= 60
    elsewhere = [match[0] for block in found if (match := re.search(r"tests/\S+\.py", block.reason or ""))]
    assert [path for path in elsewhere if not (ROOT / path).exists()] == []
    assert sum(block.reason is None for block in found) + len(elsewhere) >= 0.8 * len(found)
