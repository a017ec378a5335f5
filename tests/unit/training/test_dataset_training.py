"""Training on objects that give one case at a time: the bits of the same cases in arrays and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.data import sequences

rng = np.random.default_rng(0)
N = 37
X = rng.standard_normal((N, 6, 3))
LENGTHS = rng.integers(1, 12, N)
SERIES = [rng.standard_normal((n, 3)) for n in LENGTHS]
LABELS = rng.integers(0, 3, N)
NAMES = np.array(["c", "a", "b"])[LABELS]
STEP_LABELS = [rng.integers(0, 3, n) for n in LENGTHS]
WEIGHT = rng.uniform(0, 2, N)
WEIGHT[:9] = 0.0
TOKENS = [rng.integers(0, 5, n) for n in LENGTHS]
IGNORED = np.where(rng.random(N) < 0.5, -100, LABELS)
SEQUENCES = ["".join(rng.choice(list("xyz"), (n + 1) // 3)) for n in LENGTHS]
MISSING = rng.standard_normal((N, 2))
MISSING[:9] = np.nan


class Cases:
    """Give item i of each list."""

    def __init__(self, *parts: Any, version: Any = None) -> None:
        self.parts = parts
        if version is not None:
            self.version = version

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return tuple(part[i] for part in self.parts)


def classifier(**options: Any) -> fl.Model:
    return fl.Model([fl.LSTM(5), fl.Dropout(0.2), fl.Dense(3)], seed=1, **options)


def regressor(**options: Any) -> fl.Model:
    return fl.Model([fl.LSTM(5), fl.Dense(2)], seed=1, scaler=fl.Standardizer(), **options)


def tagger(outputs: int = 3, **options: Any) -> fl.Model:
    return fl.Model([fl.LSTM(5, return_sequences=True), fl.Dense(outputs)], seed=1, **options)


def padded(parts: list[Any]) -> np.ndarray:
    out = np.zeros((len(parts), max(map(len, parts)), *np.shape(parts[0])[1:]))
    for row, one in zip(out, parts, strict=True):
        row[: len(one)] = one
    return out


STEP_WEIGHTS = [rng.uniform(0, 1, n) for n in LENGTHS]
STEP_VALUES = [rng.standard_normal((n, 2)) for n in LENGTHS]
SCALERS = {"scaler": fl.Standardizer, "target_scaler": fl.Standardizer}


def decoder(**options: Any) -> fl.Model:
    layers = [fl.LSTM(4), fl.RepeatVector(3), fl.LSTM(5, return_sequences=True), fl.Dense(2)]
    return fl.Model(layers, seed=1, target_scaler=fl.Standardizer(), **options)


NAN_STEPS = [one.copy() for one in SERIES]
for one in NAN_STEPS:
    one[1::3] = np.nan


def masked(**options: Any) -> fl.Model:
    return fl.Model([fl.Masking(np.nan), fl.LSTM(5), fl.Dense(3)], seed=1, **options)


# A model, its inputs, targets and weights of cases, and options of fit.
RUNS: dict[str, tuple[Any, Any, Any, Any, dict[str, Any]]] = {
    "array": (classifier, X, LABELS, None, {}),
    "list": (classifier, SERIES, LABELS, None, {}),
    "in order": (classifier, SERIES, LABELS, None, {"shuffle": False}),
    "weights": (classifier, SERIES, LABELS, WEIGHT, {"batch_size": 2}),
    "split": (classifier, X, LABELS, None, {"validation_split": 0.3, "metrics": {"n": lambda y, p: len(y)}}),
    "names": (classifier, SERIES, NAMES, None, {"validation_split": 0.3}),
    "class weights": (classifier, SERIES, NAMES, WEIGHT, {"class_weight": {"a": 3.0}}),
    "balanced": (classifier, SERIES, LABELS, None, {"class_weight": "balanced", "validation_split": 0.3}),
    "ignored": (classifier, SERIES, IGNORED, None, {"batch_size": 1}),
    "validation data": (classifier, SERIES, LABELS, None, {"validation_data": (SERIES[5:20], LABELS[5:20])}),
    "values": (regressor, X, rng.standard_normal((N, 2)), None, {"loss": "mse", "validation_split": 0.3}),
    "forecasts": (regressor, X, rng.standard_normal((N, 2, 1)), None, {"loss": "huber"}),
    "one value": (lambda: fl.Model([fl.LSTM(5), fl.Dense(1)]), X, rng.standard_normal(N), None, {"loss": "mae"}),
    "missing": (regressor, X, MISSING, WEIGHT, {"loss": "mse"}),
    "scaled": (lambda: regressor(target_scaler=fl.Standardizer()), SERIES, X[:, 0, :2], None, {"loss": "mse"}),
    "binary": (regressor, SERIES, rng.integers(0, 2, (N, 2)), None, {"loss": "binary_cross_entropy"}),
    "two names": (
        lambda: fl.Model([fl.LSTM(5), fl.Dense(1)]),
        SERIES,
        np.array(["on", "off"])[LABELS // 2],
        None,
        {"loss": "binary_cross_entropy", "class_weight": {"on": 3.0}, "validation_split": 0.3},
    ),
    "quantiles": (classifier, SERIES, X[:, 0, 0], None, {"loss": "quantile"}),
    "step labels": (tagger, SERIES, STEP_LABELS, None, {"validation_split": 0.3, "class_weight": "balanced"}),
    "step names": (tagger, SERIES, [np.array(["c", "a", "b"])[one] for one in STEP_LABELS], WEIGHT, {}),
    "step values": (lambda: tagger(2, target_scaler=fl.Standardizer()), SERIES, STEP_VALUES, None, {"loss": "mse"}),
    "segments": (tagger, SERIES, STEP_LABELS, WEIGHT, {"tbptt_steps": 3, "validation_split": 0.3}),
    "repeated": (decoder, SERIES, list(X[:, :3, :2]), WEIGHT, {"loss": "mse"}),
    "weights of repeated steps": (decoder, SERIES, list(X[:, :3, :2]), X[:, :3, 2] ** 2, {"loss": "mse"}),
    "missing steps": (masked, NAN_STEPS, LABELS, None, {}),
    "chrono": (lambda: fl.Model([fl.LSTM(5, forget_bias="chrono"), fl.Dense(3)]), SERIES, LABELS, None, {}),
    "sigmoid": (
        lambda: fl.Model([fl.LSTM(5), fl.Dense(2), fl.Activation("sigmoid")]),
        SERIES,
        rng.integers(0, 2, (N, 2)),
        None,
        {"loss": "binary_cross_entropy", "validation_split": 0.3},
    ),
    "tokens": (lambda: fl.Model([fl.Embedding(5, 4), fl.LSTM(5), fl.Dense(3)]), TOKENS, LABELS, None, {}),
    "sequences": (lambda: tagger(4), SERIES, SEQUENCES, None, {"loss": fl.CTC(zero_infinity=True)}),
    "lists": (lambda: tagger(4), SERIES, [list(s) for s in SEQUENCES], None, {"loss": fl.CTC(zero_infinity=True)}),
}


def run(model: fl.Model, data: tuple[Any, ...], options: dict[str, Any]) -> dict[str, list[float]]:
    defaults: dict[str, Any] = {"epochs": 3, "batch_size": 8, "verbose": 0, "optimizer": fl.Adam(0.02)}
    return model.fit(*data, **{**defaults, **options}).history


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("small_blocks", [False, True])
def test_training_has_the_bits_of_the_same_data_in_memory(
    name: str, small_blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small_blocks:  # the scalers add block by block
        monkeypatch.setattr(sequences, "BLOCK_VALUES", 20)
    make, inputs, y, weight, options = RUNS[name]
    given = [inputs, y] if weight is None else [inputs, y, weight]
    model, expected = make(), make()
    for_arrays = options if weight is None else {**options, "sample_weight": weight}
    for_dataset = dict(options)
    if "validation_data" in options:
        for_dataset["validation_data"] = Cases(*options["validation_data"])
    history = run(expected, (inputs, y), for_arrays)
    assert run(model, (Cases(*given),), for_dataset) == history
    np.testing.assert_array_equal(model.flat_parameters, expected.flat_parameters)
    assert (model.scaler, model.target_scaler, model.classes) == (
        expected.scaler,
        expected.target_scaler,
        expected.classes,
    )
    for batch_size in (5, 256):
        got = model.evaluate(Cases(*given), batch_size=batch_size)
        assert got == expected.evaluate(inputs, y, sample_weight=weight, batch_size=batch_size)
    got, wanted = model.predict(Cases(inputs)), expected.predict(inputs)
    assert len(got) == N
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_steps() -> None:
    model, expected = tagger(), tagger()
    data = Cases(SERIES, STEP_LABELS, STEP_WEIGHTS)
    history = run(model, (data,), {"batch_size": 4})
    assert history == run(expected, (SERIES, STEP_LABELS), {"sample_weight": padded(STEP_WEIGHTS), "batch_size": 4})
    np.testing.assert_array_equal(model.flat_parameters, expected.flat_parameters)
    # Weights of cases and of steps in one object.
    mixed = [one if i % 2 else 0.5 for i, one in enumerate(STEP_WEIGHTS)]
    full = padded([np.broadcast_to(w, n) for w, n in zip(mixed, LENGTHS, strict=True)])
    run(model, (Cases(SERIES, STEP_LABELS, mixed),), {})
    run(expected, (SERIES, STEP_LABELS), {"sample_weight": full})
    np.testing.assert_array_equal(model.flat_parameters, expected.flat_parameters)


def test_metrics_see_the_cases_in_order() -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def metric(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        seen.append((y_true.copy(), y_pred.copy()))
        return 0.0

    lengths = [9_000, 3, 5, 8_000, 1, 7]
    long = [rng.standard_normal((n, 3)) for n in lengths]
    y = [rng.standard_normal((n, 2)) for n in lengths]
    model = tagger(2, input_size=3)
    for batch_size in (2, 4, 256):
        model.evaluate(Cases(long, y), loss="mse", metrics=[metric], batch_size=batch_size)
        y_true, y_pred = seen.pop()
        np.testing.assert_array_equal(y_true, np.concatenate(y).astype("f4"))
        np.testing.assert_array_equal(y_pred, np.concatenate(model.predict(long)))
        for one, other in zip(model.predict(Cases(long), batch_size=batch_size), model.predict(long), strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_to_learn_and_to_evaluate() -> None:
    ignored = Cases(SERIES, np.full(N, -100))
    with pytest.raises(ValueError, match="nothing to learn"):
        run(classifier(), (ignored,), {})
    with pytest.raises(ValueError, match="nothing to evaluate"):
        classifier(input_size=3).evaluate(Cases(SERIES, LABELS, np.zeros(N)), loss="cross_entropy")


def test_names_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="4 classes and the model has 3 outputs"):
        run(classifier(), (Cases(SERIES, np.append(NAMES[:-1], "d")),), {})
    model = classifier(classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"^X\[36\]: y holds the label 'd'"):
        run(model, (Cases(SERIES, np.append(NAMES[:-1], "d")),), {})
    data = Cases(SERIES[:3], ["a", "d", "b"])
    with pytest.raises(ValueError, match=r"^validation_data\[1\]: validation y holds the label 'd'"):
        run(classifier(), (Cases(SERIES, NAMES),), {"validation_data": data})


def test_a_first_sequence_without_labels() -> None:
    """Names cannot be seen in the first case; taken batch by batch, each batch would have classes of its own."""
    labels: list[Any] = [[], *map(list, SEQUENCES[1:])]
    model, expected = tagger(4), tagger(4)
    history = run(expected, (SERIES, labels), {"loss": fl.CTC(zero_infinity=True)})
    assert run(model, (Cases(SERIES, labels),), {"loss": fl.CTC(zero_infinity=True)}) == history
    assert model.classes == ["", "x", "y", "z"]


def test_one_case_does_not_tell_all_classes() -> None:
    with pytest.raises(ValueError, match=r"^X\[0\]: loss='cross_entropy' needs one output per class"):
        run(fl.Model([fl.LSTM(5), fl.Dense(1)]), (Cases(SERIES, LABELS),), {})
    with pytest.raises(ValueError, match=r"^X\[36\]: .*if labels begin at 1, pass"):
        run(classifier(), (Cases(SERIES, np.append(LABELS[:-1], 3)),), {})


def test_labels_too_many_for_their_steps_are_named() -> None:
    long = [*SEQUENCES[:-1], "xyzxyzxyzxyzxyz"]
    with pytest.raises(ValueError, match=r"^X\[36\]: y\[0\] has 15 labels"):
        run(tagger(4), (Cases([np.zeros((11, 3))] * N, long),), {"loss": "ctc"})


# ---------------------------------------------------------------------------------------------- resumed runs


class Stop(fl.Callback):
    """End the run after a number of updates."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.after -= 1
        self.stop_training = self.after == 0


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("after", [1, 5, 9, 14])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Path, after: int, steps: int | None) -> None:
    data = (Cases(SERIES, STEP_LABELS, WEIGHT, version=3),)
    options = {"tbptt_steps": steps, "validation_split": 0.2}
    expected = tagger(scaler=fl.Standardizer())
    history = run(expected, data, options)
    saved = fl.Checkpoint(tmp_path / "run.safetensors", every_batches=1)
    run(tagger(scaler=fl.Standardizer()), data, {**options, "callbacks": [saved, Stop(after)]})
    (tmp_path / "run.safetensors").rename(tmp_path / "stopped.safetensors")
    resumed = tagger(scaler=fl.Standardizer())
    assert run(resumed, data, {**options, "resume": mark_running(tmp_path / "stopped.safetensors")}) == history
    np.testing.assert_array_equal(resumed.flat_parameters, expected.flat_parameters)


def mark_running(path: Path) -> Path:
    """Change the file of a run that a callback has stopped into that of a run that was killed at this place."""
    from fastlstm.formats import safetensors

    tensors, config = safetensors.load(path)
    config["training"]["progress"]["stopped"] = False
    safetensors.save(path, tensors, config)
    return path


LAST = [*SERIES[:-1], SERIES[-1] + 1]
MIDDLE = [*SERIES[:5], SERIES[5] + 1, *SERIES[6:]]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (Cases(SERIES, LABELS, version="2"), "version 1 instead of 2|version 1.*"),
        (Cases(SERIES, LABELS), "version 1 instead of None"),
        (Cases(SERIES[:-1], LABELS[:-1], version="1"), r"shape \[37, 3\] instead of \[36, 3\]"),
        (Cases(LAST, LABELS, version="1"), "other values"),
        (Cases(SERIES, np.append(LABELS[:-1], 2 - LABELS[-1] // 2), version="1"), "other values"),
        (Cases(SERIES, LABELS, WEIGHT, version="1"), "other values"),
        (Cases([one.astype("f4") for one in SERIES], LABELS, version="1"), "dtype float64 instead of float32"),
        (SERIES, "other data"),
    ],
)
def test_other_data_are_not_resumed(tmp_path: Path, data: Any, match: str) -> None:
    path = tmp_path / "run.safetensors"
    options = {"callbacks": [fl.Checkpoint(path)], "resume": True, "epochs": 1}
    run(classifier(), (Cases(SERIES, LABELS, version="1"),), options)
    other = classifier()
    with pytest.raises(ValueError, match=match):
        run(other, (data, LABELS) if data is SERIES else (data,), {**options, "epochs": 2})


def test_what_the_fingerprint_covers(tmp_path: Path) -> None:
    """The first and the last case, the number, and the version: a change in the middle needs another version."""
    path = tmp_path / "run.safetensors"
    options = {"callbacks": [fl.Checkpoint(path)], "resume": True, "epochs": 1}
    run(classifier(), (Cases(SERIES, LABELS, version=1),), options)
    run(classifier(), (Cases(MIDDLE, LABELS, version=1),), {**options, "epochs": 2})
    with pytest.raises(ValueError, match="version 1 instead of 2"):
        run(classifier(), (Cases(MIDDLE, LABELS, version=2),), {**options, "epochs": 3})
    with pytest.raises(TypeError, match="the attribute version of X is a list, expected a str or an int"):
        run(classifier(), (Cases(SERIES, LABELS, version=[1]),), {**options, "epochs": 3})
