"""Columns next to the target: lists, static features, known future inputs, calendar and holidays."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402
from fastlstm.forecast.panel import Panel  # noqa: E402

HOURS = pd.date_range("2024-03-01", periods=5, freq="h")


def long(**columns: Any) -> pd.DataFrame:
    """Return two series of five hours, with further columns of ten values."""
    return pd.DataFrame({"unique_id": ["a"] * 5 + ["b"] * 5, "ds": list(HOURS) * 2, "y": np.arange(10.0), **columns})


def test_a_column_in_no_list_is_refused_with_what_it_could_be() -> None:
    df = long(
        temp=np.arange(10.0), size=[1.0] * 5 + [2.0] * 5, kind=["x"] * 5 + ["z"] * 5, word=list("abcdefghij"),
        stamp=list(HOURS) * 2,
    )  # fmt: skip
    with pytest.raises(ValueError) as caught:
        FrameReader().fit(df)
    for words in (
        "'temp' (hist_exog or futr_exog)", "'size' (constant within each series: stat_exog)", "'kind' (cat_exog)",
        "'word' (text: id_col", "'stamp' (times: time_col)", "df.drop(columns=['temp', 'size'",
        "hist_exog: numbers known up to the present",
    ):  # fmt: skip
        assert words in str(caught.value)


def test_a_listed_column_that_is_missing() -> None:
    with pytest.raises(ValueError, match="df has no column 'temp', which is in futr_exog"):
        FrameReader(futr_exog=["temp"]).fit(long())
    with pytest.raises(ValueError, match="column 'temp' is both hist_exog and in futr_exog"):
        FrameReader(hist_exog=["temp"], futr_exog=["temp"]).fit(long(temp=1.0))
    with pytest.raises(ValueError, match="hist_exog holds a name twice"):
        FrameReader(hist_exog=["temp", "temp"])
    with pytest.raises(TypeError, match="futr_exog must be a list of names of columns, got 3"):
        FrameReader(futr_exog=[3])


def test_a_column_called_like_the_calendar() -> None:
    with pytest.raises(ValueError, match="column 'hour_of_day_sin' is called like a feature of the calendar"):
        FrameReader(futr_exog=["hour_of_day_sin"], calendar=["hour_of_day"]).fit(long(hour_of_day_sin=1.0))


def test_exogenous_columns_by_grid_points() -> None:
    df = long(temp=np.arange(10.0) * 2, flow=np.arange(10.0) * 3, on=[True, False] * 5).drop(index=1)
    reader = FrameReader(hist_exog=["flow", "on"], futr_exog="temp", calendar=["hour_of_day"])
    panel = reader.fit(df)
    assert panel.hist_names == ("flow", "on")
    assert panel.futr_names == ("temp", "hour_of_day_sin", "hour_of_day_cos")
    np.testing.assert_array_equal(panel.series[0].hist, [[0, 1], [np.nan, np.nan], [6, 1], [9, 0], [12, 1]])
    np.testing.assert_array_equal(panel.series[0].futr[:, 0], [0, np.nan, 4, 6, 8])
    np.testing.assert_allclose(panel.series[0].futr[:, 1], np.sin(np.arange(5) * np.pi / 12), atol=1e-12)
    assert not np.isnan(panel.series[0].futr[:, 1:]).any()  # the calendar has no gaps
    assert reader.report.missing == {"y": 1, "flow": 1, "on": 1, "temp": 1}


def test_later_data_have_the_same_columns() -> None:
    df = long(temp=1.0, flow=2.0)
    reader = FrameReader(hist_exog=["flow"], futr_exog=["temp"])
    panel = reader.fit(df)
    again = reader.read(df[["flow", "y", "temp", "ds", "unique_id"]][::-1])
    for one, other in zip(panel.series, again.series, strict=True):
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_array_equal(one.hist, other.hist)
        np.testing.assert_array_equal(one.futr, other.futr)
    with pytest.raises(ValueError, match="df has columns that are in no list: 'more'"):
        reader.read(df.assign(more=1.0))
    with pytest.raises(ValueError, match="df has no column 'flow'"):
        reader.read(df.drop(columns="flow"))
    with pytest.raises(ValueError, match=r"call fit\(df\) first"):
        FrameReader().read(df)


# ------------------------------------------------------------------------------------------------ static features


def test_static_columns() -> None:
    df = long(size=[1.0] * 5 + [2.0] * 5, kind=["x"] * 5 + ["z"] * 5)
    panel = FrameReader(stat_exog=["size"], cat_exog=["kind"]).fit(df)
    assert panel.static_names == ("size", "kind=x", "kind=z")
    assert [one.static.tolist() for one in panel.series] == [[1, 1, 0], [2, 0, 1]]


@pytest.mark.parametrize("kinds", [["x", "z"], [4, 9], pd.Categorical(["x", "z"]), [True, False]])
def test_static_frame(kinds: Any) -> None:
    static = pd.DataFrame({"unique_id": ["a", "b"], "kind": kinds, "size": [1, 2]})
    expected = [[1.0, 1.0, 0.0], [2.0, 0.0, 1.0]] if kinds[0] is not True else [[1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    reader = FrameReader(stat_exog=["size"], cat_exog=["kind"])
    panel = reader.fit(long(), static_df=static[::-1])
    assert [one.static.tolist() for one in panel.series] == expected
    assert [one.static.tolist() for one in reader.read(long()).series] == expected  # known from fit
    more = pd.concat([long(), long().iloc[:5].assign(unique_id="c")])
    with pytest.raises(
        ValueError, match="series 'c' has no value of the static column 'size': give it in a column of df"
    ):
        reader.read(more)
    again = reader.read(more, static_df=pd.DataFrame({"unique_id": ["c"], "kind": [kinds[1]], "size": [3]}))
    assert again.series[2].static.tolist() == [3.0, *expected[1][1:]]
    with pytest.raises(
        ValueError, match="series 'c' has the kind 'new', a category that did not occur in training, expected one of"
    ):
        reader.read(more, static_df=pd.DataFrame({"unique_id": ["c"], "kind": ["new"], "size": [3]}))


@pytest.mark.parametrize(
    "static, words",
    [
        ({"unique_id": ["a"], "size": [1]}, "series 'b' has no value of the static column 'size'"),
        (
            {"unique_id": ["a", "b"], "size": [1, np.nan]},
            "series 'b' has no value of the static column 'size', expected one",
        ),
        ({"unique_id": ["a", "b", "b"], "size": [1, 2, 2]}, "static_df has two rows for series 'b'"),
        ({"unique_id": ["a", "b"], "size": [1, 2], "x": [1, 2]}, "static_df has the column 'x', which is in no list"),
        ({"meter": ["a", "b"], "size": [1, 2]}, "static_df has no column 'unique_id'"),
        ({"unique_id": ["a", None], "size": [1, 2]}, "row 1 of static_df has no id"),
        ({"unique_id": ["a", "b"], "size": [1, np.inf]}, "row 1 of static_df has the value inf"),
    ],
)
def test_static_frames_that_are_refused(static: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FrameReader(stat_exog=["size"]).fit(long(), static_df=pd.DataFrame(static))


@pytest.mark.parametrize("value, kind", [({}, "dict"), ([1], "list"), (pd.Timestamp("2024"), "pandas.Timestamp")])
def test_categories_that_are_none(value: Any, kind: str) -> None:
    df = long()
    df["kind"] = pd.Series([value] * 10, dtype=object)
    with pytest.raises(TypeError, match=f"row 0 of df has the category .* in column 'kind', a {kind}, expected a text"):
        FrameReader(cat_exog=["kind"]).fit(df)
    static = pd.DataFrame({"unique_id": ["a", "b"], "kind": pd.Series(["x", value], dtype=object)})
    with pytest.raises(TypeError, match=f"row 1 of static_df has the category .* a {kind}"):
        FrameReader(cat_exog=["kind"]).fit(long(), static_df=static)


def test_static_values_that_change_are_refused() -> None:
    words = (
        r"column 'size' is in stat_exog, but changes within series 'a', from 0.0 \(row 0 of df\) to 1.0 \(row 1 of df\)"
    )
    with pytest.raises(ValueError, match=words):
        FrameReader(stat_exog=["size"]).fit(long(size=np.arange(10.0)))
    with pytest.raises(ValueError, match="is in cat_exog, but changes within series 'b'"):
        FrameReader(cat_exog=["kind"]).fit(long(kind=["x"] * 9 + ["z"]))
    with pytest.raises(ValueError, match="column 'size' is in df and in static_df"):
        FrameReader(stat_exog=["size"]).fit(long(size=1.0), static_df=pd.DataFrame({"unique_id": ["a"], "size": [1]}))


# ------------------------------------------------------------------------------------------------ the future


def fitted() -> tuple[FrameReader, Panel]:
    reader = FrameReader(futr_exog=["temp", "wind"], calendar=None)
    return reader, reader.fit(long(temp=np.arange(10.0), wind=np.arange(10.0)))


def future_frame(reader: FrameReader, panel: Panel, steps: int = 3) -> pd.DataFrame:
    frame = reader.make_future(panel, steps)
    return frame.assign(wind=np.arange(float(len(frame))), temp=-np.arange(float(len(frame))))


def test_the_future_in_any_order() -> None:
    reader, panel = fitted()
    frame = future_frame(reader, panel)
    for one in (frame, frame[::-1], frame.sample(frac=1, random_state=1), pd.concat([frame, frame.iloc[:2]])):
        a, b = reader.read_future(one, panel, 3)
        assert a.tolist() == [[0, 0], [-1, 1], [-2, 2]] and b.tolist() == [[-3, 3], [-4, 4], [-5, 5]]


def test_columns_that_are_not_known_in_advance_are_not_read() -> None:
    reader, panel = fitted()
    frame = future_frame(reader, panel)
    expected = reader.read_future(frame, panel, 3)
    for one in (frame.assign(y=np.nan), frame.assign(y="not read")):
        np.testing.assert_array_equal(reader.read_future(one, panel, 3), expected)


def test_rows_after_the_last_step_are_not_read() -> None:
    reader, panel = fitted()
    frame = future_frame(reader, panel, 5)
    a, b = reader.read_future(frame, panel, 3)
    assert a[:, 1].tolist() == [0, 1, 2] and b[:, 1].tolist() == [5, 6, 7]
    a, b = reader.read_future(frame, panel, [2, 4])
    assert a[:, 1].tolist() == [0, 1] and b[:, 1].tolist() == [5, 6, 7, 8]


def shifted(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    return frame.assign(ds=frame["ds"] + pd.Timedelta(by))


FUTURES: list[tuple[Any, str]] = [
    (
        lambda f: None,
        r"futr_exog=\['temp', 'wind'\] must be known for the steps of the forecast, 3 from 2024-03-01 05:00",
    ),
    (lambda f: f.drop(columns="temp"), "future has no column 'temp', which is in futr_exog"),
    (lambda f: f.drop(columns="unique_id"), "future has no column 'unique_id', which is id_col"),
    (lambda f: f.drop(columns="ds"), "future has no column 'ds', which is time_col"),
    (lambda f: f.assign(more=1), r"future has the column 'more', which the training data have not"),
    (lambda f: f.drop(index=[1, 2]), r"future has no row of series 'a' for 2024-03-01 06:00 \(2 of 3 are missing\)"),
    (lambda f: f[:3], "future has no rows of series 'b', expected 3 from 2024-03-01 05:00 to 2024-03-01 07:00"),
    (
        lambda f: f.assign(wind=[0, 1, 2, 3, np.nan, np.nan]),
        r"future has no value of 'wind' for series 'b' at 2024-03-01 06:00 \(2 of 3 are missing\)",
    ),
    (
        lambda f: shifted(f, "-1h"),
        r"row 0 of future: future has 1 rows of series 'a' up to its last reading at 2024-03-01 04",
    ),
    (lambda f: shifted(f, "1h"), r"future has no row of series 'a' for 2024-03-01 05:00 \(1 of 3 are missing\)"),
    (
        lambda f: shifted(f, "30min"),
        "row 0 of future: future has the time 2024-03-01 05:30 for series 'a', which is between",
    ),
    (lambda f: f.replace({"unique_id": {"b": "c"}}), "future has rows of series 'c', which is not among the 2 series"),
    (lambda f: pd.concat([f, f.iloc[[1]].assign(wind=7.0)], ignore_index=True), "row 1 of future and row 6 of future"),
    (lambda f: f.assign(ds=range(6)), r"future\['ds'\] holds whole numbers, expected times as in the training data"),
    (
        lambda f: f.assign(ds=f["ds"].dt.tz_localize("UTC")),
        r"future\['ds'\] holds times in UTC, the training data have",
    ),
    (lambda f: f.assign(wind="x"), "column 'wind' holds text such as 'x'"),
    (lambda f: f.assign(wind=np.inf), "row 0 of future has the value inf in column 'wind'"),
    (lambda f: f[:0], "future has no rows"),
]


@pytest.mark.parametrize("change, words", FUTURES)
def test_futures_that_are_refused(change: Any, words: str) -> None:
    reader, panel = fitted()
    with pytest.raises((ValueError, TypeError), match=words):
        reader.read_future(change(future_frame(reader, panel)), panel, 3)


def test_a_future_of_one_series() -> None:
    reader = FrameReader(futr_exog=["temp"], calendar=["hour_of_day"])
    panel = reader.fit(pd.DataFrame({"ds": HOURS, "y": np.arange(5.0), "temp": 1.0}))
    frame = reader.make_future(panel, 2).assign(temp=[7.0, 8.0])
    (known,) = reader.read_future(frame, panel, 2)
    np.testing.assert_allclose(known[:, 0], [7, 8])
    np.testing.assert_allclose(known[:, 1], np.sin(np.array([5, 6]) * np.pi / 12))


def test_without_futr_exog_the_calendar_is_known() -> None:
    reader = FrameReader(calendar=["hour_of_day"])
    panel = reader.fit(long())
    a, b = reader.read_future(None, panel, 4)
    np.testing.assert_allclose(a[:, 0], np.sin(np.arange(5, 9) * np.pi / 12))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="futr_exog names no column"):
        reader.read_future(reader.make_future(panel, 4), panel, 4)


def test_a_naive_future_over_the_end_of_summer_time() -> None:
    zone = "Europe/Berlin"
    times = pd.date_range("2024-10-26", "2024-10-28", freq="15min", tz=zone)
    df = pd.DataFrame({"ds": times.tz_localize(None), "y": 1.0, "temp": np.arange(float(len(times)))})
    reader = FrameReader(futr_exog=["temp"], time_zone=zone, calendar=None)
    panel = reader.fit(df[:106])  # ends at 02:15, the first time
    steps = len(df) - 106
    (known,) = reader.read_future(df[106:].drop(columns="y"), panel, steps)
    np.testing.assert_array_equal(known[:, 0], np.arange(106.0, len(df)))
    panel = reader.read(df[:109])  # ends at 02:00, the second time
    (known,) = reader.read_future(df[109:112].drop(columns="y"), panel, 3)
    np.testing.assert_array_equal(known[:, 0], [109, 110, 111])


# ------------------------------------------------------------------------------------------------ calendar, holidays


@pytest.mark.parametrize(
    "freq, periods, names",
    [
        ("15min", 96, ()),
        ("15min", 192, ("hour_of_day",)),
        ("h", 24 * 14, ("hour_of_day", "day_of_week")),
        ("h", 24 * 730, ("hour_of_day", "day_of_week", "day_of_year")),
        ("D", 13, ()),
        ("D", 14, ("day_of_week",)),
        ("W", 110, ("day_of_year",)),
        ("MS", 24, ("month_of_year",)),
        ("MS", 12, ()),
        ("YS", 24, ()),
    ],
)
def test_the_calendar_that_data_warrant(freq: str, periods: int, names: tuple[str, ...]) -> None:
    reader = FrameReader()
    reader.fit(pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=periods, freq=freq), "y": 1.0}))
    assert reader.axis.feature_names == tuple(f"{name}_{wave}" for name in names for wave in ("sin", "cos"))


def test_values_of_the_calendar() -> None:
    times = pd.date_range("2023-01-01 00:30", periods=500, freq="17h")
    names = ["minute_of_hour", "day_of_week", "day_of_month", "day_of_year", "month_of_year"]
    reader = FrameReader(calendar=names)
    one = reader.fit(pd.DataFrame({"ds": times, "y": 1.0})).series[0]
    day = (times.hour * 60 + times.minute).to_numpy() / 1440
    year = 365 + times.is_leap_year.astype(float)
    parts = [
        times.minute.to_numpy() / 60,
        (times.day_of_week.to_numpy() + day) / 7,
        (times.day.to_numpy() - 1 + day) / times.days_in_month.to_numpy(),
        (times.day_of_year.to_numpy() - 1 + day) / year,
        (times.month.to_numpy() - 1) / 12,
    ]
    for place, part in enumerate(parts):
        np.testing.assert_allclose(one.futr[:, 2 * place], np.sin(2 * np.pi * part), atol=1e-12)  # rounding of angles
        np.testing.assert_allclose(one.futr[:, 2 * place + 1], np.cos(2 * np.pi * part), atol=1e-12)


def test_calendars_that_are_refused() -> None:
    for calendar in (["hour"], [3], "hourly", 5):
        with pytest.raises((ValueError, TypeError), match="calendar"):
            FrameReader(calendar=calendar).fit(long())
    with pytest.raises(ValueError, match="a name twice"):
        FrameReader(calendar=["hour_of_day", "hour_of_day"]).fit(long())


def days(**arguments: Any) -> np.ndarray:
    reader = FrameReader(calendar=None, **arguments)
    df = pd.DataFrame({"ds": pd.date_range("2024-12-20", periods=8, freq="D"), "y": 1.0})
    one = reader.fit(df).series[0]
    assert reader.axis.feature_names == ("holiday", "day_before_holiday", "day_after_holiday")
    return one.futr


CHRISTMAS = [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    "holidays",
    [
        ["2024-12-25", "2024-12-26"],
        [datetime.date(2024, 12, 26), datetime.date(2024, 12, 25)],
        pd.to_datetime(["2024-12-25", "2024-12-26"]),
        lambda date: date.month == 12 and date.day in (25, 26),
    ],
)
def test_holidays(holidays: Any) -> None:
    assert days(holidays=holidays).tolist() == CHRISTMAS


@pytest.mark.parametrize("country", ["DE", "DE-BY"])
def test_holidays_of_a_country(country: str) -> None:
    pytest.importorskip("holidays")
    assert days(holidays=country).tolist() == CHRISTMAS


def test_holidays_follow_the_local_day() -> None:
    times = pd.date_range("2024-12-24 22:00", periods=4, freq="h", tz="UTC")  # 23:00 in Berlin
    reader = FrameReader(time_zone="Europe/Berlin", holidays=["2024-12-25"], calendar=None)
    one = reader.fit(pd.DataFrame({"ds": times, "y": 1.0})).series[0]
    assert one.futr[:, 0].tolist() == [0, 1, 1, 1]


def test_holidays_that_are_refused() -> None:
    pytest.importorskip("holidays")
    for value in ("XX", "Germany!", "DE-XX"):
        with pytest.raises(ValueError, match=f"holidays='{value}' is no country"):
            days(holidays=value)
    with pytest.raises(ValueError, match=r"holidays\[0\] is 'christmas', expected a date"):
        days(holidays=["christmas"])
    with pytest.raises(TypeError, match="holidays must be None, a country"):
        days(holidays=3)
    with pytest.raises(ValueError, match="holidays need steps of a day or less"):
        FrameReader(holidays=["2024-12-25"]).fit(
            pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=5, freq="MS"), "y": 1.0})
        )


def test_holidays_of_a_function_are_saved_as_dates() -> None:
    reader = FrameReader(calendar=None, holidays=lambda date: date.day == 1)
    df = pd.DataFrame({"ds": pd.date_range("2024-12-20", periods=8, freq="D"), "y": 1.0})
    panel = reader.fit(df)
    loaded = FrameReader.from_config(reader.to_config())
    np.testing.assert_array_equal(loaded.read(df).series[0].futr, panel.series[0].futr)
    later = np.array(["2034-12-31", "2034-12-01"], "M8[ns]")
    assert loaded.axis.features(later)[:, 0].tolist() == [0, 1]
    with pytest.raises(
        ValueError, match="holidays of a function were saved until 2034-12-31, and are needed until 2035"
    ):
        loaded.axis.features(np.array(["2035-02-01"], "M8[ns]"))
