"""Encoders and decoders in ONNX: files of tf2onnx, the forms in which a vector is repeated, and what is no chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from helpers import check_gradients  # noqa: E402
from onnx_graphs import model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend  # noqa: E402

FOLDER = Path(__file__).parent / "data" / "onnx" / "tf2onnx"

FLOAT32 = 2e-6
"""Absolute, of outputs of size 1: 16 ulps. Every runtime sums in an order of its own."""

STEPS, HIDDEN, FEATURES = 4, 3, 2


def kinds(model: fl.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("name", ["repeat", "autoencoder"])
def test_files_of_tf2onnx(name: str, tmp_path: Path) -> None:
    with np.load(FOLDER / f"{name}.npz") as stored:
        x, y = stored["x"], stored["y"]
    model = fl.from_onnx(FOLDER / f"{name}.onnx")
    encoder = ["LSTM"] if name == "repeat" else ["LSTM", "LSTM"]
    assert kinds(model) == [*encoder, "RepeatVector", "LSTM", "Dense"]
    np.testing.assert_allclose(model.predict(x), y, rtol=0, atol=FLOAT32)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fl.load(tmp_path / "m.safetensors").predict(x), model.predict(x))
    before = model.evaluate(x, y + 1, loss="mse")["loss"]
    model.fit(x, y + 1, loss="mse", epochs=5, optimizer=fl.Adam(0.02), verbose=0)
    assert model.evaluate(x, y + 1)["loss"] < before


# ------------------------------------------------------------------ graphs


def graph(*middle: Any, end: str = "lstm", lengths: bool = False, **constants: Any) -> Any:
    """Return a graph: an LSTM whose last output is `code`, the nodes of the middle, which make `new`, and an LSTM."""
    rng = np.random.default_rng(1)

    def weights(number: int, size: int) -> dict[str, np.ndarray]:
        shapes = {"W": (1, 4 * HIDDEN, size), "R": (1, 4 * HIDDEN, HIDDEN), "B": (1, 8 * HIDDEN)}
        return {f"{k}{number}": 0.5 * rng.standard_normal(shape).astype("f4") for k, shape in shapes.items()}

    ends = ",lengths" if lengths else ""
    nodes = [
        op("Transpose", "x", "xt", perm=[1, 0, 2]),
        op("LSTM", f"xt,W1,R1,B1{ends}", "all,last", hidden_size=HIDDEN),
        op("Squeeze", "last,zero", "code"),
        *middle,
    ]
    if end == "lstm":
        nodes += [
            op("Transpose", "new", "new_t", perm=[1, 0, 2]),
            op("LSTM", "new_t,W2,R2,B2", "z", hidden_size=HIDDEN),
            op("Squeeze", "z,one", "zs"),
            op("Transpose", "zs", "y", perm=[1, 0, 2]),
        ]
    inputs: dict[str, Any] = {"x": ("float32", ["n", "t", FEATURES])}
    if lengths:
        inputs["lengths"] = ("int32", ["n"])
    arrays = {"zero": np.array([0]), "one": np.array([1]), "three": np.array([STEPS]), **constants}
    return model_of(nodes, inputs, ["y"], {**weights(1, FEATURES), **weights(2, HIDDEN), **arrays})


TILE = (op("Unsqueeze", "code,one", "step"), op("Tile", "step,by", "new"))
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Tile": (TILE, {"by": np.array([1, STEPS, 1])}),
    "Tile of one step": (TILE, {"by": np.array([1, 1, 1])}),
    "Expand": (
        (op("Unsqueeze", "code,one", "step"), op("Expand", "step,by", "new")),
        {"by": np.array([1, STEPS, 1])},
    ),
    "Expand of fewer axes": (
        (op("Unsqueeze", "code,one", "step"), op("Expand", "step,by", "new")),
        {"by": np.array([STEPS, HIDDEN])},
    ),
    "Expand to sizes": (
        (
            op("Shape", "x", "sizes"),
            op("Gather", "sizes,zero", "n"),
            op("Concat", "n,three,width", "by", axis=0),
            op("Unsqueeze", "code,one", "step"),
            op("Expand", "step,by", "new"),
        ),
        {"width": np.array([HIDDEN])},
    ),
    "time first": (
        (op("Unsqueeze", "code,zero", "step"), op("Tile", "step,by", "new_first"),
         op("Transpose", "new_first", "new", perm=[1, 0, 2])),
        {"by": np.array([STEPS, 1, 1])},
    ),
    "tf.repeat": (
        (
            op("Unsqueeze", "code,one", "step"),
            op("Unsqueeze", "step,two", "inner"),
            op("Tile", "inner,by", "four"),
            op("Reshape", "four,shape", "new"),
        ),
        {"two": np.array([2]), "by": np.array([1, 1, STEPS, 1]), "shape": np.array([-1, STEPS, HIDDEN])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_forms_of_repetition(name: str, lengths: bool, tmp_path: Path) -> None:
    middle, constants = FORMS[name]
    proto = graph(*middle, lengths=lengths, **constants)
    model = fl.from_onnx(proto)
    assert kinds(model) == ["LSTM", "RepeatVector", "LSTM"]
    x = np.random.default_rng(2).standard_normal((3, 6, FEATURES)).astype("f4")
    ends = np.array([6, 1, 4], np.int32) if lengths else None
    feed = {"x": x} if ends is None else {"x": x, "lengths": ends}
    expected = onnx_backend.run_model(proto, feed)[0]
    np.testing.assert_allclose(model.predict(x, ends), expected, rtol=0, atol=FLOAT32)
    model.to_onnx(tmp_path / "again.onnx", with_lengths=lengths)
    again = fl.from_onnx(tmp_path / "again.onnx")
    assert kinds(again) == ["LSTM", "RepeatVector", "LSTM"]
    np.testing.assert_array_equal(again.predict(x, ends), model.predict(x, ends))


def test_steps_in_one_axis_as_time_distributed_reshapes_them() -> None:
    """Reshaping to (cases * steps, features), a dense layer, and back; also with a number of steps that is computed."""
    rng = np.random.default_rng(3)
    constants = {"by": np.array([1, STEPS, 1]), "flat": np.array([-1, HIDDEN]), "out": np.array([2])}
    constants |= {"V": rng.standard_normal((HIDDEN, 2)).astype("f4"), "b": rng.standard_normal(2).astype("f4")}
    nodes = [
        op("Shape", "new", "sizes"),
        op("Slice", "sizes,zero,one", "n"),
        op("Concat", "n,three,out", "back", axis=0),
        op("Reshape", "new,flat", "rows"),
        op("Gemm", "rows,V,b", "dense"),
        op("Tanh", "dense", "tanh"),
        op("Reshape", "tanh,back", "y"),
    ]
    proto = graph(*TILE, *nodes, end="here", **constants)
    model = fl.from_onnx(proto)
    assert kinds(model) == ["LSTM", "RepeatVector", "Dense", "Activation"]
    x = rng.standard_normal((3, 5, FEATURES)).astype("f4")
    np.testing.assert_allclose(model.predict(x), onnx_backend.run_model(proto, {"x": x})[0], rtol=0, atol=FLOAT32)


def test_a_repetition_of_steps_is_no_chain() -> None:
    """Tile of a series repeats the series; the data of a graph are not reinterpreted."""
    middle = (
        op("Squeeze", "all,one", "series_t"), op("Transpose", "series_t", "series", perm=[1, 0, 2]),
        op("Tile", "series,by", "y"),
    )  # fmt: skip
    x = np.random.default_rng(4).standard_normal((3, 5, FEATURES)).astype("f4")
    for by in ([1, 2, 1], [1, 1, 2]):
        proto = graph(*middle, end="here", by=np.array(by))
        model = fl.from_onnx(proto)
        assert kinds(model) == ["OnnxGraph"]
        if by[1] == 1:
            expected = onnx_backend.run_model(proto, {"x": x})[0]
            np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=FLOAT32)


@pytest.mark.filterwarnings("ignore:from_onnx assumes")
def test_lengths_of_the_input_on_new_steps_are_no_chain() -> None:
    """A mask by the lengths of the input, on steps that are not its own, stays as it is in the file."""
    middle = (
        *TILE,
        op("Range", "start,count,step1", "steps"),
        op("Unsqueeze", "steps,axes02", "steps3"),
        op("Cast", "lengths", "ends", to=7),
        op("Unsqueeze", "ends,axes12", "ends3"),
        op("Less", "steps3,ends3", "valid"),
        op("Where", "valid,new,nothing", "y"),
    )
    constants = {"by": np.array([1, STEPS, 1]), "start": np.array(0), "count": np.array(STEPS), "step1": np.array(1)}
    constants |= {"axes02": np.array([0, 2]), "axes12": np.array([1, 2]), "nothing": np.array(0.0, "f4")}
    proto = graph(*middle, end="here", lengths=True, **constants)
    model = fl.from_onnx(proto)
    assert kinds(model) == ["OnnxGraph"]
    x, ends = np.random.default_rng(5).standard_normal((3, 6, FEATURES)).astype("f4"), np.array([6, 2, 3], np.int32)
    expected = onnx_backend.run_model(proto, {"x": x, "lengths": ends})[0]
    np.testing.assert_allclose(model.predict(x, ends), expected, rtol=0, atol=FLOAT32)
    assert model.network.output_steps == STEPS


# ------------------------------------------------------------------ a graph as one layer


def decoder_graph() -> Any:
    """Return a graph of (n, STEPS, HIDDEN) that is no chain of layers, because of Abs."""
    return graph(*TILE, op("Abs", "new", "y"), end="here", by=np.array([1, STEPS, 1]))


@pytest.mark.filterwarnings("ignore:from_onnx assumes")
def test_a_graph_of_fixed_steps_keeps_its_shape(tmp_path: Path) -> None:
    proto = decoder_graph()
    model = fl.from_onnx(proto)
    assert kinds(model) == ["OnnxGraph"] and model.per_step
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((3, 6, FEATURES)).astype("f4"), rng.standard_normal((3, STEPS, HIDDEN))
    expected = onnx_backend.run_model(proto, {"x": x})[0]
    assert expected.shape == (3, STEPS, HIDDEN)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=FLOAT32)
    ends = [6, 2, 3]
    alone = [onnx_backend.run_model(proto, {"x": one[None, :end]})[0][0] for one, end in zip(x, ends, strict=True)]
    np.testing.assert_allclose(model.predict(x, ends), alone, rtol=0, atol=FLOAT32)
    error = np.array(alone) - y
    assert model.evaluate(x, y, lengths=ends, loss="mse")["loss"] == pytest.approx((error**2).mean(), rel=1e-4)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fl.load(tmp_path / "m.safetensors").predict(x, ends), model.predict(x, ends))
    model.to_onnx(tmp_path / "again.onnx")
    np.testing.assert_array_equal(fl.from_onnx(tmp_path / "again.onnx").predict(x), model.predict(x))


@pytest.mark.filterwarnings("ignore:from_onnx assumes")
def test_gradients_of_a_graph_of_fixed_steps() -> None:
    model = fl.from_onnx(decoder_graph(), dtype="float64")
    rng = np.random.default_rng(7)
    x, weight = rng.standard_normal((3, 6, FEATURES)), rng.standard_normal((3, STEPS, HIDDEN))
    check_gradients(model, x, np.array([6, 2, 3]), weight)


@pytest.mark.filterwarnings("ignore:from_onnx assumes")
def test_a_frozen_graph_passes_on_the_gradient_of_its_input_only() -> None:
    model = fl.from_onnx(decoder_graph(), dtype="float64")
    x, weight = np.random.default_rng(8).standard_normal((3, 6, FEATURES)), np.ones((3, STEPS, HIDDEN))
    model.forward(x, training=True)
    expected = model.backward(weight)
    assert model.flat_gradients.any()
    model.layers[0].trainable = False
    model.forward(x, training=True)
    np.testing.assert_array_equal(model.backward(weight), expected)
    assert not model.flat_gradients.any()


@pytest.mark.filterwarnings("ignore:from_onnx assumes")
def test_files_without_the_number_of_steps_are_read(tmp_path: Path) -> None:
    """Models that were saved before graphs had fixed steps."""
    model = fl.from_onnx(decoder_graph())
    config = model.layers[0].get_config()
    del config["steps"]
    assert fl.layers.layer_from_config({"type": "OnnxGraph", **{**config, "time_axis": None}}).steps is None  # type: ignore[attr-defined]
