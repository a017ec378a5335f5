"""Scoring, many models and a search on a cluster of two processes, of which two are killed on the way.

All in one program, whose results the tests look at: a cluster takes seconds to start, and its threads do not work under
pytest's rule that warnings are errors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

for package in ("distributed", "dask.dataframe", "utilsforecast", "sklearn"):
    pytest.importorskip(package)
pytestmark = [
    pytest.mark.nightly,  # after a kill, a cluster can take minutes until it goes on
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on this system"),
]

PROGRAM = """
import json, os, signal, sys, threading, time
from pathlib import Path
import dask.array as da, dask.dataframe as dd, numpy as np, pandas as pd
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
import fastlstm as fl
from fastlstm.sklearn import LSTMClassifier

HOURS = pd.date_range("2026-01-01", periods=150, freq="h")

def meters(count):
    parts = [pd.DataFrame({"meter": f"m/{k:02}", "ds": HOURS, "y": np.sin(np.arange(150) / (k + 3)) + k})
             for k in range(count)]
    return pd.concat(parts, ignore_index=True)

def forecaster():
    return fl.Forecaster(4, hidden_size=4, epochs=2, random_state=0, verbose=0)

def slow(chunk, folder):
    Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.05)
    return chunk

def kill_when(client, condition):
    # Kill a worker as soon as a condition holds; return the list to which its number is added then.
    victim, killed = next(iter(client.run(os.getpid).values())), []
    def run():
        while not condition():
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
    threading.Thread(target=run, daemon=True).start()
    return killed

class Marked:
    # A model that tells which copy of it has answered.
    def predict(self, x):
        return np.tile([[os.getpid(), id(self)]], (len(x), 1))

def main(folder):
    X = np.load(folder / "X.npy")
    model = fl.load(folder / "model.safetensors")
    out = {}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        copies = fl.dask.predict(Marked(), da.zeros((40, 3, 1), chunks=(1, 3, 1)).map_blocks(slow, folder=folder / "x",
                                 meta=np.zeros((0, 3, 1)))).compute()
        out["copies"] = np.unique(copies, axis=0).tolist()

        seen = folder / "seen"
        chunks = da.from_array(X, chunks=(2, 8, 2)).map_blocks(slow, folder=seen, meta=X[:0])
        killed = kill_when(client, lambda: len(os.listdir(seen)) > 6)
        out["predicted"] = fl.dask.predict(model, chunks).compute().tolist()
        out["killed"] = len(killed)

        client.wait_for_workers(2)
        files = folder / "models"
        killed = kill_when(client, lambda: files.exists() and len(os.listdir(files)) > 2)
        found = fl.dask.fit_many(forecaster(), meters(14), by="meter", folder=files)
        out["many"], out["killed then"] = found.to_dict("list"), len(killed)

        frame = dd.from_pandas(meters(5), npartitions=3)
        found = fl.dask.fit_many(forecaster(), frame, by="meter", folder=folder / "others")
        out["frame"] = found.sort_values("meter").to_dict("list")
        scored = fl.dask.predict(forecaster().fit(meters(5), id_col="meter"), frame).compute()
        out["scored"] = scored.sort_values(["meter", "ds"])["fastlstm"].tolist()

        classifier = LSTMClassifier(epochs=2, random_state=0, n_jobs=1)
        search = GridSearchCV(classifier, {"hidden_size": [3, 5]}, cv=2, n_jobs=2)
        with parallel_config("dask"):
            out["search"] = search.fit(X, np.arange(60) % 2).cv_results_["mean_test_score"].tolist()
    (folder / "out.json").write_text(json.dumps(out))

if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""

names: dict[str, Any] = {"__name__": "program"}
exec(PROGRAM, names)
meters, forecaster = names["meters"], names["forecaster"]


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 8, 2))


@pytest.fixture(scope="module")
def model(X: np.ndarray) -> fl.Model:
    model = fl.Model([fl.LSTM(6), fl.Dense(3)], seed=1)
    model.fit(X, np.arange(60) % 3, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def found(X: np.ndarray, model: fl.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cluster")
    for name in ("seen", "x"):
        (folder / name).mkdir()
    np.save(folder / "X.npy", X)
    model.save(folder / "model.safetensors")
    (folder / "program.py").write_text(PROGRAM)
    with open(folder / "log.txt", "w+") as log:
        done = subprocess.run(
            [sys.executable, str(folder / "program.py"), str(folder)],
            stdout=log,
            stderr=log,
            timeout=500,
            check=False,
            cwd=folder,
        )
        log.seek(0)
        assert done.returncode == 0, log.read()
    result: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return result


def test_a_worker_has_one_copy_of_the_model(found: dict[str, Any]) -> None:
    processes = [process for process, _ in found["copies"]]
    assert len(processes) == len(set(processes)) <= 2


def test_a_worker_that_is_killed_while_it_predicts(found: dict[str, Any], model: fl.Model, X: np.ndarray) -> None:
    assert found["killed"] == 1
    np.testing.assert_array_equal(np.float32(found["predicted"]), model.predict(X))


def test_a_worker_that_is_killed_while_it_trains(found: dict[str, Any]) -> None:
    many, table = found["many"], meters(14)
    assert found["killed then"] == 1
    assert many["meter"] == [f"m/{k:02}" for k in range(14)]
    assert many["error"] == [None] * 14
    folder = Path(many["file"][0]).parent
    assert sorted(one.name for one in folder.iterdir()) == [f"m%2F{k:02}.safetensors" for k in range(14)]
    for number in (0, 7, 13):  # the bits of a loop
        alone = forecaster().fit(table[table["meter"] == f"m/{number:02}"], id_col="meter")
        saved = fl.Forecaster.load(many["file"][number])
        np.testing.assert_array_equal(saved.predict()["fastlstm"], alone.predict()["fastlstm"])
        losses = alone.history_.history["loss"]
        assert (many["epochs"][number], many["loss"][number]) == (len(losses), losses[-1])


def test_dask_dataframes(found: dict[str, Any]) -> None:
    assert found["frame"]["meter"] == [f"m/{k:02}" for k in range(5)]
    assert found["frame"]["loss"] == found["many"]["loss"][:5]
    expected = forecaster().fit(meters(5), id_col="meter").predict(meters(5))
    np.testing.assert_array_equal(found["scored"], expected["fastlstm"])


def test_a_search_on_the_workers(found: dict[str, Any], X: np.ndarray) -> None:
    from sklearn.model_selection import GridSearchCV

    from fastlstm.sklearn import LSTMClassifier

    search = GridSearchCV(LSTMClassifier(epochs=2, random_state=0, n_jobs=1), {"hidden_size": [3, 5]}, cv=2)
    scores = search.fit(X, np.arange(60) % 2).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found["search"], scores)
