"""Prediction: the outputs of a trained model, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from ..data.batching import bounded_batches, case_numbers
from ..data.case_objects import gives_cases, refuse_batches
from ..data.cases import read_inputs
from ..data.scaler import Scaler
from ..data.sequences import Sequences
from ..protocols import InferenceModel
from .inputs import checked_inputs

__all__ = ["in_shape", "original_units", "predict"]


def predict(
    model: InferenceModel,
    X: Any,
    lengths: ArrayLike | None = None,
    *,
    batch_size: int = 256,
    n_threads: int | None = None,
    without_masked: bool = False,
) -> Array | list[Array]:
    """Return the outputs, with their axis last; `in_shape` does the rest of `Model.predict`.

    With `without_masked`, outputs of each step of a model that masks steps are a list without those of masked steps.
    """
    batch_size = _checks.count("batch_size", batch_size)
    refuse_batches(X, "X")
    by_case = gives_cases(X)
    inputs: Sequences
    if by_case:
        from .dataset_inputs import dataset_inputs  # few programs need it

        inputs = dataset_inputs(model, X, lengths)
    else:
        inputs = checked_inputs(model, X, lengths)
    network = model.network
    without_masked = without_masked and any(layer.masks_steps for layer in network.layers)
    in_list = by_case or isinstance(X, (list, tuple)) or without_masked
    as_list = network.per_step and network.output_steps is None and in_list
    parts: dict[int, Array] = {}
    result: Array | None = None
    with closing(_outputs(model, inputs, batch_size, n_threads)) as outputs:
        for numbers, out, ends in outputs:
            if as_list:
                left = network.masked_steps(False) if without_masked else None
                stops = [out.shape[1]] * len(out) if ends is None else ends
                chosen = map(slice, stops) if left is None else left.valid
                parts.update(
                    (i, row[steps].copy()) for i, row, steps in zip(numbers.tolist(), out, chosen, strict=True)
                )
                continue
            if result is None:
                steps = [network.output_steps or inputs.time] if network.per_step else []
                result = np.zeros((len(inputs), *steps, out.shape[-1]), out.dtype)
            if network.per_step:
                if ends is not None:
                    out[np.arange(out.shape[1]) >= ends[:, None]] = 0.0
                result[numbers, : out.shape[1]] = out
            else:
                result[numbers] = out
    return [parts[i] for i in range(len(parts))] if result is None else result


def _outputs(
    model: InferenceModel, inputs: Sequences, batch_size: int, n_threads: int | None
) -> Generator[tuple[Array, Array, Array | None], None, None]:
    """Yield case numbers, output and lengths of each batch; the output is valid until the next batch."""
    network = model.network
    with closing(inputs.parts(batch_size)) as parts:
        for first, part in parts:
            for chosen in bounded_batches(part, batch_size):
                x, ends, masks = read_inputs(part, chosen, network.dtype, model.scaler)
                out = network.forward(x, ends, False, n_threads, masks=masks)
                yield (
                    case_numbers(chosen, first),
                    original_units(out, model.target_scaler),
                    network.output_lengths(ends),
                )
            del part, x  # before the next part is read


def in_shape(out: Array | list[Array], shape: tuple[int, ...] | None) -> Array | list[Array]:
    """Give the outputs the axes of the targets; several quantiles of a target keep the axis of the outputs."""
    if isinstance(out, list):
        return [_in_shape(one, shape) for one in out]
    return _in_shape(out, shape)


def _in_shape(out: Array, shape: tuple[int, ...] | None) -> Array:
    return out if shape is None or math.prod(shape) != out.shape[-1] else out.reshape(*out.shape[:-1], *shape)


def original_units(out: Array, scaler: Scaler | None) -> Array:
    """Convert a model's output to the original units of the targets, in float64, if there is a target scaler."""
    return out if scaler is None else scaler.unscaled(out)
