"""The plugin by which .ci/run leaves out, with more packages installed, the tests that passed without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CI = Path(__file__).parents[2] / ".ci"

TESTS = """
import importlib.util
import pytest

extra = importlib.util.find_spec("extra") is not None

def test_plain(): pass
def test_needs_extra(): pytest.importorskip("extra")
@pytest.mark.parametrize("name", ["a::b", "[c]", "with extra"][: 2 + extra])
def test_of_a_name(name): pass
@pytest.mark.xfail
def test_expected_to_fail(): assert False
@pytest.mark.packages
def test_that_covers_more(): pass
"""
SETTINGS = "[pytest]\nmarkers = packages: covers more with them\n"


def run(folder: Path, option: str) -> list[str]:
    """Return the results, one a line, of a run of the tests above."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CI), str(folder / "installed")])}
    command = [sys.executable, "-P"] if sys.version_info >= (3, 11) else [sys.executable]
    command += ["-m", "pytest", "-v", "-p", "passed_tests", "-p", "no:cacheprovider", option]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return sorted(line.partition("::")[2].split("  ")[0] for line in result.stdout.splitlines() if "::" in line)


def test_only_what_passed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_all.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "installed").mkdir()
    first = run(tmp_path, f"--note-passed={tmp_path / 'passed.json'}")
    assert len(first) == 6
    (tmp_path / "installed" / "extra.py").write_text("")
    second = run(tmp_path, f"--leave-out={tmp_path / 'passed.json'}")
    assert [line.partition(" ")[0] for line in second] == [
        "test_needs_extra",
        "test_of_a_name[with",
        "test_that_covers_more",
    ]
