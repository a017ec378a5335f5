"""The seam between gradients and update: a run on two processes is the run on all their cases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.training.loop import TrainingLoop
from fastlstm.training.prepare import prepare
from fastlstm.training.reduce import Reduce
from fastlstm.training.settings import Settings

PROCESSES, CASES, SHARE = 2, 24, 4  # SHARE: cases of a process in a batch

rng = np.random.default_rng(7)
X = rng.standard_normal((CASES, 6, 3))
Y = rng.integers(0, 4, CASES)
WEIGHT = rng.uniform(0.1, 5.0, CASES)
VALIDATION = rng.standard_normal((9, 6, 3)), rng.integers(0, 4, 9), rng.integers(1, 7, 9)


class Team:
    """Processes, here threads, that add up their numbers in the order of their ranks."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(PROCESSES, timeout=60)
        self.parts: list[Any] = [None] * PROCESSES

    def total(self, rank: int, part: Any) -> Any:
        self.parts[rank] = part
        self.barrier.wait()
        total = sum(self.parts)
        self.barrier.wait()
        return total


class Member(Reduce):
    def __init__(self, team: Team, rank: int) -> None:
        self.team, self.rank = team, rank

    def gradients(self, flat_gradients: Any, weight: float, total_weight: float) -> None:
        flat_gradients[:] = self.team.total(self.rank, flat_gradients * (weight / total_weight))

    def sums(self, *parts: float) -> tuple[float, ...]:
        return tuple(self.team.total(self.rank, np.array(parts)).tolist())


def train(cases: np.ndarray, validation: slice, batch_size: int, reduce: Reduce | None) -> tuple[fl.Model, fl.History]:
    model = fl.Model([fl.LSTM(5), fl.Dense(4)], input_size=3, dtype="float64", seed=3)
    settings = Settings.checked(
        0,
        loss="cross_entropy",
        optimizer=fl.Adam(lr=0.02, clip_norm=0.2),
        epochs=3,
        batch_size=batch_size,
        validation_split=None,
        class_weight=None,
        shuffle=False,
        callbacks=[],
        verbose=0,
        metrics=None,
        n_threads=1,
        seed=None,
        recompute_every=None,
        tbptt_steps=None,
        resume=None,
        on_interrupt="raise",
    )
    held_out = tuple(part[validation] for part in VALIDATION)
    data = prepare(
        model, settings, X[cases], Y[cases], lengths=None, sample_weight=WEIGHT[cases], validation_data=held_out
    )
    return model, TrainingLoop(model, data, settings, reduce).fit()


def test_two_processes_train_as_one() -> None:
    whole, expected = train(np.arange(CASES), slice(None), PROCESSES * SHARE, None)
    shares = np.arange(CASES).reshape(-1, PROCESSES, SHARE)
    team = Team()
    validation = [slice(0, 2), slice(2, None)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        runs = [
            pool.submit(train, shares[:, rank].ravel(), validation[rank], SHARE, Member(team, rank))
            for rank in range(PROCESSES)
        ]
        (first, first_history), (second, second_history) = (run.result() for run in runs)
    assert np.array_equal(first.flat_parameters, second.flat_parameters)
    assert first_history.history == second_history.history
    # The order of the sums differs; Adam divides by the square root of small squares.
    np.testing.assert_allclose(first.flat_parameters, whole.flat_parameters, rtol=1e-9, atol=1e-12)
    for name, values in expected.history.items():
        assert first_history.history[name] == pytest.approx(values, rel=1e-10), name
