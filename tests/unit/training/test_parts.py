"""`fit(partitioned=True)`: processes that have a part of the data each train as one process that has all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from team import Member, together

import fastlstm as fl
from fastlstm.data import sequences

rng = np.random.default_rng(11)
CASES, STEPS = 26, 9
X = rng.standard_normal((CASES, STEPS, 3)).astype("f4") * [1, 5, 0.1] + [0, 3, 1]
LENGTHS = rng.integers(1, STEPS + 1, CASES)
LABELS = np.array(["ada", "bob", "cid"])[rng.integers(0, 3, CASES)]
VALUES = rng.standard_normal((CASES, STEPS, 2))
CLASSIFIER = [fl.Dropout(0.2), fl.LSTM(6, num_layers=2, dropout=0.3), fl.Dense(3)]
PER_STEP = [fl.LSTM(5, return_sequences=True), fl.Dense(2)]
PARTS = {1: [0, 26], 2: [0, 15, 26], 3: [0, 0, 19, 26], 4: [0, 3, 14, 14, 26]}
"""Bounds of the parts by the number of processes, some of which have no case."""


def holes() -> np.ndarray:
    x = X.copy()
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def series(x: np.ndarray = X) -> list[np.ndarray]:
    return [one[:length] for one, length in zip(x, LENGTHS, strict=True)]


def right(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(np.mean(y_true == y_pred.argmax(axis=1)))


RUNS: dict[str, dict[str, Any]] = {
    "lengths": {"X": X, "y": LABELS, "lengths": LENGTHS, "class_weight": "balanced", "validation_split": 0.2},
    "list": {"X": series(), "y": LABELS.tolist(), "sample_weight": rng.uniform(0, 2, CASES)},
    "windows": {"X": np.lib.stride_tricks.sliding_window_view(rng.standard_normal(STEPS + CASES - 1), STEPS),
                "y": LABELS},
    "values": {"X": X.astype("f8"), "y": VALUES, "loss": "mse", "layers": PER_STEP},
    "segments": {"X": X, "y": VALUES, "loss": "mse", "layers": PER_STEP, "lengths": LENGTHS, "tbptt_steps": 4},
    "holes": {"X": holes(), "y": LABELS, "scaler": fl.Standardizer(missing="mask"), "validation_split": 0.2},
    "robust": {"X": (100 * X).astype("i4"), "y": LABELS, "scaler": fl.RobustScaler()},
    "each series": {"X": X, "y": LABELS, "scaler": fl.Standardizer(per_series=True)},
    "masked": {"X": np.where(X[:, :, :1] > 0.9, -1, X), "y": VALUES, "loss": "mse", "lengths": LENGTHS,
               "layers": [fl.Masking(-1), *PER_STEP], "scaler": None},
    "tokens": {"X": rng.integers(0, 9, (CASES, STEPS)).astype("i2"), "y": LABELS, "lengths": LENGTHS, "scaler": None,
               "layers": [fl.Embedding(9, 4), fl.LSTM(5), fl.Dense(3)]},
    "float16": {"X": X.astype("f2"), "y": LABELS, "metrics": {"right": right}, "validation_split": 0.3},
}  # fmt: skip
PER_CASE = ("X", "y", "lengths", "sample_weight")


def train(
    name: str, communicator: Any = None, part: slice = slice(None), *, partitioned: bool = True, **more: Any
) -> tuple[Any, Any]:
    given = {"layers": CLASSIFIER, "scaler": fl.Standardizer(), **RUNS[name], **more}
    model = fl.Model(copy.deepcopy(given.pop("layers")), seed=3, scaler=copy.deepcopy(given.pop("scaler")))
    given.update({key: given[key][part] for key in PER_CASE if key in given})
    if communicator is not None:
        given.update(communicator=communicator, partitioned=partitioned)
    history = model.fit(**{"epochs": 2, "batch_size": 8, "verbose": 0, "shards": 8, "n_threads": 1, **given})
    return model.flat_parameters.copy(), history.history


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", RUNS)
def test_parts_train_as_the_whole(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "windows":
        monkeypatch.setattr(sequences, "BLOCK_VALUES", 100)  # several blocks, some longer than a part
    run = dict(RUNS[name])
    if name == "windows":
        run["X"] = run["X"].copy()  # the parts of windows are windows of several series
    monkeypatch.setitem(RUNS, name, run)
    weights, history = train(name)
    bounds = PARTS[size]
    for found in together(size, lambda one: train(name, one, slice(bounds[one.rank], bounds[one.rank + 1]))):
        assert not isinstance(found, Exception), found
        np.testing.assert_array_equal(found[0], weights)
        assert found[1] == history


def bounds_of(one: Member) -> slice:
    bounds = PARTS[one.team.size]
    return slice(bounds[one.rank], bounds[one.rank + 1])


def test_validation_data_in_parts_and_an_empty_part() -> None:
    held_x, held_y, weight = X[:7] + 1, LABELS[:7], np.linspace(0, 1, 7)
    weights, history = train("lengths", validation_split=0.0, validation_data=(held_x, held_y, LENGTHS[:7], weight))

    def run(one: Member) -> Any:
        own = slice(0, 5) if one.rank == 0 else slice(5, 7)
        held = (held_x[own], held_y[own], LENGTHS[:7][own], weight[own]) if one.rank < 2 else None
        if one.rank == 2:
            model = fl.Model(copy.deepcopy(CLASSIFIER), seed=3, scaler=fl.Standardizer())
            given = {"class_weight": "balanced", "epochs": 2, "batch_size": 8, "verbose": 0, "shards": 8}
            model.fit(None, None, communicator=one, partitioned=True, n_threads=1, **given)
            return model.flat_parameters.copy(), history
        part = slice(0, 19) if one.rank == 0 else slice(19, 26)
        return train("lengths", one, part, validation_split=0.0, validation_data=held)

    for found in together(3, run):
        assert not isinstance(found, Exception), found
        np.testing.assert_array_equal(found[0], weights)
        assert found[1] == history


def test_a_run_goes_on_in_other_parts(tmp_path: Path) -> None:
    weights, history = train("tokens", epochs=3)
    path = tmp_path / "run.safetensors"

    class Kill(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            if epoch == 2:
                raise RuntimeError("killed")

    def begin(one: Member) -> Any:
        return train("tokens", one, bounds_of(one), epochs=3, callbacks=[fl.Checkpoint(path), Kill()])

    def resume(one: Member) -> Any:
        return train("tokens", one, bounds_of(one), epochs=3, resume=path)

    assert all("killed" in str(found) for found in together(4, begin))
    for found in (*together(2, resume), train("tokens", epochs=3, resume=path)):  # in parts, and whole
        np.testing.assert_array_equal(found[0], weights)
        assert found[1] == history


REFUSED: dict[str, tuple[Any, str]] = {
    "features": ({"X": lambda rank, x: x[:, :, : 3 - rank]}, "X has 3 features in rank 0 and 2 in rank 1"),
    "counts": ({"y": lambda rank, y: y[rank:]}, "y has 10 entries, expected 11, one for each case"),
    "kinds": ({"y": lambda rank, y: np.arange(len(y)) if rank else y}, "y has shape (15,) and type <U3 in rank 0, and"),
    "axes": ({"y": lambda rank, y: np.zeros((len(y), 1 + rank))}, "(15, 1) and type float64 in rank 0, and (11, 2)"),
    "weights": ({"sample_weight": lambda rank, w: w if rank else None}, "sample_weight is missing in rank 0 and given"),
    "nan": ({"X": lambda rank, x: np.where(np.arange(len(x))[:, None, None] == 3 * rank - (rank == 0), np.nan, x)},
            "X holds nan at [case, step, feature] = [3, 0, 0]"),
    "no case": ({"X": lambda rank, x: x[:0], "y": lambda rank, y: y[:0], "sample_weight": lambda rank, w: w[:0]},
                "none of the 2 processes has a case in X"),
    "copies": ({"X": lambda rank, x: X, "y": lambda rank, y: LABELS, "sample_weight": lambda rank, w: np.ones(CASES)},
               "partitioned=True says that each process has a part of the data, and all 2 have the same X"),
    "object": ({"X": lambda rank, x: list(zip(x, LABELS, strict=False)), "y": lambda rank, y: None},
               "partitioned=True needs arrays or lists, X with y, got the list X alone"),
    "validation": ({"validation_data": lambda rank, _: 3}, "validation_data must be (X, y), (X, y, lengths) or"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_all_ranks(name: str) -> None:
    changes, message = REFUSED[name]

    def run(one: Member) -> Any:
        given: dict[str, Any] = {"X": X, "y": LABELS, "sample_weight": np.ones(CASES), "validation_data": None}
        part = bounds_of(one)
        given = {key: value if value is None else value[part] for key, value in given.items()}
        given.update({key: change(one.rank, given[key]) for key, change in changes.items()})
        model = fl.Model(copy.deepcopy(CLASSIFIER), seed=3)
        return model.fit(**given, shards=2, communicator=one, partitioned=True, verbose=0)

    for error in together(2, run):
        assert isinstance(error, (ValueError, RuntimeError)) and message in str(error), error


def test_parts_need_a_communicator() -> None:
    with pytest.raises(ValueError, match="partitioned=True says that each process has a part of the data: give comm"):
        fl.Model([fl.LSTM(2), fl.Dense(3)]).fit(X, LABELS, partitioned=True)


# ------------------------------------------------------------------ all data in each process


def test_each_process_reads_the_cases_of_its_shards() -> None:
    class Cases:
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return CASES

        def __getitem__(self, number: int) -> tuple[np.ndarray, str]:
            self.read.append(number)
            return X[number, : LENGTHS[number]], LABELS[number]

    def run(communicator: Any) -> tuple[Any, list[int]]:
        cases = Cases()
        model = fl.Model(copy.deepcopy(CLASSIFIER), seed=3)  # without a scaler, which would read all cases
        given = {"epochs": 1, "batch_size": 8, "shards": 8, "verbose": 0, "n_threads": 1}
        cases.read.clear()
        reads: list[int] = []

        class Note(fl.Callback):
            def on_train_begin(self) -> None:
                cases.read.clear()

            def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
                reads.extend(cases.read)

        model.fit(cases, communicator=communicator, callbacks=[Note()], **given)
        return model.flat_parameters.copy(), reads

    weights, read = run(None)
    assert sorted(read) == list(range(CASES))
    for size in (2, 3, 8):
        found = together(size, run)
        for own, _ in found:
            np.testing.assert_array_equal(own, weights)
        assert sorted(number for _, reads in found for number in reads) == list(range(CASES))
        assert all(len(reads) <= CASES // size + 4 for _, reads in found)


@pytest.mark.parametrize("name", ["lengths", "list", "values", "masked", "holes"])
def test_whole_data_in_each_process(name: str) -> None:
    weights, history = train(name)
    for size in (2, 5, 8):
        for found in together(size, lambda one: train(name, one, partitioned=False)):
            np.testing.assert_array_equal(found[0], weights)
            assert found[1] == history
