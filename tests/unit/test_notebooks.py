"""What a notebook shows of the package's objects: well-formed tables with the right numbers, and nothing unescaped."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from fastlstm.training.history import History


def rows(html: str) -> list[list[str]]:
    """Return the cells of a table; ElementTree fails unless it is well-formed."""
    return [[cell.text or "" for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


def test_a_history_shows_its_first_best_and_last_epoch() -> None:
    history = History(["loss", "val_loss", "lr"])
    assert rows(history._repr_html_()) == [["epoch"]]
    for loss, val_loss in ((1.0, 1.5), (0.5, 0.75), (0.25, 1.0)):
        history.append({"loss": loss, "val_loss": val_loss, "lr": 0.1})
    assert rows(history._repr_html_()) == [
        ["epoch", "loss", "val_loss", "lr"],
        ["1 (first)", "1", "1.5", "0.1"],
        ["2 (best)", "0.5", "0.75", "0.1"],
        ["3 (last)", "0.25", "1", "0.1"],
    ]
    assert "History of 3 epochs<" in history._repr_html_()


def test_a_history_that_goes_on_counts_on() -> None:
    history = History(["loss"])
    history.first_epoch = 8
    history.append({"loss": 2.0})
    history.interrupted = True
    assert rows(history._repr_html_()) == [["epoch", "loss"], ["8 (first, best, last)", "2"]]
    assert "History of 1 epoch, interrupted" in history._repr_html_()


def test_a_forecaster_shows_what_it_has_read() -> None:
    pytest.importorskip("utilsforecast")
    import pandas as pd

    import fastlstm as fl

    times = pd.date_range("2026-01-01", periods=240, freq="h")
    table = pd.DataFrame({"ds": times, "y": np.sin(np.arange(240) * 2 * np.pi / 24)})
    forecaster = fl.Forecaster(horizon=4, hidden_size=4, epochs=1, random_state=0, verbose=0)
    assert rows(forecaster._repr_html_())[1] == ["", "not fitted: fit(df) trains it"]
    forecaster.fit(table[:200])
    shown = rows(forecaster._repr_html_())
    assert shown[0][0] == repr(forecaster)
    assert "frequency" in [row[0] for row in shown]
    assert shown[1:] == [list(row) for row in forecaster.report_.table()]
    evaluation = forecaster.evaluate(table[200:])
    assert [row[0] for row in rows(evaluation._repr_html_())] == ["", "fastlstm", "seasonal naive", "naive"]


def test_estimators_show_their_parameters() -> None:
    pytest.importorskip("sklearn")
    from fastlstm.sklearn import LSTMClassifier

    html = LSTMClassifier(hidden_size=7)._repr_mimebundle_()["text/html"]
    assert "LSTMClassifier" in html and "hidden_size" in html
