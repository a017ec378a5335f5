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
    with pytest.raises(ValueError, match=r"0\.6 has no opposite, 0\.4"):
        fl.plots.fan(TIMES, QUANTILES, [0.05, 0.5, 0.6, 0.75, 0.95])
    with pytest.raises(ValueError, match=r"expected 0\.5 and pairs such as 0\.05 and 0\.95 in rising order"):
        fl.plots.fan(TIMES, QUANTILES[:, :2], [0.05, 0.95])
    with pytest.raises(ValueError, match="fastlstm-lo-90 without fastlstm-hi-90"):
        fl.plots.backtest(dict.fromkeys(["ds", "cutoff", "y", "fastlstm", "fastlstm-lo-90"], np.ones(5)))
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
        "fastlstm-lo-99.9": np.arange(2.0 * n) - 2,
        "fastlstm-hi-99.9": np.arange(2.0 * n) + 4,
    }
    figure = fl.plots.backtest(table, title="t")
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    for axes in figure.axes:
        assert len(axes.lines) == 4
        assert len(axes.collections) == 6
    assert figure.axes[1].lines[1].get_ydata().tolist() == [13, 14, 15, 16]
    bands = [band.get_paths()[0].vertices[:, 1] for band in figure.axes[1].collections[:2]]
    assert [(band.min(), band.max()) for band in bands] == [(10, 19), (11, 18)]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["true values", "99.9 % interval", "90 % interval", "forecast"]


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


def test_a_forecaster_draws_the_intervals_that_are_asked_for() -> None:
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"ds": np.arange(300), "y": np.sin(np.arange(300) * np.pi / 12)})
    options = {"hidden_size": 4, "epochs": 1, "random_state": 0, "verbose": 0, "conformal": False}
    forecaster = fl.Forecaster(6, quantiles=(0.1, 0.3, 0.45, 0.5, 0.9), **options).fit(df)

    def drawn(**given: object) -> tuple[list[str], np.ndarray]:
        axes = forecaster.plot(**given).axes[0]
        bands = [band.get_paths()[0].vertices[:, 1] for band in axes.collections]
        return [text.get_text() for text in axes.get_legend().get_texts()], np.array(
            [[b.min(), b.max()] for b in bands]
        )

    assert drawn()[0] == ["past", "80 % interval", "forecast"]
    labels, edges = drawn(level=[50, 62.5])
    assert labels == ["past", "62.5 % interval", "50 % interval", "forecast"]
    table = forecaster.predict(level=[62.5, 50])
    expected = [[table[f"fastlstm-lo-{one}"].min(), table[f"fastlstm-hi-{one}"].max()] for one in ("62.5", "50")]
    assert np.array_equal(edges, expected)
    with pytest.raises(ValueError, match="lies outside those that the network was trained for"):
        forecaster.plot(level=90)


def test_the_values_before_a_forecast_are_kept_in_files(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"ds": np.arange(300), "y": np.arange(300.0)})
    options = {"hidden_size": 4, "epochs": 1, "random_state": 0, "verbose": 0, "residual_of": "naive"}
    fl.Forecaster(6, **options).fit(df[:250]).save(tmp_path / "f")
    forecaster = fl.Forecaster.load(tmp_path / "f")
    assert forecaster.plot().axes[0].lines[0].get_ydata().tolist() == list(range(238, 250))
    forecaster.update(df[250:255])
    assert forecaster.plot().axes[0].lines[0].get_ydata().tolist() == list(range(243, 255))
    expected = forecaster.predict(df[:255], quantiles=forecaster.quantiles).filter(like="-q-").to_numpy()
    assert np.array_equal(forecaster.predict(quantiles=forecaster.quantiles).filter(like="-q-").to_numpy(), expected)
    with pytest.raises(ValueError, match="last=100, but 12 values of the series 'y' are kept: give the past as df"):
        forecaster.plot(last=100)
    assert forecaster.plot(df[:255], last=100).axes[0].lines[0].get_ydata().tolist() == list(range(155, 255))
    assert len(forecaster.plot(df[:50], last=100).axes[0].lines[0].get_ydata()) == 50
