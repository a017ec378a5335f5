"""The peer OpenVINO with ONNX's operator LSTM, in float32 and bfloat16; inference only."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..cases import Case, Data
from ..verify import NARROW_TOLERANCES, TOLERANCES
from . import Runner, local
from .onnx_graph import lstm_graph

NAME = "OpenVINO"


def version() -> str:
    """Return the version."""
    import onnx  # noqa: F401  # needed to make the graphs
    import openvino

    return str(openvino.__version__).split("-", maxsplit=1)[0]


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners of both precisions, where the processor has bfloat16; see `benchmarks.peers.Peer`."""
    if case.kind != "infer" or data.lengths is not None:
        return {}
    import openvino

    core = openvino.Core()
    runners = {NAME: _infer(core, case, data, threads, "f32")}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        runners[f"{NAME} bf16"] = _infer(core, case, data, threads, "bf16")
    return runners


def _infer(core: Any, case: Case, data: Data, threads: int, precision: str) -> Runner:
    graph = core.read_model(lstm_graph(case.problem, data, case.problem.time).SerializeToString())
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    feed = {"X": np.ascontiguousarray(data.x.transpose(1, 0, 2))}
    run = partial(request.infer, feed, share_inputs=True, share_outputs=True)
    return local(
        run,
        lambda: {"output": np.array(next(iter(run().values()))).transpose(1, 0, 2)},
        tolerances=NARROW_TOLERANCES if precision == "bf16" else TOLERANCES,
    )
