"""kill -9 at any moment of a run that saves all the time: the newest file is whole and resumes to the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fastlstm as fl
from fastlstm.training.run_state import SavedRun

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")

# 240 updates of a model with everything that a run remembers. Each update is saved, in one file or in several.
RUN = """
import hashlib, json, os, sys
import numpy as np
import fastlstm as fl

pattern, kill_at = sys.argv[1], int(sys.argv[2])
if kill_at:  # count the operations of the system, and end before one of them
    import signal
    from fastlstm.formats import atomic
    calls = 0
    def counted(real):
        def call(*arguments, **options):
            global calls
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    for name in ("open", "write", "fsync", "replace", "close", "unlink"):
        setattr(atomic.os, name, counted(getattr(os, name)))

rng = np.random.default_rng(0)
X = [rng.standard_normal((int(n), 2)) for n in rng.integers(3, 30, 12)]
y = [rng.standard_normal(len(one)) for one in X]
model = fl.Model([fl.LSTM(6, return_sequences=True, zoneout_h=0.1), fl.Dropout(0.1), fl.Dense(1)], seed=1,
                 scaler=fl.Standardizer(), target_scaler=fl.Standardizer())
stopping = fl.EarlyStopping(patience=50)
plateau = fl.ReduceLROnPlateau(patience=2, min_delta=0.01, factor=0.9)
optimizer = fl.Adam(3e-3, clip_norm=1.0)
saving = fl.Checkpoint(pattern, every_batches=1, keep=3 if "{" in pattern else 1)
history = model.fit(
    X, y, loss="mse", epochs=12, batch_size=4, tbptt_steps=5, validation_split=0.25, verbose=0, optimizer=optimizer,
    callbacks=[stopping, plateau, saving], resume=True,
)
result = hashlib.sha256()
for part in (model.flat_parameters, *(np.asarray(v) for v in optimizer.state_dict().values())):
    result.update(np.ascontiguousarray(part).data)
result.update(json.dumps([history.history, optimizer.lr, stopping.best_epoch, model.network.passes]).encode())
print(json.dumps({"digest": result.hexdigest(), "epochs": history.epochs, "calls": globals().get("calls", 0)}))
"""


def start(folder: Path, pattern: str, kill_at: int = 0) -> subprocess.Popen[str]:
    code = [sys.executable, "-c", RUN, str(folder / pattern), str(kill_at)]
    return subprocess.Popen(code, stdout=subprocess.PIPE, text=True, cwd=folder.parent)


def finished(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    """Return what the run printed at its end; None if it was killed before."""
    out, _ = process.communicate(timeout=600)
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(out)
    return result


def check_newest(folder: Path, pattern: str) -> None:
    """Check that the newest file is whole and a model."""
    newest = fl.Checkpoint(folder / pattern, keep=3 if "{" in pattern else 1).newest()
    if newest is not None:
        SavedRun(newest)
        fl.load(newest)


def check_folder(folder: Path, pattern: str) -> None:
    """Check that all files of the pattern are whole, and that there are no more than should be kept."""
    files = os.listdir(folder)
    assert all(file.endswith(".safetensors") and not file.startswith(".") for file in files)
    assert len(files) == (3 if "{" in pattern else 1)
    for file in files:
        SavedRun(folder / file)


PATTERNS = ("run.safetensors", "run-{epoch:03d}-{batch:03d}.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """Return the result of an uninterrupted run, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole") / "files"
    folder.mkdir()
    begun = time.monotonic()
    result = finished(start(folder, PATTERNS[0]))
    assert result is not None and result["epochs"] == 12
    check_folder(folder, PATTERNS[0])
    return result, time.monotonic() - begun


def killed_again_and_again(folder: Path, kills: int, seed: int, expected: dict[str, Any], seconds: float) -> None:
    rng = random.Random(seed)
    done = 0
    pattern = PATTERNS[seed % 2]
    while True:
        process = start(folder, pattern)
        if done < kills:
            # From before the first file to beyond the end of the run.
            time.sleep(rng.uniform(0.15, 1.0) * min(seconds, 1.5))
            process.kill()
        result = finished(process)
        check_newest(folder, pattern)
        if result is None:
            done += 1
            continue
        assert result["digest"] == expected["digest"]
        check_folder(folder, pattern)
        if done >= kills:
            return
        for file in os.listdir(folder):  # the run was over before it was killed often enough
            (folder / file).unlink()


def test_killed_at_random_moments(tmp_path: Path, whole: tuple[dict[str, Any], float]) -> None:
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        killed_again_and_again(folder, 5, seed, *whole)


@pytest.mark.nightly
def test_killed_at_two_hundred_random_moments(tmp_path: Path, whole: tuple[dict[str, Any], float]) -> None:
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        killed_again_and_again(folder, 10, seed, *whole)


def killed_before_operations(folder: Path, numbers: list[int], pattern: str, expected: dict[str, Any]) -> None:
    """Kill runs, each of which resumes where the one before was killed."""
    for number in numbers:
        assert finished(start(folder, pattern, number)) is None
        check_newest(folder, pattern)
    result = finished(start(folder, pattern))
    assert result is not None and result["digest"] == expected["digest"]
    check_folder(folder, pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_killed_before_an_operation_of_a_save(
    pattern: str, tmp_path: Path, whole: tuple[dict[str, Any], float]
) -> None:
    """A save takes ten to fifteen operations of the system; these numbers are in the trial and in several saves."""
    folder = tmp_path / "files"
    folder.mkdir()
    killed_before_operations(folder, [2, 26, 31, 49], pattern, whole[0])


@pytest.mark.nightly
@pytest.mark.parametrize("pattern", PATTERNS)
def test_killed_before_every_operation_of_three_saves(
    pattern: str, tmp_path: Path, whole: tuple[dict[str, Any], float]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    killed_before_operations(folder, list(range(1, 100)), pattern, whole[0])
