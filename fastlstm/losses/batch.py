"""The batch that a loss reads, and the weights of its positions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .. import _exact
from .._checks import short_repr
from .._typing import Array

__all__ = [
    "Batch",
    "check_arrays",
    "padding",
    "position_weights",
    "total_weight",
    "value_weights",
    "weighted_sum",
    "without_weight",
]


class Batch(NamedTuple):
    """Output of a model for a batch, with its targets, lengths and weights."""

    out: Array
    """(batch, features) or (batch, time, features), float32 or float64."""
    target: Array
    """Labels or values, according to the loss's `kind`."""
    lengths: Array | None = None
    """(batch,), integers: valid steps of each series; None: all steps."""
    weight: Array | None = None
    """(batch,) or (batch, time): weight of each position, >= 0; None: 1. A loss with `Loss.weight_per_output` takes a
    weight for each value, too, of the shape of `out`."""


def check_arrays(batch: Batch) -> None:
    """Raise TypeError or ValueError if `Loss.__call__` does not take such arrays; shapes are the losses' own checks."""
    out, target, lengths, weight = batch
    for name, value, kinds in (("out", out, "f"), ("target", target, "fiub"), ("weight", weight, "fiub")):
        if value is not None and (not isinstance(value, np.ndarray) or value.dtype.kind not in kinds):
            raise TypeError(f"{name} must be a NumPy array of real numbers, got {short_repr(value)}")
    if out is None or target is None:
        raise TypeError("out and target must be NumPy arrays, got None")
    if out.ndim not in (2, 3) or out.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"out must be float32 or float64, (batch, features) or (batch, time, features), got {out.dtype} of shape "
            f"{out.shape}"
        )
    if lengths is None:
        return
    if not isinstance(lengths, np.ndarray) or lengths.shape != out.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths must be an array of {len(out)} integers, got {short_repr(lengths)}")


def padding(out: Array, lengths: Array | None) -> Array | None:
    """Return the mask (batch, time) of the padding; None if there is none."""
    if lengths is None or out.ndim == 2:
        return None
    return np.asarray(np.arange(out.shape[1]) >= lengths[:, None])


def position_weights(shape: tuple[int, ...], ignored: Array | None, weight: Array | None) -> Array | None:
    """Return the float64 weight of each position, 0 where ignored; None if all are 1."""
    if weight is None:
        return None if ignored is None else (~ignored).astype(np.float64)
    if weight.shape != shape and weight.shape != shape[:1]:
        raise ValueError(f"weight must have shape {shape} or {shape[:1]}, got {weight.shape}")
    weights = np.empty(shape)
    with np.errstate(over="ignore"):  # total_weight refuses infinite weights
        weights[...] = weight if weight.shape == shape else weight.reshape(-1, *[1] * (len(shape) - 1))
    if ignored is not None:
        weights[ignored] = 0.0
    return weights


def value_weights(out: Array, lengths: Array | None, weight: Array | None) -> Array | None:
    """Return the float64 weight of each value, 0 in padding; None unless `weight` has the axes of `out`."""
    if weight is None or weight.ndim != out.ndim:
        return None
    if weight.shape != out.shape:
        raise ValueError(f"weight must have shape {out.shape[:-1]}, {out.shape[:1]} or {out.shape}, got {weight.shape}")
    with np.errstate(over="ignore"):
        weights: Array = weight.astype(np.float64)
    beyond = padding(out, lengths)
    if beyond is not None:
        weights[beyond] = 0.0
    return weights


def total_weight(weights: Array | None, positions: int) -> float:
    """Return the sum of the weights, `positions` if all are 1; raise ValueError if it is not finite."""
    if weights is None:
        return float(positions)
    with np.errstate(over="ignore", invalid="ignore"):
        total = _exact.total(weights)
    if not math.isfinite(total):
        raise ValueError(f"weight must hold finite numbers with a finite sum, got a sum of {total}")
    return total


def without_weight(weights: Array | None) -> Array | None:
    """Return the mask of the positions of weight 0; None if there are none."""
    if weights is None or weights.all():
        return None
    return np.asarray(weights == 0)


def weighted_sum(rows: Array, weights: Array | None) -> tuple[float, float]:
    """Return the sums of ``weights * rows`` and of the weights, in float64."""
    total = total_weight(weights, rows.size)
    return _exact.total(rows, weights), total
