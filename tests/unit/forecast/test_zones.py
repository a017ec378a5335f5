"""The local clock: days of 23 and 25 hours, hours that occur twice or never."""

from __future__ import annotations

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402

BERLIN = "Europe/Berlin"


def true_times(start: str, end: str, freq: str = "15min", zone: str = BERLIN) -> pd.DatetimeIndex:
    return pd.date_range(start, end, freq=freq, tz=zone, inclusive="left")


def naive(times: pd.DatetimeIndex, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"ds": times.tz_localize(None), "y": np.arange(float(len(times))), **columns})


def utc(times: pd.DatetimeIndex) -> np.ndarray:
    return times.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[ns]")


@pytest.mark.parametrize(
    "start, end, hours",
    [("2024-03-31", "2024-04-01", 23), ("2024-10-27", "2024-10-28", 25), ("2024-06-01", "2024-06-02", 24)],
)
@pytest.mark.parametrize("freq", ["15min", "30min", "h", "10min", "min"])
def test_days_of_23_and_25_hours(start: str, end: str, hours: int, freq: str) -> None:
    times = true_times(start, end, freq)
    reader = FrameReader(time_zone=BERLIN)
    one = reader.fit(naive(times)).series[0]
    np.testing.assert_array_equal(one.times, utc(times))
    np.testing.assert_array_equal(one.y, np.arange(len(times)))
    assert len(one) == hours * (
        pd.Timedelta("1h") // pd.Timedelta(1, freq) if freq in ("h", "min") else 60 // int(freq[:2])
    )
    assert reader.report.gaps == 0


def test_quarter_hours_of_a_year_have_no_gap_and_both_changes() -> None:
    times = true_times("2024-01-01", "2025-01-01")
    reader = FrameReader(time_zone=BERLIN)
    one = reader.fit(naive(times)).series[0]
    np.testing.assert_array_equal(one.times, utc(times))
    assert reader.report.gaps == 0 and reader.report.repeated_hours == 8
    back = reader.frame([0] * len(one), one.times, {"y": one.y})
    pd.testing.assert_frame_equal(back, naive(times), check_dtype=False)


@pytest.mark.parametrize(
    "start, steps", [("2024-03-31", 92), ("2024-10-27", 100), ("2024-10-26", 96), ("2024-03-30 12:00", 92)]
)
def test_a_horizon_of_a_day_leads_to_the_same_local_time(start: str, steps: int) -> None:
    begin = pd.Timestamp(start, tz=BERLIN)
    times = pd.date_range(end=begin, periods=300, freq="15min")
    reader = FrameReader(time_zone=BERLIN)
    panel = reader.fit(naive(times))
    end = panel.series[0].times[-1]
    assert reader.axis.horizon_steps("1D", end) == steps
    assert reader.axis.horizon_steps("24h", end) == 96
    assert reader.axis.horizon_bounds("1D", end) == (92, 100)
    assert reader.axis.horizon_bounds(96, end) == (96, 96)
    future = reader.make_future(panel, steps)
    assert future["ds"].iloc[-1] == begin.tz_localize(None) + pd.Timedelta("1D")
    assert future["ds"].dtype == naive(times)["ds"].dtype


def test_half_hour_changes() -> None:
    zone = "Australia/Lord_Howe"  # its clock changes by 30 minutes
    times = true_times("2024-04-06", "2024-04-08", zone=zone)
    one = FrameReader(time_zone=zone).fit(naive(times)).series[0]
    np.testing.assert_array_equal(one.times, utc(times))
    assert len(one) == 2 * 96 + 2


def test_rows_with_the_newest_first() -> None:
    times = true_times("2024-10-26", "2024-10-29")
    reader = FrameReader(time_zone=BERLIN)
    one = reader.fit(naive(times)[::-1]).series[0]
    np.testing.assert_array_equal(one.times, utc(times))
    np.testing.assert_array_equal(one.y, np.arange(len(times)))


def test_interleaved_series() -> None:
    times = true_times("2024-10-26", "2024-10-29")
    both = pd.concat([naive(times).assign(unique_id=one) for one in "ab"]).sort_index(kind="stable")
    panel = FrameReader(time_zone=BERLIN).fit(both)
    for one in panel.series:
        np.testing.assert_array_equal(one.times, utc(times))
        np.testing.assert_array_equal(one.y, np.arange(len(times)))


def test_shuffled_rows_of_an_hour_that_occurs_twice_are_refused() -> None:
    times = true_times("2024-10-26", "2024-10-29")
    with pytest.raises(
        ValueError, match=r"row \d+ of df: the hour of 2024-10-27 02:00:00 occurs twice in Europe/Berlin"
    ):
        FrameReader(time_zone=BERLIN).fit(naive(times).sample(frac=1, random_state=0))


def test_an_hour_that_occurs_once_is_taken_as_the_first_and_reported() -> None:
    times = true_times("2024-10-26", "2024-10-29")
    once = naive(times).drop_duplicates("ds")
    reader = FrameReader(time_zone=BERLIN)
    one = reader.fit(once).series[0]
    assert reader.report.hours_taken_as_first == 4 and reader.report.gaps == 4
    gap = np.isnan(one.y)
    np.testing.assert_array_equal(utc(times)[gap], utc(true_times("2024-10-27 01:00", "2024-10-27 02:00", zone="UTC")))


def test_an_hour_that_occurs_once_after_known_data_is_the_second() -> None:
    times = true_times("2024-10-20", "2024-10-27")
    reader = FrameReader(time_zone=BERLIN)
    reader.fit(naive(times))
    known = np.datetime64("2024-10-27T00:45")  # the last quarter of the first hour
    later = pd.DataFrame({"ds": pd.to_datetime(["2024-10-27 02:00", "2024-10-27 02:15"]), "y": [1.0, 2.0]})
    assert reader.read(later).series[0].times[0] == np.datetime64("2024-10-27T00:00")
    assert reader.read(later, after={"y": known}).series[0].times[0] == np.datetime64("2024-10-27T01:00")


def test_a_time_that_the_clock_skips_is_refused() -> None:
    times = pd.date_range("2024-03-30", "2024-04-01", freq="15min")
    df = pd.DataFrame({"ds": times, "y": 1.0})
    with pytest.raises(
        ValueError, match=r"row 104 of df: series 'y' has a value for 2024-03-31 02:00:00, a time that the "
    ):
        FrameReader(time_zone=BERLIN).fit(df)


def test_empty_rows_at_times_that_the_clock_skips_are_dropped() -> None:
    times = pd.date_range("2024-03-30", "2024-04-01", freq="15min")
    df = pd.DataFrame({"ds": times, "y": 1.0})
    df.loc[104:107, "y"] = np.nan
    reader = FrameReader(time_zone=BERLIN)
    one = reader.fit(df).series[0]
    assert reader.report.skipped_hours == 4 and reader.report.gaps == 0 and not np.isnan(one.y).any()


def test_rows_after_dropped_ones_keep_their_names() -> None:
    times = pd.date_range("2024-03-30", "2024-04-01", freq="15min")
    df = pd.DataFrame({"ds": times, "y": 1.0})
    df.loc[104:107, "y"] = np.nan
    odd = pd.concat([df, pd.DataFrame({"ds": [pd.Timestamp("2024-03-31 05:00")], "y": [7.0]})], ignore_index=True)
    with pytest.raises(
        ValueError, match=r"row 116 of df and row 193 of df: series 'y' has two rows for 2024-03-31 05:00"
    ):
        FrameReader(time_zone=BERLIN).fit(odd)


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Asia/Kathmandu", "UTC", "Australia/Sydney"])
@pytest.mark.parametrize("span", [("2024-03-01", "2024-04-15"), ("2024-10-01", "2024-11-10")])
def test_days_of_a_local_clock(zone: str, span: tuple[str, str]) -> None:
    times = pd.date_range(*span, freq="D", tz=zone)
    reader = FrameReader()
    panel = reader.fit(pd.DataFrame({"ds": times, "y": np.arange(float(len(times)))}))
    assert reader.report.gaps == 0 and reader.report.snapped == 0
    np.testing.assert_array_equal(panel.series[0].times, utc(times))
    future = reader.make_future(panel, 200)["ds"]
    assert future.tolist() == pd.date_range(times[-1], periods=201, freq=pd.DateOffset(days=1))[1:].tolist()


def test_days_whose_time_is_skipped_once() -> None:
    """In Beirut clocks go forward at midnight: the day begins at 01:00, and the next ones at 00:00 again."""
    days = pd.date_range("2024-03-01", "2024-04-20", freq="D")
    times = days.tz_localize("Asia/Beirut", nonexistent="shift_forward")
    at = int(np.flatnonzero(times.hour == 1)[0])
    reader = FrameReader()
    panel = reader.fit(pd.DataFrame({"ds": times[: at + 1], "y": 1.0}))
    np.testing.assert_array_equal(panel.series[0].times, utc(times[: at + 1]))
    assert reader.report.snapped == 0
    np.testing.assert_array_equal(reader.axis.steps(panel.series[0].times[-1], 5), utc(times[at + 1 : at + 6]))


def test_six_hours_on_the_local_clock() -> None:
    days = pd.date_range("2024-03-20", "2024-04-10", freq="6h")
    times = days.tz_localize(BERLIN)
    reader = FrameReader(time_zone=BERLIN)
    panel = reader.fit(pd.DataFrame({"ds": days, "y": 1.0}))
    np.testing.assert_array_equal(panel.series[0].times, utc(times))
    assert reader.report.frequency == "6 h on the clock of Europe/Berlin"
    assert reader.axis.horizon_steps("1D", panel.series[0].times[-1]) == 4


def test_local_days_in_utc_need_a_zone() -> None:
    """Midnights of Berlin in UTC are 23:00 in winter and 22:00 in summer."""
    times = pd.date_range("2024-03-01", "2024-05-01", freq="D", tz=BERLIN)
    df = pd.DataFrame({"ds": times.tz_convert("UTC"), "y": np.arange(float(len(times)))})
    reader = FrameReader(time_zone=BERLIN)
    np.testing.assert_array_equal(reader.fit(df).series[0].times, utc(times))
    assert reader.make_future(reader.fit(df), 1)["ds"].iloc[0] == pd.Timestamp("2024-05-02", tz=BERLIN)
    with pytest.raises(
        ValueError, match="31 of 62 times lie exactly 1 h off the grid of 1 d, .* time_zone='Europe/Ber"
    ):
        FrameReader().fit(df)
    given = FrameReader(freq="D")
    given.fit(df)
    assert given.report.snapped == 31 or given.report.snapped == 30  # of the phases, that of the majority


def test_hours_on_a_grid_of_local_days() -> None:
    times = pd.date_range("2024-03-01", "2024-03-30", freq="D", tz=BERLIN)
    reader = FrameReader()
    end = reader.fit(pd.DataFrame({"ds": times, "y": 1.0})).series[0].times[-1]
    assert reader.axis.horizon_steps("24h", end) == 1 and reader.axis.horizon_steps("48h", end) == 2
    assert reader.axis.horizon_bounds("3D", end) == (3, 3)


def test_six_hours_in_utc() -> None:
    times = pd.date_range("2024-03-20", "2024-04-10", freq="6h", tz="UTC")
    reader = FrameReader(time_zone=BERLIN)
    panel = reader.fit(pd.DataFrame({"ds": times, "y": 1.0}))
    np.testing.assert_array_equal(panel.series[0].times, utc(times))
    assert reader.report.frequency == "6 h" and reader.report.snapped == 0


def test_calendar_follows_the_local_clock() -> None:
    times = true_times("2024-10-20", "2024-11-05", "h")
    reader = FrameReader(time_zone=BERLIN, calendar=["hour_of_day", "day_of_week"])
    one = reader.fit(naive(times)).series[0]
    hour = 2 * np.pi * times.hour.to_numpy() / 24
    np.testing.assert_allclose(one.futr[:, 0], np.sin(hour), atol=1e-12)  # rounding of the angle
    np.testing.assert_allclose(one.futr[:, 1], np.cos(hour), atol=1e-12)
    week = 2 * np.pi * (times.day_of_week.to_numpy() * 24 + times.hour.to_numpy()) / 168
    np.testing.assert_allclose(one.futr[:, 2], np.sin(week), atol=1e-12)


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match="time_zone must be the name .* got 'Europe/Berln'; did you mean 'Europe/Berlin'"
    ):
        FrameReader(time_zone="Europe/Berln")
    with pytest.raises(ValueError, match="did you mean 'Europe/Berlin'"):
        FrameReader(time_zone="berlin")
    with pytest.raises(ValueError, match="time_zone must be the name"):
        FrameReader(time_zone=3)


def test_naive_times_of_a_clock_with_summer_time_hint_at_time_zone() -> None:
    df = naive(true_times("2024-10-26", "2024-10-29"))
    with pytest.raises(ValueError, match=r"two rows for 2024-10-27 02:00 .* pass time_zone='Europe/Berlin'"):
        FrameReader().fit(df)


def test_kinds_of_times_are_not_mixed() -> None:
    times = true_times("2024-06-01", "2024-06-03")
    aware = pd.DataFrame({"ds": times, "y": 1.0})
    reader = FrameReader()
    reader.fit(aware)
    with pytest.raises(ValueError, match=r"df\['ds'\] holds times without a zone, .*tz_localize\('Europe/Berlin'\)"):
        reader.read(naive(times))
    other = FrameReader()
    other.fit(naive(times))
    with pytest.raises(ValueError, match=r"holds times in Europe/Berlin, the training data have times without a zone"):
        other.read(aware)
    third = FrameReader(time_zone=BERLIN)
    third.fit(naive(times))
    np.testing.assert_array_equal(third.read(aware).series[0].times, utc(times))
