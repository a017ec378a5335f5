"""The layers of a torch.nn.Module; torch is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..._typing import Array
from ...layers import Activation, Dropout
from .functions import torch_activation
from .normalizing import batch_norm_part, flatten_part, layer_norm_part, pool_part, with_steps
from .parts import ACTIVATIONS, KNOWN, Part, build, conv_part, embedding_part, joined, linear_part, lstm_part
from .tensors import as_float_array

__all__ = ["module_parts"]

_SEQUENTIAL = ("torch.nn.modules.container", "Sequential")
_SOFTPLUS_THRESHOLD = 20.0
"""Above this threshold torch's Softplus returns x itself, which differs from log(1 + exp(x)) by less than 2.1e-9."""


def module_parts(module: Any) -> list[Part]:
    """Return the layers of a module, in the order of their definition."""
    parts = (_READERS[_class_of(child)](name, child) for name, child in _leaves(module, ""))
    return with_steps([part for part in parts if part is not None])


def _class_of(module: Any) -> tuple[str, str]:
    return type(module).__module__, type(module).__qualname__


def _leaves(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield name and object of each layer in a module, in the order of their definition."""
    cls = _class_of(module)
    if cls in _READERS:
        yield name, module
        return
    # A user-defined module is taken apart only if it is the source: nested in another, its forward is unknown.
    if cls != _SEQUENTIAL and (name or cls[0].partition(".")[0] == "torch"):
        what = f"child {name!r} is" if name else "source is"
        raise TypeError(f"{what} a {'.'.join(cls)}; from_torch supports {KNOWN}")
    own = {**module._parameters, **module._buffers}
    for key, value in own.items():
        if value is not None:
            raise ValueError(f"{joined(name, key)!r} does not belong to a layer that from_torch supports: {KNOWN}")
    # Not named_children, which skips a layer that appears in a Sequential for the second time.
    for key, child in module._modules.items():
        if child is not None:
            yield from _leaves(child, joined(name, key))


# ---------------------------------------------------------------------------------------------- the classes


def _tensors(name: str, module: Any) -> dict[str, Array]:
    return {key: as_float_array(joined(name, key), value) for key, value in module.state_dict().items()}


def _lstm(name: str, module: Any) -> Part:
    return lstm_part(name, _tensors(name, module), dropout=module.dropout)


def _linear(name: str, module: Any) -> Part:
    return linear_part(name, _tensors(name, module))


def _conv(name: str, module: Any) -> Part:
    """Return the layer of an ``nn.Conv1d``; it reads (batch, features, time), which `forward` must have made."""
    if module.padding_mode != "zeros":
        raise ValueError(f"Conv1d {name!r}: padding_mode={module.padding_mode!r} is not supported, expected 'zeros'")
    padding = module.padding if isinstance(module.padding, str) else module.padding[0]
    return conv_part(
        name,
        _tensors(name, module),
        stride=module.stride[0],
        dilation=module.dilation[0],
        groups=module.groups,
        padding="valid" if padding == 0 else padding,
    )


def _embedding(name: str, module: Any) -> Part:
    tensors = _tensors(name, module)
    if module.max_norm is not None:
        raise ValueError(f"Embedding {name!r}: max_norm={module.max_norm} is not supported, expected None")
    return embedding_part(name, tensors)


def _dropout(name: str, module: Any) -> Part:
    return Part(name, "Dropout", build(Dropout, "Dropout", name, p=module.p))


def _identity(name: str, module: Any) -> None:
    return None


def _activation(name: str, module: Any) -> Part:
    """Return the layer for one of torch's activations; raise ValueError for a setting without counterpart."""
    kind = type(module).__qualname__
    if kind == "Softmax" and module.dim != -1:
        raise ValueError(f"Softmax {name!r}: dim={module.dim} is not supported, expected -1, the last axis")
    if kind == "Softplus" and (module.beta != 1 or module.threshold < _SOFTPLUS_THRESHOLD):
        raise ValueError(
            f"Softplus {name!r}: beta={module.beta}, threshold={module.threshold} is not supported, expected beta=1 "
            f"and a threshold of at least {_SOFTPLUS_THRESHOLD}"
        )
    if kind == "GELU":
        return Part(
            name, kind, build(Activation, kind, name, kind="gelu_tanh" if module.approximate == "tanh" else "gelu")
        )
    alpha = {"LeakyReLU": "negative_slope", "ELU": "alpha"}.get(kind)
    settings = {} if alpha is None else {"alpha": getattr(module, alpha)}
    return Part(name, kind, build(torch_activation, kind, name, kind=kind, **settings))


_READERS: dict[tuple[str, str], Callable[[str, Any], Part | None]] = {
    ("torch.nn.modules.batchnorm", "BatchNorm1d"): batch_norm_part,
    ("torch.nn.modules.conv", "Conv1d"): _conv,
    ("torch.nn.modules.dropout", "Dropout"): _dropout,
    ("torch.nn.modules.flatten", "Flatten"): flatten_part,
    ("torch.nn.modules.linear", "Identity"): _identity,
    ("torch.nn.modules.linear", "Linear"): _linear,
    ("torch.nn.modules.normalization", "LayerNorm"): layer_norm_part,
    ("torch.nn.modules.pooling", "AvgPool1d"): pool_part,
    ("torch.nn.modules.pooling", "MaxPool1d"): pool_part,
    ("torch.nn.modules.rnn", "LSTM"): _lstm,
    ("torch.nn.modules.sparse", "Embedding"): _embedding,
    **{("torch.nn.modules.activation", name): _activation for name in ACTIVATIONS},
}
"""Reader of each class; it takes a layer's name and object. A class is identified by module and name, because torch has
other classes of the same names that compute something else."""
