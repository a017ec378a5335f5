"""Make a site of the pages that are read in the repository: its menu, and the links to files that are not pages."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
PROJECT_PAGES = {
    ROOT / f"{name.upper()}.md": f"project/{name}"
    for name in ("readme", "architecture", "contributing", "security", "changelog")
}
"""Pages at the root of the repository, and the pages of the site that include them."""


def add_menu(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn each section of index.md into a part of the menu: the pages to which its list links."""
    if docname != app.config.root_doc:
        return
    first, *sections = re.split(r"^## ", source[0], flags=re.M)
    parts = [first]
    for section in sections:
        title = section.splitlines()[0]
        entries = []
        for target in re.findall(r"^- \[[^\]]*\]\(([^)#]+)\)", section, re.M):
            path = (DOCS / target).resolve()
            if path in PROJECT_PAGES:
                entries.append(PROJECT_PAGES[path])
            elif path.is_relative_to(DOCS):
                entries.append(path.relative_to(DOCS).with_suffix("").as_posix())
        menu = "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *entries, "```"])
        parts.append(f"## {section}" + (f"\n{menu}\n\n" if entries else ""))
    source[0] = "".join(parts)


class LinksToFiles(SphinxTransform):
    """Let links to files lead to the page that holds them, to the repository, or to a copy in the site."""

    default_priority = 500

    def apply(self, **_: object) -> None:
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") == "myst":
                self.resolve(node)
        for node in list(self.document.findall(addnodes.download_reference)):
            if node.get("reftype") == "myst":
                self.resolve(node)

    def resolve(self, node: nodes.Element) -> None:
        target, anchor = node["reftarget"], node.get("reftargetid")
        if node.get("refdomain") == "doc":
            if target in self.env.found_docs:
                return
            target += ".md"
        elif "#" in target:
            target, _, anchor = target.partition("#")
        folder = (DOCS / self.env.docname).parent
        # Pages of the root, which are included, name files from there.
        path = next((path for base in (folder, ROOT) if (path := (base / target).resolve()).exists()), None)
        if not target or path is None or not path.is_relative_to(ROOT):
            return  # Sphinx says that the target does not exist
        page = PROJECT_PAGES.get(path)
        if page is None and path.is_relative_to(DOCS):
            page = self.env.path2doc(path)
        if page in self.env.found_docs:
            link: nodes.Element = addnodes.pending_xref(
                refdomain="doc",
                reftarget=page,
                reftargetid=anchor,
                refdoc=self.env.docname,
                reftype="myst",
                refexplicit=True,
            )
        elif self.config.repository:
            address = f"{self.config.repository}/{path.relative_to(ROOT).as_posix()}"
            link = nodes.reference(refuri=f"{address}#{anchor}" if anchor else address)
        elif path.is_file():
            link = addnodes.download_reference(
                reftarget=f"/../{path.relative_to(ROOT).as_posix()}", refdoc=self.env.docname
            )
        else:  # a folder, which cannot be copied as one file
            link = nodes.inline()
        link.source, link.line = node.source, node.line
        link += [child.deepcopy() for child in node.children]
        node.replace_self(link)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository", "", "env", types=[str])
    app.connect("source-read", add_menu)
    app.add_transform(LinksToFiles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
