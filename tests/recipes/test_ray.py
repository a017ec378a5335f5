"""The recipe for Ray of docs/machines.md, on two processes of this machine, against `predict`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from documents import recipe

import fastlstm as fl

pytestmark = [
    pytest.mark.nightly,  # a minute
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray[data]"),
]

# A program of its own: Ray starts servers, and its warnings would be errors here.
PROGRAM = """
import sys
import numpy as np
import ray

ray.init(num_cpus=2, include_dashboard=False)
exec(open("recipe.py").read())
found = answers.take_all()
np.savez("found.npz", X=[row["data"] for row in found], scores=[row["scores"] for row in found])
ray.shutdown()
"""


def test_the_recipe_gives_the_bits_of_predict_in_order(tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((600, 10, 3)).astype("float32")
    model = fl.Model([fl.LSTM(6), fl.Dense(2)], seed=1)
    model.fit(X[:40], np.arange(40) % 2, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "cases").mkdir()
    for number, part in enumerate(np.split(X, [100, 110, 450])):
        np.save(tmp_path / f"cases/{number}.npy", part)
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = {
        "/models/model.safetensors": str(tmp_path / "model.safetensors"),
        "s3://bucket/cases": str(tmp_path / "cases"),
    }
    (tmp_path / "recipe.py").write_text(recipe("import ray", paths))
    with open(tmp_path / "log.txt", "w+") as log:  # not a pipe, which Ray's servers would keep open
        command = [sys.executable, "program.py"]
        done = subprocess.run(command, cwd=tmp_path, stdout=log, stderr=log, check=False, timeout=900)
        log.seek(0)
        assert done.returncode == 0, log.read()
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["X"], X)
    np.testing.assert_array_equal(found["scores"], model.predict(X))
