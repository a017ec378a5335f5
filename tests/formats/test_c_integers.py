"""Integer models: the emulation has the integers of the C, and both are close to the float model."""

from __future__ import annotations

import shutil
from pathlib import Path

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


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fl.LSTM(3, peepholes=True)], "cell with options"),
        ([fl.LSTM(3, return_sequences=True), fl.AttentionPool(2)], "softmax|attention"),
        ([fl.Activation("elu"), fl.LSTM(3)], "activation elu"),
        ([fl.Activation("relu")], "no weights"),
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
