"""Weights that an attention layer gives to the steps of series."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from ..data.batching import bounded_batches, case_numbers
from ..data.case_objects import gives_cases, refuse_batches
from ..data.cases import read_inputs
from ..layers import AttentionPool, Layer
from ..network import Network
from ..protocols import InferenceModel
from .dataset_inputs import dataset_inputs
from .inputs import checked_inputs

__all__ = ["attention_layer", "attention_weights"]


def attention_weights(
    model: InferenceModel,
    X: Any,
    lengths: ArrayLike | None = None,
    *,
    layer: int | None = None,
    batch_size: int = 256,
    n_threads: int | None = None,
) -> Any:
    """Return the weights with which an `AttentionPool` of a model sums up the steps of each series.

    They say which steps the pooled vector is made of. The layers before the pooling have mixed the steps: after an
    LSTM, the weight of a step belongs to all that its state knows, not to the input of that step alone.

    Parameters
    ----------
    model : Model
        A model that has weights, with an `AttentionPool`.
    X, lengths, batch_size, n_threads
        As in `Model.predict`.
    layer : int, optional
        Index of the `AttentionPool` in ``model.layers``; by default the only one.

    Returns
    -------
    ndarray or list of ndarray
        (n, T), float64: the weights of each series, with the sum 1; 0 for padding and masked steps. For a list of
        series or a data set a list of (T_i,) arrays. If a layer such as `RepeatVector` has begun new series before the
        pooling, the weights of their steps, (n, T); after a `StackSteps` those of its groups.

    Raises
    ------
    TypeError, ValueError
        If the input does not fit, or it is not clear which layer is meant.
    RuntimeError
        If the model has no weights.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(8, return_sequences=True), fl.AttentionPool(4), fl.Dense(3)], input_size=2)
    >>> weights = fl.attention_weights(model, np.random.default_rng(0).normal(size=(5, 10, 2)))
    >>> weights.shape, weights.sum(axis=1).round(6).tolist()
    ((5, 10), [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    batch_size = _checks.count("batch_size", batch_size)
    network = model.network
    index, pool = attention_layer(network, layer)
    refuse_batches(X, "X")
    by_case = gives_cases(X)
    inputs = dataset_inputs(model, X, lengths) if by_case else checked_inputs(model, X, lengths)
    signal = network.signals()[index - 1] if index else None
    steps = None if signal is None else signal.steps
    as_list = steps is None and (by_case or isinstance(X, (list, tuple)))
    rows: dict[int, Array] = {}
    with closing(inputs.parts(batch_size)) as parts:
        for first, part in parts:
            for chosen in bounded_batches(part, batch_size):
                x, ends, masks = read_inputs(part, chosen, network.dtype, model.scaler)
                network.forward(x, ends, False, n_threads, masks=masks)
                weights = pool.attention_weights(network.context(False).layers[index])
                stops = [weights.shape[1]] * len(weights)
                if ends is not None and as_list:
                    stops = _steps_after(network.layers[:index], ends).tolist()
                numbers = case_numbers(chosen, first).tolist()
                rows.update((i, row[:stop]) for i, row, stop in zip(numbers, weights, stops, strict=True))
    if as_list:
        return [rows[i] for i in range(len(rows))]
    if steps is None:
        steps = int(_steps_after(network.layers[:index], np.array([inputs.time]))[0])
    result = np.zeros((len(inputs), steps))
    for i, row in rows.items():
        result[i, : len(row)] = row
    return result


def _steps_after(layers: Sequence[Layer], lengths: Array) -> Array:
    """Return the steps that are left of series of these lengths after some layers."""
    for layer in layers:
        lengths = layer.steps_after(lengths)
    return lengths


def attention_layer(network: Network, layer: int | None) -> tuple[int, AttentionPool]:
    """Return the index and the object of an `AttentionPool`; ValueError if there is none, or `layer` is needed."""
    pools = {k: one for k, one in enumerate(network.layers) if isinstance(one, AttentionPool)}
    if not pools:
        raise ValueError(
            "the model has no fl.AttentionPool, the layer that has attention weights: put one in the place of the "
            "pooling, or of the last step, [fl.LSTM(64, return_sequences=True), fl.AttentionPool(32), ...]"
        )
    if layer is None:
        if len(pools) > 1:
            raise ValueError(
                f"the model has several fl.AttentionPool, the layers {list(pools)}: give one, layer={next(iter(pools))}"
            )
        layer = next(iter(pools))
    index = _checks.count("layer", layer, least=0)
    if index not in pools:
        raise ValueError(f"layer is {index}, expected that of an fl.AttentionPool: {', '.join(map(str, pools))}")
    return index, pools[index]
