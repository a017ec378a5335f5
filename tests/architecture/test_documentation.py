"""Links between pages; files, functions, scripts and make targets that docs/promises.md names: each exists."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / ".github").rglob("*.md"))]
LINK = re.compile(r"(?<!\\)\[[^\]\n]*\]\(<?([^)\s>]+)")


def without_code(text: str) -> str:
    """Return a page without its code blocks and code spans, in which brackets are not links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M
    ):
        slug = (
            re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip().replace(" ", "-")
        )
        copies = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.add(f"{slug}-{copies}" if copies else slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(without_code(page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue  # the web
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def promises() -> list[tuple[str, str]]:
    """Return what docs/promises.md promises and the cell of the table that names the tests, row by row."""
    rows = []
    for line in (DOCS / "promises.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] != "promise" and set(cells[0]) != {"-"}:
            rows.append((cells[0], cells[1]))
    return rows


def functions(file: Path) -> set[str]:
    """Return the names of the functions that are defined in a Python or C file."""
    pattern = r"^ *def (\w+)" if file.suffix == ".py" else r"^\w[\w *]*?\b(\w+)\("
    return set(re.findall(pattern, file.read_text("utf-8"), re.M))


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=[promise[:40] for promise, _ in promises()])
def test_the_tests_of_a_promise_exist(promise: str, tests: str) -> None:
    """Follow a cell from left to right: a name in backticks is a function of the file that was named before it."""
    tokens = re.findall(r"\[[^\]]*\]\(([^)#]+)[^)]*\)|(?<![\w/`])((?:csrc|tests)/[\w./]+)|`([^`]+)`", tests)
    assert tokens, "no test is named"
    file: Path | None = None
    for link, path, code in tokens:
        if link or path:
            file = DOCS / link if link else ROOT / path
            assert file.exists(), link or path
        elif code.startswith("make -C csrc "):
            target = code.split()[-1]
            assert re.search(rf"^{target}\b.*:", (ROOT / "csrc" / "Makefile").read_text("utf-8"), re.M), code
        elif code.startswith(".ci/"):
            assert (ROOT / code.split()[0]).is_file(), code
        elif re.fullmatch(r"\w+\*?", code):
            assert file is not None, f"the file of {code} is not named"
            assert fnmatch.filter(functions(file), code), f"no function {code} in {file.name}"
        else:
            assert code.startswith("python -m benchmarks "), f"what is {code}?"


def test_every_row_of_the_promises_is_read() -> None:
    assert len(promises()) >= 30
