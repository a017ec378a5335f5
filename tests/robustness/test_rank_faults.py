"""A process of a training over MPI that raises, hangs, is stopped or killed: all end, no file is half-written, and the
run continues with any number of processes to the bits of one that nothing has happened to.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import mpiexec

import fastlstm as fl
from fastlstm.training.run_state import SavedRun

pytestmark = [
    pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec"),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system"),
]

LIMIT = 300
"""Seconds after which a program counts as one that never ends, on a machine that does other things as well."""

PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
from mpi4py import MPI
import fastlstm as fl
from fastlstm.training import ranks

ranks._LEAST_EARLY = 0  # small gradients are sent early, too
path, how, victim, moment = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
rank = MPI.COMM_WORLD.Get_rank()
signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

class Fail(fl.Callback):
    updates = 0

    def on_batch_end(self, batch, logs):
        self.updates += 1
        if rank == victim and self.updates == moment:
            if how in signals:
                os.kill(os.getpid(), signals[how])
            elif how == "hang":
                time.sleep(10_000)
            else:
                raise OSError("the disk is gone")

class Slow(fl.Callback):  # so that there is something to be hit at a random moment
    def on_batch_end(self, batch, logs):
        time.sleep(0.02)

rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 7, 3)), rng.integers(0, 3, 40)
layers = [fl.LSTM(12, return_sequences=True), fl.Dropout(0.2), fl.LSTM(12), fl.Dense(3)]
model = fl.Model(layers, seed=1, scaler=fl.Standardizer())
callbacks = [fl.Checkpoint(path, every_batches=1)]
if how == "at random":
    callbacks.append(Slow())
    if rank == victim:
        which = signals["kill" if moment % 0.002 < 0.001 else "stop"]
        threading.Timer(moment, os.kill, (os.getpid(), which)).start()
elif how != "none":
    callbacks.append(Fail())
model.fit(X, y, epochs=6, batch_size=8, shards=4, communicator=MPI.COMM_WORLD, verbose=0,
          callbacks=callbacks, resume=True, deadline=float(sys.argv[5]))
if rank == 0:
    np.save(path + ".npy", model.flat_parameters)
"""


FORECASTER = """
import os, signal, sys
import numpy as np
from mpi4py import MPI
import fastlstm as fl
from fastlstm.forecast.training import Trainer

path, how, victim, moment = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
rank = MPI.COMM_WORLD.Get_rank()
update, updates = Trainer._update, []

def failing(trainer, sums):
    update(trainer, sums)
    updates.append(1)
    if rank == victim and len(updates) == moment:
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[how])

Trainer._update = failing
columns = {"id": [], "at": [], "y": []}
for k in range(6):
    columns["id"] += [k] * 200
    columns["at"] += range(200)
    columns["y"] += (np.sin(np.arange(200) / 4 + k) + np.random.default_rng(k).normal(0, 0.1, 200)).tolist()
forecaster = fl.Forecaster(4, hidden_size=6, epochs=4, batch_size=4, random_state=0, verbose=0)
forecaster.fit(columns, id_col="id", time_col="at", target_col="y", checkpoint=path, resume=True, shards=4,
               communicator=MPI.COMM_WORLD, deadline=float(sys.argv[5]))
if rank == 0:
    np.save(path + ".npy", np.array(forecaster.predict()["fastlstm"]))
"""


def start(
    folder: Path,
    ranks: int,
    how: str = "none",
    victim: int = -1,
    moment: float = 0,
    deadline: float = 100,
    text: str = PROGRAM,
) -> tuple[int, str]:
    """Run the program; return its status and what it wrote to stderr."""
    command = mpiexec(ranks)
    program = folder / "program.py"
    program.write_text(text)
    arguments = [folder / "run.safetensors", how, victim, moment, deadline]
    # A file rather than a pipe, which a process that is left behind would keep open.
    with open(folder / "stderr.txt", "w+") as stderr:
        done = subprocess.run(
            [*command, sys.executable, "-m", "mpi4py", str(program), *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=LIMIT,
            check=False,
            cwd=folder,
        )
        stderr.seek(0)
        return done.returncode, stderr.read()


def weights_of(folder: Path) -> np.ndarray:
    return np.load(folder / "run.safetensors.npy")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The weights of a run that nothing has happened to."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder, 1) == (0, "")
    return weights_of(folder)


def check_files(folder: Path, updates: int | None = None) -> None:
    """The only file of the run, if any, is whole; it was saved after this number of updates.

    The program itself writes its weights at its end, which a random moment may follow.
    """
    found = [one.name for one in folder.glob("run*") if one.name not in ("run.safetensors", "run.safetensors.npy")]
    # What a kill leaves in the middle of a save has another name, and goes when the run continues.
    assert not [name for name in found if ".safetensors" in name and not re.search("tmp", name)], found
    path = folder / "run.safetensors"
    if path.exists():
        progress = SavedRun(path).progress
        fl.load(path)
        if updates is not None:
            assert (progress.epoch - 1) * 5 + progress.batch in (updates - 1, updates)


@pytest.mark.parametrize(
    ("how", "ranks", "victim", "then"),
    [("raise", 2, 1, 4), ("raise", 3, 0, 2), ("hang", 4, 3, 1), ("stop", 2, 0, 3), ("kill", 2, 1, 1)],
)
def test_one_process_ends_all(
    how: str, ranks: int, victim: int, then: int, expected: np.ndarray, tmp_path: Path
) -> None:
    status, said = start(tmp_path, ranks, how, victim, 13, deadline=3)
    assert status != 0
    if how == "raise":
        others = f"rank {victim} of the {ranks} processes of the communicator has ended the training: OSError: the disk"
        assert others in said and "OSError: the disk is gone" in said
    elif how in ("hang", "stop"):
        assert f"rank {victim} has not answered for 3 seconds, the deadline of the {ranks} processes" in said
    check_files(tmp_path, 13)
    assert start(tmp_path, then) == (0, "")
    np.testing.assert_array_equal(weights_of(tmp_path), expected)


@pytest.mark.parametrize(("how", "ranks", "victim", "then"), [("kill", 3, 0, 2), ("stop", 2, 1, 3)])
def test_one_process_of_a_forecaster_ends_all(how: str, ranks: int, victim: int, then: int, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    assert start(whole, 1, text=FORECASTER) == (0, "")
    status, said = start(cut, ranks, how, victim, 20, deadline=3, text=FORECASTER)
    assert status != 0
    if how == "stop":
        assert f"rank {victim} has not answered for 3 seconds, the deadline of the {ranks} processes" in said
    found = [one.name for one in cut.glob("run*")]
    assert "run.safetensors" in found and all(re.search("tmp", name) for name in found if name != "run.safetensors")
    assert start(cut, then, text=FORECASTER) == (0, "")
    np.testing.assert_array_equal(weights_of(cut), weights_of(whole))
    assert not (cut / "run.safetensors").exists()


@pytest.mark.nightly
def test_kill_and_stop_at_random_moments(expected: np.ndarray, tmp_path: Path) -> None:
    draw = random.Random(0)
    ended = 0
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        ranks = draw.choice((2, 3, 4))
        status, said = start(folder, ranks, "at random", draw.randrange(ranks), draw.uniform(0.0, 0.8), deadline=1)
        if status:
            ended += 1
        check_files(folder)
        (folder / "run.safetensors.npy").unlink(missing_ok=True)
        assert start(folder, draw.choice((1, 2, 3, 4))) == (0, ""), said
        np.testing.assert_array_equal(weights_of(folder), expected)
    assert ended > 50
