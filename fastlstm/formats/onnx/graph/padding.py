"""The operator Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...._typing import Array
from ....layers import padded_places
from .nodes import Node
from .operators import Back, Forward, Gradients, Inputs, Run, axes_of, integer_list, integers, operator, require

__all__ = ["mode_of", "pads_of"]

_MODES = ("constant", "reflect", "edge")


def pads_of(node: Node, pads: Sequence[int], axes: Sequence[int] | None, rank: int) -> list[tuple[int, int]]:
    """Return the numbers of elements before and after each axis; raise ValueError if they do not fit."""
    named = list(range(rank)) if axes is None else list(axes_of(axes, rank))
    require(len(pads) == 2 * len(named), f"pads is {list(pads)}, expected two numbers for each of {len(named)} axes")
    require(all(0 <= one < 2**31 for one in pads), f"pads is {list(pads)}, expected 0 or more: nothing is cut off")
    result = [(0, 0)] * rank
    for k, axis in enumerate(named):
        result[axis] = pads[k], pads[k + len(named)]
    return result


def mode_of(node: Node) -> str:
    """Return what a node Pad adds; raise ValueError if that is not supported."""
    mode = node.attributes.get("mode", "constant")
    require(mode in _MODES, f"mode is {mode!r}, expected one of {', '.join(_MODES)}")
    return str(mode)


def _places(size: int, pads: tuple[int, int], mode: str) -> Array:
    """Return which element of an axis stands at each place; -1: the constant."""
    if mode != "constant":
        require(size > 0, "pads an empty axis")
    if mode == "reflect":
        require(max(pads) < size, f"reflects {max(pads)} elements of an axis that has {size}")
    places: Array = padded_places(np.array([size]), *pads, mode)[0]
    return places


@operator("Pad", (1, 4), mode=str, pads=list, value=float)
def _pad(node: Node) -> Forward:
    mode = mode_of(node)
    given = integer_list(node.attributes["pads"], "pads") if "pads" in node.attributes else None
    require((given is not None) == (node.opset < 11), "has its pads in the wrong place for its opset")

    def forward(inputs: Inputs, run: Run) -> tuple[list[Array], Back]:
        x, of_pads, value, axes = [*inputs, None, None, None][:4]
        assert x is not None
        pads = pads_of(
            node,
            integers(of_pads, "pads") if given is None else given,
            None if axes is None else integers(axes, "axes"),
            x.ndim,
        )
        run.take([size + sum(two) for size, two in zip(x.shape, pads, strict=True)])
        require(value is None or value.size == 1, "has several values to pad with")
        filled: Any = node.attributes.get("value", 0.0) if value is None else value.reshape(-1)[0]
        places = [_places(size, two, mode) for size, two in zip(x.shape, pads, strict=True)]
        padded = [axis for axis, two in enumerate(pads) if two != (0, 0)]
        y = x
        for axis in padded:
            y = _taken(y, places[axis], axis, filled)

        def back(dy: Gradients, needs: Sequence[bool]) -> Gradients:
            d = dy[0]
            if d is None:
                return [None] * len(inputs)
            for axis in reversed(padded):
                d = _added(d, places[axis], axis, x.shape[axis])
            return [d, *[None] * (len(inputs) - 1)]

        return [y if y is not x else x.copy()], back

    return forward


def _taken(x: Array, places: Array, axis: int, filled: Any) -> Array:
    if x.shape[axis] == 0:
        shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
        return np.full(shape, filled, x.dtype)
    y = x.take(np.maximum(places, 0), axis=axis)
    np.moveaxis(y, axis, 0)[places < 0] = filled
    return y


def _added(d: Array, places: Array, axis: int, size: int) -> Array:
    """Return the gradient of what `_taken` has read."""
    shape = (*d.shape[:axis], size, *d.shape[axis + 1 :])
    result = np.zeros(shape, d.dtype)
    into, of = np.moveaxis(result, axis, 0), np.moveaxis(d, axis, 0)
    for place, step in enumerate(places.tolist()):
        if step >= 0:
            into[step] += of[place]
    return result
