"""Learning-rate schedules: the rate as a pure function of the step.

A schedule replaces the number `lr` of an optimizer: ``Adam(lr=CosineLR(1e-3))``. Steps count from 0, one
for each update of the weights. Schedules that depend on the length of the run get it from `Schedule.bind`,
which `Model.fit` calls, so that users need not compute the number of steps.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from . import _checks, _core
from ._arguments import ExplainsArguments

_S = TypeVar("_S", bound="Schedule")


class Schedule(ExplainsArguments):
    """Base class of the schedules.

    A subclass implements `__call__` and `get_config`, and reads the length of the run from `steps_per_epoch`
    and `total_steps`.

    Attributes
    ----------
    restarts : bool
        Whether each call of `Model.fit` starts the schedule at step 0. True, unless a subclass says that its rates do
        not depend on `total_steps`: then another call continues the schedule.
    """

    restarts: bool = True
    _run: tuple[int, int] | None = None

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number `step`, counted from 0."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return name and arguments, ready for JSON."""
        raise NotImplementedError

    def bind(self: _S, steps_per_epoch: int, epochs: int) -> _S:
        """Return a copy of this schedule that knows the length of the run.

        Parameters
        ----------
        steps_per_epoch : int
            Number of updates in one pass over the data.
        epochs : int
            Number of passes over the data.

        Returns
        -------
        Schedule
            A bound copy; the schedule itself does not change.
        """
        bound = copy.copy(self)
        bound._run = (_checks.count("steps_per_epoch", steps_per_epoch), _checks.count("epochs", epochs))
        return bound

    @property
    def steps_per_epoch(self) -> int:
        """Number of updates in one epoch of the run that this schedule is bound to."""
        return self._bound()[0]

    @property
    def total_steps(self) -> int:
        """Number of updates in the whole run that this schedule is bound to."""
        steps_per_epoch, epochs = self._bound()
        return steps_per_epoch * epochs

    def _bound(self) -> tuple[int, int]:
        if self._run is None:
            raise ValueError(
                f"{type(self).__name__} does not know the length of the run: in your own training loop, pass "
                "schedule.bind(steps_per_epoch, epochs) as lr (Model.fit does so itself)"
            )
        return self._run

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({arguments})"


class ConstantLR(Schedule):
    """The same learning rate at every step; a plain number becomes this schedule.

    Parameters
    ----------
    lr : float
        Learning rate, >= 0.
    """

    restarts = False

    def __init__(self, lr: float) -> None:
        self.lr = _checks.non_negative("lr", lr)

    def __call__(self, step: int) -> float:
        return self.lr

    def get_config(self) -> dict[str, Any]:
        return {"name": "ConstantLR", "lr": self.lr}


class StepLR(Schedule):
    """Multiply the rate by `gamma` every `step_size` epochs (as torch.optim.lr_scheduler.StepLR).

    Parameters
    ----------
    lr : float
        Learning rate of the first epochs, > 0.
    step_size : int
        Number of epochs between two changes.
    gamma : float, default 0.1
        Factor of each change, > 0.
    """

    restarts = False

    def __init__(self, lr: float, step_size: int, gamma: float = 0.1) -> None:
        self.lr = _checks.positive("lr", lr)
        self.step_size = _checks.count("step_size", step_size)
        self.gamma = _checks.positive("gamma", gamma)

    def __call__(self, step: int) -> float:
        epoch = step // self.steps_per_epoch
        return self.lr * _core.power(self.gamma, epoch // self.step_size)

    def get_config(self) -> dict[str, Any]:
        return {"name": "StepLR", "lr": self.lr, "step_size": self.step_size, "gamma": self.gamma}


class CosineLR(Schedule):
    """Decrease the rate from `lr` to `min_lr` over the run along half a cosine.

    This is SGDR without restarts (Loshchilov & Hutter 2017).

    Parameters
    ----------
    lr : float
        Learning rate of the first step, > 0.
    min_lr : float, default 0.0
        Learning rate at the end of the run, >= 0 and at most `lr`.
    """

    def __init__(self, lr: float, min_lr: float = 0.0) -> None:
        self.lr = _checks.positive("lr", lr)
        self.min_lr = _checks.non_negative("min_lr", min_lr)
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must not exceed lr, got min_lr={min_lr!r} and lr={lr!r}")

    def __call__(self, step: int) -> float:
        return _cosine(self.lr, self.min_lr, min(step / self.total_steps, 1.0))

    def get_config(self) -> dict[str, Any]:
        return {"name": "CosineLR", "lr": self.lr, "min_lr": self.min_lr}


class OneCycleLR(Schedule):
    """Raise the rate from ``max_lr / div_factor`` to `max_lr`, then decrease it far below the initial rate.

    The 1cycle policy of Smith & Topin 2018 ("Super-convergence", arXiv:1708.07120) with the formula of
    torch.optim.lr_scheduler.OneCycleLR: two halves of a cosine that meet at step ``pct_start * total_steps -
    1``.

    Parameters
    ----------
    max_lr : float
        Highest learning rate, > 0.
    pct_start : float, default 0.3
        Fraction of the run in which the rate rises, between 0 and 1.
    div_factor : float, default 25.0
        The first rate is ``max_lr / div_factor``; >= 1.
    final_div_factor : float, default 1e4
        The last rate is the first one divided by this; >= 1.
    """

    def __init__(
        self, max_lr: float, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
    ) -> None:
        self.max_lr = _checks.positive("max_lr", max_lr)
        self.pct_start = _checks.inside_unit("pct_start", pct_start)
        self.div_factor = _checks.positive("div_factor", div_factor)
        self.final_div_factor = _checks.positive("final_div_factor", final_div_factor)
        if self.div_factor < 1 or self.final_div_factor < 1:
            raise ValueError(
                "div_factor and final_div_factor must be at least 1, "
                f"got div_factor={div_factor!r} and final_div_factor={final_div_factor!r}"
            )

    def __call__(self, step: int) -> float:
        first = self.max_lr / self.div_factor
        # In a run of a few steps the peak can lie before step 0; then the rate only falls.
        peak = self.pct_start * self.total_steps - 1
        last = self.total_steps - 1
        if step < peak:
            return _cosine(first, self.max_lr, step / peak)
        final = first / self.final_div_factor
        return _cosine(self.max_lr, final, min((step - peak) / (last - peak), 1.0))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": "OneCycleLR",
            "max_lr": self.max_lr,
            "pct_start": self.pct_start,
            "div_factor": self.div_factor,
            "final_div_factor": self.final_div_factor,
        }


class WarmupLR(Schedule):
    """Raise the rate linearly over the first steps of another schedule.

    The rate is ``after(step) * min(1, (step + 1) / warmup_steps)``: the other schedule runs from step 0 as it
    would without the warm-up, and its rate is only scaled down during the warm-up.

    Parameters
    ----------
    after : float or Schedule
        The schedule to warm up; a number is a constant rate.
    warmup_steps : int, optional
        Length of the warm-up in updates.
    warmup_epochs : int, optional
        Length of the warm-up in epochs. Exactly one of the two lengths is required.
    """

    def __init__(
        self, after: float | Schedule, warmup_steps: int | None = None, warmup_epochs: int | None = None
    ) -> None:
        if (warmup_steps is None) == (warmup_epochs is None):
            raise ValueError("pass either warmup_steps or warmup_epochs")
        self.after = as_schedule(after)
        self.restarts = self.after.restarts
        self.warmup_steps = None if warmup_steps is None else _checks.count("warmup_steps", warmup_steps)
        self.warmup_epochs = None if warmup_epochs is None else _checks.count("warmup_epochs", warmup_epochs)

    def bind(self, steps_per_epoch: int, epochs: int) -> WarmupLR:
        bound = super().bind(steps_per_epoch, epochs)
        bound.after = self.after.bind(steps_per_epoch, epochs)
        return bound

    def __call__(self, step: int) -> float:
        if self.warmup_steps is not None:
            warmup = self.warmup_steps
        else:
            assert self.warmup_epochs is not None  # the constructor requires exactly one of the two
            warmup = self.warmup_epochs * self.steps_per_epoch
        return self.after(step) * min(1.0, (step + 1) / warmup)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": "WarmupLR",
            "after": self.after.get_config(),
            "warmup_steps": self.warmup_steps,
            "warmup_epochs": self.warmup_epochs,
        }


def as_schedule(lr: float | Schedule) -> Schedule:
    """Return `lr` as a schedule: a number becomes `ConstantLR`."""
    return lr if isinstance(lr, Schedule) else ConstantLR(lr)


def _cosine(start: float, end: float, fraction: float) -> float:
    """Interpolate from `start` (fraction 0) to `end` (fraction 1) along half a cosine."""
    return end + (start - end) * 0.5 * (1.0 + _core.cosine(fraction / 2))
