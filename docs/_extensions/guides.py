"""The guides: pages whose programs run, with what these print and draw, and notebooks to download.

run_guide.py runs a program, here when the site is built. What a page shows of a program that needs data of others, or
minutes, is in docs/guides/results, and the page says so; the build fails if the program is another one by now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import run_guide
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)


def results_of(app: Sphinx, docname: str, text: str) -> tuple[run_guide.Results, Path, bool]:
    """Return results, their folder, and whether they are stored ones."""
    name = docname.rpartition("/")[2]
    stored = run_guide.STORED / name
    if stored.is_dir():
        results = run_guide.read(stored)
        if results.program != run_guide.digest(text):
            raise ExtensionError(
                f"the program of docs/guides/{name}.md has changed since its results were stored. Run it again: "
                f"python docs/_extensions/run_guide.py {name} --data FOLDER --store"
            )
        return results, stored, True
    folder = Path(app.doctreedir) / "guides" / name
    if (folder / "results.json").exists():  # of an earlier build
        results = run_guide.read(folder)
        if results.program == run_guide.digest(text) and results.version == app.config.version:
            return results, folder, False
    logger.info("running docs/guides/%s.md", name)
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, str(Path(run_guide.__file__)), name, "--data", empty, "--out", str(folder.parent)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ExtensionError(f"docs/guides/{name}.md:\n{done.stdout}{done.stderr}")
    return run_guide.read(folder), folder, False


def add_results(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put after each block of a guide what it gave, and below the title where it ran and what can be downloaded."""
    text = source[0]
    if not docname.startswith("guides/") or not run_guide.blocks(text):
        return
    results, folder, is_stored = results_of(app, docname, text)
    outputs = iter(results.outputs)
    here = Path(app.srcdir) / Path(docname).parent

    def with_output(match: re.Match[str]) -> str:
        if match[0].startswith("<!--"):
            return match[0]
        output = next(outputs)
        parts = [match[0]]
        if output.text.strip():
            parts.append(f"```{{code-block}} text\n:class: output\n\n{output.text.rstrip()}\n```")
        for picture, shows in output.pictures:
            path = Path(os.path.relpath(folder / picture, here)).as_posix()
            parts.append(f"![{shows.replace('[', '(').replace(']', ')')}]({path})")
        return "\n\n".join(parts)

    text = run_guide.BLOCK.sub(with_output, text)
    title, _, rest = text.partition("\n")
    source[0] = f"{title}\n\n{downloads(app, docname)}\n{note(results, is_stored)}\n{rest}"


def note(results: run_guide.Results, is_stored: bool) -> str:
    """Return where the program ran, and how long it took."""
    where = f"{results.seconds:.0f} s of processor time on {results.machine}, with version {results.version}."
    if is_stored:
        text = f"What this page shows was computed on {results.date}: {where} It is stored, because the program takes"
        text += " minutes or needs data that the package does not have."
    else:
        text = f"The program of this page runs whenever the site is built: {where}"
    return f"\n```{{note}}\n{text}\n```\n"


def downloads(app: Sphinx, docname: str) -> str:
    """Return links to the notebook and the program, which are written when the site is."""
    if app.builder.format != "html":
        return ""
    name = docname.rpartition("/")[2]
    links = [
        f'<a class="reference download" download href="{name}.{ending}">{what}</a>'
        for ending, what in (("ipynb", "Notebook"), ("py", "Program"))
    ]
    return f'<p class="downloads">Download: {" · ".join(links)}</p>\n'


def write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Write each guide as a notebook, and as a program."""
    if error is not None or app.builder.format != "html":
        return
    for page in sorted(run_guide.GUIDES.glob("*.md")):
        text = page.read_text("utf-8")
        if not run_guide.blocks(text):
            continue
        notebook = jupytext.reads(re.sub(r"^<!--.*?-->\n", "", text, flags=re.M), fmt="md")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # links to other pages lead nowhere from a notebook
                cell.source = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", cell.source)
        notebook.metadata.pop("jupytext", None)
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        for ending in ("ipynb", "py"):
            form = "py:percent" if ending == "py" else "ipynb"
            written = jupytext.writes(notebook, fmt=form)
            (Path(app.outdir) / "guides" / f"{page.stem}.{ending}").write_text(written, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_results)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
