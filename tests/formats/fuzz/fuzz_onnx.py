"""Feed damaged ONNX files to the readers: every file must load and run, or raise a ValueError.

    python tests/formats/fuzz/fuzz_onnx.py --seconds 60 [--seed 0] [--keep folder]

Take the files of tests/formats/data/onnx, of which those in the folder subgraphs have nodes If and Loop, or states as
inputs and outputs, change bytes of them, or fields of the protobuf, which stays well-formed,
and pass each to `fl.from_onnx`, `Model.predict`, one training pass, and `onnx_backend`. Any error except a ValueError,
more memory than the limit, or more than 10 seconds for one file ends the run with status 1; `--keep` stores such files.
The same seed changes the same files in the same way.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import fastlstm as fl
from fastlstm import onnx_backend

FOLDER = Path(__file__).parents[1] / "data" / "onnx"
MEMORY = 4 * 2**30
"""Address space of the process, in bytes, where the system can limit it."""
PATIENCE = 10.0

NUMBERS = [0, 1, -1, 2, 3, 4, 5, 7, 16, 255, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63)]
OPERATORS = ["LSTM", "Gemm", "MatMul", "Add", "Reshape", "Expand", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze",
             "Split", "Tile", "ConstantOfShape", "Range", "Shape", "Transpose", "ReduceMax", "Softmax", "Pow", "Where",
             "Cast", "Flatten", "LayerNormalization", "Loop", "If", "Pad", "Sqrt", "Mul", "Conv", "", "Identity", "Div",
             "Constant"]  # fmt: skip

Mutation = Callable[[np.random.Generator, bytes], bytes]


# ---------------------------------------------------------------------------------------------- bytes


def flip(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def remove(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 65)) :]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    start, to = (int(k) for k in rng.integers(len(data), size=2))
    return data[:to] + data[start : start + int(rng.integers(1, 257))] + data[to:]


def noise(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + rng.bytes(int(rng.integers(1, 17))) + data[start + 8 :]


# ---------------------------------------------------------------------------------------------- fields


def pick(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


def names_of(graph: Any) -> list[str]:
    names = [one.name for one in [*graph.input, *graph.initializer]]
    return names + [name for node in graph.node for name in node.output] + ["", "missing"]


def change_tensor(rng: np.random.Generator, tensor: Any) -> None:
    what = int(rng.integers(6))
    if what == 0 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = pick(rng, NUMBERS)
    elif what == 1:
        tensor.dims.append(pick(rng, NUMBERS))
    elif what == 2:
        tensor.data_type = int(rng.integers(0, 27))
    elif what == 3:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif what == 4 and len(tensor.raw_data) % 8 == 0 and tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, np.int64).copy()
        values[int(rng.integers(len(values)))] = pick(rng, NUMBERS)
        tensor.raw_data = values.tobytes()
    else:
        del tensor.dims[:]
        tensor.dims.extend(int(k) for k in rng.integers(0, 9, int(rng.integers(0, 5))))


def change_attribute(rng: np.random.Generator, node: Any) -> None:
    if not node.attribute or rng.integers(4) == 0:
        name = pick(rng, ["axis", "axes", "perm", "hidden_size", "direction", "clip", "to", "layout", "input_forget",
                          "keepdims", "alpha", "transA", "transB", "split", "start", "end", "allowzero"])  # fmt: skip
        value = pick(rng, [pick(rng, NUMBERS), float(rng.standard_normal()), "text", [1, 0], [-1], [2**40, 1]])
        node.attribute.append(onnx.helper.make_attribute(name, value))
        return
    attribute = pick(rng, node.attribute)
    what = int(rng.integers(5))
    if what == 0:
        attribute.i = pick(rng, NUMBERS)
    elif what == 1:
        attribute.f = float(pick(rng, [0.0, -1.0, np.inf, -np.inf, np.nan, 1e30]))
    elif what == 2:
        attribute.ints.append(pick(rng, NUMBERS))
    elif what == 3 and attribute.HasField("t"):
        change_tensor(rng, attribute.t)
    else:
        attribute.type = int(rng.integers(0, 15))


def change_node(rng: np.random.Generator, graph: Any) -> None:
    node = pick(rng, graph.node)
    what = int(rng.integers(9))
    if what == 0:
        node.op_type = pick(rng, OPERATORS)
    elif what == 1 and node.input:
        node.input[int(rng.integers(len(node.input)))] = pick(rng, names_of(graph))
    elif what == 2:
        node.input.append(pick(rng, names_of(graph)))
    elif what == 3 and node.output:
        node.output[int(rng.integers(len(node.output)))] = pick(rng, names_of(graph))
    elif what == 4:
        node.domain = pick(rng, ["", "ai.onnx", "com.microsoft", "ai.onnx.ml"])
    elif what == 5:
        graph.node.remove(node)
    elif what == 6:
        graph.node.insert(int(rng.integers(len(graph.node))), node)
    elif what == 7 and node.input:
        del node.input[-1]
    else:
        change_attribute(rng, node)


def bomb(rng: np.random.Generator, graph: Any) -> None:
    """Insert an operator whose output is large before a node."""
    node = pick(rng, graph.node)
    if not node.input:
        return
    source, name = node.input[0], f"bomb{len(graph.node)}"
    shape = onnx.helper.make_tensor(name + "s", 7, [3], [pick(rng, NUMBERS) for _ in range(3)])
    graph.initializer.append(shape)
    kind = pick(rng, ["Expand", "Tile", "ConstantOfShape", "Concat", "Gather", "MatMul"])
    inputs = {"ConstantOfShape": [shape.name], "Concat": [source] * 40, "MatMul": [source, source]}
    made = onnx.helper.make_node(kind, inputs.get(kind, [source, shape.name]), [name])
    if kind == "Concat":
        made.attribute.append(onnx.helper.make_attribute("axis", int(rng.integers(-1, 2))))
    place = list(graph.node).index(node)
    node.input[0] = name
    graph.node.insert(place, made)


def some_graph(rng: np.random.Generator, model: Any) -> Any:
    """Return the graph of a model, or often one within it: a branch of an If, the body of a Loop."""
    inner = [one.g for node in model.graph.node for one in node.attribute if one.type == onnx.AttributeProto.GRAPH]
    return pick(rng, inner) if inner and rng.integers(2) else model.graph


def nest(rng: np.random.Generator, graph: Any) -> None:
    """Put a copy of the whole graph into a node of it, as a branch or a body."""
    node = pick(rng, graph.node)
    if graph.ByteSize() < 20000:
        copy = onnx.GraphProto.FromString(graph.SerializeToString())
        node.attribute.append(onnx.helper.make_attribute(pick(rng, ["body", "then_branch", "else_branch"]), copy))
        node.op_type = pick(rng, ["If", "Loop", "Scan"])


def change_graph(rng: np.random.Generator, model: Any) -> None:
    graph = some_graph(rng, model)
    if rng.integers(20) == 0 and graph.node:
        nest(rng, graph)
        return
    what = int(rng.integers(12))
    if what <= 3 and graph.node:
        change_node(rng, graph)
    elif what <= 5 and graph.initializer:
        change_tensor(rng, pick(rng, graph.initializer))
    elif what == 6 and graph.node:
        bomb(rng, graph)
    elif what == 7 and (graph.input or graph.output):
        value = pick(rng, [*graph.input, *graph.output])
        dims = value.type.tensor_type.shape.dim
        if dims and rng.integers(2):
            pick(rng, dims).dim_value = pick(rng, NUMBERS)
        else:
            value.type.tensor_type.elem_type = int(rng.integers(0, 27))
    elif what == 8:
        model.opset_import[0].version = int(pick(rng, [0, 1, 6, 7, 9, 11, 12, 13, 17, 18, 20, 28, 29, -1, 2**40]))
    elif what == 9 and graph.output:
        graph.output[0].name = pick(rng, names_of(graph))
    elif what == 10 and graph.initializer:
        tensor = pick(rng, graph.initializer)
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", pick(rng, ["/etc/passwd", "../x", "x", "", "\0", "corpus"])
    elif graph.input:
        graph.input[0].name = pick(rng, names_of(graph))


def fields(rng: np.random.Generator, data: bytes) -> bytes:
    model = onnx.ModelProto.FromString(data)
    for _ in range(int(rng.integers(1, 4))):
        change_graph(rng, model)
    return bytes(model.SerializeToString())


MUTATIONS: list[Mutation] = [flip, cut, remove, repeat, noise, fields, fields, fields, fields, fields, fields, fields]


# ---------------------------------------------------------------------------------------------- one file


def try_model(data: bytes) -> None:
    model = fl.from_onnx(data)
    if model.takes_tokens:
        x: Any = np.array([[0, 1, 2, 3, 0, 1]] * 2)
    else:
        x = np.linspace(-1, 1, 12 * (model.input_size or 1)).reshape(2, 6, -1)
    out = model.forward(x, training=True)
    model.backward(np.ones_like(out))
    model.predict(x)


def try_backend(data: bytes) -> None:
    proto = onnx.ModelProto.FromString(data)
    prepared = onnx_backend.prepare(proto)
    values = []
    for one in proto.graph.input:
        if one.name not in prepared.input_names:
            continue
        tensor = one.type.tensor_type
        shape = [size.dim_value if 0 < size.dim_value < 10 else 3 for size in tensor.shape.dim]
        values.append(np.ones(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    prepared.run(values)


def attempt(data: bytes) -> str:
    """Return what is wrong in the treatment of a file; empty if nothing is."""
    start = time.monotonic()
    for work in (try_model, try_backend):
        try:
            work(data)
        except ValueError:
            pass
        except Exception as error:
            if type(error).__name__ == "DecodeError" and work is try_backend:  # raised in this script
                continue
            return f"{work.__name__}: {type(error).__name__}: {error}\n{traceback.format_exc()}"
    spent = time.monotonic() - start
    return f"took {spent:.0f} seconds" if spent > PATIENCE else ""


def limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # the address sanitizer takes 16 TB of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    limit_memory()
    paths = [*sorted(FOLDER.glob("*.onnx")), *sorted((FOLDER / "subgraphs").glob("*.onnx")) * 3]
    sources = [path.read_bytes() for path in paths]
    end, count, wrong = time.monotonic() + given.seconds, 0, 0
    while time.monotonic() < end:
        rng = np.random.default_rng([given.seed, count])
        data = pick(rng, MUTATIONS)(rng, pick(rng, sources))
        count += 1
        problem = attempt(data) if data else ""
        if problem:
            wrong += 1
            print(f"file {count - 1} of seed {given.seed}: {problem}", flush=True)
            if given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
                (given.keep / f"{given.seed}_{count - 1}.onnx").write_bytes(data)
    print(f"{count} files, {wrong} of them treated wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
