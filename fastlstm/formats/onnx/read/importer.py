"""`from_onnx`: read a model from an ONNX file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...._checks import as_bool, count, float_type, short_repr
from ...._typing import Array
from ....losses import Loss, get_loss
from ....model import Model
from ...foreign import advice
from ...json_object import json_object
from ..graph.layer import OnnxGraph
from ..graph.nodes import METADATA, Graph, GraphInput, graph_to_json
from .assumed import fixed_sizes, time_first_by_names
from .chain.lower import Chain, lower
from .probe import Probe
from .reader import read_graph, read_proto
from .states import Carried, without_states

__all__ = ["from_onnx"]

_FLOATS = (1, 10, 11, 16)
"""Floating-point types of onnx.TensorProto.DataType."""


def from_onnx(
    source: Any,
    *,
    output: str | None = None,
    time_major: bool | None = None,
    dtype: npt.DTypeLike | None = None,
    loss: Loss | str | None = None,
    seed: int = 0,
    input_size: int | None = None,
    constants: Mapping[str, npt.ArrayLike] | None = None,
) -> Model:
    """Return a model with the layers and weights of an ONNX file.

    A graph that is a chain of layers (LSTM, embedding, dense, pooling, activations, scaling before and after) becomes
    these layers. Any other graph becomes one layer, `OnnxGraph`, which also predicts, trains and saves. `from_onnx`
    needs the package onnx (``pip install 'fastlstm[onnx]'``); `fastlstm.load` reads the saved model without it.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
    output : str, optional
        Name of the graph's output to compute; by default the first one.
    time_major : bool, optional
        Whether the graph takes (time, batch, features). By default this is read from the graph: an LSTM node fixes
        which axis is time. Without one it is assumed to be the second, unless the file gives the axes names such as
        "seq_len" and "batch". The model takes (batch, time, features) in either case.
    dtype : {"float32", "float64"}, optional
        Floating-point type of the model. By default float64 if any weight of the graph is, else float32.
    loss : str or Loss, optional
        Loss of the training, which says what the outputs are: ``"cross_entropy"`` (scores of exclusive classes),
        ``"binary_cross_entropy"`` (independent scores), ``"mse"`` (values) and others. Without it `predict_proba`,
        `predict_classes` and `evaluate` need a final sigmoid or softmax.
    seed : int, default 0
        The model's seed, for dropout and further training.
    input_size : int, optional
        Number of features of a step, or of samples of a frame, if the file leaves it open.
    constants : mapping of str to number or array, optional
        Values of inputs of the graph that are settings, such as ``{"sr": 16000}`` for a sampling rate.

    Returns
    -------
    Model
        A built model. Its ``predict`` returns the graph's output as (batch, time, features) or (batch, features), where
        time is that of the input, or fixed as after a decoder; further axes, such as that of the directions, are
        flattened into the features. A second input of the graph that
        holds the number of valid steps of each case becomes the argument `lengths`. Inputs and outputs for the states
        of the LSTMs are those of ``predict(X, state=..., return_state=True)`` and of ``stream()``: (h, c) of each LSTM
        layer, each (1, batch, size). If the graph reads blocks of samples (batch, samples), from which windows are
        taken, such a block is one step of the model, and the samples are its features.

    Raises
    ------
    ImportError
        If the package onnx is missing.
    TypeError
        If `source` has another type.
    ValueError
        If the file is damaged, or the graph has an operator or an input that is not supported; the message names it.
        Use `fastlstm.onnx_backend.prepare` to run a graph with further inputs.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If something is assumed that the file does not say: which output is meant, which axis is time or holds the
        series, that sizes which it fixes may vary, that an input holds lengths, how many features a step has, that
        further axes of the output are features. The warning lists it, and arguments that state it.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3).to_onnx("classifier.onnx")
    >>> fl.from_onnx("classifier.onnx").predict(np.zeros((5, 20, 3))).shape
    (5, 2)
    """
    if time_major is not None:
        time_major = as_bool("time_major", time_major)
    if constants is not None and not isinstance(constants, Mapping):
        raise TypeError(f"constants must map names of inputs to their values, got {short_repr(constants)}")
    known = None if loss is None else get_loss(loss)
    label = f"{os.fspath(source)}: " if isinstance(source, (str, os.PathLike)) else ""
    try:
        proto, folder = read_proto(source)
        names = [value.name for value in proto.graph.output]
        if output is not None and (not isinstance(output, str) or output not in names):
            raise ValueError(f"output is {short_repr(output)}, expected one of {names}")
        ours = proto.producer_name == "fastlstm"
        size = None if input_size is None else count("input_size", input_size)
        settings = {} if constants is None else constants
        carried = _carried(proto, folder, output, settings)
        if carried is not None:
            model, assumed = _stepwise(carried, size, time_major, dtype, seed)
            names = [name for name in names if name not in carried.outputs]
        else:
            graph = read_graph(proto, folder, [output] if output is not None else names[:1], settings)
            model, assumed = _model(graph, ours, time_major, dtype, seed, size)
        if ours:
            _restore_outputs(model, proto)
        model.loss = known
    except ValueError as error:
        more = advice(source, "from_onnx") if label else None
        raise ValueError(f"{label}{error}{f'; {more}' if more else ''}") from error
    if output is None and len(names) > 1:
        assumed.insert(0, f"of the outputs {names} the first is meant (output={names[0]!r} says so)")
    if assumed:
        warnings.warn(
            f"{label}from_onnx assumes what the file does not say: that {'; that '.join(assumed)}",
            UserWarning,
            stacklevel=2,
        )
    return model


def _carried(proto: Any, folder: Any, output: str | None, settings: Mapping[str, Any]) -> Carried | None:
    """Return the graph without the inputs and outputs that hold states; None if it has none."""
    if sum(one.type.tensor_type.elem_type in _FLOATS for one in proto.graph.input) < 2:
        return None
    return without_states(read_graph(proto, folder, None, settings), output)


def _stepwise(
    carried: Carried, size: int | None, time_major: bool | None, dtype: npt.DTypeLike | None, seed: int
) -> tuple[Model, list[str]]:
    """Return the model of a graph that reads a series in blocks of steps, and what is assumed about it."""
    graph = carried.graph
    data, lengths = _inputs(graph, carried=True)
    for name in graph.trainable:
        if not np.isfinite(graph.constants[name]).all():
            raise ValueError(f"initializer {name!r} holds NaN or infinity")
    shape, reasons = data.shape or (), []
    for framed in (False, True):
        declared = _block_size(shape, framed)
        if not framed and len(shape) != 3:
            continue
        if framed and declared is None and (size is None or len(shape) != 2):
            if len(shape) == 2:
                reasons.append(f"the input {data.name!r} has no fixed number of samples: give it, input_size=")
            continue
        chain, found = lower(
            graph,
            data.name,
            None if lengths is None else lengths.name,
            size if declared is None else declared,
            None if framed else time_major,
            carried=True,
            framed=framed,
        )
        if isinstance(chain, Chain):
            kind = _kind(chain.weights.values()) if dtype is None else float_type(dtype)
            assumed = fixed_sizes(shape if not framed else (shape[0], None), bool(found))
            return _lowered(chain, False, size if declared is None else declared, graph, kind, seed), assumed
        reasons.append(chain)
    raise ValueError(
        f"the graph takes and returns the states of its LSTMs ({', '.join(carried.inputs)}) and is no chain of layers: "
        f"{'; or '.join(dict.fromkeys(reasons))}. Run it with fastlstm.onnx_backend.prepare(onnx.load(path)).run([...])"
    )


def _block_size(shape: tuple[int | str | None, ...], framed: bool) -> int | None:
    """Return the number of features of a step that the shape of the input declares."""
    sizes = [one for one in shape[1:] if one != 1] if framed else list(shape[2:])
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else None


def _model(
    graph: Graph,
    ours: bool,
    time_major: bool | None,
    dtype: npt.DTypeLike | None,
    seed: int,
    given: int | None,
) -> tuple[Model, list[str]]:
    """Return the model, and what is assumed about the graph; `ours` says that `Model.to_onnx` wrote it."""
    data, lengths = _inputs(graph)
    assumed: list[str] = []
    tokens = np.dtype(data.dtype).kind in "iu"
    for name in graph.trainable:
        if not np.isfinite(graph.constants[name]).all():
            raise ValueError(f"initializer {name!r} holds NaN or infinity")
    size = None if tokens else given
    if not tokens and data.shape is not None and isinstance(data.shape[2], int):
        size = data.shape[2]
        if given not in (None, size):
            raise ValueError(f"input_size is {given}, and the input {data.name!r} has {size} features")
    lengths_name = None if lengths is None else lengths.name
    chain, found = lower(graph, data.name, lengths_name, size, time_major)
    if found is None and time_major is None:
        named = time_first_by_names(data.shape)
        if named:
            chain, _ = lower(graph, data.name, lengths_name, size, True)
            assumed.append(f"the first axis of {data.name!r} is time, by its name {data.shape} (time_major=True)")
        elif named is None:
            assumed.append(f"the second axis of {data.name!r} is time (time_major=True: the first)")
        time_major = bool(named)
    time_first = bool(time_major if found is None else found)
    if isinstance(chain, Chain):
        assumed += fixed_sizes(data.shape, time_first)
        kind = _kind(chain.weights.values()) if dtype is None else float_type(dtype)
        return _lowered(chain, tokens, size, graph, kind, seed), assumed
    if lengths is not None and not ours and not _read_by_lstm(lengths.name, graph):
        assumed.append(f"the input {lengths.name!r} holds the number of valid steps of each series")
    kind = _kind(graph.constants[name] for name in graph.trainable) if dtype is None else float_type(dtype)
    model, more = _as_graph(graph, data, lengths_name, size, time_first, kind, seed)
    return model, assumed if ours else assumed + more  # to_onnx has given the output the axes that it declares


def _restore_outputs(model: Model, proto: Any) -> None:
    """Set what `Model.to_onnx` has written about the outputs."""
    for entry in proto.metadata_props:
        if entry.key == METADATA:
            outputs = json_object(entry.value, METADATA)
            model.restore_outputs(outputs.get("output_kind"), outputs.get("target_shape"))
            classes = outputs.get("classes")
            if classes is not None and not (isinstance(classes, list) and all(isinstance(one, str) for one in classes)):
                raise ValueError(f"classes is {short_repr(classes)}, expected a list of names")
            model.classes = classes


def _kind(weights: Iterable[Array]) -> np.dtype[Any]:
    """Return float64 if any of the weights is, else float32."""
    return np.dtype(np.float64 if any(value.dtype == np.float64 for value in weights) else np.float32)


def _inputs(graph: Graph, carried: bool = False) -> tuple[GraphInput, GraphInput | None]:
    """Return the input for the data, and the input for the lengths or None."""
    read = set(graph.outputs).union(*(node.inputs for node in graph.nodes))
    used = [one for one in graph.inputs if one.name in read]
    lengths = [one for one in used if _holds_lengths(one, graph)]
    rest = [one for one in used if one not in lengths]
    if len(rest) != 1 or len(lengths) > 1:
        raise ValueError(
            f"the graph reads the inputs {[one.name for one in used]}; a model has one for the data, at most one for "
            "the lengths, and those for the states of LSTMs; give the value of a setting by constants={name: value}, "
            "and run other graphs with fastlstm.onnx_backend.prepare(onnx.load(path)).run([...])"
        )
    data = rest[0]
    dtype = np.dtype(data.dtype)
    if carried:
        if dtype.kind != "f" or data.shape is None or len(data.shape) not in (2, 3):
            raise ValueError(
                f"the input {data.name!r} is {data.dtype} of shape {data.shape}, expected floating-point numbers "
                "(batch, samples) or (batch, time, features) beside the states: run it with fastlstm.onnx_backend"
            )
        return data, lengths[0] if lengths else None
    rank = 3 if dtype.kind == "f" else 2
    if dtype.kind not in "fiu" or (data.shape is not None and len(data.shape) != rank):
        axes = "an unknown number of" if data.shape is None else len(data.shape)
        raise ValueError(
            f"the input {data.name!r} is {data.dtype} with {axes} axes, expected floating-point "
            "numbers (batch, time, features) or integer token ids (batch, time): run it with fastlstm.onnx_backend"
        )
    return data, lengths[0] if lengths else None


def _holds_lengths(one: GraphInput, graph: Graph) -> bool:
    """Return whether an input has one integer per case, and is named "lengths" or is an LSTM's sequence_lens."""
    if np.dtype(one.dtype).kind not in "iu" or (one.shape is not None and len(one.shape) != 1):
        return False
    return one.name == "lengths" or _read_by_lstm(one.name, graph)


def _read_by_lstm(name: str, graph: Graph) -> bool:
    """Return whether an input is the sequence_lens of an LSTM."""
    names = {name}
    for node in graph.nodes:
        if node.op in ("Cast", "Identity") and names.intersection(node.inputs):
            names.update(node.outputs)
        if node.op == "LSTM" and len(node.inputs) > 4 and node.inputs[4] in names:
            return True
    return False


def _cast(values: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
    result = {}
    with np.errstate(over="ignore"):
        for name, value in values.items():
            result[name] = value.astype(dtype)
            if not np.isfinite(result[name]).all():
                raise ValueError(f"{name!r} holds NaN, infinity or numbers out of the range of {dtype}")
    return result


def _lowered(chain: Chain, tokens: bool, size: int | None, graph: Graph, dtype: np.dtype[Any], seed: int) -> Model:
    if not tokens and size is None:
        first = chain.weights.get("0.weight_ih_l0", chain.weights.get("0.weight"))
        size = None if first is None or first.ndim != 2 else int(first.shape[1])
        if size is None:
            raise ValueError(f"the graph does not determine how many features its input {graph.inputs[0].name!r} has")
    weights = _cast(chain.weights, dtype)
    model = Model(
        chain.layers,
        input_size=None if tokens else size,
        dtype=dtype,
        seed=seed,
        scaler=chain.scaler,
        target_scaler=chain.target_scaler,
    )
    model.load_state_dict(weights)
    return model


# ---------------------------------------------------------------------------------------------- the graph as one layer


def _as_graph(
    graph: Graph,
    data: GraphInput,
    lengths: str | None,
    size: int | None,
    time_major: bool,
    dtype: np.dtype[Any],
    seed: int,
) -> tuple[Model, list[str]]:
    """Return the model, and what is assumed about the graph's output and sizes."""
    assumed: list[str] = []
    tokens = np.dtype(data.dtype).kind in "iu"
    if size is None and not tokens:
        size, certain = _first_width(graph, data.name)
        if not certain:
            assumed.append(f"each step has {size} features, since the first LSTM node takes so many")
    parameters = _cast({name: graph.constants[name] for name in sorted(graph.trainable)}, dtype)
    kept = tuple(one for one in graph.inputs if one.name in (data.name, lengths))
    graph = Graph(graph.nodes, kept, graph.outputs, graph.constants, graph.trainable, graph.opset)
    probe = Probe(graph, data, lengths, 0 if tokens else size or 0, time_major, dtype)
    batch_axis, time_axis, features, rank, steps = probe.axes()
    layer = OnnxGraph(
        graph_to_json(graph, {name: value.shape for name, value in parameters.items()}),
        input_size=0 if tokens else size or 0,
        output_size=features,
        time_major=time_major,
        lengths_input=lengths,
        batch_axis=batch_axis,
        time_axis=time_axis,
        output_rank=rank,
        steps=steps,
    )
    model = Model([layer], input_size=None if tokens else size, dtype=dtype, seed=seed)
    model.load_state_dict({f"0.{name}": value for name, value in parameters.items()})
    return model, assumed + probe.assumed


def _first_width(graph: Graph, data: str) -> tuple[int, bool]:
    """Return the number of features that the first LSTM takes, and whether it takes the data themselves."""
    same = {data}
    for node in graph.nodes:
        if node.op in ("Cast", "Identity", "Transpose") and same.intersection(node.inputs):
            same.update(node.outputs)
        if node.op == "LSTM" and len(node.inputs) > 1:
            weight = graph.constants.get(node.inputs[1])
            if weight is not None and weight.ndim == 3:
                return int(weight.shape[2]), node.inputs[0] in same
    raise ValueError(
        "the graph does not determine how many features its input has: give the last axis of the input a fixed size"
    )
