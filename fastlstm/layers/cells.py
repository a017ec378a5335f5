"""Cell of an LSTM layer: settings from the constructor's arguments, and weights other than those of the gates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._checks import as_bool, below_one, positive
from .._draws import Draws
from .._typing import Array
from ..activations import as_activation
from ..cell import Cell, CellWeights
from .base import ParameterSpec
from .initializers import initializer, zeros

__all__ = ["cell_specs", "cell_weights", "make_cell"]


def make_cell(options: Mapping[str, Any]) -> Cell:
    """Check the options of an LSTM layer that are settings of `Cell`, and return the cell.

    Raises
    ------
    TypeError, ValueError
        If an option is of a wrong type or out of range.
    """
    settings: dict[str, Any] = {}
    for name, value in options.items():
        if name.endswith("_activation"):
            settings[name] = as_activation(name, value)
        elif name.endswith("_clip"):
            settings[name] = math.inf if value is None else positive(name, value)
        elif name in ("coupled", "layer_norm"):
            settings[name] = as_bool(name, value)
        else:
            settings[name] = below_one(name, value)
    return Cell(**settings)


def cell_specs(cell: Cell, hidden: int, projection: int, peepholes: bool, suffix: str) -> Iterator[ParameterSpec]:
    """Yield one direction's parameters of the cell, other than those of the gates."""
    uniform = initializer("uniform", 1 / math.sqrt(hidden))
    if projection:
        yield ParameterSpec("weight_hr" + suffix, (projection, hidden), uniform)
    if peepholes:
        yield ParameterSpec("peepholes" + suffix, (cell.gates - 1, hidden), uniform)
    if cell.layer_norm:
        for name in ("gain_ih", "gain_hh"):
            yield ParameterSpec(name + suffix, (cell.gates * hidden,), _ones)
        yield ParameterSpec("gain_c" + suffix, (hidden,), _ones)
        yield ParameterSpec("bias_c" + suffix, (hidden,), zeros)


def cell_weights(arrays: Mapping[str, Array], suffix: str) -> CellWeights:
    """Return one direction's weights of the cell, or their gradients."""
    return CellWeights(*(arrays.get(name + suffix) for name in CellWeights._fields))


def _ones(draws: Draws, shape: tuple[int, ...]) -> Array:
    return np.ones(shape)
