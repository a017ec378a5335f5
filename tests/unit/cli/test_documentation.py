"""The session of docs/command-line.md, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "command-line.md"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands of a POSIX shell")


def test_the_session(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "fastlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fastlstm "$@"\n')
    (folder / "fastlstm").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    work = tmp_path / "work"
    work.mkdir()
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert [kind for kind, _ in blocks] == ["python", *["sh"] * 7]
    said = []
    for kind, code in blocks:
        program = [sys.executable, "-c", code] if kind == "python" else ["bash", "-e", "-c", code]
        done = subprocess.run(program, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (code, done.stderr)
        said.append(done.stdout)
    dry, trained, forecast, measured = said[1:5]
    assert "time (day first)" in dry and "5,760 rows" in dry and "frequency            15 min" in dry
    assert "a step is 15 min" in trained
    assert forecast.splitlines()[0].startswith("time,fastlstm,fastlstm-q-0.05,") and len(forecast.splitlines()) == 3
    assert "seasonal_naive" in measured
    assert len((work / "tomorrow.csv").read_text().splitlines()) == 97
    assert (work / "quality.json").read_text().startswith('{"mae": ')
    assert len((work / "stream.csv").read_text().splitlines()) == 1 + 99
    assert {path.name for path in work.iterdir()} == {
        "meter.csv", "today.csv", "pf.safetensors", "tomorrow.csv", "nightly.sh", "quality.json", "stream.csv",
        "meter.toml",
    }  # fmt: skip
