"""Stages of layers that read each step as a series of its own, a frame: in stages the frame is the step's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .base import Layer, stages_describe_forward
from .padding import padded_places
from .stages import Stage, join_stages
from .windows import same_zeros

__all__ = ["frame_stages"]


class _Frame(NamedTuple):
    """Form of a value: steps of the frame, and features of each."""

    steps: int
    features: int


_Translated = tuple[list[Stage], _Frame] | None
"""Stages one after the other, and the form of the last value; None: there are none."""


def frame_stages(owner: Layer, layers: Sequence[Layer], steps: int, features: int) -> list[Stage]:
    """Return the stages of layers that read frames (steps, features), which `owner` has as the features of a step.

    Raises
    ------
    TypeError
        If a layer cannot be expressed so; the message names it.
    """
    for layer in layers:
        if not stages_describe_forward(layer):
            raise TypeError(f"{owner!r} cannot be expressed as stages: {layer!r} has none")
    result: list[Stage] = []
    values, frames = [0], [_Frame(steps, features)]
    for stage in join_stages(layer.stages() for layer in layers):
        translate = _KINDS.get(stage.kind)
        frame = frames[stage.main]
        translated = None if translate is None else translate(stage, frame)
        if translated is None:
            raise TypeError(
                f"{owner!r} cannot be expressed as stages, which streams and exports need: they have no {stage.kind!r} "
                "within a step; use predict"
            )
        made, after = translated
        side = {name: values[number] for name, number in stage.side.items()}
        for k, one in enumerate(made):
            result.append(one._replace(main=len(result) if k else values[stage.main], side={} if k else side))
        values.append(len(result))
        frames.append(after)
    return result


def _conv(stage: Stage, frame: _Frame) -> _Translated:
    weight, settings = stage.weights["weight"], stage.settings
    kernel, stride, padding = weight.shape[2], settings["stride"], settings["padding"]
    span = (kernel - 1) * settings["dilation"] + 1
    if padding == "same":
        padding = same_zeros(span, stride, frame.steps)
    elif isinstance(padding, str):
        padding = (span - 1 if padding == "causal" else 0), 0
    before, after = padding
    stages: list[Stage] = []
    if before or after:
        stages, frame = _taken(padded_places(np.array([frame.steps]), before, after, "constant")[0], frame)
    steps = (frame.steps - span) // stride + 1
    window = {name: settings[name] for name in ("stride", "dilation", "groups")}
    stages.append(Stage("frame_conv", steps * len(weight), stage.weights, {**window, "steps": frame.steps}))
    return stages, _Frame(steps, len(weight))


def _pad(stage: Stage, frame: _Frame) -> _Translated:
    settings = stage.settings
    if settings["value"]:
        return None
    steps = padded_places(np.array([frame.steps]), settings["before"], settings["after"], settings["mode"])[0]
    return _taken(steps, frame)


def _taken(steps: Any, frame: _Frame) -> tuple[list[Stage], _Frame]:
    """Return the stage that takes these steps of the frame; -1: zeros."""
    index = np.asarray(steps, np.int64)[:, None] * frame.features + np.arange(frame.features)
    index[np.asarray(steps) < 0] = -1
    stage = Stage("take", index.size, settings={"index": index.reshape(-1)})
    return [stage], _Frame(len(steps), frame.features)


def _pool(stage: Stage, frame: _Frame) -> _Translated:
    if stage.settings["method"] == "last" or (frame.steps == 1 and stage.settings["method"] != "attention"):
        return _taken([frame.steps - 1], frame)
    return None


def _elementwise(stage: Stage, frame: _Frame) -> _Translated:
    return [stage._replace(output_size=frame.steps * frame.features)], frame


def _magnitude(stage: Stage, frame: _Frame) -> _Translated:
    after = _Frame(frame.steps, stage.output_size)
    settings = {**stage.settings, "parts": frame.steps}
    return [Stage("magnitude", after.steps * after.features, settings=settings)], after


def _of_one_step(stage: Stage, frame: _Frame) -> _Translated:
    return ([stage], _Frame(1, stage.output_size)) if frame.steps == 1 else None


_KINDS: dict[str, Callable[[Stage, _Frame], _Translated]] = {
    "conv": _conv,
    "pad": _pad,
    "pool": _pool,
    "magnitude": _magnitude,
    **dict.fromkeys(("activation", "add", "multiply"), _elementwise),
    **dict.fromkeys(("dense", "softmax", "concat"), _of_one_step),
}
"""Stages of a whole step, for each kind of stage that has them."""
