"""The recipe for Spark of docs/machines.md, on the cores of this machine, against `predict`."""

from __future__ import annotations

import json
import os
import shutil
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
    pytest.mark.skipif(find_spec("pyspark") is None or shutil.which("java") is None, reason="needs pyspark and Java"),
]

# A program of its own: Spark's threads and files outlive its session, and its warnings would be errors here.
PROGRAM = """
import json, sys
import numpy as np
from pyspark.sql import SparkSession

X = np.load(sys.argv[1])
settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
rows = [(number, case.ravel().tolist()) for number, case in enumerate(X)]
frame = spark.createDataFrame(rows, "number int, values array<float>").repartition(3)
exec(open(sys.argv[2]).read())
found = [row.scores for row in answers.orderBy("number").collect()]
json.dump(found, open(sys.argv[3], "w"))
"""


def test_the_recipe_gives_the_bits_of_predict(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X = np.random.default_rng(0).standard_normal((300, 50, 3)).astype("float32")
    model = fl.Model([fl.LSTM(6), fl.Dense(2)], seed=1)
    model.fit(X[:40], np.arange(40) % 2, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "program.py").write_text(PROGRAM)
    path = str(tmp_path / "model.safetensors")
    (tmp_path / "recipe.py").write_text(recipe("import predict_batch_udf", {"/models/model.safetensors": path}))
    command = [sys.executable, "program.py", "X.npy", "recipe.py", "found.json"]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}  # of the workers, python3 in PATH by default
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.float32(json.loads((tmp_path / "found.json").read_text())), model.predict(X))
