"""Read weights from PyTorch without importing it; torch objects are recognised by their type names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..._arrays import as_array
from ..._checks import as_list, short_repr
from ...layers import LSTM, Activation, Dense, Dropout, Embedding, Layer
from ...model import Model
from .. import safetensors

__all__ = ["from_torch"]

Array = npt.NDArray[Any]

# By module and name, because torch has other classes of the same names, which compute something else.
_CLASSES = {
    ("torch.nn.modules.rnn", "LSTM"): "LSTM",
    ("torch.nn.modules.linear", "Linear"): "Linear",
    ("torch.nn.modules.sparse", "Embedding"): "Embedding",
    ("torch.nn.modules.dropout", "Dropout"): "Dropout",
    ("torch.nn.modules.linear", "Identity"): "Identity",
    ("torch.nn.modules.container", "Sequential"): "Sequential",
}
_ACTIVATIONS = {
    "ReLU": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Hardsigmoid": "hard_sigmoid",
}
_CLASSES |= {("torch.nn.modules.activation", name): name for name in _ACTIVATIONS}
_SOFTPLUS_THRESHOLD = 20.0
"""Above this threshold torch's Softplus returns x itself, which differs from log(1 + exp(x)) by less than 2.1e-9."""
_KNOWN = (
    "nn.LSTM, nn.Linear, nn.Embedding, nn.Dropout, nn.Identity and the activations "
    f"{', '.join('nn.' + name for name in _ACTIVATIONS)}, also within nn.Sequential"
)
_LSTM_TENSOR = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,8})(_reverse)?")
_FILE_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
_BFLOAT16 = "BF16"
_FILE_DTYPES[_BFLOAT16] = np.dtype(np.uint16)  # NumPy has no bfloat16: its bits are the upper half of a float32
_MAX_ORDERED = 7
"""Maximum number of layers whose orders are all tried if the file does not state their order."""


class _Part(NamedTuple):
    """A PyTorch layer and the layer of this package that replaces it."""

    name: str
    kind: str
    layer: Layer
    in_features: int | None
    """Number of input features; None if the layer accepts any number."""
    out_features: int | None
    """Number of output features; None if it equals the number of input features."""
    weights: dict[str, Array]

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind


def from_torch(
    source: Any,
    *,
    return_sequences: bool = False,
    dtype: npt.DTypeLike | None = None,
    order: Sequence[str] | None = None,
    seed: int = 0,
) -> Model:
    """Return a model with the layers and weights of a PyTorch module, a state dict or a ``.safetensors`` file.

    For a mapping of arrays or a file, PyTorch need not be installed.

    Parameters
    ----------
    source : torch.nn.Module, mapping of str to tensor or array, or path
        - A module: ``nn.LSTM`` or ``nn.Linear``, an ``nn.Sequential``, or any module whose children are ``nn.LSTM``,
          ``nn.Linear``, ``nn.Embedding``, ``nn.Dropout``, ``nn.Identity``, an activation (``nn.ReLU``, ``nn.Tanh``,
          ``nn.Sigmoid``, ``nn.Softmax(dim=-1)``, ``nn.LeakyReLU``, ``nn.ELU``, ``nn.Softplus``, ``nn.Softsign``,
          ``nn.Hardsigmoid``) or an ``nn.Sequential`` of these. The layers are taken in the order in which they were
          defined; the module's ``forward`` is not inspected.
        - A mapping like the result of ``module.state_dict()``, with names such as ``weight_ih_l0`` or
          ``lstm.weight_ih_l0`` and ``fc.weight``. The layers have the order in which their names first appear. If the
          first layer is a matrix without bias whose columns are the features of the next layer, it is an `Embedding`.
          A state dict does not contain dropout.
        - A path to a ``.safetensors`` file with such names. Such a file does not keep their order: numbered layers
          (``0.weight``) are ordered by number, others in the only order in which their sizes fit. For a ``.pt`` file,
          pass the result of ``torch.load(path, weights_only=True)``.
    return_sequences : bool, default False
        Whether the last LSTM returns every step, (batch, time, features), or only the final one, (batch, features). All
        other LSTMs return every step.
    dtype : {"float32", "float64"}, optional
        Floating-point type of the model. By default float64 if any tensor is, else float32; float16 and bfloat16 are
        converted.
    order : sequence of str, optional
        Names of all layers from the input to the output (``["embed", "lstm", "fc"]``), if the order differs from the
        one described above.
    seed : int, default 0
        The model's seed, for dropout and further training.

    Returns
    -------
    Model
        A built model with copies of the weights, all of them trainable. It takes (batch, time, features), whatever
        ``batch_first`` was, or token ids (batch, time).

    Raises
    ------
    TypeError
        If `source` has another type, or a module has a child of another class; the message names it.
    ValueError
        If tensors are missing or unexpected, their shapes do not match, the layers do not fit each other or their order
        is ambiguous, a tensor holds NaN or infinity or has no real floating-point dtype, an option has no counterpart
        here (``max_norm``), or the file is damaged.
    OSError
        If the file cannot be read.

    Notes
    -----
    The final step of a bidirectional LSTM is each direction's output at its own last step, as in PyTorch's ``h_n``;
    ``output[:, -1]`` differs from it in the second direction. Weights that two layers share become separate.
    ``padding_idx`` and ``scale_grad_by_freq`` of an ``nn.Embedding`` concern training only and are not kept.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> weights = {"lstm.weight_ih_l0": np.ones((16, 3)), "lstm.weight_hh_l0": np.ones((16, 4))}
    >>> model = fl.from_torch({**weights, "fc.weight": np.ones((2, 4)), "fc.bias": np.zeros(2)})
    >>> model.predict(np.zeros((5, 20, 3))).shape
    (5, 2)
    """
    fixed = True
    if _is_torch(source, "Module"):
        groups = [[part] for part in _module_parts(source)]
    elif isinstance(source, Mapping):
        groups = _tensor_parts({name: _array(name, value) for name, value in source.items()})
    elif isinstance(source, (str, os.PathLike)):
        groups = _tensor_parts(_file_tensors(source))
        groups, fixed = _by_number(groups)
    else:
        raise TypeError(
            "source must be a torch.nn.Module, a mapping of names to tensors or the path of a .safetensors file, "
            f"got {type(source).__name__}"
        )
    if order is not None:
        groups, fixed = _reordered(groups, order), True
    parts = _arranged(groups, fixed)
    lstms = [part.layer for part in parts if isinstance(part.layer, LSTM)]
    for layer in lstms:
        layer.return_sequences = layer is not lstms[-1] or bool(return_sequences)
    return _model(parts, dtype, seed)


# ---------------------------------------------------------------------------------------------- tensors


def _is_torch(value: Any, name: str) -> bool:
    """Return whether a value is an instance of torch's class of this name or of a subclass."""
    return any(cls.__name__ == name and cls.__module__.partition(".")[0] == "torch" for cls in type(value).__mro__)


def _array(name: Any, value: Any) -> Array:
    """Convert a tensor or an array to float32 or float64."""
    if not isinstance(name, str):
        raise TypeError(f"the names of the tensors must be strings, got {name!r}")
    if isinstance(value, Mapping):
        raise TypeError(f"{name!r} is itself a mapping: if it is the state dict, pass source[{name!r}]")
    if _is_torch(value, "Tensor"):
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name!r} has dtype {value.dtype}, expected floating-point numbers")
        try:
            value = value.detach().cpu()
            array = np.asarray((value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy())
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{name!r} cannot be read as an array: {error}") from error
    elif hasattr(value, "__array__"):
        array = as_array(value, repr(name))
    else:
        raise TypeError(f"{name!r} is a {type(value).__name__}, expected a tensor or an array")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ValueError(f"{name!r} has dtype {array.dtype}, expected float16, float32 or float64")
    array = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name!r} holds NaN or infinity, expected finite numbers")
    return array


def _file_tensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Return the tensors of a file."""
    with safetensors.opened(path, "a .safetensors file") as reader:
        if reader.is_model:
            raise ValueError("Model.save wrote this file: read it with fl.load")
        tensors = reader.tensors(_FILE_DTYPES)
        for name, array in tensors.items():
            if reader.dtypes[name] == _BFLOAT16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = _array(name, array)
    return tensors


# ---------------------------------------------------------------------------------------------- layers


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _module_parts(module: Any) -> list[_Part]:
    parts = []
    for name, kind, child in _leaves(module, ""):
        if kind == "Identity":
            continue
        if kind == "Dropout":
            parts.append(_Part(name, kind, _build(Dropout, kind, name, p=child.p), None, None, {}))
            continue
        if kind in _ACTIVATIONS:
            parts.append(_Part(name, kind, _activation(name, kind, child), None, None, {}))
            continue
        tensors = {key: _array(_joined(name, key), value) for key, value in child.state_dict().items()}
        if kind == "LSTM":
            parts.append(_lstm(name, tensors, dropout=child.dropout))
        elif kind == "Linear":
            parts.append(_linear(name, tensors))
        else:
            if child.max_norm is not None:
                raise ValueError(f"Embedding {name!r}: max_norm={child.max_norm} is not supported, expected None")
            parts.append(_embedding(name, tensors))
    return parts


def _activation(name: str, kind: str, module: Any) -> Layer:
    """Return the layer for one of torch's activations; raise ValueError for a setting without counterpart."""
    if kind == "Softmax" and module.dim != -1:
        raise ValueError(f"Softmax {name!r}: dim={module.dim} is not supported, expected -1, the last axis")
    if kind == "Softplus" and (module.beta != 1 or module.threshold < _SOFTPLUS_THRESHOLD):
        raise ValueError(
            f"Softplus {name!r}: beta={module.beta}, threshold={module.threshold} is not supported, expected beta=1 "
            f"and a threshold of at least {_SOFTPLUS_THRESHOLD}"
        )
    alpha, beta = None, None
    if kind == "LeakyReLU":
        alpha = module.negative_slope
    elif kind == "ELU":
        alpha = module.alpha
    elif kind == "Hardsigmoid":
        alpha, beta = 1 / 6, 0.5
    return _build(Activation, kind, name, kind=_ACTIVATIONS[kind], alpha=alpha, beta=beta)


def _leaves(module: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Yield name, kind and object of each layer in a module, in the order of their definition."""
    cls = type(module)
    kind = _CLASSES.get((cls.__module__, cls.__qualname__))
    if kind is not None and kind != "Sequential":
        yield name, kind, module
        return
    # A user-defined module is taken apart only if it is the source: nested in another, its forward is unknown.
    if kind is None and (name or cls.__module__.partition(".")[0] == "torch"):
        what = f"child {name!r} is" if name else "source is"
        raise TypeError(f"{what} a {cls.__module__}.{cls.__qualname__}; from_torch supports {_KNOWN}")
    own = {**module._parameters, **module._buffers}
    for key, value in own.items():
        if value is not None:
            raise ValueError(f"{_joined(name, key)!r} does not belong to a layer that from_torch supports: {_KNOWN}")
    # Not named_children, which skips a layer that appears in a Sequential for the second time.
    for key, child in module._modules.items():
        if child is not None:
            yield from _leaves(child, _joined(name, key))


def _tensor_parts(tensors: Mapping[str, Array]) -> list[list[_Part]]:
    """Return, for each layer that the names of the tensors define, the layers that it may be."""
    groups: dict[str, dict[str, Array]] = {}
    for full, array in tensors.items():
        prefix, _, name = full.rpartition(".")
        groups.setdefault(prefix, {})[name] = array
    recurrent = {prefix for prefix, group in groups.items() if any(map(_LSTM_TENSOR.fullmatch, group))}
    parts = []
    for prefix, group in groups.items():
        if prefix in recurrent:
            parts.append([_lstm(prefix, group)])
        elif list(group) == ["weight"] and recurrent:
            parts.append([_embedding(prefix, group), _linear(prefix, group)])
        else:
            parts.append([_linear(prefix, group)])
    return parts


def _build(cls: type[Layer], kind: str, name: str, /, **settings: Any) -> Layer:
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind} {name!r}: {error}") from error


def _check_shapes(prefix: str, tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the tensors have exactly these names and shapes."""
    for name in shapes:
        if name not in tensors:
            raise ValueError(f"{_joined(prefix, name)!r} is missing")
    for name, array in tensors.items():
        full = _joined(prefix, name)
        if name not in shapes:
            raise ValueError(f"{full!r} is not a tensor of a layer that from_torch supports: {_KNOWN}")
        if array.shape != shapes[name]:
            raise ValueError(f"{full!r} has shape {array.shape}, expected {shapes[name]}")


def _matrix(prefix: str, name: str, tensors: Mapping[str, Array], axes: str) -> tuple[int, int]:
    """Return the shape of a tensor; raise ValueError unless the tensor exists and has two axes."""
    if name not in tensors:
        unknown = [_joined(prefix, other) for other in tensors if other != "bias" and not _LSTM_TENSOR.fullmatch(other)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a tensor of a layer that from_torch supports: {_KNOWN}")
        raise ValueError(f"{_joined(prefix, name)!r} is missing")
    shape = tensors[name].shape
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"{_joined(prefix, name)!r} has shape {shape}, expected {axes}")
    return shape


def _linear(prefix: str, tensors: dict[str, Array]) -> _Part:
    outputs, inputs = _matrix(prefix, "weight", tensors, "(outputs, inputs) of an nn.Linear")
    bias = "bias" in tensors
    _check_shapes(prefix, tensors, {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {}))
    return _Part(prefix, "Linear", Dense(outputs, bias=bias), inputs, outputs, tensors)


def _embedding(prefix: str, tensors: dict[str, Array]) -> _Part:
    rows, columns = _matrix(prefix, "weight", tensors, "(tokens, features)")
    _check_shapes(prefix, tensors, {"weight": (rows, columns)})
    return _Part(prefix, "Embedding", Embedding(rows, columns), None, columns, tensors)


def _lstm(prefix: str, tensors: dict[str, Array], dropout: float = 0.0) -> _Part:
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
            f"{_joined(prefix, 'weight_hh_l0')!r} has shape {(gates, state)}, expected "
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
    layer = _build(
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
    return _Part(prefix, "LSTM", layer, inputs, len(suffixes) * state, tensors)


# ---------------------------------------------------------------------------------------------- order of the layers


def _by_number(groups: list[list[_Part]]) -> tuple[list[list[_Part]], bool]:
    """Return the layers of a file, sorted by number if all have one, and whether their order is known."""
    matches = [re.fullmatch(r"(.*\.)?([0-9]{1,9})", group[0].name) for group in groups]
    numbered = [match for match in matches if match]
    if len(numbered) < len(groups) or len({match[1] for match in numbered}) > 1:
        return groups, len(groups) <= 1
    return [group for _, group in sorted(zip(numbered, groups, strict=True), key=lambda pair: int(pair[0][2]))], True


def _reordered(groups: list[list[_Part]], order: Sequence[str]) -> list[list[_Part]]:
    named = {group[0].name: group for group in groups}
    names = [order] if isinstance(order, str) else as_list("order", order, "names")
    if sorted(map(str, names)) != sorted(named):
        raise ValueError(f"order must hold each of the names {list(named)} once, got {short_repr(order)}")
    return [named[name] for name in names]


def _flaw(parts: Sequence[_Part]) -> str:
    """Return why these layers cannot follow each other; an empty string if they can."""
    last = None
    for index, part in enumerate(parts):
        if part.kind == "Embedding" and index:
            return f"{part} takes token ids and must come first, but it comes after {parts[index - 1]}"
        if last is not None and part.in_features is not None and last.out_features != part.in_features:
            return f"{last} returns {last.out_features} features, but {part} takes {part.in_features}"
        if part.out_features is not None:
            last = part
    return ""


def _arrangements(groups: list[list[_Part]], fixed: bool) -> Iterator[list[_Part]]:
    """Yield all stacks of the layers; only the first layer is tried as each kind that it may be."""
    for order in [groups] if fixed else permutations(groups):
        for first in order[0]:
            yield [first, *(group[-1] for group in order[1:])]


def _arranged(groups: list[list[_Part]], fixed: bool) -> list[_Part]:
    """Return the only valid stack of the layers; raise ValueError if there is none or more than one."""
    if not any(part.weights for group in groups for part in group):
        raise ValueError(f"source holds no layers with weights; from_torch supports {_KNOWN}")
    names = [group[0].name for group in groups]
    hint = f"if the data pass the layers in another order than {names}, name them in that order with order=[...]"
    if not fixed and len(groups) > _MAX_ORDERED:
        raise ValueError(f"a file does not keep the order of its layers: name them in the right order, order={names}")
    found = (stack for stack in _arrangements(groups, fixed) if not _flaw(stack))
    first, second = next(found, None), next(found, None)
    if first is None:
        if not fixed:
            raise ValueError(
                "the sizes of the layers fit in no order: "
                + ", ".join(
                    f"{group[-1]} takes {group[-1].in_features} and returns {group[-1].out_features} features"
                    for group in groups
                )
            )
        raise ValueError(f"{_flaw(next(_arrangements(groups, fixed)))}; {hint}")
    if second is not None:
        stacks = " or ".join(", ".join(map(str, stack)) for stack in (first, second))
        advice = "pass the nn.Module itself, or other names" if fixed else f"name the layers in order, order={names}"
        raise ValueError(f"the tensors may be {stacks}: {advice}")
    return first


def _model(parts: Sequence[_Part], dtype: npt.DTypeLike | None, seed: int) -> Model:
    arrays = {_joined(str(k), key): array for k, part in enumerate(parts) for key, array in part.weights.items()}
    names = {_joined(str(k), key): _joined(part.name, key) for k, part in enumerate(parts) for key in part.weights}
    if dtype is None:
        dtype = np.result_type(*arrays.values())
    tokens = isinstance(parts[0].layer, Embedding)
    input_size = next((part.in_features for part in parts if part.in_features is not None), None)
    model = Model([part.layer for part in parts], input_size=None if tokens else input_size, dtype=dtype, seed=seed)
    parameters = model.parameters()
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            parameters[name][...] = array
        if not np.isfinite(parameters[name]).all():
            raise ValueError(f"{names[name]!r} holds numbers out of the range of {model.dtype.name}: omit dtype")
    return model
