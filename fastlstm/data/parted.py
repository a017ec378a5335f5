"""Inputs of which each process of a run holds a part: one interface over all of them, with the numbers of all cases.

Rank 0 has the first cases, rank 1 those that follow, and so on; a part may be empty. Every process knows how many there
are and their lengths. Values go from the process that has a case to the one that reads it: `batch` is called by all
processes together, each with the cases that it wants, and a pass over all data (to measure a scaler) goes to all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import sequences
from .sequences import (
    ArraySequences,
    Block,
    Indices,
    Sequences,
    batch_lengths,
    blocks_of_series,
    checked_indices,
    unmasked_series,
)

__all__ = ["Exchange", "PartedSequences"]


class Exchange(Protocol):
    """Messages between the processes of a run; `training.messages.Messages` is one."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def gather(self, thing: Any) -> list[Any]:
        """Return what each process gives, by rank."""

    def exchange(self, sent: Iterable[tuple[int, NDArray[Any]]], received: Iterable[tuple[int, NDArray[Any]]]) -> None:
        """Send arrays to other processes, and receive others of them."""


class _Form(NamedTuple):
    """What the processes tell each other of their parts."""

    cases: int
    features: int
    time: int
    of_array: bool
    dtype: str
    exact_dtype: str
    lengths: NDArray[np.int64]


class PartedSequences(Sequences):
    """The parts of all processes, in the order of their ranks.

    All processes call the same methods in the same order.

    Parameters
    ----------
    own : Sequences or None
        The part of this process; None: it has no case.
    exchange : Exchange
    tokens : bool
        Whether the series are token ids.
    name : str
        Name of the data in error messages.

    Attributes
    ----------
    rows : ndarray of int64 or None
        Numbers of the cases in use, in this order; None: all.

    Raises
    ------
    ValueError
        If no process has a case, or their parts do not fit each other.
    """

    def __init__(self, own: Sequences | None, exchange: Exchange, tokens: bool, name: str) -> None:
        self._own = own
        self._exchange = exchange
        self.tokens = tokens
        self.name = name
        self.rows: NDArray[np.int64] | None = None
        forms: list[_Form | None] = exchange.gather(None if own is None else _form(own))
        given = [(rank, form) for rank, form in enumerate(forms) if form is not None]
        if not given:
            raise ValueError(f"none of the {exchange.size} processes has a case in {name}, expected at least one case")
        (first_rank, first), *others = given
        for rank, form in others:
            if form.features != first.features:
                raise ValueError(
                    f"{name} has {first.features} features in rank {first_rank} and {form.features} in rank {rank}, "
                    "expected the same features in all"
                )
        self.features = first.features
        # Arrays of the same number of steps are one array, everything else is a list.
        self._of_array = all(form.of_array and form.time == first.time for _, form in given)
        self.time = max(form.time for _, form in given)
        self._all_lengths = np.concatenate([form.lengths for _, form in given])
        counts = [0 if form is None else form.cases for form in forms]
        self._begins = np.concatenate([[0], np.cumsum(counts)])
        self._dtype = np.result_type(*(form.dtype for _, form in given))
        self._exact_dtype = np.result_type(*(form.exact_dtype for _, form in given))

    @property
    def exact_dtype(self) -> np.dtype[Any]:
        return self._exact_dtype

    @property
    def _lengths(self) -> NDArray[np.int64]:
        return self._all_lengths if self.rows is None else self._all_lengths[self.rows]

    @property
    def lengths(self) -> NDArray[np.int64] | None:  # type: ignore[override]
        lengths = self._lengths
        return None if bool((lengths == self.time).all()) else lengths

    def __len__(self) -> int:
        return int(self._begins[-1]) if self.rows is None else len(self.rows)

    def subset(self, indices: Indices) -> PartedSequences:
        chosen = copy.copy(self)
        chosen.rows = self._numbers(checked_indices(indices, len(self)))
        if not self._of_array:
            chosen.time = int(chosen._lengths.max())
        return chosen

    def _numbers(self, indices: Indices) -> NDArray[np.int64]:
        """Return the numbers of some cases among those of all processes."""
        if isinstance(indices, slice):
            numbers = np.arange(*indices.indices(len(self)))
        else:
            numbers = np.asarray(indices, np.int64)
        return numbers if self.rows is None else self.rows[numbers]

    # ------------------------------------------------------------------------------------ values

    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Copy some cases into one array; each process gives the cases that it wants."""
        return self._collected(self._numbers(indices), dtype)

    def stand_by(self) -> None:
        none = np.empty(0, np.int64)
        self._collected(none, self._exact_dtype)
        if self.masking is not None:
            self._collected(none, self._exact_dtype)

    def _collected(self, wanted: NDArray[np.int64], dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        me, size = self._exchange.rank, self._exchange.size
        dtype = np.dtype(np.int64 if self.tokens else dtype)
        told = self._exchange.gather((wanted, dtype.str))
        lengths, longest = batch_lengths(self._all_lengths[wanted]) if len(wanted) else (None, 1)
        x = np.zeros((len(wanted), longest, max(1, self.features)), dtype)
        sent, received = [], []
        for step in range(1, size):
            other = (me + step) % size
            theirs, their_dtype = told[other]
            here = theirs[(self._begins[me] <= theirs) & (theirs < self._begins[me + 1])]
            if len(here):
                sent.append((other, self._of_own(here, np.dtype(their_dtype))))
            there = np.flatnonzero((self._begins[other] <= wanted) & (wanted < self._begins[other + 1]))
            if len(there):
                steps = int(self._all_lengths[wanted[there]].max())
                received.append((other, there, np.empty((len(there), steps, x.shape[2]), dtype)))
        self._exchange.exchange(
            [(other, _bytes(values)) for other, values in sent],
            [(other, _bytes(values)) for other, _, values in received],
        )
        mine = np.flatnonzero((self._begins[me] <= wanted) & (wanted < self._begins[me + 1]))
        if len(mine):
            received.append((me, mine, self._of_own(wanted[mine], dtype)))
        for _, rows, values in received:
            x[rows, : values.shape[1]] = values
        return (x[:, :, 0] if self.tokens else x), lengths

    def _of_own(self, numbers: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Read cases of this process into an array (cases, steps, features); for tokens (cases, steps, 1)."""
        assert self._own is not None
        x, _ = self._own.batch(numbers - self._begins[self._exchange.rank], dtype)
        return np.ascontiguousarray(x[:, :, None] if self.tokens else x)

    # ------------------------------------------------------------------------------------ passes over all data

    def blocks(self) -> Iterator[Block]:
        """Yield the valid steps of all cases to all processes, in the blocks of one array or one list of them."""
        if not self._of_array:
            yield from blocks_of_series(self._series(), self.features or 1)
            return
        for first, x, lengths in self._chunks():
            chunk = ArraySequences(x, lengths, self.tokens, self.name)
            for values, locate in chunk.blocks_of_cases():
                yield Block(values, _later(locate, first))

    def unmasked_blocks(self) -> Iterator[NDArray[Any]]:
        if self._of_array or self.masking is None:
            return super().unmasked_blocks()
        series = unmasked_series(self._series(), self.masking)
        return (block.values for block in blocks_of_series(series, self.features or 1))

    def _series(self) -> Iterator[NDArray[Any]]:
        for _, x, lengths in self._chunks():
            for case, one in enumerate(x):
                yield one if lengths is None else one[: lengths[case]]

    def _chunks(self) -> Iterator[tuple[int, NDArray[Any], NDArray[np.int64] | None]]:
        """Yield some cases at a time (cases, steps, features), each after the number of the first."""
        count = max(1, sequences.BLOCK_VALUES // (self.time * max(1, self.features)))
        for first in range(0, len(self), count):
            x, lengths = self._collected(self._numbers(slice(first, min(first + count, len(self)))), self._dtype)
            yield first, x[:, :, None].astype(self._dtype) if self.tokens else x, lengths

    # ------------------------------------------------------------------------------------ checks of the own part

    def check_finite(
        self,
        dtype: DTypeLike | None = None,
        *,
        missing_steps: bool = False,
        missing: NDArray[np.bool_] | None = None,
    ) -> None:
        """Do the same as all sequences for the part of this process, by the numbers that its cases have there."""
        own = self._own_part()
        if own is not None:
            own.check_finite(dtype, missing_steps=missing_steps, missing=missing)

    def check_tokens(self, num_embeddings: int) -> None:
        own = self._own_part()
        if own is not None:
            own.check_tokens(num_embeddings)

    def _own_part(self) -> Sequences | None:
        """Return the cases in use of this process; None if there are none."""
        own = self._own
        if own is not None and self.rows is not None:
            begin, end = self._begins[self._exchange.rank : self._exchange.rank + 2]
            here = self.rows[(begin <= self.rows) & (self.rows < end)] - begin
            own = own.subset(here) if len(here) else None
            if own is not None:
                own.numbers = here
        if own is not None:
            own.feature_names = self.feature_names
        return own


def _form(own: Sequences) -> _Form:
    lengths = np.full(len(own), own.time, np.int64) if own.lengths is None else own.lengths
    of_array = isinstance(own, ArraySequences)
    return _Form(len(own), own.features, own.time, of_array, own.dtype.str, own.exact_dtype.str, lengths)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a view of a C-contiguous array as bytes, which MPI sends whatever the type of the values is."""
    return values.reshape(-1).view(np.uint8)


def _later(locate: Callable[[int], tuple[int, int]], first: int) -> Callable[[int], tuple[int, int]]:
    def located(row: int) -> tuple[int, int]:
        case, step = locate(row)
        return first + case, step

    return located
