"""`fl.dask.fit_many` without a cluster: the models of a loop, and what is said of those that fail."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.dask import many

pytest.importorskip("distributed")
pd = pytest.importorskip("pandas")
pytest.importorskip("utilsforecast")

STEPS = np.arange(150)
HOURS = pd.date_range("2026-01-01", periods=150, freq="h")


def meters(names: list[Any]) -> Any:
    parts = [pd.DataFrame({"meter": n, "ds": HOURS, "y": np.sin(STEPS / (k + 3))}) for k, n in enumerate(names)]
    return pd.concat(parts, ignore_index=True)


def forecaster(**more: Any) -> fl.Forecaster:
    return fl.Forecaster(4, hidden_size=4, epochs=1, random_state=0, verbose=0, **more)


def test_the_models_are_those_of_a_loop(tmp_path: Path) -> None:
    template, table = forecaster(), meters([f"m{k}" for k in range(11)])
    found = fl.dask.fit_many(template, table, by="meter", folder=tmp_path / "new" / "folder")
    assert list(found.columns) == ["meter", "file", "epochs", "loss", "seconds", "error"]
    assert found["meter"].tolist() == [f"m{k}" for k in range(11)]
    for number in (0, 10):
        alone = forecaster().fit(table[table["meter"] == f"m{number}"], id_col="meter")
        saved = fl.Forecaster.load(found["file"][number]).predict()
        np.testing.assert_array_equal(saved["fastlstm"], alone.predict()["fastlstm"])
        assert saved.columns[0] == "meter"
    assert template.n_jobs is None
    with pytest.raises(ValueError, match="not fitted"):
        template.predict()


def test_a_series_that_cannot_be_trained_on_ends_no_other(tmp_path: Path) -> None:
    table = meters(["good", "bad", "fine"])
    short = (table["meter"] == "bad") & (table["ds"] > HOURS[3])
    found = fl.dask.fit_many(forecaster(), table[~short], by="meter", folder=tmp_path)
    assert found["error"].isna().tolist() == [True, False, True]
    assert found["error"][1].startswith("ValueError: ") and pd.isna(found["file"][1])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["fine.safetensors", "good.safetensors"]


def test_names_that_are_too_long_for_a_file(tmp_path: Path) -> None:
    names = ["a" * 400, "a" * 399 + "b", "\N{SNOWMAN}" * 90, "x/../y"]
    found = fl.dask.fit_many(forecaster(), meters(names), by="meter", folder=tmp_path)
    assert found["error"].isna().all() and found["file"].nunique() == 4
    for name, file in zip(names, found["file"], strict=True):
        assert Path(file).parent == tmp_path and len(Path(file).name) < 220
        assert fl.Forecaster.load(file).predict()["meter"].unique().tolist() == [name]


def test_polars(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    table = meters(["b", "a"])
    found = fl.dask.fit_many(forecaster(), polars.from_pandas(table), by="meter", folder=tmp_path)
    assert found["meter"].tolist() == ["b", "a"] and found["error"].isna().all()
    with pytest.raises(TypeError, match=r"LazyFrame, which has no rows yet: give frame\.collect\(\)"):
        fl.dask.fit_many(forecaster(), polars.from_pandas(table).lazy(), by="meter", folder=tmp_path)
    expected = fl.dask.fit_many(forecaster(), table, by="meter", folder=tmp_path)
    assert found["loss"].tolist() == expected["loss"].tolist()


def test_estimators(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from fastlstm.sklearn import LSTMAnomalyDetector, LSTMClassifier, load

    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.standard_normal((300, 3)), columns=["a", "b", "c"])
    rows["pump"], rows["label"] = np.repeat([1, 2], 150), np.tile([0, 1, 1], 100)
    detector = LSTMAnomalyDetector(epochs=1, window=10, random_state=0)
    found = fl.dask.fit_many(detector, rows, by="pump", features=["a", "b"], folder=tmp_path)
    one = LSTMAnomalyDetector(epochs=1, window=10, random_state=0).fit(rows[["a", "b"]].to_numpy()[None, 150:])
    scored = rng.standard_normal((1, 40, 2))
    np.testing.assert_array_equal(load(found["file"][1]).score_samples(scored), one.score_samples(scored))
    classifier = LSTMClassifier(epochs=1, random_state=0)
    found = fl.dask.fit_many(classifier, rows, by="pump", target="label", features=["a", "b", "c"], folder=tmp_path)
    assert found["error"].isna().all()
    part = rows[rows["pump"] == 1]
    expected = LSTMClassifier(epochs=1, random_state=0).fit(part[["a", "b", "c"]].to_numpy(), part["label"].to_numpy())
    cases = rng.standard_normal((9, 3))
    np.testing.assert_array_equal(load(found["file"][0]).predict_proba(cases), expected.predict_proba(cases))


def test_what_is_refused(tmp_path: Path) -> None:
    table = meters(["a", "b"])
    for error, message, arguments in [
        (TypeError, "expected a Forecaster", {"estimator": fl.Model([fl.Dense(1)])}),
        (TypeError, "frame is a numpy.ndarray, expected a DataFrame", {"frame": np.zeros(3)}),
        (ValueError, "by='id' is no column of the table, which has meter, ds, y", {"by": "id"}),
        (ValueError, "by=['meter'] is no column", {"by": ["meter"]}),
        (ValueError, "time='hour' is no column of the table, which has meter, ds, y", {"time": "hour"}),
        (ValueError, "time='ds' is no column of the table", {"frame": table.rename(columns={"ds": "hour"})}),
        (ValueError, "target='kW' is no column of the table", {"target": "kW"}),
        (TypeError, "by dask.dataframe.from_delayed", {"frame": pytest.importorskip("dask").delayed(table)}),
        (TypeError, "Forecaster.fit and fit_many: got an unexpected keyword argument 'epoch'", {"epoch": 3}),
        (ValueError, "lacks the name of the series in some rows", {"frame": table.replace({"meter": {"b": None}})}),
        (ValueError, "retries must be", {"retries": -1}),
    ]:
        given = {"estimator": forecaster(), "frame": table, "by": "meter", "folder": tmp_path, **arguments}
        with pytest.raises(error) as found:
            fl.dask.fit_many(given.pop("estimator"), given.pop("frame"), **given)
        assert message in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_two_series_with_one_file_are_refused(tmp_path: Path) -> None:
    table = pd.concat([meters([1]), meters(["1"])]).astype({"meter": object})
    with pytest.raises(ValueError, match="would have the same file"):
        fl.dask.fit_many(forecaster(), table, by="meter", folder=tmp_path)


class GrowingCluster:
    """A client whose cluster gets its workers while the work goes on."""

    workers, waiting, most_waiting = 0, 0, 0

    def nthreads(self) -> dict[int, int]:
        return dict.fromkeys(range(self.workers), 1)

    def submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        self.waiting += function is many._call
        self.most_waiting = max(self.most_waiting, self.waiting)
        future: Future[Any] = Future()
        future.set_result(function(*(one.result() if isinstance(one, Future) else one for one in arguments)))
        return future

    def as_completed(self) -> Any:
        client = self

        class Futures(list[Any]):
            add = list.append

            def __next__(self) -> Any:
                client.waiting -= 1
                client.workers = min(client.workers + 1, 5)
                return self.pop(0)

        return Futures()


def test_workers_that_come_later_get_work(monkeypatch: pytest.MonkeyPatch) -> None:
    client = GrowingCluster()
    monkeypatch.setattr(many, "dask_module", lambda name: client)
    fit: Any = lambda part: part * part  # noqa: E731
    assert list(many._by_cluster(client, fit, range(60), retries=0)) == [(k, k * k) for k in range(60)]
    assert client.most_waiting == 5 * many.AHEAD
