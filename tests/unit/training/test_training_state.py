"""State of a training from call to call of fit: moments, epochs, order, rates, and what callbacks remember."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

RNG = np.random.default_rng(5)
X = RNG.standard_normal((22, 7, 3))
LABELS = (X[:, :, 0].sum(axis=1) > 0).astype(int)
VALUES = X[:, :, 1].cumsum(axis=1)
UNEVEN = [x[: 3 + k % 5] for k, x in enumerate(X)]


def model_of(**options: Any) -> fl.Model:
    layers = [fl.LSTM(5, recurrent_dropout=0.1), fl.Dropout(0.2), fl.Dense(2)]
    return fl.Model(layers, scaler=fl.Standardizer(), **options)


def per_step() -> fl.Model:
    return fl.Model([fl.LSTM(5, return_sequences=True), fl.Dense(1)], target_scaler=fl.Standardizer(), dtype="float64")


CASES: dict[str, tuple[Callable[[], fl.Model], dict[str, Any]]] = {
    "defaults": (model_of, {"X": X, "y": LABELS}),
    "a name": (model_of, {"X": X, "y": LABELS, "optimizer": "rmsprop"}),
    "an object": (model_of, {"X": X, "y": LABELS, "optimizer": lambda: fl.Adam(0.02, clip_norm=0.5)}),
    "list, class weights, split": (
        model_of,
        {"X": UNEVEN, "y": LABELS, "class_weight": "balanced", "validation_split": 0.3, "seed": 3},
    ),
    "no shuffle": (model_of, {"X": X, "y": LABELS, "shuffle": False}),
    "steps": (model_of, {"X": X, "y": LABELS, "optimizer": lambda: fl.SGD(fl.StepLR(0.5, 2, 0.5), momentum=0.9)}),
    "warm-up": (model_of, {"X": X, "y": LABELS, "optimizer": lambda: fl.Adam(fl.WarmupLR(0.05, warmup_epochs=3))}),
    "segments": (per_step, {"X": X, "y": VALUES, "loss": "mse", "tbptt_steps": 3}),
    "segments of uneven series": (
        per_step,
        {
            "X": UNEVEN,
            "y": [y[: len(x)] for x, y in zip(UNEVEN, VALUES, strict=True)],
            "loss": "mse",
            "tbptt_steps": 3,
            "optimizer": lambda: fl.AdamW(fl.StepLR(0.05, 1, 0.7)),
        },
    ),
    "data set": (model_of, {"X": list(zip(X, LABELS.tolist(), strict=True))}),
}


def trained(case: str, calls: list[int]) -> tuple[fl.Model, dict[str, list[float]], list[int]]:
    make, given = CASES[case]
    given = dict(given)
    if callable(given.get("optimizer")):
        given["optimizer"] = given["optimizer"]()
    model, record, firsts = make(), {}, []
    for epochs in calls:
        history = model.fit(**given, epochs=epochs, batch_size=5, verbose=0)
        firsts.append(history.first_epoch)
        for name, values in history.history.items():
            record.setdefault(name, []).extend(values)
    return model, record, firsts


@pytest.mark.parametrize("case", CASES)
def test_many_calls_have_the_bits_of_one(case: str) -> None:
    whole, record, _ = trained(case, [20])
    for calls in ([1] * 20, [3, 10, 7]):
        parts, its_record, firsts = trained(case, calls)
        np.testing.assert_array_equal(parts.flat_parameters, whole.flat_parameters)
        assert its_record == record
        assert firsts == [1 + sum(calls[:k]) for k in range(len(calls))]


def test_schedules_of_the_whole_run_restart() -> None:
    model, optimizer = model_of(), fl.Adam(fl.CosineLR(0.1))
    first, second = (model.fit(X, LABELS, epochs=2, optimizer=optimizer, verbose=0).history["lr"] for _ in range(2))
    assert first == second and optimizer.epochs == 4 and optimizer.iterations == 4


def fit(model: fl.Model, **options: Any) -> fl.callbacks.Callback | Any:
    return model.fit(X, LABELS, **{"batch_size": 5, "verbose": 0, **options})


def test_a_new_optimizer_another_name_and_reset_training_begin_anew() -> None:
    for again in (
        lambda model: fit(model, epochs=2, optimizer=fl.Adam()),
        lambda model: fit(model, epochs=2, optimizer="adamw"),
        lambda model: (model.reset_training(), fit(model, epochs=2))[1],
    ):
        model = fl.Model([fl.LSTM(5), fl.Dense(2)])
        fit(model, epochs=2)
        twin = fl.Model([fl.LSTM(5), fl.Dense(2)])
        twin.build(3)
        twin.load_state_dict(model.state_dict())
        assert again(model).first_epoch == 1
        fit(twin, epochs=2, optimizer="adamw" if isinstance(model.own_optimizer, fl.AdamW) else None)
        np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


def test_reset_training_restarts_dropout_and_holds_for_every_optimizer() -> None:
    optimizer, model = fl.Adam(0.05), model_of()
    fit(model, epochs=2, optimizer=optimizer)
    weights = model.state_dict()
    ends = []
    for _ in range(2):
        model.load_state_dict(weights)
        model.reset_training()
        assert fit(model, epochs=2, optimizer=optimizer).first_epoch == 1
        ends.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*ends)


def test_models_share_an_optimizer_without_sharing_its_state() -> None:
    shared, models, twins = fl.Adam(0.05, clip_norm=1.0), [model_of(seed=k) for k in range(2)], []
    for _ in range(2):
        for model in models:
            fit(model, epochs=1, optimizer=shared)
    for k in range(2):
        twins.append(model_of(seed=k))
        fit(twins[k], epochs=2, optimizer=fl.Adam(0.05, clip_norm=1.0))
        np.testing.assert_array_equal(models[k].flat_parameters, twins[k].flat_parameters)


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_of_a_model_have_no_training_behind_them(copied: Any, tmp_path: Path) -> None:
    model = model_of()
    fit(model, epochs=2)
    model.save(tmp_path / "m")
    twin = copied(model)
    assert fit(twin, epochs=1).first_epoch == 1
    loaded = fl.load(tmp_path / "m")
    assert fit(loaded, epochs=1).first_epoch == 1
    np.testing.assert_array_equal(twin.flat_parameters, loaded.flat_parameters)
    assert fit(model, epochs=1).first_epoch == 3


def test_a_refused_call_changes_nothing() -> None:
    model, twin = model_of(), model_of()
    for one in (model, twin):
        fit(one, epochs=2)
    for wrong in ({"y": LABELS[:3]}, {"optimizer": "sgd", "X": X[:, :, :1]}, {"epochs": 0}):
        with pytest.raises(ValueError):
            model.fit(**{"X": X, "y": LABELS, "verbose": 0, **wrong})
    for one in (model, twin):
        assert fit(one, epochs=2).first_epoch == 3
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


def test_freezing_frees_the_moments() -> None:
    model = model_of()
    fit(model, epochs=1)
    assert isinstance(model.own_optimizer, fl.Adam)
    assert model.freeze().own_optimizer is None


def test_an_interrupted_epoch_is_not_counted() -> None:
    class Stop(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.stop_training = batch == 2

    model, optimizer = model_of(), fl.Adam()
    fit(model, epochs=3, optimizer=optimizer)
    fit(model, epochs=3, optimizer=optimizer, callbacks=[Stop()])
    assert optimizer.epochs == 3 and fit(model, epochs=1, optimizer=optimizer).first_epoch == 4


def test_an_optimizer_is_not_used_by_two_runs_at_once() -> None:
    inside, ended = threading.Event(), threading.Event()

    class Wait(fl.Callback):
        def on_train_begin(self) -> None:
            inside.set()
            assert ended.wait(60)

    shared, first = fl.Adam(), model_of()
    thread = threading.Thread(target=lambda: fit(first, optimizer=shared, callbacks=[Wait()], epochs=1))
    thread.start()
    assert inside.wait(60)
    model = model_of()
    with pytest.raises(RuntimeError, match=r"Adam is in use by another fit.*its own optimizer"):
        fit(model, optimizer=shared)
    ended.set()
    thread.join()
    assert first.loss is not None and model.loss is None
    fit(model, optimizer=shared, epochs=1)


def test_a_second_call_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    class Stop(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.stop_training = self.history.epochs == 1 and batch == 2

    def second(callbacks: list[fl.Callback], before: bool = True, **options: Any) -> tuple[fl.Model, Any]:
        model = model_of()
        if before:
            fit(model, epochs=3)
        return model, fit(model, epochs=3, callbacks=callbacks, **options)

    whole, record = second([])
    second([Stop(), fl.Checkpoint(tmp_path / "run")])
    log = fl.CSVLogger(tmp_path / "log.csv")
    # A new process has no first call behind it; a stop by a callback stays a stop, so it is taken out.
    run = tmp_path / "run"
    tensors, config = fl.formats.safetensors.load(run)
    config["training"]["progress"]["stopped"] = False
    fl.formats.safetensors.save(run, tensors, config)
    resumed, rest = second([fl.Checkpoint(run)], before=False, resume=run)
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)
    assert rest.history == record.history and rest.first_epoch == record.first_epoch == 4
    assert fit(resumed, epochs=1, callbacks=[log]).first_epoch == 7
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().split()] == ["epoch", "7"]


# ------------------------------------------------------------------------------------------------ callbacks


def test_the_best_file_is_not_replaced_by_a_worse_one(tmp_path: Path) -> None:
    path = tmp_path / "best"
    best = fl.ModelCheckpoint(path, monitor="val_quality", mode="max", save_best_only=True)
    model = model_of()
    values = iter([0, 0.5, 0, 0.4, 0, 0.6, 0, 0.1])  # metrics are tried before the first update

    def call(model: fl.Model) -> bytes:
        metrics = {"quality": lambda y, out: next(values)}
        fit(model, epochs=1, callbacks=[best], validation_data=(X, LABELS), metrics=metrics)
        return path.read_bytes()

    first = call(model)
    assert call(model) == first and best.best == 0.5
    better = call(model)
    assert better != first and best.best == 0.6
    assert call(model_of(seed=1)) == better


def test_early_stopping_goes_on_and_returns_to_where_the_call_began() -> None:
    values = iter([0, 0.5, 0.4, 0, 0.3, 0.2, 0, 0.1, 0, 0.1])
    metrics = {"quality": lambda y, out: next(values)}
    stop = fl.EarlyStopping("val_quality", patience=4, mode="max")

    def call(model: fl.Model, epochs: int) -> int:
        return int(fit(model, epochs=epochs, callbacks=[stop], validation_data=(X, LABELS), metrics=metrics).epochs)

    model = model_of()
    call(model, 2)
    best = model.flat_parameters.copy()
    assert stop.best_epoch == 1
    call(model, 2)
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (0.5, 1, None)
    np.testing.assert_array_equal(model.flat_parameters, best)
    assert call(model, 2) == 1 and stop.stopped_epoch == 5  # epochs 2 to 5 have not improved
    other = model_of(seed=1)
    call(other, 1)
    assert (stop.best, stop.best_epoch) == (0.1, 1)
    assert not np.array_equal(other.flat_parameters, best)


def test_the_rate_on_a_plateau_is_that_of_one_call() -> None:
    def rates(calls: list[int]) -> list[float]:
        model, optimizer = model_of(), fl.SGD(1.0)
        slower = fl.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=1e9)
        found = []
        for epochs in calls:
            found += fit(model, epochs=epochs, optimizer=optimizer, callbacks=[slower]).history["lr"]
        return found

    assert rates([1] * 8) == rates([8]) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_the_log_goes_on(tmp_path: Path) -> None:
    model, log = model_of(), fl.CSVLogger(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("an older file\n")
    for _ in range(3):
        fit(model, epochs=2, callbacks=[log])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,loss") and [line.split(",")[0] for line in lines[1:]] == list("123456")


def test_epochs_are_counted_over_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    class Look(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            seen.append((epoch, self.first_epoch, self.epochs, self.goes_on))

    model, look = model_of(), Look()
    for _ in range(2):
        history = fit(model, epochs=2, callbacks=[look], verbose=2)
    assert seen == [(1, 1, 2, False), (2, 1, 2, False), (3, 3, 4, True), (4, 3, 4, True)]
    assert "epoch 3/4:" in capsys.readouterr().out
    assert history.best_epoch in (3, 4)
