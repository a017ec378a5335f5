"""Learning-rate schedules: formulas by hand and against torch."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from fastlstm.schedules import ConstantLR, CosineLR, OneCycleLR, Schedule, StepLR, WarmupLR


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


def test_constant() -> None:
    assert rates(ConstantLR(0.25), 3) == [0.25, 0.25, 0.25]


def test_step_changes_every_step_size_epochs() -> None:
    schedule = StepLR(1.0, step_size=2, gamma=0.5).bind(steps_per_epoch=3, epochs=5)
    assert rates(schedule, 15) == [1.0] * 6 + [0.5] * 6 + [0.25] * 3


def test_cosine_by_hand() -> None:
    schedule = CosineLR(1.0, min_lr=0.2).bind(steps_per_epoch=2, epochs=2)
    # 0.2 + 0.8 * (1 + cos(pi * step / 4)) / 2; after the end it stays at min_lr.
    expected = [1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.2]
    assert rates(schedule, 6) == pytest.approx(expected, rel=1e-14)  # rounding of float64


def test_one_cycle_by_hand() -> None:
    schedule = OneCycleLR(1.0, pct_start=0.5, div_factor=10.0, final_div_factor=100.0).bind(5, 2)
    values = rates(schedule, 11)
    assert values[0] == pytest.approx(0.1, rel=1e-14)
    assert values[2] == pytest.approx(0.55, rel=1e-14)  # halfway up
    assert values[4] == 1.0  # 0.5 * 10 - 1
    assert values[9] == pytest.approx(0.001, rel=1e-12)
    assert values[10] == values[9]


@pytest.mark.parametrize("pct_start", [0.1, 0.3, 0.55])
def test_one_cycle_agrees_with_torch(pct_start: float) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=40, pct_start=pct_start, div_factor=20.0, final_div_factor=1e3
    )
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 40:
            theirs.step()
    schedule = OneCycleLR(0.3, pct_start=pct_start, div_factor=20.0, final_div_factor=1e3).bind(8, 5)
    assert rates(schedule, 40) == pytest.approx(expected, rel=1e-12)  # rounding of float64


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_very_short_runs_stays_within_its_bounds(steps: int) -> None:
    schedule = OneCycleLR(0.3).bind(1, steps)
    assert all(0.3 / 25 / 1e4 * (1 - 1e-12) <= rate <= 0.3 for rate in rates(schedule, steps + 1))


def test_warmup_is_a_ramp_on_another_schedule() -> None:
    assert rates(WarmupLR(0.8, warmup_steps=4), 6) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    bound = WarmupLR(StepLR(0.8, step_size=1, gamma=0.5), warmup_epochs=1).bind(2, 3)
    assert rates(bound, 6) == pytest.approx([0.4, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("schedule", [StepLR(0.1, 1), CosineLR(0.1), OneCycleLR(0.1), WarmupLR(0.1, warmup_epochs=1)])
def test_unbound_schedules_say_what_to_do_and_bind_does_not_change_them(schedule: Schedule) -> None:
    bound = schedule.bind(4, 2)
    assert 0 < bound(1) <= 0.1
    assert bound.total_steps == 8
    with pytest.raises(ValueError, match=r"bind\(steps_per_epoch, epochs\)"):
        schedule(1)


@pytest.mark.parametrize(
    "schedule",
    [ConstantLR(0.1), StepLR(0.1, 3, 0.5), CosineLR(0.1, 0.01), OneCycleLR(0.1), WarmupLR(CosineLR(0.1), 5)],
)
def test_config_is_json_and_names_every_argument(schedule: Schedule) -> None:
    config = json.loads(json.dumps(schedule.get_config()))
    assert config["name"] == type(schedule).__name__
    assert set(config) - {"name"} == set(type(schedule).__init__.__annotations__) - {"return"}
    assert repr(schedule).startswith(f"{type(schedule).__name__}(")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ConstantLR(-0.1), ValueError),
        (lambda: ConstantLR(math.nan), ValueError),
        (lambda: ConstantLR("0.1"), TypeError),  # type: ignore[arg-type]
        (lambda: StepLR(0.1, 0), ValueError),
        (lambda: StepLR(0.1, 1.5), TypeError),  # type: ignore[arg-type]
        (lambda: CosineLR(0.1, min_lr=0.2), ValueError),
        (lambda: OneCycleLR(0.1, pct_start=1.0), ValueError),
        (lambda: OneCycleLR(0.1, div_factor=0.5), ValueError),
        (lambda: WarmupLR(0.1), ValueError),
        (lambda: WarmupLR(0.1, 5, 5), ValueError),
    ],
)
def test_bad_arguments_are_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
