"""Series cut into pieces that are fed one after the other: back-propagation through time truncated at their ends.

The state at the end of a piece is where the next one begins, as a number: no gradient goes back across the cut
(Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories").

Shapes: a batch has b cases and T steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.sequences import Indices, Sequences

if TYPE_CHECKING:
    from ..losses import Loss
    from ..model import Model
    from .evaluation import Cases

__all__ = ["Feed", "Piece", "check_pieces", "count_pieces"]

Array = NDArray[Any]
State = tuple[Array, Array]


class Piece(NamedTuple):
    """What a model is fed in one pass: some steps of those cases of a batch that are not over yet."""

    x: Array
    lengths: Array | None
    y: Array
    weight: Array | None
    rows: slice | Array | None
    """Which rows of the piece before go on here; None: all cases are at their beginning."""


class Feed:
    """Batches of cases on their way into a model, whole or in pieces, with the states that stand between the pieces.

    Parameters
    ----------
    steps : int
        Steps of a piece; 0: each batch is one piece.

    Attributes
    ----------
    states : list of (h, c)
        Where the last piece has ended; empty if batches are not cut.
    """

    def __init__(
        self,
        model: Model,
        cases: Cases,
        steps: int,
        *,
        training: bool,
        n_threads: int | None = None,
        checkpoint_every: int = 0,
    ) -> None:
        self.model = model
        self.cases = cases
        self.steps = steps
        self.training = training
        self.n_threads = n_threads
        self.checkpoint_every = checkpoint_every
        self.states: list[State] = []
        self._from_file = False

    def pieces(self, batches: Iterable[Indices], done: int = 0) -> Iterator[Piece]:
        """The pieces of one batch after the other, to be given to `forward` in this order.

        The first `done` of them are passed over; `states` must be those in which the last of them has ended.
        """
        for indices in batches:
            if done:
                here = count_pieces(self.cases.inputs, [indices], self.steps)
                if here <= done:
                    done -= here
                    continue
            x, lengths, y, weight = self.cases.read(self.model, indices)
            if self.steps:
                yield from islice(_cut(x, lengths, y, weight, self.steps), done, None)
            else:
                yield Piece(x, lengths, y, weight, None)
            done = 0

    def checked_states(self, states: list[State]) -> list[State]:
        """States that a file has kept, in the model's dtype; ValueError unless they can be those at a piece's end."""
        batch = states[0][0].shape[1] if states and states[0][0].ndim == 3 else 0
        return [state for state in self.model._checked_states(states, batch) if state is not None]

    def go_on_from(self, states: list[State]) -> None:
        """Goes on from checked states that a file has kept."""
        self.states = states
        self._from_file = True

    def forward(self, piece: Piece) -> Array:
        """The model's output for a piece: a buffer that is valid until this thread's next pass."""
        model, arguments = self.model, (self.training, self.n_threads, self.checkpoint_every)
        if not self.steps:
            return model._forward(piece.x, piece.lengths, *arguments)
        if self._from_file:
            self._check_rows(piece)
            self._from_file = False
        states: list[State] | None = None
        if isinstance(piece.rows, slice):
            states = self.states
        elif piece.rows is not None:
            states = [(h.take(piece.rows, axis=1), c.take(piece.rows, axis=1)) for h, c in self.states]
        out = model._forward_from(states, piece.x, piece.lengths, *arguments)
        self.states = model._final_states(self.training)  # copies: what a callback does to the model is no matter
        return out

    def _check_rows(self, piece: Piece) -> None:
        """Nobody but the file itself vouches for the states that it has kept."""
        series = self.states[0][0].shape[1]
        fits = (
            len(piece.x) == series if isinstance(piece.rows, slice) else piece.rows is None or piece.rows.max() < series
        )
        if not fits:
            raise ValueError(f"the checkpoint holds the states of {series} series, which are not those of this batch")


def _cut(x: Array, lengths: Array | None, y: Array, weight: Array | None, steps: int) -> Iterator[Piece]:
    time = x.shape[1]
    if lengths is None and steps >= time:
        yield Piece(x, lengths, y, weight, None)
        return
    live = np.arange(len(x))
    rows: slice | Array | None = None
    left: Array | None = None
    for start in range(0, time, steps):
        part = slice(start, min(start + steps, time))
        if lengths is not None:
            go_on = np.flatnonzero(lengths[live] > start)
            rows = go_on if start else None
            live = live[go_on]
            left = np.minimum(lengths[live] - start, steps)
            left = None if left.min() == part.stop - start else left
        elif start:
            rows = slice(None)
        of_steps = weight is not None and weight.ndim == 2
        yield Piece(
            np.ascontiguousarray(x[live, part]),
            left,
            np.ascontiguousarray(y[live, part]),
            weight if weight is None else weight[live, part] if of_steps else weight[live],
            rows,
        )


def count_pieces(inputs: Sequences, batches: Iterable[Indices], steps: int) -> int:
    """Number of pieces of all batches; of the batches if `steps` is 0."""
    total = 0
    for indices in batches:
        time = inputs.time if inputs.lengths is None else int(inputs.lengths[indices].max())
        total += -(-time // steps) if steps else 1
    return total


def check_pieces(model: Model, loss: Loss) -> None:
    """ValueError unless a built model can be trained on pieces of series."""
    if loss.kind == "sequences":
        raise ValueError(
            "tbptt_steps trains on each piece of a series by the targets of its steps, and the labels of "
            f"loss={loss.name!r} belong to a whole series: leave it out, and use checkpoint_every to save memory"
        )
    for index, layer in enumerate(model.layers):
        reason = layer.why_not_in_pieces()
        if reason:
            raise ValueError(f"tbptt_steps feeds each series piece by piece, and layer {index} {reason}")
    if not model.per_step:
        raise ValueError(
            "tbptt_steps trains on each piece of a series by the targets of its steps, and this model has one answer "
            "for a whole series: set return_sequences=True in its last LSTM, leave pooling out, and give a target for "
            "each step (a sample_weight of 0, or the label -100, for those that have none)"
        )
