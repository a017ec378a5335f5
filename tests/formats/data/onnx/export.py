"""Write the files of this folder: small networks from both exporters of PyTorch, with inputs and outputs.

Run with torch, onnx, onnxscript and onnxruntime: ``python export.py [folder]``. The name tells the exporter: ``_ts`` is
TorchScript's, ``_export`` torch.export's (``dynamo=True``). The outputs are ONNX Runtime's.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

TOKENS, FEATURES, HIDDEN, CLASSES = 9, 3, 4, 2


class Net(nn.Module):
    """An LSTM with the layers that classifiers and forecasters have around it."""

    def __init__(
        self,
        end: str,
        *,
        layers: int = 1,
        both: bool = False,
        batch_first: bool = True,
        bias: bool = True,
        tokens: bool = False,
        head: str = "linear",
        states: bool = False,
        packed: bool = False,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.end, self.batch_first, self.states, self.packed, self.scaled = end, batch_first, states, packed, scaled
        self.embed = nn.Embedding(TOKENS, FEATURES) if tokens else None
        dropout = 0.3 if layers > 1 else 0.0
        self.lstm = nn.LSTM(
            FEATURES, HIDDEN, layers, batch_first=batch_first, bidirectional=both, bias=bias, dropout=dropout
        )
        width = HIDDEN * (2 if both else 1)
        self.head = {
            "none": lambda: nn.Identity(),
            "linear": lambda: nn.Linear(width, CLASSES),
            "deep": lambda: nn.Sequential(
                nn.Linear(width, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, CLASSES), nn.Softmax(dim=-1)
            ),
            "norm": lambda: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CLASSES), nn.LogSoftmax(dim=-1)),
        }[head]()

    def forward(self, x: Any, lengths: Any = None) -> Any:
        if self.embed is not None:
            x = self.embed(x)
        if self.scaled:
            x = (x - torch.tensor([1.0, 2.0, 3.0])) / torch.tensor([2.0, 0.5, 1.5])
        state = None
        if self.states:
            batch = x.shape[0 if self.batch_first else 1]
            count = self.lstm.num_layers * (2 if self.lstm.bidirectional else 1)
            state = (torch.zeros(count, batch, HIDDEN), torch.zeros(count, batch, HIDDEN))
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=self.batch_first)
        y, (h, c) = self.lstm(x, state)
        if self.packed:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=self.batch_first)
        time = 1 if self.batch_first else 0
        if self.end == "everything":
            return y, h, c
        ends = {
            "steps": lambda: y,
            "last": lambda: y.select(time, -1),
            "slice": lambda: y[:, -1:].flatten(1),
            "state": lambda: h[-1],
            "both": lambda: torch.cat([h[-2], h[-1]], dim=1),
            "mean": lambda: y.mean(dim=time),
            "max": lambda: y.max(dim=time)[0],
            "first": lambda: y.select(time, 0),
            "attention": lambda: (torch.softmax(y @ h[-1].unsqueeze(-1), dim=1) * y).sum(dim=1),
        }
        return self.head(ends[self.end]())


NETS: dict[str, dict[str, Any]] = {
    "lstm": {"end": "everything"},
    "lstm_time_first": {"end": "everything", "batch_first": False},
    "steps": {"end": "steps"},
    "steps_no_bias": {"end": "steps", "bias": False, "head": "deep"},
    "last": {"end": "last"},
    "slice": {"end": "slice"},
    "stacked": {"end": "last", "layers": 2, "states": True},
    "bidirectional": {"end": "both", "layers": 2, "both": True},
    "bidirectional_last": {"end": "last", "both": True},
    "bidirectional_steps": {"end": "steps", "both": True, "head": "deep"},
    "time_first": {"end": "last", "batch_first": False},
    "time_first_steps": {"end": "steps", "batch_first": False, "layers": 2},
    "tokens": {"end": "state", "tokens": True},
    "tokens_deep": {"end": "both", "tokens": True, "both": True, "head": "deep"},
    "mean": {"end": "mean", "both": True},
    "max": {"end": "max"},
    "norm": {"end": "last", "head": "norm"},
    "first": {"end": "first", "layers": 2, "both": True},
    "attention": {"end": "attention"},
    "scaled": {"end": "last", "scaled": True},
}
PACKED: dict[str, dict[str, Any]] = {
    "packed": {"end": "steps", "packed": True},
    "packed_both": {"end": "both", "packed": True, "both": True, "layers": 2},
}
"""For the exporter by TorchScript alone: torch.export does not know packed sequences."""


def example(net: Net, generator: torch.Generator, batch: int, time: int) -> torch.Tensor:
    shape = (batch, time) if net.batch_first else (time, batch)
    if net.embed is not None:
        return torch.randint(0, TOKENS, shape, generator=generator)
    return torch.randn(*shape, FEATURES, generator=generator)


def write(folder: Path, name: str, settings: dict[str, Any], dynamo: bool) -> None:
    torch.manual_seed(sum(map(ord, name)))
    generator = torch.Generator().manual_seed(0)
    net = Net(**settings).eval()
    x = example(net, generator, 4, 6)
    lengths = torch.tensor([6, 4, 2, 1]) if net.packed else None
    path = folder / f"{name}_{'export' if dynamo else 'ts'}.onnx"
    arguments = (x,) if lengths is None else (x, lengths)
    names = ["x"] if lengths is None else ["x", "lengths"]
    if dynamo:
        auto = torch.export.Dim.AUTO
        torch.onnx.export(
            net, arguments, path, dynamo=True, dynamic_shapes=({0: auto, 1: auto},), input_names=names,
            external_data=False, verbose=False,
        )  # fmt: skip
    else:
        axes = {"x": {0: "a", 1: "b"}, "lengths": {0: "a"}}
        axes = {key: value for key, value in axes.items() if key in names}
        torch.onnx.export(net, arguments, path, dynamo=False, dynamic_axes=axes, input_names=names)
    model = onnx.load(path)
    for node in model.graph.node:  # the source line of each node: most of the file, and of no use here
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(str(path))
    # Other sizes than the exporter saw, where the file takes them.
    fresh = example(net, generator, 3, 6) if dynamo else example(net, generator, 3, 5)
    feed = {"x": fresh.numpy()}
    if lengths is not None:
        feed["lengths"] = np.array([5, 3, 1])
    results = session.run(None, feed)
    np.savez_compressed(path.with_suffix(".npz"), **feed, **{f"out{k}": one for k, one in enumerate(results)})


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    warnings.simplefilter("ignore")
    for dynamo in (False, True):
        for name, settings in {**NETS, **({} if dynamo else PACKED)}.items():
            write(folder, name, settings, dynamo)


if __name__ == "__main__":
    main()
