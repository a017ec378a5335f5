"""Merging of the outputs of the two directions of a bidirectional layer.

With the outputs f of the first direction and b of the second, each (..., width), the result is for ``"concat"`` [f, b]
(..., 2 width), for ``"sum"`` f + b, for ``"mean"`` (f + b) / 2, for ``"product"`` f * b element by element, each
(..., width).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .._typing import Array
from ..runtime.buffers import Buffers

__all__ = ["MERGES", "join", "merged_size", "outputs", "split"]

MERGES = ("concat", "sum", "mean", "product")


def merged_size(merge: str, width: int) -> int:
    """Return the number of features of two merged outputs of this width."""
    return 2 * width if merge == "concat" else width


def outputs(
    merge: str, buffers: Buffers, name: str, shape: tuple[int, int, int], dtype: npt.DTypeLike
) -> tuple[Array, tuple[Array, Array]]:
    """Return arrays for a layer's merged output and for its directions' outputs, which may be views of the former.

    Parameters
    ----------
    name : str
        Name of the layer's buffer; the backward pass of the layer above reads the output again.
    shape : tuple
        (batch, time, width) of one direction's output.
    """
    batch, time, width = shape
    if merge == "concat":
        merged = buffers.get(name, (batch, time, 2 * width), dtype)
        return merged, (merged[..., :width], merged[..., width:])
    merged = buffers.get(name, shape, dtype)
    if merge == "product":  # its backward pass reads both
        return merged, (
            buffers.get(f"{name}_forward", shape, dtype),
            buffers.get(f"{name}_backward", shape, dtype),
        )
    return merged, (merged, buffers.get("y_backward", shape, dtype))


def join(merge: str, first: Array, second: Array, out: Array) -> None:
    """Write the merged outputs to `out`, which may be `first` (except for ``"concat"``)."""
    if merge == "concat":
        np.concatenate((first, second), axis=-1, out=out)
    elif merge == "product":
        np.multiply(first, second, out=out)
    else:
        np.add(first, second, out=out)
        if merge == "mean":
            out *= 0.5


def split(merge: str, d_out: Array, first: Array, second: Array, buffers: Buffers) -> tuple[Array, Array]:
    """Return the gradients of both outputs, valid until the next call.

    `first` and `second` are the inputs of `join`; only ``"product"`` reads them.
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
