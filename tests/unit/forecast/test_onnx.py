"""`Forecaster.to_onnx`: the recipe in the file is enough to forecast with ONNX Runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import load_example

pd = pytest.importorskip("pandas")

import fastlstm as fl  # noqa: E402

HORIZON, GAP, ROWS = 6, 2, 260
SMALL: dict[str, Any] = {"hidden_size": 5, "epochs": 2, "random_state": 0, "verbose": 0}


def frame() -> Any:
    rng = np.random.default_rng(0)
    hours = np.arange(ROWS + GAP + HORIZON)
    df = pd.DataFrame({"ds": pd.date_range("2026-03-01", periods=len(hours), freq="h")})
    df["y"] = np.clip(3 + np.sin(hours * np.pi / 12) + 0.1 * rng.standard_normal(len(hours)), 2.3, 3.7)
    df["wind"], df["price"] = rng.standard_normal((2, len(hours)))
    df.loc[[0, 1, 50, 51, ROWS - 1], "y"] = np.nan
    df.loc[[60, ROWS - 2], "price"] = np.nan
    return df


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual_of": None, "conformal": False},
        {"residual_of": "naive", "bounds": (2.3, 3.7)},
        {"residual_of": "seasonal_naive", "num_layers": 2, "quantiles": [0.2, 0.5, 0.8]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the validation part is too short")
def test_onnx_runtime_gives_the_forecasts_of_predict(tmp_path: Path, options: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'fastlstm[peers]'")
    example = load_example("forecast_onnx")
    df = frame()
    past, later = df[:ROWS], df[ROWS:]
    forecaster = fl.Forecaster(HORIZON, gap=GAP, hist_exog=["price"], futr_exog=["wind"], **{**SMALL, **options})
    expected = forecaster.fit(past).predict(future=later[["ds", "wind"]], quantiles=forecaster.quantiles)
    path = tmp_path / "forecaster.onnx"
    forecaster.to_onnx(path)

    session = onnxruntime.InferenceSession(path)
    recipe = json.loads(session.get_modelmeta().custom_metadata_map["fastlstm.forecast"])
    (name,) = recipe["series"]
    assert recipe["horizon"] == HORIZON and recipe["gap"] == GAP
    futr = df[["wind"]].to_numpy()
    angles = 2 * np.pi * np.stack([df["ds"].dt.hour / 24, (df["ds"].dt.day_of_week + df["ds"].dt.hour / 24) / 7])
    waves = {"hour_of_day": angles[0], "day_of_week": angles[1]}
    for key in list(recipe["units"]["futr"])[1:]:
        cycle, wave = key.rsplit("_", 1)
        futr = np.column_stack([futr, {"sin": np.sin, "cos": np.cos}[wave](waves[cycle])])
    feed = example.network_inputs(recipe, past["y"].to_numpy(), past[["price"]].to_numpy(), futr, np.zeros(0), name)
    answers = example.in_units(recipe, session.run(None, feed)[0][0], name)
    found = expected[[column for column in expected.columns if column.startswith("fastlstm-q")]].to_numpy()
    # Two implementations in float32 of sums over some hundred steps; values are about 3.
    np.testing.assert_allclose(answers, found, rtol=0, atol=2e-5)
    assert np.ptp(found) > 0.1


def test_a_network_with_dropout_and_other_layers_is_written(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'fastlstm[onnx]'")
    layers = [fl.Dense(3), fl.LSTM(4, return_sequences=True), fl.Dropout(0.1)]
    fl.Forecaster(3, layers=layers, conformal=False, **{k: v for k, v in SMALL.items() if k != "hidden_size"}).fit(
        frame()[60:200][["ds", "y"]]
    ).to_onnx(tmp_path / "x.onnx")
    proto = onnx.load(tmp_path / "x.onnx")
    assert [value.name for value in proto.graph.input] == ["x", "ahead", "base"]
    assert [value.name for value in proto.graph.output] == ["quantiles"]


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    forecaster = fl.Forecaster(3, conformal=False, **SMALL).fit(frame()[60:200][["ds", "y"]])
    with pytest.raises(ImportError, match=r"pip install 'fastlstm\[onnx\]'"):
        forecaster.to_onnx(tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_forecaster_that_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, ValueError, AttributeError), match="fit"):
        fl.Forecaster(3).to_onnx(tmp_path / "x.onnx")
