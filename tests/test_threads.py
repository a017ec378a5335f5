"""Teams of threads: when OpenMP grants fewer than asked for, and nested in other threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastlstm import _core

# Sizes for which a team is worth waking, one walking by rows and one by units.
PREPARE = """
import hashlib, os, sys
import numpy as np, fastlstm as fl
rng = np.random.default_rng(0)
cases = [rng.standard_normal(shape).astype("f4") for shape in ((40, 30, 8), (1, 200, 8))]
def digest(n_threads):
    model = fl.Model([fl.LSTM(120, return_sequences=True), fl.Dense(2)], input_size=8, seed=1)
    result = hashlib.sha256()
    for x in cases:
        out = model.forward(x, training=True, n_threads=n_threads)
        model.backward(np.ones_like(out))
        result.update(out)
        result.update(model.flat_gradients)
    return result.hexdigest()
"""


def run(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREPARE + code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,  # a hang is a failure
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("limit", ["1", "2"])
def test_openmp_may_grant_fewer_threads(tmp_path: Path, limit: str) -> None:
    assert run("print(digest(5))", tmp_path, OMP_THREAD_LIMIT=limit) == run("print(digest(1))", tmp_path)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_the_environment_chooses_the_instruction_set(tmp_path: Path, isa: str) -> None:
    assert run("print(fl._core.isa())", tmp_path, FASTLSTM_ISA=isa) == isa + "\n"


def test_an_unknown_instruction_set_in_the_environment_is_passed_over(tmp_path: Path) -> None:
    assert run("print(fl._core.isa())", tmp_path, FASTLSTM_ISA="mmx") == _core.available_isas()[-1] + "\n"
