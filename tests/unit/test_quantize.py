"""Models with weights of 8 bits: what they compute, keep, and refuse."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import in_threads

import fastlstm as fl
from fastlstm.formats import safetensors

STACKS: dict[str, Callable[[], list[Any]]] = {
    "last step": lambda: [fl.LSTM(17), fl.Dense(3)],
    "bidirectional": lambda: [
        fl.LSTM(9, num_layers=2, bidirectional=True, return_sequences=True, residual=False),
        fl.Dense(20),
        fl.Activation("relu"),
        fl.LSTM(33, bidirectional=True, merge="sum"),
        fl.Dense(2, bias=False),
    ],
    "steps": lambda: [fl.LSTM(40, num_layers=2, residual=True, return_sequences=True), fl.Dense(4)],
    "kept": lambda: [fl.LSTM(12, peepholes=True, return_sequences=True), fl.LSTM(8, learn_state=True), fl.Dense(2)],
}


def data(n: int = 30, steps: int = 12) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((n, steps, 4)) * [1, 30, 0.1, 2]).astype("f4")


def model(name: str = "last step") -> fl.Model:
    """Return a model with a fitted scaler and weights that nobody has trained."""
    made = fl.Model(STACKS[name](), input_size=4, scaler=fl.Standardizer().fit(data()), seed=1)
    made.loss = "mse"  # type: ignore[assignment]
    return made


def change(small: fl.Model, whole: fl.Model, X: Any) -> float:
    """Return the largest change of an output, in units of its standard deviation."""
    expected = np.asarray(whole.predict(X))
    return float(np.abs(np.asarray(small.predict(X)) - expected).max() / expected.std())


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_close_to_the_model(isa: str, name: str, calibrated: bool) -> None:
    whole, X = model(name), data()
    before = whole.flat_parameters.copy()
    small = whole.quantize(X if calibrated else None)
    assert small.quantized and small.frozen and not whole.quantized and not whole.frozen
    np.testing.assert_array_equal(whole.flat_parameters, before)
    # Weights and inputs are off by less than 1 / 254 of their largest values; untrained outputs have a small deviation.
    assert 0 < change(small, whole, X) < 0.15


@pytest.mark.parametrize("name", STACKS)
def test_files_copies_and_pickles_have_the_same_bits(name: str, tmp_path: Path) -> None:
    whole, X, path = model(name), data(), tmp_path / "small.safetensors"
    lengths = np.arange(len(X)) % 12 + 1
    for small in (whole.quantize(), whole.quantize(X, lengths)):
        expected = small.predict(X, lengths)
        small.save(path)
        for other in (fl.load(path), copy.copy(small), copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
            assert other.quantized and other.frozen
            np.testing.assert_array_equal(other.predict(X, lengths), expected)
            np.testing.assert_array_equal(other.forward(X[:, :3]), small.forward(X[:, :3]))  # layer by layer
            np.testing.assert_array_equal(other.flat_parameters, small.flat_parameters)
        small.save(tmp_path / "again.safetensors")
        fl.load(path).save(tmp_path / "third.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
        assert (tmp_path / "third.safetensors").read_bytes() == path.read_bytes()


def test_the_size_of_a_file(tmp_path: Path) -> None:
    whole = fl.Model([fl.LSTM(128), fl.Dense(9)], input_size=12)
    whole.save(tmp_path / "whole")
    whole.quantize().save(tmp_path / "small")
    assert (tmp_path / "small").stat().st_size < 0.28 * (tmp_path / "whole").stat().st_size


def test_streams_have_the_bits_of_predict() -> None:
    whole, X = model("steps"), data()
    for small in (whole.quantize(), whole.quantize(X)):
        expected = small.predict(X[:3])
        stream = small.stream(batch_size=3)
        steps = [stream.step(X[:3, t]) for t in range(5)]
        np.testing.assert_array_equal(np.stack(steps, axis=1), expected[:, :5])
        np.testing.assert_array_equal(stream.run(X[:3, 5:]), expected[:, 5:])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(small.stream(1))).run(X[:1]), expected[:1])


def test_any_batch_thread_and_state() -> None:
    whole, X = model("steps"), data()
    small = whole.quantize(X)
    expected = small.predict(X)
    np.testing.assert_array_equal(small.predict(X, batch_size=7, n_threads=2), expected)
    answers: list[Any] = [None] * 4
    in_threads(4, lambda k: answers.__setitem__(k, small.predict(X, n_threads=1)))
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    first, state = small.predict(X[:, :5], return_state=True)
    np.testing.assert_array_equal(np.concatenate([first, small.predict(X[:, 5:], state=state)], axis=1), expected)
    h, c = state[0]
    beyond = h * 0 + 1.5
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        small.predict(X, state=[(beyond, c)])
    stream = small.stream(len(X))
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        stream.state = [(beyond, c)]
    with pytest.raises(ValueError, match="lies between -1 and 1"):
        stream.load_state({**stream.save_state(), "0.h": np.ones_like(stream.save_state()["0.h"]) * -2})


def test_the_report() -> None:
    whole, X = model("kept"), data()
    small = whole.quantize(X, skip=[-1])
    report = small.quantization_report
    assert report is not None and whole.quantization_report is None
    assert [(one.number, one.layer, one.bits) for one in report.layers] == [
        (0, "LSTM", 32),
        (1, "LSTM", 8),
        (2, "Dense", 32),
    ]
    assert "another cell" in report.layers[0].reason and report.layers[2].reason == "is left out"
    difference = np.asarray(small.predict(X)) - np.asarray(whole.predict(X))
    spread = np.asarray(whole.predict(X), np.float64)
    expected = np.sqrt((difference.astype(np.float64) ** 2).mean()) / (spread - spread.mean(axis=0)).std()
    assert report.error == pytest.approx(expected, rel=1e-6)
    assert report.layers[1].error == report.error and report.agreement is None
    assert "1 LSTM" in str(report) and "%" in str(report)
    dynamic = whole.quantize().quantization_report
    assert dynamic is not None and dynamic.error is None and dynamic.layers[1].error is None
    # The first layer reads the scaled values, and each feature has a limit.
    assert whole.layers[1].quantized is None and set(small.layers[1].quantized.limits) == {"x_l0"}  # type: ignore[union-attr]


def test_classes_agree() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 20, 3)).astype("f4")
    y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
    whole = fl.Model([fl.LSTM(16), fl.Dense(2)], seed=0)
    whole.fit(X, y, epochs=3, verbose=0)
    small = whole.quantize(X)
    agreement = float((small.predict_classes(X) == whole.predict_classes(X)).mean())
    assert small.quantization_report is not None and small.quantization_report.agreement == agreement > 0.95
    assert abs(small.evaluate(X, y)["accuracy"] - whole.evaluate(X, y)["accuracy"]) <= 0.05


def test_limits_of_features() -> None:
    """A feature that is a thousand times as large as another one does not take its accuracy if there are limits."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 10, 2)) * [1000, 1]).astype("f4")
    whole = fl.Model([fl.LSTM(16)], input_size=2, seed=0)
    state = whole.state_dict()
    state["0.weight_ih_l0"][:, 0] /= 1000
    whole.load_state_dict(state)
    assert change(whole.quantize(X), whole, X) < 0.1 < change(whole.quantize(), whole, X)
    # Padding does not count, and a feature that was always 0 is not lost.
    lengths = np.full(50, 4)
    padded = X.copy()
    padded[:, 4:] = 1e6
    padded[..., 1] = 0
    limits = whole.quantize(padded, lengths).layers[0].quantized.limits["x_l0"]  # type: ignore[union-attr]
    largest = np.abs(X[:, :4, 0]).max()
    np.testing.assert_array_equal(limits, [largest, largest])


def test_masked_steps() -> None:
    X = data()
    X[:, 5] = -1
    whole = fl.Model([fl.Masking(-1.0), fl.LSTM(16), fl.Dense(2)], input_size=4, seed=0)
    small = whole.quantize(X)
    assert change(small, whole, X) < 0.15
    np.testing.assert_array_equal(small.predict(X), small.predict(np.delete(X, 5, axis=1)))


REFUSALS: dict[str, tuple[Callable[[fl.Model], Any], type[Exception], str]] = {
    "fit": (lambda m: m.fit(data(), np.zeros(30)), RuntimeError, "8 bits"),
    "unfreeze": (lambda m: m.unfreeze(), RuntimeError, "8 bits"),
    "weights": (lambda m: m.load_state_dict(m.state_dict()), RuntimeError, "8 bits"),
    "onnx": (lambda m: m.to_onnx("x.onnx"), ValueError, "the model of which"),
    "c": (lambda m: m.to_c("x"), ValueError, "the model of which"),
    "again": (lambda m: m.quantize(), RuntimeError, "already"),
    "training": (lambda m: m.forward(data(), training=True), RuntimeError, "8 bits"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_a_quantized_model_refuses(what: str) -> None:
    call, error, message = REFUSALS[what]
    if what == "onnx":
        pytest.importorskip("onnx")
    small = model().quantize()
    with pytest.raises(error, match=message):
        call(small)
    assert small.quantized


def test_models_that_cannot_be_quantized() -> None:
    with pytest.raises(ValueError, match="expected float32"):
        fl.Model([fl.LSTM(4)], input_size=2, dtype="float64").quantize()
    with pytest.raises(ValueError, match="nothing to quantize: layer 0 has another cell"):
        fl.Model([fl.LSTM(4, proj_size=2)], input_size=2).quantize()
    with pytest.raises(RuntimeError, match="not built"):
        fl.Model([fl.LSTM(4)]).quantize()
    whole = model()
    with pytest.raises(ValueError, match="skip holds 2"):
        whole.quantize(skip=2)
    with pytest.raises(TypeError, match="skip"):
        whole.quantize(skip=["x"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="lengths belong to calibrate"):
        whole.quantize(lengths=[3])
    whole.parameters()["1.weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match="layer 1: weight holds values that are not finite"):
        whole.quantize()
    learnt = fl.Model([fl.LSTM(4, learn_state=True)], input_size=2)
    learnt.parameters()["0.h0_l0"][:] = 1.5
    with pytest.raises(ValueError, match="initial h beyond"):
        learnt.quantize()


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    model().quantize(data()).save(path)
    tensors, config = safetensors.load(path)

    def with_change(**changes: Any) -> None:
        safetensors.save(path, {name: one for name, one in {**tensors, **changes}.items() if one is not None}, config)
        fl.load(path)

    for name, value in (
        ("0.weight_ih_l0", tensors["0.weight_ih_l0"].astype("f4")),
        ("0.weight_ih_l0.scale", None),
        ("0.weight_ih_l0.scale", -tensors["0.weight_ih_l0.scale"]),
        ("0.weight_hh_l0.scale", tensors["0.weight_hh_l0.scale"][:3]),
        ("0.x_l0.limits", tensors["0.x_l0.limits"][:2]),
        ("0.x_l0.limits", tensors["0.x_l0.limits"] * 0),
        ("1.weight.scale", tensors["1.weight.scale"] * np.float32(np.inf)),
    ):
        with pytest.raises(ValueError, match="small.safetensors: "):
            with_change(**{name: value})
    with_change()
    config["layers"][0]["bits"] = 4
    with pytest.raises(ValueError, match="expected 8"):
        with_change()
