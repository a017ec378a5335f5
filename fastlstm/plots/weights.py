"""Picture of the weights that an attention layer gives to the steps of a series."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numeric
from .._typing import Array
from ..inference.attention import attention_weights
from ..protocols import InferenceModel
from .canvas import finish, new_figure
from .series import as_signal, draw_signal, names_of, step_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention"]

_COLOR = "tab:purple"


def attention(
    model: InferenceModel,
    x: ArrayLike,
    *,
    layer: int | None = None,
    names: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a series and below it the weight that the model's `AttentionPool` gives to each step.

    `fastlstm.attention_weights` returns the weights as an array. It works without a display and needs matplotlib:
    ``pip install 'fastlstm[plot]'``.

    Parameters
    ----------
    model : Model
        A model that has weights, with an `AttentionPool`.
    x : array (T, F), (1, T, F), or (T,) for one feature or token ids
        One series in the units of the training data.
    layer : int, optional
        Index of the `AttentionPool` in ``model.layers``; by default the only one.
    names : sequence of str, optional
        Names of the features, for a legend if there are at most 8.
    path : path, optional
        File to save the picture to; the suffix (``.png``, ``.pdf``, ``.svg``) selects the format. By default none.
    title : str, optional
        Title of the picture; by default none.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for changes or for display in a notebook. The darker a step is shaded in the upper panel, the
        larger is its weight. The dashed line below is the mean, 1 / T.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the series does not fit the model, or it is not clear which layer is meant.
    RuntimeError
        If the model has no weights.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> model = fl.Model([fl.LSTM(8, return_sequences=True), fl.AttentionPool(4), fl.Dense(3)], input_size=2)
    >>> x = np.random.default_rng(0).normal(size=(50, 2))
    >>> figure = fl.plots.attention(model, x, names=["left", "right"], path="attention.png")
    """
    signal = as_signal("x", x)
    shown_names = names_of(names, signal.shape[1])
    tokens = model.network.takes_tokens
    batch = as_numeric(x, True, "x").reshape(1, -1) if tokens else signal[None]
    weights: Array = attention_weights(model, batch, layer=layer)[0]
    figure = new_figure("plots.attention", 10.0, 5.0)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 2])
    draw_signal(top, signal, shown_names)
    if tokens:
        top.set_ylabel("token")
        top.get_lines()[0].set(linestyle="none", marker="o", markersize=4)  # ids have no order
    if len(weights) == len(signal):  # else the pooling reads other series than the model
        _shade(top, weights)
        top.sharex(bottom)
        top.tick_params(labelbottom=False)
    _draw_weights(bottom, weights)
    return finish(figure, path, title)


def _shade(axes: Any, weights: Array) -> None:
    """Shade the background of each step by its weight."""
    low, high = axes.get_ylim()
    darkest = 2.5 * max(float(weights.max()), 2 / len(weights))  # never reached: the lines stay visible
    extent = (-0.5, len(weights) - 0.5, low, high)
    axes.imshow(
        weights[None], cmap="Purples", vmin=0, vmax=darkest, aspect="auto", extent=extent, zorder=0,
        interpolation="nearest",
    )  # fmt: skip
    axes.set_ylim(low, high)


def _draw_weights(axes: Any, weights: Array) -> None:
    steps = len(weights)
    axes.stairs(weights, np.arange(steps + 1) - 0.5, fill=True, color=_COLOR, alpha=0.35)
    axes.stairs(weights, np.arange(steps + 1) - 0.5, color=_COLOR, linewidth=1.0)
    axes.axhline(1 / steps, color="0.5", linestyle="--", linewidth=1.0)
    axes.set_xlabel("step")
    axes.set_ylabel("attention weight")
    step_axis(axes, steps)
    axes.set_ylim(0, 1.08 * max(float(weights.max()), 1 / steps))
