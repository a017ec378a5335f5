"""The service's model for each peer, made from one saved fastlstm model: a function that answers for one series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import FEATURES, HIDDEN, OUTPUTS

__all__ = ["LOADERS", "NAMES", "save_models"]

Answer = Callable[[Any], Any]

NAMES = {"fastlstm": "fastlstm", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
"""Names of the peers by the module that a process imports."""


def save_models(folder: Path) -> None:
    """Save the model, with and without scaler, as each peer reads it: a fresh interpreter then loads one file."""
    import fastlstm as fl

    rng = np.random.default_rng(0)
    for scaled in (True, False):
        scaler = fl.Standardizer().fit(rng.standard_normal((100, FEATURES)) * 3 + 1) if scaled else None
        model = fl.Model([fl.LSTM(HIDDEN), fl.Dense(OUTPUTS)], input_size=FEATURES, scaler=scaler)
        stem = folder / ("scaled" if scaled else "plain")
        model.save(stem.with_suffix(".safetensors"))
        try:
            model.to_onnx(stem.with_suffix(".onnx"))
            model.to_onnx(stem.with_suffix(".state.onnx"), with_state=True)
        except ImportError:
            pass  # without onnx there is no ONNX Runtime to measure


def _fastlstm(stem: Path) -> Answer:
    import fastlstm as fl

    model = fl.load(stem.with_suffix(".safetensors")).freeze()
    return lambda x: model.predict(x, n_threads=1)


def _onnxruntime(stem: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = str(stem.with_suffix(".onnx"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def _torch(stem: Path) -> Answer:
    import torch
    from safetensors.numpy import load_file

    torch.set_num_threads(1)
    tensors = {name: torch.from_numpy(array) for name, array in load_file(stem.with_suffix(".safetensors")).items()}
    lstm, dense = torch.nn.LSTM(FEATURES, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, OUTPUTS)
    lstm.load_state_dict({name[2:]: a for name, a in tensors.items() if name.startswith("0.")})
    dense.load_state_dict({name[2:]: a for name, a in tensors.items() if name.startswith("1.")})
    mean, scale = tensors.get("scaler.mean"), tensors.get("scaler.scale")

    def answer(x: Any) -> Any:
        with torch.inference_mode():
            z = torch.from_numpy(x)
            if mean is not None and scale is not None:
                z = ((z - mean) / scale).float()
            return dense(lstm(z)[0][:, -1]).numpy()

    return answer


def _nothing(stem: Path) -> Answer:
    out = np.zeros((1, OUTPUTS), np.float32)
    return lambda x: out


LOADERS: dict[str, Callable[[Path], Answer]] = {
    "fastlstm": _fastlstm,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "none": _nothing,
}
"""``"none"`` has no model: its answer costs nothing."""
