"""Measure graphs that read sound frame by frame, with their states fed back: this package against ONNX Runtime.

    python -m benchmarks.frames [--frames 2000] [--repeats 5]

Prints the time of a frame on one thread, the least of several runs in turns, and the real-time factor: that time
divided by the duration of what a frame adds to the sound, 512 samples for the detector and 128 for the suppressor, at
16,000 samples a second. fastlstm reads a frame by `Stream.step`; by `Model.predict` with `state=`; and all frames at
once by `Model.predict`. On a machine with other work take short runs and many of them: --frames 4 --repeats 3000.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .frame_graphs import detector, suppressor

RATE = 16000


def onnx_runtime(proto: Any, frames: Any, states: dict[str, str]) -> Callable[[], Any]:
    """Return a function that runs all frames and returns the last answer."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shapes = {one.name: [n if isinstance(n, int) else 1 for n in one.shape] for one in session.get_inputs()}
    zeros = {name: np.zeros(shapes[name], np.float32) for name in states}
    names = ["output", *states.values()]

    def run() -> Any:
        now = zeros
        for frame in frames:
            answer, *after = session.run(names, {"input": frame, **now})
            now = dict(zip(states, after, strict=True))
        return answer

    return run


def ways(proto: Any, frames: Any) -> dict[str, Callable[[], Any]]:
    """Return functions that run all frames and return the last answer."""
    import fastlstm as fl

    model = fl.from_onnx(proto)
    model.freeze()
    stream = model.stream(batch_size=1, n_threads=1)
    steps = np.ascontiguousarray(frames.reshape(len(frames), 1, -1))
    series = np.ascontiguousarray(steps.swapaxes(0, 1))
    out = stream.step(steps[0])

    def by_stream() -> Any:
        stream.reset()
        for step in steps:
            stream.step(step, out=out)
        return out

    def by_predict() -> Any:
        state = None
        for t in range(len(steps)):
            answer, state = model.predict(series[:, t : t + 1], state=state, return_state=True, n_threads=1)
        return answer

    return {
        "stream.step": by_stream,
        "predict(state=)": by_predict,
        "predict of all": lambda: model.predict(series, n_threads=1)[:, -1],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = {
        "detector": (detector(), (1, 512), {"state": "stateN"}, 512),
        "suppressor": (suppressor(), (1, 1, 257), {"h": "hN", "c": "cN"}, 128),
    }
    for name, (proto, shape, states, samples) in cases.items():
        frames = (0.3 * rng.standard_normal((given.frames, *shape))).astype(np.float32)
        runs = {"ONNX Runtime": onnx_runtime(proto, frames, states), **ways(proto, frames)}
        answers = {way: np.asarray(run()).reshape(-1) for way, run in runs.items()}
        for way, answer in answers.items():
            apart = float(abs(answer - answers["ONNX Runtime"]).max())
            if apart > 1e-4:
                raise SystemExit(f"{name}, {way}: answers are {apart:.1e} apart")
        times: dict[str, list[float]] = {way: [] for way in runs}
        for _ in range(given.repeats):
            for way, run in runs.items():
                start = time.perf_counter()
                run()
                times[way].append((time.perf_counter() - start) / given.frames)
        reference = min(times["ONNX Runtime"])
        for way, taken in times.items():
            least = min(taken)
            print(
                f"{name:12} {way:16} {least * 1e6:8.1f} us a frame, real-time factor {least * RATE / samples:.5f}, "
                f"{reference / least:5.2f} times as fast as ONNX Runtime"
            )


if __name__ == "__main__":
    main()
