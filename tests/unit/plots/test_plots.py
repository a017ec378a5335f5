"""Pictures: what they show, names, limits, many points, and that they need no display."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

matplotlib = pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
SIGNAL = RNG.standard_normal((200, 2))
SCORES = np.zeros(200)
SCORES[50:60], SCORES[55], SCORES[120] = 5.0, 7.0, 6.0


def model() -> fl.Model:
    return fl.Model([fl.LSTM(4, return_sequences=True), fl.AttentionPool(3), fl.Dense(2)], input_size=2)


DRAW: dict[str, Callable[..., Any]] = {
    "confusion_matrix": lambda **how: fl.plots.confusion_matrix([[3, 1], [0, 2]], ["a", "b"], **how),
    "anomaly": lambda **how: fl.plots.anomaly(SIGNAL, SCORES, 4.0, **how),
    "attention": lambda **how: fl.plots.attention(model(), SIGNAL, **how),
}


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def bounds(patch: Any) -> tuple[float, float]:
    """Return the first and the last step, less and plus a half, of a shaded span."""
    box = patch.get_extents().transformed(patch.axes.transData.inverted())
    return round(box.x0, 6), round(box.x1, 6)


def overlapping(figure: Any, labels: list[Any]) -> list[tuple[str, str]]:
    """Return the pairs of texts that overlap in a drawn figure."""
    figure.canvas.draw()
    boxes = [(label.get_text(), label.get_window_extent()) for label in labels if label.get_text()]
    return [
        (one, other) for k, (one, box) in enumerate(boxes) for other, further in boxes[k + 1 :] if box.overlaps(further)
    ]


@pytest.mark.parametrize("name", DRAW)
def test_a_picture_is_saved_and_titled(name: str, tmp_path: Path) -> None:
    for suffix, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"picture{suffix}"
        figure = DRAW[name](path=path, title="1 $ and 2 $")
        assert path.read_bytes().startswith(begins)
    assert [text.get_text() for text in figure.texts] == [r"1 \$ and 2 \$"]
    assert DRAW[name]().texts == []


@pytest.mark.parametrize("name", DRAW)
def test_pictures_leave_the_backend_of_the_process_alone(name: str) -> None:
    before = matplotlib.rcParams._get("backend")
    DRAW[name]()
    assert matplotlib.rcParams._get("backend") == before


@pytest.mark.parametrize("name", DRAW)
def test_pictures_without_matplotlib_say_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=rf"plots.{name} needs matplotlib: pip install 'fastlstm\[plot\]'"):
        DRAW[name]()


# ----------------------------------------------------------------------------------------- confusion matrix


def test_a_confusion_matrix_shows_counts_and_shares() -> None:
    figure = fl.plots.confusion_matrix([[3, 1], [0, 2]], ["up", "down"])
    axes, bar = figure.axes
    assert texts(axes) == ["3", "1", "0", "2"]
    assert axes.get_images()[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
    assert axes.get_images()[0].get_clim() == (0, 1)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["up", "down"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["up", "down"]
    assert axes.get_xlim() == (-0.5, 1.5) and axes.get_ylim() == (1.5, -0.5)  # the first true class at the top
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert bar.get_ylabel() == "share of the true class"


def test_a_report_draws_its_matrix() -> None:
    report = fl.metrics.classification_report(["b", "a", "b"], ["b", "b", "b"])
    for figure in (report.plot(), fl.plots.confusion_matrix(report)):
        assert texts(figure.axes[0]) == ["0", "1", "0", "2"]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    named = fl.plots.confusion_matrix(report, ["x", "y"])
    assert [label.get_text() for label in named.axes[0].get_yticklabels()] == ["x", "y"]


@pytest.mark.parametrize("size", [1, 2, 10, 25])
@pytest.mark.parametrize("name", ["{}", "class {}", "a class with a long name, number {}"])
def test_the_labels_of_a_confusion_matrix_do_not_overlap(size: int, name: str) -> None:
    counts = np.full((size, size), 12_345)
    figure = fl.plots.confusion_matrix(counts, [name.format(k) for k in range(size)], title="a title")
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels(), axes.texts):
        assert overlapping(figure, list(labels)) == []
    if size > 1:
        assert len({label.get_text() for label in axes.get_xticklabels()}) == size  # also where names are cut
    width, height = figure.get_size_inches()
    assert width < 20 and height < 20
    for text in axes.texts:  # each count lies in its cell
        box = text.get_window_extent().transformed(axes.transData.inverted())
        x, y = text.get_position()
        assert x - 0.5 <= box.x0 <= box.x1 <= x + 0.5 and y - 0.5 <= min(box.y0, box.y1)
    # Everything lies within the figure.
    inside = figure.get_window_extent()
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
        box = label.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1


def test_many_classes_have_no_numbers() -> None:
    counts = np.eye(40)
    axes = fl.plots.confusion_matrix(counts).axes[0]
    assert texts(axes) == [] and len(axes.get_xticklabels()) == 40
    assert len(fl.plots.confusion_matrix(np.eye(100)).axes[0].get_xticks()) < 20


def test_weighted_counts_and_dollar_signs() -> None:
    figure = fl.plots.confusion_matrix([[0.25, 1], [0, 2000]], ["$a$", "b"])
    assert texts(figure.axes[0]) == ["0.2", "1", "0", "2,000"]
    assert figure.axes[0].get_xticklabels()[0].get_text() == r"\$a\$"


@pytest.mark.parametrize(
    ("matrix", "classes", "words"),
    [
        ([[1, 2]], None, r"matrix has shape \(1, 2\)"),
        (np.zeros((0, 0)), None, r"matrix has shape \(0, 0\)"),
        ([[1, -2], [0, 1]], None, "numbers >= 0"),
        ([[1, np.nan], [0, 1]], None, "numbers >= 0"),
        ([[1, 2], [0, 1]], ["a"], "classes names 1 classes and matrix has 2"),
    ],
)
def test_a_matrix_that_is_none_is_refused(matrix: Any, classes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fl.plots.confusion_matrix(matrix, classes)


# ----------------------------------------------------------------------------------------- anomaly scores


def test_an_anomaly_score_shows_threshold_and_events() -> None:
    labels = np.zeros(200, int)
    labels[40:62] = 1
    figure = fl.plots.anomaly(SIGNAL, SCORES, 4.0, labels=labels, names=["left", "right"])
    top, bottom = figure.axes
    assert len(top.get_lines()) == 2
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["left", "right"]
    assert np.array_equal(top.get_lines()[1].get_ydata(), SIGNAL[:, 1])
    score, threshold, peaks = bottom.get_lines()
    assert np.array_equal(score.get_ydata(), SCORES)
    assert list(threshold.get_ydata()) == [4, 4]
    assert list(peaks.get_xdata()) == [55, 120] and list(peaks.get_ydata()) == [7, 6]
    assert [bounds(patch) for patch in bottom.patches] == [(49.5, 59.5), (119.5, 120.5)]
    assert [bounds(patch) for patch in top.patches] == [(49.5, 59.5), (119.5, 120.5), (39.5, 61.5)]  # the label last
    assert top.get_xlim() == bottom.get_xlim() == (-0.5, 199.5)
    assert top.get_ylim()[0] < SIGNAL.min() and top.get_ylim()[1] > SIGNAL.max()
    shown = [text.get_text() for text in bottom.get_legend().get_texts()]
    assert shown == ["score", "threshold 4", "event (2)", "label"]


def test_a_score_without_threshold_is_drawn_alone() -> None:
    figure = fl.plots.anomaly(SIGNAL[:, 0], SCORES)
    assert len(figure.axes[1].get_lines()) == 1 and not figure.axes[1].patches
    assert figure.axes[1].get_legend() is None
    assert figure.axes[0].get_ylabel() == "signal"


def test_the_events_are_joined_as_asked() -> None:
    figure = fl.plots.anomaly(SIGNAL, SCORES, 4.0, min_gap=100)
    assert [bounds(patch) for patch in figure.axes[1].patches] == [(49.5, 120.5)]
    assert not fl.plots.anomaly(SIGNAL, SCORES, 4.0, min_length=20).axes[1].patches


def test_many_points_events_and_channels() -> None:
    rng = np.random.default_rng(1)
    figure = fl.plots.anomaly(
        rng.normal(size=(20_000, 12)), rng.random(20_000), 0.99, names=[f"{k}" for k in range(12)]
    )
    figure.canvas.draw()
    top, bottom = figure.axes
    assert len(top.get_lines()) == 12 and top.get_legend() is None
    assert len(bottom.get_lines()) == 2  # hundreds of peaks would hide the score
    assert len(bottom.patches) == len(fl.metrics.anomaly.events(bottom.get_lines()[0].get_ydata(), 0.99))
    assert overlapping(figure, list(bottom.get_xticklabels())) == []


def test_one_step_and_gaps() -> None:
    figure = fl.plots.anomaly([1.0], [3.0], 2.0)
    assert figure.axes[0].get_xlim() == (-0.5, 0.5)
    assert [x for x in figure.axes[1].get_xticks() if abs(x) < 0.5] == [0]  # no half steps
    gap = SIGNAL.copy()
    gap[3] = np.nan
    assert np.isnan(fl.plots.anomaly(gap, SCORES).axes[0].get_lines()[0].get_ydata()[3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((SIGNAL, SCORES[:5], 4.0), r"signal has 200 steps and scores shape \(5,\)"),
        ((SIGNAL[None].repeat(2, 0), SCORES, 4.0), r"pass signal\[0\]"),
        ((SIGNAL, np.full(200, np.nan), 4.0), r"scores\[0\] is nan"),
    ],
)
def test_a_score_that_does_not_fit_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fl.plots.anomaly(*arguments)
    with pytest.raises(ValueError, match=r"labels shape \(3,\)"):
        fl.plots.anomaly(SIGNAL, SCORES, labels=[0, 1, 0])
    with pytest.raises(ValueError, match="names holds 1 names and the series has 2 channels"):
        fl.plots.anomaly(SIGNAL, SCORES, names=["a"])


# ----------------------------------------------------------------------------------------- attention


def test_attention_shows_the_series_and_its_weights() -> None:
    trained = model()
    figure = fl.plots.attention(trained, SIGNAL, names=["left", "right"])
    top, bottom = figure.axes
    weights = fl.attention_weights(trained, SIGNAL[None])[0]
    assert len(top.get_lines()) == 2
    assert np.array_equal(top.get_images()[0].get_array()[0], weights)
    assert np.array_equal(bottom.patches[0].get_data().values, weights)
    assert list(bottom.get_lines()[0].get_ydata()) == [1 / 200, 1 / 200]
    assert top.get_xlim() == bottom.get_xlim() == (-0.5, 199.5)
    assert bottom.get_ylim()[0] == 0 and bottom.get_ylim()[1] > weights.max()
    assert top.get_ylim()[0] < SIGNAL.min() and top.get_ylim()[1] > SIGNAL.max()
    assert bottom.get_ylabel() == "attention weight"
    again = fl.plots.attention(trained, SIGNAL[None])
    assert np.array_equal(again.axes[1].patches[0].get_data().values, weights)


def test_attention_of_token_ids() -> None:
    layers = [fl.Embedding(20, 4), fl.LSTM(4, return_sequences=True), fl.AttentionPool(4)]
    tokens = RNG.integers(0, 20, 12)
    top, bottom = fl.plots.attention(fl.Model(layers), tokens).axes
    assert top.get_ylabel() == "token" and list(top.get_lines()[0].get_ydata()) == tokens.tolist()
    assert len(bottom.patches[0].get_data().values) == 12


def test_attention_to_the_steps_of_a_decoder() -> None:
    layers = [fl.LSTM(4), fl.RepeatVector(3), fl.AttentionPool(2)]
    top, bottom = fl.plots.attention(fl.Model(layers, input_size=2), SIGNAL).axes
    assert not top.get_images()  # its steps are not those of the series
    assert bottom.get_xlim() == (-0.5, 2.5) and top.get_xlim() == (-0.5, 199.5)


def test_attention_needs_the_layer() -> None:
    with pytest.raises(ValueError, match="no fl.AttentionPool"):
        fl.plots.attention(fl.Model([fl.LSTM(4)], input_size=2), SIGNAL)
