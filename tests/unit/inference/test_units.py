"""Scalers compute in float64: times in seconds, days and counters, whose digits float32 does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

SECONDS, DAYS = 1.7e9, 2460000.5
rng = np.random.default_rng(0)
NEAR = rng.uniform(0, 10, (40, 8, 2))
Y = NEAR.mean((1, 2))

TOLERANCE = 3e-6
"""Of scaled values of size 1 to 10: what float32 in the network rounds, some 20 ulps."""


def trained(X: Any, y: Any, **options: Any) -> fl.Model:
    model = fl.Model([fl.LSTM(6), fl.Dense(1)], scaler=fl.Standardizer(), target_scaler=fl.Standardizer(), seed=2)
    model.fit(X, y, loss="mse", epochs=15, optimizer=fl.Adam(0.02), verbose=0, **options)
    return model


@pytest.mark.parametrize("offset", [SECONDS, -SECONDS, DAYS])
def test_an_offset_of_the_inputs_changes_nothing(offset: float) -> None:
    near, far = trained(NEAR, Y), trained(NEAR + offset, Y)
    expected = near.predict(NEAR)
    assert len(np.unique(expected)) == 40
    # The offset itself rounds the inputs, in float64, by 1e-7.
    np.testing.assert_allclose(far.predict(NEAR + offset), expected, atol=1e-4)
    np.testing.assert_allclose(far.predict(list(NEAR + offset)), expected, atol=1e-4)
    np.testing.assert_array_equal(far.predict(NEAR + offset, batch_size=3), far.predict(NEAR + offset))


def test_an_offset_of_the_targets_changes_no_error() -> None:
    scaled = Y / 500
    near, far = trained(NEAR, scaled), trained(NEAR, scaled + DAYS)
    data = {
        "validation_data": (NEAR, scaled + DAYS),
        "metrics": {"rmse": lambda y, p: float(np.sqrt(((y - p) ** 2).mean()))},
    }
    true = np.abs(far.predict(NEAR) - (scaled + DAYS)).mean()
    assert far.predict(NEAR).dtype == np.float64
    assert far.evaluate(NEAR, scaled + DAYS)["mae"] == pytest.approx(true, rel=1e-5)
    assert far.evaluate(NEAR, scaled + DAYS)["mae"] == pytest.approx(near.evaluate(NEAR, scaled)["mae"], rel=1e-3)
    history = far.fit(NEAR, scaled + DAYS, loss="mse", epochs=1, verbose=0, **data).history
    true = far.predict(NEAR) - (scaled + DAYS)
    assert history["val_mae"][-1] == pytest.approx(np.abs(true).mean(), rel=1e-5)
    assert history["val_rmse"][-1] == pytest.approx(np.sqrt((true**2).mean()), rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.int16])
def test_a_stream_gives_the_bits_of_predict_for_every_type(dtype: Any) -> None:
    X = (NEAR * 100 + (3000 if dtype == np.int16 else 2e6)).astype(dtype)
    model = fl.Model(
        [fl.LSTM(6, return_sequences=True), fl.Dense(1)], scaler=fl.Standardizer(), target_scaler=fl.Standardizer()
    )
    model.fit(X, np.repeat(Y[:, None], 8, 1) + DAYS, loss="mse", epochs=2, verbose=0)
    expected = model.predict(X)
    stream = model.stream(40)
    got = stream.run(X)[..., 0]
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)
    stream.reset()
    out = np.empty((40, 1))
    for t in range(8):
        assert stream.step(X[:, t], out=out) is out
        np.testing.assert_array_equal(out[:, 0], expected[:, t])
    with pytest.raises(TypeError, match="out must be .* of dtype float64, got float32"):
        stream.step(X[:, 0], out=out.astype(np.float32))


def test_a_stream_refuses_what_float32_cannot_hold() -> None:
    model = fl.Model([fl.LSTM(4)], input_size=1, scaler=fl.Standardizer().fit(np.array([1e9, 2e9])))
    for bad in (1e39, -1e39, np.inf, np.nan):
        with pytest.raises(ValueError, match="x holds .* at position 0, expected finite numbers"):
            model.stream().step(np.array([[bad]]))


def test_files_scale_before_they_round(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession
    X, y = NEAR + SECONDS, Y / 500 + DAYS
    for lengths in (None, rng.integers(1, 9, 40)):
        model = fl.Model(
            [fl.LSTM(6, return_sequences=True), fl.Dense(1)], scaler=fl.Standardizer(), target_scaler=fl.Standardizer()
        )
        model.fit(X, np.repeat(y[:, None], 8, 1), lengths=lengths, loss="mse", epochs=3, verbose=0)
        path = str(tmp_path / "m.onnx")
        model.to_onnx(path, with_lengths=lengths is not None)
        expected = model.predict(X, lengths)
        feed: dict[str, Any] = {"x": X} if lengths is None else {"x": X, "lengths": lengths.astype(np.int32)}
        (got,) = session(path).run(None, feed)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got[..., 0], expected, rtol=0, atol=1e-5)
        again = fl.from_onnx(path)
        assert again.scaler == model.scaler and again.target_scaler == model.target_scaler and again.dtype == np.float32
        np.testing.assert_allclose(again.predict(X, lengths), expected, rtol=0, atol=1e-9)
    near = trained(NEAR, Y)
    near.to_onnx(path)
    assert onnx.load(path).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    (got,) = session(path).run(None, {"x": NEAR.astype(np.float32)})
    np.testing.assert_allclose(got[:, 0], near.predict(NEAR), atol=1e-5)


def test_scaled_and_unscaled_arrays() -> None:
    scaler = fl.Standardizer().fit(NEAR + SECONDS)
    x = NEAR + SECONDS
    scaled = scaler.scaled(x, np.float32)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (NEAR - NEAR.mean((0, 1))) / NEAR.std((0, 1)), atol=TOLERANCE)
    np.testing.assert_allclose(scaler.unscaled(scaled), x, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(scaler.transform(x), scaler.scaled(x, np.float64))
    one = fl.Standardizer().fit(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(one.unscaled(np.ones((2, 3))), np.full((2, 3), 3.0))
    with pytest.raises(ValueError, match="expected 2 features"):
        scaler.scaled(np.ones((2, 3)), np.float32)
    with pytest.raises(ValueError, match="not fitted"):
        fl.Standardizer().unscaled(np.ones((2, 3)))
