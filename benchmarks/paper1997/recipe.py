"""The one recipe by which all tasks are learnt, and what a newcomer would try first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import fastlstm as fl
from fastlstm.schedules import Schedule

from .tasks import Task

__all__ = ["NEWCOMER", "RECIPE", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Network and training; the same for all tasks."""

    hidden: int = 32
    batch: int = 16
    lr: float = 0.01
    clip_norm: float | None = 1.0
    chrono: bool = True
    """Whether the forget gates' biases are ("chrono", T) with the T of the task; else the default, 1."""
    embedding: int = 16
    """Size of a symbol's vector."""
    halving: float = 0.0
    """Number of sequences after which the learning rate is half, a third, a quarter, ...; 0: it is constant."""

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
        if not self.halving:
            return fl.Adam(self.lr, clip_norm=self.clip_norm)
        return fl.Adam(InverseTime(self.lr, self.halving / self.batch), clip_norm=self.clip_norm)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as data for JSON."""
        return asdict(self)


class InverseTime(Schedule):
    """lr / (1 + step / half): half of the rate after `half` updates."""

    restarts = False

    def __init__(self, lr: float, half: float) -> None:
        self.lr, self.half = lr, half

    def __call__(self, step: int) -> float:
        return self.lr / (1 + step / self.half)

    def get_config(self) -> dict[str, Any]:
        return {"name": "InverseTime", "lr": self.lr, "half": self.half}


RECIPE = Recipe()
NEWCOMER = Recipe(lr=1e-3, clip_norm=None, chrono=False)
