"""Pictures of forecasts show what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastlstm as fl

pytest.importorskip("matplotlib")

TIMES = np.datetime64("2024-01-01") + np.arange(5).astype("m8[h]")
LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]
QUANTILES = np.arange(5)[:, None] + np.array([-2, -1, 0, 1, 2])


def test_a_fan_has_a_band_for_each_interval(tmp_path: Path) -> None:
    past = TIMES - np.timedelta64(5, "h")
    figure = fl.plots.fan(
        TIMES, QUANTILES, LEVELS, past_times=past, past=[1, 2, np.nan, 4, 5], truth=[1] * 5, name="$ a$", title="t",
        path=tmp_path / "fan.png",
    )  # fmt: skip
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "past", "90 % interval", "50 % interval", "forecast", "true values",
    ]  # fmt: skip
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (-2, 6)
    assert axes.lines[1].get_ydata().tolist() == QUANTILES[:, 2].tolist()
    assert (tmp_path / "fan.png").stat().st_size > 5000


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quantiles has shape \(5, 5\), expected \(5, 3\)"):
        fl.plots.fan(TIMES, QUANTILES, LEVELS[:3])
    with pytest.raises(ValueError, match="no column 'cutoff'"):
        fl.plots.backtest({"ds": TIMES, "y": np.ones(5), "fastlstm": np.ones(5)})


def test_a_backtest_has_a_panel_for_each_series_and_a_line_for_each_window() -> None:
    n = 12
    table = {
        "unique_id": np.repeat(["a", "b"], n),
        "ds": np.tile(np.arange(n), 2),
        "cutoff": np.tile(np.repeat([0, 4, 8], 4), 2),
        "y": np.arange(2.0 * n),
        "fastlstm": np.arange(2.0 * n) + 1,
        "fastlstm-lo-90": np.arange(2.0 * n) - 1,
        "fastlstm-hi-90": np.arange(2.0 * n) + 3,
    }
    figure = fl.plots.backtest(table, title="t")
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    for axes in figure.axes:
        assert len(axes.lines) == 4
        assert len(axes.collections) == 3
    assert figure.axes[1].lines[1].get_ydata().tolist() == [13, 14, 15, 16]


def test_errors_and_coverage_by_step() -> None:
    figure = fl.plots.by_horizon({"network": [1, 2, 3], "naive": [2, 4, 6]}, coverage=[0.9, 0.8, 0.95], level=90)
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[1, 2, 3], [2, 4, 6]]
    assert right.lines[0].get_ydata().tolist() == [0.9, 0.8, 0.95]
    assert right.lines[1].get_ydata()[0] == 0.9
    assert len(fl.plots.by_horizon({"network": [1, 2]}).axes) == 1


def test_a_forecaster_draws_its_forecast_after_its_past(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    times = pd.date_range("2024-01-01", periods=300, freq="h", tz="Europe/Berlin")
    df = pd.DataFrame({"ds": times, "y": np.sin(np.arange(300) * np.pi / 12)})
    forecaster = fl.Forecaster(6, hidden_size=4, epochs=1, random_state=0, verbose=0).fit(df[:290])
    axes = forecaster.plot(last=10).axes[0]
    assert axes.lines[0].get_ydata().tolist() == df["y"][280:290].tolist()
    assert axes.lines[0].get_xdata()[-1] == np.datetime64("2024-01-13T01:00")  # the local clock
    assert axes.lines[1].get_xdata()[0] == np.datetime64("2024-01-13T02:00")
    assert axes.lines[1].get_ydata().tolist() == forecaster.predict()["fastlstm"].tolist()
    found = forecaster.evaluate(df).plot(tmp_path / "e.png")
    assert len(found.axes) == 2
