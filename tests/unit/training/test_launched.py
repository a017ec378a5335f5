"""Processes that a launcher has started, but MPI does not connect, are told so."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fastlstm.training import launched

PROGRAM = """
import numpy as np
from mpi4py import MPI
import fastlstm as fl

model = fl.Model([fl.LSTM(2), fl.Dense(2)])
model.fit(np.zeros((8, 3, 1)), np.arange(8) % 2, epochs=1, shards=4, communicator=MPI.COMM_WORLD, verbose=0)
"""


@pytest.fixture(autouse=True)
def nothing_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in launched._STARTED:
        monkeypatch.delenv(name, raising=False)


def test_what_launchers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched.disconnected(1) is None
    for name in launched._STARTED:
        for count, alone in [("1", False), ("many", False), ("3", True)]:
            monkeypatch.setenv(name, count)
            found = launched.disconnected(1)
            assert (found is not None) == alone
            assert launched.disconnected(3) is None
        assert found is not None and found.startswith(f"3 processes were started ({name}=3), but each is alone")
        monkeypatch.delenv(name)


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py")
@pytest.mark.parametrize("count", ["1", "2"])
def test_fit_refuses_to_train_apart(count: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "SLURM_STEP_NUM_TASKS": count}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode == 0) == (count == "1"), done.stderr
    assert ("ValueError: 2 processes were started" in done.stderr) == (count == "2")


@pytest.mark.parametrize("shards", [1, 4])
def test_the_command_line_does_so_with_shards(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlstm.cli.errors import CommandError
    from fastlstm.cli.processes import processes

    for name in ("PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    if shards == 1:
        assert processes({"shards": 1}).communicator is None
        return
    with pytest.raises(CommandError, match="2 processes were started"):
        processes({"shards": shards})
