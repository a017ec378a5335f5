"""Threads: many Python threads at once, teams that are smaller than requested, limits and processors."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import in_threads, run_with_children

import fastlstm as fl
from fastlstm import _core
from fastlstm.runtime import config

# Sizes for which a team is worth waking, one divided by rows and one by units.
PREPARE = """
import hashlib, os, sys
import numpy as np, fastlstm as fl
fl._core.always_wake(True)  # several threads even if other programs keep the processors busy
rng = np.random.default_rng(0)
cases = [rng.standard_normal(shape).astype("f4") for shape in ((40, 30, 8), (1, 200, 8))]
def digest(n_threads):
    model = fl.Model([fl.LSTM(120, return_sequences=True), fl.Dense(2)], input_size=8, seed=1)
    result = hashlib.sha256()
    for x in cases:
        out = model.forward(x, training=True, n_threads=n_threads)
        model.backward(np.ones_like(out))
        result.update(out)
        result.update(model.flat_gradients)
    return result.hexdigest()
"""


def printed(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Return what a new process prints, which does not inherit the user's settings."""
    env = {name: value for name, value in os.environ.items() if name not in ("FASTLSTM_NUM_THREADS", "OMP_NUM_THREADS")}
    done = run_with_children(command, cwd=folder, env={**env, **environment}, timeout=60)  # a hang is a failure
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(code: str, folder: Path, **environment: str) -> str:
    return printed([sys.executable, "-W", "ignore", "-c", PREPARE + code], folder, environment)


# --- many Python threads


CALLERS = 16
THREADS = (1, 2, 3)
rounds = pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.nightly)])


def all_at_once(work: Callable[[int], None]) -> None:
    """Call work(0) to work(15) at the same time, each in its own thread; raise the first error here."""
    errors: list[BaseException] = []
    together = threading.Barrier(CALLERS)

    def guarded(k: int) -> None:
        try:
            together.wait()
            work(k)
        except BaseException as error:
            errors.append(error)

    in_threads(CALLERS, guarded)
    if errors:
        raise errors[0]


def layered(seed: int = 3) -> fl.Model:
    layers = [
        fl.LSTM(24, num_layers=2, bidirectional=True, return_sequences=True),
        fl.Dropout(0.2),
        fl.LSTM(40),
        fl.Dense(3),
    ]
    return fl.Model(layers, input_size=5, seed=seed)


@rounds
@pytest.mark.parametrize("frozen", [False, True])
def test_sixteen_threads_predict_on_one_model(frozen: bool, rounds: int) -> None:
    """The batches have many shapes and use one thread or teams."""
    model = layered()
    if frozen:
        model.freeze()
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((int(rng.integers(1, 40)), int(rng.integers(1, 60)), 5)).astype("f4") for _ in range(8)]
    lengths = [rng.integers(1, x.shape[1] + 1, len(x)) if k % 2 else None for k, x in enumerate(X)]
    alone = [model.predict(x, length, n_threads=1) for x, length in zip(X, lengths, strict=True)]

    def work(k: int) -> None:
        for n in range(rounds * len(X)):
            case = (k + n) % len(X)
            got = model.predict(X[case], lengths[case], n_threads=THREADS[(k + n) % len(THREADS)])
            np.testing.assert_array_equal(got, alone[case])

    all_at_once(work)


@rounds
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy", "ctc"])
def test_sixteen_threads_evaluate_one_model(loss: str, rounds: int) -> None:
    """Each thread has its own buffers of the loss."""
    rng = np.random.default_rng(0)
    model = fl.Model([fl.LSTM(8, return_sequences=loss == "ctc"), fl.Dense(3)], input_size=5)
    data: list[tuple[np.ndarray, Any]] = []
    for _ in range(6):
        cases = int(rng.integers(100, 300))
        X = rng.standard_normal((cases, int(rng.integers(4, 12)), 5)).astype("f4")
        values = {"mse": rng.standard_normal((cases, 3)), "binary_cross_entropy": rng.integers(0, 2, (cases, 3))}
        y = [[1, 2]] * cases if loss == "ctc" else values.get(loss, rng.integers(0, 3, cases))
        data.append((X, y))
    model.fit(*data[0], loss=loss, epochs=1, verbose=0)
    alone = [model.evaluate(*case) for case in data]

    def work(k: int) -> None:
        for n in range(4 * rounds):
            case = (k + n) % len(data)
            assert model.evaluate(*data[case], n_threads=THREADS[(k + n) % len(THREADS)]) == alone[case]

    all_at_once(work)


@rounds
def test_sixteen_threads_with_a_stream_each(rounds: int) -> None:
    model = fl.Model([fl.LSTM(96, num_layers=2), fl.Dense(3)], input_size=5, seed=3)
    X = np.random.default_rng(0).standard_normal((CALLERS, 9, 30, 5)).astype("f4")
    streams = [model.stream(9) for _ in range(CALLERS)]
    alone = []
    for stream, x in zip(streams, X, strict=True):
        alone.append([stream.step(x[:, t]).copy() for t in range(x.shape[1])])
        stream.reset()

    def work(k: int) -> None:
        stream = model.stream(9, n_threads=THREADS[k % len(THREADS)])
        for _ in range(rounds):
            for mine in (stream, streams[k]):  # made here, and used in another thread
                mine.reset()
                for t, expected in enumerate(alone[k]):
                    np.testing.assert_array_equal(mine.step(X[k][:, t]), expected)

    all_at_once(work)


def trained(seed: int, n_threads: int) -> bytes:
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((60, 20, 5)).astype("f4"), rng.integers(0, 3, 60)
    model = layered(seed)
    model.fit(X, y, epochs=2, batch_size=20, validation_split=0.2, verbose=0, n_threads=n_threads)
    return model.flat_parameters.tobytes() + model.predict(X, n_threads=n_threads).tobytes()


@rounds
def test_sixteen_threads_train_a_model_each(rounds: int) -> None:
    alone = [trained(seed, 1) for seed in range(CALLERS)]

    def work(k: int) -> None:
        for n in range(max(1, rounds // 4)):
            assert trained(k, THREADS[(k + n) % len(THREADS)]) == alone[k]

    all_at_once(work)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_a_python_without_gil_switches_the_gil_on() -> None:
    """The extension does not declare that it works without the GIL: its objects rely on it."""
    assert sys._is_gil_enabled()  # type: ignore[attr-defined]


# --- limits


@pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("limit", ["1", "2"])
def test_openmp_may_grant_fewer_threads(tmp_path: Path, limit: str) -> None:
    assert run("print(digest(5))", tmp_path, OMP_THREAD_LIMIT=limit) == run("print(digest(1))", tmp_path)


@pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")
def test_threadpoolctl_limits_the_threads(tmp_path: Path) -> None:
    """A limit of threadpoolctl holds in the calling thread, and for set_num_threads, until it is lifted."""
    pytest.importorskip("threadpoolctl")
    code = """
from threadpoolctl import ThreadpoolController, threadpool_limits
assert "openmp" in {pool["user_api"] for pool in ThreadpoolController().info()}
threads = fl.get_num_threads
assert threads() == 4
with threadpool_limits(2):
    assert threads() == 2
    assert "threadpoolctl" in fl.runtime.config.config()["threads_source"]
    limited = digest(None)
    with threadpool_limits(1, user_api="openmp"):
        assert threads() == 1
        fl.set_num_threads(3)
        assert threads() == 1
    assert threads() == 2
    with threadpool_limits(1, user_api="blas"):
        assert threads() == 2
    fl.set_num_threads(None)
assert threads() == 4
with threadpool_limits(8):  # no limit at all
    assert threads() == 4
assert digest(None) == limited
print("done")
"""
    assert run(code, tmp_path, OMP_NUM_THREADS="4") == "done\n"


@pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_limit_of_threads_holds_after_a_fork(tmp_path: Path) -> None:
    """Check OMP_THREAD_LIMIT, and a limit that threadpoolctl has set in the parent."""
    pytest.importorskip("threadpoolctl")
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("the system does not tell the threads of a process")
    code = """
from threadpoolctl import threadpool_limits
expected = digest(3)
with threadpool_limits(2, user_api="openmp"):
    child = os.fork()
    if child == 0:
        wrong = digest(3) != expected  # asks for more than OMP_THREAD_LIMIT
        os._exit(wrong + 2 * (len(os.listdir("/proc/self/task")) != 2) + 4 * (fl.get_num_threads() != 2))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""
    assert run(code, tmp_path, OMP_THREAD_LIMIT="2", OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == "done\n"


# --- processors


DEFAULT = "print(fl.get_num_threads(), fl.runtime.config.config()['threads_source'])"


def default_threads(folder: Path, *command: str, **environment: str) -> str:
    """Return the default number of threads of a new process, started by a command."""
    code = "import fastlstm as fl\n" + DEFAULT
    return printed([*command, sys.executable, "-c", code], folder, environment)


affinity = pytest.mark.skipif(
    not (hasattr(os, "sched_setaffinity") and _core.openmp()), reason="no CPU affinity on this system, or no OpenMP"
)


@affinity
def test_taskset_sets_the_default(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    try:
        for count in {1, min(2, len(cpus)), len(cpus)}:
            chosen = ",".join(map(str, cpus[:count]))
            allowed = min(count, config._usable_cpus())  # a container's quota may be even lower
            expected = f"{allowed} CPUs this process may use\n"
            assert default_threads(tmp_path, "taskset", "-c", chosen) == expected
    except FileNotFoundError:
        pytest.skip("no taskset on this machine")


@affinity
def test_a_child_has_the_processors_that_it_is_given(tmp_path: Path) -> None:
    code = """
before = fl.get_num_threads()
child = os.fork()
if child == 0:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    os._exit(fl.get_num_threads() != 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert fl.get_num_threads() == before
print("done")
"""
    assert run(code, tmp_path) == "done\n"


@affinity
def test_openmp_may_bind_its_threads(tmp_path: Path) -> None:
    """The main thread then has one of the processors of the process; the others are for the team."""
    usual = default_threads(tmp_path)
    assert default_threads(tmp_path, OMP_PROC_BIND="true") == usual
    assert default_threads(tmp_path, OMP_PLACES="cores", OMP_PROC_BIND="close") == usual


# --- instruction sets


@pytest.mark.parametrize("isa", _core.available_isas())
def test_the_environment_chooses_the_instruction_set(tmp_path: Path, isa: str) -> None:
    assert run("print(fl._core.isa())", tmp_path, FASTLSTM_ISA=isa) == isa + "\n"


def test_the_name_of_an_instruction_set_may_be_in_capital_letters(tmp_path: Path) -> None:
    assert run("print(fl._core.isa())", tmp_path, FASTLSTM_ISA="PORTABLE") == "portable\n"
    assert run("print(fl._core.isa())", tmp_path, FASTLSTM_ISA="") == _core.available_isas()[-1] + "\n"


@pytest.mark.parametrize("isa", ["mmx", "avx", "avx2 ", "portable2", "portabl"])
def test_an_unknown_instruction_set_in_the_environment_is_refused(tmp_path: Path, isa: str) -> None:
    command = [sys.executable, "-c", "import fastlstm"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "FASTLSTM_ISA": isa}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"FASTLSTM_ISA={isa!r}: expected one of the instruction sets of this machine, " in done.stderr
    assert ", ".join(_core.available_isas()) in done.stderr
