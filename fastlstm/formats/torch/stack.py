"""A model from the layers that were read."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...layers import LSTM, Flatten, LastStep, Layer, MaxPool, MeanPool, WindowLayer
from ...model import Model
from .parts import IDENTITY, Part, joined

__all__ = ["is_pooled", "last_lstm", "model_of", "takes_windows"]

_POOLS = (Flatten, LastStep, MaxPool, MeanPool)


def last_lstm(parts: Sequence[Part]) -> int | None:
    """Return the place of the last LSTM; None if there is none."""
    return next((k for k in reversed(range(len(parts))) if isinstance(parts[k].layer, LSTM)), None)


def is_pooled(parts: Sequence[Part]) -> bool:
    """Return whether a layer makes one vector out of the steps."""
    return any(isinstance(part.layer, _POOLS) for part in parts)


def takes_windows(parts: Sequence[Part]) -> bool:
    """Return whether a layer takes windows of the steps, so that no model has an output for each step."""
    return any(isinstance(part.layer, WindowLayer) and not part.layer.keeps_steps for part in parts)


def model_of(parts: Sequence[Part], sequences: bool, dtype: npt.DTypeLike | None, seed: int) -> Model:
    """Return a model of copies of these layers with their weights.

    Parameters
    ----------
    parts : sequence of Part
    sequences : bool
        Whether the last LSTM returns every step. A layer that pools the steps needs every step, whatever this says.
    dtype : {"float32", "float64"} or None
        None stands for the widest type of the weights.
    seed : int

    Raises
    ------
    ValueError
        If a layer cannot read what comes before it, or a weight is out of the range of `dtype`.
    """
    kept, layers = _layers(parts, sequences)
    arrays = {joined(str(k), key): array for k, part in enumerate(kept) for key, array in part.weights.items()}
    names = {joined(str(k), key): joined(part.name, key) for k, part in enumerate(kept) for key in part.weights}
    if dtype is None:
        dtype = np.result_type(*arrays.values())
    input_size = next((part.in_features for part in kept if part.in_features is not None), None)
    model = Model(layers, input_size=None if layers[0].takes_tokens else input_size, dtype=dtype, seed=seed)
    parameters = model.parameters()
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            parameters[name][...] = array
        if not np.isfinite(parameters[name]).all():
            raise ValueError(f"{names[name]!r} holds numbers out of the range of {model.dtype.name}: omit dtype")
    return model


def _layers(parts: Sequence[Part], sequences: bool) -> tuple[list[Part], list[Layer]]:
    """Return copies of the layers, and the parts that they belong to."""
    kept = [part for part in parts if part.kind != IDENTITY]
    last = last_lstm(kept)
    sequences = sequences or is_pooled(parts)
    if last is not None and last + 1 < len(kept) and isinstance(kept[last + 1].layer, LastStep):
        recurrent = kept[last].layer
        if isinstance(recurrent, LSTM) and not recurrent.bidirectional:
            # One direction returns this step itself. That of two directions is each direction's own last step.
            del kept[last + 1]
            sequences = False
    layers = [copy.deepcopy(part.layer) for part in kept]
    for k, layer in enumerate(layers):
        if isinstance(layer, LSTM):
            layer.return_sequences = k != last or sequences
    return kept, layers
