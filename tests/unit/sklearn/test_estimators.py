"""Estimators on data as people have them: three axes, unequal lists, NaN, tables; and with scikit-learn's tools."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline

import fastlstm as fl
from fastlstm.sklearn import LSTMAnomalyDetector, LSTMClassifier, LSTMFeatures, LSTMRegressor, load
from fastlstm.tasks.described import listed

RNG = np.random.default_rng(7)
N, T, C = 60, 9, 2
X = RNG.standard_normal((N, T, C))
LENGTHS = 4 + np.arange(N) % 6
LIST = [x[:length] for x, length in zip(X, LENGTHS, strict=True)]
PADDED = X.copy()
for row, length in zip(PADDED, LENGTHS, strict=True):
    row[length:] = np.nan
LABELS = np.where([x[:, 0].mean() > 0 for x in LIST], "rise", "fall")
VALUES = np.array([x[:, 1].sum() for x in LIST])
SMALL = {"hidden_size": 6, "epochs": 15, "learning_rate": 0.02, "random_state": 0}
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lengths": (np.nan_to_num(PADDED, nan=1e30), {"lengths": LENGTHS}),
    "list": (LIST, {}),
    "NaN at the end": (PADDED, {}),
}


def rows(data: Any, chosen: np.ndarray) -> Any:
    return [data[k] for k in chosen] if isinstance(data, list) else data[chosen]


# ------------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_unequal_series_are_the_same(form: str) -> None:
    data, given = FORMS[form]
    reference = LSTMClassifier(**SMALL).fit(LIST, LABELS)
    fitted = LSTMClassifier(**SMALL).fit(data, LABELS, **given)
    np.testing.assert_array_equal(fitted.model_.flat_parameters, reference.model_.flat_parameters)
    np.testing.assert_array_equal(fitted.predict_proba(data, **given), reference.predict_proba(LIST))
    assert fitted.n_features_in_ == C and fitted.classes_.tolist() == ["fall", "rise"]
    assert fitted.score(LIST, LABELS) > 0.85


def test_one_channel_may_have_no_axis() -> None:
    flat, deep = X[:, :, 0], X[:, :, :1]
    fits = [LSTMRegressor(**SMALL).fit(data, VALUES) for data in (flat, flat.tolist(), deep, list(deep), list(flat))]
    assert [fit.n_features_in_ for fit in fits] == [T, T, 1, 1, T]
    for fit in fits:
        for data in (flat, deep):
            np.testing.assert_array_equal(fit.predict(data), fits[0].predict(flat))
    with pytest.raises(ValueError, match=r"5 features, but LSTMRegressor is expecting 9"):
        fits[0].predict(flat[:, :5])
    assert fits[2].predict(flat[:, :5]).shape == (N,)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_tables(kind: str) -> None:
    frames = pytest.importorskip(kind)
    tables = [frames.DataFrame({"a": x[:, 0], "b": x[:, 1]}) for x in LIST]
    fitted = LSTMRegressor(**SMALL).fit(tables, VALUES)
    assert fitted.channel_names_ == ("a", "b")
    expected = LSTMRegressor(**SMALL).fit(LIST, VALUES).predict(LIST)
    np.testing.assert_array_equal(fitted.predict(tables), expected)
    np.testing.assert_array_equal(fitted.predict([one[["b", "a"]] for one in tables]), expected)
    with pytest.raises(ValueError, match=r"X\[1\] has the columns \['a'\], expected \['a', 'b'\]: \['b'\] are missing"):
        fitted.predict([tables[0], tables[1][["a"]]])


def test_names_of_the_steps_are_checked() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, :, 0], columns=[f"t{k}" for k in range(T)])
    fitted = LSTMClassifier(**SMALL).fit(table, LABELS)
    assert fitted.feature_names_in_.tolist() == table.columns.tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(table[table.columns[::-1]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[0, 0], "1D array"),
        (X[None], r"Found array with dim 4"),
        ([X[0], X[1][:, :1]], r"X\[1\] has 1 channels, expected 2"),
        ([X[0], X[1][:0]], r"X\[1\] has shape \(0, 2\)"),
        (np.where(np.arange(T)[:, None] == 3, np.nan, X), r"X holds nan at \[case, step, feature\] = \[0, 3, 0\]"),
        (np.where(np.arange(N)[:, None, None] == 3, np.nan, X), r"X\[3\] holds only NaN"),
        (X[:, :0], "expected at least one"),
    ],
)
def test_other_data_are_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL).fit(data, LABELS[: len(data)])


def test_other_numbers_of_channels_are_refused() -> None:
    fitted = LSTMClassifier(**SMALL).fit(X, LABELS)
    with pytest.raises(ValueError, match="X has 1 channels, but LSTMClassifier was fitted with 2"):
        fitted.predict(X[:, :, :1])


def test_channels_first_causes_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"2 steps of 9 channels.*from_numpy3d"):
        LSTMClassifier(**SMALL).fit(X.transpose(0, 2, 1), LABELS)


# ------------------------------------------------------------------------------------------------ labels, targets


@pytest.mark.parametrize("labels", [LABELS, LABELS == "rise", np.where(LABELS == "rise", 7, -2), LABELS.astype(object)])
def test_labels_of_every_kind(labels: np.ndarray) -> None:
    fitted = LSTMClassifier(**SMALL).fit(X, labels)
    answer = fitted.predict(X)
    assert answer.dtype == labels.dtype and (answer == labels).mean() > 0.7
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1, rtol=0, atol=1e-15)
    # Two logarithms, each within 1.3 units of the last place.
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(fitted.predict_proba(X)), rtol=4e-16, atol=0)


def test_class_weights_are_given_by_label() -> None:
    rare = LSTMClassifier(**SMALL, class_weight={"rise": 0.0}).fit(X, LABELS)
    assert set(rare.predict(X)) == {"fall"}
    with pytest.raises(ValueError, match="class_weight names 'up', expected one of"):
        LSTMClassifier(**SMALL, class_weight={"up": 1.0}).fit(X, LABELS)


def test_several_targets_and_quantiles() -> None:
    both = np.stack([VALUES, -3 * VALUES + 1e6], axis=1)
    fitted = LSTMRegressor(**SMALL).fit(LIST, both)
    assert fitted.predict(LIST).shape == (N, 2) and fitted.score(LIST, both) > 0.5
    quantiles = LSTMRegressor(quantiles=(0.9, 0.1, 0.5), **SMALL).fit(LIST, VALUES)
    low, middle, high = quantiles.predict_quantiles(LIST).T
    assert (low <= middle).all() and (middle <= high).all() and (low < high).any()
    np.testing.assert_array_equal(middle, quantiles.predict(LIST))
    assert 0.6 < np.mean((low <= VALUES) & (VALUES <= high)) <= 1
    for wrong, message in (((0.1, 0.9), r"must hold 0.5"), ((0.5, 1.5), "between 0 and 1")):
        with pytest.raises(ValueError, match=message):
            LSTMRegressor(quantiles=wrong, **SMALL).fit(LIST, VALUES)
    with pytest.raises(ValueError, match="for one target"):
        LSTMRegressor(quantiles=(0.5,), **SMALL).fit(LIST, both)
    with pytest.raises(ValueError, match="predict_quantiles needs LSTMRegressor"):
        fitted.predict_quantiles(LIST)


# ------------------------------------------------------------------------------------------------ training


def test_early_stopping_keeps_groups_together_and_the_best_weights() -> None:
    groups = np.arange(N) // 6
    seen: list[np.ndarray] = []

    class Looking(LSTMClassifier):
        def _train(self, *args: Any, **options: Any) -> None:
            seen.append(options["groups"])
            super()._train(*args, **options)

    fitted = Looking(**{**SMALL, "epochs": 60}, early_stopping=True, n_iter_no_change=3, validation_fraction=0.2)
    fitted.fit(LIST, LABELS, groups=groups)
    assert fitted.best_epoch_ <= fitted.n_iter_ < 60
    losses = fitted.history_.history["val_loss"]
    assert losses[fitted.best_epoch_ - 1] == min(losses) and len(fitted.loss_curve_) == fitted.n_iter_
    assert seen[0] is groups
    with pytest.raises(ValueError, match=r"groups has shape \(3,\)"):
        fitted.fit(LIST, LABELS, groups=groups[:3])


def test_the_part_held_out_consists_of_whole_groups() -> None:
    from fastlstm.tasks.holdout import hold_out

    groups = np.repeat(["a", "b", "c", "d", "e"], [1, 9, 5, 5, 20])
    for seed in range(20):
        train, held = hold_out(40, 0.2, seed, groups=groups)
        assert held is not None and sorted([*train, *held]) == list(range(40))
        assert not set(groups[train]) & set(groups[held]) and len(train) > 0
    train, held = hold_out(30, 0.2, 0, strata=np.arange(30) % 3)
    assert held is not None and np.bincount(np.arange(30)[held] % 3).tolist() == [2, 2, 2]
    assert hold_out(1, 0.5, 0)[1] is None and hold_out(5, 0.2, 0, groups=np.zeros(5))[1] is None


def test_validation_data_and_weights() -> None:
    held = (rows(LIST, np.arange(40, N)), LABELS[40:])
    fitted = LSTMClassifier(**SMALL, early_stopping=True).fit(LIST[:40], LABELS[:40], validation_data=held)
    assert "val_loss" in fitted.history_.history
    weight = np.zeros(N)
    weight[:30] = 2.0
    weighted = LSTMRegressor(**SMALL).fit(LIST, np.where(weight, VALUES, 1e9), sample_weight=weight)
    assert np.abs(weighted.predict(LIST)[:30] - VALUES[:30]).max() < 1e9 / 2
    with pytest.raises(ValueError, match="validation_data must be"):
        fitted.fit(LIST, LABELS, validation_data=held[0])


@pytest.mark.parametrize("kind", [LSTMClassifier, LSTMRegressor])
def test_partial_fit_and_warm_start_go_on(kind: Any) -> None:
    y, first = (LABELS, {"classes": ["fall", "rise"]}) if kind is LSTMClassifier else (VALUES, {})
    settings = {"hidden_size": 6, "learning_rate": 0.02, "random_state": 0}
    parts = kind(**settings)
    for k in range(4):
        parts.partial_fit(LIST, y, **(first if k == 0 else {}))
    whole = kind(**settings, epochs=4, schedule=None).fit(LIST, y)
    warm = kind(**settings, epochs=2, schedule=None, warm_start=True).fit(LIST, y).fit(LIST, y)
    for other in (whole, warm):
        np.testing.assert_array_equal(other.model_.flat_parameters, parts.model_.flat_parameters)
        assert other.n_iter_ == parts.n_iter_ == 4 and other.loss_curve_ == parts.loss_curve_
    if kind is LSTMClassifier:
        with pytest.raises(ValueError, match="classes must be given"):
            kind(**settings).partial_fit(LIST, y)
        with pytest.raises(ValueError, match=r"y\[0\] is 'up', expected one of the classes"):
            parts.partial_fit(LIST, np.where(np.arange(N), y, "up"))


def test_layers_optimizer_and_pooling() -> None:
    layers = [fl.LSTM(5, return_sequences=True), fl.MaxPool()]
    optimizer = fl.SGD(0.1, momentum=0.9)
    fitted = LSTMClassifier(layers=layers, optimizer=optimizer, epochs=2, random_state=0).fit(X, LABELS)
    assert repr(fitted.model_) == "Model([LSTM(hidden_size=5, return_sequences=True), MaxPool(), Dense(output_size=2)])"
    assert not layers[0].parameters and optimizer.iterations == 0
    for pooling in ("last", "mean", "max", "attention"):
        assert LSTMClassifier(pooling=pooling, dropout=0.2, num_layers=2, **SMALL).fit(X, LABELS).score(X, LABELS) > 0.6


def test_seeds() -> None:
    once, again = (LSTMClassifier(**SMALL).fit(X, LABELS).model_.flat_parameters for _ in range(2))
    np.testing.assert_array_equal(once, again)
    free = [LSTMClassifier(**{**SMALL, "random_state": None}).fit(X, LABELS) for _ in range(2)]
    assert not np.array_equal(free[0].model_.flat_parameters, free[1].model_.flat_parameters)


# ------------------------------------------------------------------------------------------------ scikit-learn's tools


def test_grid_search_gives_the_same_bits_for_any_number_of_jobs() -> None:
    found = []
    for jobs in (1, 2):
        search = GridSearchCV(LSTMClassifier(**SMALL), {"hidden_size": [3, 6]}, cv=3, n_jobs=jobs).fit(LIST, LABELS)
        found.append((search.cv_results_["mean_test_score"].tolist(), search.best_estimator_.model_.flat_parameters))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("data", [X, LIST], ids=["array", "list"])
def test_validation_tools(data: Any) -> None:
    classifier = LSTMClassifier(**SMALL)
    assert cross_val_predict(classifier, data, LABELS, cv=3, method="predict_proba").shape == (N, 2)
    assert cross_val_score(classifier, data, LABELS, cv=GroupKFold(3), groups=np.arange(N) // 6).shape == (3,)
    scores = cross_validate(LSTMRegressor(**SMALL), data, VALUES, cv=3, scoring=("r2", "neg_mean_absolute_error"))
    assert scores["test_r2"].shape == (3,)


def test_ensembles() -> None:
    members = [("a", LSTMClassifier(**SMALL)), ("b", LSTMClassifier(**{**SMALL, "hidden_size": 4}))]
    for made in (
        VotingClassifier(members, voting="soft"),
        StackingClassifier(members, LogisticRegression(), cv=3),
        CalibratedClassifierCV(members[0][1], cv=3),
    ):
        assert made.fit(X, LABELS).predict(X).shape == (N,)
    assert VotingClassifier(members).fit(LIST, LABELS).score(LIST, LABELS) > 0.7


def test_metadata_routing() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        data, given = FORMS["lengths"]
        classifier = LSTMClassifier(**SMALL, early_stopping=True)
        classifier.set_fit_request(sample_weight=True, lengths=True, groups=True)
        classifier.set_predict_request(lengths=True).set_score_request(lengths=True, sample_weight=True)
        params = {"sample_weight": np.ones(N), "groups": np.arange(N) // 6, **given}
        routed = cross_validate(classifier, data, LABELS, cv=GroupKFold(3), params=params, error_score="raise")
        assert routed["test_score"].shape == (3,)


def test_features_in_a_pipeline() -> None:
    features = LSTMFeatures(5, epochs=3, random_state=0)
    pipeline = make_pipeline(features, LogisticRegression()).fit(LIST, LABELS)
    assert pipeline.predict(LIST).shape == (N,)
    assert features.get_feature_names_out().tolist() == [f"lstmfeatures{k}" for k in range(5)]
    for pooling in ("last", "mean", "max"):
        for method in ("forecast", "random"):
            made = LSTMFeatures(5, pooling=pooling, method=method, epochs=3, random_state=0).fit_transform(X)
            assert made.shape == (N, 5) and np.isfinite(made).all()
    pandas = pytest.importorskip("pandas")
    table = LSTMFeatures(3, epochs=1).set_output(transform="pandas").fit_transform(X)
    assert isinstance(table, pandas.DataFrame) and list(table.columns) == [
        "lstmfeatures0",
        "lstmfeatures1",
        "lstmfeatures2",
    ]


# ------------------------------------------------------------------------------------------------ anomalies


def sine(steps: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.1, (steps, 2))
    t = np.arange(steps)[:, None]
    return np.sin(t / np.array([[4.0, 7.0]])) + noise


@pytest.mark.parametrize("method", ["forecast", "reconstruction"])
@pytest.mark.parametrize("one", [True, False], ids=["one series", "several"])
def test_anomalies_are_found(method: str, one: bool) -> None:
    normal = [sine(2000, 0)] if one else [sine(250 + k, k) for k in range(8)]
    detector = LSTMAnomalyDetector(method, hidden_size=16, window=32, random_state=0).fit(normal)
    odd = sine(600, 99)
    odd[300:320, 1] = 0.0
    scores, usual = detector.score_steps([odd, sine(600, 98)])
    assert scores.shape == (600,) and np.median(usual) < 1.5 and np.mean(usual > detector.threshold_) < 0.05
    assert scores[300:330].max() > 3 * np.quantile(np.delete(scores, np.s_[270:360]), 0.99)
    wild = np.where(np.arange(600)[:, None] > 200, 5.0, odd)
    anomalous, normal_score = detector.decision_function([wild, sine(600, 97)])
    # The limit for whole series comes from one or two that were held out, and is no surer than that.
    assert anomalous < 0 and abs(normal_score) < 0.1 * abs(anomalous)
    if one:
        assert detector.predict([wild, sine(600, 97)]).tolist() == [-1, 1]


def test_the_stream_has_the_scores_of_the_whole_series() -> None:
    detector = LSTMAnomalyDetector(hidden_size=6, epochs=3, random_state=0).fit(sine(400, 0)[None])
    new = np.stack([sine(50, 1), sine(50, 2)])
    stream = detector.stream(2)
    steps = np.stack([stream.step(new[:, t]) for t in range(50)], axis=1)
    np.testing.assert_array_equal(steps, np.stack(detector.score_steps(new)))
    np.testing.assert_array_equal(stream.is_anomaly(steps), steps > detector.threshold_)
    with pytest.raises(ValueError, match='use method="forecast"'):
        LSTMAnomalyDetector("reconstruction", epochs=1).fit(X).stream()


def test_events_of_the_detector() -> None:
    detector = LSTMAnomalyDetector(hidden_size=6, epochs=3, random_state=0).fit(sine(400, 0)[None])
    odd = sine(80, 1)
    odd[40:43] = odd[50] = 20.0
    new = [odd, sine(60, 2)]
    scores = detector.score_steps(new)
    level = scores[1].max() + 1
    found = detector.events(new, threshold=level, min_gap=15)
    assert found == [fl.metrics.anomaly.events(one, level, min_gap=15) for one in scores] and found[1] == []
    ((start, stop, peak, score),) = found[0]
    assert start == 40 and stop > 50 and score == scores[0][peak] == scores[0].max()
    assert [len(one) for one in detector.events(new)] == [
        len(fl.metrics.anomaly.events(one, detector.threshold_)) for one in scores
    ]
    with pytest.raises(ValueError, match="min_gap"):
        detector.events(new, min_gap=0)


def test_thresholds_come_from_the_part_that_is_held_out() -> None:
    quiet, loud = sine(300, 0), sine(300, 1)
    loud[:, 0] *= 5  # in the cases that are held out only
    settings = {"hidden_size": 6, "epochs": 5, "random_state": 0, "validation_fraction": 0.25, "quantile": 0.9}
    several = LSTMAnomalyDetector(**settings).fit([quiet, quiet, quiet, loud])
    (scores,) = several.score_steps([loud])
    assert several.warmup_ == 8 and several.threshold_ == np.quantile(scores[8:], 0.9)
    # Channel by channel the errors are relative to those on the held-out case, so that their mean is 1.
    np.testing.assert_allclose(scores[8:].mean(), 1.0, rtol=1e-9)
    assert several.score_samples([quiet])[0] > -0.9
    one = LSTMAnomalyDetector(**settings, window=20).fit([np.concatenate([quiet, loud])])
    (tail,) = one.score_steps([np.concatenate([quiet, loud])[450:]])  # the last quarter of 600 steps
    assert one.warmup_ == 2 and one.threshold_ == np.quantile(tail[2:], 0.9) == -one.offset_


@pytest.mark.parametrize("method", ["forecast", "reconstruction"])
def test_a_single_short_series_gives_thresholds_with_a_warning(method: str) -> None:
    detector = LSTMAnomalyDetector(method, window=20, hidden_size=4, epochs=2, random_state=0)
    with pytest.warns(UserWarning, match="one series of 20 steps, too short to hold out a part.*window of 20"):
        detector.fit(sine(20, 0)[None])
    detector.fit(sine(70, 0)[None])  # no warning: 30 steps, a gap of 20, 20 steps
    assert LSTMAnomalyDetector(method, hidden_size=4, epochs=1).fit(sine(70, 0)[None]).window_ == 17
    assert LSTMAnomalyDetector(method, hidden_size=4, epochs=1).fit(list(X)).window_ == T


def test_the_warm_up_is_not_scored() -> None:
    settings = {"hidden_size": 4, "epochs": 2, "random_state": 0}
    detector = LSTMAnomalyDetector(**settings, warmup=3).fit(sine(400, 0)[None])
    cases = [sine(5, 1), sine(50, 2)]
    cases[0][:2] = 100.0
    scores = detector.score_steps(cases)
    for one, mean in zip(scores, detector.score_samples(cases), strict=True):
        assert (one[:3] == 0).all() and (one[3:] > 0).all() and mean == pytest.approx(-one[3:].mean(), rel=1e-14)
    with pytest.raises(ValueError, match="a series has 3 steps, expected more than the warm-up of 3"):
        detector.score_steps([sine(3, 1)])
    with pytest.raises(ValueError, match="warmup is 9, and the shortest series has 9 steps"):
        LSTMAnomalyDetector(**settings, warmup=9).fit(X)
    windows = LSTMAnomalyDetector("reconstruction", **settings, window=8, warmup=7).fit(X)
    assert windows.warmup_ == 0 and (windows.score_steps(X[:1])[0] > 0).all()


def test_the_start_of_a_series_does_not_drown_its_score() -> None:
    # Waves of a random phase: of the first step nothing is known, after some steps everything.
    rng = np.random.default_rng(0)
    waves = np.sin(rng.uniform(0, 6, (120, 1)) + np.arange(60) / 3)[:, :, None]
    odd = waves[100:] + rng.normal(0, 0.03, waves[100:].shape)
    settings = {"hidden_size": 16, "epochs": 60, "random_state": 0}
    ranks = [
        fl.metrics.roc_auc(
            np.repeat([0, 1], 20),
            -LSTMAnomalyDetector(**settings, warmup=warmup)
            .fit(waves[:80])
            .score_samples(np.concatenate([waves[80:100], odd])),
        )
        for warmup in (1, "auto")
    ]
    assert ranks[1] > 0.98 and ranks[1] > ranks[0]


def test_series_that_are_too_short_for_the_detector() -> None:
    with pytest.raises(ValueError, match="window is 20, and the shortest series has 9 steps"):
        LSTMAnomalyDetector("reconstruction", window=20, epochs=1).fit(X)
    detector = LSTMAnomalyDetector("reconstruction", window=8, epochs=1).fit(X)
    with pytest.raises(ValueError, match="a series has 5 steps, expected at least the window of 8"):
        detector.score_steps(X[:, :5])


# ------------------------------------------------------------------------------------------------ deployment


def fitted_ones() -> dict[str, Any]:
    return {
        "classifier": LSTMClassifier(**SMALL, class_weight={"rise": 2.0}).fit(LIST, LABELS),
        "integers": LSTMClassifier(**SMALL).fit(X[:, :, 0], np.where(LABELS == "rise", 7, -2)),
        "regressor": LSTMRegressor(**SMALL, layers=[fl.LSTM(4)]).fit(LIST, VALUES),
        "quantiles": LSTMRegressor(**SMALL, quantiles=(0.1, 0.5)).fit(LIST, VALUES),
        "detector": LSTMAnomalyDetector(hidden_size=4, epochs=2, random_state=0).fit(LIST),
        "features": LSTMFeatures(4, epochs=2, random_state=0).fit(LIST),
    }


@pytest.mark.parametrize("name", ["classifier", "integers", "regressor", "quantiles", "detector", "features"])
def test_files_pickles_and_clones(name: str, tmp_path: Path) -> None:
    fitted = fitted_ones()[name]
    data = X[:, :, 0] if name == "integers" else LIST
    answer = (lambda one: one.transform(data)) if name == "features" else (lambda one: one.predict(data))
    fitted.save(tmp_path / "m.safetensors")
    for other in (pickle.loads(pickle.dumps(fitted)), load(tmp_path / "m.safetensors")):
        np.testing.assert_array_equal(answer(other), answer(fitted))
        assert repr(other) == repr(fitted) and other.n_features_in_ == fitted.n_features_in_
        assert other.loss_curve_ == fitted.loss_curve_
    assert repr(fl.load(tmp_path / "m.safetensors")) == repr(fitted.model_)
    fresh = clone(fitted)
    assert not hasattr(fresh, "model_")
    assert fresh.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()


def test_files_that_are_no_estimators(tmp_path: Path) -> None:
    fl.Model([fl.LSTM(2)], input_size=1).save(tmp_path / "model")
    with pytest.raises(ValueError, match="a file without an estimator: fl.load reads the model"):
        load(tmp_path / "model")
    with pytest.raises(ValueError, match="optimizer=SGD.* cannot be saved"):
        LSTMRegressor(optimizer=fl.SGD(), epochs=1).fit(X, VALUES).save(tmp_path / "m")


def test_lists_in_files_hold_plain_values_only() -> None:
    assert listed((1, np.float32(0.5), None)) == {"tuple": [1, 0.5, None]}
    assert listed(np.arange(2)) == [0, 1]
    for other in (5, "ab", [[1]], np.array(["2024-01-01"], "M8[D]"), [np.datetime64("2024-01-01")]):
        assert listed(other) is None


def test_streams_and_onnx(tmp_path: Path) -> None:
    regressor = LSTMRegressor(**SMALL).fit(X, VALUES)
    stream = regressor.stream(N)
    for t in range(T):
        out = stream.step(X[:, t])
    np.testing.assert_array_equal(out[:, 0], regressor.predict(X))
    with pytest.raises(ValueError, match=r"LSTMClassifier\(bidirectional=True\) needs the end.*bidirectional=False"):
        LSTMClassifier(**SMALL).fit(X, LABELS).stream()
    with pytest.raises(ValueError, match=r"LSTMClassifier\(bidirectional=True\) needs the end.*bidirectional=False"):
        LSTMClassifier(**SMALL).fit(X, LABELS).to_c("net")
    assert regressor.to_c("net", selftest=3).outputs == 1
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    regressor.to_onnx(tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(None, {"x": X.astype("f4")})
    np.testing.assert_allclose(found[:, 0], regressor.predict(X), rtol=0, atol=1e-4)  # float32 throughout


def test_weights_of_8_bits(tmp_path: Path) -> None:
    fitted = LSTMClassifier(**SMALL).fit(X, LABELS)
    before = fitted.predict_proba(X)
    for small in (fitted.quantize(), fitted.quantize(X)):
        assert small.model_.quantized and not fitted.model_.quantized
        assert (small.predict(X) == fitted.predict(X)).mean() > 0.95
        small.save(tmp_path / "small.safetensors")
        again = load(tmp_path / "small.safetensors")
        np.testing.assert_array_equal(again.predict_proba(X), small.predict_proba(X))
        with pytest.raises(RuntimeError, match="8 bits"):
            small.partial_fit(X, LABELS)
    np.testing.assert_array_equal(fitted.predict_proba(X), before)
    assert not small.fit(X, LABELS).model_.quantized


def test_the_number_of_threads_changes_nothing() -> None:
    answers = [LSTMClassifier(**SMALL, n_jobs=jobs).fit(X, LABELS).predict_proba(X) for jobs in (None, 1, 2, -1)]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    with pytest.raises(ValueError, match="n_jobs"):
        LSTMClassifier(**SMALL, n_jobs=0).fit(X, LABELS)


def test_files_are_not_trusted(tmp_path: Path) -> None:
    """Change each value of the description in turn: a clear error, or an estimator that predicts."""
    from fastlstm.formats import safetensors

    original = LSTMClassifier(**SMALL, class_weight={"rise": 2.0}).fit(LIST, LABELS)
    original.save(tmp_path / "m")
    tensors, config = safetensors.load(tmp_path / "m")
    odd = [
        None,
        -1,
        0,
        3,
        1e308,
        "x",
        "<U1000000000",
        [],
        ["a", "b"],
        {},
        {"array": "x"},
        {"tuple": 3},
        {"dict": 1},
        True,
    ]
    refused = 0
    places = [(key,) for key in config["estimator"]]
    places += [(group, key) for group in ("parameters", "fitted", "classes_") for key in config["estimator"][group]]
    for place in places:
        for value in odd:
            changed = copy.deepcopy(config)
            inside = changed["estimator"]
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            safetensors.save(tmp_path / "changed", tensors, changed)
            try:
                found = load(tmp_path / "changed")
            except ValueError as error:
                refused += 1
                assert "the file does not describe an estimator" in str(error) or "without an estimator" in str(error)
            else:
                assert found.predict(LIST).shape == (N,)
    assert refused > len(places) * len(odd) / 3


@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor, LSTMAnomalyDetector, LSTMFeatures])
def test_one_series_needs_an_axis_of_cases(estimator: Any) -> None:
    with pytest.raises(ValueError, match=r"X is a 1D array of shape \(20,\), expected .*X\[None\] is one series of 20"):
        estimator().fit(np.arange(20.0), np.arange(20) % 2)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"X.to_numpy\(\)\[None\] is one series"):
        estimator().fit(pandas.Series(np.arange(20.0)), np.arange(20) % 2)


@pytest.mark.parametrize("estimator", [LSTMAnomalyDetector, LSTMFeatures])
def test_rows_of_a_few_steps_may_have_been_meant_as_one_series(estimator: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((600, 2))
    with pytest.warns(UserWarning, match=r"600 series of 2 steps. If its rows are .* pass X\[None\]"):
        estimator(epochs=1).fit(rows)
    pandas = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match=r"600 series of 2 steps. If its rows are .* pass numpy.asarray\(X\)\[None\]"):
        estimator(epochs=1).fit(pandas.DataFrame(rows, columns=["flow", "heat"]))


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_columns_that_are_not_numbers_are_named(package: str) -> None:
    frames = pytest.importorskip(package)
    columns = {"a": np.arange(8.0), "b": np.arange(8), "on": np.arange(8) % 2 == 0}
    table = frames.DataFrame({**columns, "name": ["x"] * 8, "day": np.arange(8).astype("datetime64[ms]")})
    drop = "columns=" if package == "pandas" else ""
    with pytest.raises(TypeError, match=rf"not numbers, \['name', 'day'\]: leave them out, X.drop\({drop}\['name'"):
        LSTMClassifier(**SMALL).fit(table, np.arange(8) % 2)
    LSTMClassifier(**SMALL).fit(frames.DataFrame(columns), np.arange(8) % 2)


def test_one_table_in_the_place_of_a_list_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    tables = [pandas.DataFrame({"a": one[:, 0], "b": one[:, 1]}) for one in X]
    classifier = LSTMClassifier(**SMALL).fit(tables, LABELS)
    assert classifier.model_.feature_names == ["a", "b"]
    with pytest.raises(ValueError, match=r"was fitted on a list of tables.*pass \[X\]"):
        classifier.predict(tables[0])


def test_a_column_for_each_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a column a class: pass y.argmax\(axis=1\)"):
        LSTMClassifier(**SMALL).fit(X, np.eye(2)[np.arange(N) % 2])
