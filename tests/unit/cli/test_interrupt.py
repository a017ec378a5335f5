"""Ctrl-C during ``train``: a checkpoint, the command that resumes it, the same bits."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_data import COMMAND, INTERRUPTED, run, write_beats, write_pump, write_runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

TASKS = {
    "classify": ["beats.csv", "--target", "kind", "--id", "id", "--validation", "0.2"],
    "regress": ["runs.csv", "--target", "wear", "--group", "run", "--time", "t"],
    "anomaly": ["normal.csv", "--time", "time"],
}


def write_all(folder: Path) -> None:
    write_beats(folder)
    write_runs(folder)
    write_pump(folder)


@pytest.mark.parametrize("task", list(TASKS))
def test_resume(tmp_path: Path, task: str) -> None:
    write_all(tmp_path)
    arguments = ["train", *TASKS[task], "--task", task, "--epochs", "12", "-o", "my model.safetensors"]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = (tmp_path / "my model.safetensors").read_bytes()
    (tmp_path / "my model.safetensors").unlink()
    before = set(tmp_path.iterdir())

    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr and stopped.stderr.endswith("fastlstm: interrupted\n")
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"my model.checkpoint.safetensors"}

    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("  fastlstm train ")]
    program, *again = shlex.split(line)
    assert program == "fastlstm" and again == [*arguments, "--resume"]
    done = run(*again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my model.safetensors").read_bytes() == expected
    assert not (tmp_path / "my model.checkpoint.safetensors").exists()


def test_resume_with_other_arguments(tmp_path: Path) -> None:
    write_all(tmp_path)
    arguments = ["train", *TASKS["regress"], "--task", "regress", "--epochs", "12", "-o", "m.safetensors"]
    stopped = subprocess.run([sys.executable, "-c", INTERRUPTED, *arguments], cwd=tmp_path, capture_output=True)
    assert stopped.returncode == 130
    for changed in (["--epochs", "13"], ["--seed", "1"], ["--set", "hidden_size=9"]):
        done = run(*arguments, *changed, "--resume", cwd=tmp_path)
        assert done.returncode in (1, 3), done.stderr
        assert "m.checkpoint.safetensors" in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "m.safetensors").exists()
    done = run(*arguments, cwd=tmp_path)  # from the beginning
    assert done.returncode == 0 and "is left by an earlier training" in done.stderr
    assert (tmp_path / "m.checkpoint.safetensors").exists()


def test_resume_without_a_checkpoint(tmp_path: Path) -> None:
    write_all(tmp_path)
    arguments = ["train", *TASKS["regress"], "--task", "regress", "--epochs", "2", "-o", "m.safetensors", "--resume"]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0 and "the training starts from the beginning" in done.stderr


def test_a_signal_from_outside(tmp_path: Path) -> None:
    """Ctrl-C as a terminal sends it, at any moment after the start."""
    write_all(tmp_path)
    arguments = ["train", *TASKS["regress"], "--task", "regress", "--epochs", "100000", "-o", "m.safetensors"]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch "):  # printed after five seconds of training
            break
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130 and "Traceback" not in said and "--resume" in said
    assert (tmp_path / "m.checkpoint.safetensors").exists() and not (tmp_path / "m.safetensors").exists()
