"""Callbacks; the tests call the hooks as the training loop does."""

from __future__ import annotations

import csv
import io
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.optimizers import SGD
from fastlstm.schedules import CosineLR
from fastlstm.training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    EpochPrinter,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    progress,
)
from fastlstm.training.history import History

NAMES = ("loss", "accuracy", "val_loss", "val_accuracy", "lr")


class OneWeight:
    """A model whose only weight is the number of the epoch."""

    def __init__(self) -> None:
        self.flat_parameters = np.zeros(1)
        self.saved: list[tuple[str, float]] = []

    def save(self, path: str) -> None:
        self.saved.append((path, float(self.flat_parameters[0])))


def attached(callback: Callback, *, lr: Any = 1.0, names: Any = NAMES, epochs: int = 20) -> Any:
    callback.attach(OneWeight(), SGD(lr=lr), History(names), epochs, steps_per_epoch=2)  # type: ignore[arg-type]
    callback.on_train_begin()
    return callback


def run(callback: Any, values: list[float], name: str = "val_loss") -> int:
    """Run epochs in which the monitored quantity takes these values; return the number of epochs that were run."""
    for epoch, value in enumerate(values, start=1):
        callback.on_epoch_begin(epoch)
        callback.model.flat_parameters[0] = epoch
        callback.on_batch_end(1, {"loss": 0.5})
        callback.on_epoch_end(epoch, {**dict.fromkeys(NAMES, 0.5), name: value})
        if callback.stop_training:
            break
    callback.on_train_end()
    return epoch


def test_early_stopping_waits_and_restores_the_best_weights() -> None:
    callback = attached(EarlyStopping(patience=2))
    assert run(callback, [3.0, 1.0, 1.0, 2.0, 0.0]) == 4
    assert (callback.best, callback.best_epoch, callback.stopped_epoch) == (1.0, 2, 4)
    assert callback.model.flat_parameters[0] == 2


def test_early_stopping_waits_anew_after_each_improvement() -> None:
    callback = attached(EarlyStopping(patience=2))
    assert run(callback, [3.0, 4.0, 2.0, 3.0, 1.0, 2.0, 2.0, 0.0]) == 7


def test_early_stopping_restores_the_best_weights_of_a_run_that_it_did_not_stop() -> None:
    callback = attached(EarlyStopping(patience=3))
    assert run(callback, [3.0, 1.0, 2.0]) == 3
    assert callback.stopped_epoch is None
    assert callback.model.flat_parameters[0] == 2


def test_early_stopping_can_keep_the_last_weights() -> None:
    callback = attached(EarlyStopping(patience=1, restore_best=False))
    assert run(callback, [1.0, 2.0, 0.0]) == 2
    assert callback.model.flat_parameters[0] == 2


def test_early_stopping_can_ignore_the_first_epochs() -> None:
    callback = attached(EarlyStopping(patience=2, start_from_epoch=3))
    assert run(callback, [0.0, 9.0, 3.0, 2.0, 3.0, 4.0, 1.0]) == 6
    assert (callback.best, callback.best_epoch) == (2.0, 4)
    assert callback.model.flat_parameters[0] == 4


def test_early_stopping_counts_only_changes_beyond_min_delta() -> None:
    callback = attached(EarlyStopping(patience=2, min_delta=0.5))
    assert run(callback, [3.0, 2.75, 2.5, 0.0]) == 3  # 2.5 is 0.5 below 3, and must be more than that
    assert callback.best == 3.0


@pytest.mark.parametrize(("monitor", "mode"), [("val_accuracy", "auto"), ("loss", "max")])
def test_early_stopping_of_a_quantity_that_should_be_large(monitor: str, mode: Any) -> None:
    callback = attached(EarlyStopping(monitor, patience=1, mode=mode))
    assert run(callback, [0.25, 0.5, 0.5, 1.0], monitor) == 3
    assert (callback.best, callback.best_epoch) == (0.5, 2)


def test_early_stopping_treats_nan_as_no_improvement() -> None:
    callback = attached(EarlyStopping(patience=2))
    assert run(callback, [1.0, np.nan, np.nan, 0.0]) == 3
    assert callback.model.flat_parameters[0] == 1


def test_early_stopping_starts_anew_in_the_next_run() -> None:
    callback = EarlyStopping(patience=1)
    run(attached(callback), [1.0, 2.0])
    assert callback.stop_training
    assert run(attached(callback), [5.0, 4.0, 4.5, 1.0]) == 3
    assert callback.best == 4.0
    run(attached(callback), [2.0, 1.0])
    assert (callback.best_epoch, callback.stopped_epoch) == (2, None)


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda: ModelCheckpoint("m", save_best_only=True)])
def test_an_unknown_quantity_is_refused_with_those_that_exist(make: Any) -> None:
    with pytest.raises(ValueError, match=r"'val_loss'.*there are 'loss', 'lr'; give fit validation_data"):
        attached(make(), names=("loss", "lr"))


def test_auto_mode_asks_when_it_cannot_know() -> None:
    for name in ("loss", "val_loss", "val_mae", "rmse", "val_accuracy", "val_f1"):
        EarlyStopping(name)
    with pytest.raises(ValueError, match="mode='min' or mode='max'"):
        EarlyStopping("val_kappa")
    EarlyStopping("val_kappa", mode="max")
    with pytest.raises(ValueError, match="'auto', 'min' or 'max'"):
        EarlyStopping(mode="less")  # type: ignore[arg-type]


def test_checkpoint_saves_every_epoch_under_its_name(tmp_path: Path) -> None:
    callback = attached(ModelCheckpoint(tmp_path / "m-{epoch:02d}-{val_loss:.1f}.safetensors"), names=NAMES)
    run(callback, [2.0, 3.0])
    assert callback.model.saved == [
        (str(tmp_path / "m-01-2.0.safetensors"), 1.0),
        (str(tmp_path / "m-02-3.0.safetensors"), 2.0),
    ]


def test_checkpoint_saves_only_the_best(tmp_path: Path) -> None:
    callback = attached(ModelCheckpoint(tmp_path / "m", save_best_only=True))
    run(callback, [2.0, 3.0, 1.0])
    assert [epoch for _, epoch in callback.model.saved] == [1.0, 3.0]


def test_checkpoint_finds_a_missing_folder_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        attached(ModelCheckpoint(tmp_path / "nowhere" / "m.safetensors"))


def test_checkpoint_finds_a_wrong_name_before_training(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        attached(ModelCheckpoint(tmp_path))
    for name in ("m-{epoch:02d}-{val_accuracy:.3f}", "m-{}", "m-{epoch:s}", "m-{epoch", "m-{loss.nothing}"):
        with pytest.raises(ValueError, match=r"the fields \{epoch\}, \{loss\}, \{val_loss\}, got"):
            attached(ModelCheckpoint(tmp_path / name), names=("loss", "val_loss"))
    attached(ModelCheckpoint(tmp_path / "{epoch}" / "m"), names=("loss", "val_loss"))  # it may be created by then


def test_reduce_lr_waits_lowers_and_stops_at_min_lr() -> None:
    callback = attached(ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.3), lr=1.0)
    seen = []
    for epoch, value in enumerate([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5], start=1):
        callback.on_epoch_end(epoch, {"val_loss": value})
        seen.append(callback.optimizer.lr)
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_reduce_lr_never_raises_the_rate() -> None:
    callback = attached(ReduceLROnPlateau(patience=1, min_lr=0.1), lr=0.01)
    run(callback, [1.0, 1.0])
    assert callback.optimizer.lr == 0.01


def test_reduce_lr_refuses_a_schedule() -> None:
    with pytest.raises(ValueError, match=r"constant learning rate.*CosineLR"):
        attached(ReduceLROnPlateau(), lr=CosineLR(0.1))


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_logger_writes_and_appends(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    callback = attached(CSVLogger(path), names=("loss", "lr"))
    assert read(path) == [["epoch", "loss", "lr"]]
    callback.on_epoch_end(1, {"loss": 1 / 3, "lr": 0.5})
    assert read(path)[1:] == [["1", "0.3333333333333333", "0.5"]]  # flushed, with every digit
    callback.on_train_end()

    callback = attached(CSVLogger(path, append=True), names=("loss", "lr"))
    callback.on_epoch_end(1, {"loss": 0.25, "lr": 0.5})
    callback.on_train_end()
    assert [row[1] for row in read(path)] == ["loss", "0.3333333333333333", "0.25"]

    with pytest.raises(ValueError, match="cannot append"):
        attached(CSVLogger(path, append=True), names=("loss", "mae", "lr"))
    attached(CSVLogger(path), names=("loss", "mae", "lr")).on_train_end()
    assert read(path) == [["epoch", "loss", "mae", "lr"]]


def test_csv_logger_appends_to_a_missing_file(tmp_path: Path) -> None:
    attached(CSVLogger(tmp_path / "new.csv", append=True), names=("loss",)).on_train_end()
    assert read(tmp_path / "new.csv") == [["epoch", "loss"]]


def test_epoch_printer_prints_one_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    run(attached(EpochPrinter(), names=NAMES), [0.75, 0.25])
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "epoch 1/20: loss=0.5, accuracy=0.5, val_loss=0.75, val_accuracy=0.5, lr=0.5",
        "epoch 2/20: loss=0.5, accuracy=0.5, val_loss=0.25, val_accuracy=0.5, lr=0.5",
    ]
    assert captured.err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_shows_epoch_loss_validation_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(attached(ProgressBar(), epochs=2), [0.75, 0.25])
    drawn = terminal.getvalue()
    assert "epoch 2/2" in drawn
    assert "loss=0.5, accuracy=0.5, val_loss=0.25" in drawn
    assert "2/4 [" in drawn  # one of the two batches of each epoch was reported
    assert "lr=" not in drawn
    assert drawn.endswith("\n")


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after five seconds, one at the end, and no line twice."""
    clock = iter([0.0, 1.0, 4.0, 5.5, 5.5, 9.0, 12.0, 12.0, 13.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = attached(ProgressBar(), epochs=9)
    run(bar, [0.9, 0.8, 0.7, 0.6, 0.5])
    bar.on_train_end()
    bar.on_train_end()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 3/9", "epoch 5/9"]
    assert lines[0] == "epoch 3/9: loss=0.5, accuracy=0.5, val_loss=0.7, val_accuracy=0.5"


def test_progress_in_a_notebook_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Jupyter's shell; without ipywidgets, tqdm draws a bar of text."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(attached(ProgressBar(), epochs=2), [0.75, 0.25])
    assert "epoch 2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(patience=0),
        lambda: EarlyStopping(min_delta=-1.0),
        lambda: ReduceLROnPlateau(factor=1.0),
        lambda: ReduceLROnPlateau(min_lr=-1.0),
    ],
)
def test_bad_arguments_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="patience|min_delta|factor|min_lr"):
        make()


@pytest.mark.parametrize("kind", ["stop", "save", "lower"])
@pytest.mark.parametrize(
    "monitor, validated, advice",
    [
        ("val_acc", True, "; did you mean 'val_accuracy'?"),
        ("val_acc", False, "; did you mean 'val_accuracy'?; give fit validation_data or validation_split"),
        ("acc", True, "; did you mean 'accuracy'?"),
        ("val_binary_accuracy", True, "; did you mean 'val_accuracy'?"),
        ("vall_loss", True, "; did you mean 'val_loss'?"),
        ("Loss", False, "; did you mean 'loss'?"),
        ("val_loss", False, "; give fit validation_data or validation_split"),
        ("val_zz_recall", True, ""),
    ],
)
def test_the_name_of_a_monitored_quantity_is_found(
    kind: str, monitor: str, validated: bool, advice: str, tmp_path: Path
) -> None:
    callback = {
        "stop": lambda: EarlyStopping(monitor),
        "save": lambda: ModelCheckpoint(tmp_path / "m.safetensors", monitor, save_best_only=True),
        "lower": lambda: ReduceLROnPlateau(monitor),
    }[kind]()
    X, y = np.zeros((8, 3, 1)), np.arange(8) % 2
    with pytest.raises(ValueError, match="which this run does not have: there are 'loss', 'accuracy'") as caught:
        fl.Model([fl.LSTM(2), fl.Dense(2)]).fit(
            X, y, epochs=1, verbose=0, callbacks=[callback], validation_split=0.5 if validated else 0
        )
    assert str(caught.value).partition("'lr'")[2] == advice


def test_a_name_of_which_the_direction_is_unknown_may_be_misspelt() -> None:
    with pytest.raises(ValueError, match="did you mean 'val_loss'\\? Else give mode='min' or mode='max'"):
        EarlyStopping("val_los")
    with pytest.raises(ValueError, match="is good: give mode='min' or mode='max'"):
        EarlyStopping("xyz")
