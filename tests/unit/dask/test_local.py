"""Tasks of `fl.dask.fit_many` on processes of this machine: all results, whatever happens to a process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fastlstm.dask import local

loky = pytest.importorskip("loky")
cloudpickle = pytest.importorskip("cloudpickle")
pd = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(local, "resolve_threads", lambda: 2)
    # The processes cannot import the tests.
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def squared(part: int) -> tuple[int, int]:
    return part * part, os.getpid()


def failing(part: int, *, folder: Path, how: Callable[[], None], times: int, bad: int) -> int:
    """Return the square, after the bad task has failed a number of times."""
    failures = folder / "failures"
    if part == bad and len(failures.read_text() if failures.exists() else "") < times:
        with open(failures, "a") as file:
            file.write("x")
        how()
    return part * part


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_out() -> None:
    raise MemoryError("no memory")


def test_processes_do_the_work() -> None:
    found = dict(local.by_processes(squared, range(40), retries=0))
    assert {number: square for number, (square, _) in found.items()} == {k: k * k for k in range(40)}
    workers = {worker for _, worker in found.values()}
    assert len(workers) == 2 and os.getpid() not in workers


def test_tasks_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def tasks() -> Iterator[int]:
        for part in range(100):
            read.append(part)
            yield part

    for done, _ in enumerate(local.by_processes(squared, tasks(), retries=0)):
        assert len(read) <= done + 1 + 2 * local.AHEAD + 2  # of those that are done at once, up to two are not yielded


@pytest.mark.parametrize("how", [kill, run_out])
def test_a_task_that_failed_is_done_again(how: Callable[[], None], tmp_path: Path) -> None:
    run = partial(failing, folder=tmp_path, how=how, times=2, bad=7)
    found = dict(local.by_processes(run, range(30), retries=2))
    assert found == {k: k * k for k in range(30)}
    assert (tmp_path / "failures").read_text() == "xx"


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (kill, RuntimeError, "was killed 3 times in a row, probably for lack of memory"),
        (run_out, MemoryError, "no mem"),
    ],
)
def test_a_task_that_always_fails_ends_the_work(
    how: Callable[[], None], error: type[Exception], message: str, tmp_path: Path
) -> None:
    run = partial(failing, folder=tmp_path, how=how, times=99, bad=7)
    with pytest.raises(error, match=message):
        list(local.by_processes(run, range(30), retries=2))
    assert dict(local.by_processes(squared, range(3), retries=0))[2][0] == 4  # the next call has new processes


def test_a_task_that_processes_cannot_read() -> None:
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(RuntimeError, match="a process cannot read what it is to train: ModuleNotFoundError"):
            list(local.by_processes(squared, range(3), retries=2))
    finally:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])


def in_process(queue: Any) -> None:
    queue.put([one for _, (one, _) in local.by_processes(squared, range(5), retries=0)])


def test_a_daemon_which_may_start_no_processes_works_alone() -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=in_process, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=100) == [0, 1, 4, 9, 16]
    process.join(100)


def test_one_thread_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "resolve_threads", lambda: 1)
    assert {worker for _, (_, worker) in local.by_processes(squared, range(5), retries=0)} == {os.getpid()}


PROGRAM = """
import sys
import numpy as np
import pandas as pd
import fastlstm as fl

fl.set_num_threads(2)
class Halved(fl.LSTM):  # known to this program alone
    pass

hours = pd.date_range("2026-01-01", periods=150, freq="h")
table = pd.concat(pd.DataFrame({"meter": k, "ds": hours, "y": np.sin(np.arange(150) / (k + 3))}) for k in range(5))
forecaster = fl.Forecaster(4, layers=[Halved(4, return_sequences=True)], epochs=1, random_state=0, verbose=0)
found = fl.dask.fit_many(forecaster, table, by="meter", folder=sys.argv[1])
print(found["error"].tolist())
"""


def test_a_program_without_a_main_guard(tmp_path: Path) -> None:
    pytest.importorskip("utilsforecast")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "models")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == f"{[None] * 5}\n"
    assert sorted(one.name for one in (tmp_path / "models").iterdir()) == [f"{k}.safetensors" for k in range(5)]
