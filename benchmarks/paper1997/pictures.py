"""Pictures: learning curves, and the cell state that holds a memory, with the error that flows back through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm._draws import Draws

from .experiments import Experiment
from .recipe import NEWCOMER, RECIPE
from .tasks import Adding, Task

__all__ = ["carousel", "curves", "error_flow", "states_of"]

Record = Mapping[str, Any]

_AT_THE_FOOT = ("data", "axes fraction")
_LEAST = 1e-4
"""Smallest error that is drawn."""


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def curves(experiments: Sequence[Experiment], records: Mapping[str, Sequence[Record]], path: Path) -> Path:
    """Draw the mean error over the sequences presented, a line for each trial, and save it as PNG."""
    shown = [one for one in experiments if records.get(one.name)]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    picture = _figure(3.2 * columns, 2.5 * rows)
    panels = np.ravel(picture.subplots(rows, columns, squeeze=False))
    for axes, one in zip(panels, shown, strict=False):
        for record in records[one.name]:
            each, errors = record["curve"]["each"], record["curve"]["errors"]
            axes.plot(each * (1 + np.arange(len(errors))), np.maximum(errors, _LEAST), linewidth=0.8, alpha=0.7)
        for name, printed in one.printed.items():
            axes.axvline(printed, color="black", linestyle=":", linewidth=1)
            if len(one.printed) > 1:
                side = "right" if name == next(iter(one.printed)) else "left"  # of two lines that may be close
                axes.annotate(name, (printed, 0.02), xycoords=_AT_THE_FOOT, fontsize=6, rotation=90, ha=side)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(_LEAST, 1.5)
        axes.set_title(f"{one.name}: {one.title}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    picture.supxlabel("sequences presented; dotted: those that the paper's network needed", fontsize=9)
    picture.supylabel("mean of the largest error of a sequence", fontsize=9)
    picture.savefig(path, dpi=110)
    return path


def states_of(model: fl.Model, x: np.ndarray) -> np.ndarray:
    """Return the cell states of the LSTM after each step of one sequence, (time, hidden)."""
    stream, states = model.stream(), []
    for step in x:
        stream.step(step[None])
        states.append(stream.state[0][1][0, 0].copy())
    return np.array(states)


def error_flow(model: fl.Model, x: np.ndarray) -> np.ndarray:
    """Return the norm of the gradient of the first output at the end with respect to the cell state after each step.

    Parameters
    ----------
    model : Model
        With one output for each sequence.
    x : ndarray (time, inputs) or (time,)

    Returns
    -------
    norms : ndarray (time - 1,)
    """
    norms, state = [], None
    for step in range(len(x) - 1):
        _, state = model.forward(x[None, step : step + 1], state=state, return_state=True)
        out = model.forward(x[None, step + 1 :], state=state, training=True)
        gradient = np.zeros_like(out)
        gradient[..., 0] = 1
        _, flows = model.backward(gradient, return_d_state=True)
        norms.append(float(np.linalg.norm(flows[0][1])))
    model.zero_grad()
    return np.array(norms)


def _spread(task: Adding, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a sequence (time, 2) of two numbers above .3, marked a third of T apart or more; the steps; the target."""
    draws = Draws(seed, "picture")
    while True:
        x, y, lengths = task.draw(draws, 1)
        assert lengths is not None
        marked = np.flatnonzero(x[0, :, 1] == 1)
        if len(marked) == 2 and marked[1] - marked[0] >= task.steps // 3 and x[0, marked, 0].min() > 0.3:
            return x[0, : lengths[0]], marked, float(y[0, 0])


def carousel(model: fl.Model, task: Task, seed: int, path: Path) -> Path:
    """Draw what a trained network of the adding problem remembers of one sequence, and how its error flows back.

    What the marked numbers change in the cell states is the difference from the states for the same sequence with zeros
    in place of these numbers.
    """
    assert isinstance(task, Adding)
    x, marked, wanted = _spread(task, seed)
    without = x.copy()
    without[marked, 0] = 0
    change = states_of(model, x) - states_of(model, without)
    answer = float(model.predict(x[None])[0, 0])
    picture = _figure(9, 8)
    top, middle, bottom = picture.subplots(3, 1, sharex=True, height_ratios=(1, 2, 2))
    top.plot(x[:, 0], ".", color="tab:gray", markersize=3)
    top.plot(marked, x[marked, 0], "o", color="tab:red", label="marked")
    top.set_ylabel("input")
    top.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    top.set_title(f"adding, {len(x)} steps: wanted {wanted:.3f}, answer {answer:.3f}", fontsize=10)
    best = np.argsort(-np.abs(change).max(axis=0))[:3]
    for unit in range(change.shape[1]):
        if unit not in best:
            middle.plot(change[:, unit], color="tab:gray", linewidth=0.5, alpha=0.5)
    for unit in best:
        middle.plot(change[:, unit], linewidth=2, label=f"unit {unit}")
    for place in marked:
        for axes in (middle, bottom):
            axes.axvline(place, color="tab:red", linestyle=":", linewidth=1)
    middle.set_ylabel("cell state: change by\nthe marked numbers")
    middle.legend(loc="upper left", fontsize=8)
    for label, one in (
        ("learnt", model),
        ("before learning, chrono biases", RECIPE.model(task, seed)),
        ("before learning, bias 1", NEWCOMER.model(task, seed)),
    ):
        bottom.semilogy(np.maximum(error_flow(one, x), 1e-30), label=label)
    bottom.set_ylabel("gradient of the answer with\nrespect to the cell state")
    bottom.set_xlabel("step")
    bottom.legend(loc="lower right", fontsize=8)
    picture.savefig(path, dpi=110)
    return path
