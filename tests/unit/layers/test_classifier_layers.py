"""`ConcatPool` and `Deviations`: values, gradients, lengths, masks, files, ONNX, and what they refuse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TOLERANCE, check_gradients, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.layers import Layer, LayerCache, PassContext, Signal

LENGTHS = np.array([7, 2, 5, 1])
CENTER = np.random.default_rng(1).standard_normal((5, 2))


def passed(layer: Layer, x: np.ndarray, dy: np.ndarray, lengths: np.ndarray | None = None) -> Any:
    """Return output and gradient of the input."""
    cache, ctx = LayerCache(), PassContext(1, x.dtype, True)
    layer.build(Signal(x.shape[2], True))
    ctx.lengths = lengths
    y = layer.forward(x, ctx, cache).copy()
    dx = layer.backward(dy, ctx, cache, True)
    assert layer.backward(dy, ctx, cache, False) is None
    assert dx is not None and dx.dtype == y.dtype == x.dtype
    return y, dx


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("time", [1, 5, 8])
@pytest.mark.parametrize("scale", [3.0, [0.5, 20.0]])
def test_deviations_are_the_reference(dtype: str, time: int, scale: Any) -> None:
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((3, time, 2)).astype(dtype), rng.standard_normal((3, time, 4)).astype(dtype)
    y, dx = passed(fl.Deviations(CENTER, scale), x, dy)
    factor = np.asarray(scale, "f8")
    assert relative_error(y, reference.deviations_forward(x.astype("f8"), CENTER, factor)) <= TOLERANCE[dtype]
    assert relative_error(dx, reference.deviations_backward(dy.astype("f8"), 5, factor)) <= TOLERANCE[dtype]
    assert not y[:, 5:, 2:].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("forward", [None, 2])
def test_pooling_is_the_reference(dtype: str, forward: int | None) -> None:
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((3, 7, 4)).astype(dtype), rng.standard_normal((3, 12)).astype(dtype)
    y, dx = passed(fl.ConcatPool(forward is not None), x, dy)
    assert relative_error(y, reference.concat_pool_forward(x.astype("f8"), forward)) <= TOLERANCE[dtype]
    assert relative_error(dx, reference.concat_pool_backward(x, dy.astype("f8"), forward)) <= TOLERANCE[dtype]


def test_each_case_is_pooled_over_its_own_steps() -> None:
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((4, 7, 4)), rng.standard_normal((4, 12))
    x[np.arange(7) >= LENGTHS[:, None]] = 99.0
    y, dx = passed(fl.ConcatPool(True), x, dy, LENGTHS)
    for case, length in enumerate(LENGTHS):
        one = x[case : case + 1, :length]
        np.testing.assert_allclose(y[case], reference.concat_pool_forward(one, 2)[0], rtol=1e-14)
        expected = reference.concat_pool_backward(one, dy[case : case + 1], 2)[0]
        np.testing.assert_allclose(dx[case, :length], expected, rtol=1e-13, atol=1e-15)  # sums in another order
        assert (dx[case, length:] == 0).all()


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_gradients_by_finite_differences(lengths: np.ndarray | None, masked: bool) -> None:
    rng = np.random.default_rng(6)
    layers: list[Layer] = [
        fl.LSTM(2, return_sequences=True), fl.Deviations(CENTER, 2.0),
        fl.LSTM(3, bidirectional=True, return_sequences=True), fl.ConcatPool(bidirectional=True), fl.Dense(2),
    ]  # fmt: skip
    model = fl.Model([fl.Masking(), *layers] if masked else layers, input_size=2, dtype="float64", seed=5)
    model.flat_parameters[:] *= 2
    x = rng.standard_normal((4, 7, 2))
    if masked:
        x[0, 2:4] = x[2, 0] = 0
    weight = rng.standard_normal(model.forward(x, lengths).shape)
    check_gradients(model, x, lengths, weight, of_input=not masked)


def test_masked_steps_are_not_pooled_and_do_not_move_the_center() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3, 6, 2))
    holes = x.copy()
    holes[:, [1, 2, 5]] = 0
    pooled = fl.Model([fl.Masking(), fl.ConcatPool(True)], input_size=2, dtype="float64")
    plain = fl.Model([fl.ConcatPool(True)], input_size=2, dtype="float64")
    np.testing.assert_array_equal(pooled.predict(holes), plain.predict(np.delete(x, [1, 2, 5], axis=1)))
    holes[1] = 0  # a case without any step
    assert not pooled.predict(holes)[1].any()
    shown = fl.Model([fl.Masking(), fl.Deviations(CENTER), fl.LSTM(3)], input_size=2, dtype="float64", seed=1)
    by_hand = fl.Model([fl.Masking(), fl.LSTM(3)], input_size=4, dtype="float64", seed=1)
    both = reference.deviations_forward(holes, CENTER)
    both[:, [1, 2, 5]] = both[1] = 0  # what the mask leaves out
    by_hand.load_state_dict({name.replace("2.", "1."): value for name, value in shown.state_dict().items()})
    np.testing.assert_allclose(shown.predict(holes), by_hand.predict(both), rtol=1e-14)


def test_threads_and_neighbours_change_nothing() -> None:
    x = np.random.default_rng(8).standard_normal((9, 12, 2)).astype("f4")
    layers = [fl.Deviations(CENTER), fl.LSTM(4, bidirectional=True, return_sequences=True), fl.ConcatPool(True)]
    model = fl.Model(layers, input_size=2)
    expected = model.predict(x, n_threads=1)
    np.testing.assert_array_equal(model.predict(x, n_threads=4), expected)
    np.testing.assert_array_equal(np.concatenate([model.predict(x[k : k + 1]) for k in range(9)]), expected)


def test_files_copies_and_summary(tmp_path: Path) -> None:
    layers = [fl.Deviations(CENTER, 2.5), fl.LSTM(3, bidirectional=True, return_sequences=True), fl.ConcatPool(True)]
    model = fl.Model([*layers, fl.Dense(1)], input_size=2)
    model.save(tmp_path / "m.safetensors")
    x = np.random.default_rng(10).standard_normal((4, 7, 2))
    for twin in (fl.load(tmp_path / "m.safetensors"), copy.copy(model)):
        np.testing.assert_array_equal(twin.predict(x, LENGTHS), model.predict(x, LENGTHS))
    assert repr(model.layers[0]) == "Deviations(center of 5 steps, scale=2.5)"
    assert repr(model.layers[2]) == "ConcatPool(bidirectional=True)"


def test_wrong_places_and_arguments() -> None:
    for layer in (fl.ConcatPool(), fl.Deviations(CENTER)):
        name = type(layer).__name__
        with pytest.raises(ValueError, match=rf"layer 1: {name} reads .* return_sequences=True"):
            fl.Model([fl.LSTM(2), layer], input_size=2)
        with pytest.raises(ValueError, match=rf"{name} reads numbers and gets token ids"):
            layer.build(Signal(0, True, True))
        with pytest.raises(ValueError, match=f"layer 0 is a {name}"):
            fl.Model([layer], input_size=2).stream()
    with pytest.raises(ValueError, match=r"reads two directions and gets 3 features"):
        fl.Model([fl.ConcatPool(bidirectional=True)], input_size=3)
    with pytest.raises(ValueError, match="a center of 2 features and its input 3"):
        fl.Model([fl.Deviations(CENTER)], input_size=3)
    for center, message in (([1.0, 2.0], r"shape \(2,\)"), ([[np.nan]], "finite"), ([["a"]], "center")):
        with pytest.raises((TypeError, ValueError), match=message):
            fl.Deviations(center)
    with pytest.raises(ValueError, match="scale has 3 factors, expected 2"):
        fl.Deviations(CENTER, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="scale must be greater than 0"):
        fl.Deviations(CENTER, 0)


@pytest.mark.parametrize("with_lengths", [False, True])
def test_onnx_runtime_computes_the_same(with_lengths: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    for bidirectional in (False, True):
        lstm = fl.LSTM(4, bidirectional=bidirectional, return_sequences=True)
        pool = fl.ConcatPool(bidirectional)
        model = fl.Model([fl.Deviations(CENTER, [2.0, 0.5]), lstm, pool, fl.Dense(2)], input_size=2, seed=3)
        model.to_onnx(tmp_path / "m.onnx", with_lengths=with_lengths)
        session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
        for time in (1, 5, 7):
            x = np.random.default_rng(time).standard_normal((4, time, 2)).astype("f4")
            lengths = np.minimum(LENGTHS, time)
            feeds = {"x": x, "lengths": lengths.astype("i4")} if with_lengths else {"x": x}
            (found,) = session.run(None, feeds)
            expected = model.predict(x, lengths if with_lengths else None)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)  # float32 of two engines
