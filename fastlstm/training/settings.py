"""Checked arguments of a training run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import _checks
from ..inference.metrics import Metric, named_metrics
from ..losses import Loss, get_loss
from ..optimizers import Optimizer, get_optimizer
from ..runtime.config import resolve_threads
from .callbacks import Callback, EpochPrinter, ProgressBar
from .checkpoint import Checkpoint
from .messages import Communicator
from .ranks import checked_communicator

__all__ = ["ClassWeight", "Resume", "Settings"]

ClassWeight = Mapping[Any, float] | Literal["balanced"]
Resume = str | os.PathLike[str] | bool | None


@dataclass(frozen=True)
class Settings:
    """Checked and converted arguments of `Model.fit`, except the data; its docstring describes them."""

    loss: Loss
    optimizer: Optimizer
    owns_optimizer: bool
    """Whether the optimizer is the model's own one, because the user has given a name or none."""
    epochs: int
    batch_size: int
    validation_split: float
    """0: no validation part is split off."""
    class_weight: ClassWeight | None
    shuffle: bool
    callbacks: list[Callback]
    """Callbacks of the user, then that of `verbose`, then the checkpoints."""
    metrics: dict[str, Metric]
    n_threads: int | None
    seed: int
    recompute_every: int
    """Number of steps whose gates are stored for the backward pass; 0: all steps."""
    tbptt_steps: int
    """Steps per segment of truncated back-propagation; 0: each batch is one update."""
    shards: int
    """Parts in which a batch is cut, whose gradients are computed one by one."""
    partitioned: bool
    """Whether each process has a part of the data, and not all."""
    communicator: Communicator | None
    """Processes that share them out; None: this one computes all."""
    deadline: float
    """Seconds that a process of the communicator waits for another one."""
    resume: Resume
    on_interrupt: Literal["raise", "return"]

    @classmethod
    def checked(cls, model_seed: int, own_optimizer: Optimizer | None = None, **given: Any) -> Settings:
        """Check the arguments of `Model.fit`; raise TypeError or ValueError if one is wrong.

        `own_optimizer` is the optimizer that the model has from earlier calls.
        """
        loss = get_loss(given["loss"])
        seed, steps, share = given["seed"], given["tbptt_steps"], given["validation_split"]
        resolve_threads(given["n_threads"])
        shards = _checks.count("shards", given["shards"], bits=16)
        partitioned = _checks.as_bool("partitioned", given["partitioned"])
        if partitioned and given["communicator"] is None:
            raise ValueError("partitioned=True says that each process has a part of the data: give communicator, too")
        return cls(
            loss=loss,
            optimizer=get_optimizer(given["optimizer"], own_optimizer),
            owns_optimizer=not isinstance(given["optimizer"], Optimizer),
            epochs=_checks.count("epochs", given["epochs"]),
            batch_size=_checks.count("batch_size", given["batch_size"]),
            seed=model_seed if seed is None else _checks.count("seed", seed, least=0, bits=_checks.MANY),
            recompute_every=_checks.recompute_steps(given["recompute_every"]),
            tbptt_steps=0 if steps is None else _checks.count("tbptt_steps", steps),
            shards=shards,
            partitioned=partitioned,
            communicator=checked_communicator(given["communicator"], shards),
            deadline=_checks.positive("deadline", given["deadline"]),
            shuffle=_checks.as_bool("shuffle", given["shuffle"]),
            n_threads=given["n_threads"],
            callbacks=_checked_callbacks(given["callbacks"], given["verbose"]),
            metrics=named_metrics(given["metrics"], loss),
            validation_split=_checks.below_one("validation_split", 0.0 if share is None else share),
            class_weight=given["class_weight"],
            resume=given["resume"],
            on_interrupt=_checks.one_of("on_interrupt", given["on_interrupt"], ("raise", "return")),  # type: ignore[arg-type]
        )

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The callbacks that save the run."""
        return [callback for callback in self.callbacks if isinstance(callback, Checkpoint)]


def _checked_callbacks(callbacks: Iterable[Callback], verbose: int) -> list[Callback]:
    if not isinstance(verbose, (int, np.integer)) or verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 0, 1 or 2, got {_checks.short_repr(verbose)}")
    checked = _checks.as_list("callbacks", callbacks, "fl.Callback objects")
    for callback in checked:
        if not isinstance(callback, Callback):
            advice = ""
            if isinstance(callback, type) and issubclass(callback, Callback):
                advice = f": write {callback.__name__}()"
            got = _checks.short_repr(callback)
            raise TypeError(f"callbacks must be objects of classes derived from fl.Callback, got {got}{advice}")
    if verbose == 1:
        checked.append(ProgressBar())
    elif verbose == 2:
        checked.append(EpochPrinter())
    # Checkpoints come last, because they save the state of the others.
    checked.sort(key=lambda callback: isinstance(callback, Checkpoint))
    return checked
