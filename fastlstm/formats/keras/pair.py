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
from .calls import ADVICE, MASKS, Node, Tensor, functional_layers, nodes_if_readable, nodes_of
from .layers.registry import Part, SignalState
from .weights import arrays_of, converted, give_weights

__all__ = ["is_pair", "pair_of"]

_RECURRENT = ("LSTM", "Bidirectional")


class _Step(NamedTuple):
    """A layer of a chain, in order."""

    name: str
    attends: bool = False
    """Whether attention is put in before it: it reads a Concatenate of decoder and context."""
    context_first: bool = False
    """Whether the context comes first in the Concatenate."""


def is_pair(model: Mapping[str, Any]) -> bool:
    """Return whether a description has an LSTM that is given its initial state by another layer than an input."""
    nodes = nodes_if_readable(functional_layers(model) or [])
    states = [name for node in nodes.values() for name, _ in node.states]
    return any(name in nodes and nodes[name].kind != "InputLayer" for name in states)


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
    nodes = nodes_of(source.config["config"]["layers"])
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
    give_weights(model, parameters)
    return model


# ---------------------------------------------------------------------------------------------- the graph


def _inputs(nodes: Mapping[str, Node]) -> tuple[str, str]:
    """Return the names of the inputs of encoder and decoder."""
    inputs = [name for name, node in nodes.items() if node.kind == "InputLayer"]
    of_decoder = {name for name in inputs if any(nodes[step.name].states for step in _chain(nodes, name))}
    of_encoder = [name for name in inputs if name not in of_decoder]
    if len(inputs) != 2 or len(of_decoder) != 1:
        raise ValueError(
            f"the model has the inputs {inputs}, expected one of an encoder and one of a decoder. {ADVICE}"
        )
    return of_encoder[0], of_decoder.pop()


def _chain(nodes: Mapping[str, Node], name: str) -> list[_Step]:
    """Return the layers from an input on, along the first output of each."""
    steps = [_Step(name)]
    while True:
        if len(steps) > len(nodes):
            raise ValueError("the layers form a cycle")
        readers = [other for other, node in nodes.items() if (name, 0) in node.sources]
        ordinary = [other for other in readers if nodes[other].kind not in ("Attention", "Concatenate", *MASKS)]
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
            raise ValueError(f"the output of {name!r} goes to {readers}. {ADVICE}")


def _after_attention(nodes: Mapping[str, Node], query: str, attention: list[str]) -> tuple[str, bool]:
    """Return the layer that reads the Concatenate of a query and its context, and whether the context comes first."""
    joins = [other for other, node in nodes.items() if node.kind == "Concatenate" and (query, 0) in node.sources]
    if len(attention) != 1 or len(joins) != 1:
        raise ValueError(f"the output of {query!r} goes to {attention + joins}. {ADVICE}")
    context = (attention[0], 0)
    config, options = nodes[joins[0]].layer["config"], nodes[attention[0]].layer["config"]
    if sorted(nodes[joins[0]].sources) != sorted([(query, 0), context]) or config.get("axis", -1) not in (-1, 2):
        raise ValueError(f"{joins[0]!r} does not join the output of {query!r} with its context. {ADVICE}")
    if options.get("use_scale") or options.get("score_mode", "dot") != "dot":
        raise ValueError(f"{attention[0]!r} has use_scale or another score_mode than 'dot', which is not supported")
    readers = [other for other, node in nodes.items() if (joins[0], 0) in node.sources]
    if len(readers) != 1:
        raise ValueError(f"the output of {joins[0]!r} goes to {readers}. {ADVICE}")
    return readers[0], nodes[joins[0]].sources[0] == context


def _check_states(nodes: Mapping[str, Node], encoder: Sequence[_Step], decoder: Sequence[_Step]) -> None:
    """Raise ValueError unless the LSTM layers of the decoder begin with the states of the encoder's, in their order."""
    given = [step.name for step in encoder if nodes[step.name].kind in _RECURRENT]
    taken = [step.name for step in decoder if nodes[step.name].kind in _RECURRENT]
    expected = [_states_of(nodes, name) for name in given]
    found = [[_origin(nodes, tensor) for tensor in nodes[name].states] for name in taken]
    if expected != found:
        raise ValueError(
            f"the LSTM layers {taken} of the decoder do not begin with the states h, c of {given}, in this order. "
            f"{ADVICE}"
        )


def _states_of(nodes: Mapping[str, Node], name: str) -> list[list[Tensor]]:
    """Return which tensors are h and c of an encoder's layer, side by side for two directions."""
    if nodes[name].kind == "LSTM":
        return [[(name, 1)], [(name, 2)]]
    return [[(name, 1), (name, 3)], [(name, 2), (name, 4)]]


def _origin(nodes: Mapping[str, Node], tensor: Tensor) -> list[Tensor]:
    node = nodes.get(tensor[0])
    if node is not None and node.kind == "Concatenate" and node.layer["config"].get("axis", -1) in (-1, 1):
        return node.sources
    return [tensor]


def _check_rest(
    nodes: Mapping[str, Node], encoder: Sequence[_Step], decoder: Sequence[_Step], config: Mapping[str, Any]
) -> None:
    """Raise ValueError if there are other layers, attention to something else, or other outputs."""
    seen = {step.name for step in (*encoder, *decoder)}
    end = encoder[-1].name
    for name, node in nodes.items():
        if node.kind == "Attention" and node.sources[1:] not in ([(end, 0)], [(end, 0), (end, 0)]):
            raise ValueError(f"{name!r} does not read the output of the encoder, {end!r}. {ADVICE}")
        if name not in seen and node.kind not in ("Attention", "Concatenate", *MASKS):
            raise ValueError(f"the layer {name!r} is neither in the encoder nor in the decoder. {ADVICE}")
    outputs = config.get("output_layers")
    if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], list):
        (outputs,) = outputs
    if not isinstance(outputs, list) or outputs[:1] != [decoder[-1].name]:
        raise ValueError(f"the model's outputs are {str(outputs)[:200]}, expected only {decoder[-1].name!r}. {ADVICE}")


# ---------------------------------------------------------------------------------------------- layers and weights


def _parts(
    nodes: Mapping[str, Node], steps: Sequence[_Step], version: int | None, *, decoder: bool = False
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


def _one_hot(nodes: Mapping[str, Node], decoder: Sequence[_Step]) -> int | None:
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
                raise ValueError(f"a {part.kind} follows the attention of the decoder, expected a Dense. {ADVICE}")
            own["weight"] = own["weight"][:, permutation]
            permutation = None
        if first is None and own and part.layers[0].input_weight is not None:
            first = part.layers[0].input_size_of(own[part.layers[0].input_weight])
        parameters.update({f"{chain}.{len(stack)}.{name}": array for name, array in own.items()})
        features = after
        stack += part.layers
    return stack, first, features
