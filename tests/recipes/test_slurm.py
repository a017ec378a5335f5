"""The recipes for Slurm of docs/machines.md, on a Slurm of one node that the page's lines start in a folder.

The job is the page's, too: the number of nodes, the size of the model and the pause between checkpoints are others, and
the training waits after each batch, so that it can be hit in the middle.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import recipe
from slurm import SBIN, Slurm, until

import fastlstm as fl
from fastlstm.training.run_state import SavedRun

pytestmark = [
    pytest.mark.nightly,  # a minute, and daemons
    pytest.mark.skipif(
        not all(shutil.which(name, path=SBIN) for name in ("slurmctld", "slurmd", "munged", "sbatch", "srun")),
        reason="needs Debian's slurmd, slurmctld, slurm-client and munge",
    ),
]
METERS = """
import numpy as np
import pandas as pd

import fastlstm as fl

hours = pd.date_range("2026-01-01", periods=150, freq="h")
meters = pd.concat(
    pd.DataFrame({"meter": f"m{k:02}", "ds": hours, "y": np.sin(np.arange(150) / (k + 3)) + k}) for k in range(12)
)
forecaster = fl.Forecaster(4, hidden_size=4, epochs=2, random_state=0, verbose=0)
"""

EPOCHS, BATCHES = 6, 5
SLOW = """
import time

class Slow(fl.Callback):
    def on_batch_end(self, batch, logs):
        time.sleep(0.1)

"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def prepare(folder: Path) -> Path:
    """Write the program of the page, its job script and data to a folder."""
    pytest.importorskip("mpi4py")
    rng = np.random.default_rng(0)
    np.save(folder / "X.npy", rng.standard_normal((40, 7, 3)))
    np.save(folder / "y.npy", rng.integers(0, 3, 40))
    program = recipe(
        "# train.py\nimport sys",
        {
            "folder = Path": SLOW + "folder = Path",
            "fl.LSTM(256), fl.Dense(10)": "fl.LSTM(8, dropout=0.2, num_layers=2), fl.Dense(3)",
            "batch_size=4096, shards=64, epochs=50": f"batch_size=8, shards=8, epochs={EPOCHS}",
            "callbacks=[": "callbacks=[Slow(), ",
            "every_seconds=300": "every_batches=1",
        },
    )
    (folder / "train.py").write_text(program)
    job = recipe(
        "#SBATCH --job-name",
        {
            ". ~/venv/bin/activate ": f"export PATH={Path(sys.executable).parent}:$PATH ",
            "/scratch/run": str(folder),
        },
    )
    (folder / "train.sh").write_text(job)
    return folder


def updates(folder: Path) -> int:
    """Return how many updates the checkpoint of a run has seen."""
    path = folder / "run.safetensors"
    if not path.exists():
        return 0
    progress = SavedRun(path).progress
    return (progress.epoch - 1) * BATCHES + progress.batch


def weights(folder: Path) -> np.ndarray:
    return fl.load(folder / "model.safetensors").flat_parameters


def printed(folder: Path, job: str) -> str:
    return (folder / f"slurm-{job}.out").read_text()


def ranks(job: str, slurm: Slurm) -> list[int]:
    """Return the processes of a job that train."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or b"mpi4py\0train.py" not in (entry / "cmdline").read_bytes():
                continue
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if {f"SLURM_JOB_ID={job}".encode(), f"SLURM_CONF={slurm.folder}/slurm.conf".encode()} <= set(environment):
            if any(one.startswith(b"PMI_RANK=") for one in environment):  # not mpiexec, whose command it is as well
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def expected(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The weights of a job of three processes that nothing has happened to."""
    folder = prepare(tmp_path_factory.mktemp("whole"))
    job = slurm.submit(folder, 3)
    assert slurm.end(job) == "COMPLETED", printed(folder, job)
    return weights(folder)


def cancel(slurm: Slurm, job: str) -> str:
    slurm.run("scancel", job)
    return "CANCELLED"


def kill(slurm: Slurm, job: str) -> str:
    os.kill(ranks(job, slurm)[-1], signal.SIGKILL)
    return "FAILED"


@pytest.mark.parametrize("event", [cancel, kill])
def test_another_job_continues(
    event: Callable[[Slurm, str], str], slurm: Slurm, expected: np.ndarray, tmp_path: Path
) -> None:
    folder = prepare(tmp_path)
    job = slurm.submit(folder, 4)
    until(lambda: updates(folder) >= 7, "seven updates")
    state = event(slurm, job)
    assert slurm.end(job) == state, printed(folder, job)
    assert not (folder / "model.safetensors").exists()
    assert 7 <= updates(folder) < EPOCHS * BATCHES
    until(lambda: not ranks(job, slurm), "the end of all processes")

    again = slurm.submit(folder, 2)
    assert slurm.end(again) == "COMPLETED", printed(folder, again)
    np.testing.assert_array_equal(weights(folder), expected)


def requeue(slurm: Slurm, job: str) -> None:
    slurm.run("scontrol", "requeue", job)


def time_is_over(slurm: Slurm, job: str) -> None:
    """Send the signal that Slurm sends to the job script some time before the job's time is over."""
    slurm.run("scancel", "--batch", "--signal=USR1", job)


@pytest.mark.parametrize("event", [requeue, time_is_over])
def test_the_job_continues_by_itself(
    event: Callable[[Slurm, str], None], slurm: Slurm, expected: np.ndarray, tmp_path: Path
) -> None:
    folder = prepare(tmp_path)
    job = slurm.submit(folder, 2)
    until(lambda: updates(folder) >= 7, "seven updates")
    event(slurm, job)
    until(lambda: slurm.state(job) == "PENDING", f"job {job} in the queue")
    assert not (folder / "model.safetensors").exists()
    # Slurm waits for two minutes. Within a second the node would refuse the job, whose credential has been revoked.
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+5")
    assert slurm.end(job) == "COMPLETED", printed(folder, job)
    np.testing.assert_array_equal(weights(folder), expected)


def test_jobs_of_dask(slurm: Slurm, tmp_path: Path) -> None:
    for package in ("dask_jobqueue", "distributed", "utilsforecast"):
        pytest.importorskip(package)
    code = recipe(
        "import SLURMCluster",
        {
            'cores=16, processes=16, memory="32GB", walltime="02:00:00"': "cores=2, processes=2, memory='4GB', "
            "walltime='00:20:00', interface='lo', scheduler_options={'dashboard_address': None}",
            "jobs=20": "jobs=2",
            "            report =": "            report = found =",
        },
    )
    (tmp_path / "program.py").write_text(f"{METERS}\n{code}\n    found.to_pickle('found.pickle')\n")
    with open(tmp_path / "log.txt", "w+") as log:
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, env=slurm.environment, stdout=log, stderr=log,
            timeout=200, check=False,
        )  # fmt: skip
        log.seek(0)
        printed = log.read()
    assert done.returncode == 0, printed
    assert "#SBATCH -p cpu" in printed

    import pandas as pd

    found = pd.read_pickle(tmp_path / "found.pickle")
    assert found["meter"].tolist() == [f"m{number:02}" for number in range(12)]
    assert found["error"].isna().all()
    names: dict[str, Any] = {}
    exec(METERS, names)
    for number in (0, 11):  # the bits of a loop
        rows = names["meters"][names["meters"]["meter"] == f"m{number:02}"]
        alone = names["forecaster"].fit(rows, id_col="meter")
        saved = fl.Forecaster.load(tmp_path / found["file"][number])
        np.testing.assert_array_equal(saved.predict()["fastlstm"], alone.predict()["fastlstm"])
