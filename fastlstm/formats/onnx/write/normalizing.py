"""Batch normalisation and layer normalisation as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import GraphBuilder, Value
from .placed import PlacedStage

__all__ = ["write_batch_norm", "write_layer_norm"]


def write_batch_norm(graph: GraphBuilder, at: PlacedStage) -> Value:
    """Write batch normalisation with the running statistics, for which ONNX has (batch, features, time)."""
    inputs = [
        _constant(graph, at, name, filler)
        for name, filler in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0))
    ]
    x = graph.add("Transpose", [at.x.name], perm=[0, 2, 1]) if at.x.per_step else at.x.name
    y = graph.add("BatchNormalization", [x, *inputs], epsilon=at.stage.settings["eps"])
    return at.x._replace(name=graph.add("Transpose", [y], perm=[0, 2, 1]) if at.x.per_step else y)


def write_layer_norm(graph: GraphBuilder, at: PlacedStage) -> Value:
    inputs = [_constant(graph, at, "weight", 1.0)]
    if "bias" in at.stage.weights:
        inputs.append(_constant(graph, at, "bias", 0.0))
    y = graph.add("LayerNormalization", [at.x.name, *inputs], axis=-1, epsilon=at.stage.settings["eps"])
    return at.x._replace(name=y)


def _constant(graph: GraphBuilder, at: PlacedStage, name: str, filler: float) -> str:
    array = at.stage.weights.get(name)
    if array is not None:
        return graph.constant(array, at.constant_name(name))
    return graph.constant(np.full(at.stage.output_size, filler), f"{at.index}.{name}")
