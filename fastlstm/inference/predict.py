"""Prediction: the outputs of a trained model, batch by batch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from ..data.batching import bounded_batches
from ..data.cases import read_inputs
from ..data.scaling import Standardizer
from ..data.sequences import Sequences
from ..protocols import InferenceModel
from .inputs import checked_inputs

__all__ = ["in_shape", "original_units", "predict"]


def predict(
    model: InferenceModel,
    X: Sequences | ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    batch_size: int = 256,
    n_threads: int | None = None,
) -> Array | list[Array]:
    """Return the outputs, with their axis last; `in_shape` does the rest of `Model.predict`."""
    batch_size = _checks.count("batch_size", batch_size)
    inputs = checked_inputs(model, X, lengths)
    network = model.network
    time = inputs.time if network.output_steps is None else network.output_steps
    as_list = network.per_step and network.output_steps is None and isinstance(X, (list, tuple))
    parts: dict[int, Array] = {}
    result: Array | None = None
    for chosen in bounded_batches(inputs, batch_size):
        x, ends = read_inputs(inputs, chosen, network.dtype, model.scaler)
        out = original_units(network.forward(x, ends, False, n_threads), model.target_scaler)
        ends = network.output_lengths(ends)
        if as_list:
            numbers = np.arange(len(inputs))[chosen].tolist()
            stops = [out.shape[1]] * len(out) if ends is None else ends
            parts.update((i, row[:stop].copy()) for i, row, stop in zip(numbers, out, stops, strict=True))
            continue
        if result is None:
            shape = (len(inputs), time, out.shape[-1]) if network.per_step else (len(inputs), out.shape[-1])
            result = np.zeros(shape, out.dtype)
        if network.per_step:
            if ends is not None:
                out[np.arange(out.shape[1]) >= ends[:, None]] = 0.0
            result[chosen, : out.shape[1]] = out
        else:
            result[chosen] = out
    return [parts[i] for i in range(len(parts))] if result is None else result


def in_shape(out: Array | list[Array], shape: tuple[int, ...] | None) -> Array | list[Array]:
    """Give the outputs the axes of the targets; several quantiles of a target keep the axis of the outputs."""
    if isinstance(out, list):
        return [_in_shape(one, shape) for one in out]
    return _in_shape(out, shape)


def _in_shape(out: Array, shape: tuple[int, ...] | None) -> Array:
    return out if shape is None or math.prod(shape) != out.shape[-1] else out.reshape(*out.shape[:-1], *shape)


def original_units(out: Array, scaler: Standardizer | None) -> Array:
    """Convert a model's output to the original units of the targets, in float64, if there is a target scaler."""
    return out if scaler is None else scaler.unscaled(out)
