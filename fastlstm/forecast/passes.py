"""Passes over whole series: the encoder runs through each once, the head answers at all origins that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .._typing import Array, State
from ..training.reduce import Reduce
from .layout import Layout
from .network import ForecastNetwork
from .series import ReadySeries

__all__ = ["Passed", "answers_at", "own_series", "run_through", "states_of"]

_BATCH = 64
_CHUNK = 512
"""Number of steps that the encoder reads at a time, which bounds the memory of a pass."""
_ORIGINS = 1024
"""Number of origins whose inputs are collected at a time."""


@dataclass(eq=False)
class Passed:
    """Result of the encoder's way through a series."""

    contexts: Array
    """(origins, context_size): inputs of the head at each origin."""
    states: list[State]
    """Final states, with a batch of one."""


def own_series(steps: Sequence[int], reduce: Reduce) -> list[int]:
    """Return the numbers of the series that this process runs through, if all together have these numbers of steps."""
    return sorted(range(len(steps)), key=lambda k: -steps[k])[reduce.rank :: reduce.size]


def run_through(
    network: ForecastNetwork,
    layout: Layout,
    series: Sequence[ReadySeries],
    origins: Sequence[Array],
    starts: Sequence[int] | None = None,
    stops: Sequence[int] | None = None,
    states: Sequence[list[State] | None] | None = None,
    n_threads: int | None = None,
) -> list[Passed]:
    """Run the encoder through rows `starts` to `stops` of each series (by default all); keep its outputs at `origins`.

    `states` continue an earlier pass; by default each series begins at zero. `origins` are sorted rows.
    """
    first = [0] * len(series) if starts is None else list(starts)
    steps = [len(one) - a for one, a in zip(series, first, strict=True)]
    if stops is not None:
        steps = [b - a for a, b in zip(first, stops, strict=True)]
    before: list[list[State] | None] = [None] * len(series) if states is None else list(states)
    results = [Passed(np.empty((len(rows), network.context_size), network.encoder.dtype), []) for rows in origins]
    order = sorted(range(len(series)), key=lambda k: -steps[k])
    for start in range(0, len(order), _BATCH):
        group = order[start : start + _BATCH]
        _run_group(network, layout, group, series, origins, first, steps, before, results, n_threads)
    return results


def _run_group(
    network: ForecastNetwork,
    layout: Layout,
    group: list[int],
    series: Sequence[ReadySeries],
    origins: Sequence[Array],
    first: list[int],
    counts: list[int],
    before: list[list[State] | None],
    results: list[Passed],
    n_threads: int | None,
) -> None:
    """Run through series of falling numbers of steps, so that those which have not ended come first."""
    steps = np.array([counts[k] for k in group])
    states = _joined(network, [before[k] for k in group])
    hidden = network.encoder.output_size
    for k, count in zip(group, steps, strict=True):
        if not count:
            results[k].states = states_of(states, group.index(k))
    for at in range(0, int(steps.max(initial=0)), _CHUNK):
        active = [k for k, count in zip(group, steps, strict=True) if count > at]
        lengths = np.minimum(steps[: len(active)] - at, _CHUNK)
        x = np.zeros((len(active), int(lengths.max()), layout.n_inputs), network.encoder.dtype)
        for row, k in enumerate(active):
            layout.inputs(series[k], first[k] + at, first[k] + at + int(lengths[row]), x[row, : lengths[row]])
        ragged = lengths if lengths.min() < x.shape[1] else None
        states = [(h[:, : len(active)].copy(), c[:, : len(active)].copy()) for h, c in states]
        out, states = network.encode(x, ragged, states, n_threads=n_threads)
        for row, k in enumerate(active):
            begin = first[k] + at
            low, high = np.searchsorted(origins[k], (begin, begin + int(lengths[row])))
            rows = origins[k][low:high] - begin
            results[k].contexts[low:high, :hidden] = out[row, rows]
            results[k].contexts[low:high, hidden:] = x[row, rows]
            if steps[row] <= at + _CHUNK:
                results[k].states = states_of(states, row)


def states_of(states: list[State], row: int) -> list[State]:
    """Return the states of one row of a batch, as a batch of one."""
    return [(h[:, row : row + 1].copy(), c[:, row : row + 1].copy()) for h, c in states]


def _joined(network: ForecastNetwork, states: list[list[State] | None]) -> list[State]:
    """Return states of series as those of a batch; None is zero."""
    shapes = [shape for layer in network.encoder.layers if (shape := layer.state_shapes(len(states))) is not None]
    dtype = network.encoder.dtype
    joined = [(np.zeros(h, dtype), np.zeros(c, dtype)) for h, c in shapes]
    for row, given in enumerate(states):
        for (h, c), (own_h, own_c) in zip(joined, given or (), strict=False):
            h[:, row], c[:, row] = own_h[:, 0], own_c[:, 0]
    return joined


def answers_at(
    network: ForecastNetwork,
    layout: Layout,
    series: ReadySeries,
    origins: Array,
    contexts: Array,
    n_threads: int | None = None,
    clip: bool = False,
) -> Iterator[tuple[slice, Array]]:
    """Yield for blocks of origins the sorted quantiles in units of the network, (n, horizon, quantiles), float64.

    With `clip` steps after the series take the inputs of its last row; the caller ignores their answers.
    """
    for start in range(0, len(origins), _ORIGINS):
        block = slice(start, start + _ORIGINS)
        rows = origins[block]
        ahead = np.empty((len(rows), layout.horizon, layout.n_ahead), contexts.dtype)
        base = layout.ahead(series, rows, ahead, clip)
        answers = network.answers(contexts[block], ahead, n_threads).astype(np.float64)
        answers += base[:, :, None]
        answers.sort(axis=-1)
        yield block, answers
