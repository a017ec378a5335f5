"""The site in a browser: nothing is wider than the window, no picture is missing, axe-core and the search find.

Nightly, and only where there are a Chromium (in PATH, or named by CHROMIUM) and playwright. AXE names the file
axe.min.js of npm's axe-core; without it that check is left out.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_site import site  # noqa: F401  # the fixture that builds it

pytestmark = pytest.mark.nightly
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WINDOWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
FOUND = """() => ({
  overflow: document.documentElement.scrollWidth - innerWidth,
  broken: [...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.src),
  unnamed: [...document.images].filter(one => !one.alt).map(one => one.src),
})"""
AXE = """async () => (await axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})).violations.map(
  one => one.id + ": " + one.nodes.slice(0, 3).map(node => node.html.slice(0, 120)).join("; "))"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:  # noqa: F811
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_pages_fit_and_are_accessible(
    width: int, scheme: str, browser: Any, address: str, site: Path  # noqa: F811
) -> None:  # fmt: skip
    axe = Path(os.environ["AXE"]).read_text("utf-8") if "AXE" in os.environ else ""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    faults, seen = [], 0
    for path in sorted(site.rglob("*.html")):
        page = context.new_page()
        page.goto(f"{address}/{path.relative_to(site).as_posix()}")
        found = page.evaluate(FOUND)
        seen += 1
        faults += [(path.name, f"{found['overflow']} px too wide")] if found["overflow"] > 0 else []
        faults += [(path.name, f"no picture {one}") for one in found["broken"]]
        faults += [(path.name, f"no text for {one}") for one in found["unnamed"]]
        if axe:
            page.evaluate(axe)
            faults += [(path.name, one) for one in page.evaluate(AXE)]
        page.close()
    context.close()
    assert faults == []
    assert seen > 50


@pytest.mark.parametrize(
    ("word", "page"), [("lengths", "concepts"), ("quantile", "forecast"), ("stream", "state"), ("tune", "guides/music")]
)
def test_the_search_finds(word: str, page: str, browser: Any, address: str) -> None:
    opened = browser.new_page()
    opened.set_default_timeout(120_000)
    opened.goto(f"{address}/search.html?q={word}")
    # Sphinx lists one page after the other, and says at the end how many it has found.
    finished = "document.querySelector('.search-summary')?.textContent.startsWith('Search finished')"
    opened.wait_for_function(finished, timeout=120_000)
    links = [link.get_attribute("href") or "" for link in opened.query_selector_all("#search-results li a")]
    opened.close()
    assert any(page in link for link in links), links


def test_a_page_is_read_by_the_keyboard(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{address}/index.html")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()")
        )
    page.close()
    assert any("Skip to content" in one for one in reached)  # first of all, past the menu
    assert len(set(reached)) > 6
