"""``mpiexec -n 2 fastlstm train``: the model of one process, written once."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import mpiexec

import fastlstm as fl

pytestmark = pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec")

rng = np.random.default_rng(3)
TABLES = {
    "classify": (
        [*(f"t{step}" for step in range(9)), "kind"],
        [[*rng.normal(case % 2, 1, 9), "ab"[case % 2]] for case in range(41)],
    ),
    "forecast": (
        ["series", "at", "y"],
        [[name, step, np.sin(step / 4) + k] for k, name in enumerate("abc") for step in range(200 + 9 * k)],
    ),
    "anomaly": (["x", "y"], np.column_stack([np.sin(np.arange(400) / 5), rng.normal(size=400)]).tolist()),
}
OPTIONS = {
    "classify": ["--target", "kind", "--test", "0.2", "--validation", "0.2", "--set", "class_weight=balanced"],
    "forecast": "--id series --time at --target y --horizon 4 --set hidden_size=6 --set batch_size=3".split(),
    "anomaly": ["--set", "window=20"],
}

TASKS = [name for name in TABLES if name != "forecast" or find_spec("pandas") is not None]


def start(processes: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line in several processes; 0: without mpiexec."""
    launcher = mpiexec(processes) if processes else []
    return subprocess.run(
        [*launcher, sys.executable, "-m", "fastlstm", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for task, (names, rows) in TABLES.items():
        lines = [",".join(map(str, row)) for row in [names, *rows]]
        (tmp_path / f"{task}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_any_number_of_processes_writes_the_same_model(task: str, quiet: bool, folder: Path) -> None:
    files, printed = [], []
    for processes in (0, 3):
        arguments = f"train {task}.csv --task {task} --epochs 2 --shards 4 -o model.safetensors --json".split()
        arguments += [*OPTIONS[task], *(["--quiet"] if quiet else [])]
        done = start(processes, folder, *arguments)
        assert done.returncode == 0, done.stderr
        assert (done.stderr == "") == quiet
        assert done.stderr.count("the model is in") == (not quiet)
        files.append((folder / "model.safetensors").read_bytes())
        printed.append({name: value for name, value in json.loads(done.stdout).items() if name != "seconds"})
        (folder / "model.safetensors").unlink()
        assert [one.name for one in folder.iterdir() if one.suffix != ".csv"] == []
    assert files[0] == files[1] and printed[0] == printed[1]


@pytest.mark.parametrize("task", TASKS)
def test_several_processes_need_shards(task: str, folder: Path) -> None:
    done = start(2, folder, *f"train {task}.csv --task {task} -o m.safetensors".split(), *OPTIONS[task])
    message = "2 processes were started with --shards 1, expected a part of each batch for every process"
    assert done.returncode == 2
    assert done.stderr.count(f"fastlstm: usage error: {message}") == 1
    assert not (folder / "m.safetensors").exists()


def test_stdin_is_refused(folder: Path) -> None:
    done = start(2, folder, *"train - --task classify --target kind --shards 2 -o m.safetensors".split())
    assert (done.returncode, done.stderr.count("stdin goes to one of them")) == (2, 1)


@pytest.mark.parametrize("options", ["--task classify", "--task forecast --time at --horizon 3 --ignore series"])
def test_data_that_are_refused_end_all(options: str, folder: Path) -> None:
    task = options.split()[1]
    done = start(3, folder, *f"train {task}.csv {options} --target none --shards 3 -o m.safetensors".split())
    assert done.returncode == 3
    assert done.stderr.count("fastlstm: error:") == 1 and "no column 'none'" in done.stderr


def test_what_the_training_refuses_is_said_once(folder: Path) -> None:
    arguments = "train anomaly.csv --task anomaly --shards 3 --set learning_rate=1e30 -o m.safetensors --quiet"
    done = start(3, folder, *arguments.split(), *OPTIONS["anomaly"])
    assert done.returncode == 1
    assert done.stderr.count("fastlstm: error:") == 1 and "became" in done.stderr


def test_one_process_of_mpiexec_needs_no_shards(folder: Path) -> None:
    arguments = "train anomaly.csv --task anomaly --epochs 1 -o m.safetensors".split()
    done = start(1, folder, *arguments, *OPTIONS["anomaly"])
    assert done.returncode == 0, done.stderr
    fl.load(folder / "m.safetensors")
