"""What the C export cannot write, and why; what no stream takes is refused by `stream_stages`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...cell import PLAIN
from ...inference.masked_stream import Masking
from ...layers import Stage
from ...protocols import InferenceModel

__all__ = ["check_kinds", "check_masking", "check_model", "check_sizes", "folded", "integer_part"]

_WIDEST = 65535 // 4  # uint_fast16_t, which may have 16 bits, counts the gates of a layer
_FUNCTIONS = ("sigmoid", "tanh", "relu")
_ABSENT = {
    "conv": "the convolution of a Conv1D",
    "frame_conv": "a convolution within the steps, of a TimeDistributed",
    "take": "a part of a TimeDistributed",
    "magnitude": "a Magnitude",
    "multiply": "the product of a Merge",
    "concat": "the concatenation of a Merge",
    "window_pool": "the pooling of a MaxPool1D or AvgPool1D",
    "layer_norm": "the normalisation of a LayerNorm",
}
"""Stages that streams take and C does not have."""
_KINDS = ("standardize", "embedding", "lstm", "dense", "add", "pool", "activation")


def check_model(model: InferenceModel) -> None:
    """Raise ValueError if the model does not compute in float32, or its weights are not finite."""
    if model.network.dtype != np.float32:
        raise ValueError(
            f"the model computes in {model.network.dtype}, the C export in float32: make a model of the same layers "
            'with dtype="float32" and load_state_dict of this one\'s state_dict'
        )
    if not np.isfinite(model.network.parameters.flat).all():
        raise ValueError("the model has weights that are not finite: train it anew, or load another file")


def check_kinds(stages: Sequence[Stage]) -> None:
    """Raise ValueError if a stream takes a stage and C does not have it."""
    for index, stage in enumerate(stages):
        what = _ABSENT.get(stage.kind)
        functions = [stage.settings["function"]] if stage.kind == "activation" else []
        if stage.kind == "lstm":
            cell = stage.settings["cell"]
            functions = [cell.gate_activation, cell.cell_activation, cell.output_activation]
        for function in functions:
            if function.name in ("gelu", "gelu_tanh"):
                what = f"one with the activation {function.name}"
        if what is not None:
            raise ValueError(
                f"stage {index} of the model is {what}, which the C export does not have: leave the layer out, or use "
                "model.stream()"
            )


def folded(stage: Stage) -> Stage:
    """Return the stage as the C has it: batch normalisation is a multiplication and an addition."""
    if stage.kind != "batch_norm":
        return stage
    weights = {"mean": stage.settings["shift"], "scale": stage.settings["scale"]}
    return stage._replace(kind="unstandardize", weights=weights, settings={})


def check_sizes(stages: Sequence[Stage], inputs: int) -> None:
    """Raise ValueError if a stage has more features than the counters of the C count."""
    widths = [stage.output_size for stage in stages]
    widest = max([inputs, *widths, *(stage.settings.get("hidden_size", 0) for stage in stages)])
    if widest > _WIDEST:
        raise ValueError(
            f"the model has a layer of {widest} features, the C export takes up to {_WIDEST}: use a smaller layer"
        )


def check_masking(masking: Masking) -> None:
    """Raise ValueError if the C cannot leave masked steps out as the stream does."""
    if masking.obstacle is not None:
        raise ValueError(
            f"a masked step would change the state of {masking.obstacle!r}, which no stream follows: leave the layer "
            "that masks out, and masked steps too"
        )
    if len(masking.layers) > 1:
        raise ValueError(
            f"layers {', '.join(map(str, masking.layers))} mask steps, the C export takes one of them: leave the "
            "others out"
        )


def integer_part(stages: Sequence[Stage]) -> int:
    """Return how many stages, from the first on, become integer; the others work on a few outputs, in float.

    Raises
    ------
    ValueError
        If one of them has no integer form.
    """
    end = max((k + 1 for k, stage in enumerate(stages) if stage.kind in ("lstm", "dense", "add", "pool")), default=0)
    if end == 0:
        raise ValueError('the model has no weights that int8 would make smaller: use dtype="float32"')
    for index, stage in enumerate(stages[:end]):
        problem = _without_integers(stage)
        if problem:
            raise ValueError(f'stage {index} of the model has {problem}, which int8 does not have: use dtype="float32"')
    return end


def _without_integers(stage: Stage) -> str | None:
    """Return what of a stage has no integer form; None if it has one."""
    if stage.kind == "activation" and stage.settings["function"].name not in _FUNCTIONS:
        return f"the activation {stage.settings['function'].name} before other layers"
    if stage.kind not in _KINDS:
        return f"{stage.kind} before other layers"
    if stage.kind == "pool" and stage.settings["method"] == "attention":
        return "attention pooling"
    if stage.kind == "lstm":
        cell = stage.settings["cell"]._replace(recurrent_dropout=0.0, variational_dropout=0.0)
        if cell != PLAIN or set(stage.weights) - {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}:
            return "an LSTM cell with options (a projection, peepholes, other activations, ...)"
    return None
