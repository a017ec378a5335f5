"""The one recipe that learns all tasks, and what a newcomer would try first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import fastlstm as fl

from .tasks import Task

__all__ = ["NEWCOMER", "RECIPE", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Network and training; the same for all tasks."""

    hidden: int = 32
    batch: int = 16
    lr: float = 0.005
    clip_norm: float | None = 1.0
    chrono: bool = True
    """Whether the forget gates' biases are ("chrono", T) with the T of the task; else the default, 1."""
    embedding: int = 16
    """Size of a symbol's vector."""

    def model(self, task: Task, seed: int, **cell: Any) -> fl.Model:
        """Return a new network for a task."""
        bias: Any = ("chrono", max(2, task.memory)) if self.chrono else 1.0
        layers: list[Any] = [
            fl.LSTM(self.hidden, forget_bias=bias, return_sequences=task.per_step, **cell),
            fl.Dense(task.outputs),
        ]
        if not task.symbols:
            return fl.Model(layers, input_size=task.inputs, seed=seed)
        return fl.Model([fl.Embedding(task.symbols, self.embedding), *layers], seed=seed)

    def optimizer(self) -> fl.Adam:
        """Return a new optimizer."""
        return fl.Adam(self.lr, clip_norm=self.clip_norm)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as data for JSON."""
        return asdict(self)


RECIPE = Recipe()
NEWCOMER = Recipe(lr=1e-3, clip_norm=None, chrono=False)
