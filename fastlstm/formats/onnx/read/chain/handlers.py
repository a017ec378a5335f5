"""The operators that a chain of layers may have, and the function that reads each."""

from __future__ import annotations

from ...graph.elementwise import ACTIVATIONS
from ...graph.smooth import SMOOTH
from . import convolving, masks, normalizing, padding, pointwise, recurrent, repeating, reshaping, selecting, spectra
from .trace import Handler

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(ACTIVATIONS, pointwise.read_activation),
    **dict.fromkeys(SMOOTH, pointwise.read_activation),
    "Add": pointwise.read_arithmetic,
    "AveragePool": convolving.read_pool,
    "BatchNormalization": normalizing.read_batch_norm,
    "Cast": reshaping.read_cast,
    "Concat": reshaping.read_concat,
    "Conv": convolving.read_conv,
    "ConstantOfShape": masks.read_filled,
    "Div": pointwise.read_arithmetic,
    "Dropout": pointwise.read_dropout,
    "Expand": repeating.read_expand,
    "Flatten": reshaping.read_flatten,
    "Gather": selecting.read_gather,
    "Gemm": pointwise.read_gemm,
    "Identity": reshaping.read_identity,
    "LSTM": recurrent.read_lstm,
    "LayerNormalization": normalizing.read_layer_norm,
    "Less": masks.read_less,
    "MatMul": pointwise.read_matmul,
    "MaxPool": convolving.read_pool,
    "Mul": pointwise.read_arithmetic,
    "Pad": padding.read_pad,
    "Pow": spectra.read_pow,
    "Range": masks.read_range,
    "ReduceMax": selecting.read_reduce,
    "ReduceMean": selecting.read_reduce,
    "Reshape": reshaping.read_reshape,
    "Shape": reshaping.read_shape,
    "Slice": selecting.read_slice,
    "Softmax": pointwise.read_activation,
    "Split": selecting.read_split,
    "Sqrt": spectra.read_sqrt,
    "Squeeze": reshaping.read_squeeze,
    "Sub": pointwise.read_arithmetic,
    "Tile": repeating.read_tile,
    "Transpose": reshaping.read_transpose,
    "Unsqueeze": reshaping.read_unsqueeze,
    "Where": masks.read_where,
}
"""A function is given the trace, the node, and the symbols of its inputs; it returns those of its outputs."""
