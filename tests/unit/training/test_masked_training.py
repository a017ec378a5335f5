"""Masked steps of the input: they count in no statistic, loss or metric, whatever the scaler does with their values.

The twin of a model whose masked steps are at the end is the model without its `Masking`, with `lengths`; that of one
whose masked steps are anywhere gets a sample_weight of 0 there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import relative_error

import fastlstm as fl
from fastlstm.layers import Layer, Signal, Stage
from fastlstm.layers.context import LayerCache, PassContext
from fastlstm.training import loop

MASK = -7.0
N, TIME, FEATURES = 12, 7, 3
_RNG = np.random.default_rng(0)
LENGTHS = _RNG.integers(1, TIME + 1, N)
LENGTHS[0] = TIME
TRAILING = np.arange(TIME) < LENGTHS[:, None]
ANYWHERE = _RNG.random((N, TIME)) < 0.6
ANYWHERE[3] = False  # a case without any step
ANYWHERE[4] = True
# Far from mean 0 and deviation 1, so that a masked step that counts in the scaler changes much.
X = _RNG.standard_normal((N, TIME, FEATURES)) * 5 + 30
LABELS = _RNG.integers(0, 3, (N, TIME))
VALUES = _RNG.standard_normal((N, TIME, 2)) * 4 + 11
WEIGHT = _RNG.random((N, TIME))
TEXTS = [_RNG.integers(1, 3, max(1, length // 3)).tolist() for length in LENGTHS]

# The same numbers are added in an order that depends on how the series are packed.
SAME = 1e-12


def masked(x: np.ndarray, counts: np.ndarray, value: Any = MASK) -> np.ndarray:
    """Return a copy in which the steps that do not count hold a value."""
    x = x.copy()
    x[~counts] = value
    return x


def per_step(outputs: int) -> list[Layer]:
    return [fl.LSTM(5, return_sequences=True), fl.LSTM(4, return_sequences=True), fl.Dense(outputs)]


def pair(layers: Callable[[], list[Layer]], value: Any = MASK, **options: Any) -> tuple[fl.Model, fl.Model]:
    """Return a model with a Masking and its twin without, of the same weights."""
    given = {"input_size": FEATURES, "dtype": "float64", "seed": 0, "scaler": fl.Standardizer(), **options}
    model, twin = fl.Model([fl.Masking(value), *layers()], **given), fl.Model(layers(), **given)
    twin.flat_parameters[:] = model.flat_parameters
    return model, twin


def fitted(model: fl.Model, *data: Any, **options: Any) -> dict[str, list[float]]:
    given = {"epochs": 3, "batch_size": 5, "verbose": 0, "seed": 1, "optimizer": fl.Adam(0.01), **options}
    return model.fit(*data, **given).history


def number(y: np.ndarray, out: np.ndarray) -> float:
    return float(len(y))


def error(y: np.ndarray, out: np.ndarray) -> float:
    return float(np.abs(y - out).mean())


RUNS: dict[str, tuple[int, Any, dict[str, Any], dict[str, Any]]] = {
    # outputs of the model, targets, options of the model, options of fit
    "labels": (3, masked(LABELS, TRAILING, -1), {}, {}),
    "balanced": (3, masked(LABELS, TRAILING, 0), {}, {"class_weight": "balanced"}),
    "class and step weights": (3, LABELS, {}, {"class_weight": {0: 3.0}, "sample_weight": WEIGHT}),
    "names": (3, np.array(["a", "b", "c"])[LABELS], {}, {"sample_weight": WEIGHT[:, 0]}),
    "mse": (2, masked(VALUES, TRAILING, np.nan), {"target_scaler": fl.Standardizer()}, {"loss": "mse"}),
    "huber": (2, masked(VALUES, TRAILING, np.inf), {}, {"loss": "huber", "sample_weight": WEIGHT}),
    "quantile": (
        2, masked(VALUES[:, :, :1], TRAILING, np.nan), {"target_scaler": fl.Standardizer()},
        {"loss": fl.Quantile([0.3, 0.6]), "sample_weight": WEIGHT[:, 0]},
    ),
    "binary": (
        1, masked(LABELS % 2 * 1.0, TRAILING, np.nan), {}, {"loss": "binary_cross_entropy", "class_weight": "balanced"},
    ),
    "metrics": (2, masked(VALUES, TRAILING, 1e6), {}, {"loss": "mse", "metrics": [number, error]}),
    "ctc": (4, TEXTS, {}, {"loss": "ctc"}),
    "recomputed": (2, VALUES, {}, {"loss": "mse", "recompute_every": 2}),
}  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
def test_masked_steps_at_the_end_are_those_beyond_the_lengths(run: str) -> None:
    """Compare scalers, weights and history, to the bit: the losses read the same arrays."""
    outputs, y, of_model, of_fit = RUNS[run]
    x = masked(X, TRAILING)
    model, twin = pair(lambda: per_step(outputs), **of_model)
    got = fitted(model, x, y, validation_data=(x, y), **of_fit)
    expected = fitted(twin, x, y, lengths=LENGTHS, validation_data=(x, y, LENGTHS), **of_fit)
    assert got == expected
    assert model.scaler == twin.scaler and model.target_scaler == twin.target_scaler
    assert model.flat_parameters.tobytes() == twin.flat_parameters.tobytes()
    chosen = {name: of_fit[name] for name in ("sample_weight", "metrics") if name in of_fit}
    assert model.evaluate(x, y, **chosen) == twin.evaluate(x, y, lengths=LENGTHS, **chosen)


@pytest.mark.parametrize("weighted", [False, True])
def test_masked_steps_in_segments(weighted: bool) -> None:
    """With tbptt_steps a segment may be masked as a whole: it is no update, and the state goes on to the next."""
    options = {"loss": "mse", "tbptt_steps": 3, **({"sample_weight": WEIGHT} if weighted else {})}
    y, x = masked(VALUES, TRAILING, np.nan), masked(X, TRAILING)
    model, twin = pair(lambda: per_step(2))
    got = fitted(model, x, y, validation_data=(x, y), **options)
    expected = fitted(twin, x, y, lengths=LENGTHS, validation_data=(x, y, LENGTHS), **options)
    for name, values in got.items():
        assert relative_error(np.array(values), np.array(expected[name])) <= SAME
    assert relative_error(model.flat_parameters, twin.flat_parameters) <= SAME
    # A gap of a whole segment, which no optimizer step follows.
    x, y = X[:1].copy(), VALUES[:1]
    x[:, 2:4] = MASK
    model, twin = pair(lambda: per_step(2), scaler=None)
    calls = [0, 0]
    for which, (one, data) in enumerate(((model, (x, y)), (twin, (x[:, [0, 1, 4, 5, 6]], y[:, [0, 1, 4, 5, 6]])))):

        def counted(logs: Any, which: int = which) -> None:
            calls[which] += 1

        class Steps(fl.SGD):
            def step(self, *arguments: Any, counted: Any = counted, **named: Any) -> None:
                counted(None)
                super().step(*arguments, **named)

        fitted(one, *data, loss="mse", tbptt_steps=2, epochs=2, optimizer=Steps(0.01))
    assert calls == [6, 6]


def test_masked_steps_anywhere_have_weight_0() -> None:
    """In evaluation, whose mean does not depend on the number of positions; in one batch also in training."""
    x = masked(X, ANYWHERE)
    y = masked(VALUES, ANYWHERE, np.nan)
    model = fl.Model([fl.Masking(MASK), *per_step(2)], dtype="float64", scaler=fl.Standardizer())
    model.target_scaler = fl.Standardizer()
    fitted(model, x, y, loss="mse", epochs=2)
    np.testing.assert_array_equal(model.scaler.mean_, fl.Standardizer().fit(X[ANYWHERE]).mean_)
    np.testing.assert_array_equal(model.target_scaler.scale_, fl.Standardizer().fit(VALUES[ANYWHERE]).scale_)
    for sample_weight in (None, WEIGHT, WEIGHT[:, 0]):
        weight = np.where(ANYWHERE, 1.0 if sample_weight is None else sample_weight.reshape(N, -1), 0.0)
        got = model.evaluate(x, y, sample_weight=sample_weight)
        # As the loss sees the outputs: every position, and the weights.
        out = model.predict(x)
        scaled = [model.target_scaler.transform(one) for one in (out, VALUES)]
        total, weights = fl.MSE().value(*scaled, weight=weight)
        assert relative_error(np.array(got["loss"]), np.array(total / weights)) <= SAME
        total, weights = fl.MSE().metric(out, VALUES, weight=weight)
        assert relative_error(np.array(got["mae"]), np.array(total / weights)) <= SAME
    # sample_weight=1 asks for the mean weight; masked steps are none of its positions.
    runs = []
    for given in ({}, {"sample_weight": np.ones((N, TIME))}):
        one = fl.Model([fl.Masking(MASK), *per_step(2)], dtype="float64", scaler=fl.Standardizer())
        history = fitted(one, x, y, loss="mse", **given)
        runs.append((np.array(history["loss"]), one.flat_parameters.copy()))
    for got_, expected in zip(*runs, strict=True):
        assert relative_error(got_, expected) <= SAME


def test_the_gradient_is_that_of_the_unmasked_steps() -> None:
    """Compare one update with that of a batch in which each series holds its unmasked steps alone."""
    kept = [0, 4]  # of the same number of steps, so that they are one array
    counts = np.zeros((N, TIME), bool)
    counts[0, [1, 2, 5]] = counts[4, [0, 3, 4]] = True
    x, y = masked(X, counts)[kept], masked(LABELS, counts, 99)[kept]
    packed_x, packed_y = (np.stack([one[row][counts[row]] for row in kept]) for one in (X, LABELS))
    model, twin = pair(lambda: per_step(3))
    gradients = []
    for one, data in ((model, (x, y)), (twin, (packed_x, packed_y))):

        class Recorder(fl.SGD):
            def step(self, model: Any, n_threads: int | None = None) -> None:
                gradients.append(model.flat_gradients.copy())

        fitted(one, *data, epochs=1, optimizer=Recorder())
    assert gradients[1].any() and relative_error(*gradients) <= SAME


# ---------------------------------------------------------------------------------------------- raw values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "x",
    [
        X.astype("f2"), X.astype("f4"), X, X.astype(">f4"), X.astype("i2"), X.astype(np.int64), X.astype("u1"),
        X.astype(np.longdouble),
    ],
    ids=lambda x: x.dtype.str,
)  # fmt: skip
@pytest.mark.parametrize("value", [0.1, 3.0])
def test_the_value_is_compared_in_the_type_of_the_array(value: float, x: np.ndarray, dtype: str) -> None:
    """Before the scaler, and before a float64 array is rounded to the float32 of the model."""
    if value == 0.1 and x.dtype.kind != "f":
        with np.errstate(all="ignore"):
            x = masked(x, ANYWHERE, 0)  # which 0.1 would become
        kept = np.ones_like(ANYWHERE)
    else:
        kept = ANYWHERE
        x = masked(x, ANYWHERE, x.dtype.type(value))
    model = fl.Model([fl.Masking(value), *per_step(3)], dtype=dtype, scaler=fl.Standardizer())
    fitted(model, x, LABELS, epochs=1)
    np.testing.assert_allclose(model.scaler.mean_, x[kept].astype("f8").mean(axis=0), rtol=1e-12)
    inputs = fl.data.as_sequences(x).with_masking(model.network.input_masks)
    np.testing.assert_array_equal(inputs.masks(slice(0, N))[:, :, 0], kept)
    twin = fl.Model(per_step(3), input_size=FEATURES, dtype=dtype, scaler=model.scaler)
    twin.flat_parameters[:] = model.flat_parameters
    got = model.predict(x)
    for row, counts in enumerate(kept):
        if counts.any():
            np.testing.assert_array_equal(got[row][counts], twin.predict(x[row][None, counts])[0])


def test_a_number_near_the_value_is_not_masked() -> None:
    """A float64 array may hold numbers that only the float32 of the model cannot tell from the value."""
    x = masked(X, ANYWHERE, 0.1)
    x[0, 0] = np.nextafter(0.1, 1)
    x[4] = np.float32(0.1)
    for scaler in (None, fl.Standardizer()):
        model = fl.Model([fl.Masking(0.1), fl.LSTM(4)], scaler=scaler, input_size=FEATURES)
        twin = fl.Model([fl.LSTM(4)], scaler=scaler, input_size=FEATURES)
        twin.flat_parameters[:] = model.flat_parameters
        if scaler is not None:
            model.scaler.fit(x[ANYWHERE])
            twin.scaler = model.scaler
        np.testing.assert_array_equal(model.predict(x)[4], twin.predict(x)[4])
        counts = ANYWHERE[0].copy()
        counts[0] = True
        np.testing.assert_array_equal(model.predict(x)[0], twin.predict(x[:1, counts])[0])
    out = model.forward(x)  # by hand: the values are those that are passed, without a scaler
    np.testing.assert_array_equal(out[4], twin.forward(x)[4])


def test_series_of_a_list_are_compared_each_in_its_type() -> None:
    x = [one.astype("f4" if i % 2 else "f8") for i, one in enumerate(masked(X, ANYWHERE, 0.1))]
    for one, counts in zip(x, ANYWHERE, strict=True):
        one[~counts] = one.dtype.type(0.1)
    model = fl.Model([fl.Masking(0.1), *per_step(3)], scaler=fl.Standardizer())
    fitted(model, x, list(LABELS), epochs=1)
    expected = np.concatenate([one[counts].astype("f8") for one, counts in zip(x, ANYWHERE, strict=True)])
    np.testing.assert_allclose(model.scaler.mean_, expected.mean(axis=0), rtol=1e-12)
    inputs = fl.data.as_sequences(x).with_masking(model.network.input_masks)
    np.testing.assert_array_equal(inputs.masks(np.arange(N))[:, :, 0], ANYWHERE)
    np.testing.assert_array_equal(inputs.output_steps(), ANYWHERE.sum(axis=1))


@pytest.mark.parametrize("value", ["nan", float("nan")])
def test_missing_steps_with_a_scaler_that_is_not_fitted(value: Any) -> None:
    x = masked(X, ANYWHERE, np.nan)
    model = fl.Model([fl.Masking(value), *per_step(3)], scaler=fl.Standardizer(), dtype="float64")
    other = fl.Model([fl.Masking(MASK), *per_step(3)], scaler=fl.Standardizer(), dtype="float64")
    assert fitted(model, x, LABELS) == fitted(other, masked(X, ANYWHERE), LABELS)
    assert model.scaler == other.scaler
    np.testing.assert_array_equal(model.predict(x), other.predict(masked(X, ANYWHERE)))


class Pair:
    """A data set that gives one case at a time."""

    def __init__(self, x: Any, y: Any, weight: Any = None) -> None:
        self.members = [x, y] if weight is None else [x, y, weight]

    def __len__(self) -> int:
        return len(self.members[0])

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return tuple(one[i] for one in self.members)


@pytest.mark.parametrize("kind", ["list", "memory map", "data set", "split"])
def test_where_the_data_come_from(kind: str, tmp_path: Path) -> None:
    """Lists of uneven series, memory maps and data sets give the bits of an array."""
    x, y = masked(X, ANYWHERE & TRAILING), masked(VALUES, ANYWHERE & TRAILING, np.nan)
    options: dict[str, Any] = {"loss": "mse", "sample_weight": WEIGHT}
    runs: list[fl.Model] = []
    for source in ("array", kind):
        model = fl.Model(
            [fl.Masking(MASK), *per_step(2)], dtype="float64", scaler=fl.Standardizer(), target_scaler=fl.Standardizer()
        )
        rows = [one[:length] for one, length in zip(x, LENGTHS, strict=True)]
        targets = [one[:length] for one, length in zip(y, LENGTHS, strict=True)]
        if source == "array":
            fitted(model, x, y, lengths=LENGTHS, **options, **({"validation_split": 0.25} if kind == "split" else {}))
        elif source == "list":
            fitted(model, rows, targets, **options)
        elif source == "memory map":
            np.save(tmp_path / "x.npy", x)
            fitted(model, np.load(tmp_path / "x.npy", mmap_mode="r"), y, lengths=LENGTHS, **options)
        elif source == "data set":
            weights = [one[:length] for one, length in zip(WEIGHT, LENGTHS, strict=True)]
            fitted(model, Pair(rows, targets, weights), loss="mse")
        else:
            fitted(model, rows, targets, **options, validation_split=0.25)
        runs.append(model)
    assert runs[0].scaler == runs[1].scaler and runs[0].target_scaler == runs[1].target_scaler
    np.testing.assert_array_equal(runs[0].flat_parameters, runs[1].flat_parameters)
    if kind == "data set":
        cases = Pair(rows, targets)
        assert runs[0].evaluate(cases) == runs[0].evaluate(x, y, lengths=LENGTHS)
        for got, expected, length in zip(runs[0].predict(cases), runs[0].predict(x, LENGTHS), LENGTHS, strict=True):
            np.testing.assert_array_equal(got, expected[:length])


@pytest.mark.parametrize("split", [0.0, 0.25])
def test_the_statistics_of_a_data_set(split: float) -> None:
    """Targets of masked steps may be numbers, or labels, like all others: they are left out all the same."""
    counts = ANYWHERE & TRAILING
    x, y = masked(X, counts), masked(VALUES, counts, 1e6)
    names = np.array(["a", "b", "c"])[masked(LABELS, counts, 0)]
    rows, values, labels = ([one[:n] for one, n in zip(data, LENGTHS, strict=True)] for data in (x, y, names))
    for targets, options in ((values, {"loss": "mse"}), (labels, {"class_weight": "balanced"})):
        runs = []
        for of_lists in (True, False):
            scalers = {"scaler": fl.Standardizer(), "target_scaler": fl.Standardizer() if targets is values else None}
            model = fl.Model([fl.Masking(MASK), *per_step(2 if targets is values else 3)], dtype="float64", **scalers)
            data = (rows, targets) if of_lists else (Pair(rows, targets),)
            runs.append((fitted(model, *data, validation_split=split, **options), model))
        assert runs[0][0] == runs[1][0]
        assert runs[0][1].scaler == runs[1][1].scaler and runs[0][1].target_scaler == runs[1][1].target_scaler
        assert runs[0][1].target_scaler is None or abs(runs[0][1].target_scaler.mean_).max() < 100


@pytest.mark.parametrize("same_series", [False, True])
def test_windows_of_one_series(same_series: bool) -> None:
    """Each step of the series counts once in the statistics, in the inputs and in the targets of each step."""
    steps = 30
    series = np.random.default_rng(1).standard_normal((steps, FEATURES)) + 5
    counts = np.random.default_rng(2).random(steps) < 0.7
    series[~counts] = MASK
    targets = np.random.default_rng(3).standard_normal(steps) * 3 + 2
    targets[~counts] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view
    x, y = np.moveaxis(windows(series, 8, axis=0), -1, 1)[::2], windows(targets, 8)[::2]
    used = np.zeros(steps, int)
    for start in range(0, steps - 7, 2):
        used[start : start + 8] += 1
    if not same_series:
        x = x.copy()
    model = fl.Model([fl.Masking(MASK), *per_step(1)], scaler=fl.Standardizer(), target_scaler=fl.Standardizer())
    fitted(model, x, y, loss="mse", epochs=1)
    # Copied inputs have no series that tells which windows share a step, so each window counts.
    times = np.minimum(used, 1) if same_series else used
    for scaler, values in ((model.scaler, series), (model.target_scaler, targets[:, None])):
        expected = np.average(values[counts], axis=0, weights=times[counts])
        np.testing.assert_allclose(scaler.mean_, expected, rtol=1e-12)
    chosen = np.arange(0, len(x), 3)
    again = fl.Model([fl.Masking(MASK), *per_step(1)], scaler=fl.Standardizer(), target_scaler=fl.Standardizer())
    fitted(again, fl.data.as_sequences(x).subset(chosen), y[chosen], loss="mse", epochs=1)
    assert again.target_scaler.fitted


# ---------------------------------------------------------------------------------------------- networks


def test_tokens() -> None:
    """Steps of the mask_token of an Embedding, too."""
    ids = np.random.default_rng(0).integers(1, 9, (N, TIME))
    x = masked(ids, TRAILING, 0)
    layers: list[Layer] = [fl.LSTM(4, return_sequences=True), fl.Dense(3)]
    model = fl.Model([fl.Embedding(9, 3, mask_token=0), *layers], dtype="float64")
    twin = fl.Model([fl.Embedding(9, 3), *[type(one)(**one.get_config()) for one in layers]], dtype="float64")
    y = masked(LABELS, TRAILING, 7)
    got = fitted(model, x, y, class_weight="balanced", validation_data=(x, y))
    expected = fitted(twin, x, y, class_weight="balanced", lengths=LENGTHS, validation_data=(x, y, LENGTHS))
    # Only the vector of the mask token, which nothing reads, gets a gradient of 0 in another place.
    assert got == expected and model.flat_parameters.tobytes() == twin.flat_parameters.tobytes()


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [fl.Masking(MASK), fl.LSTM(4), fl.Dense(3)],
        lambda: [fl.Masking(MASK), fl.LSTM(4, return_sequences=True), fl.MeanPool(), fl.Dense(3)],
    ],
)
def test_an_output_for_each_case_counts(layers: Callable[[], list[Layer]]) -> None:
    model = fl.Model(layers(), dtype="float64", scaler=fl.Standardizer())
    x, y = masked(X, ANYWHERE), LABELS[:, 0]
    fitted(model, x, y, epochs=1)
    out = model.predict(x)
    total, weight = fl.CrossEntropy().value(out, y)
    assert weight == N and model.evaluate(x, y)["loss"] == total / weight


class First(Layer):
    """A user's layer that takes the first step and knows nothing of masks."""

    def build(self, signal: Signal) -> Signal:
        return Signal(signal.features, False)

    def forward(self, x: np.ndarray, ctx: PassContext, cache: LayerCache) -> np.ndarray:
        cache.saved["shape"] = x.shape
        return np.ascontiguousarray(x[:, 0])

    def backward(self, dy: np.ndarray, ctx: PassContext, cache: LayerCache, need_dx: bool) -> np.ndarray | None:
        dx = np.zeros(cache.saved["shape"], dy.dtype)
        dx[:, 0] = dy
        return dx

    def get_config(self) -> dict[str, Any]:
        return {}


def test_a_users_layer_ends_the_steps_and_so_the_mask() -> None:
    model = fl.Model([fl.Masking(MASK), fl.LSTM(4, return_sequences=True), First(), fl.Dense(3)], dtype="float64")
    x, y = masked(X, ANYWHERE), LABELS[:, 0]
    fitted(model, x, y, epochs=1)
    total, weight = fl.CrossEntropy().value(model.predict(x), y)
    assert weight == N and model.evaluate(x, y)["loss"] == total / weight


def test_steps_after_a_repeat_vector_count() -> None:
    layers = [fl.Masking(MASK), fl.LSTM(4), fl.RepeatVector(TIME), fl.LSTM(4, return_sequences=True), fl.Dense(3)]
    model = fl.Model(layers, dtype="float64", scaler=fl.Standardizer())
    x = masked(X, ANYWHERE)
    fitted(model, x, LABELS, epochs=1)
    total, weight = fl.CrossEntropy().value(model.predict(x), LABELS)
    assert weight == N * TIME and model.evaluate(x, LABELS)["loss"] == total / weight
    with pytest.raises(ValueError, match="y holds inf"):
        model.fit(x, masked(VALUES[:, :, :1], ANYWHERE, np.inf).repeat(3, axis=2), loss="mse", verbose=0)


def test_the_mask_turns_with_the_series() -> None:
    layers = [fl.Masking(MASK), fl.LSTM(4, return_sequences=True, reverse=True), fl.Reverse(), fl.Dense(2)]
    model = fl.Model(layers, dtype="float64", scaler=fl.Standardizer(), target_scaler=fl.Standardizer())
    counts = ANYWHERE & TRAILING
    turned = np.zeros_like(counts)
    for row, length in enumerate(LENGTHS):
        turned[row, :length] = counts[row, :length][::-1]
    x, y = masked(X, counts), masked(VALUES, turned, np.nan)
    fitted(model, x, y, lengths=LENGTHS, loss="mse", epochs=1)
    np.testing.assert_allclose(model.target_scaler.mean_, VALUES[turned].mean(axis=0), rtol=1e-12)
    out = model.predict(x, LENGTHS)
    mae = model.evaluate(x, y, lengths=LENGTHS)["mae"]
    np.testing.assert_allclose(mae, np.abs(out - VALUES)[turned].mean(), rtol=1e-12)


def test_layers_that_change_nothing_in_inference_may_come_first() -> None:
    """Dropout would otherwise mask what it drops, and noise would hide the masked value."""
    x = masked(X, ANYWHERE)
    first: list[Layer] = [fl.GaussianNoise(0.1), fl.Dropout(0.5), fl.Masking(MASK)]
    model = fl.Model([*first, *per_step(3)], dtype="float64", scaler=fl.Standardizer())
    other = fl.Model([fl.Masking(MASK), *per_step(3)], input_size=FEATURES, dtype="float64")
    fitted(model, x, LABELS, epochs=1)
    np.testing.assert_array_equal(model.scaler.mean_, fl.Standardizer().fit(X[ANYWHERE]).mean_)
    other.scaler = model.scaler
    other.flat_parameters[:] = model.flat_parameters
    np.testing.assert_array_equal(model.predict(x), other.predict(x))
    model.forward(x, training=True)
    np.testing.assert_array_equal(model.network.context(True).mask, ANYWHERE)


def test_two_maskings_compare_the_raw_values_one_after_the_other() -> None:
    """The second reads 0 where the first masks, and replaces its mask."""
    x = masked(X, ANYWHERE)
    x[0, 0] = 0.0
    x[5, 1] = 40.0
    layers: list[Layer] = [fl.Masking(MASK), fl.Masking(), fl.Masking(40.0)]
    counts = {2: ANYWHERE.copy(), 3: np.ones_like(ANYWHERE)}
    counts[2][0, 0] = False
    counts[3][5, 1] = False
    for number_, expected in counts.items():
        model = fl.Model([*layers[:number_], *per_step(2)], scaler=fl.Standardizer(), dtype="float64")
        fitted(model, x, VALUES, loss="mse", epochs=1)
        model.forward(x)
        np.testing.assert_array_equal(model.network.context(False).mask, expected)
        kept = counts[2] if number_ == 2 else counts[2] & counts[3]
        np.testing.assert_array_equal(model.scaler.mean_, fl.Standardizer().fit(x[kept]).mean_)
        mae = np.abs(model.predict(x) - VALUES)[expected].mean()
        np.testing.assert_allclose(model.evaluate(x, VALUES)["mae"], mae, rtol=1e-12)


def test_a_masking_inside_the_network_compares_what_reaches_it() -> None:
    """It masks the outputs at which the layers before it give its value, and these count in no loss either."""
    layers = [fl.Dense(4), fl.Activation("relu"), fl.Dropout(0.0), fl.Masking(0.0), *per_step(2)]
    model = fl.Model(layers, dtype="float64", scaler=fl.Standardizer(), input_size=FEATURES)
    assert model.network.input_masks is None
    model.scaler.fit(X)
    scaled = model.scaler.transform(X)
    first = np.maximum(scaled @ model.parameters()["0.weight"].T + model.parameters()["0.bias"], 0)
    counts = first.any(axis=-1)
    assert counts.any() and not counts.all()
    mae = np.abs(model.predict(X) - VALUES)[counts].mean()
    np.testing.assert_allclose(model.evaluate(X, VALUES, loss="mse")["mae"], mae, rtol=1e-12)
    history = fitted(model, X, VALUES, loss="mse", epochs=1, batch_size=N, optimizer=fl.SGD(1e-9))
    np.testing.assert_allclose(history["mae"], mae, rtol=1e-9)


class Negative(Layer):
    """A user's layer that masks steps whose first feature is negative; it knows nothing of raw values."""

    masks_steps = True

    def build(self, signal: Signal) -> Signal:
        self.size = signal.features
        return signal

    def counts(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x[..., 0] >= 0)

    def forward(self, x: np.ndarray, ctx: PassContext, cache: LayerCache) -> np.ndarray:
        ctx.mask = self.counts(x)
        return x

    def backward(self, dy: np.ndarray, ctx: PassContext, cache: LayerCache, need_dx: bool) -> np.ndarray | None:
        return dy

    def stages(self) -> list[Stage]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {}


def test_a_users_layer_masks_raw_values() -> None:
    x = masked(X, ANYWHERE)
    model = fl.Model([Negative(), *per_step(2)], dtype="float64", scaler=fl.Standardizer())
    other = fl.Model([fl.Masking(MASK), *per_step(2)], dtype="float64", scaler=fl.Standardizer())
    assert fitted(model, x, VALUES, loss="mse") == fitted(other, x, VALUES, loss="mse")
    np.testing.assert_array_equal(model.predict(x)[4], other.predict(x)[4])


# ---------------------------------------------------------------------------------------------- refusals, CTC


def test_data_without_a_step_that_counts_are_refused() -> None:
    x = np.full_like(X, MASK)
    model = fl.Model([fl.Masking(MASK), *per_step(3)], scaler=fl.Standardizer())
    with pytest.raises(ValueError, match=r"every label of y is -100 \('ignore'\), or its step is masked"):
        model.fit(x, LABELS, verbose=0)
    model = fl.Model([fl.Masking(MASK), *per_step(2)], scaler=fl.Standardizer())
    with pytest.raises(ValueError, match="X has no step that counts"):
        model.fit(x, VALUES, loss="mse", verbose=0)
    model = fl.Model([fl.Masking(MASK), *per_step(2)], input_size=FEATURES)
    with pytest.raises(ValueError, match="nothing to learn: .* its step is masked"):
        model.fit(x, VALUES, loss="mse", verbose=0)
    with pytest.raises(ValueError, match="nothing to evaluate: .* every step is masked"):
        model.evaluate(x, VALUES, loss="mse")


def test_targets_of_unmasked_steps_are_checked() -> None:
    """The message names case and step of the data."""
    counts = ANYWHERE.copy()
    counts[4, 2] = True
    x, y = masked(X, counts), masked(VALUES, counts, np.nan)
    y[4, 2, 1] = np.inf
    model = fl.Model([fl.Masking(MASK), *per_step(2)], scaler=fl.Standardizer())
    for data in ((x, y), (list(x), list(y))):
        with pytest.raises(ValueError, match=r"y holds inf at \[case, step, column\] = \[4, 2, 1\]"):
            model.fit(*data, loss="mse", verbose=0)
    labels = masked(LABELS, counts, -3)
    labels[4, 2] = -3
    model = fl.Model([fl.Masking(MASK), *per_step(3)], scaler=fl.Standardizer())
    with pytest.raises(ValueError, match=r"y holds label -3 at \[case, step\] = \[4, 2\]"):
        model.fit(x, labels, verbose=0)


def test_ctc_reads_and_decodes_the_unmasked_frames() -> None:
    counts = ANYWHERE.copy()
    counts[3, 1:4] = True
    x = masked(X, counts)
    y = [[1, 2] if row.sum() > 2 else [1] for row in counts]
    layers = [fl.LSTM(4, return_sequences=True), fl.Dense(3)]
    model, twin = pair(lambda: [type(one)(**one.get_config()) for one in layers])
    history = fitted(model, x, y, loss="ctc", epochs=2, optimizer=fl.Adam(0.1))
    kept = [one[row] for one, row in zip(x, counts, strict=True)]
    expected = fitted(twin, kept, y, loss="ctc", epochs=2, optimizer=fl.Adam(0.1))
    for name, values in history.items():
        assert relative_error(np.array(values), np.array(expected[name])) <= SAME
    assert relative_error(model.flat_parameters, twin.flat_parameters) <= SAME
    model.flat_parameters[-3:] = [0, 2, 1]  # a bias by which a masked frame at the start would give a label
    twin.flat_parameters[:] = model.flat_parameters
    for data in (x, list(x)):
        got, of_twin = model.predict_classes(data), twin.predict_classes(kept)
        assert [one.tolist() for one in got] == [one.tolist() for one in of_twin]
    with pytest.raises(ValueError, match=r"y\[3\] has 3 labels, which need 5 steps.* X\[3\] has 3 that are not masked"):
        model.fit(x, [*y[:3], [1, 1, 1], *y[4:]], loss="ctc", verbose=0)
    # A case of which every frame is masked has no labels.
    empty = masked(X, ANYWHERE)
    assert model.predict_classes(empty)[3].tolist() == []
    assert np.isfinite(model.evaluate(empty, [*[[1]] * 3, [], *[[1]] * 8])["loss"])


def test_a_loss_of_ones_own_reads_series_without_masked_steps() -> None:
    """They end as series of a list do: with the label -100."""
    seen = []

    class Own(fl.CrossEntropy):
        name = "own"

        def __call__(self, out: Any, target: Any, lengths: Any = None, weight: Any = None, **options: Any) -> Any:
            seen.append((target.copy(), lengths.copy(), out.shape))
            return super().__call__(out, target, lengths, weight, **options)

    model = fl.Model([fl.Masking(MASK), *per_step(3)])
    fitted(model, masked(X, ANYWHERE), LABELS, loss=Own(), epochs=1, batch_size=N, shuffle=False)
    [(target, lengths, shape)] = seen
    assert shape == (N, TIME, 3)  # row 4 has all steps
    np.testing.assert_array_equal(lengths, ANYWHERE.sum(axis=1))
    for row, got in enumerate(target):
        expected = LABELS[row][ANYWHERE[row]]
        assert got.tolist() == [*expected.tolist(), *[-100] * (TIME - len(expected))]


def test_a_network_computes_masks_that_it_is_not_given() -> None:
    ids = masked(np.random.default_rng(0).integers(1, 9, (N, TIME)), ANYWHERE, 0)
    tokens = fl.Model([fl.Embedding(9, 3, mask_token=0), *per_step(2)])
    numbers = fl.Model([fl.Masking(MASK), *per_step(2)], input_size=FEATURES)
    for model, x in ((tokens, ids), (numbers, masked(X, ANYWHERE).astype("f4"))):
        expected = model.predict(x)  # with masks
        np.testing.assert_array_equal(model.network.forward(x, None, False), expected)
        np.testing.assert_array_equal(model.network.context(False).mask, ANYWHERE)


def test_a_refused_fit_leaves_no_masks() -> None:
    model = fl.Model([fl.Masking(MASK), *per_step(2)])
    with pytest.raises(ValueError, match="y has shape"):
        model.fit(X, VALUES[:, 1:], loss="mse", verbose=0)
    assert not model.built and model.network.input_masks is None


def test_a_plain_model_reads_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without masks computes none, and its losses read the output itself."""
    from fastlstm.data.sequences import Sequences

    def refuse(*arguments: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Sequences, "with_masking", lambda self, masking: self if masking is None else refuse())
    monkeypatch.setattr(fl.data.as_sequences(X).__class__, "masks", refuse)
    monkeypatch.setattr(loop.Feed, "_without_masked", refuse)
    model = fl.Model(per_step(3), scaler=fl.Standardizer())
    fitted(model, X, LABELS, class_weight="balanced", validation_split=0.25)
    model.evaluate(X, LABELS)
    model.predict_classes(X)
