"""Encoders and decoders of Keras: a Functional model whose second LSTM begins with the states of the first.

The form is that of Keras's tutorial on sequence-to-sequence learning: two inputs; the LSTM layers of the one return
their states, and those of the other take them as ``initial_state``; the decoder may read the encoder's outputs through
an ``Attention``, followed by a ``Concatenate`` with its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._typing import Array
from ...layers import Embedding, Layer, LuongAttention
from ...seq2seq.model import EncoderDecoder
from .architecture import part_of
from .archive import Source
from .layers.registry import Part, SignalState
from .weights import arrays_of, converted

__all__ = ["is_pair", "pair_of"]

_Tensor = tuple[str, int]
"""Name of a layer, and number of its output."""
_RECURRENT = ("LSTM", "Bidirectional")
_ADVICE = (
    "from_keras reads an encoder and a decoder in the form of Keras's tutorial: LSTM layers whose states go, in their "
    "order, to those of the decoder as initial_state, and at most an Attention with a Concatenate"
)


class _Node(NamedTuple):
    layer: Mapping[str, Any]
    sources: list[_Tensor]
    states: list[_Tensor]
    """What it is given as initial_state."""

    @property
    def kind(self) -> str:
        return str(self.layer["class_name"])


class _Step(NamedTuple):
    """A layer of a chain, in order."""

    name: str
    attends: bool = False
    """Whether attention is put in before it: it reads a Concatenate of decoder and context."""
    context_first: bool = False
    """Whether the context comes first in the Concatenate."""


def is_pair(model: Mapping[str, Any]) -> bool:
    """Return whether a description has an LSTM that is given its initial state."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    if model.get("class_name") not in ("Functional", "Model") or not isinstance(layers, list):
        return False
    try:
        return any(node.states for node in _nodes(layers).values())
    except ValueError:
        return False  # what is wrong with it is said where chains are read


def pair_of(source: Source, bos: Any, eos: Any, dtype: Any, seed: int) -> EncoderDecoder:
    """Return the model of a file that holds an encoder and a decoder.

    Raises
    ------
    ValueError
        If it has another form, or a layer or an option has no counterpart here.
    """
    if bos is None or eos is None:
        raise ValueError(
            "the file holds an encoder and a decoder: pass bos=... and eos=..., the ids of the tokens with which "
            "targets begin and end"
        )
    assert source.config is not None
    nodes = _nodes(source.config["config"]["layers"])
    first, second = _inputs(nodes)
    encoder = _chain(nodes, first)
    decoder = _chain(nodes, second)
    _check_states(nodes, encoder, decoder)
    _check_rest(nodes, encoder, decoder, source.config["config"])
    parts = {
        **_parts(nodes, encoder, source.version),
        **_parts(nodes, decoder, source.version, decoder=True),
    }
    in_order = [parts[name] for name in nodes if name in parts]
    sets = dict(zip((part.name for part in in_order), arrays_of(source.weights, source.root, in_order), strict=True))
    parameters: dict[str, Array] = {}
    of_encoder, size, memory = _layers("encoder", encoder, parts, sets, parameters, None, None)
    of_decoder, _, _ = _layers("decoder", decoder, parts, sets, parameters, memory, _one_hot(nodes, decoder))
    used = np.result_type(np.float32, *parameters.values()) if dtype is None else dtype
    tokens = of_encoder[0].takes_tokens
    model = EncoderDecoder(
        of_encoder, of_decoder, bos=bos, eos=eos, input_size=None if tokens else size, dtype=used, seed=seed
    )
    with np.errstate(over="ignore"):
        model.load_state_dict(parameters)
    return model


# ---------------------------------------------------------------------------------------------- the graph


def _nodes(layers: Sequence[Mapping[str, Any]]) -> dict[str, _Node]:
    """Return the layers with what they read, in the order of the description."""
    nodes: dict[str, _Node] = {}
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            raise ValueError("the model's description has a layer that is not an object with a class_name and a config")
        name = layer.get("name", layer["config"].get("name"))
        if not isinstance(name, str) or not isinstance(layer.get("class_name"), str) or name in nodes:
            raise ValueError("the model's description has a layer without a name of its own, or without a class_name")
        calls = layer.get("inbound_nodes")
        if not isinstance(calls, list) or len(calls) > 1:
            raise ValueError(f"layer {name!r} is used more than once. {_ADVICE}")
        sources, states = _read_by(name, calls[0]) if calls else ([], [])
        if layer["class_name"] == "LSTM" and len(sources) == 3:  # a list of the series and the states
            sources, states = sources[:1], sources[1:]
        nodes[name] = _Node(layer, sources, states)
    return nodes


def _read_by(name: str, call: Any) -> tuple[list[_Tensor], list[_Tensor]]:
    """Return the tensors that a layer reads, and those of its initial state."""
    sources: list[_Tensor] = []
    if isinstance(call, dict):  # Keras 3
        arguments, options = call.get("args"), call.get("kwargs")
        if not isinstance(arguments, list) or not isinstance(options, dict):
            raise ValueError(f"layer {name!r}: its inbound node has no args and kwargs")
        if arguments:
            sources = _tensors(arguments[0])
        states = _tensors(arguments[1]) if len(arguments) > 1 else []
        states += _tensors(options.get("initial_state"))
        return sources, states
    states = []
    if not isinstance(call, list):
        raise ValueError(f"layer {name!r}: its inbound node cannot be read")
    for one in call:  # Keras 2: [layer, node, tensor, options] for each tensor
        if not (isinstance(one, list) and len(one) == 4 and isinstance(one[0], str) and isinstance(one[2], int)):
            raise ValueError(f"layer {name!r}: its inbound node cannot be read")
        sources.append((one[0], one[2]))
        given = one[3].get("initial_state") if isinstance(one[3], dict) else None
        for state in given or []:
            if not (isinstance(state, list) and len(state) >= 3 and isinstance(state[0], str)):
                raise ValueError(f"layer {name!r}: its initial_state cannot be read")
            states.append((state[0], int(state[2])))
    return sources, states


def _tensors(argument: Any) -> list[_Tensor]:
    """Return the tensors of an argument in Keras 3's format: one, or a list of them."""
    if isinstance(argument, (list, tuple)):
        return [tensor for one in argument for tensor in _tensors(one)]
    if not isinstance(argument, dict) or argument.get("class_name") != "__keras_tensor__":
        return []
    config = argument.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    if not isinstance(history, list) or len(history) != 3 or not isinstance(history[0], str):
        raise ValueError("a tensor in the model's description does not name the layer that computes it")
    return [(history[0], int(history[2]))]


def _inputs(nodes: Mapping[str, _Node]) -> tuple[str, str]:
    """Return the names of the inputs of encoder and decoder."""
    inputs = [name for name, node in nodes.items() if node.kind == "InputLayer"]
    of_decoder = {name for name in inputs if any(nodes[step.name].states for step in _chain(nodes, name))}
    of_encoder = [name for name in inputs if name not in of_decoder]
    if len(inputs) != 2 or len(of_decoder) != 1:
        raise ValueError(
            f"the model has the inputs {inputs}, expected one of an encoder and one of a decoder. {_ADVICE}"
        )
    return of_encoder[0], of_decoder.pop()


def _chain(nodes: Mapping[str, _Node], name: str) -> list[_Step]:
    """Return the layers from an input on, along the first output of each."""
    steps = [_Step(name)]
    while True:
        if len(steps) > len(nodes):
            raise ValueError("the layers form a cycle")
        readers = [other for other, node in nodes.items() if (name, 0) in node.sources]
        ordinary = [other for other in readers if nodes[other].kind not in ("Attention", "Concatenate", *_MASKS)]
        attention = [
            other for other in readers if nodes[other].kind == "Attention" and nodes[other].sources[0] == (name, 0)
        ]
        if len(ordinary) == 1 and not attention:
            name = ordinary[0]
            steps.append(_Step(name))
        elif attention and not ordinary:
            name, context_first = _after_attention(nodes, name, attention)
            steps.append(_Step(name, True, context_first))
        elif not ordinary:
            return steps
        else:
            raise ValueError(f"the output of {name!r} goes to {readers}. {_ADVICE}")


_MASKS = ("NotEqual", "Any")
"""Operations that Keras 3 writes for the masks of an Embedding or of a Masking."""


def _after_attention(nodes: Mapping[str, _Node], query: str, attention: list[str]) -> tuple[str, bool]:
    """Return the layer that reads the Concatenate of a query and its context, and whether the context comes first."""
    joins = [other for other, node in nodes.items() if node.kind == "Concatenate" and (query, 0) in node.sources]
    if len(attention) != 1 or len(joins) != 1:
        raise ValueError(f"the output of {query!r} goes to {attention + joins}. {_ADVICE}")
    context = (attention[0], 0)
    config, options = nodes[joins[0]].layer["config"], nodes[attention[0]].layer["config"]
    if sorted(nodes[joins[0]].sources) != sorted([(query, 0), context]) or config.get("axis", -1) not in (-1, 2):
        raise ValueError(f"{joins[0]!r} does not join the output of {query!r} with its context. {_ADVICE}")
    if options.get("use_scale") or options.get("score_mode", "dot") != "dot":
        raise ValueError(f"{attention[0]!r} has use_scale or another score_mode than 'dot', which is not supported")
    readers = [other for other, node in nodes.items() if (joins[0], 0) in node.sources]
    if len(readers) != 1:
        raise ValueError(f"the output of {joins[0]!r} goes to {readers}. {_ADVICE}")
    return readers[0], nodes[joins[0]].sources[0] == context


def _check_states(nodes: Mapping[str, _Node], encoder: Sequence[_Step], decoder: Sequence[_Step]) -> None:
    """Raise ValueError unless the LSTM layers of the decoder begin with the states of the encoder's, in their order."""
    given = [step.name for step in encoder if nodes[step.name].kind in _RECURRENT]
    taken = [step.name for step in decoder if nodes[step.name].kind in _RECURRENT]
    expected = [_states_of(nodes, name) for name in given]
    found = [[_origin(nodes, tensor) for tensor in nodes[name].states] for name in taken]
    if expected != found:
        raise ValueError(
            f"the LSTM layers {taken} of the decoder do not begin with the states h, c of {given}, in this order. "
            f"{_ADVICE}"
        )


def _states_of(nodes: Mapping[str, _Node], name: str) -> list[list[_Tensor]]:
    """Return which tensors are h and c of an encoder's layer, side by side for two directions."""
    if nodes[name].kind == "LSTM":
        return [[(name, 1)], [(name, 2)]]
    return [[(name, 1), (name, 3)], [(name, 2), (name, 4)]]


def _origin(nodes: Mapping[str, _Node], tensor: _Tensor) -> list[_Tensor]:
    node = nodes.get(tensor[0])
    if node is not None and node.kind == "Concatenate" and node.layer["config"].get("axis", -1) in (-1, 1):
        return node.sources
    return [tensor]


def _check_rest(
    nodes: Mapping[str, _Node], encoder: Sequence[_Step], decoder: Sequence[_Step], config: Mapping[str, Any]
) -> None:
    """Raise ValueError if there are other layers, attention to something else, or other outputs."""
    seen = {step.name for step in (*encoder, *decoder)}
    end = encoder[-1].name
    for name, node in nodes.items():
        if node.kind == "Attention" and node.sources[1:] not in ([(end, 0)], [(end, 0), (end, 0)]):
            raise ValueError(f"{name!r} does not read the output of the encoder, {end!r}. {_ADVICE}")
        if name not in seen and node.kind not in ("Attention", "Concatenate", *_MASKS):
            raise ValueError(f"the layer {name!r} is neither in the encoder nor in the decoder. {_ADVICE}")
    outputs = config.get("output_layers")
    if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], list):
        (outputs,) = outputs
    if not isinstance(outputs, list) or outputs[:1] != [decoder[-1].name]:
        raise ValueError(f"the model's outputs are {str(outputs)[:200]}, expected only {decoder[-1].name!r}. {_ADVICE}")


# ---------------------------------------------------------------------------------------------- layers and weights


def _parts(
    nodes: Mapping[str, _Node], steps: Sequence[_Step], version: int | None, *, decoder: bool = False
) -> dict[str, Part]:
    state = SignalState(version)
    parts = {}
    for step in steps:
        layer = dict(nodes[step.name].layer)
        config = dict(layer["config"])
        if layer["class_name"] == "LSTM":
            config["return_state"] = False
        elif layer["class_name"] == "Bidirectional":
            for key in ("layer", "backward_layer"):
                inner = config.get(key)
                if isinstance(inner, dict) and isinstance(inner.get("config"), dict):
                    config[key] = {**inner, "config": {**inner["config"], "return_state": False}}
        elif layer["class_name"] == "Embedding" and decoder:
            config["mask_zero"] = False  # the lengths of the targets are known
        parts[step.name] = part_of({**layer, "config": config}, state)._replace(name=step.name)
    return parts


def _one_hot(nodes: Mapping[str, _Node], decoder: Sequence[_Step]) -> int | None:
    """Return the number of tokens that a decoder reads as one-hot vectors; None if it has a table of them."""
    if any(nodes[step.name].kind == "Embedding" for step in decoder):
        return None
    config = nodes[decoder[0].name].layer["config"]
    shape = config.get("batch_shape", config.get("batch_input_shape", config.get("shape")))
    if not isinstance(shape, list) or not shape or not isinstance(shape[-1], int):
        raise ValueError(
            f"the decoder's input has the shape {str(shape)[:100]}, expected a number of tokens at its end"
        )
    return shape[-1]


def _layers(
    chain: str,
    steps: Sequence[_Step],
    parts: Mapping[str, Part],
    sets: Mapping[str, list[dict[str, Array]]],
    parameters: dict[str, Array],
    memory: int | None,
    one_hot: int | None,
) -> tuple[list[Layer], int | None, int | None]:
    """Return the layers of a chain, the features of its input and of its output; add the parameters by name."""
    stack: list[Layer] = []
    features, first = one_hot, None
    if one_hot is not None:  # a one-hot vector times a matrix is a row of it
        table = Embedding(one_hot, one_hot)
        table.trainable = False
        stack.append(table)
        parameters[f"{chain}.0.weight"] = np.eye(one_hot, dtype=np.float32)
    permutation: Array | None = None
    for step in steps:
        part = parts[step.name]
        if step.attends:
            if memory is None or features is None:
                raise ValueError(f"the decoder attends before {step.name!r} to an encoder without LSTM")
            stack.append(LuongAttention("dot"))
            order = np.arange(memory + features)
            permutation = order if step.context_first else np.roll(order, -features)
            features = memory + features
        own, after = converted(part, sets[step.name], features)
        if permutation is not None and own:
            if part.kind not in ("Dense", "TimeDistributed"):
                raise ValueError(f"a {part.kind} follows the attention of the decoder, expected a Dense. {_ADVICE}")
            own["weight"] = own["weight"][:, permutation]
            permutation = None
        if first is None and own and part.layers[0].input_weight is not None:
            first = part.layers[0].input_size_of(own[part.layers[0].input_weight])
        parameters.update({f"{chain}.{len(stack)}.{name}": array for name, array in own.items()})
        features = after
        stack += part.layers
    return stack, first, features
