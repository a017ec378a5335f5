"""Damaged and malicious ONNX files: a ValueError that says why, and no more memory than the file justifies."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_graphs import model_of, op  # noqa: E402

import fastlstm as fl  # noqa: E402
from fastlstm import onnx_backend  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*from_onnx assumes:UserWarning")

FOLDER = Path(__file__).parent / "data" / "onnx"
CORPUS = sorted((FOLDER / "corpus").glob("*.onnx"))
X = {"x": ("float32", [None, None, 3])}
PEAK = 400 * 2**20
"""Bytes that any graph may take (2**24 numbers, in float64 and a temporary array or two)."""


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def valid() -> Any:
    return onnx.load(FOLDER / "attention_ts.onnx")


def refused(proto: Any, message: str) -> None:
    """Check that the model's reader and the backend refuse a file."""
    for work in (lambda: fl.from_onnx(proto.SerializeToString()), lambda: onnx_backend.prepare(proto)):
        with pytest.raises(ValueError, match=message):
            work()


# ---------------------------------------------------------------------------------------------- the corpus


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_files_that_the_fuzzer_found(path: Path) -> None:
    """Each file once caused another exception, or took too much memory or time (see fuzz/fuzz_onnx.py)."""
    data = path.read_bytes()
    try:
        model = fl.from_onnx(data)
        x: Any = np.zeros((2, 6), int) if model.takes_tokens else np.ones((2, 6, model.input_size or 1))
        out = model.forward(x, training=True)
        model.backward(np.ones_like(out))
    except ValueError as error:
        assert len(str(error)) > 10


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 28


def test_an_lstm_without_weights_behind_an_operator_that_no_layer_has() -> None:
    proto = model_of([op("Exp", "x", "e"), op("LSTM", "e", "y")], {"x": ("float32", [None, None, "features"])}, ["y"])
    with pytest.raises(ValueError, match="does not determine how many features"):
        fl.from_onnx(proto.SerializeToString())


def test_every_shortened_file_is_refused() -> None:
    data = (FOLDER / "last_ts.onnx").read_bytes()
    whole = fl.from_onnx(data)
    for end in range(0, len(data), 7):
        try:
            model = fl.from_onnx(data[:end])
        except ValueError:
            continue
        # Fields after the graph may be missing.
        assert model.flat_parameters.tobytes() == whole.flat_parameters.tobytes()


def test_files_that_are_not_models_are_refused(tmp_path: Path) -> None:
    for name, data, message in (
        ("empty", b"", "the file is empty"),
        ("text", b"no model at all", "truncated, damaged, or not an ONNX model|holds no graph"),
        ("zeros", bytes(1000), "truncated, damaged, or not an ONNX model"),
        ("nothing", onnx.ModelProto(ir_version=8).SerializeToString(), "holds no graph"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: .*({message})"):
            fl.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        fl.from_onnx(tmp_path / "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="not a regular file"):
            fl.from_onnx(tmp_path / "pipe")


# ---------------------------------------------------------------------------------------------- the graph


def two_outputs(proto: Any) -> None:
    proto.graph.node[-1].output[0] = proto.graph.node[0].output[0]


def cycle(proto: Any) -> None:
    proto.graph.node.append(op("Add", "c2,x", "c1"))
    proto.graph.node.append(op("Add", "c1,x", "c2"))


def subgraph(proto: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node[3].attribute.append(helper.make_attribute("body", body))


def sparse(proto: Any) -> None:
    proto.graph.sparse_initializer.add()


def function(proto: Any) -> None:
    proto.functions.add().name = "f"


def set_opset(version: int) -> Callable[[Any], None]:
    def change(proto: Any) -> None:
        proto.opset_import[0].version = version

    return change


def no_opset(proto: Any) -> None:
    del proto.opset_import[:]


def twice(proto: Any) -> None:
    proto.graph.initializer.append(proto.graph.initializer[0])


def reference_attribute(proto: Any) -> None:
    attribute = proto.graph.node[0].attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "start", "outer", 2


def attribute_twice(proto: Any) -> None:
    node = next(node for node in proto.graph.node if node.attribute)
    node.attribute.append(node.attribute[0])


def sequence_input(proto: Any) -> None:
    proto.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


CHANGES: list[tuple[Any, str]] = [
    (two_outputs, "is defined twice"),
    (cycle, "the graph has a cycle"),
    (subgraph, "attribute 'body' is a graph: of the operators with subgraphs only If"),
    (sparse, "sparse tensors"),
    (function, "defines its own functions"),
    (set_opset(6), "uses opset 6, supported are 7 to"),
    (set_opset(10**6), "uses opset 1000000, supported"),
    (no_opset, "does not give the version"),
    (lambda proto: proto.opset_import.append(proto.opset_import[0]), "opset_import lists a domain twice"),
    (twice, "is defined twice"),
    (reference_attribute, "is of type 2, which is not supported"),
    (attribute_twice, "appears twice"),
    (sequence_input, "is not a tensor"),
    (lambda proto: setattr(proto.graph.node[2], "domain", "com.microsoft"), "domain 'com.microsoft' is not supported"),
    (lambda proto: setattr(proto.graph.node[-1], "op_type", "Einsum"), "operator Einsum, opset .* is not supported"),
    (lambda proto: proto.graph.node[-1].input.__setitem__(0, "nothing"), "input 'nothing' is missing from the graph"),
    (lambda proto: setattr(proto.graph.output[0], "name", "nothing"), "output 'nothing' is missing"),
    (lambda proto: proto.graph.output.__delitem__(0), "has no output|output"),
    (lambda proto: proto.graph.input.append(proto.graph.input[0]), "two inputs of the graph have the same name"),
    (lambda proto: setattr(proto.graph.input[0], "name", ""), "an input of the graph has no name"),
    (lambda proto: setattr(proto.graph.initializer[0], "name", ""), "has no name"),
    (lambda proto: setattr(proto.graph.input[0].type.tensor_type, "elem_type", 8), "element type 8"),
    (lambda proto: proto.graph.node[-1].input.append("x"), "has the inputs .*, expected"),
    (lambda proto: proto.graph.node[-1].output.append("z"), "has the outputs .*, expected"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_invalid_graphs_are_refused(number: int) -> None:
    change, message = CHANGES[number]
    proto = valid()
    change(proto)
    refused(proto, message)


def test_nodes_out_of_order_are_put_in_order() -> None:
    proto = valid()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    expected = fl.from_onnx(FOLDER / "attention_ts.onnx").predict(x)
    assert fl.from_onnx(proto).predict(x).tobytes() == expected.tobytes()


def test_names_that_are_not_utf8() -> None:
    data = valid().SerializeToString().replace(b"head.weight", b"head.\xff\xfe\xfdght")
    with pytest.raises(ValueError, match="not an ONNX model|not valid UTF-8"):
        fl.from_onnx(data)


# ---------------------------------------------------------------------------------------------- tensors


def with_tensor(**changed: Any) -> Any:
    """Return a model whose only initializer has wrong fields."""
    proto = model_of([op("Add", "x,v"), op("Sum", "y,y", "z")], X, ["z"], {"v": np.ones(3, np.float32)})
    tensor = proto.graph.initializer[0]
    for key, value in changed.items():
        if key in ("dims", "float_data", "int32_data"):
            del getattr(tensor, key)[:]
            getattr(tensor, key).extend(value)
        else:
            setattr(tensor, key, value)
    return proto


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dims": [4]}, r"initializer 'v' has shape \[4\] of float32, but 12 bytes"),
        ({"dims": [2**62, 2**62]}, r"has shape .* of float32, but 12 bytes"),
        ({"dims": [2**63 - 1, 2, 2**31]}, "has shape"),
        ({"dims": [-1]}, "is negative"),
        ({"dims": [-1, -3]}, "is negative"),
        ({"dims": [3] + [1] * 40}, "has 41 axes, at most 16"),
        ({"dims": [0, 2**62]}, "which is empty, but its other sizes are too large"),
        ({"dims": [0, 3]}, "but 12 bytes"),
        ({"data_type": 8}, "element type 8; known are float32"),
        ({"data_type": 22}, "element type 22"),
        ({"data_type": 99}, "element type 99"),
        ({"data_type": 11}, "of float64, but 12 bytes"),
        ({"raw_data": b"123"}, "but 3 bytes"),
        ({"data_location": 1}, "is stored in a separate file; pass the path"),
    ],
)
def test_tensors_that_are_not_what_they_claim(changed: dict[str, Any], message: str) -> None:
    refused(with_tensor(**changed), message)


def test_tensors_in_typed_fields() -> None:
    proto = with_tensor()
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("v", TensorProto.FLOAT, [3], [1.0, 2.0, 4.0]))
    assert fl.from_onnx(proto).predict(np.zeros((1, 1, 3)))[0, 0].tolist() == [2, 4, 8]
    proto.graph.initializer[0].dims[0] = 2**40
    refused(proto, "but 3 elements in float_data")
    for kind, value in ((TensorProto.FLOAT16, 1.5), (TensorProto.BFLOAT16, -2.5)):
        proto.graph.initializer[0].CopyFrom(helper.make_tensor("v", kind, [3], [value] * 3))
        assert fl.from_onnx(proto).predict(np.zeros((1, 1, 3)))[0, 0].tolist() == [2 * value] * 3


# ---------------------------------------------------------------------------------------------- external data


def external(folder: Path, **entries: str) -> Path:
    proto = with_tensor()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in entries.items():
        one = tensor.external_data.add()
        one.key, one.value = key, value
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_are_read(tmp_path: Path) -> None:
    values = np.array([0, 1, 2, 4], np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(values.tobytes())
    for location in ("sub/w.bin", "./sub/w.bin"):
        path = external(tmp_path, location=location, offset="4", length="12")
        assert fl.from_onnx(path).predict(np.zeros((1, 1, 3)))[0, 0].tolist() == [2, 4, 8]
    path = external(tmp_path, location="sub/w.bin", offset="4")
    assert fl.from_onnx(path).predict(np.zeros((1, 1, 3)))[0, 0].tolist() == [2, 4, 8]
    with pytest.raises(ValueError, match="is stored in a separate file; pass the path"):
        fl.from_onnx(path.read_bytes())


def test_external_data_by_onnx_itself(tmp_path: Path) -> None:
    onnx.save(onnx.load(FOLDER / "last_ts.onnx"), tmp_path / "m.onnx", save_as_external_data=True, location="w",
              size_threshold=0)  # fmt: skip
    expected = fl.from_onnx(FOLDER / "last_ts.onnx").flat_parameters.tobytes()
    assert fl.from_onnx(tmp_path / "m.onnx").flat_parameters.tobytes() == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "/etc/hostname"}, "expected a path below the model's folder"),
        ({"location": "../w.bin"}, "expected a path below"),
        ({"location": "sub/../../w.bin"}, "expected a path below"),
        ({"location": "sub//w.bin"}, "expected a path below"),
        ({"location": "C:\\w.bin"}, "expected a path below"),
        ({"location": "w\0.bin"}, "expected a path below"),
        ({"location": "."}, "expected a path below"),
        ({"location": ""}, "expected location, offset and length"),
        ({"location": "w.bin", "more": "1"}, "expected location, offset and length"),
        ({"location": "none.bin"}, "cannot be read"),
        ({"location": "sub"}, "is not a regular file"),
        ({"location": "link.bin"}, "'link.bin' in the path .* is a symbolic link"),
        ({"location": "linked/w.bin"}, "'linked' in the path .* is a symbolic link"),
        ({"location": "w.bin", "offset": "-4"}, "offset of its external data is '-4'"),
        ({"location": "w.bin", "offset": "99999999999999999999"}, "offset of its external data"),
        ({"location": "w.bin", "offset": "8", "length": "12"}, "needs bytes 8 to 20 of 'w.bin', which has 12 bytes"),
        ({"location": "w.bin", "offset": "13"}, "needs bytes 13 to"),
        ({"location": "w.bin", "length": "8"}, "has shape .3. of float32, but 8 bytes"),
        ({"location": "w.bin", "length": "1e1"}, "length of its external data is '1e1'"),
        ({"location": "pipe"}, "is not a regular file"),
    ],
)
def test_external_data_stay_in_the_folder(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, tmp_path):
        (place / "w.bin").write_bytes(np.ones(3, np.float32).tobytes())
    (folder / "link.bin").symlink_to(folder / "w.bin")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match=message):
        fl.from_onnx(external(folder, **entries))


# ---------------------------------------------------------------------------------------------- memory


def bombs() -> dict[str, tuple[list[Any], dict[str, np.ndarray]]]:
    huge = ints(2**20, 2**20, 3)
    doubling = [op("Concat", "x,x", "d0", axis=0)]
    doubling += [op("Concat", f"d{k},d{k}", f"d{k + 1}", axis=0) for k in range(60)]
    outer = [op("Reshape", "x,column", "o0")]
    for k in range(8):
        outer += [op("Reshape", f"o{k},row", f"r{k}"), op("MatMul", f"o{k},r{k}", f"m{k}"),
                  op("Reshape", f"m{k},column", f"o{k + 1}")]  # fmt: skip
    kept = [op("Expand", "x,many", f"k{j}") for j in range(200)]
    kept += [helper.make_node("Sum", [f"k{j}" for j in range(60)], ["k"]),
             helper.make_node("Sum", ["k"] + [f"k{j}" for j in range(60, 120)], ["kk"])]  # fmt: skip
    return {
        "Expand": ([op("Expand", "x,huge", "e"), op("Sum", "e,e")], {"huge": huge}),
        "Expand of a constant": ([op("Expand", "one,huge", "e"), op("Add", "x,e")],
                                 {"huge": huge, "one": np.ones(1, np.float32)}),
        "ConstantOfShape": ([op("ConstantOfShape", "huge", "e"), op("Add", "x,e")], {"huge": huge}),
        "ConstantOfShape, overflow": ([op("ConstantOfShape", "huge", "e"), op("Add", "x,e")],
                                      {"huge": ints(2**62, 2**62, 2**62)}),
        "Tile": ([op("Tile", "x,huge", "e"), op("Sum", "e,e")], {"huge": huge}),
        "Range": ([op("Range", "zero,end,one", "r"), op("Cast", "r", "f", to=1), op("ReduceSum", "f", "s"),
                   op("Add", "x,s")], {"zero": np.array(0), "end": np.array(2**60), "one": np.array(1)}),
        "Concat": ([*doubling, op("Add", "x,d60")], {}),
        "MatMul": ([*outer, op("Add", "x,o8")], {"column": ints(-1, 1), "row": ints(1, -1)}),
        "Gather": ([op("Gather", "table,index", "a"), op("Gather", "a,index", "b"), op("Gather", "b,index", "c"),
                    op("Gather", "c,index", "d"), op("ReduceSum", "d", "s"), op("Add", "x,s")],
                   {"table": np.ones((2, 50), np.float32), "index": np.zeros((1, 1000), np.int64)}),
        "Add": ([op("Reshape", "x,a", "p"), op("Reshape", "x,b", "q"), op("Add", "p,q", "r"), op("Reshape", "r,a", "s"),
                 op("Reshape", "r,b", "t"), op("Add", "s,t", "u"), op("Reshape", "u,a", "v"), op("Reshape", "u,b", "w"),
                 op("Add", "v,w")], {"a": ints(-1, 1, 1), "b": ints(1, -1, 1)}),
        "what is empty": ([op("Reshape", "x,none", "n"), op("Slice", "n,zero1,zero1", "m"),
                           op("Reshape", "m,wide", "w", allowzero=1),
                           op("ReduceSum", "w,axis", "s"), op("Add", "x,s")],
                          {"none": ints(-1), "zero1": ints(0), "wide": ints(2**31, 0, 2**20), "axis": ints(1)}),
        "many at once": ([*kept, op("Add", "x,kk")], {"many": ints(2**14, 1, 1, 1)}),
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_small_files_take_little_memory(name: str) -> None:
    """Loading, running and training are refused before memory is allocated."""
    nodes, constants = bombs()[name]
    proto = model_of(nodes, X, [nodes[-1].output[0]], constants)
    x = np.ones((3, 7, 3), np.float32)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="would take more memory|too large|not a valid shape|cannot be reshaped"):
            fl.from_onnx(proto).predict(x)
        with pytest.raises(ValueError, match="would take more memory|not a valid shape"):
            onnx_backend.run_model(proto, {"x": x})
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()


def test_the_limit_grows_with_data_and_weights() -> None:
    """One feature and wide layers make 500 numbers of each input."""
    rng = np.random.default_rng(0)
    nodes = [op("MatMul", "x,w", "a"), op("LogSoftmax", "a", "b"), op("Sum", "b,b")]
    proto = model_of(nodes, {"x": ("float32", [None, None, 1])}, ["y"],
                     {"w": rng.standard_normal((1, 500)).astype(np.float32)})  # fmt: skip
    model = fl.from_onnx(proto)
    assert model.predict(np.ones((40, 500, 1))).shape == (40, 500, 500)
    with pytest.raises(ValueError, match="would take more memory .* pass less data at a time"):
        model.predict(np.ones((2000, 1000, 1)), batch_size=2000)


# ---------------------------------------------------------------------------------------------- saved graphs


def test_a_saved_graph_is_not_trusted_either(tmp_path: Path) -> None:
    """The description in a .safetensors file is checked like an ONNX file."""
    from fastlstm.formats import safetensors as serialization

    fl.from_onnx(valid()).save(tmp_path / "m.safetensors")
    tensors, config = serialization.load(tmp_path / "m.safetensors")
    graph = config["layers"][0]["graph"]
    name = next(iter(graph["parameters"]))
    node = graph["nodes"][-1]
    constant = next(iter(graph["constants"]))
    changes: list[tuple[dict[str, Any], str, Any, str]] = [
        (graph, "opset", None, "the description of the graph is damaged"),
        (graph, "nodes", [3], "the description of the graph is damaged"),
        (graph, "outputs", ["none"], "output 'none' is missing"),
        (graph["parameters"], name, [2**40, 2**40], "has shape"),
        (graph["parameters"], name, [-1], "impossible shape"),
        (graph["constants"], constant, {"dtype": "float32", "shape": [2**40], "data": ""}, "do not match"),
        (graph["constants"], constant, {"dtype": "object", "shape": [], "data": ""}, "is not an array"),
        (node, "op", "Loop", "is not supported"),
        (node, "inputs", ["none"], "is missing from the graph|has the inputs"),
        (node, "attributes", {"alpha": "x"}, "attribute 'alpha'"),
        (node, "attributes", {"alpha": {"a": 1}}, "is not an array"),
        (config["layers"][0], "batch_axis", 7, "do not fit"),
        (config["layers"][0], "lengths_input", "none", "expected one for the data"),
    ]
    for place, key, value, message in changes:
        before = place[key]
        place[key] = value
        serialization.save(tmp_path / "bad.safetensors", tensors, config)
        with pytest.raises(ValueError, match=message):
            fl.load(tmp_path / "bad.safetensors")
        place[key] = before
    serialization.save(tmp_path / "good.safetensors", tensors, config)
    assert fl.load(tmp_path / "good.safetensors").layers


def test_without_the_package_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says what to install; a saved graph does not need the package."""
    model = fl.from_onnx(valid())
    model.save(tmp_path / "m.safetensors")
    x = np.ones((1, 4, 3))
    expected = model.predict(x)
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastlstm\[onnx\]'"):
        fl.from_onnx(FOLDER / "last_ts.onnx")
    with pytest.raises(ImportError, match=r"pip install 'fastlstm\[onnx\]'"):
        model.to_onnx(tmp_path / "m.onnx")
    assert fl.load(tmp_path / "m.safetensors").predict(x).tobytes() == expected.tobytes()


def test_a_tensor_attribute_is_checked_too() -> None:
    node = op("ConstantOfShape", "s", "z")
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.ones(1, np.float32))))
    node.attribute[0].t.dims[0] = 2**50
    proto = model_of([node, op("Add", "x,z")], X, ["y"], {"s": ints(1)})
    refused(proto, "attribute 'value' has shape")
