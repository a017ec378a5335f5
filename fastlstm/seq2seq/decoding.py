"""Search for the target of a source: the most probable token at each step, or several candidates side by side.

The candidates of a beam search are rows of the decoder's batch, those of one source one after the other. They share its
memory, so that nothing is copied for them but the states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import _core
from .._core import PackedWeights
from .._typing import Array, State
from ..inference.outputs import as_scores
from ..runtime.config import call_threads
from .network import Encoded, PairNetwork

__all__ = ["Decoder", "Hypothesis", "beam_search", "greedy_search"]


class Hypothesis(NamedTuple):
    """A target sequence that a search has found."""

    tokens: Array
    """(L,), int64, without the tokens of beginning and end."""
    log_probability: float
    """Sum of the logarithms of the tokens' probabilities, that of the end among them."""
    score: float
    """The log-probability after the length penalty, by which hypotheses are ranked."""
    ended: bool
    """Whether the end was reached; else the sequence was cut at the largest length."""


class Decoder:
    """A decoder that takes one step at a time, for one search.

    Parameters
    ----------
    network : PairNetwork
    n_threads : int, optional
    """

    def __init__(self, network: PairNetwork, n_threads: int | None = None) -> None:
        self.network = network
        self.n_threads = n_threads
        final = network.final_activation()
        self._skip = None if final is None else final.layer
        self._probabilities = final is not None and final.layer is None
        # Nobody writes to the weights during a search.
        self._packed = network.parameters.packed or PackedWeights()

    def step(self, tokens: Array, encoded: Encoded) -> tuple[Array, list[State]]:
        """Return the scores (rows, tokens) of what follows the tokens (rows,), and the states after them.

        The scores are a buffer that is valid until this thread's next pass.
        """
        out, states = self.network.decode(
            tokens[:, None], encoded, self.n_threads, packed=self._packed, skip=self._skip
        )
        scores: Array = out[:, 0]
        return (as_scores("softmax", scores) if self._probabilities else scores), states

    def log_norms(self, scores: Array) -> Array:
        """Return log sum exp of each row of scores, (rows,) float64."""
        best = scores.argmax(axis=1)
        losses = np.empty(len(scores))
        rows = np.ascontiguousarray(scores)
        ones = np.ones(len(scores), scores.dtype)
        _core.softmax_cross_entropy(rows, best.astype(np.int64), ones, None, losses, call_threads(self.n_threads))
        norms: Array = losses + scores[np.arange(len(scores)), best]
        if not np.isfinite(norms).all():
            raise ValueError("the decoder's outputs are not finite, expected scores: train the model anew")
        return norms


def greedy_search(decoder: Decoder, encoded: Encoded, bos: int, eos: int, max_length: int) -> list[Hypothesis]:
    """Return for each source the sequence of the most probable tokens, the first of equals."""
    cases = encoded.states[0][0].shape[1]
    tokens = np.zeros((cases, max_length), np.int64)
    numbers = np.full(cases, max_length)
    sums, ended = np.zeros(cases), np.zeros(cases, bool)
    rows = np.arange(cases)  # the case of each row of the batch
    last = np.full(cases, bos, np.int64)
    for step in range(max_length + 1):
        scores, states = decoder.step(last, encoded)
        norms = decoder.log_norms(scores)
        if bos != eos:
            scores[:, bos] = -np.inf
        last = scores.argmax(axis=1)
        chances = scores[np.arange(len(rows)), last].astype(np.float64) - norms
        live = ~ended[rows]
        stops = live & (last == eos)
        goes_on = live & ~stops
        if step == max_length:
            goes_on[:] = False  # the next token would be too many, but the end may follow
        sums[rows[stops | goes_on]] += chances[stops | goes_on]
        ended[rows[stops]] = True
        numbers[rows[stops]] = step
        if not goes_on.any():
            break
        tokens[rows[goes_on], step] = last[goes_on]
        encoded = encoded._replace(states=states)
        if 2 * goes_on.sum() <= len(rows):
            rows, last = rows[goes_on], last[goes_on]
            encoded = _rows(encoded, np.flatnonzero(goes_on))
    return [
        Hypothesis(one[:number].copy(), float(total), float(total), bool(end))
        for one, number, total, end in zip(tokens, numbers.tolist(), sums, ended, strict=True)
    ]


def beam_search(
    decoder: Decoder,
    encoded: Encoded,
    bos: int,
    eos: int,
    max_length: int,
    beam: int,
    length_penalty: float,
    n_best: int,
) -> list[list[Hypothesis]]:
    """Return for each source the best hypotheses, at most `n_best`, the best first.

    A hypothesis of n tokens, with the end, has the score log p / ((5 + n) / 6) ** length_penalty (Wu et al. 2016). The
    search for a source stops when none of its candidates can become better than the `n_best`-th hypothesis found.
    """
    searches = [_Search(beam, length_penalty, max_length, n_best, eos) for _ in range(encoded.states[0][0].shape[1])]
    active = list(range(len(searches)))
    last = np.full((len(active), beam), bos, np.int64)
    sums = np.full((len(active), beam), -np.inf)
    sums[:, 0] = 0.0  # the others are copies of the first
    encoded = encoded._replace(states=[(h.repeat(beam, axis=1), c.repeat(beam, axis=1)) for h, c in encoded.states])
    for _ in range(max_length + 1):
        scores, states = decoder.step(last.reshape(-1), encoded)
        norms = decoder.log_norms(scores)
        if bos != eos:
            scores[:, bos] = -np.inf
        totals = (scores - norms[:, None] + sums.reshape(-1, 1)).reshape(len(active), -1)
        chosen = [
            searches[case].extend(*_best(row, 2 * beam), scores.shape[1])
            for case, row in zip(active, totals, strict=True)
        ]
        going = [k for k, case in enumerate(active) if not searches[case].done]
        if not going:
            break
        if 2 * len(going) > len(active):
            going = list(range(len(active)))
        sources = np.array([k * beam + parent for k in going for parent in chosen[k].parents])
        last = np.array([chosen[k].tokens for k in going], np.int64)
        sums = np.array([chosen[k].sums for k in going])
        memory = encoded.memory
        if memory is not None and len(going) < len(active):
            memory = memory.take(np.array(going))
        encoded = Encoded([(h[:, sources], c[:, sources]) for h, c in states], memory)
        active = [active[k] for k in going]
    return [search.result() for search in searches]


class _Beam(NamedTuple):
    """Candidates of one source: the row of the step before that each continues, its last token, its log-probability."""

    parents: list[int]
    tokens: list[int]
    sums: list[float]


class _Search:
    """Beam search for one source."""

    def __init__(self, beam: int, length_penalty: float, max_length: int, n_best: int, eos: int) -> None:
        self.beam, self.length_penalty, self.max_length, self.n_best = beam, length_penalty, max_length, n_best
        self.eos = eos
        self.done = False
        self._live: list[list[int]] = [[] for _ in range(beam)]
        self._sums = [0.0] + [-math.inf] * (beam - 1)
        self._found: list[Hypothesis] = []

    def extend(self, places: Sequence[int], sums: Sequence[float], num_tokens: int) -> _Beam:
        """Take the best continuations, the best first, as places in (beam, tokens); return the next candidates."""
        if self.done:  # its rows go on until the batch shrinks
            return _Beam(list(range(self.beam)), [self.eos] * self.beam, [0.0] * self.beam)
        after = len(self._live[0]) + 1
        chosen = _Beam([], [], [])
        for rank, (place, total) in enumerate(zip(places, sums, strict=True)):
            parent, token = divmod(place, num_tokens)
            if total == -math.inf or len(chosen.tokens) == self.beam:
                break
            if token == self.eos:
                if rank < self.beam:
                    self._add(self._live[parent], total, after, True)
            else:
                chosen.parents.append(parent)
                chosen.tokens.append(token)
                chosen.sums.append(total)
        if after > self.max_length:  # the end could follow, but no other token
            for tokens, total in zip(self._live, self._sums, strict=True):
                if total > -math.inf:
                    self._add(tokens, total, after - 1, False)
            self.done = True
            chosen = _Beam([], [], [])
        for _ in range(self.beam - len(chosen.tokens)):
            chosen.parents.append(0)
            chosen.tokens.append(self.eos)
            chosen.sums.append(-math.inf)
        self._live = [[*self._live[parent], token] for parent, token in zip(chosen.parents, chosen.tokens, strict=True)]
        self._sums = chosen.sums
        self._found.sort(key=lambda one: -one.score)
        del self._found[self.n_best :]
        best = max(chosen.sums)
        if best == -math.inf or (
            len(self._found) == self.n_best and self._found[-1].score >= self._score(best, self.max_length + 1)
        ):
            self.done = True
        return chosen

    def _score(self, total: float, steps: int) -> float:
        return float(total / ((5 + steps) / 6) ** self.length_penalty)

    def _add(self, tokens: list[int], total: float, steps: int, ended: bool) -> None:
        self._found.append(Hypothesis(np.array(tokens, np.int64), total, self._score(total, steps), ended))

    def result(self) -> list[Hypothesis]:
        return self._found


def _best(row: Array, number: int) -> tuple[list[int], list[float]]:
    """Return places and values of the largest elements, the largest first, and the first of equals first."""
    if number < len(row):
        least = np.partition(row, len(row) - number)[len(row) - number]
        places = np.flatnonzero(row >= least)
    else:
        places = np.arange(len(row))
    places = places[np.argsort(-row[places], kind="stable")][:number]
    return places.tolist(), row[places].tolist()


def _rows(encoded: Encoded, rows: Array) -> Encoded:
    memory = None if encoded.memory is None else encoded.memory.take(rows)
    return Encoded([(h[:, rows], c[:, rows]) for h, c in encoded.states], memory)
