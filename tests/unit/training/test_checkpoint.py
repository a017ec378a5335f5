"""Runs that resume from a checkpoint: the same bits, from every batch; and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.data import shuffle
from fastlstm.formats import atomic
from fastlstm.formats import safetensors as serialization
from fastlstm.training import checkpoint, run_state
from fastlstm.training.callbacks import ProgressBar

rng = np.random.default_rng(0)
X = rng.standard_normal((22, 6, 3))
LENGTHS = rng.integers(1, 7, 22)
LABELS = rng.integers(0, 3, 22)
VALUES = rng.standard_normal((22, 2))
SERIES = [rng.standard_normal((int(n), 3)) for n in (9, 2, 17, 5, 11, 3)]
STEP_LABELS = [rng.integers(0, 3, len(one)) for one in SERIES]
TOKENS = rng.integers(0, 5, (12, 4))
NAMES = np.array(["a", "b", "c"])[rng.integers(0, 3, 12)]


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, which would take most of the time; these tests do not depend on it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Average(fl.Callback):
    """A user's callback with a state: the running mean of the weights, and another rate for each epoch."""

    def on_train_begin(self) -> None:
        self.mean = self.model.flat_parameters.astype(np.float64)
        self.seen: dict[str, Any] = {"count": 0, "last": float("nan"), "names": ["x", None]}

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean, self.seen = state["mean"], state["seen"]

    def on_epoch_begin(self, epoch: int) -> None:
        self.optimizer.lr *= 0.5

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.mean += 0.25 * (self.model.flat_parameters - self.mean)
        self.seen["count"] += 1
        self.seen["last"] = logs["loss"]


class Momentum(fl.optimizers.Optimizer):
    """A user's optimizer."""

    name = "own"
    _moments = ("velocity",)

    def _update(self, p: np.ndarray, g: np.ndarray, lr: float, threads: int) -> None:
        velocity = self._state["velocity"]
        velocity *= 0.9
        velocity += g
        p -= lr * velocity


class Cube(fl.losses.Loss):
    """A user's loss, without a metric."""

    def __call__(self, out: Any, target: Any, lengths: Any = None, weight: Any = None, *, n_threads: Any = None) -> Any:
        error = out - target
        return float(np.abs(error**3).sum()), float(error.size), 3 * error * np.abs(error) / error.size


class Case:
    """One way to call fit, with new objects in each run, as in a new process."""

    def __init__(self, model: Callable[[], fl.Model], data: tuple[Any, Any], **arguments: Any) -> None:
        self.model, self.data, self.arguments = model, data, arguments

    def fit(
        self, *, checkpoints: list[fl.Callback] | None = None, resume: Any = None, **changes: Any
    ) -> tuple[fl.Model, fl.History, dict[str, Any]]:
        model = self.model()
        # A callable makes an object that each run needs anew.
        made = {k: v() if callable(v) else v for k, v in {**self.arguments, **changes}.items()}
        callbacks = made.pop("callbacks", [])
        optimizer = made.pop("optimizer", None) or fl.Adam(1e-2)
        before = made.pop("before", None)
        if before:
            model.fit(*self.data, verbose=0, optimizer=optimizer, **before)
        history = model.fit(
            *self.data,
            **{"epochs": 3, "batch_size": 8, "verbose": 0, **made},
            optimizer=optimizer,
            callbacks=[*(checkpoints or []), *callbacks],
            resume=resume,
        )
        end = {
            "weights": model.flat_parameters.tobytes(),
            "passes": model.network.passes,
            "classes": model.classes,
            "history": {name: np.array(values).tobytes() for name, values in history.history.items()},
            "optimizer": {k: np.asarray(v).tobytes() for k, v in optimizer.state_dict().items()},
            "lr": optimizer.lr,
            "callbacks": [
                {k: v if isinstance(v, (int, str)) else repr(v) for k, v in callback.state_dict().items()}
                for callback in callbacks
                if not isinstance(callback, fl.CSVLogger)
            ],
        }
        return model, history, end


def layers(outputs: int = 3, **options: Any) -> list[Any]:
    return [
        fl.LSTM(5, num_layers=2, dropout=0.2, return_sequences=True),
        fl.Dropout(0.1),
        fl.LSTM(4),
        fl.Dense(outputs),
    ]


def per_step(**options: Any) -> list[Any]:
    return [
        fl.LSTM(5, return_sequences=True, learn_state=True, zoneout_h=0.1),
        fl.LSTM(4, return_sequences=True),
        fl.Dense(3),
    ]


SCALED = {"scaler": fl.Standardizer, "target_scaler": fl.Standardizer}
CASES: dict[str, Case] = {
    "labels, dropout, cosine, split, class and sample weights": Case(
        lambda: fl.Model([fl.GaussianNoise(0.1), *layers()], seed=3),
        (X, LABELS),
        optimizer=lambda: fl.Adam(fl.CosineLR(1e-2), clip_norm=0.5),
        validation_split=0.25,
        class_weight="balanced",
        sample_weight=np.linspace(0.5, 2, 22),
    ),
    "values, scalers, one cycle, lengths, metrics, float64": Case(
        lambda: fl.Model(layers(2), dtype="float64", seed=1, **{name: make() for name, make in SCALED.items()}),
        (X, VALUES),
        lengths=LENGTHS,
        loss="huber",
        optimizer=lambda: fl.AdamW(fl.WarmupLR(fl.OneCycleLR(1e-2), warmup_steps=3), clip_value=0.3),
        validation_data=(X[:5], VALUES[:5], LENGTHS[:5], np.linspace(1, 2, 5)),
        metrics=lambda: {"often nan": lambda y, p: float("nan") if p.mean() > 0 else 1.0},
    ),
    "plateau, momentum, early stopping that does not stop": Case(
        lambda: fl.Model([fl.LSTM(4), fl.Dense(3)], seed=2),
        (X, LABELS),
        optimizer=lambda: fl.SGD(0.5, momentum=0.9, nesterov=True),
        validation_data=(X[:9], LABELS[:9]),
        epochs=6,
        callbacks=lambda: [
            fl.ReduceLROnPlateau(patience=2, factor=0.5, min_delta=9.0),  # after epochs 3 and 5
            fl.EarlyStopping(patience=5),
        ],
    ),
    "early stopping that stops and restores": Case(
        lambda: fl.Model([fl.LSTM(4), fl.Dense(3)], seed=2),
        (X, LABELS),
        optimizer=lambda: fl.SGD(2.0),
        validation_data=(X[:9], (LABELS[:9] + 1) % 3),
        epochs=9,
        callbacks=lambda: [fl.EarlyStopping(patience=2, min_delta=0.01)],
    ),
    "pieces of series of different lengths": Case(
        lambda: fl.Model(per_step(), seed=5),
        (SERIES, STEP_LABELS),
        optimizer=lambda: fl.RMSprop(1e-2, momentum=0.5),
        tbptt_steps=4,
        batch_size=4,
        validation_split=0.2,
    ),
    "pieces of one array": Case(
        lambda: fl.Model(per_step(), seed=5),
        (X, np.repeat(LABELS[:, None], 6, 1)),
        tbptt_steps=4,
        epochs=2,
    ),
    "tokens, both directions, names, in order": Case(
        lambda: fl.Model([fl.Embedding(5, 3), fl.LSTM(4, bidirectional=True), fl.Dense(3)], seed=4),
        (TOKENS, NAMES),
        shuffle=False,
        batch_size=5,
        class_weight=lambda: {"a": 2.0},
    ),
    "an optimizer that has a run behind it": Case(
        lambda: fl.Model([fl.LSTM(4), fl.Dense(3)], seed=2),
        (X, LABELS),
        optimizer=lambda: fl.Adam(fl.StepLR(1e-2, 1)),
        before={"epochs": 2},
    ),
    "callback, loss and optimizer of one's own": Case(
        lambda: fl.Model(layers(2), seed=9),
        (X, VALUES),
        loss=Cube,
        optimizer=lambda: Momentum(0.05),
        callbacks=lambda: [Average()],
    ),
    "labels that are not aligned, steps that are masked": Case(
        lambda: fl.Model([fl.Masking(9.0), fl.LSTM(6, return_sequences=True), fl.Dropout(0.1), fl.Dense(3)], seed=8),
        (np.where(np.arange(6)[:, None] < 4, X, 9.0), [[1], [1, 2], [2]] * 7 + [[2, 1]]),
        loss="ctc",
        validation_split=0.3,
    ),
    "segments and threads": Case(
        lambda: fl.Model(layers(), seed=9), (X, LABELS), recompute_every=2, n_threads=2, epochs=2, seed=77
    ),
}


def checkpoints(folder: Path) -> list[fl.Callback]:
    """Save after each batch, and separately after each epoch: the last batch of an epoch is one of the moments."""
    return [
        fl.Checkpoint(folder / "{epoch:02d}-{batch}.safetensors", every_batches=1, keep=None),
        fl.Checkpoint(folder / "end-of-{epoch:02d}.safetensors", keep=None),
    ]


@pytest.mark.parametrize("name", CASES)
def test_resuming_after_any_batch_gives_the_same_end(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model, history, expected = case.fit()
    assert history.epochs >= 2 or "pieces" in name
    folder = tmp_path / "all"
    folder.mkdir()
    assert case.fit(checkpoints=checkpoints(folder))[2] == expected  # saving changes nothing
    files = sorted(os.listdir(folder))
    assert len(files) == len({file for file in files}) >= 5
    assert not any(file.startswith(".") for file in files)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for k, file in enumerate(files):
        changes = {} if k % 3 else {"n_threads": 1 + k % 4, "recompute_every": 3}  # neither changes a bit
        resumed, record, end = case.fit(checkpoints=checkpoints(elsewhere), resume=folder / file, **changes)
        assert end == expected, file
        assert record.history.keys() == history.history.keys()
    assert resumed.scaler == model.scaler and resumed.target_scaler == model.target_scaler
    # The resumed runs have written the same files as the uninterrupted run.
    for file in os.listdir(elsewhere):
        assert (elsewhere / file).read_bytes() == (folder / file).read_bytes(), file


def test_the_order_of_very_many_cases_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "PERMUTATION_LIMIT", 8)
    for first in range(6):
        whole = [batch.tolist() for batch in shuffle.Shuffle(22, 1, 2).batches(4)]
        assert [batch.tolist() for batch in shuffle.Shuffle(22, 1, 2).batches(4, first)] == whole[first:]
    test_resuming_after_any_batch_gives_the_same_end("segments and threads", tmp_path)


def test_resume_true_begins_continues_and_ends_a_run(tmp_path: Path) -> None:
    """Repeat the same call, each time ended by an error at another place."""

    class Crash(fl.Callback):
        def __init__(self, after: int) -> None:
            self.after = after

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.after -= 1
            if self.after == 0:
                raise RuntimeError("crash")

    case = CASES["labels, dropout, cosine, split, class and sample weights"]
    expected = case.fit()[2]
    crashes = 0
    while True:
        saving = fl.Checkpoint(tmp_path / "run-{epoch}-{batch:03d}.st", every_batches=1, keep=2)
        try:
            _, _, end = case.fit(checkpoints=[saving], resume=True, callbacks=lambda: [Crash(2)])
            break
        except RuntimeError:
            crashes += 1
            assert len(os.listdir(tmp_path)) <= 2
    assert crashes == 5  # each run makes one of the six updates
    assert {**end, "callbacks": []} == expected
    assert saving.latest == saving.newest() == str(tmp_path / "run-3-002.st")
    # Nothing is left to do for another call.
    _, history, end = case.fit(checkpoints=[saving], resume=True, callbacks=lambda: [Crash(1)])
    assert history.epochs == 3 and end["weights"] == expected["weights"]


def test_a_run_may_be_made_longer_if_its_rates_do_not_depend_on_it(tmp_path: Path) -> None:
    file = tmp_path / "run.st"
    case = CASES["an optimizer that has a run behind it"]
    expected = case.fit(epochs=5)[2]
    case.fit(checkpoints=[fl.Checkpoint(file)], epochs=2)
    assert case.fit(resume=file, epochs=5)[2] == expected
    case.fit(checkpoints=[fl.Checkpoint(file)], epochs=4, resume=file)
    with pytest.raises(ValueError, match="already had 4 epochs, got epochs=3"):
        case.fit(resume=file, epochs=3)
    case = CASES["labels, dropout, cosine, split, class and sample weights"]
    case.fit(checkpoints=[fl.Checkpoint(file)])
    with pytest.raises(ValueError, match=r"started with epochs=3.*CosineLR.*depend on this number, got epochs=4"):
        case.fit(resume=file, epochs=4)


def test_the_file_is_a_model(tmp_path: Path) -> None:
    case = CASES["values, scalers, one cycle, lengths, metrics, float64"]
    model, _, _ = case.fit(checkpoints=[fl.Checkpoint(tmp_path / "run.st")])
    loaded = fl.load(tmp_path / "run.st")
    np.testing.assert_array_equal(loaded.predict(X, LENGTHS), model.predict(X, LENGTHS))
    loaded.save(tmp_path / "model.st")
    with pytest.raises(ValueError, match=r"model\.st: a model without the state of a training run"):
        case.fit(resume=tmp_path / "model.st")
    assert (tmp_path / "model.st").stat().st_size < (tmp_path / "run.st").stat().st_size / 3


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "batch size": ({"batch_size": 7}, "batch_size=8, got 7"),
    "optimizer": ({"optimizer": fl.SGD}, "started with optimizer="),
    "rate": ({"optimizer": lambda: fl.Adam(1e-3)}, "'lr': 0.01.*'lr': 0.001"),
    "loss": ({"loss": "mse"}, "loss=.*'huber'.*'mse'"),
    "seed": ({"seed": 8}, "seed=1, got 8"),
    "order": ({"shuffle": False}, "shuffle=True, got False"),
    "callbacks": ({"callbacks": []}, "started with EarlyStopping: give fit the same callbacks"),
    "more callbacks": (
        {"callbacks": lambda: [fl.EarlyStopping(), fl.ReduceLROnPlateau()]},
        "started without ReduceLROnPlateau",
    ),
    "monitor": ({"callbacks": lambda: [fl.EarlyStopping("val_mae")]}, "monitors 'val_loss', got 'val_mae'"),
    "metrics": ({"metrics": lambda: {"one": lambda y, p: 1.0}}, "names="),
    "validation data": (
        {"validation_data": (X[:6], VALUES[:6])},
        r"other data: X \(validation\) had shape \[5, 6, 3\] instead of \[6, 6, 3\]",
    ),
    "no validation data": ({"validation_data": None, "callbacks": []}, "data|names"),
    "sample weight": ({"sample_weight": np.arange(1.0, 23.0)}, "other data: .*sample_weight"),
    "lengths": ({"lengths": np.full(22, 5)}, "other data: .*X .training. had other values"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_refused(name: str, tmp_path: Path) -> None:
    case = Case(
        lambda: fl.Model([fl.LSTM(4), fl.Dense(2)], seed=1),
        (X, VALUES),
        loss="huber",
        lengths=LENGTHS,
        validation_data=(X[:5], VALUES[:5]),
        callbacks=lambda: [fl.EarlyStopping()],
    )
    file = tmp_path / "run.st"
    case.fit(checkpoints=[fl.Checkpoint(file)])
    case.fit(resume=file)
    changes, message = CHANGES[name]
    with pytest.raises(ValueError, match=message):
        case.fit(resume=file, **changes)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:20], VALUES[:20], r"shape \[22, 6, 3\] instead of \[20, 6, 3\]"),
        (X.astype("f4"), VALUES, "X .training. had dtype float64 instead of float32"),
        (np.nextafter(X, 9), VALUES, "X .training. had other values"),
        (X[::-1], VALUES, "X .training. had other values"),
        (X, VALUES[::-1], "y .training. had other values"),
        (X.astype("i8"), VALUES, "dtype float64 instead of int64"),
    ],
)
def test_other_data_are_refused(x: np.ndarray, y: np.ndarray, message: str, tmp_path: Path) -> None:
    def fit(x: np.ndarray, y: np.ndarray, **arguments: Any) -> fl.Model:
        model = fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3)
        before = model.flat_parameters.copy()
        try:
            model.fit(x, y, loss="mse", epochs=2, verbose=0, **arguments)
        except ValueError:
            np.testing.assert_array_equal(model.flat_parameters, before)
            raise
        return model

    file = tmp_path / "run.st"
    fit(X, VALUES, callbacks=[fl.Checkpoint(file)])
    # The same values in another layout or container are the same data.
    for same in (np.asfortranarray(X), X.astype(">f8"), list(X), np.repeat(X, 2, axis=0)[::2]):
        fit(same, VALUES, resume=file)
    with pytest.raises(ValueError, match=f"other data: .*{message}"):
        fit(x, y, resume=file)


def test_layers_that_a_file_describes_wrongly_are_refused(tmp_path: Path) -> None:
    case = CASES["an optimizer that has a run behind it"]
    path = tmp_path / "run"
    case.fit(checkpoints=[fl.Checkpoint(path)], epochs=1)
    tensors, config = fl.formats.safetensors.load(path)
    right = config["training"]["run"]["model"]["layers"]
    for wrong in ([7] * len(right), 7, [{}] * len(right), None, [{**layer, "trainable": True} for layer in right]):
        config["training"]["run"]["model"]["layers"] = wrong
        fl.formats.safetensors.save(path, tensors, config)
        with pytest.raises(ValueError, match=r"started with model\.layers"):
            case.fit(checkpoints=[fl.Checkpoint(path)], resume=path)


@pytest.mark.parametrize("wrong", [-1, "two", None, 2**80])
def test_counts_that_a_file_gives_wrongly_are_refused(wrong: Any, tmp_path: Path) -> None:
    case = CASES["an optimizer that has a run behind it"]
    path = tmp_path / "run"
    case.fit(checkpoints=[fl.Checkpoint(path)], epochs=1)
    tensors, config = fl.formats.safetensors.load(path)
    for group, name in (("optimizer", "epochs"), ("progress", "before"), ("progress", "epoch"), ("optimizer", "start")):
        changed = copy.deepcopy(config)
        place = changed["training"][group]
        (place["dict"] if "dict" in place else place)[name] = -(2**70) if name == "start" and wrong == -1 else wrong
        fl.formats.safetensors.save(path, tensors, changed)
        with pytest.raises(ValueError, match="the file does not describe a training run"):
            case.fit(checkpoints=[fl.Checkpoint(path)], resume=path)


def test_padding_is_not_a_part_of_the_data(tmp_path: Path) -> None:
    file = tmp_path / "run.st"
    case = Case(lambda: fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(2)]), (X, np.zeros((22, 6), int)))
    weight = np.ones((22, 6))
    case.fit(lengths=LENGTHS, sample_weight=weight, checkpoints=[fl.Checkpoint(file)])
    beyond = np.arange(6) >= LENGTHS[:, None]
    case.data = (np.where(beyond[:, :, None], np.nan, X), np.where(beyond, 1, 0))
    case.fit(lengths=LENGTHS, sample_weight=np.where(beyond, np.nan, weight), resume=file)


def test_where_series_end_is_part_of_the_data(tmp_path: Path) -> None:
    file = tmp_path / "run.st"
    steps = rng.standard_normal((13, 3))
    case = Case(lambda: fl.Model([fl.LSTM(4), fl.Dense(2)]), (np.split(steps, [3, 8]), [0, 1, 1]))
    case.fit(checkpoints=[fl.Checkpoint(file)])
    case.fit(resume=file)
    case.data = (np.split(steps, [5, 8]), [0, 1, 1])  # the same steps in series with the same greatest length
    with pytest.raises(ValueError, match=r"X .training. had other values"):
        case.fit(resume=file)


def test_windows_have_the_fingerprint_of_their_series(tmp_path: Path) -> None:
    series = rng.standard_normal((40, 2))
    windows, targets = fl.windows(series, 8, target=0)
    model = lambda: fl.Model([fl.LSTM(4), fl.Dense(1)])  # noqa: E731
    file = tmp_path / "run.st"
    Case(model, (windows, targets), loss="mse").fit(checkpoints=[fl.Checkpoint(file)], epochs=2)
    Case(model, (windows, targets), loss="mse").fit(resume=file, epochs=3)
    for stride, message in ((2, "shape"), (1, "values")):
        changed = series.copy()
        changed[3, 1] += 1
        other = fl.windows(changed if stride == 1 else series, 8, target=0, stride=stride)
        with pytest.raises(ValueError, match=message):
            Case(model, other, loss="mse").fit(resume=file, epochs=3)


def test_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.st"
    Case(lambda: fl.Model([fl.LSTM(4), fl.Dense(3)]), (X, LABELS)).fit(checkpoints=[fl.Checkpoint(file)])
    for model, message in (
        (fl.Model([fl.LSTM(5), fl.Dense(3)]), r"model\.layers\[0\]\.hidden_size=4, got 5"),
        (fl.Model([fl.MeanPool(), fl.Dense(3)]), r"model\.layers\[0\]\.type='LSTM', got 'MeanPool'"),
        (fl.Model([fl.LSTM(4), fl.Dense(4), fl.Dense(3)]), "model.layers="),
        (fl.Model([fl.LSTM(4), fl.Dense(3)], seed=1), "model.seed=0, got 1"),
        (fl.Model([fl.LSTM(4), fl.Dense(3)], dtype="float64"), "model.dtype='float32', got 'float64'"),
        (fl.Model([fl.LSTM(4), fl.Dense(3)], scaler=fl.Standardizer()), "scaled="),
    ):
        with pytest.raises(ValueError, match=message):
            Case(lambda model=model: model, (X, LABELS)).fit(resume=file, seed=0)


@pytest.mark.parametrize("change", ["missing", "shape", "renamed"])
def test_tensors_that_do_not_fit_are_refused_before_anything_changes(change: str, tmp_path: Path) -> None:
    case, file = CASES["segments and threads"], tmp_path / "run.st"
    model, _, _ = case.fit(checkpoints=[fl.Checkpoint(file)])
    before = model.flat_parameters.copy()
    tensors, config = serialization.load(file)
    name = next(name for name in tensors if name.endswith("weight_hh_l0"))
    tensor = tensors.pop(name)
    if change == "shape":
        tensors[name] = np.ascontiguousarray(tensor.T)
    elif change == "renamed":
        tensors[name + "_reverse"] = tensor
    serialization.save(file, tensors, config)
    with pytest.raises(ValueError, match="do not fit the model"):
        Case(lambda: model, case.data, **case.arguments).fit(resume=file)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_the_model_may_be_that_of_the_file(tmp_path: Path) -> None:
    case = CASES["values, scalers, one cycle, lengths, metrics, float64"]
    expected = case.fit()[2]
    folder = tmp_path / "all"
    folder.mkdir()
    case.fit(checkpoints=checkpoints(folder))
    again = Case(lambda: fl.load(folder / "02-1.safetensors"), case.data, **case.arguments)
    assert again.fit(resume=folder / "02-1.safetensors")[2] == expected


def test_another_machine_causes_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, file = CASES["segments and threads"], tmp_path / "run.st"
    expected = case.fit(checkpoints=[fl.Checkpoint(file)])[2]
    here = run_state.environment()
    monkeypatch.setattr(run_state, "environment", lambda: {**here, "arithmetic": "another"})
    with pytest.warns(UserWarning, match="started with arithmetic .* and continues with another") as caught:
        assert case.fit(resume=file)[2] == expected
    assert caught[0].filename == __file__  # the caller of Model.fit


def test_a_pickled_checkpoint_holds_no_data(tmp_path: Path) -> None:
    saved = fl.Checkpoint(tmp_path / "run.st")
    X, y = np.zeros((100, 20, 5), np.float32), np.zeros((100, 1), np.float32)
    fl.Model([fl.LSTM(4), fl.Dense(1)]).fit(X, y, loss="mse", epochs=1, callbacks=[saved], verbose=0)
    assert len(pickle.dumps(saved)) < 10_000 < X.nbytes
    assert pickle.loads(pickle.dumps(saved)).latest == saved.latest


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_saves_the_run(tmp_path: Path) -> None:
    """The run goes on to the bits of one that was not interrupted."""
    case, file = CASES["segments and threads"], tmp_path / "run.st"
    expected = case.fit()[2]

    class Sends(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if batch == 2:
                signal.raise_signal(signal.SIGINT)

    saved = fl.Checkpoint(file, every_epochs=100)
    with pytest.raises(KeyboardInterrupt):
        case.fit(checkpoints=[Sends(), saved])
    assert saved.latest == str(file)
    assert case.fit(checkpoints=[fl.Callback()], resume=file)[2] == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every_epochs": 0}, ValueError, "every_epochs"),
        ({"every_batches": 1.5}, TypeError, "every_batches"),
        ({"every_seconds": 0}, ValueError, "every_seconds"),
        ({"keep": 0}, ValueError, "keep"),
        ({"keep": 2}, ValueError, "keep=2 needs a name for each file"),
        ({"keep": None}, ValueError, "needs a name for each file"),
        ({"path": "{loss}.st"}, ValueError, "fields {epoch} and {batch}"),
        ({"path": "{epoch"}, ValueError, "fields {epoch} and {batch}"),
        ({"path": "{epoch:.2f}"}, ValueError, "fields {epoch} and {batch}"),
        ({"path": "{epoch!r}"}, ValueError, "fields {epoch} and {batch}"),
        ({"path": "{epoch}/a"}, ValueError, "name of the file"),
        ({"on_error": "ignore"}, ValueError, "'warn' or 'raise'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fl.Checkpoint(**{"path": "run.st", **arguments})


def test_wrong_places_to_resume_from(tmp_path: Path) -> None:
    case = CASES["segments and threads"]
    with pytest.raises(ValueError, match=r"resume=True continues from the files of a fl.Checkpoint"):
        case.fit(resume=True)
    with pytest.raises(FileNotFoundError):
        case.fit(resume=tmp_path / "missing.st")
    with pytest.raises(TypeError, match="resume must be"):
        case.fit(resume=3)
    (tmp_path / "other.st").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"other\.st"):
        case.fit(resume=tmp_path / "other.st")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        case.fit(checkpoints=[fl.Checkpoint(tmp_path / "nowhere" / "run.st")], resume=True)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        case.fit(checkpoints=[fl.Checkpoint(tmp_path)])


def test_names_and_how_many_are_kept(tmp_path: Path) -> None:
    case = CASES["segments and threads"]  # three batches in each of two epochs
    for keep, expected in (
        (1, ["2-3"]),
        (2, ["2-2", "2-3"]),
        (None, ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"]),
    ):
        folder = tmp_path / str(keep)
        folder.mkdir()
        (folder / "9-9.txt").touch()  # of another program
        case.fit(checkpoints=[fl.Checkpoint(folder / "{epoch}-{batch}", every_batches=1, keep=keep)])
        assert sorted(os.listdir(folder)) == [*expected, "9-9.txt"]
    # A run that begins anew keeps the files of the older run, and resumes from its own.
    saving = fl.Checkpoint(tmp_path / "2" / "{epoch}-{batch}", every_batches=2, keep=1)
    case.fit(checkpoints=[saving], epochs=1)
    assert sorted(os.listdir(tmp_path / "2")) == ["1-3", "2-2", "2-3", "9-9.txt"]
    assert saving.newest() == str(tmp_path / "2" / "1-3")


def test_the_newest_file_is_the_last_written_or_at_the_same_time_the_most_advanced(tmp_path: Path) -> None:
    saving = fl.Checkpoint(tmp_path / "{epoch}-{batch}", keep=None)
    assert saving.newest() is None
    for name, written in (("9-1", 5), ("10-2", 5), ("10-12", 5), ("10-3", 5), ("80-1", 4)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    assert saving.newest() == str(tmp_path / "10-12")
    os.utime(tmp_path / "9-1", (6, 6))
    assert saving.newest() == str(tmp_path / "9-1")


def test_when_it_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["segments and threads"]
    written: list[str] = []
    now = [0.0]
    save = serialization.save

    def noted(path: str, tensors: Any, config: Any) -> None:
        written.append(os.path.basename(path))
        now[0] += 100  # saving takes long; the interval counts from its end
        save(path, tensors, config)

    class Clock(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            now[0] += 10

    monkeypatch.setattr(serialization, "save", noted)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    for arguments, expected in (
        ({}, ["1-3", "2-3", "3-3"]),
        ({"every_epochs": 2}, ["2-3", "3-3"]),
        ({"every_batches": 2}, ["1-2", "2-1", "2-3", "3-2", "3-3"]),
        ({"every_epochs": 1, "every_batches": 2}, ["1-2", "1-3", "2-2", "2-3", "3-2", "3-3"]),
        ({"every_seconds": 40}, ["2-1", "3-2", "3-3"]),
    ):
        written.clear()
        saving = fl.Checkpoint(tmp_path / "{epoch}-{batch}", keep=None, **arguments)
        case.fit(checkpoints=[saving], epochs=3, callbacks=lambda: [Clock()])
        assert written == expected, arguments


class Stop(fl.Callback):
    def __init__(self, batch: int, epoch: int) -> None:
        self.at = batch, epoch

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch = epoch

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.stop_training = (batch, self.epoch) == self.at


@pytest.mark.parametrize("batch", [1, 3])
def test_a_run_that_a_callback_has_stopped_stays_stopped(batch: int, tmp_path: Path) -> None:
    case, file = CASES["segments and threads"], tmp_path / "run.st"
    _, history, expected = case.fit(callbacks=lambda: [Stop(batch, 2)], checkpoints=[fl.Checkpoint(file)])
    _, resumed, end = case.fit(callbacks=lambda: [Stop(batch, 2)], resume=file)
    assert resumed.history == history.history and history.epochs == 1
    assert end == expected


def test_a_run_that_diverges_does_so_again_with_the_same_weights(tmp_path: Path) -> None:
    """The last checkpoint has weights whose loss is not finite: the weights before them are restored."""

    def diverged(**arguments: Any) -> tuple[bytes, str, dict[str, Any]]:
        model = fl.Model([fl.LSTM(4), fl.Dense(2)], dtype="float64", seed=1)
        with pytest.raises(fl.TrainingDiverged) as raised, np.errstate(all="ignore"):
            model.fit(X, VALUES, loss="mse", epochs=50, batch_size=8, verbose=0, optimizer=fl.SGD(1e30), **arguments)
        assert np.isfinite(fl.losses.MSE()(model.predict(X), VALUES)[0])
        return model.flat_parameters.tobytes(), str(raised.value), raised.value.history.history

    expected = diverged()
    assert diverged(callbacks=checkpoints(tmp_path)) == expected
    files = os.listdir(tmp_path)
    assert len(files) >= 2
    for file in files:
        assert diverged(resume=tmp_path / file) == expected


def test_hooks_of_a_resumed_run(tmp_path: Path) -> None:
    events: list[Any] = []

    class Recorder(fl.Callback):
        def on_train_begin(self) -> None:
            events.append("begin")

        def on_resume(self, epoch: int, batch: int, state: dict[str, Any]) -> None:
            events.append(("resume", epoch, batch, state, self.history.epochs))

        def on_epoch_begin(self, epoch: int) -> None:
            events.append(("epoch", epoch))

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            events.append(batch)

    case = CASES["segments and threads"]
    case.fit(checkpoints=checkpoints(tmp_path), callbacks=lambda: [Recorder()])
    begun, events[:] = list(events), []
    assert begun == ["begin", ("epoch", 1), 1, 2, 3, ("epoch", 2), 1, 2, 3]
    case.fit(resume=tmp_path / "02-2.safetensors", callbacks=lambda: [Recorder()])
    assert events == [("resume", 2, 2, {}, 1), 3]
    events.clear()
    case.fit(resume=tmp_path / "end-of-01.safetensors", callbacks=lambda: [Recorder()])
    assert events == [("resume", 2, 0, {}, 1), ("epoch", 2), 1, 2, 3]


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    case = Case(
        CASES["segments and threads"].model, (X, LABELS), callbacks=lambda: [fl.CSVLogger(log, append=True)], epochs=4
    )
    log.write_bytes(b"epoch,loss,accuracy,lr\r\n1,0.5,0.5,0.5\r\n")  # an earlier run
    case.fit(checkpoints=checkpoints(tmp_path))
    expected = log.read_bytes()
    assert expected.count(b"\n") == 6
    case.fit(resume=tmp_path / "02-2.safetensors")  # cuts off three epochs and an incomplete line
    assert log.read_bytes() == expected
    log.write_bytes(expected + b"3,0.1")
    case.fit(resume=tmp_path / "end-of-03.safetensors")
    assert log.read_bytes() == expected
    # Lines that a crash lost are restored from the history, except those of the earlier run.
    for lost in (b"", expected[:40]):
        log.write_bytes(lost)
        case.fit(resume=tmp_path / "end-of-03.safetensors")
        assert log.read_bytes() == b"".join(line for k, line in enumerate(expected.splitlines(True)) if k != 1)


def test_the_progress_bar_of_a_resumed_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, int]] = []
    real = ProgressBar.on_train_begin

    def noted(self: ProgressBar) -> None:
        real(self)
        assert self._bar is not None
        begun.append((self._bar.n, self._bar.total))

    monkeypatch.setattr(ProgressBar, "on_train_begin", noted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    case = CASES["segments and threads"]
    case.fit(checkpoints=checkpoints(tmp_path), verbose=1)
    case.fit(resume=tmp_path / "02-2.safetensors", verbose=1)
    assert begun == [(0, 6), (5, 6)]


def test_a_state_that_cannot_be_saved_is_found_before_training(tmp_path: Path) -> None:
    class Odd(fl.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"value": [{"deep": self.value}]}

    case = CASES["segments and threads"]
    for value, message in ((np.zeros(2, bool), "an array of bool"), ({1: 2}, "dict"), (object(), "object")):
        Odd.value = value  # type: ignore[attr-defined]
        model = case.model()
        model.build(3)
        before = model.flat_parameters.copy()
        with pytest.raises(TypeError, match=f"holds {message} .callback.0.value.0.deep.*expected None, bool"):
            model.fit(X, LABELS, callbacks=[Odd(), fl.Checkpoint(tmp_path / "run.st")], verbose=0)
        np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_schedule_set_by_a_callback_cannot_be_saved(tmp_path: Path) -> None:
    class Replace(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.optimizer.schedule = fl.CosineLR(0.1).bind(3, 2)

    with pytest.raises(TypeError, match=r"the schedule was replaced by .*CosineLR"):
        CASES["segments and threads"].fit(
            checkpoints=[fl.Checkpoint(tmp_path / "run.st")], callbacks=lambda: [Replace()]
        )


def test_the_callback_of_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "checkpoints.md"
    if not page.exists():
        pytest.skip("the documentation is in the repository only")
    text = page.read_text(encoding="utf-8")
    scope: dict[str, Any] = {"fl": fl}
    exec(text.split("```python")[-1].split("```")[0], scope)
    case = CASES["segments and threads"]
    whole, first, then = (scope["MeanWeights"]() for _ in range(3))
    case.fit(callbacks=[whole])
    case.fit(callbacks=[first], checkpoints=checkpoints(tmp_path))
    case.fit(callbacks=[then], resume=tmp_path / "01-2.safetensors")
    np.testing.assert_array_equal(then.mean, whole.mean)
    assert (whole.mean != case.fit()[0].flat_parameters).any()


# --- writing fails


class FailingDisk:
    """Let each operation of the system that a save uses fail in turn."""

    OPERATIONS = ("open", "write", "fsync", "replace")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: set[int], error: OSError) -> None:
        self.calls = 0
        self.on = True
        for name in self.OPERATIONS:
            monkeypatch.setattr(atomic.os, name, self._failing(getattr(os, name), at, error))

    def _failing(self, real: Callable[..., Any], at: set[int], error: OSError) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.on:
                self.calls += 1
                if self.calls in at:
                    raise OSError(error.errno, error.strerror)
            return real(*arguments, **options)

        return call


FULL = OSError(28, "No space left on device")


def test_the_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path: Path) -> None:
    case = CASES["labels, dropout, cosine, split, class and sample weights"]
    expected = case.fit()[2]
    with pytest.MonkeyPatch.context() as patch:
        calls = FailingDisk(patch, set(), FULL)
        case.fit(checkpoints=[fl.Checkpoint(tmp_path / "count.st", every_batches=1)])
        total = calls.calls
    assert total > 50
    (tmp_path / "count.st").unlink()
    file = tmp_path / "run.st"
    # The first three calls are those of the trial write to the folder.
    begin = 3
    for at in range(begin, total + 1, 7):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            FailingDisk(patch, set(range(at, at + 9)), FULL)
            saving = fl.Checkpoint(file, every_batches=1)
            end = case.fit(checkpoints=[saving])[2]
        assert end == expected
        messages = [str(one.message) for one in told]
        assert len(messages) == saving.failures
        assert all("training continues without a checkpoint" in one for one in messages)
        assert all("No space left on device" in one for one in messages)
        assert os.listdir(tmp_path) in ([], ["run.st"])
        if file.exists():
            assert case.fit(resume=file)[2] == expected


def test_a_run_can_be_ended_by_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    case = CASES["segments and threads"]
    expected = case.fit()[2]
    file = tmp_path / "run.st"

    class Full(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.batches = getattr(self, "batches", 0) + 1
            if self.batches == 5:
                patch.setattr(os, "write", failing)

    def failing(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    model = case.model()
    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(
            fl.CheckpointError, match=r"no checkpoint could be written.*No space left.*run\.st"
        ) as raised:
            model.fit(
                X,
                LABELS,
                epochs=2,
                batch_size=8,
                optimizer=fl.Adam(1e-2),
                verbose=0,
                seed=77,
                callbacks=[Full(), fl.Checkpoint(file, every_batches=1, on_error="raise")],
            )
    assert isinstance(raised.value, OSError) and raised.value.errno == 28
    assert raised.value.history.epochs == 1
    assert np.isfinite(model.predict(X)).all()
    assert case.fit(resume=file)[2] == expected  # from the fourth batch, whose file is whole


def test_a_folder_that_cannot_be_written_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FailingDisk(monkeypatch, {1}, OSError(30, "Read-only file system"))
    model = fl.Model([fl.LSTM(4), fl.Dense(3)], input_size=3)
    before = model.flat_parameters.copy()
    with pytest.raises(OSError, match="cannot save a file in this folder: Read-only file system"):
        model.fit(X, LABELS, callbacks=[fl.Checkpoint(tmp_path / "run.st")], verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".fastlstm-0123456789abcdef.tmp"
    others = [tmp_path / ".fastlstm-0123456789abcdef.txt", tmp_path / ".fastlstm-short.tmp"]
    case, file = CASES["segments and threads"], tmp_path / "run.st"
    for resume in (None, True, file):
        for path in (left, *others):
            path.touch()
        case.fit(checkpoints=[fl.Checkpoint(file)], resume=resume)
        assert not left.exists() and all(path.exists() for path in others)
    left.touch()
    case.fit(resume=file)
    assert not left.exists()
