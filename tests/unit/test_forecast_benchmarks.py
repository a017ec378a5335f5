"""The benchmark of forecasts: its report, and that LightGBM sees nothing of the future."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("utilsforecast")

from helpers import load_benchmarks  # noqa: E402

load_benchmarks()

import fastlstm as fl  # noqa: E402
from benchmarks import __main__ as command  # noqa: E402
from benchmarks import forecast  # noqa: E402

ROWS = 48 * 40


def table() -> Any:
    clock = np.arange(ROWS) * np.pi / 24
    return pd.DataFrame(
        {
            "ds": pd.date_range("2024-01-01", periods=ROWS, freq="30min"),
            "Demand": 4 + np.sin(clock) + np.random.default_rng(0).standard_normal(ROWS) / 10,
            "Temperature": 20 + np.cos(clock),
            "WorkDay": 1,
        }
    )


def test_the_command_prints_and_writes_errors(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(fl, "Forecaster", partial(fl.Forecaster, hidden_size=4, epochs=1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lightgbm" else True)
    quick = {"title": "Power", "rows": [], "horizon": 96}
    found = forecast.demand(_csv(tmp_path), 0, 1, print)
    power = {**found, **{"title": quick["title"]}, "demo": [{"mae": error} for error in forecast.DEMO.values()]}
    monkeypatch.setattr(forecast, "power", lambda *given: power)
    options = ["--demand", str(tmp_path / "demand.csv"), "--out", str(tmp_path / "out"), "--threads", "1"]
    assert command.main(["forecast", *options]) == 0
    printed = capsys.readouterr()
    assert "LightGBM is left out: pip install lightgbm" in printed.err
    assert "| demo power (mean of 3 seeds) |  | 0.0163 | 0.0263 | 0.0381 |" in printed.out
    written = json.loads((tmp_path / "out" / "forecast.json").read_text())["results"][1]
    assert [row["method"] for row in written["rows"]] == ["fastlstm", "seasonal naive", "naive"]
    y = table()["Demand"].to_numpy()
    at = np.arange(int(ROWS * 0.85) - 1, ROWS - 48)[:, None] + 1 + np.arange(48)
    assert written["rows"][1]["mae"] == pytest.approx(np.abs(y[at] - y[at - 48]).mean())
    assert written["rows"][1]["steps"]["1"] == pytest.approx(np.abs(y[at] - y[at - 48])[:, 0].mean())


def _csv(folder: Path) -> Path:
    path = folder / "demand.csv"
    table().to_csv(path, index=False)
    return path


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "demand.csv"
    table().drop(columns="WorkDay").to_csv(path, index=False)
    with pytest.raises(ValueError, match="no column 'WorkDay', expected ds, Demand"):
        forecast.demand(path, 0, 1, print)


def test_lightgbm_reads_what_is_known_at_the_origin() -> None:
    frame = table().rename(columns={"Demand": "y"})
    origins = np.array([1200, 1500])
    before, rows = forecast._features(frame, 48, 48, origins[:1], ["Temperature"])
    frame.loc[1201:, "y"] = 1e9
    after, _ = forecast._features(frame, 48, 48, origins[:1], ["Temperature"])
    assert np.array_equal(before, after)
    assert rows.tolist() == list(range(1201, 1249))
    assert before.shape == (48, 3 + 1 + 7 + 2 + 6)
