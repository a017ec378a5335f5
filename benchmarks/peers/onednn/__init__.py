"""The peer oneDNN, called directly: the LSTM primitives beneath PyTorch and OpenVINO, in float32 and bfloat16."""

from __future__ import annotations

from ...cases import Case, Data
from ...verify import NARROW_TOLERANCES, TOLERANCES, Answer
from .. import Runner, local

__all__ = ["NAME", "prepare", "version"]

NAME = "oneDNN"


def version() -> str:
    """Return the version.

    Raises
    ------
    ImportError
        If the wheels of oneDNN or a C++ compiler are not there.
    """
    from . import library

    return library.version()


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners of both precisions for the passes of one layer; see `benchmarks.peers.Peer`.

    Weights are in the layouts that the primitives ask for, arrays are time-major, and nothing is converted within the
    time that is measured.
    """
    problem = case.problem
    plain = problem.layers == 1 and not problem.bidirectional and data.lengths is None
    if case.kind not in ("passes", "forward") or not plain:
        return {}
    runners = {NAME: _runner(case, data, threads, False)}
    try:
        runners[f"{NAME} bf16"] = _runner(case, data, threads, True)
    except NotImplementedError:
        pass
    return runners


def _runner(case: Case, data: Data, threads: int, narrow: bool) -> Runner:
    from .library import Layer

    weight_ih, weight_hh, bias_ih, bias_hh = (
        data.state[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    dy = data.d_out.transpose(1, 0, 2) if case.kind == "passes" else None
    layer = Layer(weight_ih, weight_hh, bias_ih + bias_hh, data.x.transpose(1, 0, 2), dy, narrow, threads)

    def answer() -> Answer:
        layer.run()
        y, *gradients = layer.read()
        result = {"output": y.transpose(1, 0, 2)}
        if gradients:
            dx, d_ih, d_hh, d_bias = gradients
            result |= {"d x": dx.transpose(1, 0, 2), "d weight_ih_l0": d_ih, "d weight_hh_l0": d_hh}
            result |= {"d bias_ih_l0": d_bias, "d bias_hh_l0": d_bias}
        return result

    return local(layer.run, answer, tolerances=NARROW_TOLERANCES if narrow else TOLERANCES)
