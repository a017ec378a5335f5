"""The guides: what they show is what their programs gave; each has a picture, a baseline and a notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_extensions"))

import run_guide  # noqa: E402

GUIDES = sorted(run_guide.GUIDES.glob("*.md"))
STORED = [page for page in GUIDES if (run_guide.STORED / page.stem).is_dir()]


@pytest.mark.parametrize("page", STORED, ids=lambda page: page.stem)
def test_stored_results_are_those_of_the_program(page: Path) -> None:
    results = run_guide.read(run_guide.STORED / page.stem)
    text = page.read_text("utf-8")
    again = f"run it again: python docs/_extensions/run_guide.py {page.stem} --data FOLDER --store"
    assert results.program == run_guide.digest(text), again
    assert len(results.outputs) == len(run_guide.blocks(text))
    shown = [name for output in results.outputs for name, _ in output.pictures]
    assert shown, "a guide has a picture"
    assert {path.name for path in (run_guide.STORED / page.stem).iterdir()} == {"results.json", *shown}
    assert all(alt and alt != "a picture" for output in results.outputs for _, alt in output.pictures)
    printed = "".join(output.text for output in results.outputs)
    assert "/tmp/" not in printed and " object at 0x" not in printed


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_tells_how_to_use_it(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "## Your own" in text, "what to do with data of one's own"
    assert "baseline" in text.lower()
    assert f"guides/{page.name})" in (DOCS / "index.md").read_text("utf-8")
    for code in run_guide.blocks(text):
        compile(code, page.name, "exec")


def test_every_result_has_a_page() -> None:
    assert {folder.name for folder in run_guide.STORED.iterdir()} <= {page.stem for page in GUIDES}
    assert len(STORED) >= 4


PAGE = """# A page

```python
x = 1
print("one", x)
"not shown";
```

<!-- not run: it would fail -->
```python
raise SystemExit
```

```python
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.set(title="Shown by its title");
```

```python
x + 1
```
"""


def test_a_program_runs_block_by_block(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    results = run_guide.run(page, tmp_path / "out")
    assert [output.text for output in results.outputs] == ["one 1\n", "", "2\n"]
    assert results.outputs[1].pictures == [("page-1.png", "Shown by its title")]
    assert (tmp_path / "out" / "page-1.png").read_bytes().startswith(b"\x89PNG")
    assert run_guide.read(tmp_path / "out") == results
    assert results.program == run_guide.digest(PAGE) != run_guide.digest(PAGE.replace("x = 1", "x = 2"))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["date"].count("-") == 2


DRAWING = """```python
class Drawing:
    'Two lines.'

    def _repr_svg_(self):
        return "<svg/>"

Drawing()
```
"""


def test_a_score_is_shown_as_svg(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(DRAWING)
    results = run_guide.run(page, tmp_path / "out")
    assert results.outputs == [run_guide.Output("", [("page-1.svg", "Two lines")])]
    assert (tmp_path / "out" / "page-1.svg").read_text() == "<svg/>"
