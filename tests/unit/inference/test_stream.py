"""Streams: step by step equals the whole series, bit for bit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import in_threads

import fastlstm as fl
from fastlstm import _core

STACKS: dict[str, Callable[[], list[Any]]] = {
    "plain": lambda: [fl.LSTM(7, return_sequences=True)],
    "stacked": lambda: [fl.LSTM(17, num_layers=3, dropout=0.2, return_sequences=True), fl.Dropout(0.1), fl.Dense(4)],
    "without bias": lambda: [fl.LSTM(5, bias=False, return_sequences=True), fl.Dense(2, bias=False)],
    "two LSTM objects": lambda: [
        fl.GaussianNoise(0.1),
        fl.LSTM(33, return_sequences=True),
        fl.Dense(6),
        fl.LSTM(9, return_sequences=True),
    ],
    "dense only": lambda: [fl.Dense(3)],
    "activations": lambda: [
        fl.Activation("softplus"),
        fl.LSTM(9, return_sequences=True),
        fl.Activation("elu", 0.7),
        fl.Dense(5),
        fl.Activation("softmax"),
    ],
    "residual": lambda: [fl.LSTM(19, num_layers=3, dropout=0.2, residual=True, return_sequences=True), fl.Dense(4)],
    "residual last": lambda: [fl.Dense(5), fl.LSTM(18, num_layers=2, residual=True, return_sequences=True)],
    "projection": lambda: [fl.LSTM(19, num_layers=2, proj_size=7, return_sequences=True), fl.Dense(4)],
    "coupled": lambda: [fl.LSTM(9, num_layers=2, peepholes=True, coupled=True, cell_clip=1.0, return_sequences=True)],
    "layer norm": lambda: [
        fl.LSTM(9, num_layers=2, layer_norm=True, zoneout_h=0.2, return_sequences=True),
        fl.LSTM(21, proj_size=4, layer_norm=True, peepholes=True, gate_clip=1.5, return_sequences=True),
    ],
    "other activations": lambda: [
        fl.LSTM(20, gate_activation="hard_sigmoid", output_activation="elu", zoneout_c=0.1, return_sequences=True),
        fl.LSTM(5, recurrent_dropout=0.4, variational_dropout=0.3, input_dropout=0.1, return_sequences=True),
    ],
    "learnt state": lambda: [
        fl.LSTM(7, num_layers=2, residual=True, learn_state=True, return_sequences=True),
        fl.LSTM(4, learn_state=True, recurrent_init="orthogonal", return_sequences=True),
    ],
}


def scaled_model(name: str, dtype: str = "float32") -> fl.Model:
    rng = np.random.default_rng(1)
    scaler = fl.Standardizer().fit(100 + 10 * rng.standard_normal((50, 3)))
    model = fl.Model(STACKS[name](), input_size=3, dtype=dtype, seed=2, scaler=scaler)
    for parameter, p in model.parameters().items():
        if parameter.partition(".")[2].startswith(("h0", "c0")):
            p[:] = rng.uniform(-1, 1, p.shape)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("name", STACKS)
def test_steps_and_blocks_equal_the_whole(isa: str, name: str, batch: int, dtype: str) -> None:
    model = scaled_model(name, dtype)
    X = (100 + 10 * np.random.default_rng(3).standard_normal((batch, 12, 3))).astype(dtype)
    whole = model.predict(X)
    stream = model.stream(batch)
    np.testing.assert_array_equal(np.stack([stream.step(X[:, t]).copy() for t in range(12)], axis=1), whole)
    stream.reset()
    parts = [stream.run(X[:, :5]), stream.step(X[:, 5])[:, None].copy(), stream.run(X[:, 6:7]), stream.run(X[:, 7:])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_classifier_answers_for_the_series_so_far() -> None:
    model = fl.Model([fl.LSTM(8), fl.Dense(3)], input_size=2)
    X = np.random.default_rng(4).standard_normal((1, 6, 2)).astype("f4")
    stream = model.stream()
    for t in range(6):
        np.testing.assert_array_equal(stream.step(X[0, t]), model.predict(X[:, : t + 1]))


@pytest.mark.parametrize("layer", [fl.LastStep, fl.MeanPool, fl.MaxPool, lambda: fl.AttentionPool(7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pools_answer_for_the_series_so_far(isa: str, layer: Callable[[], Any], dtype: str) -> None:
    layers = [fl.LSTM(17, return_sequences=True), layer(), fl.Dense(3), fl.Activation("softmax")]
    model = fl.Model(layers, input_size=2, dtype=dtype, seed=1)
    model.flat_parameters[:] *= 3
    X = np.random.default_rng(4).standard_normal((3, 12, 2)).astype(dtype)
    expected = np.stack([model.predict(X[:, : t + 1]) for t in range(12)], axis=1)
    stream = model.stream(3)
    np.testing.assert_array_equal(stream.run(X[:, :5]), expected[:, :5])
    state = stream.state
    got = np.stack([stream.step(X[:, t]).copy() for t in range(5, 12)], axis=1)
    np.testing.assert_array_equal(got, expected[:, 5:])
    stream.state = state
    np.testing.assert_array_equal(stream.run(X[:, 5:]), expected[:, 5:])
    stream.reset([1])
    stream.step(X[:, 0])
    np.testing.assert_array_equal(stream.step(X[:, 1])[1], expected[1, 1])


def test_a_model_that_changes_nothing_streams() -> None:
    stream = fl.Model([fl.LastStep()], input_size=2).stream()
    np.testing.assert_array_equal(stream.step([[3.0, -0.5]]), [[3.0, -0.5]])
    np.testing.assert_array_equal(fl.Model([fl.Dropout()], input_size=2).stream().step([[1, 2]]), [[1, 2]])


def test_tokens_and_target_scaler() -> None:
    scaler = fl.Standardizer().fit(np.array([[3.0, 1000.0], [5.0, 2000.0]]))
    model = fl.Model([fl.Embedding(9, 4), fl.LSTM(5, return_sequences=True), fl.Dense(2)], target_scaler=scaler)
    tokens = np.random.default_rng(5).integers(0, 9, (3, 8))
    stream = model.stream(3)
    whole = model.predict(tokens)
    np.testing.assert_array_equal(np.stack([stream.step(tokens[:, t]).copy() for t in range(8)], axis=1), whole)
    stream.reset()
    np.testing.assert_array_equal(stream.run(tokens), whole)
    with pytest.raises(ValueError, match="token 9 at position 1"):
        stream.step([0, 9, 0])
    with pytest.raises(TypeError, match="expected integers"):
        stream.step([0.0, 1.0, 2.0])


def test_state() -> None:
    model = scaled_model("two LSTM objects")
    X = 100 + np.random.default_rng(6).standard_normal((2, 10, 3))
    stream, twin = model.stream(2), model.stream(2)
    stream.run(X[:, :6])
    twin.state = stream.state
    np.testing.assert_array_equal(stream.run(X[:, 6:]), twin.run(X[:, 6:]))
    assert [h.shape for h, _ in stream.state] == [(1, 2, 33), (1, 2, 9)]
    h = stream.state[0][0]
    h[:] = 7
    assert (stream.state[0][0] != 7).all(), "state gives copies"
    scaled = ((X - model.scaler.mean_) / model.scaler.scale_).astype("f4")
    _, expected = model.forward(scaled, return_state=True)
    # Scaled in float64 here and in float32 there.
    np.testing.assert_allclose(stream.state[1][1], expected[1][1], atol=1e-5)
    stream.reset([False, True])
    assert (stream.state[0][0][:, 1] == 0).all() and (stream.state[0][0][:, 0] != 0).any()
    with pytest.raises(ValueError, match="got 1 states .* expected 2, one for each of the model's layers"):
        stream.state = stream.state[:1]
    with pytest.raises(ValueError, match=r"expected \(1, 2, 33\) and \(1, 2, 33\)"):
        stream.state = stream.state[::-1]


def test_a_reset_goes_back_to_the_learnt_state() -> None:
    model = scaled_model("learnt state")
    X = 100 + np.random.default_rng(9).standard_normal((2, 6, 3))
    stream = model.stream(2)
    begin = stream.state
    np.testing.assert_array_equal(begin[0][1][1], np.tile(model.parameters()["0.c0_l1"], (2, 1)))
    stream.run(X)
    moved = stream.state
    stream.reset([1])
    for (h, c), (old_h, old_c), (new_h, new_c) in zip(stream.state, begin, moved, strict=True):
        np.testing.assert_array_equal(h[:, 1], old_h[:, 1])
        np.testing.assert_array_equal(c[:, 1], old_c[:, 1])
        np.testing.assert_array_equal(h[:, 0], new_h[:, 0])
        np.testing.assert_array_equal(c[:, 0], new_c[:, 0])
    stream.reset()
    model.flat_parameters[:] = 0
    for got, want in zip(stream.state, begin, strict=True):
        np.testing.assert_array_equal(got, want)
    stream.state = moved
    np.testing.assert_array_equal(stream.state[1][0], moved[1][0])


def test_the_weights_are_those_of_the_beginning() -> None:
    model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=1)
    X = np.ones((1, 3, 1), np.float32)
    before = model.predict(X)
    stream = model.stream()
    model.flat_parameters[:] = 0
    np.testing.assert_array_equal(stream.run(X)[:, -1], before)


def test_bad_input_leaves_the_state_alone() -> None:
    model = scaled_model("stacked")
    stream = model.stream(2)
    stream.step(np.full((2, 3), 100.0))
    before = stream.state
    for bad, error, message in (
        (np.full((2, 3), np.nan), ValueError, "nan at position 0"),
        (np.array([[1, 2, 3], [4, 5, np.inf]]), ValueError, "inf at position 5"),
        (np.zeros((2, 4)), ValueError, r"x has shape \(2, 4\), expected \(2, 3\)"),
        (np.zeros((3, 2)), ValueError, r"expected \(2, 3\)"),
        (np.zeros(6), ValueError, r"expected \(2, 3\)"),
        ([["a", "b", "c"]] * 2, TypeError, "expected real numbers"),
    ):
        with pytest.raises(error, match=message):
            stream.step(bad)
    with pytest.raises(ValueError, match=r"expected \(2, steps, features\)"):
        stream.run(np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match="1 step or more"):
        stream.run(np.zeros((2, 0, 3)))
    for (h, c), (old_h, old_c) in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(h, old_h)
        np.testing.assert_array_equal(c, old_c)


def test_inputs_of_other_types() -> None:
    model = fl.Model([fl.LSTM(3)], input_size=2)
    expected = model.stream().step(np.array([[1.0, -2.0]], np.float32)).copy()
    for x in ([1, -2], [[1, -2]], np.array([1, -2]), np.array([[1.0, 0.0, -2.0, 0.0]])[:, ::2]):
        np.testing.assert_array_equal(model.stream().step(x), expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fl.Model([fl.LSTM(3, bidirectional=True)], input_size=1).stream(), ValueError, "is bidirectional"),
        (
            lambda: fl.Model([fl.Dense(2), fl.LSTM(3, reverse=True)], input_size=1).stream(),
            ValueError,
            "layer 1 has reverse=True: it begins at the end of a series, .* or predict on blocks",
        ),
        (lambda: fl.Model([fl.LSTM(3)]).stream(), RuntimeError, "not built"),
        (lambda: fl.Model([fl.LSTM(3)], input_size=1).stream(0), ValueError, "batch_size must be at least 1"),
        (lambda: fl.Model([fl.LSTM(3)], input_size=1).stream(n_threads=0), ValueError, "n_threads"),
    ],
)
def test_unfit_streams_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "residual": True, "learn_state": True}], ids=["plain", "more"]
)
def test_steps_allocate_nothing(options: dict[str, Any]) -> None:
    layers = [
        fl.Activation("scaled_tanh", 1.5, 0.5),
        fl.LSTM(16, return_sequences=True, **options),
        fl.AttentionPool(4),
        fl.Dense(3),
        fl.Activation("softmax"),
    ]
    stream = fl.Model(layers, input_size=2).stream()
    x, answer = np.ones((1, 2), np.float32), np.empty((1, 3), np.float32)
    blocks, answers = np.ones((1, 5, 2), np.float32), np.empty((1, 5, 3), np.float32)
    stream.run(blocks)
    tracemalloc.start()
    try:
        rounds = []
        # What the steps allocate shows in each round; another thread, such as that of a test runner, in some.
        while not rounds or (rounds[-1] != (True, True) and len(rounds) < 3):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for _ in range(1000):
                assert stream.step(x, out=answer) is answer
                assert stream.run(blocks, out=answers) is answers
            after, peak = tracemalloc.get_traced_memory()
            # The loop's own few integers; a leak of 8 bytes a step would be ten times as much.
            rounds.append((after - before < 800, peak - before < 1500))
        assert rounds[-1] == (True, True)
    finally:
        tracemalloc.stop()


def test_answers_are_new_arrays_unless_out_is_given() -> None:
    model = scaled_model("stacked")
    X = (100 + np.random.default_rng(2).standard_normal((2, 5, 3))).astype("f4")
    expected = model.predict(X)
    stream = model.stream(2)
    steps = [stream.step(X[:, t]) for t in range(5)]
    np.testing.assert_array_equal(np.stack(steps, axis=1), expected)
    stream.reset()
    out = np.full((2, 5, 4), np.nan, np.float32)
    part = np.empty((2, 4), np.float32)
    assert stream.step(X[:, 0], part) is part
    np.testing.assert_array_equal(part, expected[:, 0])
    stream.reset()
    assert stream.run(X.tolist(), out=out) is out
    np.testing.assert_array_equal(out, expected)


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((3, 2), np.float32), ValueError, r"out has shape \(3, 2\), expected \(2, 3\)"),
        (np.zeros((2, 1, 3), np.float32), ValueError, r"out has shape \(2, 1, 3\), expected \(2, 3\)"),
        (np.zeros((2, 3)), TypeError, "out must be a C-contiguous, aligned array of dtype float32, got float64"),
        (np.zeros((2, 3), ">f4"), TypeError, "out must be .* got >f4"),
        (np.zeros((2, 6), np.float32)[:, ::2], TypeError, "out must be a C-contiguous"),
        (np.zeros((3, 2), np.float32).T, TypeError, "out must be a C-contiguous"),
        (read_only((2, 3)), ValueError, "out is read-only"),
        ([[0.0] * 3] * 2, TypeError, r"out is a list, expected an array of shape \(2, 3\) and dtype float32"),
        (0, TypeError, "out is a int, expected an array"),
    ],
)
def test_unfit_answers_are_refused(out: Any, error: type[Exception], message: str) -> None:
    stream = fl.Model([fl.LSTM(3, return_sequences=True)], input_size=3).stream(2)
    x = np.ones((2, 3), np.float32)
    stream.step(x)
    before = stream.state
    with pytest.raises(error, match=message):
        stream.step(x, out=out)
    with pytest.raises((TypeError, ValueError), match="out "):
        stream.run(np.ones((2, 2, 3)), out=out)
    np.testing.assert_array_equal(stream.state, before)


def test_an_answer_over_its_input_is_refused() -> None:
    stream = fl.Model([fl.Dense(3)], input_size=3).stream(2)
    memory = np.ones((4, 3), np.float32)
    expected = stream.step(memory[:2])
    with pytest.raises(ValueError, match="out overlaps x"):
        stream.step(memory[:2], out=memory[:2])
    with pytest.raises(ValueError, match="out overlaps x"):
        stream.step(memory[:2], out=memory[1:3])
    assert (memory == 1).all()
    np.testing.assert_array_equal(stream.step(memory[:2], out=memory[2:]), expected)
    # An input that has to be converted is read before.
    wide = np.ones((2, 3))
    np.testing.assert_array_equal(stream.step(wide, out=memory[:2]), expected)


def test_a_masked_stream_takes_out() -> None:
    stream = fl.Model([fl.Masking(), fl.LSTM(3)], input_size=2).stream()
    out = np.empty((1, 3), np.float32)
    assert stream.step([1.0, 2.0], out=out) is out
    before = out.copy()
    out[:] = 7
    assert stream.step([0.0, 0.0], out=out) is out
    np.testing.assert_array_equal(out, before)


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="needs two instruction sets")
def test_the_instruction_set_may_change_between_steps() -> None:
    model = fl.Model([fl.LSTM(16, return_sequences=True), fl.Dense(3)], input_size=2)
    X = np.random.default_rng(7).standard_normal((1, 4, 2)).astype("f4")
    expected = model.predict(X)
    before = _core.isa()
    stream = model.stream()
    try:
        got = []
        for t, name in enumerate(_core.available_isas() + [before]):
            _core.set_isa(name)
            got.append(stream.step(X[:, t]).copy())
    finally:
        _core.set_isa(before)
    # The sets round differently.
    np.testing.assert_allclose(np.stack(got, axis=1), expected[:, : len(got)], atol=1e-6)


def test_many_threads_with_a_stream_each() -> None:
    model = scaled_model("stacked")
    X = (100 + np.random.default_rng(8).standard_normal((8, 50, 3))).astype("f4")
    whole = model.predict(X)
    wrong: list[int] = []

    def work(k: int) -> None:
        stream = model.stream()
        for t in range(50):
            if not np.array_equal(stream.step(X[k, t]), whole[k : k + 1, t]):
                wrong.append(k)

    in_threads(8, work)
    assert not wrong


def test_a_stream_whose_init_was_not_called_says_so() -> None:
    stream = fl.Stream.__new__(fl.Stream)
    x = np.zeros((1, 3), "f4")
    for call in (
        lambda: stream.step(x),
        lambda: stream.step(x, rows=[0]),
        lambda: stream.run(x[:, None]),
        stream.reset,
        stream.add_rows,
        lambda: stream.nbytes,
        lambda: stream._states,
    ):
        with pytest.raises(RuntimeError, match="make it by model.stream"):
            call()
