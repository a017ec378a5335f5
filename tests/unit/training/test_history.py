"""History: what it holds, its best epoch, its plot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastlstm.training.history import History


def recorded() -> History:
    history = History(["loss", "accuracy", "val_loss", "val_accuracy", "lr"])
    for loss, val_loss in ((1.0, 1.5), (0.5, 0.75), (0.25, 1.0)):
        history.append({"loss": loss, "accuracy": 1 - loss, "val_loss": val_loss, "val_accuracy": 0.5, "lr": 0.1})
    return history


def test_an_empty_history_knows_its_names() -> None:
    history = History(["loss", "lr"])
    assert history.history == {"loss": [], "lr": []}
    assert history.epochs == 0
    assert history.best_epoch is None
    assert not history.interrupted
    assert repr(history) == "History(0 epochs)"


def test_values_epochs_and_best_epoch() -> None:
    history = recorded()
    assert history.history["val_loss"] == [1.5, 0.75, 1.0]
    assert history.epochs == 3
    assert history.best_epoch == 2  # by val_loss, counted from 1
    assert repr(history) == "History(3 epochs: loss=0.25, accuracy=0.75, val_loss=1, val_accuracy=0.5, lr=0.1)"


def test_best_epoch_without_validation_is_that_of_the_training_loss() -> None:
    history = History(["loss"])
    for loss in (3.0, 1.0, 1.0, 2.0):
        history.append({"loss": loss})
    assert history.best_epoch == 2


def test_plot_draws_training_and_validation_together(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "training.png"
    figure = recorded().plot(path, title="a run")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]  # lr is no panel
    training, validation, best = figure.axes[0].get_lines()
    assert list(training.get_ydata()) == [1.0, 0.5, 0.25]
    assert list(validation.get_ydata()) == [1.5, 0.75, 1.0]
    assert list(training.get_xdata()) == [1, 2, 3]
    assert set(best.get_xdata()) == {2}


def test_plot_leaves_the_backend_of_the_process_alone() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = matplotlib.rcParams._get("backend")
    recorded().plot()
    assert matplotlib.rcParams._get("backend") == before


def test_plot_of_nothing_is_refused() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="no epoch"):
        History(["loss"]).plot()


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastlstm\[plot\]"):
        recorded().plot()
