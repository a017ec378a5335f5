"""`fl.Forecaster`: tables in, tables out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

pd = pytest.importorskip("pandas")

SMALL: dict[str, Any] = {"hidden_size": 8, "dropout": 0.0, "epochs": 2, "random_state": 0, "verbose": 0}


def table(rows: int = 600, ids: str = "", start: str = "2024-01-01", freq: str = "h", zone: str | None = None) -> Any:
    """Return a daily wave with noise, and a column `known` of its true values moved by 3 steps."""
    frames = []
    for number, one in enumerate(ids or "a"):
        times = pd.date_range(start, periods=rows, freq=freq, tz=zone)
        noise = np.random.default_rng(number).standard_normal(rows)
        y = 10 * number + np.sin(np.arange(rows) * np.pi / 12) + 0.1 * noise
        frame = pd.DataFrame({"ds": times, "y": y, "known": noise})
        if ids:
            frame.insert(0, "unique_id", one)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fitted() -> fl.Forecaster:
    """Three series with a column that is known in advance."""
    return fl.Forecaster(6, gap=2, futr_exog=["known"], **SMALL).fit(table(ids="abc"))


def later(df: Any, rows: int = 8) -> Any:
    """Return the columns known in advance of the next steps of each series."""
    parts = []
    for _, own in df.groupby("unique_id"):
        step = own["ds"].iloc[1] - own["ds"].iloc[0]
        times = own["ds"].iloc[-1] + step * np.arange(1, rows + 1)
        parts.append(pd.DataFrame({"unique_id": own["unique_id"].iloc[0], "ds": times, "known": 0.5}))
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------------------------------------ tables


def test_the_table_has_nixtlas_columns(fitted: fl.Forecaster) -> None:
    df = table(ids="abc")
    found = fitted.predict(future=later(df), level=[80, 82.5], quantiles=[0.1, 0.33])
    names = ["fastlstm", "fastlstm-lo-80", "fastlstm-hi-80", "fastlstm-lo-82.5", "fastlstm-hi-82.5"]
    assert list(found.columns) == ["unique_id", "ds", *names, "fastlstm-q-0.1", "fastlstm-q-0.33"]
    assert found["unique_id"].tolist() == [one for one in "abc" for _ in range(6)]
    end = df["ds"].iloc[-1]
    assert found["ds"].tolist() == [end + pd.Timedelta(hours=3 + k) for k in range(6)] * 3  # two steps of gap
    assert np.allclose(found["fastlstm-lo-80"], found["fastlstm-q-0.1"])
    values = found[["fastlstm-lo-82.5", "fastlstm-lo-80", "fastlstm", "fastlstm-hi-80", "fastlstm-hi-82.5"]].to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert np.abs(found.groupby("unique_id")["fastlstm"].mean() - [0, 10, 20]).max() < 2


def test_a_known_past_is_forecast_like_the_training_data(fitted: fl.Forecaster) -> None:
    df = table(ids="abc")
    future = later(df)
    own = fitted.predict(future=future, level=90)
    pd.testing.assert_frame_equal(fitted.predict(df, future=future, level=90), own, check_exact=True)
    only = fitted.predict(df[df["unique_id"] == "b"], future=future[future["unique_id"] == "b"], level=90)
    pd.testing.assert_frame_equal(
        only, own[own["unique_id"] == "b"].reset_index(drop=True), check_exact=True
    )  # fmt: skip


def test_a_shorter_horizon_is_the_beginning_of_the_longer_one(fitted: fl.Forecaster) -> None:
    future = later(table(ids="abc"))
    whole = fitted.predict(future=future)
    part = fitted.predict(future=later(table(ids="abc"), 5), horizon=3)
    assert np.array_equal(part["fastlstm"], whole["fastlstm"].to_numpy().reshape(3, 6)[:, :3].reshape(-1))
    assert fitted.predict(future=later(table(ids="abc"), 5), horizon="3h").equals(part)
    with pytest.raises(ValueError, match=r"horizon=7 has 7 steps, expected 1 to 6"):
        fitted.predict(horizon=7)


def test_a_new_series_is_scaled_by_its_own_values(fitted: fl.Forecaster) -> None:
    df = table(ids="x")
    df["y"] = df["y"] * 1e3 + 5e6
    found = fitted.predict(df, future=later(df))
    assert np.abs(found["fastlstm"] - 5e6).max() < 2e3


def test_missing_future_values_are_named(fitted: fl.Forecaster) -> None:
    future = later(table(ids="abc"))
    with pytest.raises(ValueError, match="known"):
        fitted.predict()
    future.loc[9, "known"] = np.nan
    with pytest.raises(ValueError, match="future has no value of 'known' for series 'b' at"):
        fitted.predict(future=future)


def test_levels_outside_those_trained_are_refused(fitted: fl.Forecaster) -> None:
    future = later(table(ids="abc"))
    with pytest.raises(ValueError, match=r"the quantile 0\.005 lies outside those .* 0\.05 to 0\.95"):
        fitted.predict(future=future, level=99)
    with pytest.raises(ValueError, match="level must be percentages"):
        fitted.predict(future=future, level=0.9)


def test_polars_series_wide_frames_and_mappings_give_the_same_numbers() -> None:
    pl = pytest.importorskip("polars")
    df = table(ids="ab")[["unique_id", "ds", "y"]]
    long = fl.Forecaster(4, **SMALL).fit(df).predict()
    of_polars = fl.Forecaster(4, **SMALL).fit(pl.DataFrame({name: df[name].to_list() for name in df})).predict()
    assert isinstance(of_polars, pl.DataFrame)
    assert np.array_equal(of_polars["fastlstm"].to_numpy(), long["fastlstm"])
    backtest = fl.Forecaster(4, **SMALL).cross_validation(
        pl.DataFrame({name: df[name].to_list() for name in df}), n_windows=2
    )
    assert backtest.columns == ["unique_id", "ds", "cutoff", "y", "fastlstm"]
    assert backtest["cutoff"].dtype == backtest["ds"].dtype


# ------------------------------------------------------------------------------------------ alignment


@pytest.mark.parametrize("gap", [0, "4h", 3])
@pytest.mark.parametrize("start", ["2024-03-20", "2024-10-16"])
def test_each_step_gets_what_is_known_of_it_across_changes_of_the_clock(start: str, gap: Any) -> None:
    """`known` is the target of the same time, so that a step off by one is an error of the size of the deviation."""
    df = table(1000, ids="a", start=start, zone="Europe/Berlin")
    df["y"] = df["known"]
    forecaster = fl.Forecaster("1D", gap=gap, futr_exog=["known"], **{**SMALL, "epochs": 40, "learning_rate": 0.02})
    train = df[:760]
    forecaster.fit(train)
    assert forecaster.horizon_steps_ == 25
    lengths = set()
    for end in range(200, 950, 12):  # over the change, which comes after some 270 rows
        past, rest = df[:end], df[end : end + forecaster.gap_steps_ + 25]
        steps = len(forecaster.make_future(past)) - forecaster.gap_steps_
        future = rest[: steps + forecaster.gap_steps_][["unique_id", "ds", "known"]]
        found = forecaster.predict(past, future=future).merge(df, on=["unique_id", "ds"])
        lengths.add(len(found))
        assert len(found) == steps
        assert np.abs(found["fastlstm"] - found["y"]).max() < 0.5
        assert np.abs(found["fastlstm"] - found["y"]).mean() < 0.1
        assert found["ds"].iloc[0] == past["ds"].iloc[-1] + pd.Timedelta(hours=forecaster.gap_steps_ + 1)
    assert lengths == ({23, 24} if start.startswith("2024-03") else {24, 25})


# ------------------------------------------------------------------------------------------ later data


def test_update_goes_on_where_the_data_ended(fitted: fl.Forecaster) -> None:
    df = table(700, ids="abc")
    first = df.groupby("unique_id").head(600)
    forecaster = fl.Forecaster(6, gap=2, futr_exog=["known"], **SMALL).fit(first)
    future = later(df)
    forecaster.update(df.groupby("unique_id").head(650).groupby("unique_id").tail(60))  # 10 rows are known already
    forecaster.update(df.groupby("unique_id").tail(50))
    forecaster.update(df.groupby("unique_id").tail(50))  # nothing new
    whole = fitted.predict(df, future=future)
    pd.testing.assert_frame_equal(forecaster.predict(future=future), whole, check_exact=True)
    with pytest.raises(ValueError, match="7 steps are missing between them"):
        forecaster.update(table(717, ids="abc").groupby("unique_id").tail(10))


@pytest.mark.parametrize("empty", [np.nan, None])
def test_update_reads_rows_without_any_value(empty: float | None) -> None:
    df = table(620)[["ds", "y"]]
    df.loc[600:607, "y"] = np.nan
    forecaster = fl.Forecaster(6, **SMALL).fit(df[:600])
    whole = forecaster.predict(df)
    forecaster.update(df[600:608].assign(y=empty))
    assert forecaster.predict()["ds"].iloc[0] == df["ds"].iloc[608]
    pd.testing.assert_frame_equal(forecaster.update(df[608:]).predict(), whole, check_exact=True)
    with pytest.raises(ValueError, match="the series 'new' has no observed value"):
        fl.Forecaster(6, **SMALL).fit(table(ids="a")[["unique_id", "ds", "y"]]).update(
            df[600:].assign(unique_id="new", y=np.nan)
        )


def test_rows_without_a_value_are_refused_wherever_they_are_read() -> None:
    df = table(700)[["ds", "y"]]
    forecaster = fl.Forecaster(6, missing="error", **SMALL).fit(df[:600])
    holes = df[600:].copy()
    holes.loc[630, "y"] = np.nan
    message = "has no value at 2024-01-27T06:00:00.0*, expected one: missing='mask' reads gaps"
    with pytest.raises(ValueError, match=message):
        forecaster.evaluate(holes)
    with pytest.raises(ValueError, match=message):
        forecaster.update(holes)
    stream = forecaster.stream()
    with pytest.raises(ValueError, match="2 steps after the next one, 2024-01-26T00:00.*, expected no gap"):
        stream.step("2024-01-26 02:00", 1.0)
    assert stream.next_time == np.datetime64("2024-01-26")
    expected = forecaster.predict(df[:601], quantiles=stream.quantiles).filter(like="-q-").to_numpy()
    assert np.array_equal(stream.step("2024-01-26 00:00", df["y"][600]), expected)


def test_partial_fit_changes_the_weights_and_a_failure_nothing(fitted: fl.Forecaster) -> None:
    df = table(700, ids="a")
    forecaster = fl.Forecaster(6, gap=2, futr_exog=["known"], **SMALL).fit(table(ids="ab"))
    before = forecaster.predict(future=later(table(ids="ab")))
    with pytest.raises(ValueError, match="the longest series has 5 rows"):
        forecaster.partial_fit(df[:5])
    assert forecaster.predict(future=later(table(ids="ab"))).equals(before)
    forecaster.partial_fit(df)
    assert forecaster.ids_ == ["a"]
    assert forecaster.predict(future=later(df))["ds"].iloc[0] == df["ds"].iloc[-1] + pd.Timedelta(hours=3)


@pytest.mark.parametrize("options", [{}, {"residual_of": None}, {"residual_of": "naive"}, {"conformal": False}])
def test_a_stream_has_the_bits_of_predict(options: dict) -> None:
    given = {**SMALL, "gap": 2, "futr_exog": ["known"], "hist_exog": ["past"], "bounds": (-2, 30), **options}
    df = table(3000, ids="ab")
    df["past"] = np.where(np.arange(len(df)) % 7 == 0, np.nan, np.sin(df.index))
    df.loc[df.index % 11 == 0, "y"] = np.nan
    first = df.groupby("unique_id").head(600)
    forecaster = fl.Forecaster(30, **given).fit(first)
    stream = forecaster.stream()
    assert stream.ids == ["a", "b"]
    own = [df[df["unique_id"] == one] for one in "ab"]
    for row in range(600, 2900):  # beyond the block for which the calendar is computed at once
        now = [one.iloc[row] for one in own] if row in (600, 2899) else None
        time = own[0]["ds"].iloc[row] if now else None
        arrays = [one[["y", "past", "known"]].to_numpy()[row] for one in own]
        y, past, known = (np.array([one[k] for one in arrays]) for k in range(3))
        ahead = np.stack([one["known"].to_numpy()[row + 1 : row + 33, None] for one in own])
        answers = stream.step(time, y, hist=past[:, None], futr=known[:, None], future=ahead)
    future = df.groupby("unique_id").head(2932).groupby("unique_id").tail(32)[["unique_id", "ds", "known"]]
    found = forecaster.predict(df.groupby("unique_id").head(2900), future=future, quantiles=stream.quantiles)
    expected = found.filter(like="-q-").to_numpy().reshape(2, 30, 7)
    assert np.array_equal(answers, expected)


def test_a_stream_refuses_what_it_cannot_read_and_fills_gaps() -> None:
    df = table(700)
    forecaster = fl.Forecaster(6, **SMALL).fit(df[["ds", "y"]][:600])
    stream = forecaster.stream()
    with pytest.raises(ValueError, match="expected the next one, 2024-01-26T00:00"):
        stream.step("2024-01-25 23:00", 1.0)
    with pytest.raises(ValueError, match="y holds"):
        stream.step(None, np.inf)
    with pytest.raises(ValueError, match=r"hist has shape \(3,\)"):
        stream.step(None, 1.0, hist=[1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="y is None, expected a number, or NaN"):
        stream.step(None, None)
    for odd in (5, 5.5, "soon", pd.NaT, "2024-01-26T00:00+99:00"):
        with pytest.raises((TypeError, ValueError), match="time must be a time such as '2026-01-01 00:15', got"):
            stream.step(odd, 1.0)
    after_gap = stream.step(df["ds"].iloc[603], 0.5)
    past = df[["ds", "y"]][:604].copy()
    past.loc[600:602, "y"] = np.nan
    past.loc[603, "y"] = 0.5
    found = forecaster.predict(past.drop(index=[600, 601, 602]), quantiles=stream.quantiles)
    assert np.array_equal(after_gap, found.filter(like="-q-").to_numpy())
    assert stream.next_time == np.datetime64(df["ds"].iloc[604])


def test_streams_know_aware_times() -> None:
    df = table(600, zone="Europe/Berlin", start="2024-10-01")[["ds", "y"]]
    stream = fl.Forecaster(6, **SMALL).fit(df).stream()
    next_time = df["ds"].iloc[-1] + pd.Timedelta(hours=1)
    stream.step(next_time, 0.1)
    stream.step((next_time + pd.Timedelta(hours=1)).tz_convert("America/New_York").to_pydatetime(), 0.1)
    assert pd.Timestamp(stream.next_time, tz="UTC") == next_time + pd.Timedelta(hours=2)
    stream.step((next_time + pd.Timedelta(hours=2)).tz_convert("UTC").strftime("%Y-%m-%dT%H:%MZ"), 0.1)
    stream.step((next_time + pd.Timedelta(hours=3)).tz_convert("Asia/Tokyo").isoformat(), 0.1)
    assert pd.Timestamp(stream.next_time, tz="UTC") == next_time + pd.Timedelta(hours=4)


def test_values_too_large_for_the_network_are_refused_wherever_they_are_read() -> None:
    df = table(660)
    forecaster = fl.Forecaster(6, futr_exog=["known"], **SMALL).fit(df[:600])
    huge = df.copy()
    huge.loc[650, "y"] = 1e200
    future = later(df.assign(unique_id="y"), 6).drop(columns="unique_id")
    message = "the series 'y' holds 1e\\+200, expected numbers whose squares are finite"
    for read in (forecaster.update, forecaster.evaluate, lambda df: forecaster.predict(df, future=future)):
        with pytest.raises(ValueError, match=message):
            read(huge)
    with pytest.raises(ValueError, match=message), np.errstate(over="ignore"):
        fl.Forecaster(6, futr_exog=["known"], **SMALL).fit(huge)
    with pytest.raises(ValueError, match=r"y holds \[-1e\+40\]"):
        forecaster.stream().step(None, -1e40, futr=[1.0], future=np.ones((6, 1)))
    with pytest.raises(ValueError, match="a forecast is not finite"), np.errstate(all="ignore"):
        forecaster.predict(df.assign(known=1e200), future=future)


def test_a_refused_reading_leaves_a_stream_as_it_was() -> None:
    df = table(600).assign(past=1.0)
    given = {"hist": [[1.0]], "futr": [[1.0]], "future": np.ones((6, 1))}
    forecaster = fl.Forecaster(6, hist_exog=["past"], futr_exog=["known"], **SMALL).fit(df)
    stream = forecaster.stream()
    for name, value in given.items():
        with pytest.raises(ValueError, match=f"{name} holds"):
            stream.step(None, 100.0, **{**given, name: np.full(np.shape(value), np.inf)})
    assert np.array_equal(stream.step(None, 1.0, **given), forecaster.stream().step(None, 1.0, **given))


# ------------------------------------------------------------------------------------------ backtests


def test_a_backtest_does_not_know_what_comes_after_a_cutoff() -> None:
    df = table(600, ids="ab")[["unique_id", "ds", "y"]]
    forecaster = fl.Forecaster(6, **SMALL)
    for refit in (False, True):
        before = forecaster.cross_validation(df, n_windows=3, refit=refit, level=90)
        for window, cutoff in enumerate(sorted(before["cutoff"].unique())):
            planted = df.copy()
            planted.loc[planted["ds"] > cutoff, "y"] = 1e4 * np.sin(planted.index)[planted["ds"] > cutoff]
            after = forecaster.cross_validation(planted, n_windows=3, refit=refit, level=90)
            known = before["cutoff"] <= cutoff
            columns = [one for one in before.columns if one.startswith("fastlstm")]
            pd.testing.assert_frame_equal(before[known][columns], after[known][columns], check_exact=True)
            assert known.sum() == 12 * (window + 1)


def test_a_backtest_gives_the_numbers_of_single_forecasts() -> None:
    df = table(600)[["ds", "y"]]
    forecaster = fl.Forecaster(6, gap=1, **SMALL)
    backtest = forecaster.cross_validation(df, n_windows=10, step_size=3, level=90)
    cutoffs = sorted(backtest["cutoff"].unique())
    assert len(cutoffs) == 10
    assert cutoffs[-1] == df["ds"].iloc[-8]
    single = fl.Forecaster(6, gap=1, **SMALL).fit(df[df["ds"] <= cutoffs[0]])
    for cutoff in cutoffs:
        rows = backtest[backtest["cutoff"] == cutoff].reset_index(drop=True)
        found = single.predict(df[df["ds"] <= cutoff], level=90)
        pd.testing.assert_frame_equal(rows[found.columns], found, check_exact=True, check_dtype=False)
        assert rows["y"].tolist() == df[df["ds"] > cutoff]["y"].tolist()[1:7]


def test_short_series_are_refused_by_a_backtest() -> None:
    with pytest.raises(ValueError, match="leave 0 rows before the first cutoff"):
        fl.Forecaster(24, **SMALL).cross_validation(table(100)[["ds", "y"]], n_windows=9)


# ------------------------------------------------------------------------------------------ errors


def test_an_evaluation_counts_errors_by_step_and_hour() -> None:
    df = table(700)[["ds", "y"]]
    forecaster = fl.Forecaster(6, **SMALL).fit(df[:600])
    found = forecaster.evaluate(df)
    y = df["y"].to_numpy()
    origins = np.arange(599, 694)
    steps = origins[:, None] + 1 + np.arange(6)
    seasonal, naive = y[steps - 24], y[origins][:, None]
    assert found.scores.loc["seasonal naive", "mae"] == pytest.approx(np.abs(y[steps] - seasonal).mean())
    assert found.scores.loc["naive", "mae"] == pytest.approx(np.abs(y[steps] - naive).mean())
    assert found.scores.loc["naive", "pinball"] == pytest.approx(np.abs(y[steps] - naive).mean() / 2)
    unit = np.abs(y[24:600] - y[:576]).mean()
    assert found.scores.loc["naive", "mase"] == pytest.approx(np.abs(y[steps] - naive).mean() / unit)
    answers = np.stack(
        [forecaster.predict(df[: t + 1], quantiles=forecaster.quantiles).filter(like="-q-") for t in origins]
    )
    assert found.scores.loc["fastlstm", "mae"] == pytest.approx(np.abs(y[steps] - answers[:, :, 3]).mean())
    inside = (answers[:, :, 0] <= y[steps]) & (y[steps] <= answers[:, :, -1])
    assert found.scores.loc["fastlstm", "coverage"] == pytest.approx(inside.mean())
    by_step = found.by_horizon[found.by_horizon["method"] == "fastlstm"]
    assert by_step["coverage"].tolist() == pytest.approx(inside.mean(axis=0).tolist())
    by_hour = found.by_hour[found.by_hour["method"] == "naive"].set_index("hour")["mae"]
    at_five = steps % 24 == 5  # the data begin at midnight
    assert by_hour[5] == pytest.approx(np.abs(y[steps] - naive)[at_five].mean())
    assert "seasonal naive" in repr(found)
    assert found.to_dict()["scores"][0]["method"] == "fastlstm"


def test_rows_of_the_training_are_not_measured_unless_asked_for() -> None:
    df = table(700)[["ds", "y"]]
    forecaster = fl.Forecaster(6, **SMALL).fit(df[:600])
    with pytest.raises(ValueError, match="no origin .* after the training data"):
        forecaster.evaluate(df[:600])
    assert forecaster.evaluate(df[:600], in_sample=True).scores.loc["naive", "n"] > 2000
    whole, part = forecaster.evaluate(df), forecaster.evaluate(df[600:])
    assert whole.scores.loc["naive", "n"] == part.scores.loc["naive", "n"] + 6  # the last origin of the training


# ------------------------------------------------------------------------------------------ conventions


def test_parameters_are_stored_as_given_and_checked_at_fit() -> None:
    quantiles = [0.1, 0.5, 0.9]
    forecaster = fl.Forecaster(6, quantiles=quantiles)
    assert forecaster.get_params()["quantiles"] is quantiles
    assert repr(forecaster) == "Forecaster(horizon=6, quantiles=[0.1, 0.5, 0.9])"
    assert forecaster.set_params(horizon=3) is forecaster
    with pytest.raises(ValueError, match="no parameter 'horizons'"):
        forecaster.set_params(horizons=3)
    with pytest.raises(TypeError, match="horizon"):
        fl.Forecaster(horizons=3)
    with pytest.raises(ValueError, match="not fitted yet"):
        forecaster.predict()
    df = table(300)[["ds", "y"]]
    for name, value, message in (
        ("quantiles", [0.9, 0.1], "rising order"),
        ("quantiles", [0.6, 0.9], "both sides of 0.5"),
        ("bounds", (1, 0), "least, greatest"),
        ("residual_of", "last", "residual_of must be"),
        ("scaler", "minmax", "scaler must be"),
        ("horizon", 0, "horizon must be"),
        ("validation", 1, "validation must be"),
        ("layers", [fl.LSTM(4)], "return_sequences=True"),
        ("layers", [fl.LSTM(4, return_sequences=True, bidirectional=True)], "layer 0"),
        ("verbose", 3, "verbose must be"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            fl.Forecaster(6, **{"verbose": 0}).set_params(**{name: value}).fit(df)


def test_equal_random_states_give_equal_numbers_and_none_draws() -> None:
    df = table(300)[["ds", "y"]]
    a, b, c = (fl.Forecaster(6, **{**SMALL, "random_state": seed}).fit(df) for seed in (3, 3, None))
    assert a.predict().equals(b.predict())
    assert not a.predict().equals(c.predict())
    again = fl.Forecaster(6, **{**SMALL, "random_state": c.seed_}).fit(df)
    assert again.predict().equals(c.predict())


def test_layers_of_ones_own_take_the_place_of_the_lstm() -> None:
    df = table(300)[["ds", "y"]]
    layers = [fl.LSTM(6, return_sequences=True, layer_norm=True), fl.LSTM(5, return_sequences=True)]
    forecaster = fl.Forecaster(6, layers=layers, **SMALL).fit(df)
    assert len(forecaster.predict()) == 6
    stream = forecaster.stream()
    answers = stream.step(None, 0.3)
    more = pd.concat([df, pd.DataFrame({"ds": [df["ds"].iloc[-1] + pd.Timedelta(hours=1)], "y": [0.3]})])
    found = forecaster.predict(more, quantiles=forecaster.quantiles)
    assert np.array_equal(answers, found.filter(like="-q-").to_numpy())


def test_the_probability_of_small_values() -> None:
    df = table(600)[["ds", "y"]]
    forecaster = fl.Forecaster(6, **{**SMALL, "epochs": 10}).fit(df)
    quantiles = forecaster.predict(quantiles=[0.1, 0.3, 0.9])
    for level in (0.1, 0.3, 0.9):
        for step in range(6):
            value = float(quantiles[f"fastlstm-q-{level:g}"].iloc[step])
            found = forecaster.probability_below(value)["probability"].iloc[step]
            assert found == pytest.approx(level, abs=1e-6)
    assert forecaster.probability_below(-1e9)["probability"].max() < 1e-6
    assert forecaster.probability_below(1e9)["probability"].min() > 1 - 1e-6
    rising = [forecaster.probability_below(v)["probability"].iloc[0] for v in np.linspace(-3, 3, 60)]
    assert (np.diff(rising) >= 0).all()


def test_importing_the_package_needs_no_pandas(tmp_path: Path) -> None:
    code = "import sys, fastlstm as fl; assert 'pandas' not in sys.modules; fl.Forecaster"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


def test_streams_refuse_what_predict_refuses() -> None:
    """A gap with ``missing="error"``, and a time with a zone where the training data have none."""
    start, hour = np.datetime64("2026-01-01T00:00"), np.timedelta64(1, "h")
    data = {"ds": start + np.arange(100) * hour, "y": np.sin(np.arange(100.0))}
    options: dict[str, Any] = {**SMALL, "conformal": False, "missing": "error"}
    forecaster = fl.Forecaster(2, **options).fit(data)
    stream = forecaster.stream()
    with pytest.raises(ValueError, match="2 steps after the next one, .*missing='mask' reads gaps"):
        stream.step(start + 102 * hour, 0.5)
    with pytest.raises(ValueError, match="which has a zone, the training data have times without one"):
        stream.step(pd.Timestamp(start + 100 * hour, tz="UTC"), 0.5)
    assert stream.next_time == start + 100 * hour
    times, local = stream.next_times(3)
    assert times.tolist() == local.tolist() == (start + np.arange(100, 103) * hour).astype("M8[ns]").tolist()
    assert stream.step(start + 100 * hour, 0.5).shape == (2, 7)


@pytest.mark.filterwarnings("ignore:the validation part is too short for the conformal correction")
@pytest.mark.parametrize("rows", [60, 100, 160])
def test_a_series_whose_validation_part_is_shorter_than_the_horizon_is_learnt(rows: int) -> None:
    forecaster = fl.Forecaster(24, hidden_size=4, epochs=1, random_state=0, verbose=0).fit(table(rows)[["ds", "y"]])
    assert np.isfinite(forecaster.history_.history["val_loss"]).all()
    assert len(forecaster.predict()) == 24
