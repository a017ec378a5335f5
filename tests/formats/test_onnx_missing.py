"""Scalers that handle missing values, and scaling of each series by itself, in files of `Model.to_onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

import fastlstm as fl  # noqa: E402

TOLERANCE = 3e-6
"""Absolute, of outputs of size 1: 25 ulps. ONNX Runtime's tanh and exp are approximations."""

N, T, F = 20, 9, 4
SCALERS = {
    "mask": lambda: fl.Standardizer("mask"),
    "mask-all": lambda: fl.Standardizer("mask-all"),
    "robust": lambda: fl.RobustScaler("mask"),
    "robust, plain": fl.RobustScaler,
    "per series": lambda: fl.Standardizer(per_series=True),
    "per series, mask": lambda: fl.Standardizer("mask", per_series=True),
    "per series, mask-all": lambda: fl.Standardizer("mask-all", per_series=True),
}


def inputs(seed: int, gaps: bool, offset: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, T, F)) * [1, 10, 0.1, 3] + [0, 1000, 2, offset]
    if gaps:
        for feature in (0, 2):
            X[:, :, feature][rng.random((N, T)) < 0.3] = np.nan
        X[3, :, 0] = np.nan  # nothing is known
        X[4, 1:, 2] = np.nan
    X[5, :, 1] = 7.0  # a constant
    return X


def run(path: Path, x: Any, lengths: Any) -> Any:
    session = ort.InferenceSession(str(path))
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}[session.get_inputs()[0].type]
    assert session.get_inputs()[0].shape[2] == F
    feed = {"x": x.astype(kind)}
    if lengths is not None:
        feed["lengths"] = lengths.astype(np.int32)
    return session.run(None, feed)[0]


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1.7e9])
@pytest.mark.parametrize("name", SCALERS)
def test_onnx_runtime_gives_what_predict_gives(
    name: str, offset: float, with_lengths: bool, per_step: bool, tmp_path: Path
) -> None:
    """Also for times in seconds, which float32 does not hold: the file reads float64 then."""
    scaler = SCALERS[name]()
    X = inputs(0, scaler.missing != "error", offset)
    if not offset and not scaler.per_series:
        X = X.astype(np.float32).astype(np.float64)  # what the file reads
    lengths = np.random.default_rng(1).integers(1, T + 1, N) if with_lengths else None
    model = fl.Model([fl.LSTM(5, return_sequences=per_step), fl.Dense(2)], scaler=scaler)
    y = np.random.default_rng(2).normal(size=(N, T, 2) if per_step else (N, 2))
    model.fit(X, y, lengths=lengths, loss="mse", epochs=2, verbose=0)
    expected = model.predict(X, lengths)
    padded = X.copy()
    if lengths is not None:
        padded[np.arange(T) >= lengths[:, None]] = np.nan  # never read
    path = tmp_path / "m.onnx"
    model.to_onnx(path, with_lengths=with_lengths)
    got = run(path, padded, lengths)
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)
    without = np.where(np.isnan(X), 3.0, X)
    if scaler.missing != "error":  # the channels matter
        assert np.abs(run(path, without, lengths) - expected).max() > 1e-3
    np.testing.assert_allclose(run(path, without, lengths), model.predict(without, lengths), rtol=0, atol=TOLERANCE)


def test_a_file_does_not_take_other_missing_values_for_the_mean(tmp_path: Path) -> None:
    """It raises no error, but NaN stays NaN up to the first LSTM, in which ONNX Runtime loses it."""
    X = inputs(0, True)
    model = fl.Model([fl.Dense(2)], scaler=fl.Standardizer("mask"))
    model.fit(X, np.zeros((N, T, 2)), loss="mse", epochs=1, verbose=0)
    model.to_onnx(tmp_path / "m.onnx")
    X[2, 4, 3] = np.nan
    got = run(tmp_path / "m.onnx", X, None)
    assert np.isnan(got[2, 4]).all() and np.isnan(got).sum() == 2


def test_what_is_not_read_again_is_refused(tmp_path: Path) -> None:
    model = fl.Model([fl.LSTM(5), fl.Dense(2)], scaler=fl.Standardizer("mask"))
    path = tmp_path / "m.onnx"
    with pytest.raises(RuntimeError, match="not built yet"):
        model.to_onnx(path)
    model.fit(inputs(0, True), np.arange(N) % 2, epochs=1, verbose=0)
    model.to_onnx(path)
    with pytest.raises(ValueError, match="operator IsNaN, opset 17.* is not supported"):
        fl.from_onnx(path)
    robust = fl.Model([fl.LSTM(5), fl.Dense(2)], scaler=fl.RobustScaler(), seed=1)
    X = inputs(0, False)
    robust.fit(X, np.arange(N) % 2, epochs=1, verbose=0)
    robust.to_onnx(path)
    again = fl.from_onnx(path)  # the same numbers under another name
    np.testing.assert_array_equal(again.scaler.mean_.astype("f4"), robust.scaler.center_.astype("f4"))
    np.testing.assert_allclose(again.predict(X), robust.predict(X), rtol=0, atol=1e-4)
