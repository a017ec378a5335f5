"""A Slurm of one node in a folder, started by the lines of docs/machines.md."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from documents import recipe

__all__ = ["LIMIT", "SBIN", "Slurm", "until"]

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
"""The path on which Debian's daemons are found."""

LIMIT = 300
"""Seconds after which something counts as never ending."""


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        time.sleep(0.05)


def two_free_ports() -> int:
    """Return the first of two successive numbers of ports that nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Slurm:
    """A Slurm of one node in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PMI"))},
            "SLURM_DIR": str(folder),
            "SLURM_PORT": str(two_free_ports()),
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": SBIN,
        }

    def start(self) -> None:
        self.run("sh", "-e", "-c", recipe("ClusterName="))
        until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T"), "an idle node")

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munge"):
            file = self.folder / f"{name}.pid"
            if file.exists():
                process = int(file.read_text())
                os.kill(process, signal.SIGTERM)
                until(lambda process=process: not Path(f"/proc/{process}").exists(), f"the end of {name}")

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, cwd=cwd, timeout=LIMIT
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, folder: Path, tasks: int) -> str:
        """Submit the page's job, and return its number."""
        given = [f"--ntasks={tasks}", "--nodes=1", "--cpus-per-task=1"]
        return self.run("sbatch", "--parsable", *given, "train.sh", cwd=folder).strip()

    def state(self, job: str) -> str:
        fields = dict(field.partition("=")[::2] for field in self.run("scontrol", "show", "job", "-o", job).split())
        return fields["JobState"]

    def end(self, job: str) -> str:
        """Wait for the end of a job, and return its state."""
        states = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        until(lambda: self.state(job) in states, f"the end of job {job}")
        return self.state(job)
