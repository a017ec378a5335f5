"""Series of a frozen model that continue by a block of steps in one call of C, which `predict(state=)` prefers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._typing import Array, State
from ..protocols import InferenceModel
from ..runtime.config import resolve_threads
from .carried import require_states_suffice
from .chains import StreamChain, stream_chain
from .inputs import input_features
from .stream import Stream

__all__ = ["predict_block"]

_BLOCK = 4096
"""Steps that are computed in one block, those of all cases together."""
_KEPT_BYTES = 1 << 20
"""Size of the states up to which a stream is kept for the next call."""


class _Kept(NamedTuple):
    """A stream for the next call, whose states are then set anew: to make one takes as long as a small step."""

    stream: Stream
    layers: list[list[State]]
    """Views of the states of each stage (batch, size), for each layer that has some."""
    threads: int


def predict_block(
    model: InferenceModel,
    X: Any,
    n_threads: int | None,
    state: State | Sequence[State] | None,
    states: list[State] | None,
) -> Array | None:
    """Continue plain series by some steps, as a stream does, with the same bits; see `predict`.

    Returns None where that is not possible, which is also what happens to input that is refused.
    """
    network = model.network
    if type(X) is not np.ndarray or X.dtype != network.dtype or X.ndim != 3 or not X.flags.c_contiguous:
        return None
    cases, steps, features = X.shape
    if not 1 <= cases * steps <= _BLOCK or not network.per_step or network.output_steps is not None:
        return None
    if features != input_features(model):
        return None
    require_states_suffice(model)
    before = network.checked_states(state, cases)
    try:
        kept = _taken(model, cases, resolve_threads(n_threads))
    except TypeError:
        return None  # a layer that cannot be streamed
    stream, layers, _ = kept
    if any(given is None for given in before):
        stream.reset()
    for given, views in zip(before, layers, strict=True):
        if given is not None:
            for (h, c), new_h, new_c in zip(views, *given, strict=True):
                h[:], c[:] = new_h, new_c
    try:
        out = stream.run(X)
    except ValueError:
        return None
    if states is not None:
        states += [(_joined([h for h, _ in views]), _joined([c for _, c in views])) for views in layers]
    if stream.nbytes <= _KEPT_BYTES:
        network.chains["continued"] = kept
    return out


def _joined(views: list[Array]) -> Array:
    """Return a copy of the states of a layer's stages, (stages, batch, size)."""
    return views[0][None].copy() if len(views) == 1 else np.stack(views)


def _taken(model: InferenceModel, cases: int, threads: int) -> _Kept:
    """Return the stream that the last call has left, if it fits and no other thread has taken it, or a new one."""
    chain: StreamChain = stream_chain(model)
    kept: _Kept | None = model.network.chains.pop("continued", None)
    if kept is not None and kept.stream.chain is chain and (kept.stream.batch_size, kept.threads) == (cases, threads):
        return kept
    stream = Stream(model, cases, threads)
    return _Kept(stream, stream.views(), threads)
