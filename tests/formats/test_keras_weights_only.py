"""`from_keras` of files with weights only: what it says that it assumes, and activations that the caller states."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

h5py = pytest.importorskip("h5py")


def bare(path: Path, layers: dict[str, list[tuple[int, ...]]]) -> Path:
    """Write a file of weights only: for each layer the shapes of its weights."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, shapes in layers.items():
            for k, shape in enumerate(shapes):
                file[f"layers/{name}/vars/{k}"] = rng.uniform(-1, 1, shape).astype(np.float32)
    return path


LSTM_OF_3, DENSE, DENSE_1 = [(3, 16), (4, 16), (16,)], [(4, 6), (6,)], [(6, 2), (2,)]


def test_one_warning_lists_every_assumption(tmp_path: Path) -> None:
    path = bare(tmp_path / "x.weights.h5", {"lstm/cell": LSTM_OF_3, "dense": DENSE, "dense_1": DENSE_1})
    with pytest.warns(UserWarning) as caught:
        fl.from_keras(path)
    text = str(caught[0].message)
    assert len(caught) == 1 and caught[0].filename == __file__ and text.startswith(str(path))
    assumed = {
        "the data pass lstm, dense, dense_1 in this order", "lstm has the activation tanh and the recurrent_activation "
        "sigmoid", "lstm returns only its last step (return_sequences=False)", "lstm goes forward",
        "dense has no activation (linear)", "dense_1 has no activation (linear)",
        "no Masking, pooling, Activation or Dropout stands between them",
    }  # fmt: skip
    for sentence in assumed:
        assert f"that {sentence}" in text
    assert "config=model.to_json()" in text and "activations={" in text
    with pytest.warns(UserWarning) as caught:
        fl.from_keras(path, activations={"dense": "relu", "lstm": ("relu", "sigmoid"), "dense_1": None})
    text = str(caught[0].message)
    assert "has no activation" not in text and "tanh" not in text and "sigmoid" not in text and "goes forward" in text
    with pytest.warns(
        UserWarning, match="that lstm has the recurrent_activation sigmoid; .*that dense has no activation"
    ):
        fl.from_keras(path, activations=["tanh", None, "softmax"])


def test_activations_of_a_file_with_weights_only(tmp_path: Path) -> None:
    """Compare with the same layers built here, and with the same file and a description."""
    path = bare(tmp_path / "x.weights.h5", {"lstm/cell": LSTM_OF_3, "dense": DENSE, "dense_1": DENSE_1})
    x = np.random.default_rng(1).standard_normal((5, 7, 3)).astype(np.float32)
    layers = [
        {
            "class_name": "LSTM",
            "config": {"name": "a", "units": 4, "activation": "relu", "recurrent_activation": "tanh"},
        },
        {"class_name": "Dense", "config": {"name": "b", "units": 6, "activation": "elu"}},
        {"class_name": "Dense", "config": {"name": "c", "units": 2, "activation": "softmax"}},
    ]
    described = fl.from_keras(path, config={"class_name": "Sequential", "config": {"layers": layers}})
    forms: list[Any] = [
        {"lstm": ("relu", "tanh"), "dense": "elu", "dense_1": "softmax"},
        [("relu", "tanh"), "elu", "softmax"],
        iter([["relu", "tanh"], ("elu",), "softmax"]),
    ]
    for form in forms:
        with pytest.warns(UserWarning, match="return_sequences=False"):
            model = fl.from_keras(path, activations=form)
        assert repr(model) == repr(described)
        assert np.array_equal(model.predict(x), described.predict(x))
    np.testing.assert_allclose(model.predict(x).sum(axis=1), 1, rtol=1e-6)
    with pytest.warns(UserWarning):
        assert len(fl.from_keras(path, activations=forms[0], logits=True).layers) == len(model.layers) - 1


def test_activations_of_wrapped_layers(tmp_path: Path) -> None:
    both = {
        f"bidirectional/{name}_layer/cell": LSTM_OF_3 for name in ("forward", "backward")
    } | {"time_distributed/layer": [(8, 2), (2,)]}  # fmt: skip
    path = bare(tmp_path / "x.weights.h5", both)
    with pytest.warns(
        UserWarning, match="that bidirectional returns every step .*that bidirectional concatenates its two"
    ):
        model = fl.from_keras(path, activations={"bidirectional": "softsign", "time_distributed": "tanh"})
    recurrent, _, last = model.layers
    assert recurrent.cell.cell_activation.name == "softsign" and getattr(last, "kind", "") == "tanh"  # type: ignore[attr-defined]


def test_wrong_activations(tmp_path: Path) -> None:
    path = bare(tmp_path / "x.weights.h5", {"embedding": [(9, 3)], "lstm/cell": LSTM_OF_3, "dense": DENSE})
    wrong: Any
    for wrong, message in (
        (
            {"dense_7": "relu"},
            r"activations has 'dense_7', which is not a layer of the file: \['embedding', 'lstm', 'dense",
        ),
        (["relu"], "activations has 1 entries, expected one for each of the layers"),
        (["relu", None, None], "Embedding 'embedding' does not take the activation 'relu'"),
        ({"dense": ("relu", "relu")}, "Dense 'dense' does not take the activation"),
        ({"lstm": ()}, "LSTM 'lstm' does not take the activation"),
        ({"dense": "mish"}, "Dense 'dense': activation=mish is not supported, expected one of"),
        ({"lstm": "softmax"}, "activation=softmax is not supported inside an LSTM"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            fl.from_keras(path, activations=wrong)
        assert str(raised.value).startswith(str(path))
    for wrong, message in (
        ({"dense": 3}, "the activation of 'dense' must be a name such as 'relu'"),
        ("relu", "activations must be a list of"),
        (3, "activations must be a list of"),
    ):
        with pytest.raises(TypeError, match=message):
            fl.from_keras(path, activations=wrong)
    with zipfile.ZipFile(Path(__file__).parent / "data" / "keras" / "keras3.zip") as archive:
        whole = archive.extract("final.keras", tmp_path)
    with pytest.raises(ValueError, match="the file itself describes the model and its activations: omit activations"):
        fl.from_keras(whole, activations=["relu"])
    with pytest.raises(ValueError, match="config describes the model and its activations: omit activations"):
        fl.from_keras(path, config="{}", activations=["relu"])


def test_other_files_name_their_reader(tmp_path: Path) -> None:
    fl.Model([fl.LSTM(3)], input_size=2).save(tmp_path / "m.keras")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (tmp_path / "t.h5").write_bytes(b"PK\3\4" + bytes(22) + b"\x0a\0\0\0m/data.pkl")
    for name, function in (("m.keras", "fl.load"), ("m.onnx", "fl.from_onnx("), ("t.h5", "fl.from_torch(")):
        with pytest.raises(ValueError, match=f"it is a.* {re.escape(function)}"):
            fl.from_keras(tmp_path / name)
