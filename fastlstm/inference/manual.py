"""Single passes for custom training loops: `Model.forward` and `Model.backward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import as_numeric
from .._checks import as_bool, recompute_steps
from .._typing import State
from ..data.cases import read_inputs
from ..data.sequences import Sequences, as_sequences
from ..network import Network

__all__ = ["backward", "forward"]


def forward(
    network: Network,
    X: Sequences | ArrayLike,
    lengths: ArrayLike | None,
    state: State | Sequence[State] | None,
    training: bool,
    return_state: bool,
    n_threads: int | None,
    recompute_every: int | None,
    added: int = 0,
) -> Any:
    """Do the work of `Model.forward`; `added` is the number of channels that the model's scaler adds elsewhere."""
    training, return_state = as_bool("training", training), as_bool("return_state", return_state)
    if training:
        network.parameters.require_unfrozen("forward(training=True)")
    every = recompute_steps(recompute_every)
    inputs = as_sequences(X, lengths, tokens=network.takes_tokens)
    if added and inputs.features + added == network.input_size:
        raise ValueError(
            f"X has {inputs.features} features, forward reads the {network.input_size} inputs of the layers, since it "
            "applies no scaler: pass model.scaler.transform(X)"
        )
    network.build_for(inputs)
    x, batch_lengths, masks = read_inputs(
        inputs.with_masking(network.input_masks), slice(0, len(inputs)), network.dtype, None
    )
    states = network.checked_states(state, len(x))
    passes = network.passes
    try:
        out = network.forward_from(states, x, batch_lengths, training, n_threads, every, masks=masks).copy()
        result = (out, network.final_states(training)) if return_state else out
    except Exception:
        network.passes = passes  # so that a retry draws the same masks
        raise
    network.context(training).pending = training
    return result


def backward(network: Network, d_out: ArrayLike, d_state: State | Sequence[State] | None, return_d_state: bool) -> Any:
    """Do the work of `Model.backward`."""
    return_d_state = as_bool("return_d_state", return_d_state)
    network.parameters.require_unfrozen("backward")
    ctx = network.context(True)
    if not ctx.pending:
        raise RuntimeError("backward needs a forward pass: call forward(..., training=True) once before each backward")
    gradient = as_numeric(d_out, False, "d_out")
    if gradient.shape != ctx.out_shape:
        raise ValueError(f"d_out has shape {gradient.shape}, expected that of the output, {ctx.out_shape}")
    with np.errstate(over="ignore"):
        gradient = np.array(gradient, network.dtype, order="C")
    if ctx.lengths is not None and network.per_step:
        gradient[np.arange(gradient.shape[1]) >= ctx.lengths[:, None]] = 0
    caches = network.recurrent_caches(True)
    for cache, one in zip(caches, network.checked_states(d_state, len(gradient)), strict=True):
        cache.d_state_out = one
    ctx.want_d_state = return_d_state
    ctx.pending = False
    try:
        dx = network.backward(gradient, need_dx=True)
    finally:
        ctx.want_d_state = False
        for cache in caches:
            cache.d_state_out = None
    dx = None if dx is None else dx.copy()
    if not return_d_state:
        return dx
    return dx, [cache.d_state_in for cache in caches]
