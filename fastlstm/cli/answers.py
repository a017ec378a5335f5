"""What a model answers, as the columns of the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import Array
from ..losses import Quantile
from ..tasks import anomaly
from ..tasks.answers import class_probabilities, median_of, sorted_quantiles
from ..tasks.series import Series
from .cases import Cases
from .errors import refusing
from .layout import Layout
from .model_file import SavedModel

__all__ = ["Answers", "answer", "answer_series", "case_columns", "score_columns", "score_row", "scores_of"]


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers for cases."""

    labels: list[Any]
    """The prediction of each case."""
    values: Array
    """(n, classes) probabilities, (n, quantiles), or (n, 0): what is told of each case besides."""

    def rows(self, names: list[Any]) -> list[list[Any]]:
        """Return the rows of the output, below `case_columns`."""
        return [[name, label, *values] for name, label, values in zip(names, self.labels, self.values, strict=True)]


def answer_series(saved: SavedModel, series: list[Array], n_threads: int | None) -> Answers:
    """Return the answers of a classifier or a regressor for series (T_i, channels)."""
    equal = len({len(one) for one in series}) == 1
    cases = Series(np.stack(series) if equal else series, None)
    if saved.task == "classify":
        probabilities = class_probabilities(saved.model, cases, n_threads)
        assert saved.classes is not None
        return Answers([saved.classes[k] for k in probabilities.argmax(axis=1).tolist()], probabilities)
    out = np.asarray(saved.model.predict(cases.data, n_threads=n_threads)).reshape(len(series), -1)
    if isinstance(saved.model.loss, Quantile):
        out = sorted_quantiles(out)
        return Answers(list(median_of(saved.model.loss, out)), out)
    return Answers(list(out[:, 0]), out[:, :0])


def answer(saved: SavedModel, cases: Cases, n_threads: int | None) -> Answers:
    """Return the answers for the cases of a table."""
    with refusing():
        return answer_series(saved, cases.series, n_threads)


def case_columns(saved: SavedModel) -> list[str]:
    """Return the names of the output's columns for a case."""
    if saved.task == "classify":
        assert saved.classes is not None
        more = [f"p_{label}" for label in saved.classes]
    else:
        more = [] if saved.quantiles is None else [f"q{level:g}" for level in saved.quantiles]
    return [name_column(saved.layout), "prediction", *more]


def name_column(layout: Layout) -> str:
    """Return the name of the column that tells the cases apart."""
    return layout.group or layout.id or "row"


def score_columns(layout: Layout) -> list[str]:
    """Return the names of the output's columns for a scored step."""
    return [*([layout.group] if layout.group else []), layout.time or "row", "score", "anomaly"]


def score_row(saved: SavedModel, group: Any, place: Any, score: float) -> list[Any]:
    """Return the row of the output for a scored step, below `score_columns`."""
    return [*([group] if saved.layout.group else []), place, score, int(score > saved.threshold)]


def scores_of(saved: SavedModel, cases: Cases, n_threads: int | None) -> list[Array]:
    """Return the scores of the steps of each series."""
    method = saved.parameters["method"]
    window, warmup = saved.window
    with refusing():
        anomaly.check_length(cases.series, method, window, warmup)
        return anomaly.series_scores(saved.model, method, cases.series, window, warmup, saved.normal_error, n_threads)
