"""Erf, and the activations Selu, Gelu and Swish."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...._typing import Array
from ....activations import KINDS, Activation
from .nodes import Node
from .operators import Back, Forward, Inputs, Run, operator, require

__all__ = ["SMOOTH", "smooth_of"]

SMOOTH = ("Gelu", "Selu", "Swish")
"""Operators that `fastlstm.activations` implements, with attributes of their own."""


def smooth_of(node: Node) -> Activation:
    """Return the activation of a node whose operator is in `SMOOTH`.

    Raises
    ------
    ValueError
        If an attribute has a value that the activation does not have.
    """
    get = node.attributes.get
    if node.op == "Selu":
        alpha, gamma = KINDS["selu"]
        return Activation("selu", float(get("alpha", alpha)), float(get("gamma", gamma)))
    if node.op == "Gelu":
        form = get("approximate", "none")
        require(form in ("none", "tanh"), f"attribute 'approximate' is {form!r}, expected 'none' or 'tanh'")
        return Activation("gelu" if form == "none" else "gelu_tanh", 0.0, 0.0)
    require(get("alpha", 1.0) == 1, f"attribute 'alpha' is {get('alpha')}, expected 1")
    return Activation("silu", 0.0, 0.0)


def _smooth(node: Node) -> Forward:
    function = smooth_of(node)

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x = inputs[0]
        assert x is not None
        require(x.dtype.kind == "f", f"reads {x.dtype}, expected floating-point numbers")
        return [function(x)], lambda dy, needs: [dy[0] * function.derivative(x) if dy[0] is not None else None]

    return forward


operator("Selu", 1, since=6, alpha=float, gamma=float)(_smooth)
operator("Gelu", 1, since=20, approximate=str)(_smooth)
operator("Swish", 1, since=24, alpha=float)(_smooth)


@operator("Erf", 1, since=9)
def _erf(node: Node) -> Forward:
    def forward(inputs: Inputs, run: Run) -> tuple[list[Any], Back]:
        x = inputs[0]
        assert x is not None
        require(x.dtype.kind == "f", f"reads {x.dtype}, expected floating-point numbers")
        flat = [math.erf(one) for one in x.astype(np.float64).reshape(-1).tolist()]
        y = np.array(flat).reshape(x.shape).astype(x.dtype)
        slope = 2 / math.sqrt(math.pi)
        return [y], lambda dy, needs: [None if dy[0] is None else dy[0] * (slope * np.exp(-x * x)).astype(x.dtype)]

    return forward
