"""Prediction: the outputs of a trained model, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import as_numeric
from .._typing import Array, State
from ..data.batching import bounded_batches, case_numbers
from ..data.case_objects import gives_cases, refuse_batches
from ..data.cases import read_inputs
from ..data.scaler import Scaler
from ..data.sequences import Sequences, checked_lengths
from ..protocols import InferenceModel
from ..runtime.config import call_threads, resolve_threads
from .carried import Carried
from .chains import predict_chain
from .inputs import checked_inputs, input_features

__all__ = ["in_shape", "original_units", "predict"]


def predict(
    model: InferenceModel,
    X: Any,
    lengths: ArrayLike | None = None,
    *,
    batch_size: int = 256,
    n_threads: int | None = None,
    without_masked: bool = False,
    state: State | Sequence[State] | None = None,
    states: list[State] | None = None,
) -> Array | list[Array]:
    """Return the outputs, with their axis last; `in_shape` does the rest of `Model.predict`.

    With `without_masked`, outputs of each step of a model that masks steps are a list without those of masked steps.
    The series continue from `state`, if it is given; the states after them are put into the list `states`.
    """
    batch_size = _checks.count("batch_size", batch_size)
    if state is None and states is None and model.network.parameters.frozen:
        small = _predict_small(model, X, lengths, n_threads)
        if small is not None:
            return small
    if (state is not None or states is not None) and lengths is None and model.network.parameters.frozen:
        from .continued import predict_block  # many programs need none

        block = predict_block(model, X, n_threads, state, states)
        if block is not None:
            return block
    nothing = _no_cases(model, X, lengths)
    if nothing is not None:
        resolve_threads(n_threads)  # checks it
        final = [] if state is None and states is None else Carried(model, state, 0).states
        if states is not None:
            states += final
        return nothing
    refuse_batches(X, "X")
    by_case = gives_cases(X)
    inputs: Sequences
    if by_case:
        from .dataset_inputs import dataset_inputs  # few programs need it

        inputs = dataset_inputs(model, X, lengths)
    else:
        inputs = checked_inputs(model, X, lengths)
    network = model.network
    carried = None if state is None and states is None else Carried(model, state, len(inputs))
    without_masked = without_masked and any(layer.masks_steps for layer in network.layers)
    in_list = by_case or isinstance(X, (list, tuple)) or without_masked
    as_list = network.per_step and network.output_steps is None and in_list
    parts: dict[int, Array] = {}
    result: Array | None = None
    with closing(_outputs(model, inputs, batch_size, n_threads, carried)) as outputs:
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
    if states is not None and carried is not None:
        states += carried.states
    return [parts[i] for i in range(len(parts))] if result is None else result


def _no_cases(model: InferenceModel, X: Any, lengths: ArrayLike | None) -> Array | list[Array] | None:
    """Return the answer for no cases, which a service may be asked for: as many outputs.

    None if there are cases, or if the arguments do not fit: they are refused elsewhere.
    """
    network = model.network
    in_list = isinstance(X, (list, tuple))
    if not network.built or not (in_list or isinstance(X, np.ndarray)) or (not in_list and X.ndim == 0) or len(X):
        return None
    if in_list:
        if lengths is not None:
            return None
        if network.per_step and network.output_steps is None:
            return []
        time = 0
    else:
        axes = () if network.takes_tokens else (input_features(model),)
        if X.ndim != 2 + len(axes) or X.shape[2:] != axes or X.shape[1] == 0:
            return None
        if X.dtype != object:  # which holds nothing that could be wrong
            as_numeric(X, network.takes_tokens, "X")
        if lengths is not None:
            checked_lengths(lengths, 0, X.shape[1], "X")
        time = X.shape[1]
    steps = [network.output_steps or time] if network.per_step else []
    return np.zeros((0, *steps, network.output_size), network.dtype if model.target_scaler is None else np.float64)


def _predict_small(
    model: InferenceModel, X: Any, lengths: ArrayLike | None, n_threads: int | None
) -> Array | list[Array] | None:
    """Compute plain arrays and lists of them of a frozen model in one call of C, with the same bits.

    Returns None where that is not possible, which is also what happens to input that is refused.
    """
    chain = predict_chain(model)
    return None if chain is None else chain.predict(X, call_threads(n_threads), lengths)


def _outputs(
    model: InferenceModel, inputs: Sequences, batch_size: int, n_threads: int | None, carried: Carried | None
) -> Generator[tuple[Array, Array, Array | None], None, None]:
    """Yield case numbers, output and lengths of each batch; the output is valid until the next batch."""
    network = model.network
    with closing(inputs.parts(batch_size)) as parts:
        for first, part in parts:
            for chosen in bounded_batches(part, batch_size):
                x, ends, masks = read_inputs(part, chosen, network.dtype, model.scaler)
                numbers = case_numbers(chosen, first)
                if carried is None:
                    out = network.forward(x, ends, False, n_threads, masks=masks)
                else:
                    out = network.forward_from(carried.before(numbers), x, ends, False, n_threads, masks=masks)
                    carried.finish(numbers)
                yield (
                    numbers,
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
