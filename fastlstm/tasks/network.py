"""Layers of a network for one answer per series, from a few settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .. import _checks
from ..layers import LSTM, AttentionPool, ConcatPool, Dense, Dropout, Layer, MaxPool, MeanPool, copied_layer

__all__ = ["POOLINGS", "Pooling", "network_layers"]

Pooling = Literal["last", "mean", "max", "attention", "concat"]
POOLINGS: tuple[Pooling, ...] = ("last", "mean", "max", "attention", "concat")


def network_layers(
    outputs: int | None,
    *,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    dropout: float,
    pooling: Pooling,
    layers: Sequence[Layer] | None = None,
) -> list[Layer]:
    """Return new layers: LSTM, pooling over the steps, dropout, and a Dense layer with `outputs` units.

    Parameters
    ----------
    outputs : int or None
        Units of the last layer; None: there is none.
    hidden_size, num_layers, bidirectional, dropout
        Of the LSTM. Dropout acts between its layers and before the last one.
    pooling : {"last", "mean", "max", "attention", "concat"}
        From the outputs of the steps to one vector per series; "last" is the final state, "concat" the final state, the
        maximum and the mean.
    layers : sequence of Layer, optional
        Replaces all but the Dense layer. The objects themselves are not used, but copies of them.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong.
    """
    _checks.one_of("pooling", pooling, POOLINGS)
    share = _checks.below_one("dropout", dropout)
    if layers is not None:
        stack = _checks.as_list("layers", layers, "layers such as [fl.LSTM(64)]")
        for layer in stack:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"layers must be a list of layers such as [fl.LSTM(64)], got {_checks.short_repr(layer)}"
                )
        chosen = [copied_layer(layer) for layer in stack]
    else:
        lstm = LSTM(
            _checks.count("hidden_size", hidden_size),
            num_layers=_checks.count("num_layers", num_layers),
            dropout=share if num_layers > 1 else 0.0,
            bidirectional=_checks.as_bool("bidirectional", bidirectional),
            return_sequences=pooling != "last",
        )
        chosen = [lstm]
        if pooling == "attention":
            chosen.append(AttentionPool(hidden_size))
        elif pooling == "concat":
            chosen.append(ConcatPool(bidirectional))
        elif pooling != "last":
            chosen.append(MeanPool() if pooling == "mean" else MaxPool())
        if share:
            chosen.append(Dropout(share))
    return chosen if outputs is None else [*chosen, Dense(outputs)]
