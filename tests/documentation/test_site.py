"""The site: built without a warning; its links and anchors lead somewhere; nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

NEEDED = "sphinx myst_parser numpydoc sphinx_copybutton furo jupytext sklearn onnx matplotlib"
for module in NEEDED.split():
    pytest.importorskip(module)

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://repository.invalid/fastlstm/blob/main"


class Page(HTMLParser):
    """The anchors of a page, where it links to, and what a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors.update(value for name, value in given.items() if name == "id")
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("img", "script", "source", "iframe") and "src" in given:
            self.loaded.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    isolated = "-P" if sys.version_info >= (3, 11) else "-I"  # not the checkout, but the installed package
    built = subprocess.run(
        [sys.executable, isolated, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
        + ["-d", str(folder / "trees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        env={**os.environ, "FASTLSTM_REPOSITORY": REPOSITORY},
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_document_is_a_page_in_the_menu(site: Path, pages: dict[Path, Page]) -> None:
    menu = {urldefrag(link)[0] for link in pages[site / "index.html"].links}
    expected = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    expected |= {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.rst")}
    assert {path.as_posix() for path in expected} - menu == {"index.html"}


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken, checked, files = [], 0, 0
    for path, page in pages.items():
        for link in page.links:
            if link.startswith(REPOSITORY):
                files += 1
                target = link.removeprefix(REPOSITORY).partition("#")[0].strip("/")
                if not target or not (ROOT / target).exists():
                    broken.append((path.name, link))
                continue
            if urlsplit(link).scheme or link.startswith("#svg-"):  # pictures of the theme, which are within the page
                continue
            checked += 1
            file, anchor = urldefrag(link)
            found = (path.parent / unquote(file)).resolve() if file else path
            known = pages.get(found)
            if not found.exists() or (known and anchor and unquote(anchor) not in known.anchors):
                broken.append((path.name, link))
    assert broken == []
    assert checked > 1000
    assert files > 50


def test_code_in_the_guides_leads_to_the_reference(site: Path, pages: dict[Path, Page]) -> None:
    links = pages[site / "guide.html"].links
    assert {"reference/data.html#fastlstm.Standardizer", "reference/models.html#fastlstm.Model.summary"} <= set(links)
    assert sum("#fastlstm." in link for link in links) > 40


def test_guides_show_results_and_can_be_downloaded(site: Path, pages: dict[Path, Page]) -> None:
    guides = sorted((ROOT / "docs" / "guides").glob("*.md"))
    assert len(guides) >= 8
    for guide in guides:
        path = site / "guides" / f"{guide.stem}.html"
        text = path.read_text("utf-8")
        assert 'class="output' in text and "processor time" in text
        assert {f"{guide.stem}.ipynb", f"{guide.stem}.py"} <= set(pages[path].links)
        notebook = json.loads(path.with_suffix(".ipynb").read_text("utf-8"))
        assert notebook["nbformat"] == 4
        code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        blocks = re.findall(r"^```(python|sh)\n(.*?)\n```$", guide.read_text("utf-8"), re.M | re.S)
        assert code == [text if kind == "python" else f"%%sh\n{text}" for kind, text in blocks]
        compile(path.with_suffix(".py").read_text("utf-8"), guide.name, "exec")


def test_pages_are_mended_for_screen_readers(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        assert '<p class="caption" role="heading">' not in text and '<aside class="sidebar-drawer">' not in text
        assert '<div class="highlight"><pre>' not in text
        assert not re.search(r"<th[^>]*><p>\s*</p></th>", text)
    assert 'aria-level="2"' in (site / "index.html").read_text("utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loaded = [(path, name) for path, page in pages.items() for name in page.loaded]
    assert [name for _, name in loaded if urlsplit(name).netloc] == []
    missing = [name for path, name in loaded if not (path.parent / unquote(name.partition("?")[0])).exists()]
    assert missing == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//", sheet.read_text("utf-8")) == []


@pytest.mark.parametrize("word", ["lengths", "quantile", "stream", "fastlstm.Model.fit", "LSTMClassifier"])
def test_the_search_finds(word: str, site: Path) -> None:
    index = (site / "searchindex.js").read_text("utf-8")
    # The words of the texts are stemmed as by Porter; names of the reference are kept.
    assert re.search(rf'"{re.escape(word.rpartition(".")[2].removesuffix("s").lower()[:6])}', index.lower())
