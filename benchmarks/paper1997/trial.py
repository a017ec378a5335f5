"""One trial: a network learns a task from new sequences until the criterion is met."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm._draws import Draws

from .criteria import Criterion
from .recipe import Recipe
from .tasks import Batch, Task

__all__ = ["Clock", "Progress", "Trial"]

Progress = Callable[[int, float], Any]
"""Called with the number of sequences presented so far, and the mean error of the last batch."""

_POINTS = 200
"""Points of a learning curve, at most: when there are more, neighbours are averaged."""


class Clock:
    """Time since its creation."""

    def __init__(self) -> None:
        self._processor, self._wall = time.process_time(), time.perf_counter()

    def as_dict(self) -> dict[str, float]:
        """Return seconds of processor time, and of time elapsed."""
        return {
            "seconds": round(time.process_time() - self._processor, 2),
            "elapsed": round(time.perf_counter() - self._wall, 2),
        }


class Curve:
    """Mean errors of equal numbers of sequences, at most `_POINTS` of them."""

    def __init__(self) -> None:
        self.each = 64
        self.means: list[float] = []
        self._errors: list[float] = []

    def add(self, errors: np.ndarray) -> None:
        self._errors.extend(errors.tolist())
        while len(self._errors) >= self.each:
            self.means.append(float(np.mean(self._errors[: self.each])))
            del self._errors[: self.each]
        if len(self.means) >= 2 * _POINTS:
            self.means = [(a + b) / 2 for a, b in zip(self.means[::2], self.means[1::2], strict=True)]
            self.each *= 2

    def as_dict(self) -> dict[str, Any]:
        return {"each": self.each, "errors": [round(one, 6) for one in self.means]}


class Trial:
    """A network that learns a task, with its progress.

    Parameters
    ----------
    task : Task
    criterion : Criterion
    recipe : Recipe
    seed : int
        Seed of the weights, the training sequences and the tests.
    cell : dict, optional
        Further arguments of the LSTM layer.
    """

    def __init__(
        self, task: Task, criterion: Criterion, recipe: Recipe, seed: int, cell: dict[str, Any] | None = None
    ) -> None:
        self.task = task
        self.recipe = recipe
        self.seed = seed
        self.model = recipe.model(task, seed, **(cell or {}))
        self.optimizer = recipe.optimizer()
        self.criterion = criterion
        self.loss = fl.losses.get_loss(task.loss)
        self.presented = 0
        self.milestones: dict[str, int] = {}
        self.curve = Curve()

    def errors(self, batch: Batch) -> np.ndarray:
        """Return the errors for sequences, without learning from them."""
        out = self.model.predict(batch.x, batch.lengths, batch_size=256)
        return self.task.errors(np.asarray(out), batch)

    def learn(self, batch: Batch) -> np.ndarray:
        """Update the network once; return the errors from before the update."""
        model = self.model
        out = model.forward(batch.x, batch.lengths, training=True)
        _, positions, d_out = self.loss(out, batch.y, batch.lengths if self.task.per_step else None)
        # As in the paper, the error of a sequence is the sum over its steps: the one that matters may be a single step.
        d_out *= positions / len(out)
        model.zero_grad()
        model.backward(d_out)
        self.optimizer.step(model)
        return self.task.errors(out, batch)

    def run(self, limit: int, progress: Progress = lambda presented, error: None) -> dict[str, Any]:
        """Train until the criterion is met or `limit` sequences were presented; return the record."""
        clock = Clock()
        draws = Draws(self.seed, "training")
        judge = self.criterion.judge(self.task, Draws(self.seed, "tests"))
        last = self.criterion.names[-1]
        while self.presented < limit and last not in self.milestones:
            batch = self.task.draw(draws, self.recipe.batch)
            errors = self.learn(batch)
            self.presented += len(errors)
            self.curve.add(errors)
            for name in judge.met(self.presented, errors, self.errors):
                self.milestones.setdefault(name, self.presented)
            progress(self.presented, float(errors.mean()))
        return {
            "solved": last in self.milestones,
            "presented": self.presented,
            "milestones": self.milestones,
            **clock.as_dict(),
            "curve": self.curve.as_dict(),
        }

    def test(self, sequences: int) -> dict[str, Any]:
        """Return how many new sequences are wrong, and their mean error."""
        draws, left, found = Draws(self.seed, "last test"), sequences, []
        while left:
            n = min(left, 256)
            found.append(self.errors(self.task.draw(draws, n)))
            left -= n
        errors = np.concatenate(found)
        return {
            "of": sequences,
            "wrong": int((errors >= self.criterion.tolerance).sum()),
            "error": float(errors.mean()),
        }
