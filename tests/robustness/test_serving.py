"""The programs of docs/serving.md, and a soak: threads, streams, swaps and starts at the same time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import EXAMPLES, load_example

import fastlstm as fl

HANG = 120
SOAK_SECONDS = float(os.environ.get("FASTLSTM_SOAK_SECONDS", "2"))
"""The nightly run sets 480."""


def model_of(seed: int, name: str) -> fl.Model:
    rng = np.random.default_rng(0)
    scaler = fl.Standardizer().fit(rng.standard_normal((60, 3)) * 2 + 5)
    model = fl.Model([fl.LSTM(16), fl.Dense(2)], input_size=3, seed=seed, scaler=scaler)
    model.metadata = {"name": name}
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model_of(1, "first").save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let examples import each other."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    sys.modules.pop("hot_swap", None)


def series(seed: int = 0, steps: int = 20) -> np.ndarray:
    return (5 + 2 * np.random.default_rng(seed).standard_normal((steps, 3))).astype(np.float32)


# ------------------------------------------------------------------------------------ the programs


@pytest.mark.parametrize("quick", ["1e9", "0"], ids=["in the event loop", "in threads"])
def test_fastapi(path: Path, quick: str) -> None:
    for needed in ("fastapi", "uvicorn"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    program = f"import serve_fastapi\nserve_fastapi.QUICK = {quick}\nmake_app = serve_fastapi.make_app\n"
    (path.parent / "service.py").write_text(program)
    command = [sys.executable, "-m", "uvicorn", "--factory", "service:make_app", "--port", "0"]
    with server(command, path, r"running on (http://[\d.:]+)") as address:
        expected = {seed: fl.load(path).predict(series(seed)[None])[0].tolist() for seed in range(16)}

        def ask(seed: int) -> Any:
            if seed % 2:
                return np.frombuffer(post_bytes(address + "/predict-binary", series(seed).tobytes()), "<f4").tolist()
            return post(address + "/predict", {"series": series(seed).tolist()})["answer"]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(16)))
        assert answers == [expected[seed] for seed in range(16)]
        assert post(address + "/model") == {"name": "first"}
        with pytest.raises(urllib.error.HTTPError, match="422") as refused:
            post(address + "/predict", {"series": [[1.0, 2.0]]})
        assert "X has 2 features" in refused.value.read().decode()
        for cut in (b"", b"123", np.zeros(4, "f4").tobytes()):
            with pytest.raises(urllib.error.HTTPError, match="422"):
                post_bytes(address + "/predict-binary", cut)
        model_of(2, "second").save(path)
        end = time.monotonic() + HANG
        while post(address + "/model") != {"name": "second"}:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert ask(0) == fl.load(path).predict(series(0)[None])[0].tolist()


def post(address: str, question: Any = None) -> Any:
    """Return the answer of a service; without a question to a GET."""
    return json.loads(post_bytes(address, None if question is None else json.dumps(question).encode()))


def post_bytes(address: str, data: bytes | None) -> bytes:
    """Return the body of an answer."""
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=HANG) as answer:
        content: bytes = answer.read()
        return content


@contextmanager
def server(command: list[str], path: Path, listens: str) -> Iterator[str]:
    """Run a service with the examples on its path; yield its address, which a line of its log tells."""
    environment = {**os.environ, "MODEL": str(path), "PYTHONPATH": str(EXAMPLES), "PYTHONWARNINGS": "ignore"}
    log = path.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=path.parent, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        end, found = time.monotonic() + HANG, None
        while found is None:
            assert time.monotonic() < end and process.poll() is None, log.read_text()
            time.sleep(0.05)
            found = re.search(listens, log.read_text())
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_gunicorn(path: Path) -> None:
    if find_spec("gunicorn") is None or not hasattr(os, "fork"):
        pytest.skip("gunicorn is not installed")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "4"]
    command += ["--bind", "127.0.0.1:0", "--worker-tmp-dir", str(path.parent), "serve_gunicorn:application"]
    with server(command, path, r"Listening at: (http://[\d.:]+)") as address:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda seed: post(address, series(seed).tolist()), range(40)))
        model = fl.load(path)
        assert [one["answer"] for one in answers] == [model.predict(series(s)[None])[0].tolist() for s in range(40)]
        with pytest.raises(urllib.error.HTTPError, match="422") as refused:
            post(address, [[1]])
        assert "X has 1 feature" in refused.value.read().decode()


def test_sensors(tmp_path: Path) -> None:
    """Whatever the order of the messages, each sensor gets the answers for its own series so far."""
    model, rng = model_of(1, "sensors").freeze(), np.random.default_rng(5)
    data = {f"sensor {k}": series(k) for k in range(7)}
    expected = {name: model.stream().run(x[None])[0] for name, x in data.items()}
    bank, done = load_example("serve_sensors").Bank(model), dict.fromkeys(data, 0)
    for turn in range(30):
        messages = []
        for name in rng.choice(sorted(data), rng.integers(0, 9)).tolist():
            ahead = sum(other == name for other, _ in messages)
            if done[name] + ahead < 20:
                messages.append((name, data[name][done[name] + ahead].tolist()))
        answers = bank.feed(iter(messages))
        assert [name for name, _ in answers] == [name for name, _ in messages]
        for name, answer in answers:
            np.testing.assert_array_equal(answer, expected[name][done[name]])
            done[name] += 1
        if turn == 15:
            bank.save(tmp_path / "bank.npz")
            names = bank.sensors
            bank = load_example("serve_sensors").Bank(model)
            bank.load(tmp_path / "bank.npz")
            assert bank.sensors == names
    assert sum(done.values()) > 60
    kept, silent = "sensor 3", [name for name in bank.sensors if name != "sensor 3"]
    for _ in range(4):
        bank.feed([(kept, data[kept][0].tolist())])
    assert bank.forget_silent(3) == silent
    assert bank.sensors == [kept]
    np.testing.assert_array_equal(
        bank.feed([("sensor 0", data["sensor 0"][0].tolist())])[0][1], expected["sensor 0"][0]
    )


FUNCTION = """
import resource, sys
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_AS, (128 << 20, 128 << 20))
import serve_function
for event in ({"series": [[1.0, 2.0, 3.0]] * 20}, {"series": [[1.0]]}, {}):
    print(serve_function.handler(event))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space is Linux's")
def test_a_function_needs_no_home_and_little_memory(path: Path) -> None:
    folder = path.parent / "code"
    folder.mkdir()
    path.chmod(0o400)
    folder.chmod(0o500)
    environment = {
        "MODEL": str(path), "OPENBLAS_NUM_THREADS": "1", "FASTLSTM_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", FUNCTION]
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert run.returncode == 0, run.stderr
    right, wrong, missing = run.stdout.splitlines()
    expected = fl.load(path).predict(np.array([[[1.0, 2.0, 3.0]] * 20], np.float32))[0].tolist()
    assert right == str({"statusCode": 200, "body": expected})
    assert "X has 1 feature" in wrong
    assert "KeyError: 'series'" in missing
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("examples")
def test_hot_swap(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = load_example("hot_swap").Served(str(path), steps=20)
    first = served.model
    assert not served.refresh()
    model_of(2, "second").save(path)
    assert served.refresh()
    assert served.model.metadata == {"name": "second"}
    second = served.model
    path.write_bytes(path.read_bytes()[:-5])
    assert not served.refresh()
    assert "not replaced" in capsys.readouterr().out
    path.unlink()
    assert not served.refresh()
    assert served.model is second
    assert first.metadata == {"name": "first"}


# ------------------------------------------------------------------------------------ the soak


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.usefixtures("examples")
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_soak(path: Path) -> None:
    """Threads predict and step while the model is swapped: every answer is that of the old model or of the new one,
    and neither memory nor open files grow. ``FASTLSTM_SOAK_SECONDS`` sets how long."""
    models = [model_of(seed, str(seed)) for seed in (1, 2)]
    x = series()[None]
    right = {str(seed): model.predict(x) for seed, model in zip((1, 2), models, strict=True)}
    steps = {str(seed): model.stream().run(x) for seed, model in zip((1, 2), models, strict=True)}
    models[0].save(path)
    served = load_example("hot_swap").Served(str(path), steps=20)
    stop, wrong, counts = threading.Event(), [], [0, 0, 0, 0]

    def predict() -> None:
        while not stop.is_set():
            model = served.model
            if not np.array_equal(model.predict(x), right[model.metadata["name"]]):
                wrong.append("predict")
            counts[0] += 1

    def step() -> None:
        rng = np.random.default_rng(threading.get_ident())
        while not stop.is_set():
            model = served.model
            stream, expected = model.stream(3), steps[model.metadata["name"]][0]
            done = np.zeros(3, int)
            while (done < 20).any() and not stop.is_set():
                rows = np.flatnonzero((done < 20) & (rng.random(3) < 0.6))
                if not np.array_equal(stream.step(x[0, done[rows]], rows=rows), expected[done[rows]]):
                    wrong.append("step")
                done[rows] += 1
            counts[1] += 1

    def swap() -> None:
        while not stop.is_set():
            models[counts[2] % 2].save(path)
            served.refresh()
            counts[2] += 1
            stop.wait(0.01)

    def start() -> None:
        content = path.read_bytes()
        while not stop.is_set():
            model = fl.load(content).freeze().warm_up(20)
            if not np.array_equal(model.predict(x), right[model.metadata["name"]]):
                wrong.append("start")
            counts[3] += 1

    threads = [threading.Thread(target=one) for one in (*[predict] * 6, *[step] * 4, swap, start)]
    for thread in threads:
        thread.start()
    time.sleep(SOAK_SECONDS / 2)
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    time.sleep(SOAK_SECONDS / 2)
    after = resident()
    stop.set()
    for thread in threads:
        thread.join(HANG)
    assert not wrong
    assert all(counts), counts
    assert after < before + (16 << 20), (before, after)  # the allocator's own, with 12 threads
    assert len(os.listdir("/proc/self/fd")) <= files + 4
