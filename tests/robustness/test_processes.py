"""Processes that a parent starts after it has used threads: they use threads of their own and compute the same bits.

Everything runs in a process that this one starts, and kills if it hangs: a child that waits for threads that do not
exist any more waits for ever. A few repetitions run always, the others with the nightly tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import run_with_children

from fastlstm import _core

HANG = 240  # seconds; the slowest test takes 10 on a busy machine, a nightly one 100

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
repeated = pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.nightly)])

# A module of its own, since processes that are not forked import the functions that they run.
WORK = '''
import hashlib, os, threading
import numpy as np, fastlstm as fl

fl._core.always_wake(True)
rng = np.random.default_rng(0)
CASES = [rng.standard_normal(shape).astype("f4") for shape in ((40, 30, 8), (1, 200, 8))]  # by rows, by units
LABELS = rng.integers(0, 3, 40)

def model():
    return fl.Model([fl.LSTM(72), fl.Dense(3)], input_size=8, seed=1)

def digest(n_threads):
    """Of training and of what is then predicted."""
    mine = model()
    mine.fit(CASES[0], LABELS, epochs=2, batch_size=20, verbose=0, n_threads=n_threads)
    result = hashlib.sha256(mine.flat_parameters)
    for x in CASES:
        result.update(mine.predict(x, n_threads=n_threads))
    stream = mine.stream(n_threads=n_threads)
    result.update(stream.run(CASES[1]))
    return result.hexdigest()

def threads():
    """Of this process, as far as the system tells."""
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None

def more_threads(n_threads):
    """Whether the work has brought so many threads with it, and the digest."""
    before = threads()
    result = digest(n_threads)
    return before is None or threads() - before >= n_threads - 1, result

def busy(go_on):
    """Keeps a thread inside kernels."""
    mine, x = model(), rng.standard_normal((40, 100, 8)).astype("f4")
    while go_on.is_set():
        mine.predict(x, n_threads=3)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path


@needs_fork
def test_a_child_that_hangs_fails_its_test() -> None:
    """The child is killed too, although it holds the pipes of a parent that has ended."""
    code = "import os, time\nchild = os.fork()\nif child:\n    print(child, flush=True)\nelse:\n    time.sleep(1000)"
    with pytest.raises(AssertionError, match=r"still running after 2 s; output so far:\n\d+") as error:
        run_with_children([sys.executable, "-c", code], timeout=2)
    child = int(str(error.value).split()[-1])
    end = time.monotonic() + HANG
    while _lives(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # Z: a zombie
    except FileNotFoundError:
        return False


def run(folder: Path, code: str, *arguments: object) -> None:
    """Run a program that prints 'done' at its end."""
    body = "\n".join("    " + line for line in code.strip().splitlines())
    first = "import torch\n" if "torch" in code else ""
    program = (
        first + "import os, sys\nfrom work import *\n\nif __name__ == '__main__':\n" + body + "\n    print('done')\n"
    )
    (folder / "program.py").write_text(program)
    done = run_with_children(
        [sys.executable, "-W", "ignore", "program.py", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        timeout=HANG,
    )
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr


# Code of a child: it computes a digest, which must equal `expected`, the parent's.
IN_CHILD = """
def in_child(n_threads, expected, deeper=0):
    has, got = more_threads(n_threads)
    if not has or got != expected:
        return 1
    others = []
    thread = threading.Thread(target=lambda: others.append(digest(2)))  # one that was made in the child
    thread.start()
    thread.join()
    if others != [expected]:
        return 2
    return forked(n_threads, expected, deeper - 1) if deeper else 0

def forked(n_threads, expected, deeper=0):
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = in_child(n_threads, expected, deeper)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@needs_fork
@repeated
def test_fork(folder: Path, times: int) -> None:
    """Fork children from the main thread and from another, and grandchildren; the parent keeps working."""
    code = (
        IN_CHILD
        + """
expected = digest(1)
assert digest(3) == expected
for k in range(int(sys.argv[1])):
    assert forked(2 + k % 3, expected, deeper=k % 3) == 0, k
    codes = []
    thread = threading.Thread(target=lambda: (digest(2), codes.append(forked(3, expected))))
    thread.start()
    thread.join()
    assert codes == [0], (k, codes)
assert digest(3) == expected
"""
    )
    run(folder, code, times)


@needs_fork
@repeated
def test_fork_while_other_threads_are_inside_kernels(folder: Path, times: int) -> None:
    code = (
        IN_CHILD
        + """
expected = digest(3)
go_on = threading.Event()
go_on.set()
others = [threading.Thread(target=busy, args=(go_on,), daemon=True) for _ in range(2)]
for other in others:
    other.start()
try:
    for k in range(int(sys.argv[1])):
        assert forked(2 + k % 2, expected, deeper=k % 2) == 0, k
finally:
    go_on.clear()
for other in others:
    other.join()
"""
    )
    run(folder, code, times)


@needs_fork
def test_fork_before_any_work(folder: Path) -> None:
    run(folder, IN_CHILD + "assert forked(3, digest(1)) == 0\nassert forked(3, digest(3)) == 0")


@needs_fork
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_fork_after_another_library_has_used_the_same_openmp(folder: Path) -> None:
    """If torch is imported first, fastlstm shares its libgomp; threads that torch started must not stop the child."""
    code = (
        """
def torch_works():
    torch.set_num_threads(3)
    return torch.randn(2000, 500).exp().sum().item() > 0
"""
        + IN_CHILD
        + """
expected = digest(1)
assert torch_works()
assert forked(3, expected, deeper=1) == 0
assert digest(3) == expected
assert torch_works()
assert forked(3, expected, deeper=1) == 0
"""
    )
    run(folder, code)


@needs_fork
@pytest.mark.skipif(not _core.openmp(), reason="built without OpenMP")
def test_the_system_refuses_a_child_its_threads(folder: Path) -> None:
    """The child then computes with the threads that it has."""
    code = """
expected = digest(2)
child = os.fork()
if child == 0:
    import resource, threading
    os.setuid(12345)  # limits on the number of threads do not hold for root
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        os._exit(digest(3) != expected)
    os._exit(77)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code in (0, 77), code
"""
    if os.geteuid() != 0:
        pytest.skip("needs another user's id, to have its number of threads limited")
    run(folder, code)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@repeated
def test_multiprocessing(folder: Path, method: str, times: int) -> None:
    code = """
import multiprocessing
if sys.argv[1] not in multiprocessing.get_all_start_methods():
    print("done")
    sys.exit()
context = multiprocessing.get_context(sys.argv[1])
expected = digest(2)
for _ in range(int(sys.argv[2])):
    with context.Pool(2) as pool:
        assert set(pool.map(digest, [1, 2, 3, 2, 4])) == {expected}
    with context.Pool(1) as pool:  # one worker, whose first work this is
        assert pool.apply(more_threads, (3,)) == (True, expected)
"""
    run(folder, code, method, times)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@repeated
def test_process_pool_executor(folder: Path, method: str, times: int) -> None:
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if sys.argv[1] not in multiprocessing.get_all_start_methods():
    print("done")
    sys.exit()
expected = digest(2)
for _ in range(int(sys.argv[2])):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        assert set(pool.map(digest, [1, 2, 3, 2, 4])) == {expected}
"""
    run(folder, code, method, times)


@pytest.mark.skipif(find_spec("joblib") is None, reason="joblib is not installed")
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@repeated
def test_joblib(folder: Path, backend: str, times: int) -> None:
    code = """
from joblib import Parallel, delayed, parallel_config
expected = digest(2)
for _ in range(int(sys.argv[2])):
    got = Parallel(n_jobs=2, backend=sys.argv[1])(delayed(digest)(n) for n in (1, 2, 3, 2, None))
    assert set(got) == {expected}
if sys.argv[1] == "loky":  # it tells its workers how many threads each may have
    with parallel_config(backend="loky", inner_max_num_threads=1):
        assert Parallel(n_jobs=2)(delayed(fl.get_num_threads)() for _ in range(4)) == [1] * 4
"""
    run(folder, code, backend, times)


# --- gunicorn


SERVICE = """
import json
from work import *

expected = digest(3)  # in the master, whose copy each worker is

def app(environ, start_response):
    n_threads = int(environ["QUERY_STRING"])
    has, got = more_threads(n_threads)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "right": got == expected, "threads": threads()}).encode()]
"""


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")
@needs_fork
@pytest.mark.parametrize("worker", ["sync", "gthread"])
@repeated
def test_gunicorn(folder: Path, worker: str, times: int) -> None:
    """The master has loaded the application, and has used threads for that, before it forks the workers."""
    (folder / "service.py").write_text(SERVICE)
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "--preload", "--workers", "2", "--threads"]
    command += ["1" if worker == "sync" else "3", "--worker-class", worker, "--bind", "127.0.0.1:0"]
    command += ["--timeout", str(HANG), "--graceful-timeout", "5", "--worker-tmp-dir", str(folder), "service:app"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stderr=log, start_new_session=True)
    try:
        address = _address(server, folder / "log")

        def ask(k: int) -> dict[str, object]:
            with urllib.request.urlopen(f"{address}/?{1 + k % 3}", timeout=HANG) as answer:
                reply: dict[str, object] = json.loads(answer.read())
                return reply

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, range(4 * times)))
        assert all(answer["right"] for answer in answers)
        assert server.pid not in {answer["pid"] for answer in answers}
        server.send_signal(signal.SIGTERM)
        assert server.wait(HANG) == 0, (folder / "log").read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + HANG
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"Listening at: (http://[\d.:]+)", log.read_text()):
            return found[1]
        threading.Event().wait(0.05)
    raise AssertionError(f"gunicorn does not listen:\n{log.read_text()}")
