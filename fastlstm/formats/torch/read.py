"""`from_torch`: a model with the layers and weights of a PyTorch module, a state dict or a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from ..._checks import as_bool
from ...layers import LSTM, Layer
from ...losses import Loss, get_loss
from ...model import Model
from .files import file_tensors
from .module import from_module
from .names import shared_prefix, state_dict_of
from .order import arranged, by_number, check_stated, reordered
from .parts import Part, tensor_parts
from .stack import is_pooled, last_lstm, model_of
from .tensors import as_float_array, is_torch

__all__ = ["from_torch"]


def from_torch(
    source: Any,
    *,
    return_sequences: bool | None = None,
    check: bool = True,
    dtype: npt.DTypeLike | None = None,
    order: Sequence[str | int | Layer] | None = None,
    loss: Loss | str | None = None,
    seed: int = 0,
) -> Model:
    """Return a model with the layers and weights of a PyTorch module, a state dict or a file with one.

    A module is run on random inputs and compared with the model. A state dict does not say what the module computes
    with its weights: what `from_torch` assumes about it stands in a warning.

    For a mapping of arrays or a ``.safetensors`` file, PyTorch need not be installed.

    Parameters
    ----------
    source : torch.nn.Module, mapping of str to tensor or array, or path
        - A module: ``nn.LSTM`` or ``nn.Linear``, an ``nn.Sequential``, or any module whose children are ``nn.LSTM``,
          ``nn.LSTMCell`` (called step by step in its ``forward``), ``nn.Linear``, ``nn.Conv1d``, ``nn.MaxPool1d`` or
          ``nn.AvgPool1d`` (between two transpositions in its ``forward``), ``nn.BatchNorm1d``, ``nn.LayerNorm`` of the
          features, ``nn.Flatten``, ``nn.Embedding``, ``nn.Dropout``, ``nn.Identity``, an activation (``nn.ReLU``,
          ``nn.Tanh``, ``nn.Sigmoid``, ``nn.Softmax(dim=-1)``, ``nn.LeakyReLU``, ``nn.ELU``, ``nn.Softplus``,
          ``nn.Softsign``, ``nn.Hardsigmoid``, ``nn.SiLU``, ``nn.SELU``, ``nn.GELU``) or an ``nn.Sequential`` of these.
          The layers are taken in the order in which they were defined, and `check` tells whether its ``forward``
          computes the same.
        - A mapping like the result of ``module.state_dict()``, with names such as ``weight_ih_l0`` or
          ``lstm.weight_ih_l0`` and ``fc.weight``. The layers have the order in which their names first appear. If the
          first layer is a matrix without bias whose columns are the features of the next layer, it is an `Embedding`.
          A mapping with the state dict under ``"model_state_dict"``, ``"state_dict"`` or ``"model"`` stands for it. A
          prefix that all names share (``"module."``, ``"model."``, ``"_orig_mod."``) is cut off.
        - A path to a ``.safetensors`` file with such names. Such a file does not keep their order: numbered layers
          (``0.weight``) are ordered by number, others in the only order in which their sizes fit.
        - A path to a file of ``torch.save`` (``.pt``, ``.pth``, ``.bin``, ``.ckpt``): the mapping that
          ``torch.load(path, weights_only=True)`` makes of it, which needs PyTorch 2.6 or newer.
    return_sequences : bool, optional
        Whether the model returns every step, (batch, time, features), or one vector for each series, (batch, features),
        from the final step of the last LSTM. All other LSTMs return every step. By default as the module does, which
        the comparison finds out. Without one, an ``nn.LSTM`` alone returns every step, as the module itself does, and
        anything else the final step.
    check : bool, default True
        For a module: run it and the model on random inputs, and raise ValueError if their outputs differ.
    dtype : {"float32", "float64"}, optional
        Floating-point type of the model. By default float64 if any tensor is, else float32; float16 and bfloat16 are
        converted.
    order : sequence of str, optional
        Names of all layers from the input to the output (``["embed", "lstm", "fc"]``), if the order differs from the
        one described above; and between them what has no weights: ``"relu"``, ``"tanh"``, ``"sigmoid"``,
        ``"softmax"``, ``"leaky_relu"``, ``"elu"``, ``"softplus"``, ``"softsign"``, ``"hard_sigmoid"``, ``"silu"``,
        ``"selu"``, ``"gelu"`` with PyTorch's parameters, ``"dropout"`` (rate 0.5), ``"mean"``, ``"max"`` and ``"last"``
        over the steps of each series (``output[:, -1]``), ``"identity"`` for nothing; or a layer object such as
        ``fl.Dropout(0.2)``. Where a layer of the source has one of these names, the name means the layer.
    loss : str or Loss, optional
        Loss of the training, which says what the outputs are: ``"cross_entropy"`` (scores of exclusive classes),
        ``"binary_cross_entropy"`` (independent scores), ``"mse"`` (values) and others. Without it `predict_proba`,
        `predict_classes` and `evaluate` need a final sigmoid or softmax.
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
        If the module computes something else than the model, or `return_sequences` is not what it does; if tensors are
        missing or unexpected, their shapes do not match, the layers do not fit each other or their order is ambiguous,
        a tensor holds NaN or infinity or has no real floating-point dtype, an option has no counterpart here
        (``max_norm``), or the file is damaged. Of a state dict also if two linear layers follow each other, or the
        numbers of its layers have a gap (``head.0``, ``head.3``), and `order` does not say what stands between.
    ImportError
        If a file needs PyTorch, and it is missing or too old.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If a module cannot be run on such inputs; of a state dict without `order`: what it does not tell.

    Notes
    -----
    The module is run in eval mode, without gradients, on 1 and 3 series of 1, 5 and 17 steps, or multiples of them that
    are enough for its convolutions, as token ids if an ``nn.Embedding`` comes first, else as normal numbers; with the
    time axis first if its LSTMs have ``batch_first=False``, or as its ``forward`` takes it. A copy of it is run with
    random weights as well: with its own, a relu may change nothing on these inputs. An argument of ``forward`` whose
    name contains "len" gets the lengths, another that it requires None. The first of several outputs counts, and any in
    a mapping.

    The final step of a bidirectional LSTM is each direction's output at its own last step, as in PyTorch's ``h_n``;
    ``output[:, -1]`` differs from it in the second direction, and is ``order=["lstm", "last", "fc"]``. Weights that two
    layers share become separate. ``padding_idx`` and ``scale_grad_by_freq`` of an ``nn.Embedding`` concern training
    only and are not kept.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> weights = {"lstm.weight_ih_l0": np.ones((16, 3)), "lstm.weight_hh_l0": np.ones((16, 4))}
    >>> weights |= {"fc.weight": np.ones((2, 4)), "fc.bias": np.zeros(2)}
    >>> model = fl.from_torch(weights, order=["lstm", "mean", "fc", "sigmoid"])
    >>> model.predict(np.zeros((5, 20, 3))).shape
    (5, 2)
    """
    sequences = None if return_sequences is None else as_bool("return_sequences", return_sequences)
    check = as_bool("check", check)
    known = None if loss is None else get_loss(loss)
    fixed = True
    if is_torch(source, "Module"):
        model = from_module(source, sequences, check, dtype, order, seed)
        model.loss = known
        return model
    if isinstance(source, Mapping):
        tensors = {
            name: as_float_array(name, value)
            for name, value in state_dict_of(source).items()
            if not str(name).endswith(".num_batches_tracked")
        }
    elif isinstance(source, (str, os.PathLike)):
        tensors, fixed = file_tensors(source)
    else:
        raise TypeError(
            "source must be a torch.nn.Module, a mapping of names to tensors or the path of a .safetensors or .pt "
            f"file, got {type(source).__name__}"
        )
    prefix = shared_prefix(tensors)
    groups = tensor_parts({name[len(prefix) :]: array for name, array in tensors.items()})
    if not fixed:
        groups, fixed = by_number(groups)
    if order is not None:
        groups, fixed = reordered(groups, order, prefix), True
    parts = arranged(groups, fixed)
    check_stated(parts)
    if sequences and is_pooled(parts):
        raise ValueError("return_sequences=True contradicts order, which makes one vector out of the steps")
    alone = len(parts) == 1 and not parts[0].name
    model = model_of(parts, alone if sequences is None else sequences, dtype, seed)
    model.loss = known
    if order is None:
        _warn_of_assumptions(parts, sequences, alone)
    return model


def _warn_of_assumptions(parts: Sequence[Part], sequences: bool | None, alone: bool) -> None:
    """Warn of all that a state dict does not tell."""
    last = last_lstm(parts)
    names = [part.name for part in parts]
    assumed = []
    if last is not None and sequences is None:
        if alone:
            assumed.append("the output is every step, as nn.LSTM itself returns it (return_sequences=False: the final)")
        else:
            layer = parts[last].layer
            own = " (of each direction its own)" if isinstance(layer, LSTM) and layer.bidirectional else ""
            assumed.append(f"only the final step of {parts[last]} is used{own}, and no mean or maximum over the steps")
    if not alone:
        assumed.append(
            "no activation (relu, tanh, ...) stands between the layers, and no sigmoid or softmax at the end"
        )
    assumed.append("there is no dropout")
    cure = "" if alone else f", or state all of it with order, for example order={[*names, 'sigmoid']}"
    warnings.warn(
        "a state dict holds weights, and not what the module computes with them; from_torch assumes that the data "
        f"pass {', '.join(map(str, parts))} in this order; that {'; that '.join(assumed)}. Pass the nn.Module itself, "
        f"which from_torch runs and compares{cure}; order={names} says that all this is right",
        UserWarning,
        stacklevel=3,
    )
