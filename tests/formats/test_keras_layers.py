"""Keras's layers that normalise, pool windows or join steps: files of Keras 2 and 3 give what Keras computed.

data/keras/make_layers.py has written them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

DATA = Path(__file__).parent / "data" / "keras"
ARCHIVES = {major: zipfile.ZipFile(DATA / f"layers{major}.zip") for major in (2, 3)}
FILES = [
    pytest.param(major, name, id=f"{major}-{name}")
    for major, archive in ARCHIVES.items()
    for name in archive.namelist()
    if not name.endswith(".npz")
]


@pytest.mark.parametrize(("major", "name"), FILES)
def test_files_give_what_keras_computed(major: int, name: str, tmp_path: Path) -> None:
    if name.endswith(".h5"):
        pytest.importorskip("h5py")
    archive = ARCHIVES[major]
    path = tmp_path / name
    path.write_bytes(archive.read(name))
    with np.load(io.BytesIO(archive.read(f"{name.partition('.')[0]}.npz"))) as made:
        x, y = made["x"], made["y"]
    model = fl.from_keras(path)
    np.testing.assert_allclose(model.predict(x).reshape(y.shape), y, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fl.load(tmp_path / "m.safetensors").predict(x), model.predict(x))


def changed(tmp_path: Path, name: str, kind: str, **options: Any) -> Path:
    """Return the path of a file of Keras 3 in which the layers of a class have other options."""
    old = zipfile.ZipFile(io.BytesIO(ARCHIVES[3].read(f"{name}.keras")))
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry == "config.json":
                config = json.loads(data)
                for layer in config["config"]["layers"]:
                    if layer["class_name"] == kind:
                        layer["config"].update(options)
                data = json.dumps(config).encode()
            new.writestr(entry, data)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "options", "message"),
    [
        ("batch_first", "BatchNormalization", {"axis": 1}, "axis=1 is not supported, expected 2 or -1"),
        ("batch_first", "BatchNormalization", {"momentum": 1.0}, "momentum=1.0 is not supported"),
        ("batch_first", "BatchNormalization", {"synchronized": True}, "synchronized=True is not supported"),
        ("batch_first", "BatchNormalization", {"epsilon": 0}, "eps must be greater than 0"),
        ("layer_first", "LayerNormalization", {"axis": [1, 2]}, r"axis=\[1, 2\] is not supported, expected 2 or -1"),
        ("layer_first", "LayerNormalization", {"rms_scaling": True}, "rms_scaling=True is not supported"),
        ("max", "MaxPooling1D", {"padding": "causal"}, "padding=causal is not supported, expected valid or same"),
        ("max", "MaxPooling1D", {"pool_size": 9}, "MaxPool1D reads windows of 9 steps, and series 0 has 6"),
        ("max", "MaxPooling1D", {"data_format": "channels_first"}, "data_format=channels_first is not supported"),
        ("flatten_first", "InputLayer", {"batch_shape": [None, None, 3]}, "whose number the file does not tell"),
        ("batch_first", "LSTM", {"units": 5}, "kernel has shape"),
    ],
)
def test_what_is_refused(name: str, kind: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fl.from_keras(changed(tmp_path, name, kind, **options))


def test_pooling_after_a_mask_is_refused() -> None:
    from fastlstm.formats.keras.layers.options import Options
    from fastlstm.formats.keras.layers.registry import READERS, SignalState

    state = SignalState(3)
    state.masked = True
    with pytest.raises(ValueError, match="MaxPooling1D 'p' follows a mask, which Keras ignores in this layer"):
        READERS["MaxPooling1D"](Options("MaxPooling1D", {"name": "p"}), state)


def test_the_momentum_is_one_minus_that_of_keras(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(ARCHIVES[3].read("batch_inside.keras"))
    layer = fl.from_keras(path).layers[1]
    assert isinstance(layer, fl.BatchNorm) and layer.eps == 0.01
    np.testing.assert_allclose(layer.momentum, 0.1)
