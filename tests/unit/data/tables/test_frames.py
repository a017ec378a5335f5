"""Frames of pandas and polars."""

from __future__ import annotations

import builtins
import datetime
import decimal
import sys
from collections.abc import Callable
from typing import Any

import doubles
import numpy as np
import pytest
from cures import code_after, cure, message_of

import fastlstm as fl

DAYS = [datetime.datetime(2026, 1, day) for day in (1, 2, 3, 4, 5)]
COLUMNS: dict[str, list[Any]] = {
    "unit": [1, 1, 1, 2, 2],
    "cycle": [1, 2, 3, 1, 2],
    "count": [1, None, 3, 4, 5],
    "level": [0.5, 1.5, None, 2.5, float("nan")],
    "on": [True, None, False, True, True],
    "off": [False, False, True, True, True],
    "when": DAYS,
    "mode": ["a", "b", "a", "b", "a"],
    "digits": ["1", "2", "3", "4", "5"],
    "took": [datetime.timedelta(seconds=number) for number in range(5)],
    "kind": ["a", "b", "a", "b", "a"],
    "price": [decimal.Decimal("1.25"), decimal.Decimal("2.00"), None, decimal.Decimal("4.00"), decimal.Decimal("5.00")],
}
NUMBERS = {
    "count": [1, np.nan, 3, 4, 5],
    "level": [0.5, 1.5, np.nan, 2.5, np.nan],
    "on": [1, np.nan, 0, 1, 1],
    "off": [0, 0, 1, 1, 1],
    "price": [1.25, 2, np.nan, 4, 5],
}


def pandas_frame() -> Any:
    pytest.importorskip("narwhals")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({name: pandas.Series(column) for name, column in COLUMNS.items()})
    types = {"count": "Int64", "level": "Float64", "on": "boolean", "kind": "category"}
    return frame.astype(types)


def polars_frame() -> Any:
    pytest.importorskip("narwhals")
    polars = pytest.importorskip("polars")
    return polars.DataFrame(COLUMNS).with_columns(polars.col("kind").cast(polars.Categorical))


frames = pytest.mark.parametrize("make", [pandas_frame, polars_frame], ids=["pandas", "polars"])


@frames
def test_columns_of_numbers_are_taken_nullable_ones_too(make: Callable[[], Any]) -> None:
    X, features, groups = fl.data.from_frame(make(), features=list(NUMBERS))
    assert features == tuple(NUMBERS) and groups is None and X.dtype == np.float64
    np.testing.assert_array_equal(X, np.stack([np.array(column, float) for column in NUMBERS.values()], axis=1))


@frames
def test_series_by_group(make: Callable[[], Any]) -> None:
    frame = make()[:, [0, 1, 2, 5]] if make is polars_frame else make()[["unit", "cycle", "count", "off"]]
    X, features, groups = fl.data.from_frame(frame, group="unit", time="cycle")
    assert features == ("count", "off") and groups.tolist() == [1, 2]
    np.testing.assert_array_equal(X[0], [[1, 0], [np.nan, 0], [3, 1]])
    np.testing.assert_array_equal(X[1], [[4, 1], [5, 1]])
    by_name = fl.data.from_frame(make(), group="mode", time="when", features=["off"])
    assert by_name.groups.tolist() == ["a", "b"] and [one.tolist() for one in by_name.X] == [
        [[0], [1], [1]],
        [[0], [1]],
    ]


@frames
def test_windows_of_a_frame_equal_those_of_a_dict(make: Callable[[], Any]) -> None:
    options: dict[str, Any] = {"time": "when", "features": ["off", "level"], "target": "mode"}
    w = fl.data.windows_by_group(make(), "unit", 2, **options)
    columns = {**COLUMNS, "when": np.array(DAYS, "M8[us]"), "level": np.array(COLUMNS["level"], float)}
    other = fl.data.windows_by_group(
        {name: columns[name] for name in ("unit", "when", "off", "level", "mode")}, "unit", 2, **options
    )
    for mine, theirs in zip(w, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert w.features == ("off", "level")


@frames
def test_float32_stays(make: Callable[[], Any]) -> None:
    frame = make()
    if make is polars_frame:
        import polars

        frame = frame.with_columns(frame["level"].cast(polars.Float32))
    else:
        frame = frame.astype({"level": "float32"})
    assert fl.data.from_frame(frame, features="level").X.dtype == np.float32
    assert fl.data.from_frame(frame, features=["level", "off"]).X.dtype == np.float64


def refusal(frame: Any, *features: str) -> str:
    return message_of(lambda: fl.data.from_frame(frame, features=list(features)), TypeError)


@frames
def test_what_to_do_with_columns_that_hold_no_numbers(make: Callable[[], Any]) -> None:
    frame = make()
    names: dict[str, Any] = {"df": frame, "pandas": sys.modules.get("pandas"), "polars": sys.modules.get("polars")}

    def numbers(column: Any) -> list[float]:
        return np.asarray(column.to_numpy(), float).tolist()

    message = refusal(frame, "off", "when")
    assert message.startswith("column 'when' holds times, expected numbers: name it as time='when', leave it out of")
    assert numbers(cure(message, "such as ", **names)) == [0] * 5
    message = refusal(frame, "took")
    assert message.startswith("column 'took' holds durations")
    assert numbers(cure(message, "such as ", **names)) == list(range(5))
    message = refusal(frame, "digits")
    assert message.startswith("column 'digits' holds texts")
    assert numbers(cure(message, "numerals, take ", **names)) == [1, 2, 3, 4, 5]
    for name in ("mode", "kind"):
        wide = cure(refusal(frame, name), "each category, ", **names)
        assert list(wide.columns[-2:]) == [f"{name}_a", f"{name}_b"] or f"{name}_a" in wide.columns
        X = fl.data.from_frame(wide, features=[f"{name}_a", f"{name}_b"]).X
        np.testing.assert_array_equal(X, [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
    # By default all columns are features, and one that is none is not dropped in silence.
    assert "column 'when'" in message_of(lambda: fl.data.from_frame(frame), TypeError)


@frames
def test_rows_that_are_not_in_order(make: Callable[[], Any]) -> None:
    frame = make()[::-1]
    call = lambda df: fl.data.from_frame(df, group="unit", time="cycle", features="off")  # noqa: E731
    message = message_of(lambda: call(frame), ValueError)
    assert message.startswith("df['cycle']: row 1 of the group 2 has the time 1, which is before 2 of row 0")
    assert [len(one) for one in call(cure(message, "pass ", df=frame)).X] == [3, 2]
    message = message_of(lambda: fl.data.windows_by_group(frame, "unit", 2, time="cycle", features="off"), ValueError)
    assert cure(message, "pass ", df=frame).shape == frame.shape
    message = message_of(lambda: fl.data.from_frame(frame, time="cycle", features="off"), ValueError)
    assert "row 1 has the time 1, which is before 2 of row 0, expected increasing times: pass df.sort" in message


@frames
def test_missing_times_groups_and_columns(make: Callable[[], Any]) -> None:
    frame = make()
    assert "df['count'][1] is missing" in message_of(lambda: fl.data.from_frame(frame, group="count", features="off"))
    assert "df['count']: row 1 has no time" in message_of(
        lambda: fl.data.from_frame(frame, time="count", features="off")
    )
    assert "did you mean 'level'?" in message_of(lambda: fl.data.from_frame(frame, features=["Level"]), ValueError)
    assert "got group or time = 'id'" in message_of(lambda: fl.data.from_frame(frame, group="id"), ValueError)


def test_text_as_times() -> None:
    frame = pandas_frame()
    frame["text"] = frame["when"].astype(str)
    message = message_of(lambda: fl.data.from_frame(frame, time="text", features="off"), TypeError)
    frame["text"] = cure(message, "for example by ", pandas=sys.modules["pandas"], df=frame)
    assert fl.data.from_frame(frame, time="text", features="off").X.shape == (5, 1)


def test_lazy_frames_and_single_columns() -> None:
    frame = polars_frame()
    lazy = frame.lazy()
    message = message_of(lambda: fl.data.from_frame(lazy, features="off"), TypeError)
    assert fl.data.from_frame(cure(message, "pass ", df=lazy), features="off").X.shape == (5, 1)
    for series in (frame["off"], pandas_frame()["off"]):
        message = message_of(lambda series=series: fl.data.from_frame(series), TypeError)
        assert fl.data.from_frame(cure(message, "pass ", df=series)).features == ("off",)


def test_names_that_are_numbers_and_names_that_occur_twice() -> None:
    pytest.importorskip("narwhals")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.arange(6.0).reshape(3, 2), columns=[7, 0])
    X, features, _ = fl.data.from_frame(frame)
    assert features == ("7", "0") and X.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert fl.data.from_frame(frame, features=[0]).X.tolist() == [[1], [3], [5]]
    frame.columns = ["u", "u"]
    assert "'u' 2 times" in message_of(lambda: fl.data.from_frame(frame), ValueError)
    assert "0 rows" in message_of(lambda: fl.data.from_frame(frame[:0].set_axis(["u", "v"], axis=1)), ValueError)


def test_a_column_of_objects() -> None:
    frame = pandas_frame()
    frame["odd"] = np.array([1, None, True, 2.5, 3], object)
    np.testing.assert_array_equal(fl.data.from_frame(frame, features="odd").X[:, 0], [1, np.nan, 1, 2.5, 3])
    frame["odd"] = np.array([1, None, [2], 2.5, 3], object)
    assert refusal(frame, "odd").startswith("df['odd'][2] is a list, expected real numbers")


def test_rul_of_columns() -> None:
    for frame in (pandas_frame(), polars_frame()):
        assert fl.data.rul(frame["unit"], time=frame["cycle"]).tolist() == [2, 1, 0, 1, 0]
        train, test = fl.split(5, (0.5, 0.5), groups=frame["unit"])
        assert {len(train), len(test)} == {2, 3}


def test_a_dict_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "narwhals":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    frame = doubles.DataFrame({"a": np.arange(3.0), "b": np.arange(3.0)})
    message = message_of(lambda: fl.data.from_frame(frame), ImportError)
    assert "which needs narwhals: pip install 'fastlstm[frames]'" in message
    assert fl.data.from_frame({"a": [1.0, 2.0], "b": [3, 4]}).X.tolist() == [[1, 3], [2, 4]]
    code = code_after(message, "or pass ")
    assert code == "{name: df[name].to_numpy() for name in df.columns}"


def test_a_frame_of_an_unknown_package() -> None:
    pytest.importorskip("narwhals")
    frame = doubles.DataFrame({"a": np.arange(3.0)})
    message = message_of(lambda: fl.data.from_frame(frame), TypeError)
    assert message.startswith("df is a pandas.DataFrame that narwhals cannot read")
