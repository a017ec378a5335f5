"""`Forecaster.to_onnx`: the network of a forecaster as one ONNX graph, and in its metadata how its inputs are made."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from .._version import __version__
from ..formats import atomic
from ..formats.onnx.package import import_onnx
from ..formats.onnx.write.builder import GraphBuilder, Value
from ..formats.onnx.write.model import IR_VERSION, OPSET, write_network
from ..layers import require_numbers
from .engine import Engine
from .frames import FrameReader
from .network import ForecastNetwork

__all__ = ["RECIPE", "recipe_of", "save_onnx"]

RECIPE = "fastlstm.forecast"
"""Key of the recipe in the metadata of a file."""


def save_onnx(path: str | os.PathLike[str], reader: FrameReader, engine: Engine) -> None:
    """Do the work of `Forecaster.to_onnx`."""
    onnx = import_onnx()
    require_numbers([layer for part in engine.network.parts for layer in part.layers], "to_onnx", "forecaster")
    helper, layout, settings = onnx.helper, engine.layout, engine.settings
    graph = GraphBuilder(onnx, np.dtype(np.float32), with_lengths=False)
    shifts = None if engine.corrections is None else engine.corrections.shifts
    output = _sorted(graph, _relative_answers(graph, engine.network), len(settings.quantiles))
    if shifts is not None:
        output = _sorted(graph, graph.add("Add", [output, graph.constant(shifts, "corrections")]), len(shifts[0]))
    graph.add("Identity", [output], "quantiles")
    shapes = {
        "x": ["batch", "time", layout.n_inputs],
        "ahead": ["batch", layout.horizon, layout.n_ahead],
        "base": ["batch", layout.horizon],
        "quantiles": ["batch", layout.horizon, len(settings.quantiles)],
    }
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes, "fastlstm", [values[name] for name in ("x", "ahead", "base")], [values["quantiles"]],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(one), name) for name, one in graph.constants.items()],
        ),
        producer_name="fastlstm",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )  # fmt: skip
    helper.set_model_props(proto, {RECIPE: json.dumps(recipe_of(reader, engine))})
    onnx.checker.check_model(proto)
    atomic.write(path, [proto.SerializeToString()])


def _relative_answers(graph: GraphBuilder, network: ForecastNetwork) -> str:
    """Write encoder and head, see `ForecastNetwork.head`; return the quantiles with what they are relative to added."""
    widths = network.widths
    encoded = write_network(graph, network.encoder, Value("x"))
    graph.scope = "context"
    last = graph.constant([-1])
    ends = [graph.add("Gather", [name, last], axis=1) for name in (encoded.name, "x")]
    context = graph.add("Concat", ends, axis=2)
    contexts = write_network(graph, network.common, Value(context)).name
    graph.scope = "head"
    per_step = widths.horizon * widths.per_step
    own, common = graph.add_several("Split", [contexts, graph.constant([per_step, widths.common])], 2, axis=2)
    own = graph.add("Reshape", [own, graph.constant([-1, widths.horizon, widths.per_step])])
    common = graph.add("Tile", [common, graph.constant([1, widths.horizon, 1])])
    inputs = graph.add("Concat", [own, common, "ahead"], axis=2)
    answers = write_network(graph, network.local, Value(inputs)).name
    graph.scope = "output"
    if widths.gate is not None:
        answers = _gated(graph, network, answers, widths.gate)
    if network.direct:
        answers = graph.add("Add", [answers, graph.add("Gather", [own, graph.constant([0])], axis=2)])
    return graph.add("Add", [answers, graph.add("Unsqueeze", ["base", graph.constant([2])])])


def _gated(graph: GraphBuilder, network: ForecastNetwork, raw: str, place: int) -> str:
    """Write what `ForecastNetwork.gated` adds to the outputs of the local part."""
    answers, share = graph.add_several("Split", [raw, graph.constant([network.widths.quantiles, 1])], 2, axis=2)
    share = graph.add("Mul", [share, graph.constant(0.25)])
    share = graph.add("Add", [share, graph.constant(network.shares[:, None], "shares")])
    share = graph.add("Clip", [share, graph.constant(0.0), graph.constant(1.0)])
    difference = graph.add("Gather", ["ahead", graph.constant([place])], axis=2)
    return graph.add("Add", [answers, graph.add("Mul", [share, difference])])


def _sorted(graph: GraphBuilder, values: str, count: int) -> str:
    """Write a sort of the last axis, which has `count` elements."""
    return graph.add_several("TopK", [values, graph.constant([count])], 2, axis=2, largest=0)[0]


def recipe_of(reader: FrameReader, engine: Engine) -> dict[str, Any]:
    """Return what is needed to make the inputs and to read the output: names, units, and where values are taken from.

    examples/forecast_onnx.py makes the inputs of it.
    """
    layout, settings, columns = engine.layout, engine.settings, reader.columns
    futr = [*columns.futr_exog, *reader.axis.feature_names]
    static = list(reader.static_names)
    steps = [f"{columns.target_col}[-{lag}]" for lag in layout.next_lags.tolist()]
    scales = layout.scales
    units = {
        "hist": (list(columns.hist_exog), scales.hist),
        "futr": (futr, scales.futr),
        "static": (static, scales.static),
    }
    return {
        "horizon": layout.horizon,
        "gap": layout.gap,
        "quantiles": list(settings.quantiles),
        "inputs": [
            columns.target_col, "missing", *steps, *columns.hist_exog, *futr, *static,
            *(f"{columns.hist_exog[number]} missing" for number in layout.hist_flags),
        ],
        "ahead": [
            *futr, "last value", *(f"earlier value {k + 1}" for k in range(layout.lags.shape[1])),
            *(f"earlier value {k + 1} known" for k in range(layout.lags.shape[1])),
        ],
        "lags": layout.lags.tolist(),
        "residual_of": layout.residual_of,
        "base_lags": layout.base_lags.tolist(),
        "fallbacks": list(layout.fallbacks),
        "units": {
            kind: {name: [float(c), float(s)] for name, c, s in zip(names, *pair, strict=True)}
            for kind, (names, pair) in units.items()
        },
        "series": {str(name): [one.center, one.scale] for name, one in engine.scales.items()},
        "bounds": None if settings.bounds is None else list(settings.bounds),
        "reader": reader.to_config(),
    }  # fmt: skip
