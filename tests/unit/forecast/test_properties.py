"""Properties: whatever is done to the rows of regular series, the panel stays the same, and times come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlstm.forecast import runs_of_times, zones  # noqa: E402
from fastlstm.forecast.frames import FrameReader  # noqa: E402
from fastlstm.forecast.zones import localise, to_local, to_utc  # noqa: E402

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo", "UTC", None]
FREQS = ["15min", "h", "3h", "D", "W", "B", "MS", "QS", "YS", "7min"]
SLOW = settings(max_examples=60)


def regular(freq: str, zone: str | None, start: str, lengths: list[int]) -> pd.DataFrame:
    parts = []
    for number, length in enumerate(lengths):
        times = pd.date_range(start, periods=length, freq=freq)
        local = times.tz_localize(zone, ambiguous=np.ones(length, bool), nonexistent="shift_forward") if zone else times
        parts.append(pd.DataFrame({
            "unique_id": f"s{number}", "ds": local, "y": np.arange(float(length)), "x": np.arange(float(length)) ** 2
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True).drop_duplicates(["unique_id", "ds"], ignore_index=True)


def assert_equal(one: Any, other: Any) -> None:
    assert len(one.series) == len(other.series)
    for a, b in zip(one.series, other.series, strict=True):
        assert a.id == b.id
        for name in ("times", "y", "hist", "futr"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@SLOW
@given(
    st.sampled_from(FREQS), st.sampled_from(ZONES), st.lists(st.integers(8, 60), min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_order_duplicates_and_gaps_do_not_matter(freq: str, zone: str | None, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    df = regular(freq, zone, "2024-03-20", lengths)
    arguments: dict[str, Any] = {"hist_exog": ["x"], "freq": freq}
    expected = FrameReader(**arguments).fit(df)
    again = pd.concat([df, df.iloc[rng.integers(0, len(df), 5)]]).sample(frac=1, random_state=seed % 2**32)
    assert_equal(FrameReader(**arguments).fit(again), expected)
    # Rows between the first and the last of a series may be dropped.
    inside = ~(df["unique_id"].ne(df["unique_id"].shift()) | df["unique_id"].ne(df["unique_id"].shift(-1)))
    dropped = df.index[inside & (rng.random(len(df)) < 0.3)]
    reader = FrameReader(**arguments)
    panel = reader.fit(again.drop(index=dropped))
    assert reader.report.gaps == len(dropped)
    for one, other in zip(panel.series, expected.series, strict=True):
        np.testing.assert_array_equal(one.times, other.times)
        there = ~np.isnan(one.y)
        np.testing.assert_array_equal(one.y[there], other.y[there])
        np.testing.assert_array_equal(one.hist[there], other.hist[there])
    assert sum(int(np.isnan(one.y).sum()) for one in panel.series) == len(dropped)


@SLOW
@given(st.sampled_from(FREQS), st.sampled_from(ZONES), st.integers(0, 400), st.integers(8, 50), st.integers(1, 60))
def test_the_future_continues_exactly(freq: str, zone: str | None, day: int, length: int, steps: int) -> None:
    start = str(pd.Timestamp("2024-01-01") + pd.Timedelta(days=day))
    df = regular(freq, zone, start, [length + steps])
    total = len(df) - steps
    reader = FrameReader(freq=freq, hist_exog=["x"])
    panel = reader.fit(df[:total])
    whole = FrameReader(freq=freq, hist_exog=["x"]).fit(df).series[0].times
    np.testing.assert_array_equal(reader.axis.steps(panel.series[0].times[-1], steps), whole[-steps:])
    future = reader.make_future(panel, steps)
    assert future["ds"].tolist() == df["ds"][total:].tolist()
    back = reader.read(df[total:]) if steps > 1 else None
    if back is not None:
        np.testing.assert_array_equal(back.series[0].times, whole[-steps:])


@SLOW
@given(
    st.sampled_from(ZONES[:-1]), st.integers(0, 8760), st.integers(8, 20_000), st.sampled_from(["15min", "30min", "h"])
)
def test_naive_times_come_back_over_every_change(zone: str, hour: int, length: int, freq: str) -> None:
    begin = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=hour)
    times = pd.date_range(begin.tz_convert(zone), periods=length, freq=freq)
    assume(zone != "Australia/Lord_Howe" or freq != "h")  # changes by half an hour: hours follow the local clock
    offsets = (times.tz_localize(None) - times.tz_convert("UTC").tz_localize(None)).total_seconds()
    back = np.flatnonzero(np.diff(offsets) < 0)
    # An hour that occurs twice, and of which the data hold a part, cannot be known to be the second one.
    edge = int(pd.Timedelta("2h") / pd.Timedelta(times[1] - times[0]))
    assume(all(edge <= place < length - 1 - edge for place in back))
    first_hours = times[:edge].append(times[-edge:])
    assume(not any(_repeats(zone, one) for one in first_hours))
    reader = FrameReader(time_zone=zone)
    naive = pd.DataFrame({"ds": times.tz_localize(None), "y": np.arange(float(length))})
    panel = reader.fit(naive)
    np.testing.assert_array_equal(panel.series[0].times, times.tz_convert("UTC").tz_localize(None).to_numpy())
    np.testing.assert_array_equal(panel.series[0].y, naive["y"])
    assert reader.frame(["y"] * length, panel.series[0].times, {})["ds"].tolist() == naive["ds"].tolist()


def _repeats(zone: str, time: Any) -> bool:
    """Return whether the local clock shows a time twice."""
    local = np.array([time.tz_localize(None).as_unit("ns").value])
    return bool(to_local(to_utc(local, zone) + 3_600_000_000_000, zone)[0] - local[0] < 3_600_000_000_000)


@settings(max_examples=200)
@given(st.sampled_from(ZONES[:-1]), st.lists(st.integers(0, 2 * 10**18), min_size=1, max_size=50))
def test_local_clocks_are_inverted(zone: str, values: list[int]) -> None:
    times = np.sort(np.array(values, np.int64))
    local = to_local(times, zone)
    back = to_utc(local, zone)
    # Only the second occurrence of an hour comes back as the first, by at most an hour and less than it lies later.
    assert (times - back >= 0).all() and (times - back <= 3_600_000_000_000).all()
    np.testing.assert_array_equal(to_local(back, zone), local)
    np.testing.assert_array_equal(localise(local[:1], np.zeros(1, np.int64), zone, None, str).times, back[:1])


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("local", [False, True])
def test_blocks_do_not_change_the_panel(block: int, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    times = pd.date_range("2024-10-26 12:00", periods=80, freq="h", tz="Europe/Berlin")
    times = times.tz_localize(None) if local else times
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"unique_id": one, "ds": times[n : 80 - n], "y": rng.random(80 - 2 * n), "x": 1.0})
        for n, one in enumerate("abcd")
    ]
    df = pd.concat(parts, ignore_index=True).drop(index=[5, 90])
    arguments: dict[str, Any] = {"hist_exog": ["x"], "time_zone": "Europe/Berlin"}
    reader = FrameReader(**arguments)
    expected = reader.fit(df)
    monkeypatch.setattr(runs_of_times, "BLOCK", block)
    monkeypatch.setattr(zones, "BLOCK", block)
    again = FrameReader(**arguments)
    assert_equal(again.fit(df), expected)
    assert again.report.to_dict() == reader.report.to_dict()
    jittered = df.assign(ds=df["ds"] + pd.to_timedelta(rng.integers(-5, 6, len(df)), unit="s"))
    if not local:
        assert_equal(again.fit(jittered), expected)
