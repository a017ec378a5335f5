"""Targets that are missing (NaN) count as if they had been left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.losses import Loss
from fastlstm.losses.batch import Batch

N, T, F = 40, 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, F))
LENGTHS = RNG.integers(2, T + 1, N)
KNOWN = RNG.random(N) < 0.6
KNOWN_STEPS = RNG.random((N, T)) < 0.6
LOSSES = ["mse", "mae", "huber", fl.Quantile(0.3), "binary_cross_entropy"]

SUMS = 1e-9
"""Relative; the same numbers are added in another order, in float64, over some updates."""


def model(outputs: int = 1, per_step: bool = False, loss: Any = "mse", **options: Any) -> fl.Model:
    scaler = None if loss == "binary_cross_entropy" else fl.Standardizer()
    layers = [fl.LSTM(4, return_sequences=per_step), fl.Dense(outputs)]
    return fl.Model(layers, dtype="float64", seed=2, **{"target_scaler": scaler, **options})


def targets(loss: Any, shape: tuple[int, ...]) -> Any:
    y = np.random.default_rng(3).normal(size=shape) * 3 + 1
    return (y > 1).astype(float) if loss == "binary_cross_entropy" else y


def close(one: fl.Model, other: fl.Model) -> None:
    np.testing.assert_allclose(one.flat_parameters, other.flat_parameters, rtol=SUMS, atol=1e-12)


OPTIONS: dict[str, Any] = {"epochs": 3, "verbose": 0, "optimizer": "sgd"}
WHOLE = {**OPTIONS, "batch_size": N}


def same_records(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, values in other.items():
        assert one[name] == pytest.approx(values, rel=SUMS)


# ---------------------------------------------------------------------------------------------- equal to removal


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_case_without_a_target_is_as_if_it_were_not_there(loss: Any, weighted: bool, outputs: int) -> None:
    y = targets(loss, (N, outputs))
    weight = RNG.uniform(0.5, 2, N) if weighted else None
    gaps = np.where(KNOWN[:, None], y, np.nan)
    one, other = model(outputs, loss=loss), model(outputs, loss=loss)
    kept = None if weight is None else weight[KNOWN]
    got = one.fit(X, gaps, loss=loss, sample_weight=weight, validation_data=(X, gaps, None, weight), **WHOLE)
    rest = (X[KNOWN], y[KNOWN], None, kept)
    expected = other.fit(X[KNOWN], y[KNOWN], loss=loss, sample_weight=kept, validation_data=rest, **WHOLE)
    close(one, other)
    same_records(got.history, expected.history)
    measured = one.evaluate(X, gaps, sample_weight=weight, metrics={"n": lambda t, p: len(t)})
    same_records(measured, other.evaluate(X[KNOWN], y[KNOWN], sample_weight=kept, metrics={"n": lambda t, p: len(t)}))
    assert measured["n"] == KNOWN.sum()
    if one.target_scaler is not None:
        np.testing.assert_allclose(one.target_scaler.mean_, y[KNOWN].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(one.target_scaler.scale_, y[KNOWN].std(axis=0), rtol=1e-12)


def stepwise(form: str, loss: Any, scaler: Any) -> fl.Model:
    """Return a model with an output for each step."""
    masking = [fl.Masking(-9.0)] if form == "masked" else []
    layers = [*masking, fl.LSTM(4, return_sequences=True), fl.Dense(1)]
    return fl.Model(layers, dtype="float64", seed=2, target_scaler=scaler)


@pytest.mark.parametrize("form", ["array", "list", "cases", "masked", "tbptt"])
@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_without_a_target_does_not_count(loss: Any, form: str, weighted: bool) -> None:
    """In whatever form the data come, it is as if its weight were 0."""
    within = np.arange(T) < LENGTHS[:, None]
    y = targets(loss, (N, T, 1))
    known = KNOWN_STEPS & within
    gaps = np.where(KNOWN_STEPS[..., None], y, np.nan)
    filled = np.where(KNOWN_STEPS[..., None], y, 1.0)
    weight = RNG.uniform(0.5, 2, (N, T)) if weighted else np.ones((N, T))
    scaler = fl.Standardizer().fit(y[known]) if loss == "mse" else None
    one, other = stepwise(form, loss, scaler), stepwise(form, loss, scaler)
    # All cases are one batch: its gradient is divided by the sum of the weights, in both.
    options = {**OPTIONS, "batch_size": N, **({"tbptt_steps": T} if form == "tbptt" else {})}
    x = np.where(within[..., None], X, -9.0)
    lengths = None if form == "masked" else LENGTHS
    sample_weight = weight if weighted else None
    if form in ("list", "cases"):
        cut = [[row[:n] for row, n in zip(part, LENGTHS, strict=True)] for part in (X, gaps, weight)]
        if form == "list":
            one.fit(*cut[:2], loss=loss, sample_weight=sample_weight, **options)
        else:
            one.fit(list(zip(*cut[: 3 if weighted else 2], strict=True)), loss=loss, **options)
    else:
        one.fit(x, gaps, lengths=lengths, loss=loss, sample_weight=sample_weight, **options)
    other.fit(x, filled, lengths=lengths, loss=loss, sample_weight=np.where(KNOWN_STEPS, weight, 0), **options)
    close(one, other)
    measured = one.evaluate(x, gaps, lengths=lengths, sample_weight=sample_weight)
    if loss == "mse":
        error = np.abs(one.predict(x, lengths) - y)[..., 0]
        expected = (error[known] * weight[known]).sum() / weight[known].sum()
        assert measured["mae"] == pytest.approx(expected, rel=SUMS)
    same_records(measured, one.evaluate(x, filled, lengths=lengths, sample_weight=np.where(KNOWN_STEPS, weight, 0)))


def test_batches_of_any_size_divide_by_what_counts() -> None:
    """In each batch the missing targets are as if they were not there, with weights and without."""
    y = targets("mse", (N, 1))
    gaps = np.where(KNOWN[:, None], y, np.nan)
    weight = RNG.uniform(0.5, 2, N)
    batches = [slice(k, k + 7) for k in range(0, N, 7)]
    for given in (None, weight):
        one = model(1)
        one.fit(
            X, gaps, loss="mse", sample_weight=given, batch_size=7, shuffle=False, epochs=1, verbose=0, optimizer="sgd"
        )
        other = model(1, target_scaler=fl.Standardizer().fit(y[KNOWN]), input_size=F)
        mean = 1.0 if given is None else given[KNOWN].mean()
        loss = fl.MSE()
        rate = fl.SGD().lr
        for chosen in batches:
            known = KNOWN[chosen]
            if not known.any():
                continue
            out = other.forward(X[chosen][known], training=True)
            part = np.ones(known.sum()) if given is None else given[chosen][known] / mean
            scaled = other.target_scaler.transform(y[chosen][known])
            _, total, d_out = loss(out, scaled, None, part)
            other.zero_grad()
            other.backward(d_out * total / known.sum())
            other.flat_parameters[:] -= rate * other.flat_gradients
        close(one, other)


# ---------------------------------------------------------------------------------------------- several outputs


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "binary_cross_entropy", fl.Quantile(0.3)], ids=str)
@pytest.mark.parametrize("per_step", [False, True])
def test_each_output_has_its_own_weight(loss: Any, per_step: bool) -> None:
    """Value, gradient and metric are those of the known elements alone."""
    rule = fl.losses.get_loss(loss)
    shape = (5, 4, 3) if per_step else (9, 3)
    out, y = RNG.normal(size=shape), targets(loss, shape)
    lengths = np.array([4, 2, 3, 1, 4]) if per_step else None
    known = RNG.random(shape) < 0.6
    weight = RNG.uniform(0.5, 2, shape[:-1])
    elements = np.where(known, weight[..., None], 0)
    valid = known & (np.arange(4) < lengths[:, None])[..., None] if per_step else known
    total, weight_sum, d_out = rule(out, np.where(known, y, np.nan), lengths, elements)
    d_out = d_out.copy()
    column = [rule(out[valid][:, None], y[valid][:, None], None, elements[valid])]
    assert total == pytest.approx(column[0][0] / 3, rel=1e-12) and weight_sum == pytest.approx(
        column[0][1] / 3, rel=1e-12
    )
    np.testing.assert_allclose(d_out[valid], column[0][2][:, 0], rtol=1e-12)
    assert not d_out[~valid].any()
    assert rule.value(out, y, lengths, elements) == (total, weight_sum)
    metric, metric_sum = rule.metric(out, np.where(known, y, np.nan), lengths, elements)
    expected = rule.metric(out[valid][:, None], y[valid][:, None], None, elements[valid])
    assert metric / metric_sum == pytest.approx(expected[0] / expected[1], rel=1e-12)
    share = rule.positions(Batch(out, np.where(known, y, np.nan), lengths, elements))
    np.testing.assert_allclose(share.sum(), valid.sum() / 3, rtol=1e-12)
    # Weights of all elements that are those of their positions change nothing.
    whole = np.repeat(weight[..., None], 3, axis=-1)
    for got, wanted in zip(rule(out, y, lengths, whole), rule(out, y, lengths, weight), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    with pytest.raises(ValueError, match="weight must have shape"):
        rule(out, y, lengths, elements[..., :2])


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_model_learns_the_outputs_that_are_known(per_step: bool, weighted: bool) -> None:
    shape = (N, T, 2) if per_step else (N, 2)
    y = targets("mse", shape)
    known = np.random.default_rng(8).random(shape) < 0.5
    gaps = np.where(known, y, np.nan)
    weight = RNG.uniform(0.5, 2, shape[:-1]) if weighted else None
    one = model(2, per_step)
    history = one.fit(
        X, gaps, loss="mse", sample_weight=weight, validation_data=(X, gaps), **{**OPTIONS, "batch_size": 7}
    )
    assert np.isfinite(history.history["loss"]).all()
    for k in range(2):
        values = y[..., k][known[..., k]]
        np.testing.assert_allclose(one.target_scaler.mean_[k], values.mean(), rtol=1e-12)
        np.testing.assert_allclose(one.target_scaler.scale_[k], values.std(), rtol=1e-12)
    error = np.abs(one.predict(X) - y)
    measured = one.evaluate(X, gaps)
    assert measured["mae"] == pytest.approx(error[known].mean(), rel=SUMS)
    for k in range(2):
        assert measured[f"mae_{k}"] == pytest.approx(error[..., k][known[..., k]].mean(), rel=SUMS)
    # One update on all data is a step along the gradient of the mean over the known elements.
    scaler = one.target_scaler
    step, by_hand = model(2, per_step, target_scaler=scaler), model(2, per_step, target_scaler=scaler, input_size=F)
    step.fit(X, gaps, loss="mse", sample_weight=weight, epochs=1, batch_size=N, optimizer="sgd", verbose=0)
    out = by_hand.forward(X, training=True)
    elements = np.where(known, 1.0 if weight is None else weight[..., None], 0.0)
    by_hand.backward(np.where(known, 2 * elements * (out - scaler.transform(y)), 0) / elements.sum())
    by_hand.flat_parameters[:] -= fl.SGD().lr * by_hand.flat_gradients
    close(step, by_hand)


@pytest.mark.parametrize("form", ["segments", "masked"])
def test_weights_of_outputs_are_cut_and_moved_with_their_steps(form: str) -> None:
    counts = RNG.random((N, T)) < 0.7
    y = targets("mse", (N, T, 2))
    known = np.random.default_rng(9).random((N, T, 2)) < 0.5
    gaps, x = np.where(known, y, np.nan), X
    layers = [fl.LSTM(4, return_sequences=True), fl.Dense(2)]
    options = {**OPTIONS, "tbptt_steps": 4} if form == "segments" else OPTIONS
    if form == "masked":
        x = np.where(counts[..., None], X, -9.0)
        layers.insert(0, fl.Masking(-9.0))
        known &= counts[..., None]
    one = fl.Model(layers, dtype="float64", target_scaler=fl.Standardizer())
    history = one.fit(x, gaps, loss="mse", validation_data=(x, gaps), **options)
    expected = np.abs(one.predict(x) - y)[known].mean()
    assert history.history["val_mae"][-1] == pytest.approx(expected, rel=SUMS)
    assert one.evaluate(x, gaps)["mae"] == pytest.approx(expected, rel=SUMS)


def test_an_output_without_any_target_in_the_data_to_evaluate_is_nan() -> None:
    y = targets("mse", (N, 2))
    one = model(2)
    one.fit(X, y, loss="mse", **OPTIONS)
    y[:, 1] = np.nan
    measured = one.evaluate(X, y)
    assert np.isnan(measured["mae_1"]) and measured["mae"] == pytest.approx(measured["mae_0"], rel=1e-14)
    with pytest.raises(ValueError, match=r"column 1 of y is missing \(nan\) everywhere"):
        model(2).fit(X, y, loss="mse", **OPTIONS)
    model(2, target_scaler=None).fit(X, y, loss="mse", **OPTIONS)


def test_a_loss_with_one_weight_for_a_position_refuses_partly_missing_targets() -> None:
    class Squares(Loss):
        name = "squares"

        def __call__(
            self, out: Any, target: Any, lengths: Any = None, weight: Any = None, *, n_threads: Any = None
        ) -> Any:
            weight = np.ones(len(out)) if weight is None else weight
            error = np.where(weight[:, None] > 0, out - target, 0)
            return (
                float((weight * (error**2).mean(axis=-1)).sum()),
                weight.sum(),
                2 * weight[:, None] * error / error.size,
            )

    y = targets("mse", (N, 2))
    whole = np.where(KNOWN[:, None], y, np.nan)
    one = model(2, target_scaler=None)
    one.fit(X, whole, loss=Squares(), **OPTIONS)
    y[3, 1] = np.nan
    with pytest.raises(ValueError, match="y has positions of which only some values are missing .*loss='squares'"):
        model(2, target_scaler=None).fit(X, y, loss=Squares(), **OPTIONS)
    weight = np.ones(N)
    weight[3] = 0  # then it is not read
    model(2, target_scaler=None).fit(X, y, loss=Squares(), sample_weight=weight, **OPTIONS)


def test_several_quantiles_of_a_target_that_is_missing() -> None:
    y = np.where(KNOWN, targets("mse", (N,)), np.nan)
    one, other = model(3), model(3)
    one.fit(X, y, loss="quantile", **WHOLE)
    other.fit(X[KNOWN], y[KNOWN], loss="quantile", **WHOLE)
    close(one, other)
    same_records(one.evaluate(X, y), other.evaluate(X[KNOWN], y[KNOWN]))


def test_an_autoencoder_of_series_with_missing_values() -> None:
    x = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    one = fl.Model(
        [fl.LSTM(4), fl.RepeatVector(T), fl.LSTM(4, return_sequences=True), fl.Dense(F)],
        scaler=fl.Standardizer("mask"),
        target_scaler=fl.Standardizer(),
    )
    one.fit(x, x, loss="mse", **OPTIONS)
    assert one.evaluate(x, x)["mae"] == pytest.approx(np.nanmean(np.abs(one.predict(x) - x)), rel=1e-6)


# ---------------------------------------------------------------------------------------------- refusals, runs


def test_what_is_wrong_with_targets_is_named() -> None:
    y = targets("mse", (N, 1))
    y[5] = np.inf
    with pytest.raises(
        ValueError, match=r"y holds inf at \[case, column\] = \[5, 0\].* a target that is missing is nan"
    ):
        model().fit(X, y, loss="mse", **OPTIONS)
    with pytest.raises(ValueError, match=r"every value of y is missing \(nan\)"):
        model().fit(X, np.full((N, 1), np.nan), loss="mse", **OPTIONS)
    labels = np.where(KNOWN, np.arange(N) % 2, np.nan)
    with pytest.raises(TypeError, match=r"y\[\d+\] is missing \(nan\), expected integer labels"):
        fl.Model([fl.LSTM(3), fl.Dense(2)]).fit(X, labels, **OPTIONS)
    y = targets("mse", (N, 1))
    _, validation = fl.split(N, (0.8, 0.2), method="random", seed=2)
    y[validation] = np.nan
    with pytest.raises(ValueError, match="a part of the data has only missing targets"):
        model().fit(X, y, loss="mse", validation_split=0.2, **OPTIONS)
    y = np.full((N, 1), np.nan)
    y[0] = 1.0
    weight = np.ones(N)
    weight[0] = 0
    with pytest.raises(ValueError, match=r"nothing to learn: .* missing \(nan\)"):
        model(target_scaler=None).fit(X, y, loss="mse", sample_weight=weight, **OPTIONS)
    trained = model()
    trained.fit(X, targets("mse", (N, 1)), loss="mse", **OPTIONS)
    with pytest.raises(ValueError, match="every value of y is missing"):
        trained.evaluate(X, np.full((N, 1), np.nan))


def test_unread_targets_count_as_positions_whatever_they_hold() -> None:
    """A weight of 0 leaves the position in the mean of the weights; a missing target takes it out."""
    y = targets("mse", (N, 1))
    weight = np.where(KNOWN, RNG.uniform(0.5, 2, N), 0)
    fits = []
    for filler in (0.0, np.nan, np.inf):
        one = model(target_scaler=fl.Standardizer().fit(y))
        one.fit(
            X, np.where(KNOWN[:, None], y, filler), loss="mse", sample_weight=weight, **{**OPTIONS, "batch_size": 7}
        )
        fits.append(one)
    for one in fits[1:]:
        np.testing.assert_array_equal(one.flat_parameters, fits[0].flat_parameters)
    y = targets("mse", (N, 2))
    y[~KNOWN, 0] = np.inf
    one = model(2)
    one.fit(X, y, loss="mse", sample_weight=weight, **OPTIONS)
    np.testing.assert_allclose(one.target_scaler.mean_[0], y[KNOWN, 0].mean(), rtol=1e-12)


def test_a_run_with_missing_targets_goes_on(tmp_path: Path) -> None:
    y = np.where(RNG.random((N, 2)) < 0.7, targets("mse", (N, 2)), np.nan)
    options = {**OPTIONS, "batch_size": 7, "optimizer": "adam"}
    whole = model(2)
    whole.fit(X, y, loss="mse", **options)
    path = tmp_path / "run"
    model(2).fit(X, y, loss="mse", **{**options, "epochs": 1}, callbacks=[fl.Checkpoint(path)])
    resumed = model(2)
    resumed.fit(X, y, loss="mse", **options, callbacks=[fl.Checkpoint(path)], resume=True)
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)
    cases = model(2)
    cases.fit([(x, t) for x, t in zip(X, y, strict=True)], loss="mse", **options)
    np.testing.assert_allclose(cases.flat_parameters, whole.flat_parameters, rtol=1e-12)
