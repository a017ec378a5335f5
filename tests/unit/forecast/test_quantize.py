"""Forecasters with weights of 8 bits: what they compute, keep, and refuse."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.formats import safetensors

pd = pytest.importorskip("pandas")


def table(rows: int = 500, start: int = 0) -> Any:
    """Return two waves of a day with noise, the second ten times as large, and a column known in advance."""
    frames = []
    for number, one in enumerate("ab"):
        noise = np.random.default_rng(number).standard_normal((rows + start, 2))
        frame = pd.DataFrame({"unique_id": one, "ds": pd.date_range("2024-03-20", periods=rows + start, freq="h")})
        frame["y"] = 10**number * (np.sin(np.arange(rows + start) * np.pi / 12) + 0.1 * noise[:, 0])
        frame["known"] = 100 * noise[:, 1]
        frames.append(frame[start:])
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fitted() -> fl.Forecaster:
    return fl.Forecaster(
        5, gap=1, futr_exog=["known"], hidden_size=24, num_layers=2, dropout=0.0, epochs=3, random_state=0, verbose=0
    ).fit(table())


def future(forecaster: fl.Forecaster, df: Any = None) -> Any:
    frame = forecaster.make_future(df)
    frame["known"] = 20.0
    return frame


def answers(forecaster: fl.Forecaster, df: Any = None) -> np.ndarray:
    frame = forecaster.predict(df, future=future(forecaster, df), level=90)
    found: np.ndarray = frame[[name for name in frame if name.startswith("fastlstm")]].to_numpy()
    return found


@pytest.mark.parametrize("calibrated", [False, True])
def test_close_to_the_forecaster(isa: str, fitted: fl.Forecaster, calibrated: bool) -> None:
    df, before = table(), answers(fitted)
    small = fitted.quantize(df if calibrated else None)
    assert small.quantized_ and not fitted.quantized_
    np.testing.assert_array_equal(answers(fitted), before)
    network = small._engine.network
    np.testing.assert_array_equal(network.flat_parameters[:24], network.encoder.flat_parameters[:24])
    for one in (None, df):
        expected = answers(fitted, one).reshape(2, -1)
        difference = np.abs(answers(small, one).reshape(2, -1) - expected).max(axis=1)
        # Weights and inputs are off by less than 1 / 254 of their largest values; the waves have amplitudes 1 and 10.
        assert (difference > 0).all() and (difference < [0.05, 0.5]).all()


def test_the_report(fitted: fl.Forecaster) -> None:
    small = fitted.quantize(table(), skip=[-1])
    report = small.quantization_report_
    assert [(one.number, one.layer, one.bits) for one in report.layers] == [
        (0, "LSTM of the encoder", 8),
        (1, "Dense of the common part", 8),
        (2, "Dense of the local part", 8),
        (4, "Dense of the local part", 32),
    ]
    errors = [one.error for one in report.layers]
    assert errors[-1] is None and all(one is not None and 0 < one < 0.05 for one in errors[:-1])
    assert report.error is not None and max(errors[:-1]) / 2 < report.error < 0.05 and report.agreement is None
    assert "LSTM of the encoder" in str(report)
    # The changes are those of the answers at the rows of the table, in units of the series.
    engines = [one._engine for one in (small, fitted)]
    series = engines[0].ready(fitted._reader.read(table()))
    rows = [np.arange(0, len(one) - 6) for one in series]
    found, expected = (np.concatenate(one.at_origins(series, rows)) for one in engines)
    units = np.array([[one.scale.center, one.scale.scale] for one in series])
    center, scale = np.repeat(units, [len(one) for one in rows], axis=0).T[:, :, None, None]
    error = np.sqrt((((found - expected) / scale) ** 2).mean()) / ((expected - center) / scale).std()
    assert report.error == pytest.approx(error, rel=0.1)  # without the last steps, whose columns are not known
    dynamic = fitted.quantize().quantization_report_
    assert dynamic.error is None and [one.bits for one in dynamic.layers] == [8] * 4


def test_layers_that_keep_their_weights_do_not_round_to_bfloat16(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"futr_exog": ["known"], "hidden_size": 24, "random_state": 0, "verbose": 0}
    rounded = fl.Forecaster(5, gap=1, epochs=1, precision="bfloat16", **arguments).fit(table())
    small = rounded.quantize(skip=[0])
    small.save(tmp_path / "small.safetensors")
    read = fl.Forecaster.load(tmp_path / "small.safetensors")
    before, *after = (one._engine.network.encoder for one in (rounded, small, read))
    x = np.random.default_rng(0).standard_normal((3, 20, before.input_size)).astype("f4")
    exact = before.to_precision("float32").predict(x)
    assert not np.array_equal(before.predict(x), exact)
    for encoder in after:
        np.testing.assert_array_equal(encoder.predict(x), exact)


def test_files_copies_and_pickles_have_the_same_bits(fitted: fl.Forecaster, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    for small in (fitted.quantize(), fitted.quantize(table())):
        small.save(path)
        expected, of_table = answers(small), answers(small, table())
        copies = copy.copy(small), copy.deepcopy(small), pickle.loads(pickle.dumps(small))
        for other in (fl.Forecaster.load(path), *copies):
            assert other.quantized_ and other.ids_ == small.ids_ and other.coverage_ == small.coverage_
            np.testing.assert_array_equal(answers(other), expected)
            np.testing.assert_array_equal(answers(other, table()), of_table)
        fl.Forecaster.load(path).save(tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_size_of_a_file(tmp_path: Path) -> None:
    y = np.sin(np.arange(400) / 5)
    whole = fl.Forecaster(24, hidden_size=128, epochs=1, random_state=0, verbose=0).fit({"ds": np.arange(400), "y": y})
    whole.save(tmp_path / "whole")
    whole.quantize().save(tmp_path / "small")
    assert (tmp_path / "small").stat().st_size < 0.3 * (tmp_path / "whole").stat().st_size


def test_streams_updates_and_histories_have_the_same_bits(fitted: fl.Forecaster) -> None:
    small = fitted.quantize(table())
    stream, updated = small.stream(), copy.deepcopy(small)
    later = table(6, start=500)
    for step in range(6):
        rows = later.iloc[[step, 6 + step]]
        ahead = np.full((2, 6, 1), 20.0)
        found = stream.step(None, rows["y"].to_numpy(), futr=rows[["known"]].to_numpy(), future=ahead)
        updated.update(rows)
        np.testing.assert_array_equal(found[:, :, [3, 0, 6]].reshape(-1, 3), answers(updated))
    small.update(later)
    np.testing.assert_array_equal(answers(small), answers(updated))


def test_threads_change_nothing(fitted: fl.Forecaster) -> None:
    small = fitted.quantize(table())
    expected = answers(small, table())
    for threads in (1, 2):
        fl.set_num_threads(threads)
        np.testing.assert_array_equal(answers(small, table()), expected)


REFUSALS: dict[str, tuple[Callable[[fl.Forecaster], Any], type[Exception], str]] = {
    "again": (lambda f: f.quantize(), RuntimeError, "already"),
    "partial_fit": (lambda f: f.partial_fit(table()), RuntimeError, "8 bits"),
    "onnx": (lambda f: f.to_onnx("x.onnx"), ValueError, "the forecaster of which"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_a_quantized_forecaster_refuses(fitted: fl.Forecaster, what: str) -> None:
    call, error, message = REFUSALS[what]
    if what == "onnx":
        pytest.importorskip("onnx")
    small = fitted.quantize()
    before = answers(small)
    with pytest.raises(error, match=message):
        call(small)
    np.testing.assert_array_equal(answers(small), before)


def test_arguments(fitted: fl.Forecaster) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        fl.Forecaster(3).quantize()
    with pytest.raises(ValueError, match="skip holds 5, expected numbers of the 5 layers"):
        fitted.quantize(skip=5)
    with pytest.raises(ValueError, match="known"):
        fitted.quantize(table().drop(columns="known"))
    with pytest.raises(ValueError, match="static_df belongs to df"):
        fitted.quantize(static_df=table())
    with pytest.raises(ValueError, match="have 32 bits"):
        fitted.quantization_report_  # noqa: B018
    report = fitted.report_
    fitted.quantize(table(300))
    assert fitted.report_ is report


def test_a_new_training_has_float32_weights(fitted: fl.Forecaster) -> None:
    small = fitted.quantize()
    small.epochs = 1
    small.fit(table(300))
    assert not small.quantized_ and not fitted.quantized_
    with pytest.raises(ValueError, match="have 32 bits"):
        small.quantization_report_  # noqa: B018


def test_damaged_files(fitted: fl.Forecaster, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    fitted.quantize(table()).save(path)
    tensors, config = safetensors.load(path)
    for name, value in (
        ("common.0.weight", tensors["common.0.weight"].astype("f4")),
        ("common.0.weight.scale", None),
        ("encoder.0.weight_ih_l0.scale", -tensors["encoder.0.weight_ih_l0.scale"]),
        ("local.2.x.limits", tensors["local.2.x.limits"] * 0),
    ):
        changed = {key: one for key, one in {**tensors, name: value}.items() if one is not None}
        safetensors.save(path, changed, config)
        with pytest.raises(ValueError, match="does not describe a forecaster"):
            fl.Forecaster.load(path)
