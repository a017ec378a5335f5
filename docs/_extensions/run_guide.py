"""Run the program of a guide, block by block, and keep what it prints and draws.

    python docs/_extensions/run_guide.py ecg eeg --data FOLDER         what it gives, to build/guides/
    python docs/_extensions/run_guide.py ecg --data FOLDER --store     into docs/guides/results/, which the site shows

A guide is a page of docs/guides/. The blocks of Python of a page are one program, as if typed into a notebook: what the
last line of a block gives is shown, and matplotlib's figures are pictures. Programs of pages with a folder in
docs/guides/results/ need data that are not in the package, or minutes: the site shows the results stored there. All
others run whenever the site is built. The programs run in FOLDER, which has the data under the names in the pages.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guides"
STORED = GUIDES / "results"
BLOCK = re.compile(r"(?:^<!-- not run: .+ -->\n+)?^```python\n(.*?)^```$", re.M | re.S)


class Output(NamedTuple):
    """What a block gave."""

    text: str
    pictures: list[tuple[str, str]]
    """Names of the files, and what they show."""


class Results(NamedTuple):
    """What the program of a page gave, and where it ran."""

    program: str
    """Digest of the code."""
    outputs: list[Output]
    seconds: float
    """Of processor time, in all threads."""
    date: str
    version: str
    machine: str


def blocks(text: str) -> list[str]:
    """Return the blocks of Python of a page that are run."""
    return [match[1] for match in BLOCK.finditer(text) if not match[0].startswith("<!--")]


def digest(text: str) -> str:
    """Return a digest of the program of a page."""
    return hashlib.sha256("\0".join(blocks(text)).encode()).hexdigest()[:16]


def read(folder: Path) -> Results:
    """Return the results in a folder."""
    values = json.loads((folder / "results.json").read_text("utf-8"))
    values["outputs"] = [Output(text, [(name, alt) for name, alt in shown]) for text, shown in values["outputs"]]
    return Results(**values)


def run(page: Path, folder: Path) -> Results:
    """Run the program of a page in the current folder, and write its results to `folder`."""
    os.environ["MPLBACKEND"] = "agg"
    os.environ["COLUMNS"] = "100"
    sys.path.append(str(ROOT / "examples"))
    import fastlstm as fl

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    text = page.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs, start = [], time.process_time()
    for code in blocks(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = execute(code, names, page.name)
            if value is not None and not is_figure(value) and not hasattr(value, "_repr_svg_"):
                print(repr(value))
        pictures = []
        if hasattr(value, "_repr_svg_"):
            name = f"{page.stem}-{sum(len(one.pictures) for one in outputs) + 1}.svg"
            (folder / name).write_text(value._repr_svg_(), "utf-8")
            pictures.append((name, (type(value).__doc__ or "").partition(".")[0].partition(",")[0]))
        for figure in [value] if is_figure(value) else pyplots():
            name = f"{page.stem}-{sum(len(one.pictures) for one in outputs) + len(pictures) + 1}.png"
            figure.savefig(folder / name, dpi=120, facecolor="white")
            pictures.append((name, title(figure)))
        outputs.append(Output(printed.getvalue(), pictures))
    seconds = round(time.process_time() - start, 1)
    results = Results(digest(text), outputs, seconds, date.today().isoformat(), fl.__version__, machine())
    (folder / "results.json").write_text(json.dumps(results._asdict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return results


def execute(code: str, names: dict[str, Any], page: str) -> Any:
    """Run a block; return the value of its last line if that is an expression without a semicolon after it."""
    tree = ast.parse(code, page)
    is_shown = tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";")
    last = tree.body.pop() if is_shown else None
    exec(compile(tree, page, "exec"), names)
    return eval(compile(ast.Expression(last.value), page, "eval"), names) if isinstance(last, ast.Expr) else None


def is_figure(value: Any) -> bool:
    return type(value).__name__ == "Figure" and hasattr(value, "savefig")


def pyplots() -> list[Any]:
    """Return the open figures of pyplot, and forget them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    pyplot.close("all")
    return figures


def title(figure: Any) -> str:
    """Return what a figure shows, for those who do not see it: its titles, else the names of its axes."""
    above = figure._suptitle.get_text() if figure._suptitle is not None else ""
    titles = [axes.get_title() for axes in figure.axes]
    names = [f"{axes.get_ylabel()} over {axes.get_xlabel()}" for axes in figure.axes if axes.get_xlabel()]
    found = [one for one in (above, *titles) if one] or names
    return "; ".join(dict.fromkeys(found)).replace("\n", " ").replace(r"\$", "$") or "a picture"


def machine() -> str:
    """Return the name of the processor, and how many threads there are."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
        name = found[1] if found else name
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} threads"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the programs of pages; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="names of the guides (default: those with stored results)")
    parser.add_argument("--data", type=Path, default=Path(), help="folder in which the programs run")
    parser.add_argument("--store", action="store_true", help="keep the results in docs/guides/results")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "guides", help="folder (default %(default)s)")
    options = parser.parse_args(arguments)
    out = (STORED if options.store else options.out).resolve()
    names = options.pages or sorted(one.name for one in STORED.iterdir())
    os.chdir(options.data)
    failed = 0
    for name in names:
        try:
            results = run(GUIDES / f"{name}.md", out / name)
        except FileNotFoundError as error:
            if len(names) == 1:
                raise
            print(f"{name}: skipped, {error}")
        except Exception as error:
            failed = 1
            print(f"{name}: FAILED: {type(error).__name__}: {error}")
        else:
            print(f"{name}: {results.seconds:.0f} s of processor time")
            print("".join(one.text for one in results.outputs))
    return failed


if __name__ == "__main__":
    sys.exit(main())
