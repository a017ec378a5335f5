"""Inference of a model as a list of stages: the intermediate form that streams and exports read.

A stage is one operation. It reads the value of one earlier stage, its main input, and possibly others, its side inputs;
it may carry states from one time step to the next; it returns one value. The stages of a layer form a small graph; a
chain is the special case.

Weights have PyTorch's names and layout, with gates in the order i, f, g, o; an array that a layer does not have is left
out. The weights and states of a second direction have the suffix ``_reverse``. The kinds of stages, with their weights,
settings, side inputs and states:

``standardize``, ``unstandardize``
    (x - mean) / scale, or x * scale + mean. Weights: mean, scale (features,), float64; of ``standardize`` also missing
    (k,), int64, if there are features that may be missing (NaN): they become 0, and k channels behind the features are
    1 where they are missing, else 0.
``embedding``
    Rows of a table, indexed by token ids. Weights: weight (tokens, output_size). Settings: mask_token; if it is not
    None, steps with this token are masked for the following stages.
``lstm``
    One layer, in one direction or both. Weights: weight_ih, weight_hh, bias_ih, bias_hh, and those of
    `fastlstm.cell.CellWeights`. Settings: cell (a `fastlstm.cell.Cell`), hidden_size, proj_size (0: none),
    bidirectional, reverse, merge (how the outputs of two directions are merged), return_sequences (whether the value is
    the output of each step, or that of each direction at its final step). States: h, c.
``dense``
    x weight' + bias. Weights: weight (output_size, input), bias (output_size,).
``conv``
    Convolution over the steps; see `fastlstm.Conv1D`. Weights: weight (output_size, input / groups, kernel_size), bias
    (output_size,). Settings: stride, dilation, groups, padding ("valid", "same", "causal", or the numbers of zeros
    before and after a series). The lengths of the value are those in windows. With a step for each step of the input
    masked steps keep their places, else they are left out. State of "causal" with stride 1: steps, the
    (kernel_size - 1) * dilation steps before.
``window_pool``
    Maximum or mean over windows of steps; see `fastlstm.MaxPool1D` and `fastlstm.AvgPool1D`. Settings: method ("max",
    "mean"), kernel_size, stride, padding (as of ``conv``), count_include_pad. Lengths and masks as of ``conv``. States
    of "causal" with stride 1: steps, the kernel_size - 1 steps before; count, how many of them the series has.
``batch_norm``
    weight (x - running_mean) / sqrt(running_var + eps) + bias, computed as x * scale + shift. Weights: weight, bias,
    running_mean, running_var (features,). Settings: eps; scale, shift (features,), float64.
``layer_norm``
    weight (x - mean) / sqrt(variance + eps) + bias, over the features of each step. Weights: weight, bias (features,).
    Settings: eps.
``flatten``
    One vector for each case, the features of one step after the other. Settings: steps, the number of steps that each
    series must have.
``activation``
    A scalar function of each element. Settings: function (a `fastlstm.activations.Activation`).
``softmax``
    Softmax over the features.
``add``, ``multiply``
    Sum of the main input and a side input, and their product. Side inputs: addend, factor.
``magnitude``
    Magnitudes of complex numbers. Settings: parts (in how many parts of equal size the features are divided, 1 except
    within `fastlstm.TimeDistributed`; the first half of a part are real parts, the second half imaginary parts), eps
    (added to the squares under the root).
``pad``
    Steps added before and after each series. Settings: before, after, mode ("constant", "reflect", "edge"), value. The
    lengths of the value are those with the added steps; masked steps are left out.
``tap``
    The main input, to which later stages refer by a name. Settings: name. A side input that is a string is the value
    of this stage; `join_stages` puts its number in the place of the name.
``frame_conv``
    Convolution within each step, whose features are a series of their own, step by step. Weights as of ``conv``.
    Settings: steps (of this series), stride, dilation, groups.
``take``
    Features in another order. Settings: index (output_size,), int64, the feature to take; -1 for zero.
``pool``
    One vector from all steps. Settings: method ("last", "mean", "max" or "attention", a mean weighted by the softmax of
    the scores over the steps). Side inputs of "attention": scores, with one feature. States of all except "last": sums
    and counts of the steps so far.
``final``
    The final step, as with ``return_sequences=False``: the last step for a forward direction, the first step for a
    reverse direction. Settings: bidirectional (the first half of the features belongs to the forward direction, the
    second half to the reverse direction), reverse (of a single direction).
``mask``
    The main input; steps in which all features equal a value are masked for the following stages. Settings: value. If
    the stage reads the input of the model, the values are those before ``standardize``, and masked ones become 0 after
    it.
``reverse``
    Each series in reverse order of time.
``stack``
    Groups of consecutive steps, whose features stand one after the other; the last step of a series fills the places
    beyond it. Settings: size, stride (from the first step of a group to that of the next). The lengths of the value
    are those in groups; masked steps are left out.
``differences``
    The main input, then scale (x_t - x_{t-1}) for each feature; 0 at the first step. Settings: scale (input,), float64.
``deviations``
    The main input, then scale (x_t - center_t) for each feature; 0 beyond the last step of the center. Settings: center
    (steps, input) and scale (input,), float64.
``concat``
    The features of the main input, then those of a side input. Side inputs: second.
``repeat``
    New series, in which the main input, one vector for each case, is repeated at each step. Settings: steps. The
    lengths and masks of earlier series do not apply to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._typing import Array

__all__ = ["Stage", "StageState", "join_stages", "scaling_stage"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class StageState(NamedTuple):
    """State that a stage carries from one time step to the next, for each series of a batch."""

    name: str
    size: int
    """Number of elements per series."""
    initial: Array | None = None
    """(size,), the state at the beginning of a series; None: zeros."""
    dtype: str | None = None
    """Type of the elements; None: the model's."""


class Stage(NamedTuple):
    """One operation of a model in inference.

    Values are numbered: 0 is the input of the layer, k + 1 the value of its stage k. -1 is the previous value: that of
    the previous stage, or for the first stage the input of the layer.

    Attributes
    ----------
    kind : str
        Name of the operation, from the list in `fastlstm.layers.stages`.
    output_size : int
        Number of features of the value.
    weights : mapping of str to ndarray
        The layer's own arrays, not copies.
    settings : mapping of str to object
        Further arguments of the operation.
    main : int, default -1
        Number of the main input.
    side : mapping of str to int or str
        Numbers of the side inputs, by name; or the name of a `fastlstm.Tap` in an earlier layer.
    states : tuple of StageState
        States that the stage carries.

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
    weights: Mapping[str, Array] = _NOTHING
    settings: Mapping[str, Any] = _NOTHING
    main: int = -1
    side: Mapping[str, Any] = _NOTHING
    states: tuple[StageState, ...] = ()


def scaling_stage(
    mean: npt.ArrayLike, scale: npt.ArrayLike, width: int, *, inverse: bool = False, missing: Array | None = None
) -> Stage:
    """Return the stage of a fitted scaler of `width` features, or of one feature, which is broadcast to `width`."""
    weights = {
        name: np.array(np.broadcast_to(np.asarray(value, np.float64).reshape(-1), width))
        for name, value in (("mean", mean), ("scale", scale))
    }
    if missing is not None and len(missing):
        return Stage("standardize", width + len(missing), {**weights, "missing": missing})
    return Stage("unstandardize" if inverse else "standardize", width, weights)


def join_stages(
    layers: Iterable[Sequence[Stage]], passes: Callable[[Stage], bool] = lambda stage: False
) -> list[Stage]:
    """Join the stages of consecutive layers in one list, with values numbered consecutively.

    Parameters
    ----------
    layers : iterable of sequences of Stage
        Stages of each layer; a layer without stages is the identity.
    passes : callable, optional
        Return whether a stage is the identity; such stages are left out. By default none is.

    Returns
    -------
    list of Stage
        Value 0 is the input, k + 1 the value of stage k of the list; no number is -1.

    Examples
    --------
    >>> import fastlstm as fl
    >>> model = fl.Model([fl.Dense(4), fl.Dropout(), fl.LSTM(4), fl.Dense(2)], input_size=3)
    >>> [(stage.kind, stage.main) for stage in join_stages(layer.stages() for layer in model.layers)]
    [('dense', 0), ('lstm', 1), ('dense', 2)]
    """
    result: list[Stage] = []
    incoming = 0
    taps: dict[str, int] = {}
    for stages in layers:
        values = [incoming]
        for stage in stages:
            main = values[stage.main]
            if stage.kind == "tap":
                taps[stage.settings["name"]] = main
                values.append(main)
            elif passes(stage):
                values.append(main)
            else:
                side = {
                    name: taps[number] if isinstance(number, str) else values[number]
                    for name, number in stage.side.items()
                }
                result.append(stage._replace(main=main, side=side))
                values.append(len(result))
        incoming = values[-1]
    return result
