"""Tables of every form: long, single series, Series, wide, polars, and those that cannot be understood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402

HOURS = pd.date_range("2024-03-01", periods=5, freq="h")


def long(**columns: Any) -> pd.DataFrame:
    """Return two series of five hours, with further columns of ten values."""
    return pd.DataFrame(
        {"unique_id": ["a"] * 5 + ["b"] * 5, "ds": list(HOURS) * 2, "y": np.arange(10.0), **columns}, copy=True
    )


def test_names_of_columns() -> None:
    df = long().rename(columns={"unique_id": "meter", "ds": "when", "y": "kw"})
    reader = FrameReader()
    panel = reader.fit(df, id_col="meter", time_col="when", target_col="kw")
    assert [one.id for one in panel.series] == ["a", "b"]
    assert reader.make_future(panel, 1).columns.tolist() == ["meter", "when"]
    assert reader.columns.target_col == "kw"


def test_one_series_has_no_column_of_ids() -> None:
    reader = FrameReader()
    panel = reader.fit(pd.DataFrame({"ds": HOURS, "load": np.arange(5.0)}), target_col="load")
    assert [one.id for one in panel.series] == ["load"] and reader.report.form == "single series"
    assert reader.make_future(panel, 1).columns.tolist() == ["ds"]


def test_a_series_with_an_index_of_times() -> None:
    reader = FrameReader()
    panel = reader.fit(pd.Series(np.arange(5.0), HOURS, name="load"))
    np.testing.assert_array_equal(panel.series[0].y, np.arange(5.0))
    np.testing.assert_array_equal(panel.series[0].times, HOURS.to_numpy())
    assert reader.report.form == "series"
    with pytest.raises(TypeError, match="df is a Series whose index holds int64, expected times"):
        FrameReader().fit(pd.Series([1.0, 2.0]))


def test_times_in_the_index() -> None:
    reader = FrameReader()
    df = long().set_index("ds")
    np.testing.assert_array_equal(reader.fit(df).series[1].y, np.arange(5.0, 10))
    both = long().set_index(["unique_id", "ds"])
    assert [one.id for one in FrameReader().fit(both).series] == ["a", "b"]
    by_id = long().set_index("unique_id")
    assert [one.id for one in FrameReader().fit(by_id).series] == ["a", "b"]
    unnamed = pd.DataFrame({"y": np.arange(5.0)}, index=HOURS)
    np.testing.assert_array_equal(FrameReader().fit(unnamed).series[0].times, HOURS.to_numpy())


def test_a_pivoted_frame_is_recognised_as_wide() -> None:
    wide = long().pivot(index="ds", columns="unique_id", values="y")
    reader = FrameReader()
    panel = reader.fit(wide)
    assert reader.report.form == "wide" and [one.id for one in panel.series] == ["a", "b"]
    np.testing.assert_array_equal(panel.series[1].y, np.arange(5.0, 10))
    assert reader.make_future(panel, 1).columns.tolist() == ["unique_id", "ds"]
    plain = pd.DataFrame(wide.to_numpy(), index=HOURS, columns=["a", "c"])
    assert [one.id for one in reader.read(plain).series] == ["a", "c"]


def test_a_wide_frame_is_asked_for_by_a_list() -> None:
    wide = pd.DataFrame({"ds": HOURS, "b": np.arange(5.0), "a": np.arange(5.0) + 5})
    panel = FrameReader().fit(wide, target_col=["a", "b"])
    assert [one.id for one in panel.series] == ["a", "b"]
    np.testing.assert_array_equal(panel.series[0].y, np.arange(5.0, 10))
    with pytest.raises(ValueError, match="df is wide, each column of target_col a series, but has the column 'b' too"):
        FrameReader().fit(wide, target_col=["a"])
    with pytest.raises(ValueError, match="df has no column 'c'"):
        FrameReader().fit(wide, target_col=["a", "c"])


def test_a_frame_that_might_be_wide_is_not_guessed_at() -> None:
    wide = pd.DataFrame({"ds": HOURS, "north": np.arange(5.0), "south": np.arange(5.0)})
    words = r"no column 'y'.*target_col='north', or pass target_col=\['north', 'south'\] if each column is a series"
    with pytest.raises(ValueError, match=words):
        FrameReader().fit(wide)


def test_a_wide_frame_with_a_column_like_the_target() -> None:
    wide = pd.DataFrame({"ds": HOURS, "x": np.arange(5.0) + 5, "y": np.arange(5.0)})
    reader = FrameReader()
    for panel in (reader.fit(wide, target_col=["x", "y"]), reader.read(wide)):
        assert [one.id for one in panel.series] == ["x", "y"]
        np.testing.assert_array_equal(panel.series[1].y, np.arange(5.0))


def test_rows_of_wide_frames_are_named_as_they_are() -> None:
    wide = pd.DataFrame({"ds": HOURS, "a": np.arange(5.0), "b": [0, 1, 2, np.inf, 4]})
    with pytest.raises(ValueError, match="row 3 of df has the value inf"):
        FrameReader().fit(wide, target_col=["a", "b"])


def test_wide_frames_keep_missing_values() -> None:
    wide = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [np.nan, 2.0, 3.0]}, index=HOURS[:3])
    panel = FrameReader().fit(wide, target_col=["a", "b"])
    np.testing.assert_array_equal(panel.series[0].y, [1, np.nan, 3])
    np.testing.assert_array_equal(panel.series[1].y, [np.nan, 2, 3])


def test_a_mapping_of_columns() -> None:
    panel = FrameReader().fit({"ds": HOURS, "y": np.arange(5.0)})
    np.testing.assert_array_equal(panel.series[0].y, np.arange(5.0))
    with pytest.raises(ValueError, match="columns that do not fit together"):
        FrameReader().fit({"ds": HOURS, "y": np.arange(4.0)})


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_polars_comes_back(zone: str | None) -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("narwhals")
    times = pd.date_range("2024-10-26 20:00", periods=20, freq="h", tz=zone)
    stamps = times if zone is None else times.tz_convert("UTC").tz_localize(None)
    column = polars.Series("ds", stamps.to_numpy().astype("M8[us]"))
    if zone is not None:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    df = polars.DataFrame({
        "unique_id": ["b"] * 20, "ds": column, "y": [None, *range(1, 20)], "on": [True] * 19 + [None]
    })  # fmt: skip
    reader = FrameReader(hist_exog=["on"])
    panel = reader.fit(df)
    np.testing.assert_array_equal(panel.series[0].times, stamps.to_numpy())
    np.testing.assert_array_equal(panel.series[0].y, [np.nan, *range(1, 20)])
    assert np.isnan(panel.series[0].hist[-1, 0]) and panel.series[0].hist[0, 0] == 1
    out = reader.frame(["b"] * 20, panel.series[0].times, {"fastlstm": panel.series[0].y})
    assert isinstance(out, polars.DataFrame)
    assert out.schema == polars.Schema({"unique_id": polars.String, "ds": df["ds"].dtype, "fastlstm": polars.Float64})
    assert out["ds"].to_list() == df["ds"].to_list()
    with pytest.raises(TypeError, match=r"df is a polars.LazyFrame, expected a frame: pass df.collect\(\)"):
        FrameReader().fit(df.lazy())


def test_polars_dates_categories_and_integers() -> None:
    polars = pytest.importorskip("polars")
    dates = polars.Series("ds", HOURS.to_numpy().astype("M8[us]")).dt.date().to_list()
    df = polars.DataFrame(
        {"unique_id": ["x", "x"], "ds": [dates[0], dates[0].replace(day=2)], "y": [1, None]}
    ).with_columns(polars.col("unique_id").cast(polars.Categorical))
    reader = FrameReader()
    panel = reader.fit(df)
    out = reader.make_future(panel, 1)
    assert out["ds"].to_list() == [dates[0].replace(day=3)] and out["ds"].dtype == polars.Date
    assert out["unique_id"].dtype == polars.Categorical and out["unique_id"].to_list() == ["x"]
    np.testing.assert_array_equal(panel.series[0].y, [1, np.nan])


@pytest.mark.parametrize(
    "ids",
    [
        [7] * 5 + [3] * 5,
        [7.0] * 5 + [3.0] * 5,
        np.array([7] * 5 + [3] * 5, np.int16),
        pd.Categorical(["z"] * 5 + ["b"] * 5, categories=["z", "unused", "b"]),
        pd.array(["z"] * 5 + ["b"] * 5, dtype="string"),
        [True] * 5 + [False] * 5,
        [("x", 2)] * 5 + [("x", 1)] * 5,
        list(pd.to_datetime(["2024-01-02"] * 5 + ["2024-01-01"] * 5)),
    ],
)
def test_ids_of_any_type_come_back(ids: Any) -> None:
    df = long()
    df["unique_id"] = ids
    reader = FrameReader()
    panel = reader.fit(df)
    np.testing.assert_array_equal(panel.series[0].y, np.arange(5.0, 10))  # sorted by id
    out = reader.make_future(panel, 1)
    assert out["unique_id"].tolist() == [df["unique_id"].iloc[5], df["unique_id"].iloc[0]]
    if isinstance(df["unique_id"].dtype, pd.CategoricalDtype):
        assert isinstance(out["unique_id"].dtype, pd.CategoricalDtype)
    else:
        assert out["unique_id"].dtype == df["unique_id"].dtype


@pytest.mark.parametrize(
    "ids, error, words",
    [
        ([None] + ["a"] * 9, ValueError, "row 0 of df has no id"),
        ([np.nan] + [1.0] * 9, ValueError, "row 0 of df has no id"),
        ([1] * 5 + ["a"] * 5, TypeError, r"ids of several types \(int, str\).*df\['unique_id'\].astype\(str\)"),
        ([(1, 2)] * 5 + ["a"] * 5, TypeError, r"ids of several types \(str, tuple\)"),
        ([[1]] * 10, TypeError, r"cannot be told apart or sorted \(list\).*df\['unique_id'\].astype\(str\)"),
        ([1 + 2j] * 5 + [2j] * 5, TypeError, r"cannot be told apart or sorted \(complex\)"),
    ],
)
def test_ids_that_are_none(ids: Any, error: type[Exception], words: str) -> None:
    df = long()
    df["unique_id"] = pd.Series(ids, dtype=object)
    with pytest.raises(error, match=words):
        FrameReader().fit(df)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "int8", "float32", "bool", "uint64", object])
def test_numbers_of_any_type(dtype: Any) -> None:
    df = long()
    df["y"] = pd.Series([0, 1] * 5).astype(dtype)
    one = FrameReader().fit(df).series[0]
    np.testing.assert_array_equal(one.y, [0, 1, 0, 1, 0])
    assert one.y.dtype == np.float64


def test_missing_values_of_any_type() -> None:
    df = long()
    for column in (pd.array([None, 1] * 5, "Int64"), pd.Series([None, 1] * 5, dtype=object), [np.nan, 1] * 5):
        df["y"] = column
        np.testing.assert_array_equal(FrameReader().fit(df).series[0].y, [np.nan, 1, np.nan, 1, np.nan])


@pytest.mark.parametrize(
    "values, error, words",
    [
        (
            ["1.5"] * 10,
            TypeError,
            r"column 'y' holds text such as '1.5', .* df\['y'\] = pandas.to_numeric\(df\['y'\]\)",
        ),
        (["1", "x"] * 5, TypeError, "column 'y' holds the text 'x' .row 1 of df. among numbers"),
        (["1,5"] * 10, TypeError, "decimal comma"),
        (["on", "off"] * 5, TypeError, "column 'y' holds text such as 'on'"),
        (pd.to_datetime(["2024-01-01"] * 10), TypeError, "column 'y' holds times"),
        (pd.to_timedelta([1] * 10), TypeError, "column 'y' holds durations"),
        (pd.Categorical(["u", "v"] * 5), TypeError, "column 'y' holds categories"),
        ([1 + 2j] * 10, TypeError, "complex"),
        (
            [1.0, np.inf] * 5,
            ValueError,
            r"row 1 of df has the value inf in column 'y' \(5 in all\), expected finite",
        ),
        ([[1]] * 10, TypeError, "expected real numbers"),
    ],
)
def test_columns_that_hold_no_numbers(values: Any, error: type[Exception], words: str) -> None:
    df = long()
    df["y"] = pd.Series(values)
    with pytest.raises(error, match=words):
        FrameReader().fit(df)


@pytest.mark.parametrize(
    "df, words",
    [
        (np.zeros((3, 2)), "df is a numpy.ndarray, expected a DataFrame of pandas or polars"),
        ([1, 2, 3], "df is a list"),
        (None, "df is a NoneType"),
        (5, "df is a int"),
    ],
)
def test_what_is_no_table(df: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        FrameReader().fit(df)


def test_tables_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="df has no rows, expected at least one"):
        FrameReader().fit(long()[:0])
    with pytest.raises(ValueError, match=r"df has no column 'ds', which is time_col, .*'unique_id', 'date', 'y'"):
        FrameReader().fit(long().rename(columns={"ds": "date"}))
    with pytest.raises(ValueError, match="did you mean time_col='Ds'"):
        FrameReader().fit(long().rename(columns={"ds": "Ds"}))
    with pytest.raises(ValueError, match="df has the column 'y' more than once"):
        FrameReader().fit(pd.concat([long(), long()[["y"]]], axis=1))
    with pytest.raises(ValueError, match="columns of several levels"):
        FrameReader().fit(pd.concat({"a": long()}, axis=1))
    with pytest.raises(TypeError, match="id_col must be the name of a column, got 3"):
        FrameReader().fit(long(), id_col=3)
    with pytest.raises(ValueError, match="column 'y' is both time_col and in target_col"):
        FrameReader().fit(long(), time_col="y")


def test_a_series_without_any_value_is_refused() -> None:
    df = long()
    df.loc[5:, "y"] = np.nan
    with pytest.raises(ValueError, match="series 'b' has no value in column 'y', expected at least one"):
        FrameReader().fit(df)
    reader = FrameReader()
    reader.fit(long())
    assert np.isnan(reader.read(df).series[1].y).all()  # later data may be missing for a while


def test_contradicting_duplicates_are_refused() -> None:
    df = pd.concat([long(), long().iloc[[3]].assign(y=9.5)], ignore_index=True)
    words = (
        r"row 3 of df and row 10 of df: series 'a' has two rows for 2024-03-01 03:00 with different values \(1 in all"
    )
    with pytest.raises(ValueError, match=words):
        FrameReader().fit(df)
    with pytest.raises(ValueError, match=r"df.drop_duplicates\(\['unique_id', 'ds'\], keep='last'\)"):
        FrameReader().fit(df)
    missing = pd.concat([long(), long().iloc[[3]].assign(y=np.nan)], ignore_index=True)
    with pytest.raises(ValueError, match="different values"):
        FrameReader().fit(missing)


def test_reports_are_json() -> None:
    import json

    reader = FrameReader()
    reader.fit(long().drop(index=2))
    report = json.loads(json.dumps(reader.report.to_dict()))
    assert report["gaps"] == 1 and report["missing"] == {"y": 1} and report["frequency"] == "1 h"
    text = str(reader.report)
    for words in ("long, 9 rows, 2 series", "2024-03-01 to 2024-03-01 04:00", "1 of 10 points have no row", "none"):
        assert words in text


def test_a_sparse_series_is_pointed_out() -> None:
    times = pd.date_range("2024-01-01", periods=100, freq="15min")
    df = pd.concat(
        [
            pd.DataFrame({"unique_id": "fine", "ds": times, "y": 1.0}),
            pd.DataFrame({"unique_id": "coarse", "ds": times[::4], "y": 1.0}),
        ]
    )
    reader = FrameReader()
    reader.fit(df)
    assert any("series 'coarse' has rows at 25 of 97 points" in note for note in reader.report.notes)
