"""The scaling of inputs and targets as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...._typing import Array
from .builder import GraphBuilder, Value

__all__ = ["scaling_dtype", "standardize", "standardize_series", "unstandardize"]


def standardize(graph: GraphBuilder, x: Value, weights: Mapping[str, Array], name: Callable[[str], str]) -> Value:
    """Write the stage ``standardize``; `name` maps "mean" and "scale" to the names of the constants."""
    dtype = scaling_dtype(graph, weights)
    centred = graph.add("Sub", [x.name, graph.constant(weights["mean"], name("mean"), dtype)])
    scaled = graph.add("Div", [centred, graph.constant(weights["scale"], name("scale"), dtype)])
    scaled = scaled if dtype == graph.dtype else graph.cast(scaled, graph.dtype)
    return x._replace(name=_with_indicators(graph, x.name, scaled, weights.get("missing", ()), weights["mean"].size))


def standardize_series(graph: GraphBuilder, x: Value, missing: Array, features: int) -> Value:
    """Write the scaling of each series of x, which is float64, by its own mean and standard deviation.

    Parameters
    ----------
    graph : GraphBuilder
    x : Value
        The input (batch, time, features).
    missing : ndarray of int64 (k,)
        Features that may be missing (NaN) and have an indicator channel.
    features : int
        Number of features.
    """
    double = np.dtype(np.float64)

    def number(value: float) -> str:
        return graph.constant(value, dtype=double)

    def over_time(op: str, value: str) -> str:
        if op == "ReduceSum":
            return graph.add(op, [value, graph.constant([1])], keepdims=1)
        return graph.add(op, [value], axes=[1], keepdims=1)

    counts = graph.add("Not", [graph.add("IsNaN", [x.name])])
    if graph.lengths:
        counts = graph.add("And", [counts, graph.valid_steps()])

    def chosen(value: str, filler: float) -> str:
        return graph.add("Where", [counts, value, number(filler)])

    total = over_time("ReduceSum", graph.cast(counts, double))
    total = graph.add("Max", [total, number(1.0)])
    mean = graph.add("Div", [over_time("ReduceSum", chosen(x.name, 0.0)), total])
    centred = graph.add("Sub", [x.name, mean])
    error = chosen(centred, 0.0)
    variance = graph.add("Div", [over_time("ReduceSum", graph.add("Mul", [error, error])), total])
    low, high = (over_time(op, chosen(x.name, far)) for op, far in (("ReduceMin", math.inf), ("ReduceMax", -math.inf)))
    scale = graph.add("Sqrt", [variance])
    # Rounding gives a constant feature a tiny deviation, which must not be a divisor.
    constant = graph.add("Or", [graph.add("Equal", [low, high]), graph.add("Equal", [scale, number(0.0)])])
    scale = graph.add("Where", [constant, number(1.0), scale])
    mean = graph.add("Where", [graph.add("Equal", [low, high]), low, mean])
    scaled = graph.add("Div", [graph.add("Sub", [x.name, mean]), scale])
    scaled = scaled if graph.dtype == double else graph.cast(scaled, graph.dtype)
    return x._replace(name=_with_indicators(graph, x.name, scaled, missing, features))


def _with_indicators(graph: GraphBuilder, x: str, scaled: str, missing: Any, features: int) -> str:
    """Return the scaled features, 0 in place of NaN in those that may be missing, and their indicators behind them."""
    index = np.asarray(missing, np.int64)
    if not index.size:
        return scaled
    is_nan = graph.add("IsNaN", [x])
    absent = is_nan
    if index.size < features:
        known = np.isin(np.arange(features), index)
        absent = graph.add("And", [is_nan, graph.constant(known, dtype=np.dtype(bool))])
    filled = graph.add("Where", [absent, graph.constant(0.0), scaled])
    indicators = is_nan if index.size == features else graph.add("Gather", [is_nan, graph.constant(index)], axis=2)
    return graph.add("Concat", [filled, graph.cast(indicators, graph.dtype)], axis=2)


def unstandardize(graph: GraphBuilder, x: Value, weights: Mapping[str, Array], name: Callable[[str], str]) -> Value:
    """Write x * scale + mean; `name` maps "mean" and "scale" to the names of the constants."""
    dtype = scaling_dtype(graph, weights)
    start = x.name if dtype == graph.dtype else graph.cast(x.name, dtype)
    scaled = graph.add("Mul", [start, graph.constant(weights["scale"], name("scale"), dtype)])
    return x._replace(name=graph.add("Add", [scaled, graph.constant(weights["mean"], name("mean"), dtype)]))


def scaling_dtype(graph: GraphBuilder, weights: Mapping[str, Array] | None) -> np.dtype[Any]:
    """Return the type of values in the original units: float64 where float32 would lose what the scaling is for.

    A mean of 1024 scales is rounded by 6e-5 of the scale in float32.
    """
    far = weights is not None and bool((np.abs(weights["mean"]) > 1024 * np.asarray(weights["scale"])).any())
    return np.dtype(np.float64) if far else graph.dtype
