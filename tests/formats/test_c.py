"""Exported C answers with the bits of the stream."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from random_models import random_model

import fastlstm as fl
from fastlstm import _core
from fastlstm.formats.c import CReport

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
nightly = os.environ.get("FASTLSTM_NIGHTLY") == "1"

FUSED = ["-mfma"] if "avx2" in _core.available_isas() else []
BUILDS = {
    "gcc -O0": ("gcc", ["-O0", *FUSED]),
    "gcc -O2": ("gcc", ["-O2", *FUSED]),
    "gcc -Os": ("gcc", ["-Os", *FUSED]),
    "gcc -O3 gnu": ("gcc", ["-O3", "-std=gnu11", "-march=native"]),
    "clang -O2": ("clang", ["-O2", *FUSED]),
    "soft": ("gcc", ["-O2"]),
}


def answers(model: fl.Model, series: np.ndarray) -> np.ndarray:
    """Return what the stream answers to each step of a series, in float32."""
    stream = model.stream()
    return np.stack([np.asarray(stream.step(x[None]), np.float32).reshape(-1) for x in series])


@needs_compiler
@pytest.mark.parametrize("seed", range(50))
def test_random_models_have_the_bits_of_the_stream(seed: int) -> None:
    model, series = random_model(seed)
    report = model.to_c("net", selftest=7, style="header" if seed % 3 == 0 else "files")
    expected = answers(model, series)
    assert np.isfinite(expected).all()
    names = [name for name, (compiler, _) in BUILDS.items() if shutil.which(compiler)]
    for name in names if nightly else [names[seed % len(names)]]:
        compiler, flags = BUILDS[name]
        code = fl.compiled(report, compiler=compiler, flags=flags)
        got = code.run(series)
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32), err_msg=name)
        assert code.selftest() == 0
        assert report.ram_bytes <= code.state_bytes <= report.ram_bytes + 16
        code.reset()
        np.testing.assert_array_equal(code.run(series[:3]), expected[:3])


@needs_compiler
@pytest.mark.parametrize("seed", [1, 4, 11, 18, 25, 33])
def test_each_instruction_set_has_its_bits(seed: int, isa: str) -> None:
    model, series = random_model(seed)
    report = model.to_c("net")
    expected = answers(model, series)
    flags = ["-O2", "-DNET_FMA=0"] if isa == "portable" else ["-O2", *FUSED]
    code = fl.compiled(report, flags=flags)
    np.testing.assert_array_equal(code.run(series).view(np.uint32), expected.view(np.uint32))
    assert code.selftest() == 0


@needs_compiler
def test_products_without_fusing_pass_the_self_test_within_its_tolerance() -> None:
    report = fl.Model([fl.LSTM(24, return_sequences=True), fl.LSTM(9), fl.Dense(2)], input_size=3).to_c("net")
    assert fl.compiled(report, flags=["-O2", "-DNET_FMA=0"]).selftest() == 0


@needs_compiler
def test_attention_pooling() -> None:
    model = fl.Model([fl.LSTM(12, return_sequences=True), fl.AttentionPool(5), fl.Dense(2)], input_size=3, seed=3)
    for p in model.parameters().values():
        p *= 4
    series = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    got = fl.compiled(model.to_c("net")).run(series)
    # exp() in double is the machine's there and its own here: a rounding to float32 differs once in some 10^7 numbers
    np.testing.assert_allclose(got, answers(model, series), rtol=3e-7, atol=3e-8)


@needs_compiler
def test_batch_norm_is_a_multiplication_and_an_addition() -> None:
    layers = [fl.BatchNorm(), fl.LSTM(7, return_sequences=True), fl.BatchNorm(bias=False), fl.Dense(2), fl.BatchNorm()]
    model = fl.Model(layers, input_size=3, seed=3)
    model.flat_parameters[:] += np.random.default_rng(1).uniform(0, 0.3, model.flat_parameters.shape)
    series = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    got = fl.compiled(model.to_c("net")).run(series)
    np.testing.assert_array_equal(got.view(np.uint32), answers(model, series).view(np.uint32))


@needs_compiler
def test_the_self_test_finds_a_wrong_bit() -> None:
    report = fl.Model([fl.LSTM(5), fl.Dense(2)], input_size=3).to_c("net")
    text = report.files["net.c"]
    start = text.index("net_w0[")
    digit = text.index("0.", start) + 4
    wrong = text[:digit] + ("7" if text[digit] != "7" else "8") + text[digit + 1 :]
    assert fl.compiled(_with(report, wrong)).selftest() == 1


def _with(report: CReport, source: str) -> CReport:
    return CReport(**{**vars(report), "files": {**report.files, "net.c": source}})


@needs_compiler
def test_run_is_predict_of_a_window(tmp_path: Path) -> None:
    import ctypes

    model = fl.Model([fl.LSTM(9), fl.Dense(2)], input_size=3)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model.to_c("net", tmp_path)
    library = tmp_path / "net.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, tmp_path / "net.c"], check=True)
    y = np.empty(2, np.float32)
    run = ctypes.CDLL(str(library)).net_run
    assert run(x.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint32(40), y.ctypes.data_as(ctypes.c_void_p)) == 0
    np.testing.assert_array_equal(y, model.predict(x[None])[0])
    assert run(None, ctypes.c_uint32(0), y.ctypes.data_as(ctypes.c_void_p)) == -1


@needs_compiler
@pytest.mark.parametrize("value", [0.0, 0.1, -1.0, 1e-40, float("nan")])
def test_masked_steps_are_those_of_the_stream(value: float) -> None:
    model = fl.Model([fl.Masking(value), fl.LSTM(4), fl.Dense(2)], input_size=2, seed=1)
    x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    x[3], x[7], x[9, 0] = value, 0, 0.5
    np.testing.assert_array_equal(fl.compiled(model.to_c("net")).run(x), answers(model, x))
    report = model.to_c("net", dtype="int8", calibrate=x[None])
    np.testing.assert_array_equal(fl.compiled(report).run(x), report.emulator.run(x[None])[0])


@needs_compiler
def test_the_program_of_the_document_answers_as_the_stream(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "firmware.md").read_text("utf-8")
    (program,) = [block for block in re.findall(r"```c\n(.*?)```", text, re.DOTALL) if "int main" in block]
    (tmp_path / "main.c").write_text(program)
    layers = [fl.LSTM(32), fl.Dense(2), fl.Activation("softmax")]
    model = fl.Model(layers, input_size=4, scaler=fl.Standardizer().fit(np.random.default_rng(0).normal(size=(50, 4))))
    model.to_c("pf", tmp_path / "model")
    warnings = "-std=c99 -Wall -Wextra -Wconversion -Wdouble-promotion -Werror".split()
    command = ["gcc", "-O2", *FUSED, *warnings, "-Imodel", "main.c", "model/pf.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    x = np.zeros((100, 4), np.float32)
    x[:, 0] = np.float32(0.01) * np.arange(100, dtype=np.float32)
    np.testing.assert_array_equal(np.array(printed.split(), np.float32), answers(model, x)[:, 0])


@needs_compiler
def test_an_unknown_token_is_refused() -> None:
    model = fl.Model([fl.Embedding(7, 3), fl.LSTM(4), fl.Dense(2)])
    model.forward(np.zeros((1, 1), np.int64))
    code = fl.compiled(model.to_c("net"))
    first = code.step(6)
    for token in (7, -1):
        with pytest.raises(ValueError, match=f"token {token} is not in the table: expected 0 to 6"):
            code.step(token)
    stream = model.stream()
    np.testing.assert_array_equal(stream.step([6])[0], first)
    np.testing.assert_array_equal(stream.step([2])[0], code.step(2))
    with pytest.raises(ValueError, match="token 4294967297"):
        code.run([1, 2**32 + 1])
    np.testing.assert_array_equal(stream.step([3])[0], code.step([3]))


@needs_compiler
def test_what_is_run_is_checked_first() -> None:
    model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
    code = fl.compiled(model.to_c("net"))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    first = code.run(x[:2])
    for wrong, message in (
        (x[None], r"shape \(1, 5, 3\), expected \(steps, 3\): pass x\[0\]"),
        (x[:, :2], r"shape \(5, 2\), expected \(steps, 3\)"),
        (x[:0, :2], r"shape \(0, 2\), expected \(steps, 3\)"),
        (x[0], r"shape \(3,\), expected \(steps, 3\)"),
        (x.astype(np.float64) * 1e300, r"x\[0, 0\] is .*, expected numbers that fit float32"),
    ):
        with pytest.raises(ValueError, match=message):
            code.run(wrong)
    with pytest.raises(TypeError, match="expected real numbers"):
        code.run([["1", "2", "3"]])
    for wrong in (x[:2], x[:1].T, x[0, 0]):
        with pytest.raises(ValueError, match="x has"):
            code.step(wrong)
    np.testing.assert_array_equal(code.run(x[2:]), answers(model, x)[2:])  # nothing of that has changed the state
    code.reset()
    np.testing.assert_array_equal(code.run(x[:2]), first)
    assert np.isnan(code.step([np.nan, 0, 0])).all()  # a step answers as the firmware does, a run takes no such series
    code.reset()
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"answer at \[step\] = \[3\] is nan"):
        code.run(x)
    one = fl.compiled(fl.Model([fl.LSTM(4)], input_size=1).to_c("net"))
    with pytest.raises(ValueError, match=r"pass x\[\.\.\., None\]"):
        one.run(x[:, 0])


@needs_compiler
def test_arguments_of_compiled_are_checked() -> None:
    report = fl.Model([fl.LSTM(4)], input_size=1).to_c("net")
    with pytest.raises(TypeError, match="report must be what model.to_c"):
        fl.compiled(fl.Model([fl.LSTM(4)], input_size=1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="flags must be a list of options"):
        fl.compiled(report, flags="-O2")
    with pytest.raises(RuntimeError, match="leave NET_NO_SELFTEST out"):
        fl.compiled(report, flags=["-O2", "-DNET_NO_SELFTEST"]).selftest()
    with pytest.raises(RuntimeError, match="no C compiler nowhere"):
        fl.compiled(report, compiler="nowhere")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fl.LSTM(3, bidirectional=True)], "layer 0 is bidirectional.*use bidirectional=False"),
        ([fl.LSTM(3, reverse=True)], "use reverse=False"),
        ([fl.StackSteps(2), fl.LSTM(3)], "StackSteps"),
        ([fl.Differences(), fl.LSTM(3)], "Differences"),
        ([fl.LSTM(3), fl.RepeatVector(2)], "RepeatVector"),
        ([fl.Conv1D(3, 2), fl.LSTM(3)], "layer 0 is a Conv1D with padding 'valid'"),
        ([fl.Conv1D(3, 2, padding="causal"), fl.LSTM(3)], "stage 0 .* Conv1D, which the C export does not have"),
        ([fl.MaxPool1D(2), fl.LSTM(3)], "layer 0 is a MaxPool1D with stride 2"),
        ([fl.AvgPool1D(2, stride=1, padding="causal")], "stage 0 .* AvgPool1D, which the C export does not have"),
        ([fl.LSTM(3), fl.Activation("gelu")], "stage 1 of the model is one with the activation gelu, which the C"),
        ([fl.LSTM(3, cell_activation="gelu_tanh")], "stage 0 of the model is one with the activation gelu_tanh"),
        ([fl.LSTM(3), fl.LayerNorm()], "stage 1 .* LayerNorm, which the C export does not have"),
        ([fl.LSTM(3, return_sequences=True), fl.Flatten(4)], "layer 1 is a Flatten, whose output needs all 4 steps"),
    ],
)
def test_what_no_stream_takes_is_refused_with_the_reason(layers: list[fl.layers.Layer], message: str) -> None:
    model = fl.Model(layers, input_size=2)
    with pytest.raises(ValueError, match=message):
        model.to_c("net")


def test_arguments_are_checked() -> None:
    model = fl.Model([fl.LSTM(3)], input_size=2)
    for name in ("1a", "a b", "", "ä", "a" * 32, None):
        with pytest.raises(ValueError, match="C identifier"):
            model.to_c(name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dtype"):
        model.to_c("net", dtype="float16")
    with pytest.raises(ValueError, match="style"):
        model.to_c("net", style="folder")
    for steps in (0, 2**15):
        with pytest.raises(ValueError, match="selftest"):
            model.to_c("net", selftest=steps)
    with pytest.raises(ValueError, match="calibrate"):
        model.to_c("net", dtype="int8")
    with pytest.raises(RuntimeError, match="built"):
        fl.Model([fl.LSTM(3)]).to_c("net")
    with pytest.raises(ValueError, match="float32"):
        fl.Model([fl.LSTM(3)], input_size=2, dtype="float64").to_c("net")
    model.parameters()["0.bias_ih_l0"][0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        model.to_c("net")


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    def make() -> fl.Model:
        return fl.Model(
            [fl.LSTM(3), fl.Dense(2)], input_size=2, feature_names=["a*/ \\ b", "größe??/"], classes=["n", "v"]
        )

    one = make().to_c("net", tmp_path / "new" / "folder")
    two = make().to_c("net")
    assert one.files == two.files
    assert one.weights_hash == two.weights_hash
    assert {path.name: path.read_text("ascii") for path in (tmp_path / "new" / "folder").iterdir()} == two.files
    other = make()
    other.parameters()["0.bias_ih_l0"][0] += 1
    assert other.to_c("net").weights_hash != one.weights_hash
    head = one.files["net.h"]
    assert "x[0]      a* / / b" in head
    assert "x[1]      gr\\u00f6\\u00dfe? ?/" in head
    assert "y[1]      v" in head


def test_a_mean_far_beyond_the_scale_is_warned_of() -> None:
    scaler = fl.Standardizer().fit(1.7e9 + np.arange(100.0)[:, None])
    model = fl.Model([fl.LSTM(3)], input_size=1, scaler=scaler, feature_names=["time"])
    with pytest.warns(UserWarning, match=r"feature 0 \(time\) is 5\.\d+e\+07 times its scale"):
        model.to_c("net")
