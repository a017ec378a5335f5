"""`StackSteps` and `Differences`: values, gradients, lengths, masks, files, ONNX, and what they refuse."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TOLERANCE, check_gradients, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import Layer, LayerCache, PassContext, Signal, copied_layer

LENGTHS = np.array([7, 2, 5, 1])


def passed(layer: Layer, x: np.ndarray, dy: np.ndarray, lengths: np.ndarray | None = None) -> Any:
    """Return output and gradient of the input."""
    cache, ctx = LayerCache(), PassContext(1, x.dtype, True)
    layer.build(Signal(x.shape[2], True))
    ctx.lengths = lengths
    y = layer.forward(x, ctx, cache).copy()
    ctx.lengths = LENGTHS  # whatever it is, backward restores it
    dx = layer.backward(dy, ctx, cache, True)
    assert ctx.lengths is lengths or isinstance(layer, fl.Differences)
    assert layer.backward(dy, ctx, cache, False) is None
    assert dx is not None and dx.dtype == y.dtype == x.dtype
    return y, dx


# ------------------------------------------------------------------ the layers alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (3, 3), (7, 7), (9, 9), (3, 1), (4, 2), (5, 3), (9, 4)])
def test_groups_are_the_reference(dtype: str, size: int, stride: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((3, 7, 2)).astype(dtype)
    dy = rng.standard_normal((3, -(-7 // stride), 2 * size)).astype(dtype)
    y, dx = passed(fl.StackSteps(size, stride=stride), x, dy)
    np.testing.assert_array_equal(y, reference.stack_steps_forward(x, size, stride))
    assert relative_error(dx, reference.stack_steps_backward(dy.astype("f8"), size, stride, 7)) <= TOLERANCE[dtype]


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 3), (9, 9), (3, 1), (4, 2), (9, 2)])
def test_each_case_is_filled_with_its_own_last_step(size: int, stride: int) -> None:
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((4, 7, 2)), rng.standard_normal((4, -(-7 // stride), 2 * size))
    x[np.arange(7) >= LENGTHS[:, None]] = 99.0
    y, dx = passed(fl.StackSteps(size, stride=stride), x, dy, LENGTHS)
    for case, length in enumerate(LENGTHS):
        groups = -(-length // stride)
        one, of_one = x[case : case + 1, :length], dy[case : case + 1, :groups]
        np.testing.assert_array_equal(y[case, :groups], reference.stack_steps_forward(one, size, stride)[0])
        expected = reference.stack_steps_backward(of_one, size, stride, length)[0]
        np.testing.assert_allclose(dx[case, :length], expected, rtol=1e-12, atol=1e-14)  # sums in another order
        assert (dx[case, length:] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [3.5, [0.5, 20.0]])
def test_differences_are_the_reference(dtype: str, scale: Any) -> None:
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((3, 7, 2)).astype(dtype), rng.standard_normal((3, 7, 4)).astype(dtype)
    y, dx = passed(fl.Differences(scale), x, dy)
    factor = np.asarray(scale, dtype)
    assert relative_error(y, reference.differences_forward(x.astype("f8"), factor)) <= TOLERANCE[dtype]
    assert relative_error(dx, reference.differences_backward(dy.astype("f8"), factor)) <= TOLERANCE[dtype]
    one, _ = passed(fl.Differences(scale), x[:, :1], dy[:, :1])
    np.testing.assert_array_equal(one, np.concatenate([x[:, :1], np.zeros((3, 1, 2))], axis=2))


def test_groups_begin_earlier_in_training() -> None:
    """Each case is one that has as many copies of its first step before it as are drawn."""
    rng = np.random.default_rng(11)
    x, dy = rng.standard_normal((40, 7, 2)), rng.standard_normal((40, 4, 10))
    lengths = np.resize(LENGTHS, 40)
    layer, cache, ctx = fl.StackSteps(5, stride=3, random_start=True), LayerCache(), PassContext(1, x.dtype, True)
    layer.build(Signal(2, True))
    cache.seed, ctx.lengths = 5, lengths
    y = layer.forward(x, ctx, cache)[:, :3].copy()
    counts = ctx.lengths
    assert counts is not None and counts.max() == 3 and y.shape[1] == 3
    dx = layer.backward(dy[:, :3], ctx, cache, True)
    assert dx is not None and ctx.lengths is lengths
    drawn = set()
    for case, length in enumerate(lengths):
        found = []
        for early in range(3):
            longer = np.concatenate([np.repeat(x[case, :1], early, axis=0), x[case, :length]])[None]
            groups = -(-(length + early) // 3)
            expected = reference.stack_steps_forward(longer, 5, 3)[0]
            if counts[case] == groups and np.array_equal(expected, y[case, :groups]):
                d_longer = reference.stack_steps_backward(dy[case : case + 1, :groups], 5, 3, length + early)[0]
                d_first = d_longer[: early + 1].sum(axis=0)
                np.testing.assert_allclose(dx[case, 0], d_first, rtol=1e-12, atol=1e-14)
                np.testing.assert_allclose(dx[case, 1:length], d_longer[early + 1 :], rtol=1e-12, atol=1e-14)
                assert (dx[case, length:] == 0).all()
                found.append(early)
        assert found
        drawn.update(found if length > 1 else [])
    assert drawn == {0, 1, 2}


def test_starts_differ_from_step_to_step_and_only_in_training() -> None:
    x = np.random.default_rng(12).standard_normal((8, 20, 1))
    model = fl.Model([fl.StackSteps(4, random_start=True), fl.MeanPool()], input_size=1, dtype="float64", seed=1)
    plain = fl.Model([fl.StackSteps(4), fl.MeanPool()], input_size=1, dtype="float64")
    np.testing.assert_array_equal(model.predict(x), plain.predict(x))
    first, second = (model.forward(x, training=True).copy() for _ in range(2))
    assert (first != second).any() and (first != plain.predict(x)).any()
    again = fl.Model([fl.StackSteps(4, random_start=True), fl.MeanPool()], input_size=1, dtype="float64", seed=1)
    np.testing.assert_array_equal(again.forward(x, training=True), first)


def test_the_gradient_of_a_difference_does_not_come_from_the_padding() -> None:
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal((4, 7, 2)), rng.standard_normal((4, 7, 4))
    _, dx = passed(fl.Differences(2.0), x, dy, LENGTHS)
    for case, length in enumerate(LENGTHS):
        expected = reference.differences_backward(dy[case : case + 1, :length], 2.0)[0]
        np.testing.assert_allclose(dx[case, :length], expected, rtol=1e-14)


# ------------------------------------------------------------------ a model around them


def network() -> list[Layer]:
    return [
        fl.Differences(2.0),
        fl.StackSteps(3, stride=2),
        fl.LSTM(4, bidirectional=True, return_sequences=True),
        fl.MaxPool(),
    ]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("inside", [False, True], ids=["first", "inside"])
def test_gradients_by_finite_differences(lengths: np.ndarray | None, masked: bool, inside: bool) -> None:
    rng = np.random.default_rng(6)
    below: list[Layer] = [fl.LSTM(3, return_sequences=True)] if inside else []
    layers = [*below, fl.Differences([2.0, 0.5, 3.0] if inside else 2.0), fl.StackSteps(3, stride=2 if inside else 3)]
    layers += [fl.LSTM(4, bidirectional=True, return_sequences=True), fl.AttentionPool(3), fl.Dense(2)]
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=2, dtype="float64", seed=5)
    model.flat_parameters[:] *= 2
    x = rng.standard_normal((4, 7, 2))
    if masked:
        x[0, 2:4] = x[2, 0] = 0
    weight = rng.standard_normal(model.forward(x, lengths).shape)
    check_gradients(model, x, lengths, weight, of_input=not masked)


def test_masked_steps_are_left_out_of_groups_and_differences() -> None:
    rng = np.random.default_rng(7)
    model = fl.Model([fl.Masking(), *network()], input_size=2, dtype="float64")
    x = rng.standard_normal((3, 9, 2))
    holes = x.copy()
    holes[:, [1, 2, 6]] = 0
    kept = np.delete(x, [1, 2, 6], axis=1)
    np.testing.assert_array_equal(model.predict(holes), model.predict(kept))
    holes[1] = 0  # a case without any step
    np.testing.assert_array_equal(model.predict(holes)[[0, 2]], model.predict(kept)[[0, 2]])
    assert np.isfinite(model.predict(holes)).all()


def test_lists_batches_and_threads_do_not_matter() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((12, 7, 2)), rng.integers(0, 2, 12)
    lengths = np.resize(LENGTHS, 12)
    model = fl.Model([*network(), fl.Dense(2)], input_size=2, dtype="float64")
    series = [one[:end] for one, end in zip(x, lengths, strict=True)]
    whole = model.predict(x, lengths)
    np.testing.assert_array_equal(model.predict(series), whole)
    np.testing.assert_array_equal(model.predict(series, batch_size=1), whole)
    x[np.arange(7) >= lengths[:, None]] = np.nan  # padding is never read
    np.testing.assert_array_equal(model.predict(x, lengths), whole)
    trained = []
    for threads in (1, 3):
        model = fl.Model([*network(), fl.Dense(2)])
        model.fit(x, y, lengths=lengths, epochs=3, batch_size=5, n_threads=threads, verbose=0)
        trained.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*trained)


def test_groups_of_what_repeat_vector_begins() -> None:
    model = fl.Model([fl.LSTM(3), fl.RepeatVector(5), fl.StackSteps(2), fl.LSTM(4), fl.Dense(1)], input_size=2)
    assert [(s.steps, s.stride) for s in model.network.signals()[1:4]] == [(5, 1), (3, 2), (None, 1)]
    assert model.predict([np.zeros((2, 2)), np.zeros((9, 2))]).shape == (2, 1)


def test_chrono_counts_groups() -> None:
    """The longest series has 20 steps, which are 4 groups: biases of at most log(3)."""
    layers = [fl.StackSteps(5), fl.LSTM(64, forget_bias="chrono"), fl.Dense(2)]
    model = fl.Model(layers, seed=1)
    model.fit(np.zeros((4, 20, 1)), [0, 1, 0, 1], epochs=1, optimizer=fl.SGD(1e-12), verbose=0)
    bias = model.layers[1].parameters["bias_ih_l0"][64:128]
    assert bias.max() <= np.log(3) + 1e-5 and bias.max() > np.log(2)


def test_attention_weights_are_those_of_the_groups() -> None:
    layers = [fl.StackSteps(3), fl.LSTM(4, return_sequences=True), fl.AttentionPool(2), fl.Dense(2)]
    model = fl.Model(layers, input_size=2)
    x = np.random.default_rng(9).standard_normal((4, 7, 2))
    weights = fl.attention_weights(model, x, LENGTHS)
    assert weights.shape == (4, 3)
    np.testing.assert_array_equal((weights > 0).sum(axis=1), -(-LENGTHS // 3))
    listed = fl.attention_weights(model, [one[:end] for one, end in zip(x, LENGTHS, strict=True)])
    assert [len(row) for row in listed] == [3, 1, 2, 1]
    for row, whole in zip(listed, weights, strict=True):
        np.testing.assert_allclose(row.sum(), 1, rtol=1e-6)
        np.testing.assert_array_equal(row, whole[: len(row)])


def test_files_copies_and_summary(tmp_path: Path) -> None:
    layers = [fl.Differences([2.0, 4.0]), fl.Differences(3), fl.StackSteps(3), fl.LSTM(2), fl.Dense(1)]
    model = fl.Model(layers, input_size=2)
    model.save(tmp_path / "m.safetensors")
    x = np.random.default_rng(10).standard_normal((4, 7, 2))
    for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model)):
        np.testing.assert_array_equal(twin.predict(x, LENGTHS), model.predict(x, LENGTHS))
    assert list(map(repr, model.layers[:3])) == [
        "Differences(scale=[2.0, 4.0])", "Differences(scale=3.0)", "StackSteps(size=3)",
    ]  # fmt: skip
    assert repr(copied_layer(fl.StackSteps(4, stride=2))) == "StackSteps(size=4, stride=2)"
    text = io.StringIO()
    model.summary(text)
    assert "(batch, time, 8)" in text.getvalue() and "(batch, time / 3, 24)" in text.getvalue()


# ------------------------------------------------------------------ refusals


def test_wrong_places_and_arguments() -> None:
    for layer in (fl.StackSteps(2), fl.Differences()):
        name = type(layer).__name__
        with pytest.raises(ValueError, match=rf"layer 1: {name} reads .* return_sequences=True"):
            fl.Model([fl.LSTM(3), layer], input_size=2)
        with pytest.raises(ValueError, match=rf"{name} reads numbers and gets token ids"):
            layer.build(Signal(0, True, True))
        model = fl.Model([layer, fl.LSTM(3), fl.Dense(2)], input_size=2)
        with pytest.raises(ValueError, match=rf"layer 0 is a {name}.* leave it out, or predict on blocks"):
            model.stream()
        with pytest.raises(ValueError, match=rf"tbptt_steps .* layer 0 is a {name}"):
            model.fit(np.zeros((2, 4, 2)), [0, 1], tbptt_steps=2, verbose=0)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        fl.StackSteps(0)
    with pytest.raises(ValueError, match=r"stride is 3, expected at most the size, 2"):
        fl.StackSteps(2, stride=3)
    with pytest.raises(ValueError, match=r"scale\[1\] must be greater than 0, got -1"):
        fl.Differences([1.0, -1.0])
    with pytest.raises(ValueError, match="layer 0: Differences has 3 factors and its input 2 features"):
        fl.Model([fl.Differences([1.0, 2.0, 3.0])], input_size=2)


def test_outputs_for_each_group_are_refused() -> None:
    layers = [fl.StackSteps(4), fl.LSTM(3, return_sequences=True), fl.Dense(1)]
    with pytest.raises(
        ValueError, match=r"an output for each group of 4 steps, .* put a pooling layer such as fl\.Max"
    ):
        fl.Model(layers, input_size=2)
    model = fl.Model(layers)
    with pytest.raises(ValueError, match="an output for each group of 4 steps"):
        model.fit(np.zeros((2, 8, 1)), np.zeros((2, 8)), loss="mse", verbose=0)
    assert not model.network.built
    assert fl.Model([*layers, fl.MaxPool()], input_size=2).predict(np.zeros((2, 8, 2))).shape == (2, 1)


# ------------------------------------------------------------------ ONNX


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("pool", [fl.MaxPool, fl.MeanPool, fl.LastStep])
def test_onnx_runtime_computes_the_same(with_lengths: bool, pool: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    for below in ([], [fl.LSTM(3, return_sequences=True), fl.Differences(5.0)]):
        stack = [*below, fl.Differences(2.0), fl.StackSteps(3, stride=2), fl.StackSteps(2)]
        layers = [*stack, fl.LSTM(4, bidirectional=True, return_sequences=True), pool(), fl.Dense(2)]
        model = fl.Model(layers, input_size=2, seed=3)
        model.to_onnx(tmp_path / "m.onnx", with_lengths=with_lengths)
        again = fl.from_onnx(tmp_path / "m.onnx")
        session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
        for time in (1, 4, 7):
            x = np.random.default_rng(time).standard_normal((4, time, 2)).astype("f4")
            lengths = np.minimum(LENGTHS, time)
            feeds = {"x": x, "lengths": lengths.astype("i4")} if with_lengths else {"x": x}
            expected = model.predict(x, lengths if with_lengths else None)
            np.testing.assert_allclose(session.run(None, feeds)[0], expected, atol=2e-6)
            imported = again.predict(x, lengths if with_lengths else None)
            np.testing.assert_allclose(imported, expected, atol=2e-6)
