"""One measurement in a fresh process: ``python -m benchmarks.serving.child KIND PEER FOLDER [ARGUMENT ...]``.

The result is one line of JSON on standard output. Kinds:

``calls PEER FOLDER STEM THREADS SECONDS``
    Answers per second for one series, with so many Python threads.
``cold PEER FOLDER``
    Seconds from the start of the import to the first answer.
``memory PEER FOLDER MODELS THREADS``
    Bytes for each of many models that a pool of threads has used, one after the other.
``heartbeat PEER FOLDER TASKS SECONDS``
    Largest delay, in seconds, of a task that sleeps for a millisecond while others wait for answers.
``streams PEER FOLDER COUNT``
    Bytes for each of many streams of one model, and seconds of a step round robin. fastlstm alone.
``http PEER FOLDER FORM CLIENTS SECONDS``
    Answers per second, and seconds of processor time of the server for an answer, of so many clients of one process of
    uvicorn. FORM is a key of `benchmarks.serving.http.FORMS`; PEER may be ``none``.
``subset PEER FOLDER SERIES CHOSEN``
    Seconds for each reading, where some series of a stream of many take a step. fastlstm alone.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["KINDS"]


def _series() -> Any:
    import numpy as np

    from . import FEATURES, STEPS

    return np.random.default_rng(0).standard_normal((1, STEPS, FEATURES)).astype(np.float32)


def _answer(peer: str, folder: str, stem: str = "scaled") -> Callable[[Any], Any]:
    from .models import LOADERS

    return LOADERS[peer](Path(folder) / stem)


def _resident() -> int:
    """Bytes of memory of this process that are in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def calls(peer: str, folder: str, stem: str, threads: str, seconds: str) -> float:
    """Return answers per second."""
    answer, x, stop = _answer(peer, folder, stem), _series(), threading.Event()
    answer(x)
    counts = [0] * int(threads)

    def work(k: int) -> None:
        while not stop.is_set():
            answer(x)
            counts[k] += 1

    workers = [threading.Thread(target=work, args=(k,)) for k in range(int(threads))]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(float(seconds))
    stop.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


def cold(peer: str, folder: str) -> float:
    """Return the seconds from the import of the peer to its first answer; NumPy is imported before."""
    x = _series()
    begin = time.perf_counter()
    _answer(peer, folder)(x)
    return time.perf_counter() - begin


def memory(peer: str, folder: str, models: str, threads: str) -> float:
    """Return bytes for each model."""
    _answer(peer, folder)(_series())
    before = _resident()
    answers, x = [_answer(peer, folder) for _ in range(int(models))], _series()
    with ThreadPoolExecutor(int(threads)) as pool:
        barrier = threading.Barrier(int(threads))

        def work(k: int) -> None:
            barrier.wait()
            for answer in answers:
                answer(x)

        list(pool.map(work, range(int(threads))))
        after = _resident()
    return (after - before) / len(answers)


def heartbeat(peer: str, folder: str, tasks: str, seconds: str) -> float:
    """Return the largest delay of a task that sleeps, in seconds."""
    answer, x = _answer(peer, folder), _series()
    answer(x)

    async def main() -> float:
        loop, end, late = asyncio.get_running_loop(), time.perf_counter() + float(seconds), 0.0

        async def client() -> None:
            while time.perf_counter() < end:
                await loop.run_in_executor(pool, answer, x)

        clients = [asyncio.create_task(client()) for _ in range(int(tasks))]
        while time.perf_counter() < end:
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            late = max(late, time.perf_counter() - begin - 0.001)
        await asyncio.gather(*clients)
        return late

    with ThreadPoolExecutor(int(tasks)) as pool:
        return asyncio.run(main())


def http(peer: str, folder: str, form: str, clients: str, seconds: str) -> dict[str, float]:
    """Return answers per second over HTTP, and the seconds of the server's processor time for each."""
    from .http import serve

    return serve(_answer(peer, folder), form, _series(), int(clients), float(seconds))


def streams(peer: str, folder: str, count: str) -> dict[str, float]:
    """Return bytes for each stream, and seconds for each step round robin."""
    import numpy as np

    import fastlstm as fl

    model = fl.load(Path(folder) / "scaled.safetensors").freeze()
    x, out = _series()[0, :1], np.empty((1, model.output_size), np.float32)
    model.stream().step(x, out)
    before = _resident()
    some = [model.stream() for _ in range(int(count))]
    for stream in some:
        stream.step(x, out)
    used = (_resident() - before) / len(some)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for stream in some:
            stream.step(x, out)
        times.append((time.perf_counter() - begin) / len(some))
    return {"bytes": used, "seconds": min(times)}


def subset(peer: str, folder: str, series: str, chosen: str) -> float:
    """Return the seconds for each reading."""
    import numpy as np

    import fastlstm as fl

    model = fl.load(Path(folder) / "scaled.safetensors").freeze()
    rng, stream = np.random.default_rng(0), model.stream(int(series))
    turns = [np.sort(rng.permutation(int(series))[: int(chosen)]) for _ in range(200)]
    x = rng.standard_normal((int(chosen), model.input_size)).astype(np.float32)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for rows in turns:
            stream.step(x, rows=rows)
        times.append((time.perf_counter() - begin) / len(turns) / int(chosen))
    return min(times)


KINDS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (calls, cold, memory, heartbeat, http, streams, subset)
}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](*sys.argv[2:])))
