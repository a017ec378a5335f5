"""The same seed, data and version give the same bits: any processor, any number of threads, any process, any day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden
import numpy as np
import one_answer
import pytest

import fastlstm as fl
from fastlstm import _core

THREADS = (1, 2, 3, 8)
GOLDEN = json.loads(golden.FILE.read_text())


@pytest.fixture
def fused(isa: str) -> str:
    """Each instruction set with a fused multiply-add in turn."""
    if not _core.fused():
        pytest.skip(f"{isa} has no fused multiply-add and rounds twice: its bits are its own")
    return isa


@pytest.mark.parametrize("name", golden.RUNS)
def test_the_bits_of_a_training_run_have_not_changed(fused: str, name: str) -> None:
    assert golden.digest(golden.RUNS[name](None)) == GOLDEN["runs"][name]


@pytest.mark.parametrize("dtype", one_answer.DTYPES)
@pytest.mark.parametrize("name", one_answer.COMPUTATIONS)
def test_every_processor_gives_the_same_bits(fused: str, name: str, dtype: str) -> None:
    """Passes, gradients, losses, updates, scores and streams of every layer, cell, loss, optimizer and scaler."""
    found = one_answer.digest(one_answer.COMPUTATIONS[name](dtype))
    assert found == GOLDEN["computations"][f"{name}, {dtype}"]


@pytest.mark.parametrize("name", golden.RUNS)
def test_any_number_of_threads(isa: str, name: str) -> None:
    one, *others = (golden.digest(golden.RUNS[name](n)) for n in THREADS)
    assert set(others) == {one}


CODE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import golden
from fastlstm import _core
_core.always_wake(True)
print(*[golden.digest(run(None)) for run in golden.RUNS.values()])
"""


def process(folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(Path(__file__).parent)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout.split()


def test_any_process(tmp_path: Path) -> None:
    """The bits do not depend on what varies between processes: hashes, addresses, threads of OpenMP and of BLAS."""
    here = [golden.digest(run(None)) for run in golden.RUNS.values()]
    for environment in (
        {"PYTHONHASHSEED": "1", "FASTLSTM_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"},
        {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "1", "OMP_DYNAMIC": "true", "MALLOC_PERTURB_": "165"},
        {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    ):
        assert process(tmp_path, **environment) == here, environment


EVERYTHING: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": lambda: fl.SGD(fl.StepLR(0.1, 1)), "loss": "mse"},
    "rmsprop": {"optimizer": lambda: fl.RMSprop(fl.OneCycleLR(1e-2), momentum=0.5), "loss": "mae"},
    "adam": {"optimizer": lambda: fl.Adam(fl.CosineLR(1e-2), clip_value=0.1), "loss": "huber"},
    "adamw": {"optimizer": lambda: fl.AdamW(fl.WarmupLR(1e-2, warmup_epochs=1), clip_norm=0.1), "loss": "mse"},
    "quantile": {"optimizer": lambda: fl.Adam(), "loss": lambda: fl.Quantile([0.2, 0.8])},
    "binary": {"optimizer": lambda: fl.Adam(), "loss": "binary_cross_entropy"},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_optimizer_loss_and_layer(name: str, dtype: str) -> None:
    """Give every part of the package that uses several threads enough work for a team."""
    arguments = EVERYTHING[name]
    rng = np.random.default_rng(4)
    X = rng.standard_normal((33, 12, 4))
    y = (
        (rng.random((33, 2)) > 0.5) * 1.0
        if name == "binary"
        else rng.standard_normal((33, 1 if name == "quantile" else 2))
    )
    weights = []
    for n_threads in THREADS:
        made = {k: v() if callable(v) else v for k, v in arguments.items()}
        layers = [
            fl.GaussianNoise(0.05),
            fl.LSTM(24, return_sequences=True, layer_norm=True, dropout=0.0),
            fl.LSTM(20, bidirectional=True, num_layers=2, dropout=0.3, return_sequences=True, peepholes=True),
            fl.Activation("relu"),
            fl.AttentionPool(5),
            fl.Dropout(0.2),
            fl.Dense(2),
        ]
        model = fl.Model(layers, seed=3, dtype=dtype)
        model.fit(X, y, epochs=2, batch_size=16, validation_split=0.2, verbose=0, n_threads=n_threads, **made)
        weights.append(model.flat_parameters.tobytes())
    assert len(set(weights)) == 1


ORTHOGONAL = """
import hashlib
import numpy as np
import fastlstm as fl
layers = [fl.LSTM(90, recurrent_init="orthogonal", weight_init="he_normal"), fl.Dense(3)]
model = fl.Model(layers, input_size=30, seed=1, dtype="float64")
print(hashlib.sha256(model.flat_parameters.tobytes()).hexdigest())
"""


def test_initial_weights_do_not_depend_on_blas(tmp_path: Path) -> None:
    """Nor on the processor that BLAS detects, which changes the bits of a QR factorization by LAPACK."""
    digests = set()
    for threads, core in (("1", "Haswell"), ("2", "Haswell"), ("2", "Prescott")):
        environment = {"OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_CORETYPE": core}
        done = subprocess.run(
            [sys.executable, "-c", ORTHOGONAL],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
