"""Models whose inputs have missing values, or whose series are scaled one by one."""

from __future__ import annotations

import copy
import io
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.training.run_state import SavedRun

N, T, F = 24, 9, 4
GAPS = [0, 2]
"""Features with missing values."""


def with_gaps(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, T, F)) * [1, 10, 0.1, 3] + [0, 1000, 2, -5]
    for feature in GAPS:
        X[:, :, feature][rng.random((N, T)) < 0.3] = np.nan
    return X


X = with_gaps()
Y = np.arange(N) % 3
STEPS = np.random.default_rng(5).normal(size=(N, T, 2))
LENGTHS = np.random.default_rng(1).integers(1, T + 1, N)
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 7, "verbose": 0}


def layers(per_step: bool = False) -> list[fl.layers.Layer]:
    return [fl.LSTM(5, return_sequences=per_step, dropout=0.0), fl.Dropout(0.2), fl.Dense(2 if per_step else 3)]


def masked(missing: Any = "mask", kind: Any = fl.Standardizer, **options: Any) -> fl.Model:
    return fl.Model(layers(), scaler=kind(missing=missing), seed=1, **options)


def same(model: fl.Model, other: fl.Model) -> None:
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)


class Given:
    """Cases one by one."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return tuple(part[i] for part in self.parts)


# ---------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["array", "lengths", "list", "memory map", "cases", "float32"])
@pytest.mark.parametrize(
    "missing, kind", [("mask", fl.Standardizer), ("mask-all", fl.Standardizer), ("mask", fl.RobustScaler)]
)
def test_a_model_is_trained_on_what_the_scaler_gives(
    missing: Any, kind: Any, form: str, dtype: Any, tmp_path: Path
) -> None:
    """The same bits as a model without a scaler whose inputs are scaled, with their channels, beforehand."""
    lengths = LENGTHS if form in ("lengths", "list", "cases") else None
    given, x = X, X
    if form == "float32":
        given = x = X.astype("f4")
    if form in ("list", "cases"):
        given = [one[:n] for one, n in zip(X, LENGTHS, strict=True)]
    elif form == "memory map":
        given = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, X.shape)
        given[:] = X
    ends = lengths if form == "lengths" else None
    scaler = kind(missing=missing).fit(x, lengths)
    model = masked(missing, kind, dtype=dtype)
    twin = fl.Model(layers(), seed=1, dtype=dtype)
    # scaled in float64 and rounded to the model's dtype at once, as in the model
    z = scaler.scaled(np.where(np.isnan(x), np.nan, x), dtype)
    if form == "cases":
        history = model.fit(Given(given, Y), **OPTIONS)
        expected = twin.fit([one[:n] for one, n in zip(z, LENGTHS, strict=True)], Y, **OPTIONS)
    elif form == "list":
        history = model.fit(given, Y, **OPTIONS)
        expected = twin.fit([one[:n] for one, n in zip(z, LENGTHS, strict=True)], Y, **OPTIONS)
    else:
        history = model.fit(given, Y, lengths=ends, **OPTIONS)
        expected = twin.fit(z, Y, lengths=ends, **OPTIONS)
    same(model, twin)
    assert history.history == expected.history
    assert model.scaler == scaler and model.input_size == F
    assert model.network.input_size == F + (2 if missing == "mask" else F)
    np.testing.assert_array_equal(model.predict(x, lengths), twin.predict(z, lengths))
    assert model.evaluate(x, Y, lengths=lengths) == twin.evaluate(z, Y, lengths=lengths)


def test_a_network_is_built_as_if_its_channels_had_been_known() -> None:
    """A scaler that is fitted before gives the same initial weights as one that `fit` fits."""
    late, early = masked(), fl.Model(layers(), scaler=fl.Standardizer("mask").fit(X), seed=1, input_size=F)
    assert not late.built and early.built and early.input_size == F and early.network.input_size == F + 2
    for model in (late, early):
        model.fit(X, Y, **OPTIONS)
    same(late, early)
    # Initial values that depend on the longest training series.
    chrono = [
        fl.Model([fl.LSTM(4, forget_bias="chrono"), fl.Dense(3)], scaler=scaler)
        for scaler in (early.scaler, fl.Standardizer("mask"))
    ]
    for model in chrono:
        model.fit(X, Y, **OPTIONS)
    same(*chrono)


def test_channels_are_those_of_the_training_part() -> None:
    x = X.copy()
    _, validation = fl.split(Y, (0.75, 0.25), method="stratified", seed=1)
    x[:, :, 0] = np.nan_to_num(x[:, :, 0])
    x[validation[2], 3, 2] = x[validation[3], 4, 2] = np.nan
    train = np.setdiff1d(np.arange(N), validation)
    model = masked()
    model.fit(x, Y, validation_split=0.25, **OPTIONS)
    expected = fl.Standardizer("mask").fit(x[train])
    np.testing.assert_allclose(model.scaler.mean_, expected.mean_, rtol=1e-12)
    assert model.scaler.missing_features().tolist() == [2] and model.network.input_size == F + 1
    x[:, :, 2] = np.nan_to_num(x[:, :, 2])
    x[validation[2], 3, 2] = np.nan
    model = masked()
    place = rf"\[case, step, feature\] = \[{validation[2]}, 3, 2\], .*'mask-all'"
    with pytest.raises(ValueError, match=f"X holds nan at {place}"):
        model.fit(x, Y, validation_split=0.25, **OPTIONS)
    assert not model.built and not model.scaler.fitted and model.input_size is None
    masked("mask-all").fit(x, Y, validation_split=0.25, **OPTIONS)  # the cure


def test_validation_data_may_miss_what_training_data_miss() -> None:
    model = masked()
    history = model.fit(X, Y, validation_data=(X[:5], Y[:5]), **OPTIONS)
    assert np.isfinite(history.history["val_loss"]).all()
    x = X.copy()
    x[1, 2, 3] = np.nan
    for data in ((x, Y), Given(x, Y)):
        model = masked()
        with pytest.raises(ValueError, match=r"feature 3 had no missing values in the training data"):
            model.fit(X, Y, validation_data=data, **OPTIONS)


def test_windows_segments_and_masked_steps() -> None:
    series = X.reshape(-1, F)
    windows = np.lib.stride_tricks.sliding_window_view(series, T, axis=0).transpose(0, 2, 1)
    model = masked()
    model.fit(windows, np.arange(len(windows)) % 3, **OPTIONS)
    assert model.scaler == fl.Standardizer("mask").fit(series)

    fed = [
        fl.Model([fl.LSTM(5, return_sequences=True), fl.Dense(2)], scaler=s, seed=1)
        for s in (fl.Standardizer("mask"), None)
    ]
    z = fl.Standardizer("mask").fit(X).scaled(X, np.float32)
    for model, x in zip(fed, (X, z), strict=True):
        model.fit(x, STEPS, loss="mse", tbptt_steps=4, **OPTIONS)
    same(*fed)


def test_a_step_that_is_masked_needs_no_channels() -> None:
    """Missing values of a masked step do not count as missing."""
    x = np.nan_to_num(X)
    x[:, 2] = np.nan
    x[:5, 4, 1] = np.nan
    model = fl.Model([fl.Masking("nan"), *layers()], scaler=fl.Standardizer("mask"))
    model.fit(x, Y, **OPTIONS)
    assert model.scaler.missing_features().tolist() == [1]
    expected = model.predict(np.delete(x, 2, axis=1))
    np.testing.assert_array_equal(model.predict(x), expected)
    stream = model.stream(N)
    np.testing.assert_array_equal(stream.run(x)[:, -1], expected)
    x[0, 3, 0] = np.nan
    with pytest.raises(ValueError, match=r"\[0, 3, 0\], .*feature 0 had no missing values"):
        model.predict(x)
    marked = np.where(np.isnan(x).all(axis=2, keepdims=True), -9.0, np.nan_to_num(x))
    marked[:5, 4, 1] = np.nan
    other = fl.Model([fl.Masking(-9.0), *layers()], scaler=fl.Standardizer("mask"))
    other.fit(marked, Y, **OPTIONS)
    assert other.scaler == fl.Standardizer("mask").fit(np.delete(marked, 2, axis=1))


# ---------------------------------------------------------------------------------------------- refusals


def test_a_missing_value_in_another_feature_is_named() -> None:
    model = masked()
    model.fit(X, Y, **OPTIONS)
    x = X.copy()
    x[3, 6, 1] = np.nan
    text = r"\[3, 6, 1\], expected finite numbers: feature 1 had no missing values in the training data, .*'mask-all'"
    for call in (model.predict, model.predict_proba, lambda x: model.evaluate(x, Y), lambda x: model.predict(Given(x))):
        with pytest.raises(ValueError, match=rf"X holds nan at \[case, step, feature\] = {text}"):
            call(x)
    with pytest.raises(ValueError, match=rf"x holds nan at \[series, step, feature\] = {text}.* the state has not"):
        model.stream(N).run(x)
    with pytest.raises(ValueError, match=r"feature 1 had no missing values"):
        model.fit(x, Y, **OPTIONS)
    x[3, 6] = np.inf
    with pytest.raises(ValueError, match="X holds inf at .* find out what made it"):
        model.predict(x)
    everywhere = masked("mask-all")
    everywhere.fit(X, Y, **OPTIONS)
    x[3, 6] = np.nan
    assert np.isfinite(everywhere.predict(x)).all()
    none = masked()
    none.fit(np.nan_to_num(X), Y, **OPTIONS)
    assert none.network.input_size == F
    with pytest.raises(ValueError, match="had no missing values"):
        none.predict(X)
    with pytest.raises(ValueError, match=r"series, step, feature\] = .* had no missing values"):
        none.stream(N).run(X)


def test_numbers_of_features_are_those_of_the_user() -> None:
    model = masked()
    model.fit(X, Y, **OPTIONS)
    for call in (model.predict, lambda x: model.fit(x, Y, **OPTIONS), lambda x: model.evaluate(x, Y)):
        for k in (1, 3, 5, 6):
            with pytest.raises(ValueError, match=rf"X has {k} features?, the model was built for 4"):
                call(np.zeros((N, T, k)))
    with pytest.raises(ValueError, match="input_size is 6, expected 4"):
        model.build(6)
    model.build(4)
    with pytest.raises(ValueError, match=r"x has shape \(24, 6\), expected \(24, 4\)"):
        model.stream(N).step(np.zeros((N, 6)))
    fitted = fl.Model(layers(), scaler=model.scaler)
    with pytest.raises(ValueError, match="X has 3 features, the model's scaler was fitted on 4"):
        fitted.fit(X[:, :, :3], Y, **OPTIONS)
    with pytest.raises(ValueError, match="input_size is 3, expected 4, the number of features on which the scaler"):
        fl.Model(layers(), scaler=model.scaler, input_size=3)
    waiting = masked(input_size=3)
    assert waiting.input_size == 3 and not waiting.built
    with pytest.raises(ValueError, match="X has 4 features, expected 3, the input_size of the model"):
        waiting.fit(X, Y, **OPTIONS)
    with pytest.raises(RuntimeError, match="not built yet, .* call fit"):
        waiting.predict(X[:, :, :3])
    waiting.fit(X[:, :, :3], Y, **OPTIONS)
    assert waiting.input_size == 3 and waiting.network.input_size == 5
    full = masked("mask-all", input_size=4)
    assert full.input_size == 4 and full.network.input_size == 8
    with pytest.raises(ValueError, match="is not fitted yet: call fit"):
        full.predict(X)
    full.fit(X, Y, **OPTIONS)
    assert full.input_size == 4


def test_the_table_of_a_model_shows_its_channels() -> None:
    model, plain = masked(), fl.Model(layers(), scaler=fl.Standardizer())
    model.fit(X, Y, **OPTIONS)
    plain.fit(np.nan_to_num(X), Y, **OPTIONS)
    text, plain_text = io.StringIO(), io.StringIO()
    model.summary(text)
    plain.summary(plain_text)
    assert "scaler Standardizer(missing='mask', 4 features)  (batch, time, 6)" in text.getvalue()
    assert "scaler" not in plain_text.getvalue()


@pytest.mark.parametrize("missing", ["mask", "mask-all"])
@pytest.mark.parametrize("cases", [False, True])
def test_a_refused_fit_changes_nothing(missing: Any, cases: bool) -> None:
    model = masked(missing)
    x = X.copy()
    x[:, :, 1] = np.nan
    wrong: list[tuple[Any, Any, dict[str, Any]]] = [
        (X, np.full(N, 7), {}),
        (X, Y, {"loss": "mse"}),
        (X, Y, {"validation_data": (X[:, :, :3], Y)}),
        (X, Y, {"class_weight": {9: 1.0}}),
    ]
    for given, y, options in wrong:
        with pytest.raises(ValueError):
            _ = model.fit(Given(given, y), **options, **OPTIONS) if cases else model.fit(given, y, **options, **OPTIONS)
        assert not model.built and not model.scaler.fitted and model.scaler.added_channels == 0
        assert model.input_size is None and model.scaler.may_be_missing is None
    with pytest.raises(ValueError, match=r"feature 1 of X is missing \(nan\) everywhere"):
        model.fit(x, Y, **OPTIONS)
    assert not model.built and not model.scaler.fitted
    with pytest.raises(ValueError, match="X holds inf"):
        model.fit(np.where(np.isnan(X), np.inf, X), Y, **OPTIONS)
    model.fit(X[:, :, :3], Y, **OPTIONS)
    other = masked(missing)
    other.fit(X[:, :, :3], Y, **OPTIONS)
    same(model, other)


def test_a_scaler_that_does_not_fit_the_network_is_refused() -> None:
    model = fl.Model(layers(), input_size=F)
    model.scaler = fl.Standardizer("mask")
    with pytest.raises(ValueError, match="gives 4 features and 2 indicator channels, the model was built for 4"):
        model.fit(X, Y, **OPTIONS)
    assert not model.scaler.fitted
    model.fit(np.nan_to_num(X), Y, **OPTIONS)  # without missing values there are no channels
    assert model.scaler.added_channels == 0
    model.scaler = fl.Standardizer("mask").fit(X)
    for call in (model.predict, lambda x: model.stream(N)):
        with pytest.raises(
            ValueError, match="2 indicator channels, the model was built for 4 inputs: make a new model"
        ):
            call(X)
    model.scaler = fl.Standardizer("mask-all")
    with pytest.raises(ValueError, match="adds indicator channels, and the model was built for 4 inputs"):
        model.fit(X, Y, **OPTIONS)
    ends_open = fl.Model([fl.LSTM(4, return_sequences=True), fl.LastStep()], scaler=fl.Standardizer("mask"))
    ends_open.fit(X, np.zeros((N, 4)), loss="mse", **OPTIONS)
    as_many = fl.Model([fl.MeanPool(), fl.Activation("relu")], scaler=fl.Standardizer("mask"))
    with pytest.raises(ValueError, match="8 outputs and y has 6 values|an output for each of its inputs"):
        as_many.fit(X, np.zeros((N, 6)), loss="mse", **OPTIONS)
    for wrong in (fl.Standardizer("mask"), fl.Standardizer("mask-all"), fl.RobustScaler("mask")):
        with pytest.raises(ValueError, match="target_scaler has missing='mask.*', which is for inputs: leave it out"):
            fl.Model(layers(), target_scaler=wrong)
    with pytest.raises(ValueError, match="target_scaler has per_series=True"):
        fl.Model(layers(), target_scaler=fl.Standardizer(per_series=True))
    with pytest.raises(TypeError, match="must be a fl.Standardizer, a fl.RobustScaler or None"):
        fl.Model(layers(), scaler=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token ids"):
        fl.Model([fl.Embedding(5, 2), fl.LSTM(3), fl.Dense(3)], scaler=fl.Standardizer("mask")).fit(
            np.ones((N, T), int), Y, **OPTIONS
        )


def test_forward_reads_what_the_scaler_gives() -> None:
    model = masked()
    model.fit(X, Y, **OPTIONS)
    with pytest.raises(
        ValueError, match=r"X has 4 features, forward reads the 6 inputs .* pass model.scaler.transform"
    ):
        model.forward(X)
    np.testing.assert_array_equal(model.forward(model.scaler.transform(X)), model.predict(X))


# ---------------------------------------------------------------------------------------------- files, copies, runs


MODELS: dict[str, Callable[[], fl.Model]] = {
    "mask": masked,
    "mask-all": lambda: masked("mask-all"),
    "robust": lambda: masked("mask", fl.RobustScaler),
    "none missing": lambda: fl.Model(layers(), scaler=fl.RobustScaler()),
    "per series": lambda: fl.Model(layers(), scaler=fl.Standardizer("mask", per_series=True), seed=1),
    "per series, plain": lambda: fl.Model(layers(), scaler=fl.Standardizer(per_series=True), input_size=F),
}


def fitted(name: str, **options: Any) -> tuple[fl.Model, Any]:
    model = MODELS[name]()
    x = np.nan_to_num(X) if model.scaler.missing == "error" else X
    model.fit(x, Y, **OPTIONS, **options)
    return model, x


@pytest.mark.parametrize("name", MODELS)
def test_files_copies_and_frozen_models_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model, x = fitted(name)
    expected = model.predict(x)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = fl.load(path)
    for other in (
        again,
        copy.copy(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        copy.copy(model).freeze(),
    ):
        np.testing.assert_array_equal(other.predict(x), expected)
        assert other.scaler == model.scaler and other.input_size == F and other.get_config() == model.get_config()
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    twin = fl.Model(layers(), scaler=model.scaler, input_size=F)
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(twin.predict(x), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_goes_on_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    whole, x = fitted(name)
    path = tmp_path / "run.safetensors"
    model = MODELS[name]()
    model.fit(x, Y, **{**OPTIONS, "epochs": 1}, callbacks=[fl.Checkpoint(path)])
    assert fl.load(path).scaler == whole.scaler
    resumed = MODELS[name]()
    resumed.fit(x, Y, **OPTIONS, callbacks=[fl.Checkpoint(path)], resume=True)
    same(resumed, whole)
    assert resumed.scaler == whole.scaler
    others = ["none missing", "per series, plain"] if whole.scaler.missing == "error" else ["mask", "mask-all"]
    other = MODELS[next(one for one in others if one != name)]()
    with pytest.raises(ValueError, match="the run was started with scaled="):
        other.fit(x, Y, **OPTIONS, resume=path)
    if name == "mask":
        moved = X.copy()
        moved[np.isnan(X)], moved[0, 0] = 1.0, np.nan
        fresh = MODELS[name]()
        with pytest.raises(ValueError, match="the run was started with other data"):
            fresh.fit(moved, Y, **OPTIONS, resume=path)
        assert not fresh.built and not fresh.scaler.fitted


def test_the_settings_of_a_plain_scaler_are_not_in_the_arguments_of_a_run(tmp_path: Path) -> None:
    """So that files of earlier versions go on."""
    model = fl.Model(layers(), scaler=fl.Standardizer())
    model.fit(np.nan_to_num(X), Y, **OPTIONS, callbacks=[fl.Checkpoint(tmp_path / "run")])
    assert SavedRun(tmp_path / "run").arguments["scaled"] == ["scaler"]


def test_a_scaler_that_is_not_fitted_is_in_the_file(tmp_path: Path) -> None:
    model = fl.Model(layers(), scaler=fl.Standardizer("mask-all"), target_scaler=fl.RobustScaler(), input_size=F)
    model.save(tmp_path / "m")
    again = fl.load(tmp_path / "m")
    assert again.scaler == model.scaler and again.target_scaler == model.target_scaler and again.input_size == F
    again.loss = "mse"
    again.fit(X, np.zeros((N, 3)), loss="mse", **OPTIONS)


# ---------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "missing, scaler", [("mask", fl.Standardizer), ("mask-all", fl.Standardizer), ("mask", fl.RobustScaler)]
)
def test_a_stream_gives_the_bits_of_predict(missing: Any, scaler: Any, dtype: Any, kind: Any) -> None:
    x = X.astype(kind)
    model = fl.Model(layers(True), scaler=scaler(missing=missing), target_scaler=scaler(), dtype=dtype)
    model.fit(x, STEPS, loss="mse", **OPTIONS)
    expected = model.predict(x)
    stream = model.stream(N)
    np.testing.assert_array_equal(stream.run(x), expected)
    stream.reset()
    out = np.empty((N, 2))
    for t in range(T):
        assert stream.step(x[:, t], out=out) is out
        np.testing.assert_array_equal(out, expected[:, t])
    one = fl.Model([fl.LSTM(3, return_sequences=True)], scaler=scaler(missing=missing), dtype=dtype)
    one.fit(x[:, :, :1], np.zeros((N, T, 3)), loss="mse", **OPTIONS)
    np.testing.assert_array_equal(one.stream(N).run(x[:, :, 0]), one.predict(x[:, :, :1]))


def test_a_refused_step_changes_no_state() -> None:
    model = fl.Model(layers(True), scaler=fl.Standardizer("mask"))
    model.fit(X, STEPS, loss="mse", **OPTIONS)
    stream = model.stream(N)
    stream.step(X[:, 0])
    bad = X[:, 1].copy()
    bad[5, 3] = np.nan
    with pytest.raises(ValueError, match=r"\[5, 0, 3\]"):
        stream.step(bad)
    bad[5, 3] = np.inf
    with pytest.raises(ValueError, match="x holds inf at position 23, expected finite"):
        stream.step(bad)
    np.testing.assert_array_equal(stream.step(X[:, 1]), model.predict(X)[:, 1])


def test_steps_with_missing_values_allocate_nothing() -> None:
    model = fl.Model(layers(True), scaler=fl.Standardizer("mask"))
    model.fit(X, STEPS, loss="mse", **OPTIONS)
    stream = model.stream()
    x, answer = np.full((1, F), 1, np.float32), np.empty((1, 2), np.float32)
    x[0, GAPS] = np.nan
    stream.step(x, out=answer)
    tracemalloc.start()
    try:
        rounds = []
        # What the steps allocate shows in each round; another thread, such as that of a test runner, in some.
        while not rounds or (rounds[-1] != (True, True) and len(rounds) < 3):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for _ in range(1000):
                stream.step(x, out=answer)
            after, peak = tracemalloc.get_traced_memory()
            rounds.append((after - before < 800, peak - before < 1500))
        assert rounds[-1] == (True, True)
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------- each series by itself


@pytest.mark.parametrize("form", ["array", "lengths", "list", "cases", "masked"])
@pytest.mark.parametrize("missing", ["error", "mask"])
def test_each_series_is_scaled_by_itself(missing: Any, form: str) -> None:
    x = X if missing == "mask" else np.nan_to_num(X)
    scaler = fl.Standardizer(missing, per_series=True).fit(x)
    stack = layers
    if form == "masked":
        x = x.copy()
        x[:, 3] = -9
        rest = np.delete(x, 3, axis=1)
        z = np.insert(scaler.scaled(rest, np.float32), 3, -9, axis=1)

        def stack() -> list[Any]:
            return [fl.Masking(-9.0), *layers()]
    else:
        z = scaler.scaled_batch(x, np.dtype(np.float32), LENGTHS if form != "array" else None)
    lengths = LENGTHS if form in ("lengths", "list", "cases") else None
    model, twin = fl.Model(stack(), scaler=fl.Standardizer(missing, per_series=True)), fl.Model(stack())
    cut = [one[:n] for one, n in zip(x, LENGTHS, strict=True)]
    cut_z = [one[:n] for one, n in zip(z, LENGTHS, strict=True)]
    if form == "list":
        model.fit(cut, Y, **OPTIONS), twin.fit(cut_z, Y, **OPTIONS)
    elif form == "cases":
        model.fit(Given(cut, Y), **OPTIONS), twin.fit(cut_z, Y, **OPTIONS)
    else:
        model.fit(x, Y, lengths=lengths, **OPTIONS), twin.fit(z, Y, lengths=lengths, **OPTIONS)
    same(model, twin)
    np.testing.assert_array_equal(model.predict(x, lengths), twin.predict(z, lengths))
    np.testing.assert_array_equal(model.predict(x, lengths, batch_size=1), model.predict(x, lengths))
    if form == "array":  # level and size of a series do not matter
        moved = x * 3.5 + np.arange(N)[:, None, None] * 100
        np.testing.assert_allclose(model.predict(moved), model.predict(x), atol=1e-5)


def test_streams_and_padding_of_scaling_by_series() -> None:
    model = fl.Model(layers(), scaler=fl.Standardizer(per_series=True))
    padded = np.nan_to_num(X)
    padded[np.arange(T) >= LENGTHS[:, None]] = np.nan
    model.fit(padded, Y, lengths=LENGTHS, **OPTIONS)
    with pytest.raises(
        ValueError, match=r"per_series=True\), which a stream .* train a model with fl.Standardizer\(\)"
    ):
        model.stream()
    with pytest.raises(ValueError, match=r"X holds nan at \[case, step, feature\]"):
        model.predict(padded)
