"""Whatever is passed in: a panel, or a TypeError or ValueError; and packages that are not installed."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlstm.forecast.frames import FrameReader  # noqa: E402

BASE = pd.Timestamp("2024-03-30 22:00")
ODD: list[Any] = [
    None, np.nan, pd.NaT, pd.NA, np.inf, -1, 0, 1, 2**63, 10**30, 1.5, True, "", "x", "2024-03-31", "03/04/2024", b"x",
    (1, 2), [1], {}, object(), Decimal("1.5"), Decimal("NaN"), 1 + 2j, datetime.date(2024, 3, 31), datetime.time(3),
    datetime.datetime(9999, 12, 31), pd.Timestamp("2024-03-31 03:00", tz="UTC"), pd.Timedelta("1h"),
    pd.Period("2024-03"), np.datetime64("NaT"), np.float32(2), pd.Interval(0, 1),
]  # fmt: skip


def regular_times(rows: int) -> list[list[Any]]:
    hours = [BASE + pd.Timedelta(hours=n) for n in range(rows)]
    return [hours, [str(hour) for hour in hours], list(range(rows)), [hour.date() for hour in hours]]


@st.composite
def tables(draw: st.DrawFn) -> Any:
    rows = draw(st.integers(0, 12))
    columns: dict[str, list[Any]] = {
        "unique_id": draw(st.sampled_from([["a"] * rows, list(range(rows)), ["a", "b"] * 6]))[:rows],
        "ds": draw(st.sampled_from(regular_times(rows))),
        "y": [float(n) for n in range(rows)],
        "x": [float(n % 3) for n in range(rows)],
    }
    for _ in range(draw(st.integers(0, 4))):
        if rows:
            name = draw(st.sampled_from(sorted(columns)))
            columns[name] = list(columns[name])
            columns[name][draw(st.integers(0, rows - 1))] = draw(st.sampled_from(ODD))
    df = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    if draw(st.booleans()):
        df = df.infer_objects()
    for name in draw(st.sets(st.sampled_from(sorted(columns)), max_size=1)):
        df = df.drop(columns=name)
    return df


FREQS = [None, "h", "D", "MS", "15min", 1, "x"]


@settings(max_examples=600)
@given(
    tables(), tables(), st.sampled_from(FREQS), st.sampled_from([None, "Europe/Berlin", "UTC"]),
    st.sampled_from(["hist_exog", "futr_exog", "stat_exog", "cat_exog"]), st.sampled_from([None, ["2024-03-31"], len]),
)  # fmt: skip
def test_a_panel_or_a_clear_refusal(df: Any, later: Any, freq: Any, zone: str | None, role: str, holidays: Any) -> None:
    reader = FrameReader(freq=freq, time_zone=zone, holidays=holidays, **{role: ["x"]})
    try:
        panel = reader.fit(df)
    except (TypeError, ValueError):
        return
    check(panel)
    for act in (
        lambda: check(reader.read(later)),
        lambda: reader.read_future(later, panel, 2),
        lambda: reader.axis.horizon_steps("1D", panel.series[0].times[-1]),
        lambda: FrameReader.from_config(reader.to_config()),
    ):
        try:
            act()
        except (TypeError, ValueError) as error:
            assert str(error)
    future = reader.make_future(panel, 3)
    assert len(future) == 3 * len(panel.series)


def check(panel: Any) -> None:
    for one in panel.series:
        assert len(one.times) == len(one.y) == len(one.hist) == len(one.futr) > 0
        assert (np.diff(one.times.astype(np.int64)) > 0).all()
        for values in (one.y, one.hist, one.futr, one.static):
            assert values.dtype == np.float64 and not np.isinf(values).any()


@pytest.mark.parametrize("missing, words", [("pandas", "needs pandas: pip install 'fastlstm.forecast.'")])
def test_pandas_that_is_not_installed(missing: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=words):
        FrameReader().fit({"ds": [1, 2], "y": [1.0, 2.0]})


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    df = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=5), "y": 1.0})
    with pytest.raises(
        ImportError, match=r"holidays='DE' needs the package holidays: pip install 'fastlstm\[holidays\]'"
    ):
        FrameReader(holidays="DE").fit(df)
    polars = pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "narwhals.stable.v1", None)
    with pytest.raises(ImportError, match=r"narwhals: pip install 'fastlstm\[forecast\]', or pass df.to_pandas\(\)"):
        FrameReader().fit(polars.DataFrame({"ds": [1, 2], "y": [1.0, 2.0]}))
