"""When a task counts as learnt, as the paper prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from fastlstm._draws import Draws

from .tasks import Batch, Task

__all__ = ["Criterion", "Examined", "Judge", "Recent"]

Errors = Callable[[Batch], np.ndarray]
"""From sequences to the errors of the current network, which does not learn from them."""


class Criterion:
    """A criterion with one or several milestones; the last one is success."""

    tolerance: float
    """A sequence is right if its error is below this."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the milestones."""
        raise NotImplementedError

    def judge(self, task: Task, draws: Draws) -> Judge:
        """Return a new judge for a trial."""
        raise NotImplementedError


class Judge:
    """Follows a trial and says which milestones are met."""

    def met(self, presented: int, errors: np.ndarray, measure: Errors) -> Iterator[str]:
        """Yield the milestones that are met now.

        Parameters
        ----------
        presented : int
            Number of sequences presented so far.
        errors : ndarray (n,)
            Errors of the last n of them, computed before the network learnt from them.
        measure : function
            Errors of the network for other sequences.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Recent(Criterion):
    """Few of the most recent training sequences are wrong, and their mean error is small.

    Parameters
    ----------
    tolerance : float
        A sequence is right if its error is below this.
    fewer : tuple of (str, int)
        Milestones: each is met with fewer wrong sequences than its number.
    mean : float
        Upper bound of the mean error.
    recent : int
        Number of recent sequences that count.
    """

    tolerance: float
    fewer: tuple[tuple[str, int], ...] = (("solved", 1),)
    mean: float = float("inf")
    recent: int = 2000

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fewer)

    def judge(self, task: Task, draws: Draws) -> Judge:
        return _RecentJudge(self)


class _RecentJudge(Judge):
    def __init__(self, criterion: Recent) -> None:
        self.criterion = criterion
        self.errors = np.full(criterion.recent, np.inf)
        self.wrong = criterion.recent
        self.place = 0

    def met(self, presented: int, errors: np.ndarray, measure: Errors) -> Iterator[str]:
        criterion = self.criterion
        places = (self.place + np.arange(len(errors))) % criterion.recent
        tolerance = criterion.tolerance
        self.wrong += int((errors >= tolerance).sum()) - int((self.errors[places] >= tolerance).sum())
        self.errors[places] = errors
        self.place = (self.place + len(errors)) % criterion.recent
        for name, count in criterion.fewer:
            if self.wrong < count and self.errors.mean() < criterion.mean:
                yield name


@dataclass(frozen=True)
class Examined(Criterion):
    """All test sequences are right, and their mean error is small.

    A test is due every `every` training sequences; it waits for a training batch without a wrong sequence.

    Parameters
    ----------
    tolerance : float
        A sequence is right if its error is below this.
    sequences : int
        Number of test sequences, new ones for each test.
    every : int
        Training sequences between two tests.
    means : tuple of (str, float)
        Milestones: each has an upper bound of the mean error.
    sets : function, optional
        From the task to the test sequences, in place of new ones.
    """

    tolerance: float
    sequences: int = 0
    every: int = 100
    means: tuple[tuple[str, float], ...] = (("solved", float("inf")),)
    sets: Callable[[Task], list[Batch]] | None = field(default=None, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.means)

    def judge(self, task: Task, draws: Draws) -> Judge:
        return _ExaminedJudge(self, task, draws)


_PART = 250
"""Test sequences that are drawn at a time: a test ends with the first part that has a wrong one."""


class _ExaminedJudge(Judge):
    def __init__(self, criterion: Examined, task: Task, draws: Draws) -> None:
        self.criterion, self.task, self.draws = criterion, task, draws
        self.next = criterion.every

    def met(self, presented: int, errors: np.ndarray, measure: Errors) -> Iterator[str]:
        criterion = self.criterion
        # A network that errs on the sequences that it is trained on need not be tested.
        if presented < self.next or (errors >= criterion.tolerance).any():
            return
        self.next = presented + criterion.every
        found: list[np.ndarray] = []
        for batch in self._parts():
            found.append(measure(batch))
            if (found[-1] >= criterion.tolerance).any():
                return
        mean = float(np.concatenate(found).mean())
        for name, bound in criterion.means:
            if mean < bound:
                yield name

    def _parts(self) -> Iterator[Batch]:
        if self.criterion.sets is not None:
            yield from self.criterion.sets(self.task)
            return
        left = self.criterion.sequences
        while left:
            n = min(left, _PART)
            yield self.task.draw(self.draws, n)
            left -= n
