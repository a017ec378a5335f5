"""`predict` with states: series that continue from call to call, with scalers applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm as fl

STEPS = 15


def model_of(layers: list[Any], **arguments: Any) -> fl.Model:
    rng = np.random.default_rng(1)
    scaler = fl.Standardizer().fit(50 + 4 * rng.standard_normal((30, 3)))
    target = fl.Standardizer().fit(9 * rng.standard_normal((30, 2)))
    return fl.Model(layers, input_size=3, scaler=scaler, target_scaler=target, **arguments)


def stacked() -> fl.Model:
    layers = [
        fl.LSTM(9, num_layers=2, proj_size=4, return_sequences=True, learn_state=True),
        fl.Dense(5),
        fl.LSTM(6, return_sequences=True),
        fl.Dense(2),
    ]
    return model_of(layers)


@settings(max_examples=20)
@given(cuts=st.sets(st.integers(1, STEPS - 1)), frozen=st.booleans(), batch_size=st.integers(1, 8))
def test_any_cuts_give_the_bits_of_the_whole_series(cuts: set[int], frozen: bool, batch_size: int) -> None:
    model = stacked()
    X = 50 + 4 * np.random.default_rng(2).standard_normal((7, STEPS, 3))
    expected = model.predict(X)
    if frozen:
        model.freeze()
    state, parts = None, []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), STEPS], strict=True):
        out, state = model.predict(X[:, first:last], state=state, return_state=True, batch_size=batch_size)
        parts.append(out)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
    stream = model.stream(7)
    stream.run(X)
    for (h, c), (stream_h, stream_c) in zip(state, stream.state, strict=True):
        np.testing.assert_array_equal(h, stream_h)
        np.testing.assert_array_equal(c, stream_c)


def test_series_of_different_lengths_keep_the_order_of_their_states() -> None:
    model = model_of([fl.LSTM(9), fl.Dense(2)])
    rng = np.random.default_rng(3)
    X = [50 + 4 * rng.standard_normal((steps, 3)) for steps in (9, 4, 30, 2, 17)]
    expected = model.predict(X)
    _, state = model.predict([x[:-1] for x in X], return_state=True, batch_size=2)
    np.testing.assert_array_equal(model.predict(np.stack([x[-1:] for x in X]), state=state), expected)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fl.LSTM(3, bidirectional=True)], "layer 0 is bidirectional"),
        ([fl.LSTM(3, reverse=True)], "reverse=True"),
        ([fl.LSTM(3, return_sequences=True), fl.MeanPool()], r"layer 1, MeanPool\(\), remembers all steps"),
        ([fl.Masking(0.0), fl.LSTM(3)], "masks steps"),
        ([fl.LSTM(3), fl.RepeatVector(4), fl.LSTM(3, return_sequences=True)], "layer 1"),
    ],
)
def test_models_that_remember_more_are_refused(layers: list[Any], message: str) -> None:
    model = fl.Model(layers, input_size=3)
    with pytest.raises(ValueError, match=message):
        model.predict(np.zeros((2, 5, 3)), return_state=True)


def test_states_that_do_not_fit() -> None:
    model = model_of([fl.LSTM(9), fl.Dense(2)])
    X = np.zeros((2, 5, 3))
    _, [(h, c)] = model.predict(X, return_state=True)
    with pytest.raises(ValueError, match=r"expected \(1, 3, 9\)"):
        model.predict(np.zeros((3, 5, 3)), state=[(h, c)])
    with pytest.raises(ValueError, match="h holds nan"):
        model.predict(X, state=(h * np.nan, c))
    with pytest.raises(TypeError, match="state must be"):
        model.predict(X, state=h)
    with pytest.raises(TypeError, match="return_state"):
        model.predict(X, return_state="yes")  # type: ignore[arg-type]
    scaler = fl.Standardizer(per_series=True).fit(np.random.default_rng(0).standard_normal((2, 5, 3)))
    with pytest.raises(ValueError, match="per_series"):
        fl.Model([fl.LSTM(3)], input_size=3, scaler=scaler).predict(X, return_state=True)


def test_onnx_files_with_states(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    layers = [fl.LSTM(8, num_layers=2, return_sequences=True), fl.Dense(4), fl.LSTM(5, learn_state=True), fl.Dense(2)]
    model = model_of(layers)
    X = (50 + 4 * np.random.default_rng(2).standard_normal((6, STEPS, 3))).astype("f4")
    whole = model.predict(X)
    model.to_onnx(tmp_path / "model.onnx", with_state=True, with_lengths=True)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = ["state_0_h", "state_0_c", "state_2_h", "state_2_c"]
    assert [one.name for one in session.get_inputs()] == ["x", "lengths", *names]
    states = [array for pair in model.stream(6).state for array in pair]
    for steps in (slice(0, 7), slice(7, 8), slice(8, STEPS)):
        lengths = np.full(6, steps.stop - steps.start, "i4")
        y, *states = session.run(None, {"x": X[:, steps], "lengths": lengths, **dict(zip(names, states, strict=True))})
    # ONNX Runtime has its own order of sums, and the target scaler multiplies its rounding by 9.
    np.testing.assert_allclose(y, whole, atol=1e-4)
    _, expected = model.predict(X, return_state=True)
    for got, right in zip(states, [array for pair in expected for array in pair], strict=True):
        np.testing.assert_allclose(got, right, atol=1e-5)


def test_onnx_files_with_states_of_other_models_are_refused(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="bidirectional"):
        fl.Model([fl.LSTM(3, bidirectional=True)], input_size=3).to_onnx(tmp_path / "a.onnx", with_state=True)
    with pytest.raises(ValueError, match="no layer of the model has a state"):
        fl.Model([fl.Dense(3)], input_size=3).to_onnx(tmp_path / "a.onnx", with_state=True)
