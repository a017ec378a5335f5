"""mypy on programs that use the package: typical ones have no error, mistakes have the error that is expected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed: pip install 'fastlstm[dev]'")

FOLDER = Path(__file__).parent
FILES = ["test_usage.py", "misuse.py"]


def mypy(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check files against the installed package; `.ci/lint` checks them against the checkout.

    For Python 3.12, since `typing.assert_type` is there from 3.11 on.
    """
    options = ["--strict", "--warn-unreachable", "--python-version", "3.12", "--config-file=", "--no-error-summary"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={folder / 'cache'}", *map(str, files)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "MYPY_CACHE_DIR")},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_usage_has_no_type_error_and_misuse_those_that_are_expected(tmp_path: Path) -> None:
    done = mypy(tmp_path, *(FOLDER / name for name in FILES))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_type_that_has_changed_is_found(tmp_path: Path) -> None:
    """An `assert_type` that is wrong, and a mistake that mypy does not report, are errors of the check above."""
    (tmp_path / "wrong.py").write_text(
        "from typing import assert_type\n"
        "import fastlstm as fl\n"
        "assert_type(fl.load('file'), fl.Stream)\n"
        "fl.LSTM(64)  # type: ignore[arg-type]\n"
    )
    done = mypy(tmp_path, tmp_path / "wrong.py")
    assert done.returncode == 1
    assert "[assert-type]" in done.stdout and "[unused-ignore]" in done.stdout
