"""Prediction and evaluation of series of very different lengths: the user's order, the same bits, little memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

rng = np.random.default_rng(0)
LENGTHS = [3, 9_000, 5, 1, 8_000, 40, 30, 7_000, 2]
SERIES = [rng.standard_normal((n, 2)).astype("f4") for n in LENGTHS]
PADDED = np.zeros((len(LENGTHS), max(LENGTHS), 2), "f4")
for row, one in zip(PADDED, SERIES, strict=True):
    row[: len(one)] = one
    row[len(one) :] = np.nan


def model_of(per_step: bool, **options: Any) -> fl.Model:
    layers = [fl.LSTM(5, return_sequences=per_step), fl.Dense(2)]
    return fl.Model(layers, input_size=2, seed=1, **options)


@pytest.mark.parametrize("batch_size", [1, 4, 256])
@pytest.mark.parametrize("scaled", [False, True])
def test_predictions_of_each_step_come_in_the_order_of_the_cases(batch_size: int, scaled: bool) -> None:
    scaler = fl.Standardizer.from_state({"mean": [0.5, -1.0], "scale": [2.0, 3.0]}) if scaled else None
    model = model_of(True, target_scaler=scaler)
    alone = [model.predict(one[None])[0] for one in SERIES]
    listed = model.predict(SERIES, batch_size=batch_size)
    padded = model.predict(PADDED, lengths=LENGTHS, batch_size=batch_size)
    assert padded.shape == (len(LENGTHS), max(LENGTHS), 2)
    for one, expected, row, length in zip(listed, alone, padded, LENGTHS, strict=True):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(row[:length], expected)
        assert not row[length:].any()


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_predictions_of_each_case_come_in_the_order_of_the_cases(batch_size: int) -> None:
    model = model_of(False)
    alone = np.concatenate([model.predict(one[None]) for one in SERIES])
    np.testing.assert_array_equal(model.predict(SERIES, batch_size=batch_size), alone)
    np.testing.assert_array_equal(model.predict(PADDED, LENGTHS, batch_size=batch_size), alone)


def seen_by_metric(model: fl.Model, X: Any, y: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def metric(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        seen.append((y_true.copy(), y_pred.copy()))
        return 0.0

    result = model.evaluate(X, y, metrics=[metric], **options)
    (y_true, y_pred), *more = seen
    assert not more
    return y_true, y_pred, result


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_metrics_see_the_cases_in_order(batch_size: int) -> None:
    model = model_of(True)
    y = [rng.standard_normal((n, 2)) for n in LENGTHS]
    y_true, y_pred, result = seen_by_metric(model, SERIES, y, loss="mse", batch_size=batch_size)
    np.testing.assert_array_equal(y_true, np.concatenate(y).astype("f4"))
    np.testing.assert_array_equal(y_pred, np.concatenate(model.predict(SERIES)))
    errors = np.concatenate(model.predict(SERIES)).astype("f8") - y_true
    assert result["loss"] == pytest.approx(np.square(errors).mean(), rel=1e-6)  # squares are rounded to float32
    assert result["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-12)

    case_model, labels = model_of(False), np.arange(len(LENGTHS)) % 2
    y_true, y_pred, result = seen_by_metric(
        case_model, PADDED, labels, lengths=LENGTHS, loss="cross_entropy", batch_size=batch_size
    )
    np.testing.assert_array_equal(y_true, labels)
    np.testing.assert_array_equal(y_pred, case_model.predict(SERIES))
    assert result["accuracy"] == np.mean(y_pred.argmax(1) == labels)


def test_ignored_and_weightless_cases_in_divided_batches() -> None:
    labels = np.arange(len(LENGTHS)) % 2
    labels[[1, 3]] = -100
    weight = rng.uniform(0.5, 2.0, len(LENGTHS))
    weight[4] = 0.0
    model = model_of(False)
    model.loss = fl.CrossEntropy()
    y_true, y_pred, result = seen_by_metric(model, SERIES, labels, loss="cross_entropy", sample_weight=weight)
    kept = labels >= 0
    np.testing.assert_array_equal(y_true, labels[kept])
    np.testing.assert_array_equal(y_pred, model.predict(SERIES)[kept])
    losses = -np.log(model.predict_proba(SERIES)[np.arange(len(labels)), labels.clip(0)].astype("f8"))
    expected = (weight * losses)[kept].sum() / weight[kept].sum()
    assert result["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_in_segments_gives_metrics_the_steps_in_order() -> None:
    y = [rng.standard_normal((n, 2)) for n in LENGTHS]
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def metric(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        seen.append((y_true.copy(), y_pred.copy()))
        return 0.0

    model = model_of(True)
    train = [SERIES[3], SERIES[0]], [y[3], y[0]]
    model.fit(*train, validation_data=(SERIES, y), loss="mse", metrics=[metric], tbptt_steps=600, epochs=1, verbose=0)
    y_true, y_pred = seen[-1]  # the first call is that before the training
    np.testing.assert_array_equal(y_true, np.concatenate(y).astype("f4"))
    np.testing.assert_array_equal(y_pred, np.concatenate(model.predict(SERIES)))


def test_one_long_series_among_many_short_ones_takes_the_memory_of_its_steps() -> None:
    """255 series of 10 steps and one of 20,000; padding all to the longest took 1.3 GB."""
    long = [rng.standard_normal((10, 2)).astype("f4") for _ in range(255)]
    long.insert(100, rng.standard_normal((20_000, 2)).astype("f4"))
    y = [one[:, :1] for one in long]
    model = fl.Model([fl.LSTM(64, return_sequences=True), fl.Dense(1)], input_size=2)
    model.evaluate(long[:1], y[:1], loss="mse")  # imports what it needs
    steps = 64 * 20_000 * 4  # the output of the LSTM, float32
    tracemalloc.start()
    try:
        out = model.predict(long)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * steps
        assert [len(one) for one in out] == [len(one) for one in long]
        tracemalloc.reset_peak()
        model.evaluate(long, y, loss="mse", metrics={"none": lambda y_true, y_pred: 0.0})
        assert tracemalloc.get_traced_memory()[1] < 1.5 * steps
    finally:
        tracemalloc.stop()
