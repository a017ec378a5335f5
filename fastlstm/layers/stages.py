"""What a model computes in inference, as a list of stages: the form that streams and exports read.

A stage is one step of the computation. It reads the value that one earlier stage gives, its main input, and perhaps
others, its side inputs; it may carry states from step to step; it gives one value. The stages of a layer form a small
graph, of which a chain is the special case.

Weights have PyTorch's names and layout, gates in the order i, f, g, o; an array that a layer does not have is left out.
A second direction's weights and states have the suffix ``_reverse``. The kinds of stages, with their weights, settings,
side inputs and states:

``standardize``, ``unstandardize``
    (x - mean) / scale, and x * scale + mean. Weights: mean, scale (output_size,), float64.
``embedding``
    The rows of a table that the tokens number. Weights: weight (tokens, output_size). Settings: mask_token; steps with
    this token, if it is not None, do not count for the stages that follow.
``lstm``
    One layer, in one direction or both. Weights: weight_ih, weight_hh, bias_ih, bias_hh, and those of
    `fastlstm.cell.CellWeights`. Settings: cell (a `fastlstm.cell.Cell`), hidden_size, proj_size (0: none),
    bidirectional, reverse, merge (how the outputs of two directions are joined), return_sequences (whether the value is
    the output of each step, or that of each direction at the end of its pass). States: h, c.
``dense``
    x weight' + bias. Weights: weight (output_size, input), bias (output_size,).
``activation``
    A function of each element. Settings: function (a `fastlstm.activations.Activation`).
``softmax``
    Over the features.
``add``
    The sum of two values. Side inputs: addend.
``pool``
    One vector out of all steps. Settings: method ("last", "mean", "max" or "attention", a mean weighted by the softmax
    of the scores over the steps). Side inputs, of "attention": scores, of one feature. States, of all except "last":
    sums and counts of the steps so far.
``final``
    What ``return_sequences=False`` keeps of the output of each step: the last step of a direction that goes forward,
    the first step of one that goes back. Settings: bidirectional (the first half of the features is of the direction
    that goes forward, the second half of the other), reverse (of the one direction).
``mask``
    Its input; steps whose features all equal a value do not count for the stages that follow. Settings: value.
``reverse``
    Each series back to front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Stage", "StageState", "join_stages", "scaling_stage"]

Array = npt.NDArray[Any]


class StageState(NamedTuple):
    """What a stage carries from one step to the next, for each series of a batch."""

    name: str
    size: int
    """Elements for each series."""
    initial: Array | None = None
    """(size,), with which each series begins; None: zeros."""
    dtype: str | None = None
    """None: that of the model."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of what a model computes in inference.

    Values are numbered: 0 is what comes into the layer, k + 1 what its stage k gives. -1 is the value before: what the
    previous stage gives, or for the first stage what comes in.

    Attributes
    ----------
    kind : str
        What is computed; the table in `fastlstm.layers.stages` lists the kinds.
    output_size : int
        Features of the value.
    weights : mapping of str to ndarray
        The layer's own arrays, not copies.
    settings : mapping of str to object
    main : int
        Number of the main input.
    side : mapping of str to int
        Numbers of the side inputs, by their names.
    states : tuple of StageState

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.Model([fl.LSTM(4, num_layers=2, residual=True, return_sequences=True)], input_size=3)
    >>> for stage in model.layers[0].stages():
    ...     print(stage.kind, stage.output_size, stage.main, dict(stage.side))
    lstm 4 -1 {}
    lstm 4 -1 {}
    add 4 -1 {'addend': 1}
    """

    kind: str
    output_size: int
    weights: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    main: int = -1
    side: Mapping[str, int] = field(default_factory=dict)
    states: tuple[StageState, ...] = ()


def scaling_stage(mean: npt.ArrayLike, scale: npt.ArrayLike, width: int, *, inverse: bool = False) -> Stage:
    """Return the stage of a fitted scaler: of `width` features, or of one whose numbers hold for all of them."""
    weights = {
        name: np.array(np.broadcast_to(np.asarray(value, np.float64).reshape(-1), width))
        for name, value in (("mean", mean), ("scale", scale))
    }
    return Stage("unstandardize" if inverse else "standardize", width, weights)


def join_stages(
    layers: Iterable[Sequence[Stage]], passes: Callable[[Stage], bool] = lambda stage: False
) -> list[Stage]:
    """Put the stages of layers that follow each other into one list, with the values numbered through.

    Parameters
    ----------
    layers : iterable of sequences of Stage
        A layer without stages passes what it reads.
    passes : callable, optional
        Whether a stage gives what it reads; such stages are left out.

    Returns
    -------
    list of Stage
        0 is what comes in, k + 1 what stage k of the list gives; no number is -1.

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.Model([fl.Dense(4), fl.Dropout(), fl.LSTM(4), fl.Dense(2)], input_size=3)
    >>> [(stage.kind, stage.main) for stage in join_stages(layer.stages() for layer in model.layers)]
    [('dense', 0), ('lstm', 1), ('dense', 2)]
    """
    result: list[Stage] = []
    incoming = 0
    for stages in layers:
        values = [incoming]
        for stage in stages:
            main = values[stage.main]
            if passes(stage):
                values.append(main)
            else:
                side = {name: values[number] for name, number in stage.side.items()}
                result.append(replace(stage, main=main, side=side))
                values.append(len(result))
        incoming = values[-1]
    return result
