"""Weights of 8 bits: how weights become integers and numbers again, in memory and in files.

A row of weights w is stored as integers q with one scale, w[k] limits[k] = scale q[k], where the limits are the largest
magnitudes of the features that the row multiplies, if they are known; csrc/kernels/bytes.h has the sums of products. In
memory a quantized layer keeps the numbers that the integers stand for as its parameters, so that all that reads weights
goes on to work; the kernels pack them in 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from .._typing import Array
from .base import EightBits, Layer, Matrix

__all__ = [
    "MOST_TERMS",
    "inputs_of",
    "of_limits",
    "quantize_layer",
    "quantized_layers",
    "require_numbers",
    "require_small",
    "restore_layer",
    "sealed",
    "stored_tensors",
    "with_limits",
]

MOST_TERMS = 65536
"""Largest number of products that the kernels sum in integers."""

_ENDS = np.float32(127)
_SCALE, _LIMITS = ".scale", ".limits"


def inputs_of(layer: Layer) -> list[str]:
    """Return the names of the inputs that the matrices of a layer multiply, each once."""
    return list(dict.fromkeys(one.of_input for one in layer.quantized_matrices() if one.of_input is not None))


def of_limits(largest: Array | None) -> Array | None:
    """Return the largest magnitudes of features as limits, float32, that nobody can write to.

    A feature that was always 0 gets the largest limit of all. None if all were 0: each row then has its own scale.
    """
    if largest is None or not largest.max(initial=0) > 0:
        return None
    kept = np.where(largest > 0, largest, largest.max()).astype(np.float32)
    kept.flags.writeable = False
    return kept


def quantize_layer(layer: Layer, largest: Mapping[str, Array | None]) -> None:
    """Give a built layer, whose parameters can be written to, weights of 8 bits.

    Parameters
    ----------
    layer : Layer
        One without a `Layer.quantizing_obstacle`.
    largest : mapping of str to ndarray (features,) or None
        For each of its inputs the largest magnitude of each feature; None for a scale of each row.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    limits = {name: of_limits(largest[name]) for name in inputs_of(layer)}
    integers: dict[str, tuple[Array, Array]] = {}
    for one in layer.quantized_matrices():
        weight = layer.parameters[one.name]
        if not np.isfinite(weight).all():
            raise ValueError(f"{one.name} holds values that are not finite")
        integers[one.name] = _integers(weight, _limits_of(one, limits))
        weight[...] = _numbers(*integers[one.name], _limits_of(one, limits))
    layer.quantized = EightBits(limits, integers)


def stored_tensors(layer: Layer) -> dict[str, Array]:
    """Return the tensors of a quantized layer's file that take the place of its weights, or come in addition."""
    assert layer.quantized is not None
    tensors: dict[str, Array] = {}
    for name, (integers, scale) in layer.quantized.integers.items():
        tensors.update({name: integers, name + _SCALE: scale})
    tensors.update({name + _LIMITS: one for name, one in layer.quantized.limits.items() if one is not None})
    return tensors


def restore_layer(layer: Layer, tensors: MutableMapping[str, Array]) -> EightBits:
    """Return the integers of a layer from `stored_tensors`, and put the numbers that they stand for in their place.

    Raises
    ------
    ValueError
        If a tensor is missing, or is not what `stored_tensors` would have written.
    """
    obstacle = layer.quantizing_obstacle()
    if obstacle:
        raise ValueError(f"its weights have 8 bits, but it {obstacle}")
    limits: dict[str, Array | None] = dict.fromkeys(inputs_of(layer))
    for name in limits:
        if name + _LIMITS in tensors:
            limits[name] = _checked(name + _LIMITS, tensors.pop(name + _LIMITS), "float32", positive=True)
    integers: dict[str, tuple[Array, Array]] = {}
    for one in layer.quantized_matrices():
        shape = layer.parameters[one.name].shape
        stored = _checked(one.name, tensors[one.name], "int8")
        if one.name + _SCALE not in tensors:
            raise ValueError(f"{one.name}{_SCALE} is missing")
        scale = _checked(one.name + _SCALE, tensors.pop(one.name + _SCALE), "float32")
        of_input = _limits_of(one, limits)
        if stored.shape != shape or scale.shape != shape[:1] or not (of_input is None or of_input.shape == shape[1:]):
            raise ValueError(f"{one.name}, its scales or limits have another shape than {shape}")
        integers[one.name] = stored, scale
        tensors[one.name] = _numbers(stored, scale, of_input)
    return EightBits(limits, integers)


def with_limits(weights: Mapping[str, Array], limits: Array | None, suffix: str = "") -> dict[str, Array]:
    """Return the weights of a stage with the limits of its input, if there are some."""
    return dict(weights) if limits is None else {**weights, f"x_limits{suffix}": limits}


def _limits_of(matrix: Matrix, limits: Mapping[str, Array | None]) -> Array | None:
    return None if matrix.of_input is None else limits[matrix.of_input]


def _integers(weight: Array, limits: Array | None) -> tuple[Array, Array]:
    """Return the integers, int8, and the scale of each row, float32."""
    scaled = weight if limits is None else weight * limits
    scale = np.abs(scaled).max(axis=1, initial=0) / _ENDS
    with np.errstate(divide="ignore", invalid="ignore"):
        rounded = np.where(scale[:, None] > 0, np.rint(scaled / scale[:, None]), 0)
    return rounded.astype(np.int8), scale.astype(np.float32)


def _numbers(integers: Array, scale: Array, limits: Array | None) -> Array:
    """Return the weights, float32, that integers stand for."""
    weight = integers.astype(np.float32) * scale[:, None]
    return np.asarray(weight if limits is None else weight / limits)


def _checked(name: str, array: Array, dtype: str, positive: bool = False) -> Array:
    if array.dtype != dtype:
        raise ValueError(f"{name} has dtype {array.dtype}, expected {dtype}")
    if dtype == "float32" and not (np.isfinite(array).all() and (array > 0 if positive else array >= 0).all()):
        raise ValueError(f"{name} holds values that are no {'limits' if positive else 'scales'}")
    kept: Array = array.copy()
    kept.flags.writeable = False
    return kept


def sealed(stored: EightBits) -> EightBits:
    """Return integers and limits that nobody can write to, as the kernels ask; copies and pickles have forgotten it."""
    limits = {name: None if one is None else _read_only(one) for name, one in stored.limits.items()}
    return EightBits(limits, stored.integers)


def _read_only(array: Array) -> Array:
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def require_small(h: Array) -> None:
    """Raise ValueError if a state h of an LSTM with weights of 8 bits lies beyond -1 or 1, where it would be cut."""
    if not np.abs(h).max(initial=0) <= 1:
        raise ValueError("the state h of an LSTM with weights of 8 bits lies between -1 and 1, got values beyond")


def quantized_layers(layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    """Return the number and the layer of those with weights of 8 bits."""
    return [(index, layer) for index, layer in enumerate(layers) if layer.quantized is not None]


def require_numbers(layers: Sequence[Layer], what: str, of: str = "model") -> None:
    """Raise ValueError if layers have weights of 8 bits; `what` is the call that writes others, `of` who has them."""
    if quantized_layers(layers):
        raise ValueError(
            f"{what} writes floating-point weights, and those of this {of} have 8 bits: use the {of} of which "
            "quantize() made it"
        )
