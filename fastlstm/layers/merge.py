"""How the outputs of the two directions of a bidirectional layer become one.

With f of the first direction and b of the second, each (..., width): ``"concat"`` [f, b] (..., 2 width), ``"sum"``
f + b, ``"mean"`` (f + b) / 2, ``"product"`` f * b element by element, each (..., width).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._typing import Array
from ..runtime.buffers import Buffers

__all__ = ["MERGES", "join", "merged_size", "outputs", "split"]

MERGES = ("concat", "sum", "mean", "product")


def merged_size(merge: str, width: int) -> int:
    """Features of two outputs of this width together."""
    return 2 * width if merge == "concat" else width


def outputs(
    merge: str, buffers: Buffers, name: str, shape: tuple[int, int, int], dtype: npt.DTypeLike
) -> tuple[Array, tuple[Array, Array]]:
    """Arrays for the merged output of a layer and for those of its directions; the latter may lie in the former.

    Parameters
    ----------
    name : str
        Of the layer: what it puts out is read again by the backward pass of the layer above.
    shape : tuple
        (batch, time, width) of one direction's output.
    """
    batch, time, width = shape
    if merge == "concat":
        merged = buffers.get(name, (batch, time, 2 * width), dtype)
        return merged, (merged[..., :width], merged[..., width:])
    merged = buffers.get(name, shape, dtype)
    if merge == "product":  # whose backward pass reads both
        return merged, (
            buffers.get(f"{name}_forward", shape, dtype),
            buffers.get(f"{name}_backward", shape, dtype),
        )
    return merged, (merged, buffers.get("y_backward", shape, dtype))


def join(merge: str, first: Array, second: Array, out: Array) -> None:
    """Writes both outputs together to `out`, which may be the first of them (not of ``"concat"``)."""
    if merge == "concat":
        np.concatenate((first, second), axis=-1, out=out)
    elif merge == "product":
        np.multiply(first, second, out=out)
    else:
        np.add(first, second, out=out)
        if merge == "mean":
            out *= 0.5


def split(merge: str, d_out: Array, first: Array, second: Array, buffers: Buffers) -> tuple[Array, Array]:
    """The gradients of both outputs; `first` and `second`, what `join` was given, are read for ``"product"`` only.

    They are valid until the next call.
    """
    if merge == "concat":
        width = d_out.shape[-1] // 2
        return d_out[..., :width], d_out[..., width:]
    if merge == "sum":
        return d_out, d_out
    d_first = buffers.get("d_forward", d_out.shape, d_out.dtype)
    if merge == "mean":
        np.multiply(d_out, 0.5, out=d_first)
        return d_first, d_first
    d_second = buffers.get("d_backward", d_out.shape, d_out.dtype)
    np.multiply(d_out, second, out=d_first)
    np.multiply(d_out, first, out=d_second)
    return d_first, d_second
