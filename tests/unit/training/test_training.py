"""The loops of fit, evaluate and predict, with a linear model in NumPy instead of an LSTM."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastlstm as fl
from fastlstm.data import Standardizer, windows
from fastlstm.data.sequences import Sequences
from fastlstm.inference.evaluate import evaluate
from fastlstm.inference.predict import predict
from fastlstm.losses import MSE, CrossEntropy, Loss, Quantile
from fastlstm.optimizers import SGD, Adam
from fastlstm.schedules import CosineLR
from fastlstm.training.callbacks import Callback, EarlyStopping
from fastlstm.training.loop import TrainingDiverged, fit
from fastlstm.training.prepare import prepare
from fastlstm.training.settings import Settings

Array = NDArray[Any]


class Flat:
    """Stands in for `fastlstm.parameters.Parameters`."""

    frozen = False

    def __init__(self, flat: Array) -> None:
        self.flat = flat
        self.flat_gradients = np.zeros_like(flat)

    def zero_gradients(self) -> None:
        self.flat_gradients[:] = 0

    def require_trainable(self) -> None:
        pass


class Linear:
    """``x W' + b`` of the last valid step, or of every step: stands in for a model and for its network."""

    takes_tokens = False
    built = True
    output_steps: int | None = None
    trainable_ranges: list[slice] | None = None
    passes = 0
    parameters: Flat

    def __init__(
        self,
        output_size: int,
        *,
        per_step: bool = False,
        dtype: Any = np.float64,
        scaler: Standardizer | None = None,
        target_scaler: Standardizer | None = None,
    ) -> None:
        self.network = self
        self.output_size = output_size
        self.per_step = per_step
        self.dtype = np.dtype(dtype)
        self.scaler = scaler
        self.target_scaler = target_scaler
        self.seed = 0
        self.classes: list[str] | None = None
        self.loss: Loss | None = None
        self.output_kind: str | None = None
        self.feature_names: list[str] | None = None
        self.target_shape: tuple[int, ...] | None = None
        self.input_masks = None
        self.batches: list[Array] = []  # the inputs of every training step

    def build(self, features: int) -> None:
        if hasattr(self, "parameters"):
            return
        size = self.output_size * (features + 1)
        self.parameters = Flat(np.random.default_rng(self.seed).normal(scale=0.1, size=size).astype(self.dtype))

    def build_for(self, seq: Sequences, training: bool = False) -> None:
        seq.check_finite(self.dtype)
        self.build(seq.features)

    @property
    def flat_parameters(self) -> Array:
        return self.parameters.flat

    @property
    def flat_gradients(self) -> Array:
        return self.parameters.flat_gradients

    def final_activation(self) -> None:
        return None

    def require_built(self) -> None:
        pass

    def unbuilt_on_error(self) -> Any:
        return contextlib.nullcontext()

    def output_lengths(self, lengths: Array | None) -> Array | None:
        return lengths

    def masked_steps(self, training: bool) -> None:
        return None

    def views(self, flat: Array) -> tuple[Array, Array]:
        return flat[: -self.output_size].reshape(self.output_size, -1), flat[-self.output_size :]

    def forward(
        self,
        x: Array,
        lengths: Array | None,
        training: bool,
        n_threads: int | None = None,
        recompute_every: int = 0,
        skip: int | None = None,
        masks: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        if training:
            self.batches.append(x.copy())
        self._x = x if self.per_step else x[np.arange(len(x)), -1 if lengths is None else lengths - 1]
        weight, bias = self.views(self.flat_parameters)
        return self._x @ weight.T + bias

    def backward(self, d_out: Array, known_from: Any = None) -> None:
        weight, bias = self.views(self.flat_gradients)
        used = np.where(d_out.any(-1, keepdims=True), self._x, 0)  # padding may hold anything
        weight += np.tensordot(d_out, used, axes=(tuple(range(d_out.ndim - 1)),) * 2)
        bias += d_out.reshape(-1, self.output_size).sum(0)


def classification(n: int = 60, seed: int = 0) -> tuple[Array, Array]:
    """Return series of three classes, which the last step determines."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 4, 3))
    X[np.arange(n), -1, y] += 3.0
    return X, y


def regression(n: int = 60, outputs: int = 2) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 4, 3))
    return X, X[:, -1] @ rng.normal(size=(3, outputs)) + 0.1 * rng.normal(size=(n, outputs))


DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(fl.Model.fit).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def train(model: Any, X: Any, y: Any, **arguments: Any) -> Any:
    given = {**DEFAULTS, "optimizer": SGD(lr=0.1), "epochs": 3, "verbose": 0, **arguments}
    data = {name: given.pop(name) for name in ("lengths", "sample_weight", "validation_data")}
    settings = Settings.checked(model.seed, **given)
    return fit(model, settings, lambda reduce: prepare(model, settings, X, y, reduce, **data))


# ---------------------------------------------------------------------------------------------- learning


def test_fit_learns_and_evaluate_and_predict_agree_with_it() -> None:
    X, y = classification()
    model: Any = Linear(3)
    history = train(model, X, y, epochs=20, validation_data=(X, y))
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert history.epochs == 20
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.history["lr"] == [0.1] * 20
    measured = evaluate(model, X, y)
    assert measured == {
        "loss": history.history["val_loss"][-1],
        "accuracy": history.history["val_accuracy"][-1],
    }
    scores = predict(model, X)
    assert isinstance(scores, np.ndarray)
    assert measured["accuracy"] == (scores.argmax(1) == y).mean() > 0.9
    probability = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert measured["loss"] == pytest.approx(-np.log(probability[np.arange(60), y]).mean(), rel=1e-12)


def test_one_full_batch_is_one_step_of_gradient_descent() -> None:
    X, y = regression()
    model: Any = Linear(2)
    model.build(3)
    weight, bias = (view.copy() for view in model.views(model.flat_parameters))
    error = X[:, -1] @ weight.T + bias - y
    history = train(model, X, y, loss="mse", epochs=1, batch_size=60)
    new_weight, new_bias = model.views(model.flat_parameters)
    np.testing.assert_allclose(new_weight, weight - 0.1 * error.T @ X[:, -1] / 60, rtol=1e-12)
    np.testing.assert_allclose(new_bias, bias - 0.1 * error.mean(0), rtol=1e-12)
    assert history.history["loss"][0] == pytest.approx((error**2).mean(), rel=1e-12)
    assert history.history["mae"][0] == pytest.approx(np.abs(error).mean(), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(dtype: Any) -> None:
    X, y = classification()

    def weights(seed: int) -> bytes:
        model: Any = Linear(3, dtype=dtype)
        train(model, X, y, seed=seed, batch_size=7, optimizer=Adam(lr=0.01), validation_split=0.2)
        assert model.flat_parameters.dtype == dtype
        return bytes(model.flat_parameters.tobytes())

    assert weights(4) == weights(4)
    assert weights(4) != weights(5)


def test_each_epoch_takes_all_cases_once_in_a_new_order() -> None:
    X = np.arange(10.0).reshape(10, 1, 1)
    model: Any = Linear(1)
    train(model, X, X[:, 0], loss="mse", epochs=2, batch_size=4, optimizer=SGD(lr=1e-6))
    orders = [np.concatenate(model.batches[i : i + 3])[:, 0, 0].tolist() for i in (0, 3)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]
    model = Linear(1)
    train(model, X, X[:, 0], loss="mse", epochs=1, batch_size=4, shuffle=False, optimizer=SGD(lr=1e-6))
    assert [batch[:, 0, 0].tolist() for batch in model.batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_schedule_covers_the_run() -> None:
    X, y = classification()
    optimizer = SGD(lr=CosineLR(0.1))
    for _ in range(2):  # it starts anew with each run
        history = train(Linear(3), X, y, optimizer=optimizer, batch_size=15, epochs=2)
        # The learning rates of steps 3 and 7 of 8.
        expected = [0.05 * (1 + np.cos(np.pi * 3 / 8)), 0.05 * (1 + np.cos(np.pi * 7 / 8))]
        assert history.history["lr"] == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------------ lengths and targets


def test_padding_is_never_read_and_a_list_gives_the_same() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 6, 20)
    series = [rng.normal(size=(length, 3)) for length in lengths]
    padded = np.full((20, 5, 3), np.nan)
    for row, one in zip(padded, series, strict=True):
        row[: len(one)] = one
    y = np.arange(20) % 3
    as_array: Any = Linear(3, scaler=Standardizer())
    as_list: Any = Linear(3, scaler=Standardizer())
    first = train(as_array, padded, y, lengths=lengths, validation_data=(padded, y, lengths))
    second = train(as_list, series, y, validation_data=(series, y))
    assert first.history == second.history
    assert np.isfinite(first.history["loss"]).all()
    np.testing.assert_array_equal(as_array.flat_parameters, as_list.flat_parameters)
    np.testing.assert_array_equal(predict(as_array, padded, lengths), predict(as_list, series))


def test_per_step_labels_of_series_of_different_lengths() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 6, 30)
    series = [rng.normal(size=(length, 2)) for length in lengths]
    labels = [(one[:, 0] > 0).astype(int) for one in series]
    labels[0][:] = -100
    model: Any = Linear(2, per_step=True)
    history = train(model, series, labels, epochs=30, batch_size=8, optimizer=SGD(lr=1.0))
    assert history.history["accuracy"][-1] > 0.9

    scores = predict(model, series, batch_size=7)
    assert isinstance(scores, list)
    assert [one.shape for one in scores] == [(length, 2) for length in lengths]
    flat, true = np.concatenate(scores[1:]), np.concatenate(labels[1:])
    assert evaluate(model, series, labels)["accuracy"] == (flat.argmax(1) == true).mean()

    padded = np.full((30, 5, 2), np.nan)
    padded_labels = np.full((30, 5), 7)
    for i, one in enumerate(series):
        padded[i, : len(one)] = one
        padded_labels[i, : len(one)] = labels[i]
    as_array = predict(model, padded, lengths)
    assert isinstance(as_array, np.ndarray)
    assert as_array.shape == (30, 5, 2)
    for row, one in zip(as_array, scores, strict=True):
        np.testing.assert_array_equal(row[: len(one)], one)
        assert not row[len(one) :].any()
    assert evaluate(model, padded, padded_labels, lengths=lengths) == evaluate(model, series, labels)


def test_string_labels() -> None:
    X, y = classification()
    names = np.array(["c", "a", "b"])[y]
    model: Any = Linear(3)
    history = train(model, X, names, epochs=10, validation_split=0.25, class_weight={"c": 1.0, "a": 1.0})
    assert model.classes == ["a", "b", "c"]
    assert history.history["val_accuracy"][-1] > 0.8
    assert (
        evaluate(model, X[:3], names[:3])["accuracy"]
        == (np.array(model.classes)[np.asarray(predict(model, X[:3])).argmax(1)] == names[:3]).mean()
    )
    with pytest.raises(ValueError, match="known classes"):
        evaluate(model, X[:1], ["d"])


def test_string_labels_of_a_validation_part_without_every_class() -> None:
    X, y = classification()
    part = y > 0
    history = train(
        Linear(3),
        X,
        np.array(["a", "b", "c"])[y],
        validation_data=(X[part], np.array(["a", "b", "c"])[y[part]]),
    )
    expected = train(Linear(3), X, y, validation_data=(X[part], y[part]))
    assert history.history == expected.history


def test_scalers_are_fitted_on_the_training_part_and_undone_in_predictions() -> None:
    X, y = regression()
    X, y = 50.0 + 10.0 * X, 1000.0 + 200.0 * y
    X[30:] += 1e4  # the scaler must not use it
    model: Any = Linear(2, scaler=Standardizer(), target_scaler=Standardizer())
    history = train(model, X[:30], y[:30], loss="mse", epochs=60, validation_data=(X[30:], y[30:]))
    np.testing.assert_allclose(model.scaler.mean_, X[:30].mean((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(model.target_scaler.scale_, y[:30].std(0), rtol=1e-12)
    predicted = np.asarray(predict(model, X[:30]))
    error = predicted - y[:30]
    measured = evaluate(model, X[:30], y[:30])
    assert measured["loss"] == pytest.approx(((error / y[:30].std(0)) ** 2).mean(), rel=1e-9)
    assert measured["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-9)
    assert measured["loss"] < 0.05 < 10.0 < measured["mae"]
    assert history.history["mae"][-1] == pytest.approx(measured["mae"], rel=0.2)

    mean = model.scaler.mean_.copy()
    train(model, X[30:], y[30:], loss="mse", epochs=1, optimizer=SGD(lr=1e-9))
    np.testing.assert_array_equal(model.scaler.mean_, mean)  # a fitted scaler stays


def test_validation_split_is_stratified_seeded_and_kept_out_of_training() -> None:
    X = np.arange(40.0).reshape(40, 1, 1)
    y = np.repeat([0, 1], [30, 10])

    def trained_on(seed: int) -> list[float]:
        model: Any = Linear(2, scaler=Standardizer())
        train(model, X, y, validation_split=0.2, epochs=1, seed=seed)
        assert model.scaler.mean_ == pytest.approx(model.scaler.inverse_transform(np.concatenate(model.batches)).mean())
        seen = model.scaler.inverse_transform(np.concatenate(model.batches)).ravel()
        return sorted(np.rint(seen).tolist())

    seen = trained_on(0)
    assert len(seen) == 32
    assert sum(case >= 30 for case in seen) == 8
    assert seen == trained_on(0) != trained_on(1)


def test_quantiles_of_one_target_share_its_scale() -> None:
    X, y = regression(outputs=1)
    y = 100.0 * y + 500.0
    model: Any = Linear(3, target_scaler=Standardizer())
    train(model, X, y, loss="quantile", epochs=300, optimizer=SGD(lr=0.3))
    low, middle, high = np.asarray(predict(model, X)).T
    assert 0.02 < (y[:, 0] < low).mean() < 0.25
    assert 0.75 < (y[:, 0] < high).mean() < 0.98
    assert evaluate(model, X, y)["mae"] == pytest.approx(np.abs(middle - y[:, 0]).mean(), rel=1e-9)
    with pytest.raises(ValueError, match="needs a model of 2 outputs"):
        train(Linear(3), X, y, loss=Quantile((0.1, 0.9)))


def test_forecasting_windows_train_without_a_copy_of_the_series() -> None:
    X, y = windows(np.sin(np.arange(200.0)), length=2, horizon=1)
    model: Any = Linear(1, per_step=False)
    history = train(model, X, y, loss="mse", validation_split=0.1)
    assert history.epochs == 3


# -------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("per_step", [False, True])
def test_sample_weight_zero_equals_removal(per_step: bool) -> None:
    X, y = classification()
    if per_step:
        y = np.repeat(y[:, None], 4, axis=1)
    keep = np.arange(60) % 4 > 0
    weighted: Any = Linear(3, per_step=per_step)
    removed: Any = Linear(3, per_step=per_step)
    first = train(weighted, X, y, sample_weight=keep.astype(int), batch_size=60)
    second = train(removed, X[keep], y[keep], batch_size=60)
    # The sums have another order.
    np.testing.assert_allclose(weighted.flat_parameters, removed.flat_parameters, rtol=1e-10)
    assert first.history["loss"] == pytest.approx(second.history["loss"], rel=1e-12)
    assert first.history["accuracy"] == pytest.approx(second.history["accuracy"], rel=1e-12)
    assert evaluate(weighted, X, y, sample_weight=keep) == pytest.approx(evaluate(weighted, X[keep], y[keep]))


@pytest.mark.parametrize("loss", ["mse", "huber", "quantile", "binary_cross_entropy"])
@pytest.mark.parametrize("per_step", [False, True])
def test_targets_that_are_not_known_may_be_nan(per_step: bool, loss: str) -> None:
    """With weight 0 they count neither in the loss nor in the metrics nor for the target scaler."""
    rng = np.random.default_rng(5)
    X, shape = rng.normal(size=(60, 4, 3)), (60, 4) if per_step else (60,)
    y = rng.integers(0, 2, (*shape, 3)).astype(float)
    known = rng.integers(0, 3, shape) > 0
    weight = np.where(known, rng.uniform(0.5, 2, shape), 0)
    y[~known] = 0
    scaled = loss != "binary_cross_entropy"

    def one(y: Array, **more: Any) -> tuple[Any, Any]:
        scaler = Standardizer().fit(y[known]) if scaled and not np.isnan(y).any() else Standardizer()
        model: Any = Linear(3, per_step=per_step, target_scaler=scaler if scaled else None)
        history = train(
            model, X, y, loss=loss, sample_weight=weight, batch_size=16, validation_data=(X, y, None, weight), **more
        )
        return model, history.history

    expected, expected_history = one(y)
    y[~known] = np.nan
    got, history = one(y, metrics={"finite": lambda t, p: float(np.isfinite(t).all() and len(t) == known.sum())})
    assert history.pop("val_finite")[-1] == 1
    # The scaler adds up blocks of other sizes.
    np.testing.assert_allclose(got.flat_parameters, expected.flat_parameters, rtol=1e-9)
    for name, values in expected_history.items():
        assert history[name] == pytest.approx(values, rel=1e-9)
    wrong = weight.copy()
    wrong[tuple(np.argwhere(~known)[0])] = 1
    y[~known] = np.inf
    with pytest.raises(ValueError, match="y holds inf at .* or give them a sample_weight of 0"):
        train(got, X, y, loss=loss, sample_weight=wrong)
    with pytest.raises(ValueError, match="validation y holds inf"):
        train(got, X, np.where(known[..., None], y, 0), loss=loss, validation_data=(X, y))


def test_sample_weight_two_equals_repetition_and_steps_have_their_own() -> None:
    X, y = regression()
    weight = np.where(np.arange(60) % 2, 2.0, 1.0)
    repeated = np.repeat(np.arange(60), weight.astype(int))
    first: Any = Linear(2)
    second: Any = Linear(2)
    train(first, X, y, loss="huber", sample_weight=weight, batch_size=100)
    train(second, X[repeated], y[repeated], loss="huber", batch_size=100)
    np.testing.assert_allclose(first.flat_parameters, second.flat_parameters, rtol=1e-10)

    labels = np.repeat(classification()[1][:, None], 4, axis=1)
    ignored = labels.copy()
    ignored[:, :2] = -100
    first, second = Linear(3, per_step=True), Linear(3, per_step=True)
    train(first, X, labels, sample_weight=(np.arange(4) >= 2) * np.ones((60, 1)), batch_size=9)
    train(second, X, ignored, batch_size=9)
    np.testing.assert_allclose(first.flat_parameters, second.flat_parameters, rtol=1e-10)


def test_weights_of_steps_are_cut_to_the_batch() -> None:
    X, y = classification()
    labels = np.repeat(y[:, None], 4, axis=1)
    lengths = np.repeat([4, 2], 30)
    weight = np.where(np.arange(4) < lengths[:, None], np.random.default_rng(0).uniform(size=(60, 4)), np.nan)
    first: Any = Linear(3, per_step=True)
    second: Any = Linear(3, per_step=True)
    train(first, X, labels, lengths=lengths, sample_weight=weight, batch_size=30, shuffle=False)
    ignored = np.where(np.arange(4) < lengths[:, None], labels, -100)
    train(second, X, ignored, sample_weight=np.nan_to_num(weight), batch_size=30, shuffle=False)
    np.testing.assert_allclose(first.flat_parameters, second.flat_parameters, rtol=1e-10)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_a_batch_divides_its_weighted_gradients_by_its_positions(batch_size: int, per_step: bool) -> None:
    """Weights are divided by their mean over the training data; a batch of one case keeps its weight."""
    X, y = regression(outputs=1)
    y = np.repeat(y[:, None], 4, 1) if per_step else y
    weight = np.random.default_rng(0).uniform(0, 3, 60)
    expected: Any = Linear(1, per_step=per_step)
    expected.build(X.shape[2])
    for start in range(0, 60, batch_size):
        batch = slice(start, start + batch_size)
        out = expected.forward(X[batch], None, True)
        d_out = 2 * (out - y[batch].reshape(out.shape)) / (len(out) * (4 if per_step else 1))
        d_out *= (weight[batch] / weight.mean()).reshape(-1, *[1] * (out.ndim - 1))
        expected.flat_gradients[:] = 0
        expected.backward(d_out)
        expected.flat_parameters[:] -= 0.01 * expected.flat_gradients
    for factor in (1.0, 1000.0):
        model: Any = Linear(1, per_step=per_step)
        arguments: dict[str, Any] = {"loss": "mse", "batch_size": batch_size, "shuffle": False, "epochs": 1}
        history = train(model, X, y, sample_weight=factor * weight, optimizer=fl.SGD(0.01), **arguments)
        np.testing.assert_allclose(model.flat_parameters, expected.flat_parameters, rtol=1e-9)
        if batch_size == 60:  # the loss that is reported is the weighted mean
            rows = ((outputs_at_start(X, per_step) - y.reshape(60, -1, 1)) ** 2).mean((1, 2))
            assert history.history["loss"][0] == pytest.approx((rows * weight).sum() / weight.sum())


def outputs_at_start(X: Array, per_step: bool) -> Array:
    model: Any = Linear(1, per_step=per_step)
    model.build(X.shape[2])
    return np.asarray(model.forward(X, None, False)).reshape(len(X), -1, 1)


def test_class_weights_matter_in_batches_of_one() -> None:
    X, _ = classification()
    y = np.random.default_rng(0).integers(0, 3, 60)  # not to be told apart, so that the classes' frequencies are learnt
    shares = []
    for weight in (None, {0: 5.0}):
        model: Any = Linear(3)
        train(model, X, y, batch_size=1, class_weight=weight, epochs=3)
        shares.append((model.forward(X, None, False).argmax(1) == 0).mean())
    assert shares[1] > shares[0] + 0.3


def test_balanced_class_weights_are_those_of_the_formula() -> None:
    X, y = classification()
    chosen = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:10], np.flatnonzero(y == 2)[:5]])
    X, y = X[chosen], y[chosen]  # 20, 10 and 5 cases
    by_name: Any = Linear(3)
    by_hand: Any = Linear(3)
    train(by_name, X, y, class_weight="balanced", batch_size=8)
    train(by_hand, X, y, class_weight={0: 35 / 60, 1: 35 / 30, 2: 35 / 15}, batch_size=8)
    np.testing.assert_array_equal(by_name.flat_parameters, by_hand.flat_parameters)
    as_sample_weight: Any = Linear(3)
    train(as_sample_weight, X, y, sample_weight=35 / (3 * np.array([20, 10, 5])[y]), batch_size=8)
    np.testing.assert_array_equal(by_name.flat_parameters, as_sample_weight.flat_parameters)
    plain: Any = Linear(3)
    train(plain, X, y, batch_size=8)
    assert np.abs(plain.flat_parameters - by_name.flat_parameters).max() > 1e-3


def test_weights_of_the_steps_of_unequal_series_may_be_a_list() -> None:
    rng = np.random.default_rng(0)
    steps = [5, 3, 7]
    X, y, weights = [rng.standard_normal((k, 2)) for k in steps], [rng.standard_normal(k) for k in steps], []
    padded = np.zeros((3, 7))
    for row, k in enumerate(steps):
        padded[row, :k] = rng.random(k)
        weights.append(padded[row, :k].copy())
    found = []
    for form in (weights, tuple(weights), padded):
        model = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(1)])
        model.fit(X, y, sample_weight=form, loss="mse", epochs=2, verbose=0)
        found.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
    with pytest.raises(ValueError, match="weights of 2 cases, expected 3"):
        model.fit(X, y, sample_weight=weights[:2], loss="mse", epochs=1)
    with pytest.raises(ValueError, match=r"sample_weight\[1\] has shape \(7,\), expected \(3,\)"):
        model.fit(X, y, sample_weight=[weights[0], weights[2], weights[1]], loss="mse", epochs=1)
    with pytest.raises(ValueError, match=r"a list of arrays of different lengths, expected shape \(3,\)"):
        fl.Model([fl.LSTM(3), fl.Dense(1)]).fit(X, [1.0, 2.0, 3.0], sample_weight=weights, loss="mse", epochs=1)


def test_class_and_sample_weights_multiply_also_per_step_and_for_binary_targets() -> None:
    X, y = classification()
    labels = np.repeat((y > 0).astype(int)[:, None], 4, axis=1)
    labels[3, 1] = -100
    sample = np.random.default_rng(0).uniform(size=60)
    both: Any = Linear(2, per_step=True)
    one: Any = Linear(2, per_step=True)
    train(both, X, labels, class_weight={1: 3.0}, sample_weight=sample, batch_size=8)
    train(one, X, labels, sample_weight=sample[:, None] * np.where(labels == 1, 3.0, 1.0), batch_size=8)
    np.testing.assert_allclose(both.flat_parameters, one.flat_parameters, rtol=1e-12)

    binary = (y > 0).astype(int)
    both, one = Linear(1), Linear(1)
    train(both, X, binary, loss="binary_cross_entropy", class_weight="balanced", batch_size=8)
    train(one, X, binary, loss="binary_cross_entropy", sample_weight=np.where(binary, 0.75, 1.5), batch_size=8)
    np.testing.assert_allclose(both.flat_parameters, one.flat_parameters, rtol=1e-12)


def test_a_batch_in_which_nothing_counts_moves_no_weight() -> None:
    X, y = classification()
    model: Any = Linear(3)
    weight = np.repeat([1.0, 0.0], [20, 40])
    optimizer = SGD(lr=0.1, momentum=0.9)
    train(model, X, y, sample_weight=weight, batch_size=20, shuffle=False, epochs=1, optimizer=optimizer)
    assert optimizer.iterations == 1


def test_data_in_which_nothing_counts_are_refused() -> None:
    X, y = classification()
    weight = np.repeat([1.0, 0.0], [20, 40])
    with pytest.raises(ValueError, match="nothing to learn"):
        train(Linear(3), X, y, class_weight=dict.fromkeys(range(3), 0.0))
    with pytest.raises(ValueError, match="a part of the data has only sample weights of 0"):
        train(Linear(2), X, np.eye(60)[:, :2], loss="mse", sample_weight=np.eye(60)[0], validation_split=0.5)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        labels = np.where(weight > 0, -100, y)
        evaluate(Linear(3), X, labels, sample_weight=weight, loss="cross_entropy")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- refusals


def unchanged(call: Any, model: Any, error: type[Exception], match: str) -> None:
    """Check that the call raises and leaves the weights unchanged."""
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=match):
        call()
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_before_any_weight_changes(bad: float) -> None:
    X, y = regression()
    model: Any = Linear(2, scaler=Standardizer(), target_scaler=Standardizer())
    model.build(3)
    bad_X, bad_y = X.copy(), y.copy()
    bad_X[41, 2, 1] = bad
    bad_y[17, 1] = np.inf  # nan is a target that is missing
    unchanged(lambda: train(model, bad_X, y, loss="mse"), model, ValueError, r"\[41, 2, 1\]")
    unchanged(lambda: train(model, X, bad_y, loss="mse"), model, ValueError, r"17, 1")
    unchanged(lambda: train(model, X, y, loss="mse", validation_data=(bad_X, y)), model, ValueError, r"41, 2, 1")
    unchanged(lambda: train(model, X, y, loss="mse", validation_data=(X, bad_y)), model, ValueError, r"17, 1")
    assert not model.scaler.fitted
    assert not model.target_scaler.fitted
    with pytest.raises(ValueError, match=r"\[41, 2, 1\]"):
        predict(model, bad_X)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"y": np.arange(60)}, ValueError, "60 classes"),
        ({"y": np.arange(60) % 2 * 1.0}, TypeError, "integer labels"),
        ({"y": np.zeros(59, int)}, ValueError, "59"),
        ({"y": np.array(["a", "b"])[np.arange(60) % 2]}, ValueError, "2 classes"),
        ({"loss": "mse"}, ValueError, "3 outputs and y has 1 values"),
        ({"loss": "rmse"}, ValueError, "unknown loss"),
        ({"loss": "binary_cross_entropy", "y": np.full((60, 3), 2)}, ValueError, "0 and 1"),
        ({"optimizer": "adamm"}, ValueError, "unknown optimizer"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"batch_size": 2.5}, TypeError, "batch_size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"verbose": 3}, ValueError, "verbose"),
        ({"validation_data": np.zeros((4, 4))}, ValueError, "validation_data"),
        ({"validation_data": (np.zeros((4, 4, 3)), np.full(4, 3))}, ValueError, r"label 3 .* fl.Dense\(4\)"),
        ({"validation_split": 1.0}, ValueError, "validation_split"),
        ({"validation_split": 0.1, "validation_data": classification()}, ValueError, "got both"),
        ({"sample_weight": np.ones(59)}, ValueError, "sample_weight"),
        ({"sample_weight": -np.ones(60)}, ValueError, "sample_weight"),
        ({"sample_weight": np.zeros(60)}, ValueError, "sample_weight"),
        ({"class_weight": {3: 1.0}}, ValueError, "expected one of the classes"),
        ({"class_weight": "equal"}, ValueError, "balanced"),
        ({"class_weight": [1.0, 2.0, 3.0]}, TypeError, "dict"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight"),
        ({"class_weight": "balanced", "loss": "mse", "y": np.zeros((60, 3))}, ValueError, "sample_weight"),
        ({"callbacks": [EarlyStopping]}, TypeError, "callbacks"),
        ({"callbacks": [EarlyStopping()]}, ValueError, "val_loss"),
        ({"metrics": [np.mean]}, ValueError, "validation"),
        ({"metrics": [lambda a, b: 0.0], "validation_split": 0.1}, ValueError, "dict"),
        ({"metrics": {"loss": np.mean}, "validation_split": 0.1}, ValueError, "reserved"),
        ({"metrics": {"epoch": np.mean}, "validation_split": 0.1}, ValueError, "reserved"),
    ],
)
def test_wrong_arguments_are_refused_before_any_weight_changes(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    X, y = classification()
    model: Any = Linear(3)
    model.build(3)
    unchanged(lambda: train(model, X, **{"y": y, **arguments}), model, error, match)


def test_cross_entropy_with_one_output_and_a_target_scaler_with_labels_are_refused() -> None:
    X, y = classification()
    with pytest.raises(ValueError, match="binary_cross_entropy"):
        train(Linear(1), X, np.arange(60) % 2)
    with pytest.raises(ValueError, match="target_scaler"):
        train(Linear(3, target_scaler=Standardizer()), X, y)


def test_evaluate_needs_a_loss_for_a_model_that_was_not_trained() -> None:
    X, y = regression(outputs=1)
    with pytest.raises(ValueError, match="not known .* 'mse' .values., or pass it as loss= to evaluate"):
        evaluate(Linear(1), X, y)  # type: ignore[arg-type]
    assert set(evaluate(Linear(1), X, y, loss="huber")) == {"loss", "mae"}  # type: ignore[arg-type]


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("loss", ["mse", "huber", Quantile((0.1, 0.5, 0.9))], ids=str)
def test_evaluate_tells_the_error_of_each_output(loss: Any, per_step: bool) -> None:
    """The errors are weighted, respect lengths and have the units of the targets; fit still records one number."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(30, 4, 3))
    y = rng.normal(size=(30, 4, 3) if per_step else (30, 3)) * [1, 10, 100] + 7
    weight, lengths = rng.uniform(0, 1, 30), rng.integers(1, 5, 30)
    model: Any = Linear(3, per_step=per_step, target_scaler=Standardizer())
    history = train(model, X, y, loss=loss, lengths=lengths, validation_data=(X, y, lengths))
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae", "lr"}
    measured = evaluate(model, X, y, lengths=lengths, sample_weight=weight, batch_size=7)
    assert list(measured) == ["loss", "mae", "mae_0", "mae_1", "mae_2"]
    weights = weight[:, None] * (np.arange(4) < lengths[:, None]) if per_step else weight
    error = np.abs(np.asarray(predict(model, X, lengths)) - y)
    for k in range(3):
        assert measured[f"mae_{k}"] == pytest.approx((weights * error[..., k]).sum() / weights.sum(), rel=1e-9)
    assert measured["mae"] == pytest.approx(np.mean([measured[f"mae_{k}"] for k in range(3)]), rel=1e-12)
    with pytest.raises(ValueError, match="must not be called mae_0"):
        evaluate(model, X, y, metrics={"mae_0": lambda true, predicted: 0.0})


# ------------------------------------------------------------------------------------ divergence,
# interruption


class AtBatch(Callback):
    """Call a function after one batch of one epoch."""

    def __init__(self, epoch: int, batch: int, act: Any) -> None:
        self.when, self.act, self.ended = (epoch, batch), act, 0

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch = epoch

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if (self.epoch, batch) == self.when:
            self.act(self)

    def on_train_end(self) -> None:
        self.ended += 1


def test_a_bad_update_is_undone_and_the_history_is_kept() -> None:
    X, y = regression()

    def ruin(callback: Any) -> None:
        callback.expected = callback.good
        callback.model.flat_parameters[0] = np.nan

    class Watch(AtBatch):
        good: Array

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            super().on_batch_end(batch, logs)

    callback = Watch(2, 2, ruin)
    model: Any = Linear(2)
    # The loss of batch 2 was the last finite one: the weights before its update are the last good ones.
    forward = model.forward

    def spying(*arguments: Any) -> Array:
        if arguments[2] and np.isfinite(model.flat_parameters).all():
            callback.good = model.flat_parameters.copy()
        return np.asarray(forward(*arguments))

    model.forward = spying
    with pytest.raises(TrainingDiverged, match="training loss became nan in epoch 2, batch 3") as caught:
        train(model, X, y, loss="mse", batch_size=15, callbacks=[callback])
    np.testing.assert_array_equal(model.flat_parameters, callback.expected)
    assert caught.value.history.epochs == 1
    assert callback.ended == 1
    assert isinstance(caught.value, FloatingPointError)
    twin = pickle.loads(pickle.dumps(caught.value))  # as in a process pool
    assert type(twin) is TrainingDiverged and str(twin) == str(caught.value)
    assert twin.history.history == caught.value.history.history


def test_a_rate_far_too_large_leaves_weights_with_a_finite_loss() -> None:
    X, y = regression()
    model: Any = Linear(2, dtype=np.float32)
    with pytest.raises(TrainingDiverged, match="smaller learning rate"):
        train(model, X, y, loss="mse", optimizer=SGD(lr=1e6), epochs=100)
    assert np.isfinite(model.flat_parameters).all()
    assert np.isfinite(evaluate(model, X, y, loss="mse")["loss"])


def test_a_bad_gradient_changes_no_weight() -> None:
    X, y = regression()
    model: Any = Linear(2)
    model.build(3)

    def backward(d_out: Array, known_from: Any = None) -> None:
        model.flat_gradients[0] = np.inf

    model.backward = backward
    unchanged(lambda: train(model, X, y, loss="mse"), model, TrainingDiverged, "epoch 1, batch 1, the gradient")


def test_a_bad_last_update_and_a_bad_validation_loss_are_found() -> None:
    X, y = regression()

    def poison(value: float) -> Any:
        def act(callback: Any) -> None:
            callback.model.flat_parameters[0] = value

        return act

    model: Any = Linear(2)
    with pytest.raises(TrainingDiverged, match="weight became NaN or infinite"):
        train(model, X, y, loss="mse", batch_size=30, callbacks=[AtBatch(1, 2, poison(np.inf))])
    assert np.isfinite(model.flat_parameters).all()
    with pytest.raises(TrainingDiverged, match="validation loss became inf"):
        arguments: dict[str, Any] = {"batch_size": 30, "validation_data": (X, y)}
        train(model, X, y, loss="mse", callbacks=[AtBatch(1, 2, poison(1e200))], **arguments)
    assert np.isfinite(evaluate(model, X, y)["loss"])


def raised(callback: Callback) -> None:
    raise KeyboardInterrupt


def signalled(callback: Callback) -> None:
    signal.raise_signal(signal.SIGINT)


def signalled_twice(callback: Callback) -> None:
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("interrupt", [raised, signalled, signalled_twice])
def test_ctrl_c_ends_cleanly_with_the_history_so_far(
    interrupt: Callable[[Callback], None], capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = classification()
    callback = AtBatch(3, 1, interrupt)
    with pytest.raises(KeyboardInterrupt, match="training interrupted") as caught:
        train(Linear(3), X, y, epochs=5, batch_size=20, callbacks=[callback])
    assert "interrupted in epoch 3, after 1 of 3 updates; the model has the weights" in capsys.readouterr().err
    history: Any = caught.value.history  # type: ignore[attr-defined]
    assert history.interrupted and history.epochs == 2
    assert callback.ended == 1
    history = train(Linear(3), X, y, epochs=5, callbacks=[AtBatch(3, 1, interrupt)], on_interrupt="return")
    assert history.interrupted and history.epochs == 2
    assert not train(Linear(3), X, y).interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_is_taken_after_the_batch() -> None:
    """A handler of the program stays; in other threads there is none."""
    X, y = classification()
    seen: list[int] = []

    class Sends(Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            signal.raise_signal(signal.SIGINT)
            seen.append(batch)  # the batch ends in good order

    with pytest.raises(KeyboardInterrupt):
        train(Linear(3), X, y, batch_size=20, callbacks=[Sends()])
    assert seen == [1]
    own: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: own.append(number))
    try:
        assert not train(Linear(3), X, y, batch_size=20, epochs=1, callbacks=[Sends()]).interrupted
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(own) == 3


def test_a_callback_stops_the_training_after_the_batch_or_the_epoch() -> None:
    X, y = classification()

    def stop(callback: Callback) -> None:
        callback.stop_training = True

    model: Any = Linear(3)
    history = train(model, X, y, batch_size=20, epochs=5, callbacks=[AtBatch(2, 2, stop)])
    assert history.epochs == 1
    assert len(model.batches) == 5

    class StopAfterTwo(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.stop_training = epoch == 2

    assert train(Linear(3), X, y, epochs=5, callbacks=[StopAfterTwo()]).epochs == 2


def test_early_stopping_restores_the_weights_of_the_best_epoch() -> None:
    X, y = classification()
    # The validation labels are wrong: the better the training, the worse the validation loss.
    model: Any = Linear(3)
    stopping = EarlyStopping(patience=3)
    history = train(model, X, y, epochs=50, validation_data=(X, (y + 1) % 3), callbacks=[stopping])
    assert history.epochs == stopping.stopped_epoch == (history.best_epoch or 0) + 3 < 50
    assert evaluate(model, X, (y + 1) % 3)["loss"] == min(history.history["val_loss"])


def test_callbacks_see_the_hooks_in_order_and_the_values_of_the_history() -> None:
    X, y = classification()
    calls: list[Any] = []

    class Recorder(Callback):
        def on_train_begin(self) -> None:
            calls.append(("begin", self.epochs, self.steps_per_epoch, list(self.history.history)))

        def on_epoch_begin(self, epoch: int) -> None:
            calls.append(epoch)

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            calls.append((batch, logs))

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            calls.append((epoch, logs))

        def on_train_end(self) -> None:
            calls.append("end")

    history = train(Linear(3), X, y, epochs=1, batch_size=40, callbacks=[Recorder()])
    begin, first, batch_1, batch_2, epoch_1, end = calls
    assert begin == ("begin", 1, 2, ["loss", "accuracy", "lr"])
    assert (first, end) == (1, "end")
    assert (batch_1[0], batch_2[0]) == (1, 2)
    assert epoch_1 == (1, {name: values[0] for name, values in history.history.items()})
    assert batch_2[1] == {name: epoch_1[1][name] for name in ("loss", "accuracy")}


# ------------------------------------------------------------------------------------------- reports, metrics


def test_silent_with_verbose_0_and_brief_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = classification()
    train(Linear(3), X, y, verbose=0)
    assert capsys.readouterr() == ("", "")
    train(Linear(3), X, y, verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("epoch 3/3: loss=")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    X, y = classification()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train(Linear(3), X, y, verbose=1)
    drawn = capsys.readouterr().err
    assert "epoch 3/3" in drawn
    assert "6/6 [" in drawn
    assert "accuracy=" in drawn


def test_a_metric_that_does_not_fit_fails_before_the_first_update() -> None:
    X, y = classification()

    def broken(y_true: Array, y_pred: Array) -> float:
        raise ValueError("y_pred must hold labels")

    model: Any = Linear(3)
    model.build(3)
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match="y_pred must hold labels"):
        train(model, X, y, metrics=[broken], validation_data=(X, y))
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert not model.batches


def test_metrics_of_the_user_are_given_everything_that_counts_in_original_units() -> None:
    X, y = regression()
    y = 100.0 + 50.0 * y

    def rmse(y_true: Array, y_pred: Array) -> float:
        assert y_true.shape == y_pred.shape == (60, 2)
        return float(np.sqrt(((y_true - y_pred) ** 2).mean()))

    model: Any = Linear(2, target_scaler=Standardizer())
    history = train(model, X, y, loss="mse", metrics=[rmse], validation_data=(X, y))
    expected = np.sqrt(((np.asarray(predict(model, X)) - y) ** 2).mean())
    assert history.history["val_rmse"][-1] == pytest.approx(expected, rel=1e-12)
    assert evaluate(model, X, y, metrics={"root": rmse})["root"] == pytest.approx(expected, rel=1e-12)

    labels = np.repeat(classification()[1][:, None], 4, axis=1)
    labels[0, 0] = -100
    lengths = np.repeat([4, 2], 30)
    per_step: Any = Linear(3, per_step=True)
    shapes = evaluate(
        per_step,
        X,
        labels,
        lengths=lengths,
        loss=CrossEntropy(),
        metrics={"n": lambda t, p: t.size + p.size / 1000},
    )
    assert shapes["n"] == 179 + 179 * 3 / 1000


def test_loss_objects_and_a_loss_of_ones_own() -> None:
    X, y = regression()

    class Half(Loss):
        """Half the squared error, without a metric and without `value`."""

        def __call__(
            self, out: Array, target: Array, lengths: Any = None, weight: Any = None, *, n_threads: Any = None
        ) -> tuple[float, float, Array]:
            total, weight_sum, d_out = MSE()(out, target, lengths, weight)
            return total / 2, weight_sum, d_out / 2

    own: Any = Linear(2)
    history = train(own, X, y, loss=Half(), optimizer=SGD(lr=0.2), validation_data=(X, y))
    reference: Any = Linear(2)
    expected = train(reference, X, y, loss=MSE(), optimizer=SGD(lr=0.1), validation_data=(X, y))
    assert list(history.history) == ["loss", "val_loss", "lr"]
    np.testing.assert_allclose(own.flat_parameters, reference.flat_parameters, rtol=1e-12)
    halved = [value / 2 for value in expected.history["val_loss"]]
    assert history.history["val_loss"] == pytest.approx(halved, rel=1e-12)


def test_batches_of_predict_and_evaluate_do_not_change_the_result() -> None:
    X, y = regression()
    model: Any = Linear(2)
    train(model, X, y, loss="mse")
    # NumPy's matrix product may round differently for another number of rows.
    np.testing.assert_allclose(predict(model, X, batch_size=7), predict(model, X), rtol=1e-12)
    assert evaluate(model, X, y, batch_size=7) == pytest.approx(evaluate(model, X, y), rel=1e-12)
