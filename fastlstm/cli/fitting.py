"""Train the network of a task on cases. The weights are those of the estimator with the same settings and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._typing import Array
from ..data import Standardizer
from ..model import Model
from ..tasks import anomaly
from ..tasks.answers import regression_loss
from ..tasks.described import FITTED, description
from ..tasks.network import directed_pooling, network_layers
from ..tasks.preparation import preparing_layers
from ..tasks.scaling import input_scaler
from ..tasks.series import Series
from ..tasks.training import CLASSIFIER_UPDATES, Recipe, train
from ..training.callbacks import Callback
from ..training.history import History
from .cases import Cases
from .layout import Layout
from .processes import Processes

__all__ = ["KINDS", "Fitted", "Run", "classes_of", "fit", "series_of"]

KINDS = {"classify": "LSTMClassifier", "regress": "LSTMRegressor", "anomaly": "LSTMAnomalyDetector"}
"""The estimator of each task."""


@dataclass(frozen=True)
class Run:
    """How a training runs."""

    seed: int
    n_threads: int | None
    verbose: int
    callbacks: Sequence[Callback] = ()
    resume: bool = False
    team: Processes = field(default_factory=Processes)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `tasks.training.train` that are the same for all tasks."""
        team = self.team
        return {
            "callbacks": self.callbacks,
            "resume": self.resume,
            "shards": team.shards,
            "communicator": team.communicator,
            "deadline": team.deadline,
        }

    def seeds(self) -> tuple[int, int]:
        """Return the seeds of the model and of the order of the cases, as the estimators draw them."""
        draws = np.random.RandomState(self.seed).randint(2**31 - 1, size=2)
        return int(draws[0]), int(draws[1])


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, and what its file says of the estimator."""

    model: Model
    described: dict[str, Any]
    history: History


def series_of(cases: Cases, layout: Layout) -> Series:
    """Return the cases as the network takes them: an array if all have the same number of steps and channels vary."""
    if cases.equal:
        return Series(np.stack(cases.series), None, None if layout.wide else layout.features)
    return Series(cases.series, None, None if layout.wide else layout.features)


def classes_of(labels: Sequence[Any]) -> Array:
    """Return the different labels in order; integers, numbers or strings."""
    kinds = {type(label) for label in labels}
    if kinds <= {int, float} or len(kinds) == 1:
        return np.unique(np.array(labels))
    return np.unique(np.array([str(label) for label in labels]))


def fit(layout: Layout, cases: Cases, held: Cases | None, settings: dict[str, Any], run: Run) -> Fitted:
    """Train a network.

    Parameters
    ----------
    layout : Layout
    cases : Cases
        With labels, except for anomalies.
    held : Cases or None
        Cases by which the training stops, in place of a part of `cases`.
    settings : dict
        All settings of the task.
    run : Run

    Raises
    ------
    TypeError, ValueError
        If the data do not suffice.
    """
    work = {"classify": _classify, "regress": _regress, "anomaly": _detect}[layout.task]
    return work(layout, cases, held, settings, run)


def _recipe(settings: dict[str, Any], run: Run, **changes: Any) -> Recipe:
    names = Recipe.__dataclass_fields__
    given = {name: value for name, value in settings.items() if name in names}
    return Recipe(**{**given, "verbose": run.verbose, "n_threads": run.n_threads, **changes})


def _described(
    layout: Layout,
    cases: Cases,
    settings: dict[str, Any],
    run: Run,
    history: History,
    best: int | None,
    classes: Array | None = None,
    **fitted: Any,
) -> dict[str, Any]:
    flat = layout.wide and cases.equal
    epochs = history.first_epoch - 1 + history.epochs
    values = dict.fromkeys(FITTED)
    values.update(
        n_features_in_=len(cases.series[0]) if flat else layout.channels,
        n_iter_=epochs,
        best_epoch_=epochs if best is None else best,
        loss_curve_=list(history.history["loss"]),
        input_ndim_=2 if flat else 3,
        shuffle_seed_=run.seeds()[1],
        **fitted,
    )
    return description(
        KINDS[layout.task],
        {**settings, "random_state": run.seed},
        values,
        channel_names=None if layout.wide else layout.features,
        feature_names=layout.features if flat and len(layout.features) == len(cases.series[0]) else None,
        classes=classes,
    )


def _classify(layout: Layout, cases: Cases, held: Cases | None, settings: dict[str, Any], run: Run) -> Fitted:
    series = series_of(cases, layout)
    classes = classes_of(_labels(cases))
    if len(classes) < 2:
        raise ValueError(
            f"column {layout.target!r} has only the class {classes.tolist()[0]!r}, expected at least two: add cases of "
            "another class"
        )
    codes = _codes(cases, classes, layout)
    scaler = input_scaler(settings["scaler"], settings["missing"], series)
    layers = [
        *preparing_layers(
            series,
            scaler,
            deviations=settings["deviations"],
            differences=settings["differences"],
            stride=settings["stride"],
            whole=bool(settings["bidirectional"]),
        ),
        *_layers(settings, len(classes)),
    ]
    seed, order = run.seeds()
    model = Model(layers, precision=settings["precision"], seed=seed, scaler=scaler, feature_names=_names(layout))
    recipe = _recipe(settings, run, updates=CLASSIFIER_UPDATES)
    validation = None
    if held is not None:
        validation = (series_of(held, layout).data, _codes(held, classes, layout), None)
    history, stop = train(
        model,
        series,
        codes,
        recipe,
        "cross_entropy",
        recipe.new_optimizer(),
        class_weight=settings["class_weight"],
        groups=_together(cases),
        strata=codes,
        validation=validation,
        seed=order,
        **run.options,
    )
    model.classes = [str(label) for label in classes.tolist()]
    best = None if stop is None else stop.best_epoch
    return Fitted(model, _described(layout, cases, settings, run, history, best, classes), history)


def _regress(layout: Layout, cases: Cases, held: Cases | None, settings: dict[str, Any], run: Run) -> Fitted:
    levels = settings["quantiles"]
    seed, order = run.seeds()
    model = Model(
        _layers(settings, 1 if levels is None else len(levels)),
        precision=settings["precision"],
        seed=seed,
        scaler=input_scaler(settings["scaler"], settings["missing"], series_of(cases, layout)),
        target_scaler=Standardizer(),
        feature_names=_names(layout),
    )
    recipe = _recipe(settings, run)
    validation = None
    if held is not None:
        validation = (series_of(held, layout).data, np.array(_labels(held), np.float64), None)
    history, stop = train(
        model,
        series_of(cases, layout),
        np.array(_labels(cases), np.float64),
        recipe,
        regression_loss(settings["loss"], levels),
        recipe.new_optimizer(),
        groups=_together(cases),
        validation=validation,
        seed=order,
        **run.options,
    )
    best = None if stop is None else stop.best_epoch
    return Fitted(model, _described(layout, cases, settings, run, history, best), history)


def _detect(layout: Layout, cases: Cases, held: Cases | None, settings: dict[str, Any], run: Run) -> Fitted:
    method = settings["method"]
    window, warmup = anomaly.plan(cases.series, method, settings["window"], settings["warmup"])
    trained, normal = _normal_parts(cases, held, settings, window, warmup)
    seed, order = run.seeds()
    sizes = settings["hidden_size"], settings["num_layers"], settings["dropout"]
    layers = anomaly.detector_layers(method, layout.channels, window, *sizes)
    everything = [*trained, *normal]
    model = Model(
        layers,
        precision=settings["precision"],
        seed=seed,
        scaler=anomaly.detector_scaler(trained, everything, settings["missing"]),
        feature_names=_names(layout),
    )
    assert model.scaler is not None
    pairs = [anomaly.window_pairs(method, part, window, model.scaler) for part in (trained, normal)]
    recipe = _recipe(settings, run)
    history, stop = train(
        model,
        Series(pairs[0][0], None),
        pairs[0][1],
        recipe,
        "mse",
        recipe.new_optimizer(),
        validation=pairs[1] if settings["early_stopping"] else None,
        seed=order,
        **run.options,
    )
    found = anomaly.calibrated(model, method, normal, window, warmup, settings["quantile"], run.n_threads)
    fitted: dict[str, Any] = {
        "threshold_": found.threshold,
        "offset_": found.offset,
        "window_": window,
        "warmup_": warmup,
        "normal_error_": found.normal_error,
    }
    best = None if stop is None else stop.best_epoch
    return Fitted(model, _described(layout, cases, settings, run, history, best, **fitted), history)


def _normal_parts(
    cases: Cases, held: Cases | None, settings: dict[str, Any], window: int, warmup: int
) -> tuple[list[Array], list[Array]]:
    """Return the series to train on, and those on which the threshold is chosen."""
    method = settings["method"]
    if held is not None:
        anomaly.check_length(held.series, method, window, warmup)
        return cases.series, held.series
    trained, normal = anomaly.normal_parts(cases.series, method, settings["validation_fraction"], window, warmup)
    if normal is None:
        raise ValueError(
            f"the series has {len(cases.series[0])} steps, too few to hold out a part after a gap of the window of "
            f"{window}, on which the threshold is chosen: give a longer one, --validation FILE with other normal data, "
            "or --set window=N"
        )
    return trained, normal


def _layers(settings: dict[str, Any], outputs: int) -> list[Any]:
    return network_layers(
        outputs,
        hidden_size=settings["hidden_size"],
        num_layers=settings["num_layers"],
        bidirectional=settings["bidirectional"],
        dropout=settings["dropout"],
        pooling=directed_pooling(settings["pooling"], settings["bidirectional"]),
    )


def _names(layout: Layout) -> tuple[str, ...] | None:
    return None if layout.wide else layout.features


def _labels(cases: Cases) -> list[Any]:
    assert cases.labels is not None
    return cases.labels


def _codes(cases: Cases, classes: Array, layout: Layout) -> Array:
    known = classes.tolist()
    numbers = {label: number for number, label in enumerate(known)}
    texts = {str(label): number for label, number in numbers.items()}
    codes = []
    for label in _labels(cases):
        code = numbers.get(label, texts.get(str(label)))
        if code is None:
            raise ValueError(f"column {layout.target!r} holds the class {label!r}, expected one of {known}")
        codes.append(code)
    return np.array(codes)


def _together(cases: Cases) -> Array | None:
    return None if cases.together is None else np.array([str(one) for one in cases.together])
