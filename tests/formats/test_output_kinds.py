"""What the outputs of a read model are: said by `loss=`, by a final activation, or by the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

X = np.random.default_rng(0).standard_normal((30, 6, 2)).astype(np.float32)
Y = (X.sum((1, 2)) > 0).astype(int)


def trained(*final: fl.layers.Layer, outputs: int = 1, loss: str = "binary_cross_entropy") -> fl.Model:
    model = fl.Model([fl.LSTM(4), fl.Dense(outputs), *final], seed=1)
    model.fit(X, Y, loss=loss, epochs=3, optimizer=fl.Adam(0.02), verbose=0)
    return model


@pytest.mark.parametrize(("outputs", "loss"), [(1, "binary_cross_entropy"), (2, "cross_entropy")])
def test_a_state_dict_is_told_its_loss(outputs: int, loss: str) -> None:
    model = trained(outputs=outputs, loss=loss)
    state = model.to_torch_state_dict(["lstm", "fc"])
    unknown = fl.from_torch(state, order=["lstm", "fc"])
    with pytest.raises(ValueError, match=r"not known .* pass it as loss= to .* the function that reads the file"):
        unknown.predict_proba(X)
    read = fl.from_torch(state, order=["lstm", "fc"], loss=loss)
    np.testing.assert_array_equal(read.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(read.predict_classes(X), model.predict_classes(X))
    assert read.evaluate(X, Y) == model.evaluate(X, Y)
    with pytest.raises(ValueError, match="unknown loss 'hinge'"):
        fl.from_torch(state, order=["lstm", "fc"], loss="hinge")
    wrong: Any = 3
    with pytest.raises(TypeError, match="loss must be a name"):
        fl.from_torch(state, order=["lstm", "fc"], loss=wrong)
    with pytest.raises(ValueError, match="the model ends with sigmoid and loss='cross_entropy'"):
        fl.from_torch(state, order=["lstm", "fc", "sigmoid"], loss="cross_entropy")


CASES = [
    ((), 1, "binary_cross_entropy"), ((), 2, "cross_entropy"), (("sigmoid",), 1, "binary_cross_entropy"),
    (("softmax",), 2, "cross_entropy"), ((), 1, "mse"),
]  # fmt: skip


@pytest.mark.parametrize(("final", "outputs", "loss"), CASES)
def test_an_onnx_file_says_what_its_outputs_are(
    final: tuple[str, ...], outputs: int, loss: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    model = trained(*map(fl.Activation, final), outputs=outputs, loss=loss)
    if loss == "cross_entropy":
        model.classes = ["low", "high"]
    model.to_onnx(tmp_path / "m.onnx")
    read = fl.from_onnx(tmp_path / "m.onnx")
    assert read.output_kind == model.output_kind and read.classes == model.classes
    assert read.target_shape == model.target_shape and read.predict(X).shape == model.predict(X).shape
    if loss != "mse":
        np.testing.assert_allclose(read.predict_proba(X), model.predict_proba(X), rtol=2e-6)
        np.testing.assert_array_equal(read.predict_classes(X), model.predict_classes(X))
    got, expected = read.evaluate(X, Y), model.evaluate(X, Y)
    assert got == pytest.approx(expected, rel=1e-6)


def test_what_an_onnx_file_says_is_checked(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    trained().to_onnx(tmp_path / "m.onnx")
    for text, message in (
        ("[]", "expected an object"), ("{", "not valid JSON"), ('{"output_kind": "odds"}', "output_kind is 'odds'"),
        ('{"classes": [1]}', "classes is"), ('{"target_shape": [-1]}', "target_shape"),
    ):  # fmt: skip
        proto = onnx.load(tmp_path / "m.onnx")
        onnx.helper.set_model_props(proto, {"fastlstm": text})
        with pytest.raises(ValueError, match=message):
            fl.from_onnx(proto)
    proto = onnx.load(tmp_path / "m.onnx")
    del proto.metadata_props[:]
    assert fl.from_onnx(proto).output_kind is None
    assert fl.from_onnx(proto, loss="binary_cross_entropy").output_kind == "binary_scores"
