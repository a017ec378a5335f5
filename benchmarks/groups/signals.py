"""Measure a convolution, and a CNN-LSTM, against PyTorch and ONNX Runtime.

Training is forward and backward with the gradients of all parameters and of the input, clipping, and one step of Adam;
inference is forward only, of a frozen model. First outputs and gradients are compared with those of PyTorch, and the
outputs of ONNX Runtime, which runs the file that `Model.to_onnx` writes, with fastlstm's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..cases import CLIP_NORM, TRAIN_LR, Array
from ..peers import OWN, Peer, Runner, local
from ..timing import interleave, ratio
from ..verify import check

__all__ = ["MODELS", "Signals", "measure"]

TORCH, RUNTIME = "PyTorch", "ONNX Runtime"


@dataclass(frozen=True)
class Signals:
    """Sizes of a batch of signals, and what reads them."""

    name: str
    batch: int = 32
    time: int = 512
    features: int = 12
    filters: int = 64
    kernel: int = 7
    stride: int = 2
    hidden: int = 0
    """Units of the LSTM; 0: the convolution alone, whose output is that of each window."""
    classes: int = 8

    @property
    def label(self) -> str:
        """The sizes as the tables show them."""
        text = f"{self.batch}, {self.time}, {self.features}, {self.filters} filters of {self.kernel}"
        text += f", stride {self.stride}"
        return text + (f", {self.hidden}, {self.classes} classes" if self.hidden else "")


MODELS = (Signals("Conv1D"), Signals("CNN-LSTM", hidden=64))


def _own(of: Signals) -> Any:
    """Return the model: in front of the LSTM the convolution has batch normalisation, a relu and a pool."""
    import fastlstm as fl

    conv = fl.Conv1D(of.filters, of.kernel, stride=of.stride, padding=of.kernel // 2)
    if not of.hidden:
        steps = int(conv.steps_after(np.array([of.time]))[0])
        return fl.Model([conv, fl.Flatten(steps)], input_size=of.features, seed=1)
    layers = [conv, fl.BatchNorm(), fl.Activation("relu"), fl.MaxPool1D(2), fl.LSTM(of.hidden), fl.Dense(of.classes)]
    return fl.Model(layers, input_size=of.features, seed=1)


def _torch(of: Signals, model: Any) -> Any:
    """Return the same as a module over (batch, time, features), with the weights of the model."""
    import torch
    from torch import nn

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(of.features, of.filters, of.kernel, of.stride, of.kernel // 2)
            if of.hidden:
                self.norm = nn.BatchNorm1d(of.filters)
                self.pool = nn.MaxPool1d(2)
                self.lstm = nn.LSTM(of.filters, of.hidden, batch_first=True)
                self.fc = nn.Linear(of.hidden, of.classes)

        def forward(self, x: Any) -> Any:
            y = self.conv(x.transpose(1, 2))
            if not of.hidden:
                return y.transpose(1, 2).flatten(1)
            y = self.pool(self.norm(y).relu()).transpose(1, 2)
            return self.fc(self.lstm(y)[1][0][-1])

    module = Module()
    prefixes = ["conv", "norm", "lstm", "fc"] if of.hidden else ["conv"]
    state = model.to_torch_state_dict(prefixes=prefixes)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return module


def _own_training(model: Any, x: Array, d_out: Array, threads: int) -> tuple[Runner, Callable[[], dict[str, Array]]]:
    import fastlstm as fl

    optimizer = fl.Adam(TRAIN_LR, clip_norm=CLIP_NORM)

    def passes() -> tuple[Array, Any]:
        model.network.parameters.zero_gradients()
        out = model.network.forward(x, None, True, threads)
        return out, model.network.backward(d_out, True)

    def run() -> None:
        passes()
        optimizer.step(model, threads)

    def answer() -> dict[str, Array]:
        out, dx = passes()
        weight = model.layers[0].gradients["weight"]
        return {"output": out.copy(), "d x": dx.copy(), "d weight": weight.copy()}

    return local(run, None), answer


def _torch_training(module: Any, x: Array, d_out: Array) -> tuple[Runner, Callable[[], dict[str, Array]]]:
    import torch

    parameters = list(module.parameters())
    optimizer = torch.optim.Adam(parameters, lr=TRAIN_LR)
    given, gradient = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(d_out.copy())

    def passes() -> Any:
        optimizer.zero_grad()
        given.grad = None
        out = module(given)
        out.backward(gradient)
        return out

    def run() -> None:
        passes()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()

    def answer() -> dict[str, Array]:
        out = passes().detach().numpy()
        assert given.grad is not None
        return {"output": out, "d x": given.grad.numpy().copy(), "d weight": module.conv.weight.grad.numpy().copy()}

    return local(run, None), answer


def _torch_inference(module: Any, x: Array) -> Callable[[], Any]:
    import torch

    given = torch.from_numpy(x.copy())

    def run() -> Any:
        with torch.inference_mode():
            return module(given)

    return run


def _runtime_inference(model: Any, x: Array, threads: int) -> Callable[[], Any]:
    import tempfile

    import onnxruntime

    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        model.to_onnx(file.name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def measure(peers: Mapping[str, Peer], threads: int, seconds: float) -> list[dict[str, Any]]:
    """Time each model, interleaved with the peers that are installed.

    Parameters
    ----------
    peers : mapping of name to Peer
        PyTorch and ONNX Runtime take part if they are among these.
    threads : int
    seconds : float
        Time for each kind of work of each model, and peer.

    Returns
    -------
    list of dict
        ``model``, ``kind``, ``label``, ``figures`` (name to median in ms), ``ratios`` (name to the ratio of medians;
        above 1 fastlstm is faster).

    Raises
    ------
    WrongAnswer
        If an answer is wrong; the model has not been timed then.
    """
    records = []
    for of in MODELS:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((of.batch, of.time, of.features), dtype=np.float32)
        model, frozen = _own(of), _own(of).freeze()
        d_out = rng.standard_normal((of.batch, model.output_size), dtype=np.float32)
        training, answer = _own_training(model, x, d_out, threads)
        trains = {OWN: training}
        own: Callable[[], Any] = partial(frozen.network.forward, x, None, False, threads)
        infers = {OWN: local(own, None)}
        if TORCH in peers:
            import torch

            torch.set_num_threads(threads)
            trained = _torch(of, model)
            trains[TORCH], expected = _torch_training(trained, x, d_out)
            check(OWN, f"{of.name}, training", answer(), expected())
            run = _torch_inference(_torch(of, frozen).eval(), x)
            check(OWN, f"{of.name}, inference", {"output": own()}, {"output": run().numpy()})
            infers[TORCH] = local(run, None)
        if RUNTIME in peers:
            run = _runtime_inference(frozen, x, threads)
            check(RUNTIME, f"{of.name}, inference", {"output": run()}, {"output": own()})
            infers[RUNTIME] = local(run, None)
        for kind, runners in (("train", trains), ("infer", infers)):
            figures = interleave(runners, seconds * len(runners))
            records.append(
                {
                    "model": of.name,
                    "kind": kind,
                    "label": of.label,
                    "figures": {name: one.median_ms for name, one in figures.items()},
                    "ratios": {name: ratio(one, figures[OWN]) for name, one in figures.items() if name != OWN},
                }
            )
    return records
