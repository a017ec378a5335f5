"""Times of every kind that people have, and texts that are none."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402

HOURS = pd.date_range("2024-03-01 00:00", periods=5, freq="h")


def read(times: Any, **arguments: Any) -> tuple[FrameReader, np.ndarray]:
    reader = FrameReader(**arguments)
    panel = reader.fit(pd.DataFrame({"ds": times, "y": np.arange(float(len(times)))}))
    return reader, panel.series[0].times


@pytest.mark.parametrize(
    "texts",
    [
        HOURS.strftime("%Y-%m-%d %H:%M:%S"),
        HOURS.strftime("%Y-%m-%dT%H:%M"),
        HOURS.strftime("%Y/%m/%d %H:%M"),
        HOURS.strftime("%d.%m.%Y %H:%M"),
        HOURS.strftime("%Y-%m-%d %H:%M:%S.000"),
        HOURS.strftime("  %Y-%m-%d %H:%M "),
        ["2024-3-1 0:00", "2024-3-1 1:00", "2024-3-1 2:00", "2024-3-1 3:00", "2024-3-1 4:00"],
        HOURS.strftime("%Y%m%d %H%M%S"),
    ],
)
@pytest.mark.parametrize("dtype", [object, None, "category"])
def test_texts(texts: Any, dtype: Any) -> None:
    reader, times = read(pd.Series(list(texts), dtype=dtype))
    np.testing.assert_array_equal(times, HOURS.to_numpy())
    assert reader.frame(["y"], times[:1], {})["ds"].iloc[0] == HOURS[0]


@pytest.mark.parametrize(
    "texts, first",
    [
        (["13/04/2024", "14/04/2024", "15/04/2024"], "2024-04-13"),
        (["04/13/2024", "04/14/2024", "04/15/2024"], "2024-04-13"),
        (["1/4/2024", "2/4/2024", "13/4/2024"], "2024-04-01"),
        (["13-04-2024", "14-04-2024", "15-04-2024"], "2024-04-13"),
        (["03.04.2024", "04.04.2024", "05.04.2024"], "2024-04-03"),
        (["04/13/2024 11:00 PM", "04/14/2024 11:00 PM", "04/15/2024 11:00 pm"], "2024-04-13T23"),
        (["04/13/2024 12:30 AM", "04/14/2024 12:30 AM"], "2024-04-13T00:30"),
        (["2024", "2025", "2026"], "2024-01-01"),
        (["2024-01", "2024-02", "2024-03"], "2024-01-01"),
        (["20240413", "20240414"], "2024-04-13"),
    ],
)
def test_dates(texts: list[str], first: str) -> None:
    reader, times = read(texts)
    assert times[0] == np.datetime64(first)
    if "/" in texts[0] or "." in texts[0]:
        assert any("day first" in note or "month first" in note for note in reader.report.notes)


@pytest.mark.parametrize(
    "texts, words",
    [
        (
            ["03/04/2024", "04/04/2024"],
            r"row 0 of df has the time '03/04/2024', of which day and month cannot be told apart",
        ),
        (["03/04/2024", "04/04/2024"], r"pandas.to_datetime\(df\['ds'\], dayfirst=True\)"),
        (
            ["13/04/2024", "04/14/2024"],
            "row 0 of df .* row 1 of df has '04/14/2024', expected the day in the same place",
        ),
        (["2024-03-01", "tomorrow", "2024-03-03"], "row 1 of df has the time 'tomorrow', expected a time such as"),
        (["2024-03-01", "2024-02-30", "2024-03-03"], "row 1 of df has the time '2024-02-30'"),
        (["2024-03-01 24:00", "2024-03-02 01:00"], "row 0 of df has the time '2024-03-01 24:00'"),
        (["2024-03-01", "", "2024-03-03"], "row 1 of df has the time ''"),
        (["01/02/24", "02/02/24"], "row 0 of df has the time '01/02/24', expected a time such as"),
        (["2024-03-01", "13/04/2024"], "row 0 of df has the time '2024-03-01' among times written like '13/04/2024'"),
        (
            ["2024-03-01T00:00Z", "2024-03-01T01:00"],
            "row 0 of df has a time with an offset from UTC and row 1 of df one",
        ),
        (
            ["2024-03-01T00:00+01:00", "2024-04-01T01:00+02:00"],
            r"several zones or offsets \(\+01:00, \+02:00\): pass time_zone='Europe/Berlin'",
        ),
        (["13/13/2024", "14/13/2024"], "expected the day in the same place|has the time"),
        (["04/13/2024 13:00 PM", "04/14/2024 13:00 PM"], "has the time"),
        ([None, "2024-03-01"], "row 0 of df has no time"),
    ],
)
def test_texts_that_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(texts)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M%z", "%Y-%m-%dT%H:%M:%SZ"])
def test_texts_with_an_offset(form: str) -> None:
    times = HOURS.tz_localize("UTC")
    reader, found = read(times.strftime(form).tolist())
    np.testing.assert_array_equal(found, HOURS.to_numpy())
    assert reader.report.time_zone == "UTC"
    assert reader.frame(["y"], found[:1], {})["ds"].iloc[0] == times[0]


def test_texts_with_the_offsets_of_a_zone() -> None:
    times = pd.date_range("2024-10-26 12:00", periods=48, freq="h", tz="Europe/Berlin")
    reader, found = read([time.isoformat() for time in times], time_zone="Europe/Berlin")
    np.testing.assert_array_equal(found, times.tz_convert("UTC").tz_localize(None).to_numpy())
    assert reader.report.gaps == 0 and reader.report.time_zone == "Europe/Berlin"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "UTC"])
def test_units_and_zones_come_back(unit: str, zone: str | None) -> None:
    times = HOURS.as_unit(unit).tz_localize(zone)
    reader, found = read(times)
    out = reader.frame(["y"] * 5, found, {"z": np.zeros(5)})["ds"]
    pd.testing.assert_series_equal(out, pd.Series(times, name="ds"))


def test_datetime_objects() -> None:
    _, found = read(pd.Series(HOURS.to_pydatetime(), dtype=object))
    np.testing.assert_array_equal(found, HOURS.to_numpy())
    zone = datetime.timezone(datetime.timedelta(hours=1))
    reader, found = read(pd.Series([time.replace(tzinfo=zone) for time in HOURS.to_pydatetime()], dtype=object))
    np.testing.assert_array_equal(found, (HOURS - pd.Timedelta("1h")).to_numpy())
    assert reader.report.time_zone == "UTC+01:00"
    assert reader.frame(["y"], found[:1], {})["ds"].iloc[0] == HOURS[0].tz_localize(zone)


def test_date_objects_come_back() -> None:
    dates = [datetime.date(2024, 2, day) for day in (27, 28, 29)]
    reader, found = read(pd.Series(dates, dtype=object))
    assert reader.frame(["y"] * 3, found, {})["ds"].tolist() == dates


@pytest.mark.parametrize("freq, text", [("M", "month start"), ("D", "1 d"), ("Q", "quarter start"), ("h", "1 h")])
def test_periods_come_back(freq: str, text: str) -> None:
    periods = pd.period_range("2024-01", periods=6, freq=freq)
    reader, found = read(periods)
    assert reader.report.frequency == text
    np.testing.assert_array_equal(found, periods.to_timestamp().to_numpy())
    out = reader.frame(["y"] * 6, found, {})["ds"]
    assert out.tolist() == periods.tolist() and out.dtype == pd.Series(periods).dtype


def test_a_weekly_period() -> None:
    periods = pd.period_range("2024-01-01", periods=6, freq="W")
    reader, found = read(periods)
    assert reader.frame(["y"] * 6, found, {})["ds"].tolist() == periods.tolist()


@pytest.mark.parametrize(
    "values, error, words",
    [
        ([True, False], TypeError, "expected times or whole numbers"),
        ([0.5, 1.5], ValueError, "row 0 of df has the time 0.5, expected a whole number or a date"),
        ([HOURS[0], "2024-03-02"], TypeError, "row 1 of df has the time '2024-03-02', a str among values of type"),
        ([HOURS[0], None], ValueError, "row 1 of df has no time"),
        ([HOURS[0], pd.NaT], ValueError, "row 1 of df has no time"),
        ([2**63, 1], ValueError, "whole numbers beyond"),
        ([[1], [2]], TypeError, r"row 0 of df has the time \[1\], a list, expected times of one kind"),
        ([HOURS[0], HOURS[1].tz_localize("UTC")], ValueError, "one without: give all of them or none a zone"),
        ([HOURS[0].tz_localize("Asia/Tokyo"), HOURS[1].tz_localize("UTC")], ValueError, r"\(Asia/Tokyo, UTC\)"),
    ],
)
def test_what_is_no_time(values: list[Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(pd.Series(values, dtype=object if not isinstance(values[0], (bool, float)) else None))


@pytest.mark.parametrize(
    "values", [[3, 4, 5], [3.0, 4.0, 5.0], np.array([3, 4, 5], np.int32), pd.array([3, 4, 5], "Int64")]
)
def test_whole_numbers_of_any_type(values: Any) -> None:
    _, found = read(values)
    assert found.tolist() == [3, 4, 5]


def test_times_beyond_the_range() -> None:
    values = pd.Series(np.array(["3024-01-01", "3024-01-02"], "M8[s]"))
    with pytest.raises(ValueError, match="times outside the years 1678 to 2261"):
        read(values)
