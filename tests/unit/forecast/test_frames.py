"""Long frames of pandas become panels, and panels frames of the same kind."""

from __future__ import annotations

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402


def long_frame(zone: str | None = None) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=100, freq="15min", tz=zone)
    return pd.concat(
        [pd.DataFrame({"unique_id": one, "ds": times, "y": np.arange(100.0) + 1000 * n}) for n, one in enumerate("ab")],
        ignore_index=True,
    )


def test_a_long_frame_becomes_a_panel() -> None:
    reader = FrameReader()
    panel = reader.fit(long_frame())
    assert [one.id for one in panel.series] == ["a", "b"]
    np.testing.assert_array_equal(panel.series[1].y, np.arange(1000.0, 1100))
    assert panel.series[0].times[1] == np.datetime64("2024-01-01T00:15")
    assert reader.report.frequency == "15 min" and reader.report.gaps == 0


def test_rows_are_sorted_gaps_filled_and_duplicates_dropped() -> None:
    df = long_frame()
    odd = pd.concat([df.drop(index=[7, 120]), df.iloc[[30, 31]]]).sample(frac=1, random_state=0)
    reader = FrameReader()
    panel = reader.fit(odd)
    expected = np.arange(100.0)
    expected[7] = np.nan
    np.testing.assert_array_equal(panel.series[0].y, expected)
    report = reader.report
    assert (report.gaps, report.series_with_gaps, report.longest_gap, report.duplicates) == (2, 2, 1, 2)
    assert report.sorted_rows and report.missing == {"y": 2}


def test_the_future_continues_at_the_next_step() -> None:
    df = long_frame("Europe/Berlin")
    reader = FrameReader()
    future = reader.make_future(reader.fit(df), 2)
    expected = pd.date_range("2024-01-02 01:00", periods=2, freq="15min", tz="Europe/Berlin")
    assert future.columns.tolist() == ["unique_id", "ds"]
    assert future["unique_id"].tolist() == ["a", "a", "b", "b"]
    assert future["ds"].tolist() == expected.tolist() * 2
    assert future["ds"].dtype == df["ds"].dtype
