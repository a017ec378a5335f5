"""Feeding of a network with batches of cases, whole or in segments.

Segments are for truncated back-propagation through time: each segment begins with the state at the end of the previous
one, but no gradient flows back across the cut (Williams & Peng 1990, "An efficient gradient-based algorithm for on-line
training of recurrent network trajectories").

Shapes: a batch has b cases and T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from .._typing import Array, State
from ..data.cases import Cases, LoadedBatch, TargetBatch
from ..data.sequences import Indices, Sequences
from ..data.targets import IGNORE
from ..layers import MaskedSteps
from ..losses import Loss
from ..network import Network
from ..protocols import InferenceModel
from ..runtime.buffers import Buffers

__all__ = ["Feed", "Segment", "check_segments", "count_segments", "joined_states"]


class Segment(NamedTuple):
    """Input of one pass: some steps of the cases of a batch that have not ended yet."""

    x: Array
    lengths: Array | None
    y: Array
    weight: Array | None
    masks: Array | None
    """As in `CaseBatch`."""
    rows: slice | Array | None
    """Rows of the previous segment that continue here; None: all cases begin here."""
    first_row: int = 0
    """Number of the first row in the whole segment, if other processes have the rows before it."""
    all_rows: int | None = None
    """Number of rows of the whole segment; None: all are here."""

    @property
    def rows_in_all(self) -> int:
        """Number of rows of the whole segment."""
        return len(self.x) if self.all_rows is None else self.all_rows

    def part(self, begin: int, end: int) -> Segment:
        """Return some cases of the whole segment; None stays None, and the number of steps is that of the segment."""
        x, lengths, y, weight, masks, rows, first, _ = self
        part = slice(begin - first, end - first)
        return Segment(
            x[part],
            None if lengths is None else lengths[part],
            y[part],
            None if weight is None else weight[part],
            None if masks is None else masks[part],
            None if rows is None else part if isinstance(rows, slice) else rows[part],
        )


class RowShare(Protocol):
    """The cases of a batch that a process reads; `training.reduce.Reduce` is one."""

    def rows(self, count: int) -> tuple[int, int]:
        """Return the first row of a batch of `count` cases that this process reads, and the one after the last."""

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the processes give."""


class Feed:
    """Feed the batches of a data set to a model in segments, carrying the states from one segment to the next.

    Parameters
    ----------
    model : InferenceModel
    cases : Cases
    steps : int
        Steps per segment; 0: each batch is one segment.
    training : bool
        Whether a backward pass may follow each forward pass.
    n_threads : int, optional
        Threads to use; by default as configured.
    recompute_every : int
        As in `Network.forward`.
    skip : int or None
        As in `Network.forward`.
    share : RowShare, optional
        What this process reads of each batch that is not cut; by default all.

    Attributes
    ----------
    states : list of (h, c)
        States at the end of the last segment; empty if batches are not cut.
    """

    def __init__(
        self,
        model: InferenceModel,
        cases: Cases,
        steps: int,
        *,
        training: bool,
        n_threads: int | None = None,
        recompute_every: int = 0,
        skip: int | None = None,
        share: RowShare | None = None,
    ) -> None:
        self.model = model
        self.cases = cases
        self.steps = steps
        self.training = training
        self.n_threads = n_threads
        self.recompute_every = recompute_every
        self.skip = skip
        self.share = None if steps else share  # in later segments a process has other rows of the batch
        self.states: list[State] = []
        self._from_file = False
        self._left: MaskedSteps | None = None  # the steps of the last output that are not masked; None: all
        self._buffers = Buffers()

    def segments(self, batches: Iterable[Indices], done: int = 0) -> Generator[Segment, None, None]:
        """Yield the segments of all batches, which must be passed to `forward` in this order.

        The first `done` segments are skipped; `states` must be those at the end of the last skipped segment. Close the
        generator, or read it to its end: there may be a thread that reads ahead.
        """
        batches, done = self._without(batches, done)
        with closing(self.cases.load(batches, None if self.share is None else self._own)) as loaded:
            for held in loaded:
                segment = self._segment(held)
                del held  # which may have been read for this batch alone
                if self.steps:
                    yield from islice(_cut(segment, self.steps), done, None)
                else:
                    yield segment
                del segment
                done = 0

    def _own(self, indices: Indices) -> Indices:
        assert self.share is not None
        begin, end = self.share.rows(_size(indices))
        return slice(indices.start + begin, indices.start + end) if isinstance(indices, slice) else indices[begin:end]

    def _segment(self, held: LoadedBatch) -> Segment:
        """Read a batch, or the rows of it that are this process's."""
        cases, indices, whole = held
        network, scaler = self.model.network, self.model.scaler
        y_dtype = None if self.model.target_scaler is None else np.float64
        if self.share is None:
            return Segment(*cases.read(indices, network.dtype, scaler, y_dtype), None)
        count = _size(whole)
        begin, end = self.share.rows(count)
        steps = self.cases.steps_of(whole)
        if steps is None:
            steps = self.share.largest(cases.inputs.time if end > begin else 0)
        if begin == end:
            cases.inputs.stand_by()
            nothing = np.empty((0, steps, 1), network.dtype)
            return Segment(nothing, None, nothing, None, None, None, begin, count)
        return Segment(*cases.read(indices, network.dtype, scaler, y_dtype, steps), None, begin, count)

    def _without(self, batches: Iterable[Indices], done: int) -> tuple[Iterable[Indices], int]:
        """Return the batches without those that are completely done, and the segments done of the first of the rest."""
        if not done:
            return batches, 0
        remaining = iter(batches)
        for indices in remaining:
            here = count_segments(self.cases.inputs, [indices], self.steps)
            if here > done:
                return chain([indices], remaining), done
            done -= here
        return [], 0

    def checked_states(self, states: list[State]) -> list[State]:
        """Convert states from a file to the model's dtype; raise ValueError if they do not fit the model."""
        batch = states[0][0].shape[1] if states and states[0][0].ndim == 3 else 0
        return [state for state in self.model.network.checked_states(states, batch) if state is not None]

    def continue_from(self, states: list[State]) -> None:
        """Continue from checked states of a file."""
        self.states = states
        self._from_file = True

    def forward(self, segment: Segment, first_row: int = 0) -> Array:
        """Compute the output for a segment: a buffer that is valid until this thread's next pass.

        `first_row` is the number of the first case in the segment of which this one is a part.
        """
        network = self.model.network
        arguments = (self.training, self.n_threads, self.recompute_every, self.skip)
        if not self.steps:
            return network.forward(segment.x, segment.lengths, *arguments, segment.masks, first_row)
        self._check_rows(segment)
        states: list[State] | None = None
        if isinstance(segment.rows, slice):
            states = [
                (np.ascontiguousarray(h[:, segment.rows]), np.ascontiguousarray(c[:, segment.rows]))
                for h, c in self.states
            ]
        elif segment.rows is not None:
            states = [(h.take(segment.rows, axis=1), c.take(segment.rows, axis=1)) for h, c in self.states]
        out = network.forward_from(states, segment.x, segment.lengths, *arguments, segment.masks, first_row)
        self.states = network.final_states(self.training)  # copies, because a callback may use the model in between
        return out

    def begin(self, segment: Segment) -> PartStates:
        """Return the states of a segment whose parts are passed to `forward` instead of the whole."""
        if self.steps:
            self._check_rows(segment)
        return PartStates(self)

    def counted(self, segment: Segment, out: Array) -> tuple[Segment, Array]:
        """Return the segment and its output, that of the last `forward`, as a loss reads them.

        The lengths are those of the output. Masked steps are left out, so that each case is a shorter series; what is
        returned is valid until the next call.
        """
        network = self.model.network
        left = self._left = network.masked_steps(self.training)
        if left is None:
            lengths = network.output_lengths(segment.lengths)
            return (segment if lengths is segment.lengths else segment._replace(lengths=lengths)), out
        y, weight = self._without_masked(left, segment.y, segment.weight)
        return segment._replace(lengths=_lengths_of(left), y=y, weight=weight), left.pack(out, "out", self._buffers)

    def counted_targets(self, indices: Indices) -> TargetBatch:
        """Read the targets of a batch without its inputs, as `counted` returns them with their number of steps.

        Steps are left out if it is known from the inputs that they are masked.
        """
        batch = self.cases.read_targets(indices, self.model.network.dtype)
        if batch.output_mask is None:
            return batch
        left = MaskedSteps.of(batch.output_mask, batch.lengths, False)
        y, weight = self._without_masked(left, batch.y, batch.weight)
        return TargetBatch(left.packed.shape[1], _lengths_of(left), y, weight, None)

    def gradient(self, d_out: Array) -> Array:
        """Return the gradient of the output, 0 at masked steps, from that of the output that `counted` returned."""
        return d_out if self._left is None else self._left.unpack(d_out, "d_out", self._buffers)

    def _without_masked(self, left: MaskedSteps, y: Array, weight: Array | None) -> tuple[Array, Array | None]:
        if self.cases.targets.per_step:
            y = left.pack(y, "y", self._buffers, IGNORE if y.dtype.kind == "i" else 0)
        if weight is not None and weight.ndim > 1:
            weight = left.pack(weight, "weight", self._buffers)
        return y, weight

    def _check_rows(self, segment: Segment) -> None:
        """Raise ValueError if the states are from a file, and not those of the series that continue here."""
        if not self._from_file:
            return
        self._from_file = False
        series = self.states[0][0].shape[1]
        fits = (
            len(segment.x) == series
            if isinstance(segment.rows, slice)
            else segment.rows is None or segment.rows.max() < series
        )
        if not fits:
            raise ValueError(f"the checkpoint holds the states of {series} series, which do not fit this batch")


class PartStates:
    """States of a segment whose parts are computed one by one.

    Parameters
    ----------
    feed : Feed
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._before = feed.states
        self._after: dict[int, list[State]] = {}

    @contextmanager
    def of_rows(self, first_row: int) -> Iterator[None]:
        """Return a context in which the part of a segment from this row on is computed."""
        self._feed.states = self._before
        yield
        self._after[first_row] = self._feed.states

    def join(self, joined: Callable[[dict[int, Any]], dict[int, Any]]) -> None:
        """Make the states at the end of all parts those at the end of the segment.

        `joined` adds the parts that other processes have computed.
        """
        if self._feed.steps:
            self._feed.states = joined_states(joined(self._after))


def joined_states(parts: Mapping[int, list[State]]) -> list[State]:
    """Return the states of all cases of a batch from those of its parts, by the number of their first case."""
    return [
        (np.concatenate([h for h, _ in states], axis=1), np.concatenate([c for _, c in states], axis=1))
        for states in zip(*(parts[row] for row in sorted(parts)), strict=True)
    ]


def _cut(whole: Segment, steps: int) -> Iterator[Segment]:
    x, lengths, y, weight, masks, *_ = whole
    time = x.shape[1]
    if lengths is None and steps >= time:
        yield whole
        return
    active = np.arange(len(x))  # cases that have not ended
    rows: slice | Array | None = None
    left: Array | None = None
    for start in range(0, time, steps):
        part = slice(start, min(start + steps, time))
        if lengths is not None:
            continuing = np.flatnonzero(lengths[active] > start)
            rows = continuing if start else None
            active = active[continuing]
            left = np.minimum(lengths[active] - start, steps)
            left = None if left.min() == part.stop - start else left
        elif start:
            rows = slice(None)
        per_step = weight is not None and weight.ndim > 1
        yield Segment(
            np.ascontiguousarray(x[active, part]),
            left,
            np.ascontiguousarray(y[active, part]),
            weight if weight is None else weight[active, part] if per_step else weight[active],
            None if masks is None else masks[active, part],
            rows,
        )


def _size(indices: Indices) -> int:
    return indices.stop - indices.start if isinstance(indices, slice) else len(indices)


def _lengths_of(left: MaskedSteps) -> Array | None:
    """Return the lengths of series without their masked steps; None if they are all the same."""
    lengths = left.lengths
    return None if bool((lengths == left.packed.shape[1]).all()) else lengths


def count_segments(inputs: Sequences, batches: Iterable[Indices], steps: int) -> int:
    """Return the number of segments of all batches; if `steps` is 0, the number of batches."""
    total = 0
    for indices in batches:
        time = inputs.time if inputs.lengths is None else int(inputs.lengths[indices].max())
        total += -(-time // steps) if steps else 1
    return total


def check_segments(network: Network, loss: Loss) -> None:
    """Raise ValueError if a built network cannot be trained on segments of series."""
    if not loss.aligned:
        raise ValueError(
            "tbptt_steps trains on each segment of a series with the targets of its steps, and the labels of "
            f"loss={loss.name!r} belong to a whole series: leave it out, and use recompute_every to save memory"
        )
    for index, layer in enumerate(network.layers):
        obstacle = layer.segment_obstacle()
        if obstacle:
            raise ValueError(f"tbptt_steps feeds each series in segments, and layer {index} {obstacle}")
    if not network.per_step:
        raise ValueError(
            "tbptt_steps trains on each segment of a series with the targets of its steps, and this model has one "
            "output for a whole series: set return_sequences=True in its last LSTM, leave pooling out, and give a "
            "target for each step (a sample_weight of 0, or the label -100, for missing targets)"
        )
