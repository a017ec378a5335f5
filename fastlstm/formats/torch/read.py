"""`from_torch`: a model with the layers and weights of a PyTorch module, a state dict or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._checks import as_bool
from ...layers import LSTM
from ...model import Model
from .modules import module_parts
from .order import arranged, by_number, reordered
from .parts import Part, joined, tensor_parts
from .tensors import as_float_array, file_tensors, is_torch

__all__ = ["from_torch"]


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
        If `source` or an argument has another type, or a module has a child of another class; the message names it.
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
    return_sequences = as_bool("return_sequences", return_sequences)
    fixed = True
    if is_torch(source, "Module"):
        groups = [[part] for part in module_parts(source)]
    elif isinstance(source, Mapping):
        groups = tensor_parts({name: as_float_array(name, value) for name, value in source.items()})
    elif isinstance(source, (str, os.PathLike)):
        groups = tensor_parts(file_tensors(source))
        groups, fixed = by_number(groups)
    else:
        raise TypeError(
            "source must be a torch.nn.Module, a mapping of names to tensors or the path of a .safetensors file, "
            f"got {type(source).__name__}"
        )
    if order is not None:
        groups, fixed = reordered(groups, order), True
    parts = arranged(groups, fixed)
    lstms = [part.layer for part in parts if isinstance(part.layer, LSTM)]
    for layer in lstms:
        layer.return_sequences = layer is not lstms[-1] or return_sequences
    return _model(parts, dtype, seed)


def _model(parts: Sequence[Part], dtype: npt.DTypeLike | None, seed: int) -> Model:
    arrays = {joined(str(k), key): array for k, part in enumerate(parts) for key, array in part.weights.items()}
    names = {joined(str(k), key): joined(part.name, key) for k, part in enumerate(parts) for key in part.weights}
    if dtype is None:
        dtype = np.result_type(*arrays.values())
    tokens = parts[0].layer.takes_tokens
    input_size = next((part.in_features for part in parts if part.in_features is not None), None)
    model = Model([part.layer for part in parts], input_size=None if tokens else input_size, dtype=dtype, seed=seed)
    parameters = model.parameters()
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            parameters[name][...] = array
        if not np.isfinite(parameters[name]).all():
            raise ValueError(f"{names[name]!r} holds numbers out of the range of {model.dtype.name}: omit dtype")
    return model
