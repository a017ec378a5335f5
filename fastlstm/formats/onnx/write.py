"""`Model.to_onnx`: write a model as an ONNX file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import layers as layer_types
from ..._checks import as_bool, float_type
from ..._version import __version__
from ...activations import Activation, as_activation
from ...data import Standardizer
from ...layers import LSTM, Dense, Embedding, Layer
from ...protocols import InferenceModel
from .. import atomic
from .graph.elementwise import ACTIVATION_OPERATORS
from .graph.layer import OnnxGraph
from .graph.lstm import ACTIVATION_NAMES, GATES, PEEPHOLES, TAKES_ALPHA, TAKES_BETA
from .graph.nodes import Node
from .graph.tensors import ELEMENT_TYPES
from .package import import_onnx

__all__ = ["IR_VERSION", "OPSET", "model_proto", "save_onnx"]

Array = npt.NDArray[Any]

OPSET, IR_VERSION = 17, 8
"""Versions that are written; runtimes of recent years support them."""


def save_onnx(
    model: InferenceModel, path: str | os.PathLike[str], *, with_lengths: bool = False, dtype: npt.DTypeLike = "float32"
) -> None:
    """Write a model to an ONNX file; the implementation of `Model.to_onnx`."""
    atomic.write(path, [model_proto(model, with_lengths=with_lengths, dtype=dtype).SerializeToString()])


def model_proto(model: InferenceModel, *, with_lengths: bool = False, dtype: npt.DTypeLike = "float32") -> Any:
    """Return the ``onnx.ModelProto`` of a model; the arguments are those of `Model.to_onnx`."""
    onnx = import_onnx()
    model.network.require_built()
    writer = _Writer(onnx, model, as_bool("with_lengths", with_lengths), float_type(dtype))
    return writer.finished()


class _Writer:
    """The conversion of one model to a graph.

    A signal is the name of the value that the layers so far compute, (time, batch, features) after an LSTM.
    """

    def __init__(self, onnx: Any, model: InferenceModel, with_lengths: bool, dtype: np.dtype[Any]) -> None:
        self.onnx, self.model, self.dtype = onnx, model, dtype
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.scope = "input"
        """The layer that is being written; a prefix of the names of its nodes."""
        self.time_major = False
        self.per_step = True
        self.features = model.network.input_size or 0
        self.opset = OPSET
        self.lengths = "lengths" if with_lengths else ""
        self._batch = ""
        self._masks: dict[bool, str] = {}
        self._counts: dict[str, int] = {}

    # ------------------------------------------------------------------------------------ nodes

    def add(self, op: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or the list of names if it has several."""
        stem = f"{self.scope}/{op}"
        number = self._counts[stem] = self._counts.get(stem, 0) + 1
        name = stem if number == 1 else f"{stem}_{number}"
        names = [f"{name}:{k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names[0] if len(names) == 1 else names

    def constant(self, value: npt.ArrayLike, name: str = "") -> str:
        """Return the name of an initializer with this value; integers become int64, floats the dtype of the file."""
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else self.dtype)
        if not name:
            text = "_".join(map(str, array.reshape(-1)[:8].tolist()))
            name = f"const/{array.dtype.name}{list(array.shape)}_{text}".replace(" ", "")
            if array.size > 8:
                name = f"{self.scope}/const_{len(self.initializers)}"
        if name not in self.initializers:
            self.initializers[name] = self.onnx.numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def batch(self) -> str:
        """Return a vector with the number of cases."""
        if not self._batch:
            shape = self.add("Shape", ["x"])
            self._batch = self.add("Slice", [shape, self.constant([0]), self.constant([1])])
        return self._batch

    def mask(self) -> str:
        """Return the mask of valid steps, broadcastable to the axes of the signal."""
        if self.time_major not in self._masks:
            time = self.add("Gather", [self.add("Shape", ["x"]), self.constant(1)], axis=0)
            steps = self.add("Range", [self.constant(0), time, self.constant(1)])
            ends = self.add("Cast", [self.lengths], to=self.onnx.TensorProto.INT64)
            axes = ([1, 2], [0, 2]) if self.time_major else ([0, 2], [1, 2])
            steps, ends = (
                self.add("Unsqueeze", [one, self.constant(where)])
                for one, where in zip((steps, ends), axes, strict=True)
            )
            self._masks[self.time_major] = self.add("Less", [steps, ends])
        return self._masks[self.time_major]

    def masked(self, signal: str, filler: float) -> str:
        """Return the signal with the steps beyond each case's length replaced by this number."""
        return str(self.add("Where", [self.mask(), signal, self.constant(filler)])) if self.lengths else signal

    # ------------------------------------------------------------------------------------ the model

    def finished(self) -> Any:
        model, helper = self.model, self.onnx.helper
        element = helper.np_dtype_to_tensor_dtype(self.dtype)
        shape: list[Any] = ["batch", "time"]
        if model.network.takes_tokens:
            data = helper.make_tensor_value_info("x", self.onnx.TensorProto.INT64, shape)
        else:
            data = helper.make_tensor_value_info("x", element, [*shape, model.network.input_size])
        signal = "x"
        if model.scaler is not None:
            signal = self._scaled(signal, model.scaler, "scaler", "scaler")
        for index, layer in enumerate(model.network.layers):
            self.scope = f"{index}_{type(layer).__name__}"
            signal = self._layer(index, layer, signal)
        self.scope = "output"
        if model.target_scaler is not None:
            signal = self._unscaled(signal, model.target_scaler)
        if self.per_step:
            if self.lengths and not isinstance(model.network.layers[0], OnnxGraph):
                signal = self.masked(signal, 0.0)
            if self.time_major:
                signal = self.add("Transpose", [signal], perm=[1, 0, 2])
        self.add("Identity", [signal], ["y"])
        out = helper.make_tensor_value_info(
            "y", element, [*(shape if self.per_step else shape[:1]), model.network.output_size]
        )
        inputs = [data]
        if self.lengths:
            inputs.append(helper.make_tensor_value_info("lengths", self.onnx.TensorProto.INT32, ["batch"]))
        graph = helper.make_graph(self.nodes, "fastlstm", inputs, [out], list(self.initializers.values()))
        proto = helper.make_model(
            graph,
            producer_name="fastlstm",
            producer_version=__version__,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=IR_VERSION
            if self.opset <= OPSET
            else helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)]),
        )
        self.onnx.checker.check_model(proto)
        return proto

    def _scaled(self, signal: str, scaler: Standardizer, name: str, scope: str) -> str:
        self.scope = scope
        if not scaler.fitted:
            raise ValueError(f"the model's {name} is not fitted yet: call fit, or set it to None")
        signal = self.add("Sub", [signal, self.constant(scaler.mean_, f"{name}.mean")])
        return str(self.add("Div", [signal, self.constant(scaler.scale_, f"{name}.scale")]))

    def _unscaled(self, signal: str, scaler: Standardizer) -> str:
        if not scaler.fitted:
            raise ValueError("the model's target_scaler is not fitted yet: call fit, or set it to None")
        signal = self.add("Mul", [signal, self.constant(scaler.scale_, "target_scaler.scale")])
        return str(self.add("Add", [signal, self.constant(scaler.mean_, "target_scaler.mean")]))

    def _layer(self, index: int, layer: Layer, signal: str) -> str:
        kind = type(layer).__name__
        write: Callable[[int, Any, str], str] | None = {
            "Activation": self._activation,
            "AttentionPool": self._attention,
            "Dense": self._dense,
            "Dropout": self._nothing,
            "Embedding": self._embedding,
            "GaussianNoise": self._nothing,
            "LSTM": self._lstm,
            "LastStep": self._last_step,
            "MaxPool": self._max_pool,
            "MeanPool": self._mean_pool,
            "OnnxGraph": self._graph,
            "Reverse": self._reverse,
        }.get(kind)
        if kind == "Masking" or (isinstance(layer, Embedding) and layer.mask_token is not None):
            raise ValueError(f"layer {index}, {layer!r}: an LSTM in ONNX cannot skip steps; pass lengths instead")
        if write is None or type(layer) is not getattr(layer_types, kind, OnnxGraph):
            raise ValueError(f"layer {index}, {layer!r}, cannot be written as ONNX")
        return write(index, layer, signal)

    # ------------------------------------------------------------------------------------ layers

    def _nothing(self, index: int, layer: Layer, signal: str) -> str:
        """Write nothing: the layer acts in training only."""
        return signal

    def _embedding(self, index: int, layer: Embedding, signal: str) -> str:
        self.features = layer.embedding_dim
        return str(self.add("Gather", [self.constant(layer.parameters["weight"], f"{index}.weight"), signal], axis=0))

    def _dense(self, index: int, layer: Dense, signal: str) -> str:
        self.features = layer.output_size
        weight, bias = layer.parameters["weight"], layer.parameters.get("bias")
        if not self.per_step:
            inputs = [signal, self.constant(weight, f"{index}.weight")]
            if bias is not None:
                inputs.append(self.constant(bias, f"{index}.bias"))
            return str(self.add("Gemm", inputs, transB=1))
        signal = self.add("MatMul", [signal, self.constant(weight.T, f"{index}.weight")])
        if bias is None:
            return signal
        return str(self.add("Add", [signal, self.constant(bias, f"{index}.bias")]))

    def _activation(self, index: int, layer: Any, signal: str) -> str:
        function: Activation | None = layer.function
        if function is None:
            return str(self.add("Softmax", [signal], axis=-1))
        if function.name == "affine":
            signal = self.add("Mul", [signal, self.constant(function.alpha)])
            return str(self.add("Add", [signal, self.constant(function.beta)]))
        if function.name == "scaled_tanh":
            signal = self.add("Tanh", [self.add("Mul", [signal, self.constant(function.beta)])])
            return str(self.add("Mul", [signal, self.constant(function.alpha)]))
        attributes: dict[str, Any] = {}
        if function.name in TAKES_ALPHA:
            attributes["alpha"] = function.alpha
        if function.name in TAKES_BETA:
            attributes["beta"] = function.beta
        return str(self.add(ACTIVATION_OPERATORS[function.name], [signal], **attributes))

    def _time_axis(self) -> int:
        return 0 if self.time_major else 1

    def _last(self, signal: str, first: bool = False) -> str:
        """Return the last valid step of the signal, or the first; without the time axis."""
        axis = self._time_axis()
        if first or not self.lengths:
            return str(self.add("Gather", [signal, self.constant(0 if first else -1)], axis=axis))
        # Compare step indices with length - 1: zero all steps except the last valid one, then sum over time.
        time = self.add("Gather", [self.add("Shape", ["x"]), self.constant(1)], axis=0)
        steps = self.add("Range", [self.constant(0), time, self.constant(1)])
        ends = self.add("Cast", [self.lengths], to=self.onnx.TensorProto.INT64)
        ends = self.add("Sub", [ends, self.constant(1)])
        axes = ([1, 2], [0, 2]) if self.time_major else ([0, 2], [1, 2])
        steps, ends = (
            self.add("Unsqueeze", [one, self.constant(where)]) for one, where in zip((steps, ends), axes, strict=True)
        )
        chosen = self.add("Where", [self.add("Equal", [steps, ends]), signal, self.constant(0.0)])
        return str(self.add("ReduceSum", [chosen, self.constant([axis])], keepdims=0))

    def _reverse(self, index: int, layer: Layer, signal: str) -> str:
        axis = self._time_axis()
        if not self.lengths:
            limits = [self.constant([value]) for value in (-1, -(2**62), axis, -1)]
            return str(self.add("Slice", [signal, *limits]))
        ends = self.add("Cast", [self.lengths], to=self.onnx.TensorProto.INT64)
        return str(self.add("ReverseSequence", [signal, ends], batch_axis=1 - axis, time_axis=axis))

    def _last_step(self, index: int, layer: Layer, signal: str) -> str:
        signal = self._last(signal)
        self.per_step = self.time_major = False
        return signal

    def _max_pool(self, index: int, layer: Layer, signal: str) -> str:
        signal = self.add("ReduceMax", [self.masked(signal, -math.inf)], axes=[self._time_axis()], keepdims=0)
        self.per_step = self.time_major = False
        return signal

    def _mean_pool(self, index: int, layer: Layer, signal: str) -> str:
        axis = self._time_axis()
        if self.lengths:
            signal = self.add("ReduceSum", [self.masked(signal, 0.0), self.constant([axis])], keepdims=0)
            counts = self.add("Cast", [self.lengths], to=self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype))
            signal = self.add("Div", [signal, self.add("Unsqueeze", [counts, self.constant([1])])])
        else:
            signal = self.add("ReduceMean", [signal], axes=[axis], keepdims=0)
        self.per_step = self.time_major = False
        return signal

    def _attention(self, index: int, layer: Any, signal: str) -> str:
        axis, parameters = self._time_axis(), layer.parameters
        scores = self.add("MatMul", [signal, self.constant(parameters["weight"].T, f"{index}.weight")])
        scores = self.add("Tanh", [self.add("Add", [scores, self.constant(parameters["bias"], f"{index}.bias")])])
        scores = self.add("MatMul", [scores, self.constant(parameters["vector"][:, None], f"{index}.vector")])
        shares = self.add("Softmax", [self.masked(scores, -math.inf)], axis=axis)
        weighted = self.add("Mul", [self.masked(signal, 0.0), shares])
        signal = self.add("ReduceSum", [weighted, self.constant([axis])], keepdims=0)
        self.per_step = self.time_major = False
        return signal

    # ------------------------------------------------------------------------------------ LSTM

    def _lstm(self, index: int, layer: LSTM, signal: str) -> str:
        options = layer.get_config()
        _require_writable(index, layer, options)
        merge, residual = options.get("merge", "concat"), options.get("residual", False)
        if not self.time_major:
            signal = self.add("Transpose", [signal], perm=[1, 0, 2])
            self.time_major = True
        top = layer.num_layers - 1
        attributes = _lstm_attributes(layer, options)
        for k in range(layer.num_layers):
            inputs = [signal, *self._weights(index, layer, options, k)]
            while inputs[-1] == "":
                inputs.pop()
            y, y_h = self.add("LSTM", inputs, 2, **attributes)
            steps = k < top or layer.return_sequences
            if not steps and not residual:
                self.per_step = self.time_major = False
                signal = self._merged(y_h, merge, layer, final=True)
                break
            below, signal = signal, self._merged(y, merge, layer, final=False)
            if residual and k:
                signal = self.add("Add", [signal, below])
            if not steps:
                signal = self._residual_end(signal, layer)
        self.features = layer.output_size
        return signal

    def _residual_end(self, signal: str, layer: LSTM) -> str:
        """Return the final output of a residual layer: each direction's output at its own final step."""
        reverse = bool(layer.get_config().get("reverse", False))
        if layer.bidirectional:
            first, second = self.add("Split", [signal], 2, axis=2)
            signal = self.add("Concat", [self._last(first), self._last(second, first=True)], axis=1)
        else:
            signal = self._last(signal, first=reverse)
        self.per_step = self.time_major = False
        return signal

    def _merged(self, signal: str, merge: str, layer: LSTM, final: bool) -> str:
        """Return Y (T, D, B, H) as (T, B, F), or Y_h (D, B, H) as (B, F)."""
        axis = 0 if final else 1
        if not layer.bidirectional:
            return str(self.add("Squeeze", [signal, self.constant([axis])]))
        if merge == "concat":
            signal = self.add("Transpose", [signal], perm=[1, 0, 2] if final else [0, 2, 1, 3])
            width = 2 * layer.hidden_size
            return str(self.add("Reshape", [signal, self.constant([0, width] if final else [0, 0, width])]))
        halves = (
            self.add("Squeeze", [half, self.constant([axis])]) for half in self.add("Split", [signal], 2, axis=axis)
        )
        signal = self.add("Mul" if merge == "product" else "Add", list(halves))
        return str(self.add("Mul", [signal, self.constant(0.5)])) if merge == "mean" else signal

    def _weights(self, index: int, layer: LSTM, options: dict[str, Any], k: int) -> list[str]:
        """Return the names of the inputs W, R, B, sequence_lens, initial_h, initial_c, P of layer k."""
        suffixes = [f"_l{k}", f"_l{k}_reverse"][: 2 if layer.bidirectional else 1]
        coupled = bool(options.get("coupled", False))

        def stacked(name: str, order: Sequence[int], blocks: int) -> Array:
            return np.stack([_in_onnx_order(layer.parameters[name + s], order, blocks) for s in suffixes])

        gates = GATES[coupled]
        names = [
            self.constant(stacked("weight_ih", gates, 4), f"{index}.W_l{k}"),
            self.constant(stacked("weight_hh", gates, 4), f"{index}.R_l{k}"),
            "",
            self.lengths,
            "",
            "",
            "",
        ]
        if layer.bias:
            both = [stacked("bias_ih", gates, 4), stacked("bias_hh", gates, 4)]
            names[2] = self.constant(np.concatenate(both, axis=1), f"{index}.B_l{k}")
        if options.get("learn_state", False):
            size = self.add(
                "Concat",
                [self.constant([len(suffixes)]), self.batch(), self.constant([layer.hidden_size])],
                axis=0,
            )
            for position, name in ((4, "h0"), (5, "c0")):
                state = np.stack([layer.parameters[name + s] for s in suffixes])[:, None, :]
                names[position] = self.add("Expand", [self.constant(state, f"{index}.{name}_l{k}"), size])
        if options.get("peepholes", False):
            order = PEEPHOLES[coupled]
            arrays = [_in_onnx_order(layer.parameters["peepholes" + s].reshape(-1), order, 3) for s in suffixes]
            names[6] = self.constant(np.stack(arrays), f"{index}.P_l{k}")
        return names

    # ------------------------------------------------------------------------------------ graphs

    def _graph(self, index: int, layer: OnnxGraph, signal: str) -> str:
        """Write the nodes of the layer's graph, with transpositions before and after them where needed."""
        if len(self.model.network.layers) > 1:
            raise ValueError(f"layer {index}, {layer!r}, can be written only if it is the model's only layer")
        if self.lengths and layer.lengths_input is None:
            raise ValueError(f"layer {index}, {layer!r}, has no input for the lengths: omit with_lengths")
        graph = layer.graph
        self.opset = graph.opset
        data = next(one for one in graph.inputs if one.name != layer.lengths_input)
        taken = {one.name for one in graph.inputs} | {name for node in graph.nodes for name in node.outputs}
        clash = (taken | set(graph.constants) | set(layer.parameters)) & {"x", "y", "lengths", "output/Identity:0"}
        names = {name: f"graph/{name}" for name in clash}
        if layer.time_major:
            signal = self.add("Transpose", [signal], perm=[1, 0] if layer.takes_tokens else [1, 0, 2])
        wanted = _element(data.dtype) if layer.takes_tokens else 0
        if wanted not in (0, 7):
            signal = self.add("Cast", [signal], to=wanted)
        self.add("Identity", [signal], [names.get(data.name, data.name)])
        for one in graph.inputs:
            if one.name == layer.lengths_input:
                self.lengths = "lengths"
                self.add("Cast", ["lengths"], [names.get(one.name, one.name)], to=_element(one.dtype))
        for name, value in {**graph.constants, **layer.parameters}.items():
            array = value.astype(self.dtype) if value.dtype.kind == "f" else value
            name = names.get(name, name)
            self.initializers[name] = self.onnx.numpy_helper.from_array(np.array(array, order="C"), name)
        for node in graph.nodes:
            self.nodes.append(self._copied(node, names))
        signal = names.get(graph.outputs[0], graph.outputs[0])
        return self._arranged(signal, layer)

    def _copied(self, node: Node, names: dict[str, str]) -> Any:
        attributes = dict(node.attributes)
        for key, value in attributes.items():
            if isinstance(value, np.ndarray):
                array = value.astype(self.dtype) if value.dtype.kind == "f" else value
                attributes[key] = self.onnx.numpy_helper.from_array(array)
        if node.op == "Cast" and ELEMENT_TYPES.get(attributes.get("to", 0)) in ("float16", "float32", "float64"):
            attributes["to"] = _element(self.dtype.name)
        inputs, outputs = ([names.get(one, one) for one in some] for some in (node.inputs, node.outputs))
        return self.onnx.helper.make_node(node.op, inputs, outputs, name=f"graph/{node.name}", **attributes)

    def _arranged(self, signal: str, layer: OnnxGraph) -> str:
        """Return the graph's output as (batch, time, features) or (batch, features)."""
        axes = [layer.batch_axis, *([] if layer.time_axis is None else [layer.time_axis])]
        rank = layer.output_rank
        order = axes + [k for k in range(rank) if k not in axes]
        if order != sorted(order):
            signal = self.add("Transpose", [signal], perm=order)
        if rank != len(axes) + 1:
            signal = self.add("Reshape", [signal, self.constant([0] * len(axes) + [layer.output_size])])
        self.per_step, self.features = layer.time_axis is not None, layer.output_size
        return signal


def _element(name: str) -> int:
    """Return the number of an element type."""
    return next(number for number, known in ELEMENT_TYPES.items() if known == name)


def _in_onnx_order(array: Array, order: Sequence[int], blocks: int) -> Array:
    """Return blocks of rows in ONNX's order, given the kernels' order; a gate that the cell does not have is zero."""
    parts = array.reshape(len(order), -1, *array.shape[1:])
    whole = np.zeros((blocks, *parts.shape[1:]), array.dtype)
    whole[list(order)] = parts
    return whole.reshape(-1, *array.shape[1:])


_LSTM_OPTIONS = {
    "hidden_size", "num_layers", "bias", "dropout", "bidirectional", "return_sequences", "forget_bias", "reverse",
    "merge", "residual", "learn_state", "weight_init", "recurrent_init", "peepholes", "coupled", "gate_clip",
    "output_clip", "gate_activation", "cell_activation", "output_activation", "recurrent_dropout",
    "variational_dropout", "input_dropout",
}  # fmt: skip
"""Options of the layer LSTM that the operator can express, or that act in training only."""


def _require_writable(index: int, layer: LSTM, options: dict[str, Any]) -> None:
    """Raise ValueError if the operator LSTM cannot express the layer."""
    for name, value in options.items():
        if name not in _LSTM_OPTIONS and value:
            raise ValueError(f"layer {index}, {layer!r}: ONNX's LSTM has no counterpart of {name}={value!r}")
    if options.get("gate_clip") != options.get("output_clip"):
        raise ValueError(
            f"layer {index}, {layer!r}: ONNX's LSTM has one limit for all activations, "
            f"got gate_clip={options.get('gate_clip')} and output_clip={options.get('output_clip')}"
        )


def _lstm_attributes(layer: LSTM, options: dict[str, Any]) -> dict[str, Any]:
    reverse = bool(options.get("reverse", False))
    direction = "bidirectional" if layer.bidirectional else "reverse" if reverse else "forward"
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": direction}
    if options.get("coupled", False):
        attributes["input_forget"] = 1
    if options.get("gate_clip") is not None:
        attributes["clip"] = float(options["gate_clip"])
    functions = [
        as_activation(name, options.get(name, default))
        for name, default in (
            ("gate_activation", "sigmoid"),
            ("cell_activation", "tanh"),
            ("output_activation", "tanh"),
        )
    ] * (2 if layer.bidirectional else 1)
    if [one.name for one in functions[:3]] != ["sigmoid", "tanh", "tanh"]:
        attributes["activations"] = [_ONNX_NAMES[one.name] for one in functions]
        alphas = [one.alpha for one in functions if one.name in TAKES_ALPHA]
        betas = [one.beta for one in functions if one.name in TAKES_BETA]
        if alphas:
            attributes["activation_alpha"] = alphas
        if betas:
            attributes["activation_beta"] = betas
    return attributes


_ONNX_NAMES = {
    **{name: onnx_name.capitalize() for onnx_name, name in ACTIVATION_NAMES.items()},
    "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu",
    "scaled_tanh": "ScaledTanh",
    "hard_sigmoid": "HardSigmoid",
}
"""ONNX's names of activations, as its documents spell them, by the names in this package."""
