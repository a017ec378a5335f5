"""Series of a frozen model that continue by a block of steps: one stream serves call after call."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import in_threads

import fastlstm as fl


def model() -> fl.Model:
    """Return a frozen model of two recurrent layers, the first with two stages, the second with learnt first states."""
    layers = [
        fl.LSTM(9, num_layers=2, return_sequences=True),
        fl.Dense(5),
        fl.LSTM(7, return_sequences=True, learn_state=True),
        fl.Dense(3),
    ]
    made = fl.Model(layers, input_size=4, seed=1, scaler=fl.Standardizer().fit(series(50)))
    parameters = made.parameters()
    for name in ("2.h0_l0", "2.c0_l0"):
        parameters[name][...] = np.linspace(-0.5, 0.5, 7, dtype="f4").reshape(parameters[name].shape)
    return made.freeze()


def series(cases: int, steps: int = 12, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((cases, steps, 4)).astype("f4")


def in_steps(made: fl.Model, X: Any, **options: Any) -> Any:
    """Return what a model answers step by step, with its states carried from call to call."""
    state, parts = None, []
    for t in range(X.shape[1]):
        part, state = made.predict(np.ascontiguousarray(X[:, t : t + 1]), state=state, return_state=True, **options)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def test_series_of_several_sizes_in_turns() -> None:
    made = model()
    blocks = {cases: series(cases, seed=cases) for cases in (1, 3, 2)}
    expected = {cases: made.predict(X) for cases, X in blocks.items()}
    states: dict[int, Any] = dict.fromkeys(blocks)
    for t in range(12):
        for cases, X in blocks.items():
            x = np.ascontiguousarray(X[:, t : t + 1])
            found, states[cases] = made.predict(x, state=states[cases], return_state=True)
            np.testing.assert_array_equal(found[:, 0], expected[cases][:, t])
    for cases, X in blocks.items():  # a new series begins with the first states, whatever a call before has left
        np.testing.assert_array_equal(in_steps(made, X, n_threads=2), expected[cases])


def test_states_are_copies_of_their_call() -> None:
    made, X = model(), series(2)
    _, first = made.predict(X[:, :5].copy(), return_state=True)
    kept = copy.deepcopy(first)
    made.predict(X[:, 5:].copy(), state=first, return_state=True)
    for one, other in zip(first, kept, strict=True):
        for found, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(found, expected)
    slow = made.predict(X[:, 5:], state=[(h.astype("f8"), np.asfortranarray(c)) for h, c in first])
    np.testing.assert_array_equal(slow, made.predict(X)[:, 5:])


def test_refused_calls_leave_nothing_behind() -> None:
    made, X = model(), series(2)
    expected = made.predict(X)
    _, state = made.predict(X[:, :5].copy(), return_state=True)
    bad = X[:, 5:].copy()
    bad[1, 3, 2] = np.nan
    with pytest.raises(ValueError, match="nan"):
        made.predict(bad, state=state)
    with pytest.raises(ValueError, match="expected finite numbers"):
        made.predict(X[:, 5:].copy(), state=[(h * np.nan, c) for h, c in state])
    with pytest.raises(ValueError, match="shapes"):
        made.predict(X[:1, 5:].copy(), state=state)
    np.testing.assert_array_equal(made.predict(X[:, 5:].copy(), state=state), expected[:, 5:])


def test_threads_that_share_a_model() -> None:
    made = model()
    blocks = [series(2, steps=40, seed=k) for k in range(4)]
    found: list[Any] = [None] * 4
    in_threads(4, lambda k: found.__setitem__(k, in_steps(made, blocks[k], n_threads=1)))
    for answers, X in zip(found, blocks, strict=True):
        np.testing.assert_array_equal(answers, made.predict(X))


def test_other_weights_after_unfreezing() -> None:
    made, X = model(), series(2)
    _, state = made.predict(X[:, :5].copy(), return_state=True)
    made.unfreeze()
    made.parameters()["3.bias"][...] += 1
    made.freeze()
    np.testing.assert_array_equal(made.predict(X[:, 5:].copy(), state=state), made.predict(X)[:, 5:])
    for other in (copy.copy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(in_steps(other, X), made.predict(X))


def test_another_instruction_set(isa: str) -> None:
    made, X = model(), series(3)
    np.testing.assert_array_equal(in_steps(made, X), made.predict(X))


def test_narrower_numbers() -> None:
    made, X = model(), series(3)
    half = fl.Model([fl.LSTM(9, return_sequences=True)], input_size=4, precision="bfloat16").freeze()
    for one in (made.quantize(), made.quantize(X), half):
        np.testing.assert_array_equal(in_steps(one, X), one.predict(X))
    _, (first, second) = made.predict(X, return_state=True)
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        made.quantize().predict(X, state=[(first[0] * 0 + 2, first[1]), second])
