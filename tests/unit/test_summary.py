"""The tables of a model's layers: the text of `summary`, the HTML of notebooks."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np

import fastlstm as fl


def tables(model: fl.Model) -> tuple[list[list[str]], dict[str, str]]:
    """Parse the HTML of a model; return the rows of the layers, and the settings."""
    root = ElementTree.fromstring(model._repr_html_())  # fails unless well-formed
    layers, settings = root.findall("table")

    def rows(table: Any) -> list[list[str]]:
        return [[cell.text or "" for cell in row] for row in table.findall("tbody/tr")]

    return rows(layers), dict((key, value) for key, value in rows(settings))


def caption(model: fl.Model) -> str:
    return ElementTree.fromstring(model._repr_html_()).findtext("table/caption") or ""


def test_the_html_of_a_trained_model() -> None:
    layers = [fl.LSTM(4, return_sequences=True), fl.LastStep(), fl.Dense(2)]
    model = fl.Model(layers, scaler=fl.Standardizer(), seed=7)
    model.fit(np.ones((4, 5, 3)), ["a & b", "<c>", "<c>", "a & b"], epochs=1, verbose=0)
    model.layers[0].trainable = False
    rows, settings = tables(model)
    assert rows == [
        ["0", "LSTM(hidden_size=4, return_sequences=True)", "(batch, time, 4)", "144", "no"],
        ["1", "LastStep()", "(batch, 4)", "0", "yes"],
        ["2", "Dense(output_size=2)", "(batch, 2)", "10", "yes"],
        ["", "total", "float32", "154", "10"],
    ]
    assert settings == {
        "input": "3 features",
        "loss": "CrossEntropy()",
        "outputs": "class scores",
        "classes": "2: <c>, a & b",
        "scaler": "Standardizer, fitted",
        "target scaler": "none",
        "dtype": "float32",
        "seed": "7",
    }
    assert "&lt;c&gt;, a &amp; b" in model._repr_html_()
    assert caption(model) == "Model"
    assert tables(model.freeze())[1]["frozen"] == "yes"


def test_the_html_of_a_model_that_is_not_built() -> None:
    model = fl.Model([fl.LSTM(4), fl.Dense(1)], target_scaler=fl.Standardizer(), dtype="float64")
    rows, settings = tables(model)
    assert rows == [["0", "LSTM(hidden_size=4)", "?", "?", "yes"], ["1", "Dense(output_size=1)", "?", "?", "yes"]]
    assert settings["input"] == "not known yet" and settings["loss"] == "not known"
    assert settings["target scaler"] == "Standardizer, not fitted yet"
    assert "not built yet" in caption(model)
    assert not model.built  # looking at it changes nothing


def test_the_html_of_other_models() -> None:
    tokens = fl.Model([fl.Embedding(30, 4), fl.LSTM(4), fl.RepeatVector(3), fl.Dense(30)])
    rows, settings = tables(tokens)
    assert [row[2] for row in rows[:-1]] == ["(batch, time, 4)", "(batch, 4)", "(batch, 3, 4)", "(batch, 3, 30)"]
    assert settings["input"] == "token ids"
    names = [f"word{k}" for k in range(30)]
    many = fl.Model([fl.LSTM(2), fl.Dense(30)], input_size=1, classes=names)
    assert tables(many)[1]["classes"] == f"30: {', '.join(names[:10])}, ..."
    assert tables(many)[1]["input"] == "1 feature"

    class Odd(fl.losses.Loss):
        name = "odd"
        kind = "values"

        def __call__(self, *arguments: Any, **more: Any) -> Any:
            raise NotImplementedError

        def __repr__(self) -> str:
            return "<Odd & new>"

    many.loss = Odd()
    assert tables(many)[1]["loss"] == "<Odd & new>"


def test_text_and_html_agree() -> None:
    model = fl.Model([fl.LSTM(4, bidirectional=True), fl.Dense(2)], input_size=3)
    model.layers[1].trainable = False
    text = io.StringIO()
    model.summary(file=text)
    rows, _ = tables(model)
    for row, line in zip(rows, text.getvalue().splitlines()[1:], strict=False):
        assert all(cell in line for cell in row[:4])
        assert ("not trainable" in line) == (row[4] == "no")
