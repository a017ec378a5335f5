"""`fit(shards=k)`: each part of a batch computed alone, and summed up a tree that depends on k alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.layers import Layer
from fastlstm.training.reduce import Reduce, Sums, shard_bounds

rng = np.random.default_rng(7)
CASES, TIME, CLASSES = 22, 9, 4
X = rng.standard_normal((CASES, TIME, 3))
LABELS = rng.integers(0, CLASSES, CASES)
STEP_LABELS = rng.integers(0, CLASSES, (CASES, TIME))
VALUES = rng.standard_normal((CASES, TIME, 2))
LENGTHS = rng.integers(1, TIME + 1, CASES)
WEIGHT = rng.uniform(0.1, 5.0, CASES)
WEIGHT[[3, 8]] = 0
HOLES = np.where(rng.random(VALUES.shape) < 0.3, np.nan, VALUES)
HOLES[:5] = np.nan  # whole shards without a target
MASKED = X.copy()
MASKED[rng.random((CASES, TIME)) < 0.3] = 0

SEQUENCE = {"return_sequences": True}


def pooled() -> list[Layer]:
    return [fl.LSTM(6, num_layers=2, dropout=0.3, zoneout_h=0.2), fl.Dropout(0.2), fl.Dense(CLASSES)]


def per_step(outputs: int = CLASSES) -> Callable[[], list[Layer]]:
    return lambda: [fl.Dropout(0.2), fl.LSTM(6, recurrent_dropout=0.2, **SEQUENCE), fl.Dense(outputs)]


RUNS: dict[str, tuple[Callable[[], list[Layer]], dict[str, Any]]] = {
    "labels": (pooled, {"X": X, "y": LABELS}),
    "class weights": (pooled, {"X": X, "y": LABELS, "class_weight": "balanced", "sample_weight": WEIGHT}),
    "lengths": (pooled, {"X": X, "y": LABELS, "lengths": LENGTHS, "sample_weight": WEIGHT}),
    "list": (pooled, {"X": [x[:n] for x, n in zip(X, LENGTHS, strict=True)], "y": LABELS}),
    "steps": (per_step(), {"X": X, "y": STEP_LABELS, "lengths": LENGTHS, "class_weight": {0: 3.0}}),
    "missing targets": (per_step(2), {"X": X, "y": HOLES, "loss": "mse"}),
    "masked": (lambda: [fl.Masking(), *per_step()()], {"X": MASKED, "y": STEP_LABELS}),
    "segments": (per_step(2), {"X": X, "y": VALUES, "loss": "mse", "tbptt_steps": 4}),
    "segments, lengths": (per_step(2), {"X": X, "y": VALUES, "loss": "mse", "tbptt_steps": 4, "lengths": LENGTHS}),
    "ctc": (per_step(), {"X": X, "y": [[1, 2], [3]] * (CASES // 2), "loss": "ctc"}),
    "convolution": (
        lambda: [fl.Conv1D(5, 3, padding="same"), fl.LayerNorm(), fl.MaxPool(), fl.Dense(CLASSES)],
        {"X": X, "y": LABELS},
    ),
    "no state": (lambda: [fl.GaussianNoise(0.1), fl.Dense(2)], {"X": X, "y": VALUES, "loss": "mse", "tbptt_steps": 4}),
}


def train(name: str, **more: Any) -> tuple[fl.Model, fl.History]:
    layers, arguments = RUNS[name]
    arguments = {"epochs": 2, "batch_size": 8, "verbose": 0, "optimizer": fl.Adam(0.02), **arguments, **more}
    target_scaler = fl.Standardizer() if arguments.get("loss") == "mse" and name != "missing targets" else None
    dtype = arguments.pop("dtype", "float64")
    model = fl.Model(layers(), input_size=3, dtype=dtype, seed=3, scaler=fl.Standardizer(), target_scaler=target_scaler)
    return model, model.fit(arguments.pop("X"), arguments.pop("y"), **arguments)


# ------------------------------------------------------------------ the tree


@pytest.mark.parametrize("rows", [0, 1, 3, 8, 31])
@pytest.mark.parametrize("shards", [1, 2, 3, 8, 13])
def test_shards_are_as_even_as_possible(rows: int, shards: int) -> None:
    bounds = [shard_bounds(rows, shards, index) for index in range(shards)]
    assert [begin for begin, _ in bounds] == [0, *(end for _, end in bounds[:-1])] and bounds[-1][1] == rows
    sizes = [end - begin for begin, end in bounds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8])
def test_the_tree_gives_the_weighted_mean_of_the_gradients(shards: int) -> None:
    weights = np.array([0.0, 3.0, 0.5, 0.0, 0.0, 7.0, 1e-9, 2.0])[:shards]
    parts = rng.standard_normal((shards, 50))
    gradients = np.full(50, np.nan)

    def compute(index: int) -> Sums:
        if weights[index]:
            gradients[:] = parts[index]
        return Sums(10.0 * index, weights[index], 1.0, 2.0, index)

    sums = Reduce(shards)(compute, gradients)
    assert sums == (sum(range(shards)) * 10, weights.sum(), shards, 2 * shards, sum(range(shards)), 0)
    if weights.sum() > 0:
        # Each of at most three levels rounds three times.
        np.testing.assert_allclose(gradients, weights @ parts / weights.sum(), rtol=0, atol=9 * 2**-52 * 4)


def test_large_and_small_weights_overflow_nothing() -> None:
    gradients = np.ones(3, np.float32)

    def compute(index: int) -> Sums:
        gradients[:] = (1.0, 3.0)[index]
        return Sums(0.0, (1e300, 3e300)[index])

    Reduce(2)(compute, gradients)
    np.testing.assert_array_equal(gradients, np.float32(2.5))


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize("shards", [2, 3, 8])
@pytest.mark.parametrize("name", RUNS)
def test_several_shards_train_as_one(name: str, shards: int) -> None:
    """The masks are those of the whole batch: other ones would change the losses in their first digits."""
    one, expected = train(name)
    several, history = train(name, shards=shards)
    # Sums in another order, in float64, over 6 to 12 updates; Adam divides by the square root of small squares.
    np.testing.assert_allclose(several.flat_parameters, one.flat_parameters, rtol=1e-8, atol=1e-10)
    for quantity, values in expected.history.items():
        assert history.history[quantity] == pytest.approx(values, rel=1e-10, nan_ok=True), quantity
    assert several.network.passes == one.network.passes


@pytest.mark.parametrize("name", RUNS)
def test_the_bits_do_not_depend_on_the_threads(name: str) -> None:
    runs = [train(name, shards=4, n_threads=n, dtype="float32") for n in (1, 2, 3)]
    for model, history in runs[1:]:
        np.testing.assert_array_equal(model.flat_parameters, runs[0][0].flat_parameters)
        assert str(history.history) == str(runs[0][1].history)


def test_one_shard_is_the_default() -> None:
    np.testing.assert_array_equal(train("steps", shards=1)[0].flat_parameters, train("steps")[0].flat_parameters)


def test_the_shards_of_a_sum_are_computed_alone() -> None:
    """With two shards the gradient is the mean of those of the halves, computed as whole batches, to the bit."""
    x, y = X[:8].astype("f4"), VALUES[:8].astype("f4")
    gradients = []
    for part, shards in ((slice(0, 8), 2), (slice(0, 4), 1), (slice(4, 8), 1)):
        model = fl.Model([fl.LSTM(6, **SEQUENCE), fl.Dense(2)], input_size=3, seed=3)
        before = model.flat_parameters.copy()
        sgd = fl.SGD(1.0)
        model.fit(x[part], y[part], loss="mse", optimizer=sgd, epochs=1, shuffle=False, shards=shards, verbose=0)
        gradients.append(model.gradients())
        assert not np.array_equal(before, model.flat_parameters)
    half = np.float32(0.5)
    for name, whole in gradients[0].items():
        np.testing.assert_array_equal(whole, gradients[1][name] * half + gradients[2][name] * half)


def test_more_shards_than_cases() -> None:
    one, several = train("labels", batch_size=3)[0], train("labels", batch_size=3, shards=16)[0]
    np.testing.assert_allclose(several.flat_parameters, one.flat_parameters, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["labels", "segments", "segments, lengths"])
def test_a_run_is_resumed_to_the_same_bits(name: str, tmp_path: Path) -> None:
    whole, expected = train(name, shards=3, epochs=3)

    class Kill(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.epoch = epoch

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if (self.epoch, batch) == (2, 3):
                raise RuntimeError("killed")

    path = tmp_path / "run.safetensors"
    with pytest.raises(RuntimeError, match="killed"):
        train(name, shards=3, epochs=3, callbacks=[fl.Checkpoint(path, every_batches=1), Kill()])
    with pytest.raises(ValueError, match="started with shards=3, got 1"):
        train(name, epochs=3, resume=path)
    resumed, history = train(name, shards=3, epochs=3, resume=path, n_threads=2)
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)
    assert history.history == expected.history


NORMED: dict[str, tuple[list[Layer], dict[str, Any]]] = {
    "first, last, twice": (
        [
            fl.BatchNorm(),
            fl.Conv1D(4, 3),
            fl.BatchNorm(),
            fl.Activation("relu"),
            fl.LSTM(5),
            fl.BatchNorm(),
            fl.Dense(4),
        ],
        {"y": LABELS, "lengths": np.maximum(LENGTHS, 3), "class_weight": "balanced"},
    ),
    "masked, dropped out": (
        [fl.Masking(), fl.LSTM(5, recurrent_dropout=0.4, **SEQUENCE), fl.BatchNorm(weight=False), fl.Dense(2)],
        {"y": VALUES, "loss": "mse", "lengths": LENGTHS, "X": np.where(X[:, :, :1] > 0.8, 0.0, X)},
    ),
    "cases of weight 0": (
        [fl.LSTM(5, **SEQUENCE), fl.Dropout(0.2), fl.BatchNorm(momentum=0.3, bias=False), fl.LSTM(4), fl.Dense(2)],
        {"y": VALUES[:, 0], "loss": "mse", "sample_weight": (np.arange(CASES) % 8 > 4) * 2.0, "shuffle": False},
    ),
    "features of a case": (
        [fl.LSTM(5, bidirectional=True), fl.BatchNorm(), fl.Dense(4)],
        {"y": LABELS, "recompute_every": 4},
    ),
}


@pytest.mark.parametrize("shards", [2, 5, 30])
@pytest.mark.parametrize("name", NORMED)
def test_batch_norm_has_the_statistics_of_the_whole_batch(name: str, shards: int) -> None:
    layers, arguments = NORMED[name]
    models, losses = [], []
    for count in (1, shards):
        model = fl.Model(copy.deepcopy(layers), input_size=3, dtype="float64", seed=1)
        given = {"epochs": 3, "batch_size": 9, "verbose": 0, "X": X, **arguments}
        losses.append(model.fit(given.pop("X"), given.pop("y"), shards=count, **given).history["loss"])
        models.append(model)
    # Sums are added in another order; a wrong sum of the gradient changes them in the third digit.
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    for parameter, value in models[0].parameters().items():
        np.testing.assert_allclose(models[1].parameters()[parameter], value, rtol=1e-7, atol=1e-9, err_msg=parameter)
    assert models[0].network.passes == models[1].network.passes


@pytest.mark.parametrize(
    ("layers", "arguments", "message"),
    [
        (
            [fl.TimeDistributed([fl.Conv1D(3, 1), fl.BatchNorm()]), fl.LSTM(4), fl.Dense(4)],
            {},
            "shards=2 computes each part of a batch alone, and layer 0 holds a layer that is a BatchNorm",
        ),
        (
            [fl.BatchNorm(), fl.LSTM(4, **SEQUENCE), fl.Dense(4)],
            {"tbptt_steps": 4},
            "layer 0 is a BatchNorm, which needs the statistics of the whole batch, and those of a segment are not",
        ),
    ],
)
def test_batch_norm_that_is_refused(layers: list[Layer], arguments: dict[str, Any], message: str) -> None:
    model = fl.Model(layers, input_size=3)
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match=message):
        model.fit(X, STEP_LABELS if arguments else LABELS, shards=2, verbose=0, **arguments)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_batch_norm_that_is_not_trained_is_taken() -> None:
    models = []
    for shards in (1, 4):
        norm = fl.BatchNorm()
        norm.trainable = False
        model = fl.Model([fl.LSTM(4), norm, fl.Dense(4)], input_size=3, dtype="float64")
        model.fit(X, LABELS, shards=shards, epochs=2, verbose=0)
        models.append(model)
    np.testing.assert_allclose(models[1].flat_parameters, models[0].flat_parameters, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("shards", "error"), [(0, ValueError), (2.0, TypeError), (2**16, ValueError)])
def test_bad_numbers_of_shards_are_refused(shards: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="shards must be"):
        train("labels", shards=shards)


@pytest.mark.parametrize("case", [0, 21])
def test_a_loss_that_is_not_finite_in_one_shard_leaves_the_last_good_weights(case: int) -> None:
    y = VALUES.copy()
    y[case] = 1e200  # whose square is infinite
    model = fl.Model([fl.LSTM(6, **SEQUENCE), fl.Dense(2)], input_size=3, dtype="float64", seed=3)
    before = model.flat_parameters.copy()
    with np.errstate(over="ignore"), pytest.raises(fl.TrainingDiverged, match="loss became inf in epoch 1, batch 1"):
        model.fit(X, y, loss="mse", batch_size=CASES, shards=4, verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_data_in_which_nothing_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        train("labels", class_weight=dict.fromkeys(range(CLASSES), 0.0), shards=4)
    assert math.isfinite(train("missing targets", shards=4, shuffle=False)[1].history["loss"][0])
