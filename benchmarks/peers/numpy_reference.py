"""The NumPy reference, `fastlstm.reference`: in float64 the standard for all answers, in float32 a peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..cases import CLIP_NORM, EPOCH_LR, TRAIN_LR, Array, Case, Data, Problem
from ..timing import PAUSE_AFTER_BLAS
from ..verify import Answer
from . import REFERENCE, Runner, local

Arrays = dict[str, Array]

_EVERY = 2
"""The reference is slow and takes part in every second round only."""


def version() -> str:
    """Return the version of NumPy."""
    import fastlstm.reference  # noqa: F401  # the peer needs it

    return str(np.__version__)


def prepare(case: Case, data: Data, threads: int) -> dict[str, Runner]:
    """Return the runners for a case; `benchmarks.gemm` sets their number of threads. See `benchmarks.peers.Peer`."""
    if case.kind not in ("train", "infer"):
        return {}
    network = _Network(case.problem, data, np.float32)
    run = network.train if case.kind == "train" else network.infer
    # The answer uses a separate network, because training changes the weights.
    return {REFERENCE: local(run, lambda: expected(case, data, np.float32), PAUSE_AFTER_BLAS, _EVERY)}


def expected(case: Case, data: Data, dtype: npt.DTypeLike = np.float64) -> Answer:
    """Return the right answer to a case.

    Parameters
    ----------
    case, data
        The case and its data.
    dtype : dtype, default float64
        Type to compute in.

    Returns
    -------
    dict of name to array
        See `benchmarks.verify.Answer`.
    """
    network = _Network(case.problem, data, dtype)
    if case.kind == "epoch":
        return {"loss": np.float64(network.epoch())}
    if case.kind not in ("train", "passes"):
        return {"output": network.infer()}
    out, gradients = network.gradients(data.d_out.astype(dtype))
    answer = {"output": out, **{f"d {name}": g for name, g in gradients.items()}}
    if case.kind == "train":
        answer["norm"] = np.float64(min(_norm(gradients), CLIP_NORM))
    return answer


def _norm(gradients: Arrays) -> float:
    """Return the 2-norm of the gradients of all parameters."""
    squares = (float(np.square(g, dtype=np.float64).sum()) for name, g in gradients.items() if name != "x")
    return float(np.sqrt(sum(squares)))


class _Network:
    """An LSTM and its training, made of the reference's functions."""

    def __init__(self, problem: Problem, data: Data, dtype: npt.DTypeLike) -> None:
        self.problem, self.data = problem, data
        self.state = {name: value.astype(dtype) for name, value in data.state.items()}
        if data.head is not None:
            self.state["weight"], self.state["bias"] = (value.astype(dtype) for value in data.head)
        self.x, self.d_out = data.x.astype(dtype), data.d_out.astype(dtype)
        self.moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in self.state.items()}
        self.updates = 0

    def infer(self) -> Array:
        """Return the output (batch, time, directions * hidden)."""
        return self.forward(self.x)[0]

    def forward(self, x: Array) -> tuple[Array, list[Any]]:
        """Return the output, and a trace for each layer and direction."""
        from fastlstm import reference

        traces, outputs = [], []
        for _, direction, suffix in self.problem.layer_directions():
            weights = (self.state[f"{name}_{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            y, _, _, trace = reference.lstm_forward(x, *weights, lengths=self.data.lengths, reverse=direction == 1)
            traces.append(trace)
            outputs.append(y)
            if direction == self.problem.directions - 1:
                x, outputs = np.concatenate(outputs, axis=2), []
        return x, traces

    def backward(self, traces: list[Any], dy: Array) -> Arrays:
        """Return the gradients of all parameters, and of the input as ``x``."""
        from fastlstm import reference

        gradients: Arrays = {}
        dx: Any = 0
        for (_, direction, suffix), trace in reversed(list(zip(self.problem.layer_directions(), traces, strict=True))):
            if direction == self.problem.directions - 1:
                parts, dx = np.split(dy, self.problem.directions, axis=2), 0
            g = reference.lstm_backward(trace, parts[direction])
            for name in ("weight_ih", "weight_hh"):
                gradients[f"{name}_{suffix}"] = g[name]
            gradients[f"bias_ih_{suffix}"] = gradients[f"bias_hh_{suffix}"] = g["bias"]
            dx = dx + g["x"]
            if direction == 0:
                dy = dx
        return gradients | {"x": dy}

    def gradients(self, d_out: Array) -> tuple[Array, Arrays]:
        """Return output and gradients."""
        out, traces = self.forward(self.x)
        return out, self.backward(traces, d_out)

    def train(self) -> None:
        """Take one training step."""
        self.update(self.gradients(self.d_out)[1], TRAIN_LR)

    def update(self, gradients: Arrays, lr: float) -> None:
        """Clip the gradients and update the parameters by Adam."""
        from fastlstm import reference

        factor = min(1.0, CLIP_NORM / _norm(gradients))
        self.updates += 1
        for name, value in self.state.items():
            g, (m, v) = gradients[name] * factor, self.moments[name]
            p, m, v = reference.adam(value, g, m, v, lr, 0.9, 0.999, 1e-8, 0.0, False, self.updates)
            self.state[name], self.moments[name] = p, (m, v)

    def epoch(self) -> float:
        """Train one epoch in the order of the data; return the mean loss."""
        from fastlstm import reference

        X, labels, total = self.data.series_x, self.data.series_y, 0.0
        assert X is not None and labels is not None
        for start in range(0, len(X), self.problem.batch):
            part = slice(start, start + self.problem.batch)
            y, traces = self.forward(X[part].astype(self.x.dtype))
            logits = reference.dense_forward(y[:, -1], self.state["weight"], self.state["bias"])
            losses, d_logits = reference.softmax_cross_entropy(logits, labels[part])
            head = reference.dense_backward(d_logits / len(losses), y[:, -1], self.state["weight"])
            dy = np.zeros_like(y)
            dy[:, -1] = head["x"]
            gradients = self.backward(traces, dy) | {"weight": head["weight"], "bias": head["bias"]}
            self.update(gradients, EPOCH_LR)
            total += float(losses.sum())
        return total / len(X)
