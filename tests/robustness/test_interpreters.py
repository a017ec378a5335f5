"""Several interpreters in one process: the package works in one of them and says so in the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastlstm.runtime import import_errors as _import_errors

INTERPRETERS = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as api
    kinds = ["isolated", "legacy"]  # with a GIL of its own; with the one of all
    create, run = api.create, api.exec
else:
    import _xxsubinterpreters as api
    kinds = [True, False]
    create, run = lambda kind: api.create(isolated=kind), api.run_string

IMPORT = '''
try:
    import fastlstm
except ImportError as error:
    message = str(error)
    assert "subinterpreter" in message and "processes" in message, message
    print("refused", flush=True)
else:
    import numpy as np
    model = fastlstm.Model([fastlstm.LSTM(4)], input_size=2, seed=0)
    assert model.predict(np.zeros((40, 30, 2), "f4"), n_threads=2).shape == (40, 4)
    print("works", flush=True)
'''

def subinterpreter(kind):
    failure = run(create(kind), IMPORT)
    assert failure is None, failure
"""


def run(folder: Path, code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERPRETERS + code],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_beside_the_main_interpreter_the_others_are_refused(tmp_path: Path) -> None:
    """The main interpreter keeps working."""
    code = "exec(IMPORT)\nfor kind in kinds:\n    subinterpreter(kind)\nexec(IMPORT)"
    assert run(tmp_path, code) == ["works", "refused", "refused", "works"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all interpreters have one GIL before Python 3.12")
def test_an_interpreter_with_a_gil_of_its_own_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path, "subinterpreter(kinds[0])") == ["refused"]


def test_a_single_subinterpreter_works(tmp_path: Path) -> None:
    """As in mod_wsgi: an interpreter that shares the GIL, in a process whose main interpreter imports nothing."""
    assert run(tmp_path, "subinterpreter(kinds[1])") == ["works"]


def test_without_a_subinterpreter_the_error_is_about_the_installation() -> None:
    missing = ImportError("cannot import name '_core' from partially initialized module 'fastlstm'")
    assert "pip install" in _import_errors.why(missing)
