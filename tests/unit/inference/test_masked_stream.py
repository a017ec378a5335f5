"""Streams of models that mask steps: a masked step changes nothing, and its output is that of `predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.layers import Layer

N, TIME, FEATURES = 5, 9, 3
COUNTS = np.random.default_rng(0).random((N, TIME)) < 0.6
COUNTS[0] = True
COUNTS[1] = False
COUNTS[2, :3] = False
X = np.random.default_rng(1).standard_normal((N, TIME, FEATURES)) * 4 + 20
X[~COUNTS] = 0.0

STACKS: dict[str, Callable[[], list[Layer]]] = {
    "steps": lambda: [fl.LSTM(4, num_layers=2, residual=True, return_sequences=True), fl.Dense(2)],
    "two": lambda: [fl.Dense(3), fl.LSTM(4, return_sequences=True), fl.Activation("tanh"), fl.LSTM(3), fl.Dense(2)],
    "learnt state": lambda: [fl.LSTM(4, learn_state=True), fl.Dense(2), fl.Activation("softmax")],
    "mean": lambda: [fl.LSTM(4, return_sequences=True), fl.MeanPool(), fl.Dense(2)],
    "attention": lambda: [fl.LSTM(4, return_sequences=True), fl.AttentionPool(2), fl.Dense(2)],
    "last": lambda: [fl.LSTM(4, return_sequences=True), fl.LastStep()],
    "no state": lambda: [fl.Dense(2), fl.Activation("sigmoid")],
}


def model_of(layers: list[Layer], value: Any = 0.0, **options: Any) -> fl.Model:
    """Return a model with scalers, fitted to other data than a network's units."""
    scaler, target_scaler = fl.Standardizer().fit(X[COUNTS]), fl.Standardizer().fit(np.arange(2.0) * 3)
    given = {"scaler": scaler, "target_scaler": target_scaler, "input_size": FEATURES, "seed": 4, **options}
    model = fl.Model([fl.Masking(value), *layers], **given)
    random = np.random.default_rng(5)
    model.flat_parameters[:] = random.standard_normal(model.flat_parameters.size) / 3  # learnt states and biases, too
    return model


def so_far(model: fl.Model, x: np.ndarray) -> np.ndarray:
    """Return the output at each step, that of the series up to it, as `predict` gives it."""
    if model.per_step:
        return np.asarray(model.predict(x))
    return np.stack([model.predict(x[:, : t + 1]) for t in range(x.shape[1])], axis=1)


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"target_scaler": None}, {"scaler": None}], ids=str)
@pytest.mark.parametrize("stack", STACKS)
def test_every_output_is_that_of_predict(stack: str, options: dict[str, Any]) -> None:
    """To the bit, step by step and in blocks, of a batch of which some rows are masked and of each row alone."""
    model = model_of(STACKS[stack](), **options)
    expected = so_far(model, X)
    stream = model.stream(N)
    np.testing.assert_array_equal(np.stack([stream.step(X[:, t]) for t in range(TIME)], axis=1), expected)
    for cut in ([], [4], [1, 2, 7]):
        stream = model.stream(N)
        parts = [stream.run(part) for part in np.split(X, cut, axis=1)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
    for row in range(N):
        stream = model.stream()
        out = np.empty((1, TIME, expected.shape[2]), expected.dtype)
        assert stream.run(X[row : row + 1], out=out) is out
        np.testing.assert_array_equal(out[0], expected[row])
        stream.reset()
        for t in range(TIME):
            answer = np.empty((1, expected.shape[2]), expected.dtype)
            assert stream.step(X[row, t], out=answer) is answer
            np.testing.assert_array_equal(answer[0], expected[row, t])


def test_masked_steps_change_no_state() -> None:
    model = model_of(STACKS["mean"]())
    stream, other = model.stream(), model.stream()
    stream.run(X[2:3])
    other.run(X[2:3, COUNTS[2]])
    for got, expected in zip(stream.state, other.state, strict=True):
        for one, of_other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, of_other)


def test_missing_steps_and_tokens() -> None:
    model = model_of(STACKS["steps"](), value="nan")
    x = X.copy()
    x[~COUNTS] = np.nan
    np.testing.assert_array_equal(model.stream(N).run(x), model.predict(x))
    x[0, 5, 1] = np.nan
    stream = model.stream(N)
    before = stream.run(x[:, :5])[:, -1]
    state = stream.state
    for refused in (lambda: stream.step(x[:, 5]), lambda: stream.run(x[:, 5:])):
        with pytest.raises(ValueError, match="x holds nan"):
            refused()
        np.testing.assert_array_equal(stream.state[0], state[0])
    np.testing.assert_array_equal(stream.step(np.full((N, FEATURES), np.nan)), before)
    ids = np.where(COUNTS, np.random.default_rng(0).integers(1, 7, COUNTS.shape), 0)
    tokens = fl.Model([fl.Embedding(7, 3, mask_token=0), fl.LSTM(4, return_sequences=True), fl.Dense(2)])
    np.testing.assert_array_equal(tokens.stream(N).run(ids), tokens.predict(ids))
    stream = tokens.stream(N)
    np.testing.assert_array_equal(np.stack([stream.step(one) for one in ids.T], axis=1), tokens.predict(ids))


def test_the_axis_of_a_single_feature_may_be_left_out() -> None:
    model = fl.Model([fl.Masking(), fl.LSTM(4, return_sequences=True)], input_size=1)
    x = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    expected = model.predict(x)
    for block in (x, x[:, :, None], x.tolist()):
        np.testing.assert_array_equal(model.stream(3).run(block), expected)
    for make in (lambda one: one, lambda one: one[:, None], lambda one: one.tolist()):
        stream = model.stream(3)
        np.testing.assert_array_equal(np.stack([stream.step(make(one)) for one in x.T], axis=1), expected)
    stream = model.stream()
    np.testing.assert_array_equal([stream.step(one)[0] for one in (3.0, 0.0)], expected[2])
    wrong: list[tuple[Any, type[Exception], str]] = [
        (["a"], TypeError, "x has type <U1, expected real numbers"),
        ([1.0, 0.0], ValueError, "x has shape"),
        ([1j], TypeError, "x has type complex128"),
    ]
    for value, error, message in wrong:
        with pytest.raises(error, match=message):
            stream.step(value)
    with pytest.raises(ValueError, match=r"x has shape \(1, 4\)"):
        model_of(STACKS["steps"]()).stream().step(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\)"):
        model_of(STACKS["steps"]()).stream(2).step(np.zeros((3, 2)))


@pytest.mark.parametrize("rows", [None, [1, -1], np.array([False, True, False, False, True]), 1, []], ids=str)
def test_reset_begins_new_series(rows: Any) -> None:
    model = model_of(STACKS["steps"]())
    stream = model.stream(N)
    last = stream.run(X)[:, -1]
    stream.reset(rows)
    empty = model.stream(N).step(np.zeros((N, FEATURES)))
    begun = np.ones(N, bool) if rows is None else np.zeros(N, bool)
    if rows is not None and np.size(rows):
        begun[rows] = True
    np.testing.assert_array_equal(stream.step(np.zeros((N, FEATURES))), np.where(begun[:, None], empty, last))
    with pytest.raises(ValueError, match="rows holds"):
        stream.reset([N])


def test_after_an_assignment_of_the_state_the_next_step_must_count() -> None:
    """The state does not tell the output of the step before."""
    model = model_of(STACKS["steps"]())
    stream, other = model.stream(N), model.stream(N)
    stream.run(X[:, :4])
    other.state = stream.state
    for refused in (lambda: other.step(X[:, 4] * 0), lambda: other.run(X[:, 4:] * 0)):
        with pytest.raises(ValueError, match="begins with a masked step after an assignment of the state"):
            refused()
    np.testing.assert_array_equal(other.state[0], stream.state[0])
    step = np.ones((N, FEATURES))
    np.testing.assert_array_equal(other.step(step), stream.step(step))
    np.testing.assert_array_equal(other.run(X[:, 4:]), stream.run(X[:, 4:]))
    plain = model_of(STACKS["no state"]())
    stream = plain.stream(N)
    stream.state = []
    np.testing.assert_array_equal(stream.run(X), plain.predict(X))


@pytest.mark.parametrize(
    "out, message",
    [([], "out is a list"), (np.empty((N, 2), "f4"), "out"), (np.empty((N, 3)), "out"), (np.empty((2, N)).T, "out")],
)
def test_a_refused_out_changes_nothing(out: Any, message: str) -> None:
    stream = model_of(STACKS["steps"]()).stream(N)
    stream.run(X[:, :2])
    before = stream.state
    with pytest.raises((TypeError, ValueError), match=message):
        stream.step(X[:, 2], out=out)
    with pytest.raises((TypeError, ValueError), match=message):
        stream.run(X[:, 2:], out=out)
    np.testing.assert_array_equal(stream.state[0], before[0])


class Memory(fl.LSTM):
    """An LSTM whose author has not thought of masks: it reads masked steps like any step."""

    supports_mask = False


def test_what_a_stream_cannot_follow() -> None:
    late = fl.Model([fl.Dense(3), fl.Masking(), fl.LSTM(4)], input_size=3)
    with pytest.raises(ValueError, match="layer 1, Masking.*reads the output of other layers"):
        late.stream()
    unaware = fl.Model([fl.Masking(), Memory(4, return_sequences=True)], input_size=3).stream()
    unaware.step(np.ones(3))
    with pytest.raises(ValueError, match="masked step, which would change the state of Memory"):
        unaware.step(np.zeros(3))
    two = fl.Model([fl.Masking(-1.0), fl.Masking(-2.0), fl.LSTM(4)], input_size=3)
    stream = two.stream()
    first = stream.step(np.ones(3))
    np.testing.assert_array_equal(stream.step(np.full(3, -2.0)), first)
    with pytest.raises(ValueError, match="one Masking layer masks and a later one does not"):
        stream.step(np.full(3, -1.0))
    both = fl.Model([fl.Masking(-1.0), fl.Masking(), fl.LSTM(4)], input_size=3)
    x = np.array([[[1.0] * 3, [-1.0] * 3, [2.0] * 3, [0.0] * 3]])
    np.testing.assert_array_equal(both.stream().run(x)[:, -1], both.predict(x))


def test_generation_goes_over_masked_tokens() -> None:
    """Prompts of different lengths run side by side, the finished ones with token 0."""
    model = fl.Model([fl.Embedding(5, 4, mask_token=0), fl.LSTM(8, return_sequences=True), fl.Dense(5)], seed=2)
    model.flat_parameters[-5] = -100.0  # token 0 is never drawn
    prompts = [[3, 4], [1, 2, 3, 4], [0, 2]]
    together = fl.generate(model, prompts, 5, temperature=0)
    for prompt, got in zip(prompts, together, strict=True):
        np.testing.assert_array_equal(fl.generate(model, prompt, 5, temperature=0), got)
