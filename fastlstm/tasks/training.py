"""Train a model on series with one answer each, with a part held out on request."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from ..losses import Loss
from ..model import Model
from ..optimizers import Optimizer, named_optimizer
from ..schedules import CosineLR
from ..training.callbacks import Callback, EarlyStopping
from ..training.history import History
from .holdout import hold_out
from .series import Series

__all__ = ["CLASSIFIER_UPDATES", "Recipe", "train"]

CLASSIFIER_UPDATES = 1500
"""Updates of a classifier for which ``epochs="auto"`` is enough; docs/estimators.md has scores."""

_LEAST_EPOCHS, _MOST_EPOCHS = 30, 500


@dataclass(frozen=True)
class Recipe:
    """Settings of a training that do not depend on the task."""

    optimizer: Optimizer | str = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["cosine"] | None = "cosine"
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    batch_size: int | Literal["auto"] = "auto"
    epochs: int | Literal["auto"] = "auto"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    verbose: int = 0
    n_threads: int | None = None
    updates: int = 1000
    """For which ``epochs="auto"`` is enough."""
    constant: bool = False
    """Whether the rate is constant in spite of `schedule`, as in training that goes on without a planned end."""

    def batch_for(self, n: int) -> int:
        """Return the number of cases of an update: a tenth of the cases, from 4 to 32, unless it is given."""
        if self.batch_size == "auto":
            return int(np.clip(n // 10, 4, 32))
        return _checks.count("batch_size", self.batch_size)

    def epochs_for(self, n: int) -> int:
        """Return the number of epochs: enough for `updates`, from 30 to 500, if it is not given."""
        if self.epochs == "auto":
            per_epoch = -(-n // self.batch_for(n))
            return int(np.clip(-(-self.updates // per_epoch), _LEAST_EPOCHS, _MOST_EPOCHS))
        return _checks.count("epochs", self.epochs)

    def new_optimizer(self) -> Optimizer:
        """Return the optimizer of a run; of one that is given as an object, a copy."""
        if isinstance(self.optimizer, Optimizer):
            return copy(self.optimizer)
        highest = _checks.positive("learning_rate", self.learning_rate)
        if self.schedule is not None:
            _checks.one_of("schedule", self.schedule, ("cosine",))
        falls = self.schedule is not None and not self.constant
        rate = CosineLR(highest, highest / 100) if falls else highest
        return named_optimizer(self.optimizer, lr=rate, weight_decay=self.weight_decay, clip_norm=self.clip_norm)


def train(
    model: Model,
    series: Series,
    y: Any,
    recipe: Recipe,
    loss: Loss | str,
    optimizer: Optimizer,
    *,
    sample_weight: Array | None = None,
    class_weight: Any = None,
    groups: ArrayLike | None = None,
    strata: Array | None = None,
    validation: tuple[Any, ...] | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    shards: int = 1,
    communicator: Any = None,
    deadline: float = 600.0,
) -> tuple[History, EarlyStopping | None]:
    """Train a model; return the record, and the callback that has stopped the training if a part was held out.

    Parameters
    ----------
    model : Model
    series : Series
    y : array (n, ...), or list of arrays (T_i, ...)
    recipe : Recipe
    loss : Loss or str
    optimizer : Optimizer
        Result of `Recipe.new_optimizer`, or that of an earlier call that goes on.
    sample_weight, class_weight
        As in `Model.fit`.
    groups, strata
        As in `hold_out`.
    validation : tuple, optional
        ``(X, y, lengths, weight)`` in place of a part that is held out.
    seed : int
        Of the part that is held out, and of the order of the cases.
    callbacks : sequence of Callback
    resume, shards, communicator, deadline
        As in `Model.fit`.
    """
    given = dict(zip(("series", "y", "weight"), (series, y, sample_weight), strict=True))
    if recipe.early_stopping and validation is None:
        rows, held = hold_out(len(series), recipe.validation_fraction, seed, strata=strata, groups=groups)
        if held is not None:
            targets = np.asarray(y)
            rest = series.subset(held)
            validation = (
                rest.data,
                targets[held],
                rest.lengths,
                None if sample_weight is None else sample_weight[held],
            )
            given = {
                "series": series.subset(rows),
                "y": targets[rows],
                "weight": None if sample_weight is None else sample_weight[rows],
            }
    used: Series = given["series"]
    stop = None
    if validation is not None and recipe.early_stopping:
        stop = EarlyStopping(patience=recipe.n_iter_no_change)
    n = len(used)
    history = model.fit(
        used.data,
        given["y"],
        lengths=used.lengths,
        loss=loss,
        optimizer=optimizer,
        epochs=recipe.epochs_for(n),
        batch_size=recipe.batch_for(n),
        validation_data=validation,
        sample_weight=given["weight"],
        class_weight=class_weight,
        callbacks=[*callbacks, *([] if stop is None else [stop])],
        verbose=recipe.verbose,
        n_threads=recipe.n_threads,
        seed=seed,
        resume=resume,
        shards=shards,
        communicator=communicator,
        deadline=deadline,
    )
    return history, stop
