"""Measure the cost of each cell relative to the plain one.

One layer is timed in training (forward and backward with dX) and in inference. First every cell's output and gradients
are compared with those of the NumPy reference in float64, on a few rows and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..cases import Array, Problem
from ..peers import Runner, local
from ..timing import interleave
from ..verify import check

__all__ = ["PLAIN", "PROBLEM", "cells", "measure"]

PROBLEM = Problem(64, 100, 32, 128)

PLAIN = "plain"

VERIFIED_ROWS, VERIFIED_STEPS = 4, 20
"""Few, because layer normalisation amplifies small differences in every step, including float32 rounding errors."""


def cells(hidden: int) -> dict[str, dict[str, Any]]:
    """Return the options of `fastlstm.LSTM` for each cell, by the cell's name."""
    return {
        PLAIN: {},
        "projection to half": {"proj_size": hidden // 2},
        "peepholes": {"peepholes": True},
        "coupled": {"coupled": True},
        "clipping of gates, cell and output": {"gate_clip": 3.0, "cell_clip": 3.0, "output_clip": 2.0},
        "hard sigmoid": {"gate_activation": "hard_sigmoid"},
        "ELU and softsign": {"cell_activation": "elu", "output_activation": "softsign"},
        "recurrent dropout": {"recurrent_dropout": 0.3},
        "variational dropout": {"variational_dropout": 0.3, "input_dropout": 0.3},
        "zoneout of h and c": {"zoneout_h": 0.1, "zoneout_c": 0.1},
        "layer normalisation": {"layer_norm": True},
        "learnt state": {"learn_state": True},
    }


def _model(options: dict[str, Any], problem: Problem) -> Any:
    import fastlstm as fl

    return fl.Model([fl.LSTM(problem.hidden, return_sequences=True, **options)], input_size=problem.inputs, seed=1)


def _train(model: Any, x: Array, d_out: Array, threads: int) -> tuple[Array, Array]:
    out = model.network.forward(x, None, True, threads)
    return out, model.network.backward(d_out, True)


def verify(name: str, options: dict[str, Any], problem: Problem, x: Array, d_out: Array) -> None:
    """Compare a training pass over a few rows with the reference, which draws the same masks.

    Raises
    ------
    WrongAnswer
        If they differ.
    """
    from fastlstm import reference
    from fastlstm._draws import mixed_seed
    from fastlstm.cell import CellWeights

    # The mask of the input is drawn outside the cell; without it, it need not be reproduced here.
    model = _model({**options, "input_dropout": 0.0}, problem)
    layer = model.layers[0]
    part = np.s_[:VERIFIED_ROWS, :VERIFIED_STEPS]
    x, d_out = np.ascontiguousarray(x[part]), np.ascontiguousarray(d_out[part])
    out, dx = _train(model, x, d_out, 1)
    weights = {key: value.astype(np.float64) for key, value in layer.parameters.items()}
    cell_weights = CellWeights(*(weights.get(f"{key}_l0") for key in CellWeights._fields))
    y, _, _, trace = reference.lstm_forward(
        x.astype(np.float64),
        *(weights[f"{key}_l0"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        cell=layer.cell,
        cell_weights=cell_weights,
        training=True,
        seed=mixed_seed(model.network.context(True).layers[0].seed, 1, 0),
    )
    gradients = reference.lstm_backward(trace, d_out.astype(np.float64))
    answer = {"output": out, "d x": dx, "d weight_hh": layer.gradients["weight_hh_l0"]}
    expected = {"output": y, "d x": gradients["x"], "d weight_hh": gradients["weight_hh"]}
    check("fastlstm", name, answer, expected)


def measure(threads: int, seconds: float, problem: Problem = PROBLEM) -> list[dict[str, Any]]:
    """Time all cells, interleaved.

    Parameters
    ----------
    threads : int
    seconds : float
        Time for each cell and kind of pass.
    problem : Problem
        Sizes.

    Returns
    -------
    list of dict
        ``cell``, ``problem``, ``train_ms``, ``infer_ms`` (medians), ``train_ratio``, ``infer_ratio`` (to the times of
        the plain cell).

    Raises
    ------
    WrongAnswer
        If an answer is wrong; nothing has been timed then.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((problem.batch, problem.time, problem.inputs), dtype=np.float32)
    trains: dict[str, Runner] = {}
    infers: dict[str, Runner] = {}
    for name, options in cells(problem.hidden).items():
        model = _model(options, problem)
        shape = (problem.batch, problem.time, model.output_size)
        d_out = rng.standard_normal(shape, dtype=np.float32)
        verify(name, options, problem, x, d_out)
        run: Callable[[], Any] = partial(_train, model, x, d_out, threads)
        trains[name] = local(run, None)
        infers[name] = local(partial(_model(options, problem).freeze().network.forward, x, None, False, threads), None)
    train, infer = interleave(trains, seconds * len(trains)), interleave(infers, seconds * len(infers))
    return [
        {
            "cell": name,
            "problem": problem.label,
            "train_ms": train[name].median_ms,
            "infer_ms": infer[name].median_ms,
            "train_ratio": train[name].median_ms / train[PLAIN].median_ms,
            "infer_ratio": infer[name].median_ms / infer[PLAIN].median_ms,
        }
        for name in trains
    ]
