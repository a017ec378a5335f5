"""`fl.dask.predict`: the answers of `predict`, in order, chunk by chunk, whatever computes them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")

SCHEDULERS = ["synchronous", "threads", "processes"]
rng = np.random.default_rng(0)
X, LABELS = rng.standard_normal((41, 10, 2)), np.arange(41) % 3
SERIES = [rng.standard_normal((int(n), 2)) for n in rng.integers(1, 20, 23)]


def trained(layers: list[Any], y: Any, **arguments: Any) -> fl.Model:
    model = fl.Model(layers, scaler=fl.Standardizer(), seed=1)
    model.fit(X, y, epochs=1, verbose=0, **arguments)
    return model


@pytest.fixture(scope="module")
def classifier() -> fl.Model:
    return trained([fl.LSTM(6), fl.Dense(3)], LABELS)


def table(series: list[np.ndarray]) -> Any:
    parts = [
        pd.DataFrame({"unit": f"unit {k:02}", "t": np.arange(len(one)), "a": one[:, 0], "b": one[:, 1]})
        for k, one in enumerate(series)
    ]
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------------ arrays


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_arrays(classifier: fl.Model, scheduler: str) -> None:
    lazy = fl.dask.predict(classifier, da.from_array(X, chunks=(16, 5, 1)))  # also in chunks of steps and features
    assert (lazy.shape, lazy.dtype, lazy.chunks[0]) == ((41, 3), np.dtype("float32"), (16, 16, 9))
    np.testing.assert_array_equal(lazy.compute(scheduler=scheduler), classifier.predict(X))


def test_other_methods_and_outputs(classifier: fl.Model) -> None:
    lazy = fl.dask.predict(classifier, da.from_array(X, chunks=16), method="predict_proba", batch_size=4)
    np.testing.assert_array_equal(lazy.compute(), classifier.predict_proba(X))
    steps = trained([fl.LSTM(4, return_sequences=True), fl.Dense(1)], X[:, :, :1], loss="mse")
    lazy = fl.dask.predict(steps, da.from_array(X, chunks=16))
    assert lazy.shape == steps.predict(X).shape
    np.testing.assert_array_equal(lazy.compute(), steps.predict(X))


def test_an_unknown_number_of_cases(classifier: fl.Model) -> None:
    whole = da.from_array(X, chunks=16)
    lazy = fl.dask.predict(classifier, whole[da.from_array(LABELS > 0, chunks=16)])
    np.testing.assert_array_equal(lazy.compute(), classifier.predict(X[LABELS > 0]))


def test_tokens() -> None:
    tokens = rng.integers(0, 9, (20, 6))
    model = fl.Model([fl.Embedding(9, 3), fl.LSTM(4), fl.Dense(2)])
    model.fit(tokens, np.arange(20) % 2, epochs=1, verbose=0)
    np.testing.assert_array_equal(
        fl.dask.predict(model, da.from_array(tokens, chunks=7)).compute(), model.predict(tokens)
    )


class Marked:
    """A model that tells which copy of it has answered."""

    def __init__(self) -> None:
        self.copies = 0

    def __getstate__(self) -> dict[str, int]:
        return {"copies": self.copies + 1}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full((len(x), 1), id(self))


def test_tasks_share_one_copy_of_the_model() -> None:
    answers = fl.dask.predict(Marked(), da.zeros((40, 3, 1), chunks=(1, 3, 1))).compute(scheduler="threads")
    assert len(np.unique(answers)) == 1


def test_the_graph_holds_the_model_once(classifier: fl.Model) -> None:
    large = fl.Model([fl.LSTM(100), fl.Dense(3)], input_size=2)
    sizes = []
    for chunks in (41, 1):
        lazy = fl.dask.predict(large, da.zeros((41, 10, 2), chunks=(chunks, 10, 2)))
        sizes.append(len(pickle.dumps(lazy)))
    assert sizes[1] < 1.5 * sizes[0]  # 41 times as many tasks


# ------------------------------------------------------------------ bags


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_bags_of_series(classifier: fl.Model, scheduler: str) -> None:
    bag = db.from_sequence(SERIES, npartitions=4)
    found = fl.dask.predict(classifier, bag).compute(scheduler=scheduler)
    np.testing.assert_array_equal(np.array(found), classifier.predict(SERIES))


def test_empty_partitions(classifier: fl.Model) -> None:
    bag = db.from_sequence(SERIES, npartitions=6).filter(lambda one: len(one) > 15)
    found = fl.dask.predict(classifier, bag).compute(scheduler="synchronous")
    np.testing.assert_array_equal(np.array(found), classifier.predict([one for one in SERIES if len(one) > 15]))


# ------------------------------------------------------------------ dataframes


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_frames_of_series(classifier: fl.Model, scheduler: str) -> None:
    rows = table(SERIES)
    mixed = rows.sample(frac=1, random_state=0)  # in no order at all
    frame = dd.from_pandas(mixed.reset_index(drop=True), npartitions=5)
    lazy = fl.dask.predict(classifier, frame, by="unit", time="t")
    assert list(lazy.columns) == ["unit", "prediction_0", "prediction_1", "prediction_2"]
    found = lazy.compute(scheduler=scheduler).sort_values("unit")
    assert found["unit"].tolist() == [f"unit {k:02}" for k in range(23)]
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), classifier.predict(SERIES))
    assert found.dtypes.to_dict() == lazy.dtypes.to_dict()


def test_frames_that_are_partitioned_by_series(classifier: fl.Model) -> None:
    by_index = dd.from_pandas(table(SERIES).set_index("unit"), npartitions=5)
    found = fl.dask.predict(classifier, by_index, by="unit", time="t").compute(scheduler="synchronous")
    assert found["unit"].tolist() == [f"unit {k:02}" for k in range(23)]  # in the order of the partitions
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), classifier.predict(SERIES))
    parts = [table(SERIES[:9]), table([*SERIES[9:]]).assign(unit=lambda t: "other " + t["unit"])]
    frame = dd.concat([dd.from_pandas(part.drop(columns="t"), npartitions=1) for part in parts])
    found = fl.dask.predict(classifier, frame, by="unit", partitioned=True).compute(scheduler="synchronous")
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), classifier.predict(SERIES))


@pytest.mark.parametrize("known", [True, False])
def test_names_as_categories(known: bool, classifier: fl.Model) -> None:
    frame = dd.from_pandas(table(SERIES), npartitions=3)
    frame["unit"] = frame["unit"].astype("category")
    frame = frame.categorize(["unit"]) if known else frame
    found = fl.dask.predict(classifier, frame, by="unit", time="t").compute(scheduler="synchronous")
    found = found.astype({"unit": str}).sort_values("unit")
    assert found["unit"].tolist() == [f"unit {k:02}" for k in range(23)]
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), classifier.predict(SERIES))


def test_estimators() -> None:
    pytest.importorskip("sklearn")
    from fastlstm.sklearn import LSTMRegressor

    regressor = LSTMRegressor(epochs=1, random_state=0).fit(X, X[:, -1, 0])
    np.testing.assert_array_equal(
        fl.dask.predict(regressor, da.from_array(X, chunks=16)).compute(), regressor.predict(X)
    )
    frame = dd.from_pandas(table(list(X)), npartitions=3)
    found = fl.dask.predict(regressor, frame, by="unit", time="t").compute(scheduler="synchronous")
    np.testing.assert_array_equal(found.sort_values("unit")["prediction"].to_numpy(), regressor.predict(X))
    assert regressor.n_jobs is None  # a copy has one thread


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_forecasters(scheduler: str) -> None:
    pytest.importorskip("utilsforecast")
    hours = pd.date_range("2026-01-01", periods=120, freq="h")
    rows = pd.concat(
        [pd.DataFrame({"meter": f"m{k}", "ds": hours, "y": np.sin(np.arange(120) / (k + 3))}) for k in range(5)]
    )
    forecaster = fl.Forecaster(6, hidden_size=4, epochs=1, random_state=0, verbose=0).fit(rows, id_col="meter")
    frame = dd.from_pandas(rows.reset_index(drop=True), npartitions=4)  # some series are in two partitions
    lazy = fl.dask.predict(forecaster, frame, level=90)
    found = lazy.compute(scheduler=scheduler).sort_values(["meter", "ds"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, forecaster.predict(rows, level=90))

    for others in (range(5), pd.Categorical(["a", "b", "c", "d", "e"])):  # names of another type than in the training
        renamed = rows.assign(meter=np.repeat(np.asarray(others), 120)).reset_index(drop=True)
        renamed["meter"] = renamed["meter"].astype(pd.Series(others).dtype)
        lazy = fl.dask.predict(forecaster, dd.from_pandas(renamed, npartitions=2))
        new = lazy.compute(scheduler=scheduler).sort_values(["meter", "ds"])
        assert new["meter"].tolist() == np.repeat(np.asarray(others), 6).tolist()
        expected = forecaster.predict(renamed).sort_values(["meter", "ds"])
        np.testing.assert_array_equal(new["fastlstm"], expected["fastlstm"])


# ------------------------------------------------------------------ what is refused


def test_a_model_that_is_not_fitted_is_refused_at_once() -> None:
    bag = db.from_sequence([np.zeros((4, 2))], npartitions=1)
    with pytest.raises(RuntimeError, match="the model is not built yet"):
        fl.dask.predict(fl.Model([fl.LSTM(3), fl.Dense(1)]), bag)
    pytest.importorskip("sklearn")
    import fastlstm.sklearn as fs

    with pytest.raises(ValueError, match="LSTMClassifier instance is not fitted yet"):
        fl.dask.predict(fs.LSTMClassifier(), bag)


def test_what_is_refused(classifier: fl.Model) -> None:
    frame = dd.from_pandas(table(SERIES), npartitions=3)
    refused: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (TypeError, "collection is a numpy.ndarray, expected a dask array, bag or dataframe", X, {}),
        (TypeError, "without a method guess()", da.zeros((4, 3, 2)), {"method": "guess"}),
        (ValueError, "shape (4,), expected (cases, time, features)", da.zeros(4), {}),
        (ValueError, "got by='unit', which is for dataframes", da.zeros((4, 3, 2)), {"by": "unit"}),
        (ValueError, "by is missing", frame, {}),
        (ValueError, "by='name' is no column of the table, which has unit, t, a, b", frame, {"by": "name"}),
        (ValueError, "time='hour' is no column of the table", frame, {"by": "unit", "time": "hour"}),
        (ValueError, "features='c' is no column", frame, {"by": "unit", "time": "t", "features": ["a", "c"]}),
        (ValueError, "by=['unit'] is no column", frame, {"by": ["unit"], "time": "t"}),
        (TypeError, "take dask.dataframe.from_pandas(df, npartitions=8)", table(SERIES), {"by": "unit"}),
        (TypeError, "take dask.array.from_delayed", dask.delayed(X), {}),
        (ValueError, "give time=, the column of times, or partitioned=True", frame, {"by": "unit"}),
        (ValueError, "n_threads must be", da.zeros((4, 3, 2)), {"n_threads": 0}),
    ]
    for error, message, collection, arguments in refused:
        with pytest.raises(error) as found:
            fl.dask.predict(classifier, collection, **arguments)
        assert message in str(found.value)
    steps = trained([fl.LSTM(4, return_sequences=True), fl.Dense(1)], X[:, :, :1], loss="mse")
    with pytest.raises(ValueError, match="an answer for each step of a series.*pass a bag"):
        fl.dask.predict(steps, frame, by="unit", time="t")
