"""`Model.to_onnx`: the inputs, scalers, layers and output of a model as one ONNX graph."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ...._checks import as_bool, float_type
from ...._typing import Array
from ...._version import __version__
from ....data import Scaler
from ....inference.carried import require_states_suffice
from ....inference.inputs import input_features, known_channels
from ....layers import Layer, require_numbers
from ....protocols import InferenceModel
from ... import atomic
from ..graph.layer import OnnxGraph
from ..graph.nodes import METADATA
from ..package import import_onnx
from .builder import OPSET, GraphBuilder, Value
from .graph_copy import copy_graph
from .scaling import scaling_dtype, standardize, standardize_series, unstandardize
from .stages import write_layer

__all__ = ["IR_VERSION", "OPSET", "model_proto", "save_onnx", "write_network"]

IR_VERSION = 8
"""The version of the file format that belongs to `OPSET`."""


def save_onnx(
    model: InferenceModel,
    path: str | os.PathLike[str],
    *,
    with_lengths: bool = False,
    with_state: bool = False,
    dtype: npt.DTypeLike = "float32",
) -> None:
    """Write a model to an ONNX file; the implementation of `Model.to_onnx`."""
    proto = model_proto(model, with_lengths=with_lengths, with_state=with_state, dtype=dtype)
    atomic.write(path, [proto.SerializeToString()])


def model_proto(
    model: InferenceModel,
    *,
    with_lengths: bool = False,
    with_state: bool = False,
    dtype: npt.DTypeLike = "float32",
) -> Any:
    """Return the ``onnx.ModelProto`` of a model; the arguments are those of `Model.to_onnx`."""
    onnx = import_onnx()
    model.network.require_built()
    require_numbers(model.network.layers, "to_onnx")
    with_lengths, with_state = as_bool("with_lengths", with_lengths), as_bool("with_state", with_state)
    if with_state:
        require_states_suffice(model)
        if all(layer.state_shapes(1) is None for layer in model.network.layers):
            raise ValueError("no layer of the model has a state: omit with_state")
    graph = GraphBuilder(onnx, float_type(dtype), with_lengths, with_state)
    return _finished(graph, model, write_network(graph, model, Value("x")))


def write_network(graph: GraphBuilder, model: InferenceModel, value: Value) -> Value:
    """Write what the model computes from a value; return its output, (batch, time, features) or (batch, features)."""
    layers = model.network.layers
    if model.scaler is not None:
        graph.scope = "scaler"
        known_channels(model)  # raises ValueError if they are not those of the network
        if model.scaler.per_series:
            value = standardize_series(graph, value, _missing(model.scaler), input_features(model))
        else:
            value = standardize(graph, value, _fitted(model.scaler, "scaler"), "scaler.{}".format)
    for index, layer in enumerate(layers):
        graph.scope = f"{index}_{type(layer).__name__}"
        if isinstance(layer, OnnxGraph):
            _require_alone(graph, index, layer, layers)
            value = copy_graph(graph, layer, value)
        else:
            value = write_layer(graph, index, layer, value)
    graph.scope = "output"
    if model.target_scaler is not None:
        value = unstandardize(graph, value, _fitted(model.target_scaler, "target_scaler"), "target_scaler.{}".format)
    if value.per_step and graph.lengths and not isinstance(layers[0], OnnxGraph):
        value = value._replace(name=graph.masked(value, 0.0, _units(graph, model.target_scaler)))
    return graph.arranged(value, time_major=False)


def _fitted(scaler: Scaler, name: str) -> dict[str, Array]:
    """Return the arrays of a fitted scaler as a stage has them; mean and scale may be of one feature for all."""
    if not scaler.fitted:
        raise ValueError(f"the model's {name} is not fitted yet: call fit, or set it to None")
    return {"mean": scaler.center(), "scale": scaler.scale_, "missing": _missing(scaler)}


def _missing(scaler: Scaler) -> Array:
    """Return the features of a scaler that have an indicator channel."""
    return scaler.missing_features() if scaler.added_channels else np.zeros(0, np.int64)


def _units(graph: GraphBuilder, scaler: Scaler | None) -> np.dtype[Any]:
    """Return the type of values in the original units of a scaler."""
    if scaler is not None and scaler.per_series:
        return np.dtype(np.float64)  # whatever the mean of a series may be
    return scaling_dtype(graph, None if scaler is None else {"mean": scaler.center(), "scale": scaler.scale_})


def _require_alone(graph: GraphBuilder, index: int, layer: OnnxGraph, layers: list[Layer]) -> None:
    """Raise ValueError if a graph is not the model's only layer, or cannot take lengths that are asked for."""
    if len(layers) > 1:
        raise ValueError(f"layer {index}, {layer!r}, can be written only if it is the model's only layer")
    if graph.lengths and layer.lengths_input is None:
        raise ValueError(f"layer {index}, {layer!r}, has no input for the lengths: omit with_lengths")


def _state_values(graph: GraphBuilder, model: InferenceModel) -> dict[str, list[Any]]:
    """Join the final states of each layer; return the declarations of the file's states before and after the steps."""
    helper = graph.onnx.helper
    element = helper.np_dtype_to_tensor_dtype(graph.dtype)
    values: dict[str, list[Any]] = {"state": [], "final": []}
    for index, pairs in graph.final_states.items():
        shapes = model.network.layers[index].state_shapes(1)
        assert shapes is not None
        for name, parts, shape in zip("hc", zip(*pairs, strict=True), shapes, strict=True):
            graph.add("Concat", parts, f"final_{index}_{name}", axis=0)
            for when, declared in values.items():
                axes = [shape[0], "batch", shape[2]]
                declared.append(helper.make_tensor_value_info(f"{when}_{index}_{name}", element, axes))
    return values


def _finished(graph: GraphBuilder, model: InferenceModel, output: Value) -> Any:
    """Return the ``onnx.ModelProto`` of a graph that is complete except for its inputs and its output y."""
    helper, integers = graph.onnx.helper, graph.onnx.TensorProto
    x_element, y_element = (
        helper.np_dtype_to_tensor_dtype(_units(graph, scaler)) for scaler in (model.scaler, model.target_scaler)
    )
    graph.add("Identity", [output.name], "y")
    shape: list[Any] = ["batch", "time"]
    if model.network.takes_tokens:
        inputs = [helper.make_tensor_value_info("x", integers.INT64, shape)]
    else:
        inputs = [helper.make_tensor_value_info("x", x_element, [*shape, input_features(model)])]
    if graph.takes_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", integers.INT32, ["batch"]))
    steps = model.network.output_steps
    out_shape = [*(shape[:1] if not output.per_step else [shape[0], steps or shape[1]]), model.network.output_size]
    outputs = [helper.make_tensor_value_info("y", y_element, out_shape)]
    if graph.with_state:
        of_states = _state_values(graph, model)
        inputs += of_states["state"]
        outputs += of_states["final"]
    constants = [
        graph.onnx.numpy_helper.from_array(np.array(array, order="C"), name) for name, array in graph.constants.items()
    ]
    opset = helper.make_opsetid("", graph.opset)
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "fastlstm", inputs, outputs, constants),
        producer_name="fastlstm",
        producer_version=__version__,
        opset_imports=[opset],
        ir_version=IR_VERSION if graph.opset <= OPSET else helper.find_min_ir_version_for([opset]),
    )
    meaning = {
        "output_kind": model.output_kind,
        "target_shape": None if model.target_shape is None else list(model.target_shape),
        "classes": model.classes,
    }
    helper.set_model_props(proto, {METADATA: json.dumps(meaning)})
    graph.onnx.checker.check_model(proto)
    return proto
