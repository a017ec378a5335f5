"""Inference of the time grid, its steps against pandas, and horizons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402
from fastlstm.forecast.infer import phases  # noqa: E402
from fastlstm.forecast.runs_of_times import Runs  # noqa: E402

ME, QE, YE = (pd.offsets.MonthEnd(), pd.offsets.QuarterEnd(startingMonth=3), pd.offsets.YearEnd())
FREQS: list[tuple[Any, str]] = [
    ("15min", "15 min"),
    ("h", "1 h"),
    ("90min", "1 h 30 min"),
    ("D", "1 d"),
    ("7D", "7 d"),
    ("W-WED", "7 d"),
    ("B", "business day"),
    ("MS", "month start"),
    (ME, "month end"),
    ("BMS", "month business start"),
    (pd.offsets.BMonthEnd(), "month business end"),
    ("QS", "quarter start"),
    (QE, "quarter end"),
    ("YS", "year start"),
    (YE, "year end"),
    ("2MS", "2 months start"),
    ("s", "1 s"),
    ("250ms", "250 ms"),
    (pd.DateOffset(months=1, day=15), "month, on day 15"),
]


def frame(times: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"ds": times, "y": np.arange(float(len(times))), **columns})


@pytest.mark.parametrize("freq, text", FREQS, ids=[text for _, text in FREQS])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("given", [False, True])
def test_steps_agree_with_pandas(freq: Any, text: str, zone: str | None, given: bool) -> None:
    if given and type(freq) is pd.DateOffset:
        pytest.skip("no alias")
    times = pd.date_range("2024-01-15", periods=60, freq=freq).tz_localize(zone)
    reader = FrameReader(freq=freq if given else None)
    panel = reader.fit(frame(times[:25]).drop(index=[3, 9, 10]))
    # An hour and a half does not divide the hour by which clocks change, so local times follow the local clock.
    local = zone is not None and text in ("1 d", "7 d", "1 h 30 min")
    expected = f"{text} on the clock of {zone}" if local else text
    assert reader.report.frequency == expected
    assert reader.report.gaps == 3 and reader.report.snapped == 0
    stamps = times.tz_convert("UTC").tz_localize(None) if zone else times
    np.testing.assert_array_equal(panel.series[0].times, stamps[:25].to_numpy())
    np.testing.assert_array_equal(reader.axis.steps(panel.series[0].times[-1], 35), stamps[25:].to_numpy())
    assert reader.axis.steps_between(panel.series[0].times[4], panel.series[0].times[-1]) == 20
    assert reader.make_future(panel, 35)["ds"].tolist() == times[25:].tolist()


def test_a_phase_of_its_own_for_each_series() -> None:
    base = pd.date_range("2024-01-01", periods=50, freq="15min")
    df = pd.concat([frame(base).assign(unique_id="a"), frame(base + pd.Timedelta("7min")).assign(unique_id="b")])
    reader = FrameReader()
    panel = reader.fit(df)
    assert reader.report.snapped == 0 and reader.axis.phase is None
    assert panel.series[1].times[0] == np.datetime64("2024-01-01T00:07")
    assert reader.axis.steps(panel.series[1].times[-1], 1)[0] == np.datetime64("2024-01-01T12:37")
    np.testing.assert_array_equal(reader.read(df).series[1].times, panel.series[1].times)


@pytest.mark.parametrize("later", ["3h", "9000h"])
def test_series_that_begin_and_end_at_different_times(later: str) -> None:
    """Those near each other share arrays of times and calendar, the others do not."""
    base = pd.date_range("2024-01-01", periods=50, freq="15min")
    shifted = base[:20] + pd.Timedelta(later)
    df = pd.concat([frame(base).assign(unique_id="a"), frame(shifted).assign(unique_id="b")])
    reader = FrameReader(calendar=["hour_of_day"])
    for one, times in zip(reader.fit(df).series, (base, shifted), strict=True):
        np.testing.assert_array_equal(one.times, times.to_numpy())
        np.testing.assert_array_equal(one.y, np.arange(len(times)))
        parts = 2 * np.pi * (times.hour + times.minute / 60).to_numpy() / 24
        np.testing.assert_allclose(one.futr[:, 0], np.sin(parts), atol=1e-12)  # rounding of the angle
    assert len(reader.axis.features(base)) == 50


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_snapped_and_reported(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = pd.date_range("2024-01-01", periods=500, freq="15min")
    df = frame(base + pd.to_timedelta(rng.integers(-20, 21, 500), unit="s"))
    reader = FrameReader()
    panel = reader.fit(df)
    assert reader.report.frequency == "15 min"
    np.testing.assert_array_equal(panel.series[0].times, base.to_numpy())
    assert reader.report.snapped == int((df["ds"] != base).sum())
    assert (reader.report.largest_shift, reader.report.tolerance) == ("20 s", "3 min 45 s")
    assert "rows moved to the grid by at most 20 s (3 min 45 s allowed)" in str(reader.report)


def test_jitter_around_another_phase() -> None:
    rng = np.random.default_rng(0)
    base = pd.date_range("2024-01-01 00:05", periods=500, freq="h")
    df = frame(base + pd.to_timedelta(rng.normal(0, 15, 500), unit="s"))
    panel = FrameReader().fit(df)
    np.testing.assert_array_equal(panel.series[0].times, base.to_numpy())


def test_a_few_late_rows_keep_the_phase_of_the_majority() -> None:
    base = pd.date_range("2024-01-01", periods=100, freq="h").to_series().reset_index(drop=True)
    base[0] += pd.Timedelta("4min")
    base[50] += pd.Timedelta("3s")
    panel = FrameReader().fit(frame(base))
    assert panel.series[0].times[0] == np.datetime64("2024-01-01")


def test_a_time_between_two_points_is_refused() -> None:
    df = frame(pd.date_range("2024-01-01", periods=50, freq="h"))
    df.loc[20, "ds"] += pd.Timedelta("30min")
    with pytest.raises(
        ValueError, match=r"row 20 of df: series 'y' has the time 2024-01-01 20:30, which is not on the grid of 1 h "
    ):
        FrameReader().fit(df)
    reader = FrameReader(freq="30min")
    assert np.isnan(reader.fit(df).series[0].y).sum() == reader.report.gaps == 49


def test_a_wrong_year_is_refused_and_named() -> None:
    df = frame(pd.date_range("2024-01-01", periods=500, freq="15min"))
    df.loc[499, "ds"] = pd.Timestamp("2204-01-06 04:45")
    with pytest.raises(
        ValueError, match=r"gap from 2024-01-06 04:30 \(row 498 of df\) to 2204-01-06 04:45 \(row 499 of df\)"
    ):
        FrameReader().fit(df)


def test_the_step_of_one_row_must_be_given() -> None:
    one = frame([pd.Timestamp("2024-01-01")])
    with pytest.raises(ValueError, match="no series has two different times: pass freq, such as freq='15min'"):
        FrameReader().fit(one)
    reader = FrameReader(freq="15min")
    panel = reader.fit(one)
    assert len(panel.series[0]) == 1
    assert reader.make_future(panel, 1)["ds"][0] == pd.Timestamp("2024-01-01 00:15")


@pytest.mark.parametrize("freq", ["nonsense", "0min", -1, "SMS", 15, True, "-15min", [1]])
def test_frequencies_that_are_none(freq: Any) -> None:
    with pytest.raises(ValueError, match="freq"):
        FrameReader(freq=freq).fit(frame(pd.date_range("2024-01-01", periods=5, freq="h")))


@pytest.mark.parametrize("old, new", [("15T", "15 min"), ("H", "1 h"), ("M", "month end"), ("Q", "quarter end")])
def test_old_names_of_frequencies(old: str, new: str) -> None:
    times = pd.date_range("2024-01-31", periods=8, freq={"15T": "15min", "H": "h", "M": ME, "Q": QE}[old])
    reader = FrameReader(freq=old)
    reader.fit(frame(times))
    assert reader.report.frequency == new


@pytest.mark.parametrize("freq, finer", [("h", "30min"), ("D", "12h"), ("MS", "D")])
def test_the_step_to_type_is_named(freq: str, finer: str) -> None:
    times = pd.date_range("2024-01-01", periods=20, freq=freq).to_series().reset_index(drop=True)
    times[10] += pd.Timedelta({"h": "30min", "D": "12h", "MS": "9D"}[freq])
    with pytest.raises(ValueError, match=f"pass a finer step, such as freq='{finer}'"):
        FrameReader(freq=freq).fit(frame(times))


def test_two_rows_of_one_step() -> None:
    df = frame(pd.date_range("2024-01-01", periods=50, freq="h"))
    df.loc[50] = [pd.Timestamp("2024-01-01 03:01"), 7.0]
    with pytest.raises(
        ValueError, match="row 3 of df and row 50 of df: .* for one step of 1 h, at 2024-01-01 03:00 and 20"
    ):
        FrameReader().fit(df)


def test_a_step_longer_than_that_of_the_data() -> None:
    with pytest.raises(ValueError, match="not on the grid of 1 d"):
        FrameReader(freq="D").fit(frame(pd.date_range("2024-01-01", periods=50, freq="h")))


def test_long_steps_are_not_moved_by_days() -> None:
    days = pd.to_datetime(["2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30", "2024-05-30"])
    with pytest.raises(ValueError, match="not on the grid of 30 d"):
        FrameReader().fit(frame(days))


def test_whole_numbers_count_steps() -> None:
    df = pd.DataFrame({"ds": [10, 2, 4, 8], "y": [5.0, 1.0, 2.0, 4.0]})
    reader = FrameReader()
    panel = reader.fit(df)
    one = panel.series[0]
    assert one.times.tolist() == [2, 4, 6, 8, 10] and one.times.dtype == np.int64
    np.testing.assert_array_equal(one.y, [1, 2, np.nan, 4, 5])
    assert one.futr.shape == (5, 0)
    assert reader.make_future(panel, 2)["ds"].tolist() == [12, 14]
    assert reader.axis.horizon_steps(3, 10) == 3
    with pytest.raises(ValueError, match="whole numbers, so horizon must be a number of steps, got '1D'"):
        reader.axis.horizon_steps("1D", 10)
    with pytest.raises(ValueError, match="whole numbers, which have no calendar"):
        FrameReader(calendar=["hour_of_day"]).fit(df)
    with pytest.raises(ValueError, match="whole numbers, which have no time zone"):
        FrameReader(time_zone="UTC").fit(df)


def test_seconds_since_1970_are_pointed_out() -> None:
    reader = FrameReader()
    reader.fit(pd.DataFrame({"ds": 1_700_000_000 + 900 * np.arange(5), "y": 1.0}))
    assert any("pandas.to_datetime(df['ds'], unit='s')" in note for note in reader.report.notes)


HORIZONS = [
    ("15min", "1D", 96),
    ("15min", "14h", 56),
    ("15min", "30min", 2),
    ("15min", "2W", 1344),
    ("15min", 7, 7),
    ("15min", 0, 0),
    ("h", "D", 24),
    ("D", "1W", 7),
    ("MS", "1Y", 12),
    ("MS", "2Q", 6),
    ("QS", "6M", 2),
    ("B", "5B", 5),
    ("B", "1W", 5),
]


@pytest.mark.parametrize("freq, horizon, steps", HORIZONS)
def test_horizons(freq: str, horizon: Any, steps: int) -> None:
    reader = FrameReader()
    panel = reader.fit(frame(pd.date_range("2024-01-01", periods=30, freq=freq)))
    end = panel.series[0].times[-1]
    assert reader.axis.horizon_steps(horizon, end) == steps
    assert reader.axis.horizon_bounds(horizon, end) == (steps, steps)


@pytest.mark.parametrize(
    "freq, horizon, words",
    [
        ("15min", "20min", r"no multiple of the step, 15 min: nearest are 15 min \(1 step\) and 30 min \(2 steps\)"),
        ("15min", "10min", r"nearest are 15 min \(1 step\)"),
        ("15min", "1M", "needs a grid of months"),
        ("15min", "3B", "needs a grid of business days"),
        ("D", "36h", r"nearest are 1 d \(1 step\) and 2 d \(2 steps\)"),
        ("QS", "4M", "nearest are 3M or 6M"),
        ("QS", "2M", "nearest are 3M"),
        ("MS", "10D", "does not end on the grid"),
        ("15min", "soon", "must be a number of steps or a time such as '1D', '14h' or '30min', got 'soon'"),
        ("15min", "99999999999D", "too long"),
        ("15min", "999999999D", "too long"),
        ("15min", 1.5, "horizon must be an integer"),
        ("15min", -1, "horizon must be at least 0"),
    ],
)
def test_horizons_that_do_not_fit(freq: str, horizon: Any, words: str) -> None:
    reader = FrameReader()
    panel = reader.fit(frame(pd.date_range("2024-01-01", periods=30, freq=freq)))
    with pytest.raises((ValueError, TypeError), match=words):
        reader.axis.horizon_steps(horizon, panel.series[0].times[-1])


def test_later_data_must_lie_on_the_grid() -> None:
    reader = FrameReader()
    reader.fit(frame(pd.date_range("2024-01-01", periods=30, freq="D")))
    with pytest.raises(ValueError, match="not on the grid of 1 d"):
        reader.read(frame(pd.date_range("2024-02-01 12:00", periods=3, freq="D")))
    one = reader.read(frame(pd.date_range("2024-02-01 00:00:04", periods=3, freq="D"))).series[0]
    assert one.times[0] == np.datetime64("2024-02-01")


def test_phases_are_points_on_a_circle() -> None:
    from fastlstm.forecast.grid import Fixed

    times = np.array([-2, 101, 199, 302, 398]) * 10**9
    found = phases(Fixed(100 * 10**9, None), Runs(times, np.array([0, 5])))
    assert found.tolist() == [0]
