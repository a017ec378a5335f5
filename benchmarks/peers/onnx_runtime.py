"""The peer ONNX Runtime with ONNX's operator LSTM, in float32 and with int8 weights; inference only."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Array, Case, Data, Problem
from ..machine import flags
from ..verify import NARROW_TOLERANCES, TOLERANCES, Answer
from . import Runner, local
from .onnx_graph import lstm_graph

NAME = "ONNX Runtime"


def version() -> str:
    """Return the version."""
    import onnx  # noqa: F401  # needed to make the graphs
    import onnxruntime

    return str(onnxruntime.__version__)


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners for a case, with time-major arrays as the operator requires; see `benchmarks.peers.Peer`."""
    make = {"infer": _infer, "step": _step}.get(case.kind)
    if make is None:
        return {}
    runners = {NAME: make(case.problem, data, threads)}
    if data.lengths is None:
        runners[f"{NAME} int8"] = make(case.problem, data, threads, True)
    return runners


def _session(problem: Problem, data: Data, time: int, states: bool, threads: int, narrow: bool = False) -> Any:
    """Create a session; with `narrow`, weights are int8 and products of integers, the inputs rounded as they come."""
    import onnxruntime

    model = lstm_graph(problem, data, time, states)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    text = _quantized(model) if narrow else model.SerializeToString()
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def _quantized(model: Any) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises a preparation that a single operator does not need
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            # Without these instructions sums of two products of bytes overflow, unless weights have 7 bits.
            exact = flags() & {"avx512_vnni", "avx_vnni", "asimddp"}
            quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=not exact)
            return path.read_bytes()
    finally:
        logging.disable(logging.NOTSET)


def _infer(problem: Problem, data: Data, threads: int, narrow: bool = False) -> Runner:
    session = _session(problem, data, problem.time, False, threads, narrow)
    feed = {"X": np.ascontiguousarray(data.x.transpose(1, 0, 2))}
    if data.lengths is not None:
        feed["lengths"] = data.lengths.astype(np.int32)
    run = partial(session.run, None, feed)
    return local(
        run,
        lambda: {"output": run()[0].transpose(1, 0, 2)},
        tolerances=NARROW_TOLERANCES if narrow else TOLERANCES,
    )


def _step(problem: Problem, data: Data, threads: int, narrow: bool = False) -> Runner:
    session = _session(problem, data, 1, True, threads, narrow)

    def start() -> dict[str, Array]:
        zeros = np.zeros((1, 1, problem.hidden), np.float32)
        return {"X": data.x[:, :1].copy(), "h": zeros, "c": zeros}

    feed = start()

    def run() -> None:
        feed["h"], feed["c"] = session.run(None, feed)

    def answer() -> Answer:
        fed, outputs = start(), []
        for t in range(problem.time):
            fed["X"] = data.x[:, t : t + 1]
            fed["h"], fed["c"] = session.run(None, fed)
            outputs.append(fed["h"][0])
        return {"output": np.stack(outputs, axis=1)}

    return local(run, answer, tolerances=NARROW_TOLERANCES if narrow else TOLERANCES)
