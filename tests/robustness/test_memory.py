"""Peak memory of a training step, also when it recomputes activations."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import fastlstm as fl


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Return a function that returns the peak of NumPy and Python since its last call, beyond what they held then."""
    tracemalloc.start()
    before = 0

    def measured() -> int:
        nonlocal before
        most = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        return most

    yield measured
    tracemalloc.stop()


@pytest.mark.parametrize("batch, time, inputs, hidden", [(64, 100, 32, 128), (16, 400, 12, 96), (256, 187, 1, 64)])
def test_a_training_step_holds_little_beside_gates_and_cells(
    peak: Callable[[], int], batch: int, time: int, inputs: int, hidden: int
) -> None:
    """The bound is: inputs, i f g o and c of every step, weights, gradients and Adam's two moments, plus 15 %."""
    fl.Model([fl.LSTM(1), fl.Dense(2)]).fit(
        np.zeros((2, 1, 1)), [0, 1], epochs=1, verbose=0
    )  # fit imports modules at its first call
    rng = np.random.default_rng(0)
    peak()
    x = rng.standard_normal((batch, time, inputs), "f4")
    y = rng.integers(0, 8, batch)
    model = fl.Model([fl.LSTM(hidden), fl.Dense(8)], input_size=inputs, seed=0)
    model.fit(x, y, epochs=1, batch_size=batch, optimizer=fl.Adam(clip_norm=1.0), verbose=0, shuffle=False)
    needed = x.nbytes + 5 * batch * time * hidden * 4 + 4 * model.flat_parameters.nbytes
    assert peak() <= 1.15 * needed


STACKS = {
    "plain": lambda: [fl.LSTM(20), fl.Dense(3)],
    "stacked, both directions, dropout": lambda: [
        fl.LSTM(17, num_layers=2, bidirectional=True, dropout=0.3, return_sequences=True),
        fl.Dropout(0.2),
        fl.LSTM(9),
        fl.Dense(3),
    ],
    "per step": lambda: [fl.LSTM(12, return_sequences=True), fl.Dense(3)],
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("variable", [False, True])
def test_recomputing_changes_no_bit(name: str, variable: bool) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, 300, 4)).astype("f4")
    lengths = rng.integers(1, 301, 6) if variable else None
    y = rng.integers(0, 3, (6, 300) if name == "per step" else 6)
    weights = []
    for every in (None, 1, 130, 10**30):
        model = fl.Model(STACKS[name](), seed=1)
        model.fit(x, y, lengths=lengths, epochs=2, batch_size=4, verbose=0, recompute_every=every)
        weights.append(model.flat_parameters.copy())
    for other in weights[1:]:
        np.testing.assert_array_equal(other, weights[0])


def test_recomputing_in_a_custom_loop() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 400, 2))
    state = (rng.standard_normal((1, 3, 7)), rng.standard_normal((1, 3, 7)))
    results = []
    for every in (None, 90):
        model = fl.Model([fl.LSTM(7, return_sequences=True)], input_size=2, dtype="float64", seed=5)
        out, states = model.forward(x, state=state, training=True, return_state=True, recompute_every=every)
        dx, d_state = model.backward(np.cos(out), states[0], return_d_state=True)
        results.append([out, dx, *d_state[0], *model.gradients().values()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_hundred_thousand_steps_in_less_than_a_gibibyte(peak: Callable[[], int]) -> None:
    """Gates and cells alone would take 1.02 GB."""
    rng = np.random.default_rng(4)
    peak()
    x = rng.standard_normal((4, 100_000, 2)).astype("f4")
    y = rng.integers(0, 3, (4, 100_000))
    model = fl.Model([fl.LSTM(128, return_sequences=True), fl.Dense(3)], seed=1)
    history = model.fit(x, y, epochs=1, batch_size=4, verbose=0, recompute_every=316)
    assert np.isfinite(history.history["loss"][0])
    assert peak() < 2**30


@pytest.mark.parametrize("every", [0, -1, 2.5, "8"])
def test_recompute_every_is_checked(every: object) -> None:
    model = fl.Model([fl.LSTM(3), fl.Dense(2)])
    with pytest.raises((TypeError, ValueError), match="recompute_every"):
        model.fit(np.zeros((2, 3, 1)), [0, 1], recompute_every=every, verbose=0)  # type: ignore[arg-type]
    assert not model.built
