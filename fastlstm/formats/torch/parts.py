"""The layers that named tensors of PyTorch make: an LSTM, a matrix or a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..._typing import Array
from ...layers import LSTM, Conv1D, Dense, Embedding, Layer

__all__ = [
    "ACTIVATIONS",
    "IDENTITY",
    "KNOWN",
    "Part",
    "build",
    "conv_part",
    "embedding_part",
    "joined",
    "linear_part",
    "lstm_part",
    "tensor_parts",
]

ACTIVATIONS = {
    "ReLU": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Hardsigmoid": "hard_sigmoid",
    "SiLU": "silu",
    "SELU": "selu",
    "GELU": "gelu",
}
"""torch's names of activations, and the names in this package."""

IDENTITY = "Identity"
"""Kind of a part that stands for nothing: `order` may say so."""

KNOWN = (
    "nn.LSTM, nn.Linear, nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.BatchNorm1d, nn.LayerNorm, nn.Flatten, "
    "nn.Embedding, nn.Dropout, nn.Identity and the activations "
    f"{', '.join('nn.' + name for name in ACTIVATIONS)}, also within nn.Sequential"
)
_LSTM_TENSOR = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,8})(_reverse)?")


class Part(NamedTuple):
    """A PyTorch layer and the layer of this package that replaces it."""

    name: str
    kind: str
    layer: Layer
    in_features: int | None = None
    """Number of input features; None if the layer accepts any number."""
    out_features: int | None = None
    """Number of output features; None if it equals the number of input features."""
    weights: Mapping[str, Array] = MappingProxyType({})

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind


def joined(prefix: str, name: str) -> str:
    """Return the name of a tensor of the layer with this prefix."""
    return f"{prefix}.{name}" if prefix else name


def build(cls: Callable[..., Layer], kind: str, name: str, /, **settings: Any) -> Layer:
    """Return a layer of this package; what it raises names the PyTorch layer."""
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind} {name!r}: {error}") from error


def tensor_parts(tensors: Mapping[str, Array]) -> list[list[Part]]:
    """Return, for each layer that the names of the tensors define, the layers that it may be."""
    groups: dict[str, dict[str, Array]] = {}
    for full, array in tensors.items():
        prefix, _, name = full.rpartition(".")
        groups.setdefault(prefix, {})[name] = array
    recurrent = {prefix for prefix, group in groups.items() if any(map(_LSTM_TENSOR.fullmatch, group))}
    parts = []
    for prefix, group in groups.items():
        if "running_mean" in group or (np.ndim(group.get("weight", 0)) == 1 and prefix not in recurrent):
            raise ValueError(
                f"{joined(prefix, next(iter(group)))!r} belongs to an nn.BatchNorm1d or nn.LayerNorm, whose eps a "
                "state dict does not tell: pass the nn.Module itself, or build the model and call load_state_dict"
            )
        if np.ndim(group.get("weight", 0)) == 3:
            raise ValueError(
                f"{joined(prefix, 'weight')!r} has shape {group['weight'].shape}, that of an nn.Conv1d, whose stride, "
                "dilation and padding a state dict does not tell: pass the nn.Module itself, or build the model and "
                "call load_state_dict"
            )
        if prefix in recurrent:
            parts.append([lstm_part(prefix, group)])
        elif list(group) == ["weight"] and recurrent:
            parts.append([embedding_part(prefix, group), linear_part(prefix, group)])
        else:
            parts.append([linear_part(prefix, group)])
    return parts


def linear_part(prefix: str, tensors: dict[str, Array]) -> Part:
    """Return the layer of an ``nn.Linear``, given its tensors; raise ValueError if they do not fit."""
    outputs, inputs = _matrix(prefix, "weight", tensors, "(outputs, inputs) of an nn.Linear")
    bias = "bias" in tensors
    _check_shapes(prefix, tensors, {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {}))
    return Part(prefix, "Linear", Dense(outputs, bias=bias), inputs, outputs, tensors)


def conv_part(prefix: str, tensors: dict[str, Array], **settings: Any) -> Part:
    """Return the layer of an ``nn.Conv1d``, given its tensors and the options of `Conv1D` that they do not tell."""
    weight = tensors["weight"]
    filters, features, kernel = weight.shape
    bias = "bias" in tensors
    layer = build(Conv1D, "Conv1d", prefix, filters=filters, kernel_size=kernel, bias=bias, **settings)
    return Part(prefix, "Conv1d", layer, features * settings["groups"], filters, tensors)


def embedding_part(prefix: str, tensors: dict[str, Array]) -> Part:
    """Return the layer of an ``nn.Embedding``, given its tensors; raise ValueError if they do not fit."""
    rows, columns = _matrix(prefix, "weight", tensors, "(tokens, features)")
    _check_shapes(prefix, tensors, {"weight": (rows, columns)})
    return Part(prefix, "Embedding", Embedding(rows, columns), None, columns, tensors)


def lstm_part(prefix: str, tensors: dict[str, Array], dropout: float = 0.0) -> Part:
    """Return the layer of an ``nn.LSTM``, given its tensors; raise ValueError if they do not fit."""
    label = f"LSTM {prefix!r}" if prefix else "LSTM"
    matches = [match for match in map(_LSTM_TENSOR.fullmatch, tensors) if match]
    numbers = {int(match[2]) for match in matches}
    missing = sorted(set(range(len(numbers))) - numbers)
    if missing:
        raise ValueError(f"{label} has tensors of layer {max(numbers)}, but none of layer {missing[0]}")
    suffixes = ("", "_reverse") if any(match[3] for match in matches) else ("",)
    bias = any(match[1].startswith("bias") for match in matches)
    projects = any(match[1] == "weight_hr" for match in matches)
    gates, state = _matrix(prefix, "weight_hh_l0", tensors, "(4 * hidden_size, hidden_size or proj_size)")
    hidden = gates // 4 if projects else state
    if gates != 4 * hidden:
        raise ValueError(
            f"{joined(prefix, 'weight_hh_l0')!r} has shape {(gates, state)}, expected "
            "(4 * hidden_size, hidden_size or proj_size): only an LSTM has four gates"
        )
    inputs = _matrix(prefix, "weight_ih_l0", tensors, "(4 * hidden_size, input_size)")[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(len(numbers)):
        for suffix in suffixes:
            shapes[f"weight_ih_l{number}{suffix}"] = (gates, len(suffixes) * state if number else inputs)
            shapes[f"weight_hh_l{number}{suffix}"] = (gates, state)
            if projects:
                shapes[f"weight_hr_l{number}{suffix}"] = (state, hidden)
            if bias:
                shapes[f"bias_ih_l{number}{suffix}"] = shapes[f"bias_hh_l{number}{suffix}"] = (gates,)
    _check_shapes(prefix, tensors, shapes)
    layer = build(
        LSTM,
        "LSTM",
        prefix,
        hidden_size=hidden,
        num_layers=len(numbers),
        bias=bias,
        dropout=dropout if len(numbers) > 1 else 0.0,  # with one layer torch only warns that dropout has no effect
        bidirectional=len(suffixes) == 2,
        return_sequences=True,
        proj_size=state if projects else 0,
    )
    return Part(prefix, "LSTM", layer, inputs, len(suffixes) * state, tensors)


def _matrix(prefix: str, name: str, tensors: Mapping[str, Array], axes: str) -> tuple[int, int]:
    """Return the shape of a tensor; raise ValueError unless the tensor exists and has two axes."""
    if name not in tensors:
        unknown = [joined(prefix, other) for other in tensors if other != "bias" and not _LSTM_TENSOR.fullmatch(other)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a tensor of a layer that from_torch supports: {KNOWN}")
        raise ValueError(f"{joined(prefix, name)!r} is missing")
    shape = tensors[name].shape
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"{joined(prefix, name)!r} has shape {shape}, expected {axes}")
    return shape


def _check_shapes(prefix: str, tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the tensors have exactly these names and shapes."""
    for name in shapes:
        if name not in tensors:
            raise ValueError(f"{joined(prefix, name)!r} is missing")
    for name, array in tensors.items():
        full = joined(prefix, name)
        if name not in shapes:
            raise ValueError(f"{full!r} is not a tensor of a layer that from_torch supports: {KNOWN}")
        if array.shape != shapes[name]:
            raise ValueError(f"{full!r} has shape {array.shape}, expected {shapes[name]}")
