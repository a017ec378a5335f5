"""Integer models: the emulation has the integers of the C, and both are close to the float model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import random_integer_model

import fastlstm as fl
from fastlstm import _core
from fastlstm.formats.c.integer import arithmetic

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
FUSED = ["-mfma"] if "avx2" in _core.available_isas() else []


def test_functions_are_accurate_and_symmetric() -> None:
    z = np.arange(-17 << 20, 17 << 20, 977, dtype=np.int64)
    inside = arithmetic.to_net(z, 20)
    exact = np.tanh(inside / 2.0**20)
    tanh, sigmoid = arithmetic.tanh(inside), arithmetic.sigmoid(inside)
    # the cubic between values 1/16 apart: h^4 / 384 max |tanh''''| = 1.6e-7, the clipping at 8 2.3e-7, a rounding 3e-8
    assert np.abs(tanh / 2.0**24 - exact).max() < 4e-7
    assert np.abs(sigmoid / 2.0**24 - 1 / (1 + np.exp(-inside / 2.0**20))).max() < 4e-7
    np.testing.assert_array_equal(arithmetic.tanh(-inside), -tanh)
    assert np.abs(arithmetic.sigmoid(-inside) + sigmoid - (1 << 24)).max() <= 1  # both round a half up
    near = arithmetic.tanh(np.arange(0, 9 << 20, 61, dtype=np.int64))
    assert (np.diff(near) >= -1).all()  # rounding down inside the cubic: one unit of 2^-24
    assert near[-1] <= 1 << 24


def test_rounding_is_to_the_nearest() -> None:
    v = np.arange(-1000, 1001, dtype=np.int64)
    for n in (0, 1, 3, 7):
        exact = np.floor(v / 2.0**n + 0.5)
        np.testing.assert_array_equal(arithmetic.rounded(v, n), exact.astype(np.int64))


@needs_compiler
@pytest.mark.parametrize("seed", [*range(23), 24, 40])
def test_emulation_has_the_integers_of_the_c(seed: int) -> None:
    model, series = random_integer_model(seed)
    report = model.to_c("net", dtype="int8", calibrate=series)
    whole = "-Wall -Wextra -Wconversion -Wdouble-promotion -Werror -pedantic -Wshadow -fsanitize=undefined".split()
    code = fl.compiled(report, compiler="gcc", flags=["-O2", "-fno-sanitize-recover", *FUSED, *whole])
    assert code.selftest() == 0
    for x in series[:2]:
        code.reset()
        report.emulator.reset()
        # far outside the calibrated range too, where numbers are clipped
        for k, step in enumerate(x if x.dtype.kind == "i" else np.concatenate([x, 50 * x[:5]])):
            want = report.emulator.step(step if x.dtype.kind == "i" else step[None])[0]
            np.testing.assert_array_equal(code.step(step).view(np.uint32), want.view(np.uint32), err_msg=str(k))
    spread = max(report.quality["spread"], 0.02)  # some of the models answer nearly the same always
    assert report.quality["mean_error"] < 0.05 * spread


@needs_compiler
def test_states_are_the_same_integers_and_do_not_drift() -> None:
    model = fl.Model([fl.LSTM(12, forget_bias=5.0), fl.Dense(2)], input_size=2, seed=6)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 2)).astype(np.float32)
    x[50_000:] = 0  # nothing new: the state must neither fade to zero nor wander
    report = model.to_c("net", dtype="int8", calibrate=x[None, :2000])
    code = fl.compiled(report)
    got = code.run(x)
    exact = model.stream().run(x[None])[0]
    spread = exact[:50_000].std()
    parts = [
        np.abs(got[first : first + 10_000] - exact[first : first + 10_000]).mean() for first in (0, 40_000, 90_000)
    ]
    assert max(parts) < 0.02 * spread
    assert parts[1] < 2 * parts[0]  # the error of steps 40,000 to 50,000 is not larger than that of the first ones
    emulator = report.emulator
    emulator.reset()
    for step in x[:3000]:
        emulator.step(step[None])
    code.reset()
    code.run(x[:3000])
    memory = code.memory
    np.testing.assert_array_equal(np.frombuffer(memory, np.int16, 12), emulator.values[1][0])


def test_a_missing_feature_gives_nan_and_changes_nothing() -> None:
    model = fl.Model([fl.LSTM(5), fl.Dense(2)], input_size=2)
    report = model.to_c("net", dtype="int8", calibrate=np.random.default_rng(0).normal(size=(3, 20, 2)))
    emulator = report.emulator
    first = emulator.step([[0.3, 0.4]])
    assert np.isnan(emulator.step([[np.nan, 1.0]])).all()
    second = emulator.step([[0.3, 0.4]])
    emulator.reset()
    np.testing.assert_array_equal(emulator.step([[0.3, 0.4]]), first)
    np.testing.assert_array_equal(emulator.step([[0.3, 0.4]]), second)


def test_what_is_emulated_is_checked_first() -> None:
    X = np.random.default_rng(0).normal(size=(4, 9, 3)).astype(np.float32)
    model = fl.Model([fl.LSTM(5), fl.Dense(2), fl.Activation("softmax")], input_size=3)
    emulator = model.to_c("net", dtype="int8", calibrate=X).emulator
    together = emulator.run(X)  # the first call says how many series there are
    assert together.shape == (4, 9, 2)
    emulator.reset()
    np.testing.assert_array_equal(emulator.run(X[2:3]), together[2:3])
    for wrong, message in (
        (X, r"x has 4 series, the emulator is at work on 1: reset\(4\)"),
        (X[0], r"shape \(9, 3\), expected \(series, steps, 3\): pass x\[None\]"),
        (X[:1, :, :1], r"shape \(1, 9, 1\), expected \(series, steps, 3\)"),
        (X[:0], r"shape \(0, 9, 3\)"),
        (X[:1] * np.float32(np.inf), "expected numbers that fit float32"),
    ):
        with pytest.raises(ValueError, match=message):
            emulator.run(wrong)
    with pytest.raises(ValueError, match=r"shape \(1, 1\), expected \(series, 3\)"):
        emulator.step([[1.0]])
    with pytest.raises(TypeError, match="complex"):
        emulator.step([[1j, 0, 0]])
    with pytest.raises(ValueError, match="batch must be at least 1"):
        emulator.reset(0)
    emulator.reset(4)
    np.testing.assert_array_equal(emulator.run(X[:, :4]), together[:, :4])
    assert emulator.run(X[:, :0]).shape == (4, 0, 2)
    np.testing.assert_array_equal(emulator.run(X[:, 4:]), together[:, 4:])
    emulator.reset()
    np.testing.assert_array_equal(emulator.step([1, 2, 3]), emulator_of(model, X).step([[1.0, 2.0, 3.0]]))
    X[1, 2, 0] = np.nan
    emulator.reset()
    with pytest.raises(ValueError, match=r"answer at \[series, step\] = \[1, 2\] is nan"):
        emulator.run(X)


def emulator_of(model: fl.Model, X: np.ndarray) -> Any:
    return model.to_c("net", dtype="int8", calibrate=X).emulator


def test_tokens_that_the_table_does_not_hold_are_refused() -> None:
    ids = np.random.default_rng(0).integers(0, 7, (5, 9))
    model = fl.Model([fl.Embedding(7, 3), fl.LSTM(4), fl.Dense(2)])
    model.forward(ids)
    emulator = emulator_of(model, ids)
    for token in (7, -1):
        with pytest.raises(ValueError, match=f"token {token} is not in the table: expected 0 to 6"):
            emulator.run([[1, 2, token]])
    with pytest.raises(TypeError, match="expected integers"):
        emulator.step([2.7])
    np.testing.assert_array_equal(emulator.run(ids), emulator_of(model, ids).run(ids))


def test_quality_tells_the_accuracy_of_both() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 20, 2))
    y = np.where(X[:, :, 0].mean(axis=1) > 0, "up", "down")
    model = fl.Model([fl.LSTM(8), fl.Dense(2)], classes=["down", "up"], scaler=fl.Standardizer())
    model.fit(X, y, epochs=15, verbose=0)
    report = model.to_c("net", dtype="int8", calibrate=(X, y))
    assert report.quality["float_accuracy"] == pytest.approx((model.predict_classes(X) == y).mean())
    assert abs(report.quality["int8_accuracy"] - report.quality["float_accuracy"]) < 0.02
    assert report.quality["agreement"] > 0.97
    assert "int8_accuracy" in str(report)
    assert report.rom_bytes < model.to_c("net").rom_bytes
    by_number = model.to_c("net", dtype="int8", calibrate=(X, (y == "up").astype(int)))
    assert by_number.quality == report.quality
    with pytest.raises(ValueError, match=r"calibrate\[1\] has 5 cases, calibrate has 120"):
        model.to_c("net", dtype="int8", calibrate=(X, y[:5]))
    with pytest.raises(ValueError, match=r"calibrate\[1\] holds the label 'UP'"):
        model.to_c("net", dtype="int8", calibrate=(X, np.where(y == "up", "UP", y)))


def test_quality_tells_the_error_of_values_that_are_known() -> None:
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(5 + k % 3, 2)) for k in range(30)]
    y = [x[:, :1] * 3 for x in X]
    layers = [fl.LSTM(6, return_sequences=True), fl.Dense(1)]
    model = fl.Model(layers, input_size=2, target_scaler=fl.Standardizer().fit(np.concatenate(y)), seed=2)
    whole = model.to_c("net", dtype="int8", calibrate=(X, y)).quality
    errors = np.concatenate([model.predict(x[None])[0] - one for x, one in zip(X, y, strict=True)])
    assert whole["float_rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
    assert whole["int8_rmse"] == pytest.approx(whole["float_rmse"], rel=1e-2)
    y[0][2:] = np.nan
    known = np.isfinite(np.concatenate(y))
    some = model.to_c("net", dtype="int8", calibrate=(X, y)).quality
    assert some["float_rmse"] == pytest.approx(np.sqrt((errors[known] ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fl.LSTM(3, peepholes=True)], "cell with options"),
        ([fl.LSTM(3, return_sequences=True), fl.AttentionPool(2)], "softmax|attention"),
        ([fl.Activation("elu"), fl.LSTM(3)], "activation elu"),
        ([fl.Activation("relu")], "no weights"),
        ([fl.Dense(16384), fl.Dense(1)], "layer of 16384 features, the C export takes up to 16383"),
    ],
)
def test_what_has_no_integer_form_is_refused(layers: list[fl.layers.Layer], message: str) -> None:
    model = fl.Model(layers, input_size=2)
    with pytest.raises(ValueError, match=message):
        model.to_c("net", dtype="int8", calibrate=np.zeros((2, 5, 2)))


def test_memory_is_a_third() -> None:
    model = fl.Model([fl.LSTM(64), fl.Dense(5)], input_size=3)
    whole = model.to_c("net", dtype="int8", calibrate=np.random.default_rng(0).normal(size=(4, 30, 3)))
    assert whole.rom_bytes < 0.35 * model.to_c("net").rom_bytes  # a quarter, and 12 numbers of 32 bits for each unit


def test_files_are_written(tmp_path: Path) -> None:
    model = fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=2)
    report = model.to_c("net", tmp_path, dtype="int8", calibrate=np.ones((2, 5, 2)), style="header")
    assert [path.name for path in tmp_path.iterdir()] == ["net.h"] == list(report.files)


@needs_compiler
def test_sums_of_many_inputs_need_64_bits() -> None:
    rng = np.random.default_rng(0)
    model = fl.Model(
        [fl.LSTM(3, return_sequences=True), fl.Dense(600), fl.Activation("tanh"), fl.Dense(2)], input_size=600
    )
    for p in model.parameters().values():
        p *= 3
    X = rng.choice([-1.0, 1.0], (4, 10, 600))
    report = model.to_c("net", dtype="int8", calibrate=X)
    assert "int64_t sum = 0" in report.files["net.c"]
    code = fl.compiled(report)
    np.testing.assert_array_equal(code.run(X[0]), report.emulator.run(X[:1])[0])
    assert report.quality["mean_error"] < 0.05 * report.quality["spread"]
