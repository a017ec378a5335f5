"""Networks of the forms in which LSTMs are published: each file loads, and gives what its own package gives.

There are files of Keras and of tf2onnx (data/stand_ins), and modules of PyTorch with the graphs of both of its
exporters. Networks with layers that this version does not have are skipped, by the name of the layer.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

pytestmark = pytest.mark.filterwarnings("ignore")  # what readers assume, and what exporters warn of

Array = np.ndarray
ARCHIVE = Path(__file__).parent / "data" / "stand_ins" / "stand_ins.zip"
TOLERANCE = 1e-5  # float32, and sums in another order
STEPS, FEATURES = 8, 3

NEEDS = {
    "batchnorm": ("BatchNorm", "BatchNormalization"),
    "layernorm": ("LayerNorm", "LayerNormalization"),
    "flatten": ("Flatten", "Flatten"),
    "cnn_pooled": ("MaxPool1D", "MaxPool"),
}
"""Layer, and operator of ONNX, that some networks need."""

NOT_IN_LAYERS = {
    # Loaded as one layer OnnxGraph: Keras 3 unrolls TimeDistributed of a fixed number of steps.
    "keras3/autoencoder", "keras3/relu_autoencoder", "keras3/forecaster",
    # The two directions are two nodes, of which one reads the series in reverse order.
    "keras2/bidirectional", "keras3/bidirectional",
}  # fmt: skip


def files() -> list[str]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [name for name in archive.namelist() if not name.endswith(".npz")]


def skip_unless_known(name: str, of_graph: bool) -> None:
    layer, operator = NEEDS.get(name, ("LSTM", "LSTM"))
    if not hasattr(fl, layer):
        if of_graph:
            from fastlstm.formats.onnx.graph.operators import OPERATORS

            if operator in OPERATORS:
                return  # read as one layer
        pytest.skip(f"no layer {layer}")


@pytest.mark.parametrize("file", files())
def test_files_of_keras_and_tf2onnx(file: str, tmp_path: Path) -> None:
    stem, ending = file.rsplit(".", 1)
    pytest.importorskip("onnx" if ending == "onnx" else "h5py")
    skip_unless_known(stem.split("/")[1], ending == "onnx")
    with zipfile.ZipFile(ARCHIVE) as archive:
        path = tmp_path / f"model.{ending}"
        path.write_bytes(archive.read(file))
        data = np.load(io.BytesIO(archive.read(f"{stem}.npz")))
    model = fl.from_onnx(path) if ending == "onnx" else fl.from_keras(path)
    assert abs(model.predict(data["x"]).reshape(data["y"].shape) - data["y"]).max() <= TOLERANCE
    layers = [type(layer).__name__ for layer in model.layers]
    if ending == "onnx" and stem.split("/")[1] not in NEEDS:
        assert ("OnnxGraph" in layers) == (stem in NOT_IN_LAYERS), layers
    model.save(tmp_path / "again.safetensors")
    assert fl.load(tmp_path / "again.safetensors").predict(data["x"]).tobytes() == model.predict(data["x"]).tobytes()


def test_all_forms_are_there() -> None:
    names = files()
    assert len(names) == 60 and len(set(names)) == 60
    assert {name.split("/")[0] for name in names} == {"keras2", "keras3"}


# ------------------------------------------------------------------ PyTorch


def modules(torch: Any) -> dict[str, Callable[[], Any]]:
    nn = torch.nn

    class Autoencoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.LSTM(FEATURES, 5, batch_first=True)
            self.decoder = nn.LSTM(5, 4, batch_first=True)
            self.head = nn.Linear(4, FEATURES)

        def forward(self, x: Any) -> Any:
            _, (h, _) = self.encoder(x)
            y = h[-1].unsqueeze(1).repeat(1, STEPS, 1)
            return self.head(self.decoder(y)[0])

    class Convolved(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, *before: Any, width: int = 6) -> None:
            super().__init__()
            self.features = nn.Sequential(*before)
            self.lstm = nn.LSTM(width, 5, batch_first=True)
            self.head = nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(self.features(x.transpose(1, 2)).transpose(1, 2))
            return self.head(y[:, -1])

    class Flat(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, 4, batch_first=True)
            self.flat = nn.Flatten()
            self.head = nn.Linear(4 * STEPS, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.flat(self.lstm(x)[0]))

    class Normal(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, 4, batch_first=True, num_layers=2)
            self.norm = nn.LayerNorm(4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.lstm(x)[0]))

    class BatchNormal(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, 4, batch_first=True, bidirectional=True)
            self.norm = nn.BatchNorm1d(8)
            self.head = nn.Linear(8, 2)
            self.chances = nn.Softmax(dim=-1)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(x)
            ends = torch.cat([y[:, -1, :4], y[:, 0, 4:]], dim=-1)  # the last step that each direction has read
            return self.chances(self.head(self.norm(ends)))

    return {
        "autoencoder": Autoencoder,
        "cnn": lambda: Convolved(nn.Conv1d(FEATURES, 6, 3, padding=1), nn.ReLU()),
        "cnn_strided": lambda: Convolved(nn.Conv1d(FEATURES, 6, 3, stride=2, dilation=2), nn.Tanh()),
        "cnn_padded": lambda: Convolved(nn.ReflectionPad1d((2, 1)), nn.Conv1d(FEATURES, 6, 4), nn.ReLU()),
        "cnn_pooled": lambda: Convolved(nn.Conv1d(FEATURES, 6, 3), nn.ReLU(), nn.MaxPool1d(2)),
        "flatten": Flat,
        "layernorm": Normal,
        "batchnorm": BatchNormal,
    }


NAMES = ["autoencoder", "cnn", "cnn_strided", "cnn_padded", "cnn_pooled", "flatten", "layernorm", "batchnorm"]
FORMS = ["module", "TorchScript", "torch.export"]
NO_MODULE = {"autoencoder": "repeats", "cnn_padded": "ReflectionPad1d"}
"""What `from_torch` cannot know of a module: what its forward does between the layers, and layers without a reader."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_networks_of_pytorch(name: str, form: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    skip_unless_known(name, form != "module")
    torch.manual_seed(1)
    made = modules(torch)
    assert list(made) == NAMES
    module = made[name]()
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if "running" in key:
                value.uniform_(0.5, 1.5)
    module.eval()
    x = np.random.default_rng(2).standard_normal((4, STEPS, FEATURES)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    if form == "module":
        if name in NO_MODULE:
            with pytest.raises(
                (TypeError, ValueError), match=r"computes something else|ReflectionPad1d|the model was built for 5"
            ):
                fl.from_torch(module)
            return
        model = fl.from_torch(module)
    else:
        pytest.importorskip("onnx")
        if form == "torch.export":
            pytest.importorskip("onnxscript")
        path = tmp_path / "model.onnx"
        axes = {"x": {0: "batch"}}
        dynamic = (
            {"dynamic_shapes": {"x": {0: torch.export.Dim("batch")}}}
            if form == "torch.export"
            else {"dynamic_axes": axes}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, (torch.from_numpy(x[:2]),), path, input_names=["x"], dynamo=form == "torch.export",
                external_data=False, **dynamic,
            )  # fmt: skip
        model = fl.from_onnx(path)
    assert abs(model.predict(x).reshape(expected.shape) - expected).max() <= TOLERANCE
