"""The experiments: task, criterion, and the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .continual import Continual
from .criteria import Criterion, Examined, Recent
from .digits import Digits
from .grammar import Grammar
from .later import CopyMemory, LongAdding, SpikeSpacing, TimedSpikes
from .recipe import NEWCOMER, RECIPE, Recipe
from .tasks import Adding, Batch, Distractors, Lag, Multiplying, Task, TemporalOrder, TwoSequences
from .trial import Progress, Trial

__all__ = ["EVERYTHING", "LATER", "NEWCOMERS", "OPEN", "PAPER", "Experiment", "named"]


@dataclass(frozen=True)
class Experiment:
    """A row of the table, or several that one trial gives: one for each milestone."""

    name: str
    title: str
    task: Callable[[int], Task]
    """From the seed of a trial to its task."""
    criterion: Criterion
    limit: int
    """Sequences after which a trial has failed."""
    printed: dict[str, int] = field(default_factory=dict)
    """Sequences that the paper's LSTM needed, by milestone."""
    last_test: int = 0
    """New sequences on which a solved network is tested; 0: the criterion is itself such a test."""
    recipe: Recipe = RECIPE
    cell: tuple[tuple[str, Any], ...] = ()
    """Further arguments of the LSTM layer."""

    def settings(self) -> dict[str, Any]:
        """Return the settings on which the results depend, as data for JSON."""
        return {**self.recipe.as_dict(), "limit": self.limit, "criterion": repr(self.criterion), **dict(self.cell)}

    def trial(self, seed: int, progress: Progress) -> tuple[dict[str, Any], Any]:
        """Run a trial; return its record and the model."""
        trial = Trial(self.task(seed), self.criterion, self.recipe, seed, dict(self.cell))
        record = trial.run(self.limit, progress)
        if record["solved"] and self.last_test:
            record["test"] = trial.test(self.last_test)
        return record, trial.model


_LAST_TEST = 2560
_LINEAR = (("output_activation", "linear"),)
"""The identity in place of tanh on the cell state, as in the papers, for tasks in which steps must be counted."""


def _same(make: Callable[..., Task], *arguments: Any) -> Callable[[int], Task]:
    """Return a function from the seed of a trial to a task that does not depend on it."""
    return lambda seed: make(*arguments)


def _both_sets(task: Task) -> list[Batch]:
    assert isinstance(task, Grammar)
    return [task.training, task.test]


def _distractors(q: int, p: int, printed: int) -> Experiment:
    return Experiment(
        f"2c-{q}" + (f"-{p}" if p < q else ""),
        f"{q} distractors or more" + (f", of {p} kinds (the paper's: {printed:,})" if p < q else ""),
        _same(Distractors, q, p),
        Examined(0.2, 10_000, every=256),
        limit=300_000,
        printed={"solved": printed},
    )


def _experiments() -> list[Experiment]:
    found = [
        Experiment(
            "1",
            "embedded Reber grammar",
            Grammar,
            Examined(0.5, every=64, sets=_both_sets),
            limit=200_000,
            printed={"solved": 8440},
        )
    ]
    for name, title, random, printed in (
        ("2a", "two sequences of 100 steps", False, 5040),
        ("2b", "the same with random symbols", True, 5680),
    ):
        found.append(
            Experiment(
                name,
                title,
                _same(Lag, 100, random),
                Examined(0.25, 10_000, every=64),
                limit=200_000,
                printed={"solved": printed},
                cell=_LINEAR,
            )
        )
    for q, printed in ((50, 30_000), (100, 31_000), (200, 33_000), (500, 38_000), (1000, 49_000)):
        found.append(_distractors(q, q, printed))
    for steps, told, first, second in ((100, 3, 27_380, 39_850), (100, 1, 58_370, 64_330), (1000, 3, 446_850, 452_460)):
        found.append(
            Experiment(
                f"3a-{steps}-{told}",
                f"two classes in noise, T = {steps}, N = {told}",
                _same(TwoSequences, steps, told),
                Examined(0.2, 256, every=256, means=(("ST1", float("inf")), ("ST2", 0.01))),
                limit=1_000_000,
                printed={"ST1": first, "ST2": second},
                last_test=_LAST_TEST,
            )
        )
    for steps, printed in ((100, 74_000), (500, 209_000), (1000, 853_000)):
        found.append(
            Experiment(
                f"4-{steps}",
                f"adding, T = {steps}",
                _same(Adding, steps),
                Recent(0.04, mean=0.01),
                limit=2_000_000,
                printed={"solved": printed},
                last_test=_LAST_TEST,
            )
        )
    found.append(
        Experiment(
            "5",
            "multiplying, T = 100",
            _same(Multiplying, 100),
            Recent(0.04, (("140 wrong", 140), ("13 wrong", 13))),
            limit=3_000_000,
            printed={"140 wrong": 482_000, "13 wrong": 1_273_000},
            last_test=_LAST_TEST,
        )
    )
    for name, marks, printed in (("6a", 2, 31_390), ("6b", 3, 571_100)):
        found.append(
            Experiment(
                name,
                f"temporal order of {marks} marks",
                _same(TemporalOrder, marks),
                Recent(0.3, mean=0.1),
                limit=1_000_000,
                printed={"solved": printed},
                last_test=_LAST_TEST,
            )
        )
    return found


PAPER = {one.name: one for one in _experiments()}
"""The experiments of the paper, by name."""


def _timed(steps: int, peepholes: bool) -> Experiment:
    return Experiment(
        f"timed-{steps}" + ("-peepholes" if peepholes else ""),
        f"a spike each {steps} steps" + (", peepholes" if peepholes else ""),
        _same(TimedSpikes, steps, 10),
        Examined(0.5, 1, every=64),
        limit=100_000,
        cell=(*_LINEAR, ("peepholes", peepholes)),
    )


def _spacing(steps: int, peepholes: bool, limit: int) -> Experiment:
    return Experiment(
        f"spacing-{steps}" + ("-peepholes" if peepholes else ""),
        f"spikes {steps - 1} or {steps} steps apart" + (", peepholes" if peepholes else ""),
        _same(SpikeSpacing, steps),
        Examined(0.5, 1000, every=256),
        limit=limit,
        cell=(*_LINEAR, ("peepholes", peepholes)),
    )


def _later() -> list[Any]:
    found: list[Any] = [Continual(), _timed(10, False), _timed(10, True)]
    found += [_spacing(20, False, 200_000), _spacing(20, True, 200_000)]
    for steps in (600, 1000):
        found.append(
            Experiment(
                f"adding-{steps}",
                f"adding as posed today, T = {steps}: squared error below .01",
                _same(LongAdding, steps),
                Examined(float("inf"), 1000, every=1000, means=(("solved", 0.01),)),
                limit=500_000,
            )
        )
    return [*found, Digits()]


LATER = {one.name: one for one in _later()}
"""Tasks that came after the paper, by name."""


def _open() -> list[Any]:
    found: list[Any] = [_timed(20, False), _timed(20, True)]
    found += [_spacing(50, False, 500_000), _spacing(50, True, 500_000)]
    found += [
        _distractors(1000, p, printed) for p, printed in ((500, 49_000), (200, 75_000), (100, 135_000), (50, 203_000))
    ]
    for steps in (100, 600, 1000):
        found.append(
            Experiment(
                f"copy-{steps}",
                f"copy memory, T = {steps}: 99 % of the symbols",
                _same(CopyMemory, steps),
                Examined(float("inf"), 1000, every=2000, means=(("solved", 0.01),)),
                limit=500_000,
                recipe=replace(RECIPE, hidden=128),  # ten symbols of three bits
            )
        )
    return found


OPEN = {one.name: one for one in _open()}
"""Tasks that the recipe does not learn in every trial, or of which ten trials take too long, by name."""

NEWCOMERS = {
    f"newcomer-{name}": replace(
        PAPER[name], name=f"newcomer-{name}", recipe=NEWCOMER, limit=5 * max(PAPER[name].printed.values())
    )
    for name in ("2c-100", "3a-100-3", "4-100", "6a")
}
"""Tasks of the paper as a newcomer would try them first: a bias of 1, a usual learning rate, no clipping."""

EVERYTHING = {**PAPER, **LATER, **OPEN, **NEWCOMERS}


def named(names: Sequence[str]) -> list[Any]:
    """Return the experiments with these names; "paper", "later", "open", "newcomers" and "all" are groups of them.

    Raises
    ------
    ValueError
        If no experiment has one of the names.
    """
    groups = {"paper": PAPER, "later": LATER, "open": OPEN, "newcomers": NEWCOMERS, "all": EVERYTHING}
    found: dict[str, Any] = {}
    for name in names:
        if name in groups:
            found.update(groups[name])
        elif name in EVERYTHING:
            found[name] = EVERYTHING[name]
        else:
            raise ValueError(f"there is no experiment {name!r}; there are: {', '.join([*groups, *EVERYTHING])}")
    return list(found.values())
