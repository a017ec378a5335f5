"""Add to the written pages what the theme leaves out for those who use a keyboard or a screen reader.

axe-core finds all of this: https://dequeuniversity.com/rules/axe. tests/documentation/test_browser.py checks the mended
pages in a browser.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

FIELD = (
    '<form class="search-again" action="search.html"><input type="search" name="q" aria-label="Words to look for">'
    ' <input type="submit" value="Search"></form>'
)
MENDS = [
    # A heading has a level.
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    # Two landmarks of one kind have names.
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Menu of the site">'),
    (r'<aside class="toc-drawer([^"]*)">', r'<aside class="toc-drawer\1" aria-label="Contents of the page">'),
    # What scrolls can be reached by the keyboard.
    (r'<div class="highlight"><pre>', '<div class="highlight"><pre tabindex="0">'),
    (r'<div class="table-wrapper([^"]*)">', r'<div class="table-wrapper\1" tabindex="0">'),
    # The page of the search has a title, and a field, which narrow windows hide in the menu.
    ('<div id="search-results"></div>', f'<h1>Search</h1>\n{FIELD}\n<div id="search-results"></div>'),
    # What is in a list is an item of it.
    (r'(<div class="citation" id="[^"]+") role="doc-biblioentry">', r'\1 role="listitem">'),
    # A cell that says nothing is no heading.
    (r'<th class="head([^"]*)"><p>\s*</p></th>', r'<td class="head\1"></td>'),
]


def mended(page: str) -> str:
    """Return the text of a page with all mends."""
    for found, put in MENDS:
        page = re.sub(found, put, page)
    return page


def mend_pages(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text("utf-8")
        if (new := mended(text)) != text:
            path.write_text(new, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
