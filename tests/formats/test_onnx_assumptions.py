"""`from_onnx` says in one warning all that it assumes, and nothing where the file says everything."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx_graphs import LSTMCase, model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402

FOLDER = Path(__file__).parent / "data" / "onnx"
LSTM_ALONE = ("lstm_ts", "lstm_export", "lstm_time_first_ts", "lstm_time_first_export")


def assumed(source: Any, **arguments: Any) -> list[str]:
    """Return the sentences of the only warning, or none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fl.from_onnx(source, **arguments)
    if not caught:
        return []
    assert len(caught) == 1 and caught[0].category is UserWarning and caught[0].filename == __file__
    head, _, rest = str(caught[0].message).partition("from_onnx assumes what the file does not say: that ")
    assert head == (f"{source}: " if isinstance(source, Path) else "")
    return rest.split("; that ")


def lstm(shape: list[Any], layout: int = 0) -> Any:
    """Return the file of an LSTM of 3 features and 2 units whose final states go through a dense layer."""
    case = LSTMCase(np.random.default_rng(0), direction="forward", size=3, hidden=2, layout=layout, lengths=False,
                    initial_h=False, initial_c=False, peepholes=False, coupled=False,
                    outputs=("", "Y_h", ""))  # fmt: skip
    node = case.node()
    node.input[0] = "x"
    weights = {name: case.arrays[name] for name in ("W", "R", "B") if name in case.arrays}
    nodes = [node, op("Squeeze", "Y_h,axis", "h"), op("MatMul", "h,m")]
    more = {"axis": np.array([layout], np.int64), "m": np.ones((2, 4), np.float32)}
    return model_of(nodes, {"x": ("float32", shape)}, ["y"], weights | more)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.onnx")), ids=lambda path: path.stem)
def test_files_of_exporters(path: Path) -> None:
    found = assumed(path)
    if path.stem not in LSTM_ALONE:
        assert found == []
        return
    names = [one.name for one in onnx.load(path).graph.output]
    assert found == [f"of the outputs {names} the first is meant (output={names[0]!r} says so)"]
    assert assumed(path, output=names[0]) == []


@pytest.mark.parametrize("with_lengths", [False, True])
def test_our_own_files(with_lengths: bool, tmp_path: Path) -> None:
    stacks: list[list[fl.Layer]] = [
        [fl.LSTM(4), fl.Dense(2)],
        [fl.Dense(4), fl.MeanPool()],
        [fl.LSTM(4, bidirectional=True), fl.Activation("tanh")],
    ]
    for layers in stacks:
        fl.Model(layers, input_size=3).to_onnx(tmp_path / "m.onnx", with_lengths=with_lengths)
        assert assumed(tmp_path / "m.onnx") == []


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (["t", "b", 3], []),
        ([5, 1, 3], ["any number of series and steps may be given, though the file declares 1 series of 5 steps"]),
        ([1, 2, 3], ["any number of series and steps may be given, though the file declares 2 series of 1 step"]),
        ([5, "b", 3], ["any number of series and steps may be given, though the file declares 5 steps"]),
        (["t", 1, 3], ["any number of series and steps may be given, though the file declares 1 series"]),
    ],
)
def test_fixed_sizes_of_layers(shape: list[Any], expected: list[str]) -> None:
    proto = lstm(shape)
    assert assumed(proto) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fl.from_onnx(proto)
    assert [type(layer) for layer in model.layers] == [fl.LSTM, fl.Dense]
    x = np.random.default_rng(0).standard_normal((3, 4, 3)).astype(np.float32)
    got = model.predict(x)
    assert got.shape == (3, 4) and np.array_equal(got[1:2], model.predict(x[1:2]))


def pooled(shape: list[Any], axis: int) -> Any:
    """Return a file without an LSTM: the mean over an axis, then a dense layer."""
    nodes = [op("ReduceMean", "x,axis", "p", keepdims=0), op("MatMul", "p,m")]
    constants = {"axis": np.array([axis], np.int64), "m": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return model_of(nodes, {"x": ("float32", shape)}, ["y"], constants, 18)


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        (["a", "b", 3], 1, ["the second axis of 'x' is time (time_major=True: the first)"]),
        (["batch", "time", 3], 1, []),
        (["batch_size", "s27", 3], 1, []),
        (["N", "T", 3], 1, []),
        (["s1", "seq_len", 3], 1, []),
        (["seq", "batch", 3], 0, ["the first axis of 'x' is time, by its name ('seq', 'batch', 3) (time_major=True)"]),
        (["t", "n", 3], 0, ["the first axis of 'x' is time, by its name ('t', 'n', 3) (time_major=True)"]),
        (["T", "s27", 3], 1, ["the second axis of 'x' is time (time_major=True: the first)"]),
    ],
)  # fmt: skip
def test_the_axis_of_time(shape: list[Any], axis: int, expected: list[str]) -> None:
    proto = pooled(shape, axis)
    assert assumed(proto) == expected
    assert assumed(proto, time_major=axis == 0) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fl.from_onnx(proto)
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_allclose(model.predict(x), x.mean(1) @ weight, rtol=0, atol=1e-5)


def test_sizes_and_axes_of_a_graph() -> None:
    nodes = [op("Reshape", "x,shape", "a"), op("LogSoftmax", "a")]
    proto = model_of(nodes, {"x": ("float32", [1, 4, 3])}, ["y"], {"shape": np.array([1, 4, 3], np.int64)})
    assert assumed(proto, time_major=False) == [
        "the graph takes 1 series at a time (predict(X, batch_size=1)), and axis 0 of its output, of shape (1, 4, 3), "
        "holds the series",
        "the graph takes 4 steps only",
        "axis 1 of its output, of shape (1, 4, 3), is time",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fl.from_onnx(proto)
    x = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    expected = x - np.log(np.exp(x).sum(-1, keepdims=True))
    np.testing.assert_allclose(model.predict(x, batch_size=1), expected, rtol=0, atol=1e-6)  # as the warning says
    nodes = [op("ReduceMax", "x,one", "p", keepdims=1), op("LogSoftmax", "p", "q", axis=2),
             op("Concat", "q,q,q", "y", axis=1)]  # fmt: skip
    proto = model_of(nodes, {"x": ("float32", ["batch", "time", 3])}, ["y"], {"one": np.array([1], np.int64)}, 18)
    assert assumed(proto) == ["axis 1 of its output, of shape (3, 3, 3), holds 3 steps"]
    nodes = [op("Unsqueeze", "x,last", "u"), op("Concat", "u,u", "y", axis=3)]
    proto = model_of(nodes, {"x": ("float32", ["batch", "time", 3])}, ["y"], {"last": np.array([3], np.int64)})
    assert assumed(proto) == ["the axes of sizes [3, 2] of its output are 6 features"]


def test_an_input_that_is_lengths_by_its_name() -> None:
    nodes = [op("Cast", "lengths", "n", to=1), op("Unsqueeze", "n,axes", "u"),
             op("ReduceSum", "x,one", "s", keepdims=0), op("Div", "s,u")]  # fmt: skip
    constants = {"axes": np.array([1], np.int64), "one": np.array([1], np.int64)}
    inputs = {"x": ("float32", ["batch", "time", 3]), "lengths": ("int64", ["batch"])}
    proto = model_of(nodes, inputs, ["y"], constants)
    assert assumed(proto) == ["the input 'lengths' holds the number of valid steps of each series"]


def test_features_of_the_first_lstm() -> None:
    """The data themselves go into it: certain. A part of them goes into it: assumed."""
    case = LSTMCase(np.random.default_rng(0), direction="forward", size=3, hidden=2, lengths=False, initial_h=False,
                    initial_c=False, peepholes=False, coupled=False, outputs=("Y", "", ""))  # fmt: skip
    weights = {name: case.arrays[name] for name in ("W", "R", "B") if name in case.arrays}
    for name, certain in (("Identity", True), ("Neg", False)):
        node = case.node()
        node.input[0] = "d"
        nodes = [op(name, "x", "d"), node, op("Squeeze", "Y,one", "s"), op("LogSoftmax", "s", "y", axis=2)]
        proto = model_of(nodes, {"x": ("float32", ["t", "b", "f"])}, ["y"], weights | {"one": np.array([1], np.int64)})
        expected = [] if certain else ["each step has 3 features, since the first LSTM node takes so many"]
        assert [one for one in assumed(proto) if "features" in one] == expected


def test_other_files_name_their_reader(tmp_path: Path) -> None:
    fl.Model([fl.LSTM(3)], input_size=2).save(tmp_path / "m.onnx")
    (tmp_path / "k").write_bytes(b"PK\3\4" + bytes(22) + b"\x0d\0\0\0metadata.json")
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    for name, function in (("m.onnx", "fl.load"), ("k", "fl.from_keras("), ("m.h5", "fl.from_keras(")):
        with pytest.raises(ValueError, match="it is a") as raised:
            fl.from_onnx(tmp_path / name)
        assert function in str(raised.value)
