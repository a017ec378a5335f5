"""Vectors of the self-test: one short series, and what the stream answers."""

from __future__ import annotations

import random

import numpy as np

from ..._typing import Array
from ...inference.masked_stream import MaskedStream
from ...inference.stream import Stream
from ...layers import Stage
from ...protocols import InferenceModel

__all__ = ["inputs_for", "outputs_of"]


def inputs_for(model: InferenceModel, stages: list[Stage], inputs: int, steps: int) -> Array:
    """Return a series (steps, inputs) in raw units, float32, or token ids (steps, 1), int64.

    It is the same for equal models on every machine: Python promises the values of ``random.Random(0).random()``. One
    step in five misses a value, if values may be missing, and the third one is masked, if steps may be.
    """
    draw = random.Random(0)
    layer = model.network.layers[0]
    if model.network.takes_tokens:
        tokens = layer.num_tokens or 1
        ids = np.array([[int(draw.random() * tokens)] for _ in range(steps)], np.int64)
        masked = getattr(layer, "mask_token", None)
        if masked is not None and steps > 2:
            ids[2] = masked
        return ids
    x = np.array([[4 * draw.random() - 2 for _ in range(inputs)] for _ in range(steps)])
    first = stages[0]
    if first.kind == "standardize":
        x = first.weights["mean"] + x * first.weights["scale"]
        for feature in first.weights.get("missing", ()):
            x[4::5, feature] = np.nan
    value = next((one.value for one in model.network.layers if one.masks_steps and hasattr(one, "value")), None)
    if value is not None and steps > 2:
        x[2] = value
    return x.astype(np.float32)


def outputs_of(stream: Stream, x: Array) -> Array:
    """Return the stream's answers (steps, outputs), float32, to a series, from its beginning."""
    stream.reset()
    series = x[:, 0] if x.dtype.kind == "i" else x
    if isinstance(stream, MaskedStream):
        return np.stack([np.asarray(stream.step(step[None]), np.float32).reshape(-1) for step in series])
    return np.asarray(stream.run(series[None]), np.float32).reshape(len(x), -1)
