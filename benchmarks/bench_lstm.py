"""Training step and inference of one LSTM layer: fastlstm beside the NumPy reference, PyTorch and ONNX Runtime.

    pip install '.[peers]'
    python benchmarks/bench_lstm.py [--all] [--seconds 6] [--threads N] [--json FILE]

For each shape all of them, in one process, get the same weights and data. First outputs and gradients are compared
(a wrong answer ends the run), then they are timed in turn, round after round, so that a drift of the machine's speed
hits all of them. A training step is forward, backward from a given gradient of the output to the gradients of all
parameters, and one step of Adam; fastlstm's is what `Model.fit` runs for each batch. Medians; ratios are of medians,
above 1: fastlstm is faster.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm import _core, reference

CASES = [(1, 100, 32, 128), (32, 100, 16, 64), (64, 100, 32, 128), (256, 187, 1, 64)]
"""(batch, time, input size, hidden size)."""

MORE_CASES = [
    (1, 1, 32, 64),
    (1, 100, 64, 256),
    (3, 200, 30, 100),
    (16, 1000, 12, 128),
    (32, 50, 8, 32),
    (64, 100, 64, 256),
    (128, 100, 128, 512),
]
"""With --all."""

# Largest difference to the reference, relative to the largest element: a few times float32's rounding over these sums.
FORWARD, GRADIENT = 1e-5, 1e-4

Array = Any
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class FastLSTM:
    """The package, as `Model.fit` uses it."""

    def __init__(self, state: dict[str, Array], x: Array, d_out: Array, threads: int) -> None:
        hidden = state["weight_hh_l0"].shape[1]
        self.model = fl.Model([fl.LSTM(hidden, return_sequences=True)], input_size=x.shape[2])
        self.model.load_state_dict({f"0.{name}": value for name, value in state.items()})
        self.optimizer = fl.Adam(lr=1e-3)
        self.x, self.d_out, self.threads = x, d_out, threads

    def infer(self) -> Array:
        return self.model._forward(self.x, None, False, self.threads)

    def gradients(self) -> dict[str, Array]:
        self.model.zero_grad()
        self.model._forward(self.x, None, True, self.threads)
        self.model._backward(self.d_out)
        return {name: self.model.gradients()[f"0.{name}"] for name in NAMES}

    def train(self) -> None:
        self.model.zero_grad()
        self.model._forward(self.x, None, True, self.threads)
        self.model._backward(self.d_out)
        self.optimizer.step(self.model, self.threads)


class NumPy:
    """The reference."""

    def __init__(self, state: dict[str, Array], x: Array, d_out: Array, threads: int) -> None:
        self.state = {name: value.copy() for name, value in state.items()}
        self.moments = {name: (np.zeros_like(v), np.zeros_like(v)) for name, v in state.items()}
        self.x, self.d_out, self.steps = x, d_out, 0

    def infer(self) -> Array:
        return reference.lstm_forward(self.x, *self.state.values())[0]

    def gradients(self) -> dict[str, Array]:
        g = reference.lstm_backward(reference.lstm_forward(self.x, *self.state.values())[3], self.d_out)
        return dict(zip(NAMES, (g["weight_ih"], g["weight_hh"], g["bias"], g["bias"]), strict=True))

    def train(self) -> None:
        self.steps += 1
        for name, g in self.gradients().items():
            m, v = self.moments[name]
            p, m, v = reference.adam(self.state[name], g, m, v, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, self.steps)
            self.state[name], self.moments[name] = p, (m, v)


class PyTorch:
    """torch.nn.LSTM as it comes."""

    def __init__(self, state: dict[str, Array], x: Array, d_out: Array, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.lstm = torch.nn.LSTM(x.shape[2], state["weight_hh_l0"].shape[1], batch_first=True)
        self.lstm.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
        self.optimizer = torch.optim.Adam(self.lstm.parameters(), lr=1e-3)
        self.x, self.d_out = torch.from_numpy(x), torch.from_numpy(d_out)

    def infer(self) -> Array:
        # The tensor, not .numpy(): that would add a microsecond that the others do not pay.
        with self.torch.inference_mode():
            return self.lstm(self.x)[0]

    def gradients(self) -> dict[str, Array]:
        self.optimizer.zero_grad()
        self.lstm(self.x)[0].backward(self.d_out)
        return {name: p.grad.numpy() for name, p in self.lstm.named_parameters()}

    def train(self) -> None:
        self.optimizer.zero_grad()
        self.lstm(self.x)[0].backward(self.d_out)
        self.optimizer.step()


class ONNXRuntime:
    """The LSTM operator of ONNX; inference only."""

    def __init__(self, state: dict[str, Array], x: Array, d_out: Array, threads: int) -> None:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        hidden = state["weight_hh_l0"].shape[1]

        def in_their_order(array: Array) -> Array:  # gates i, o, f, c
            i, f, g, o = np.split(array, 4)
            return np.concatenate([i, o, f, g])

        bias = np.concatenate([in_their_order(state["bias_ih_l0"]), in_their_order(state["bias_hh_l0"])])
        tensors = {"W": in_their_order(state["weight_ih_l0"]), "R": in_their_order(state["weight_hh_l0"]), "B": bias}
        graph = helper.make_graph(
            [helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=hidden)],
            "lstm",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, [x.shape[1], x.shape[0], x.shape[2]])],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [x.shape[1], 1, x.shape[0], hidden])],
            [numpy_helper.from_array(value[None], name) for name, value in tensors.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {"X": np.ascontiguousarray(x.transpose(1, 0, 2))}  # it wants the time first

    def infer(self) -> Array:
        return self.session.run(None, self.feed)[0][:, 0].transpose(1, 0, 2)


def verify(runners: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Ends the program if somebody's answer differs from the reference's."""
    expected, gradients = runners["NumPy"].infer(), runners["NumPy"].gradients()
    for name, runner in runners.items():
        error = np.abs(np.asarray(runner.infer()) - expected).max()
        if not error <= FORWARD:
            sys.exit(f"{name} at {shape}: the output differs by {error:.1e}")
        if not hasattr(runner, "train"):
            continue
        for parameter, g in runner.gradients().items():
            # Over one step from a zero state the gradient of weight_hh is zero.
            scale = max(np.abs(gradients[parameter]).max(), 1e-6)
            error = np.abs(g - gradients[parameter]).max() / scale
            if not error <= GRADIENT:
                sys.exit(f"{name} at {shape}: the gradient of {parameter} differs by {error:.1e}")


def interleaved(functions: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Times of each function in seconds: rounds until the time is up, the slow reference in a tenth of them.

    The threads of NumPy's, PyTorch's and ONNX Runtime's pools go on spinning for some milliseconds after their work and
    would take the processors from whoever comes next; and after a pause the system may need some more to spread a pool
    that wakes over the processors. So each turn begins with a pause and with 20 ms of runs that do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 4 or time.perf_counter() < end:
        for name, function in functions.items():
            if name == "NumPy" and rounds % 10:
                continue
            time.sleep(0.02)
            warm = time.perf_counter() + 0.02
            while time.perf_counter() < warm:
                function()
            for _ in range(3):
                start = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - start)
        rounds += 1
    return times


def bench(shape: tuple[int, int, int, int], seconds: float, threads: int, peers: list[type]) -> dict[str, Any]:
    """Verified, interleaved medians of one shape, in milliseconds."""
    batch, steps, inputs, hidden = shape
    rng = np.random.default_rng(0)
    bound = 1 / np.sqrt(hidden)
    sizes = ((4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
    state = {name: rng.uniform(-bound, bound, size).astype("f4") for name, size in zip(NAMES, sizes, strict=True)}
    x = rng.standard_normal((batch, steps, inputs)).astype("f4")
    d_out = rng.standard_normal((batch, steps, hidden)).astype("f4")
    runners = {peer.__name__: peer(state, x, d_out, threads) for peer in peers}
    verify(runners, shape)
    result: dict[str, Any] = {"shape": shape}
    for what in ("train", "infer"):
        functions = {name: getattr(runner, what) for name, runner in runners.items() if hasattr(runner, what)}
        times = interleaved(functions, seconds / 2)
        result[what] = {
            name: {"median_ms": 1e3 * statistics.median(t), "min_ms": 1e3 * min(t), "runs": len(t)}
            for name, t in times.items()
        }
    return result


def report(results: list[dict[str, Any]]) -> str:
    """A Markdown table of medians and ratios."""
    lines = []
    for what, title in (("train", "training step"), ("infer", "inference")):
        peers = [name for name in results[0][what] if name != "FastLSTM"]
        lines.append(f"| {title}: batch, time, input, hidden | fastlstm ms | " + " | ".join(f"{p} ms" for p in peers))
        lines[-1] += " | " + " | ".join(f"{p} / fastlstm" for p in peers) + " |"
        lines.append("|---" * (2 + 2 * len(peers)) + "|")
        ratios: dict[str, list[float]] = {peer: [] for peer in peers}
        for result in results:
            ours = result[what]["FastLSTM"]["median_ms"]
            theirs = [result[what][peer]["median_ms"] for peer in peers]
            for peer, ms in zip(peers, theirs, strict=True):
                ratios[peer].append(ms / ours)
            cells = [f"{ours:.3g}", *(f"{ms:.3g}" for ms in theirs), *(f"{ratios[p][-1]:.2f}" for p in peers)]
            lines.append(f"| {', '.join(map(str, result['shape']))} | " + " | ".join(cells) + " |")
        means = [f"**{statistics.geometric_mean(ratios[peer]):.2f}**" for peer in peers]
        lines.append("| geometric mean | " + " | ".join([""] * (1 + len(peers)) + means) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Runs all cases and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--all", action="store_true", help="more shapes")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each shape (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to a file")
    options = parser.parse_args()
    peers: list[type] = [FastLSTM, NumPy]
    versions = [f"fastlstm {fl.__version__} ({_core.isa()}, {_core.compiler()})", f"NumPy {np.__version__}"]
    for peer, module in ((PyTorch, "torch"), (ONNXRuntime, "onnxruntime")):
        try:
            versions.append(f"{peer.__name__} {importlib.import_module(module).__version__}")
            peers.append(peer)
        except ImportError:
            versions.append(f"without {peer.__name__} (pip install 'fastlstm[peers]')")
    print(", ".join(versions))
    print(f"{platform.machine()}, Python {platform.python_version()}, {options.threads} threads\n")
    cases = CASES + MORE_CASES if options.all else CASES
    results = [bench(shape, options.seconds, options.threads, peers) for shape in cases]
    print(report(results))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
