"""A fitted reader as JSON: the same reader comes back, and a damaged description raises ValueError."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastlstm.forecast.frames import FrameReader  # noqa: E402

ZONE = "Europe/Berlin"


def long(times: Any) -> pd.DataFrame:
    half = len(times)
    return pd.DataFrame(
        {
            "unique_id": ["a"] * half + ["b"] * half,
            "ds": list(times) * 2,
            "y": np.arange(2.0 * half),
            "temp": 1.0,
            "flow": 2.0,
            "size": [1.0] * half + [2.5] * half,
            "kind": ["x"] * half + ["z"] * half,
        }
    )


def fitted(times: Any, **arguments: Any) -> tuple[FrameReader, pd.DataFrame]:
    reader = FrameReader(hist_exog=["flow"], futr_exog=["temp"], stat_exog=["size"], cat_exog=["kind"], **arguments)
    df = long(times)
    reader.fit(df)
    return reader, df


CASES: list[tuple[Any, dict[str, Any]]] = [
    (pd.date_range("2024-10-20", periods=1500, freq="15min", tz=ZONE).tz_localize(None), {"time_zone": ZONE}),
    (pd.date_range("2024-10-20", periods=1500, freq="15min", tz=ZONE), {"holidays": ["2024-10-31"]}),
    (pd.date_range("2024-03-20", periods=20, freq="D", tz=ZONE), {"calendar": ["day_of_week"]}),
    (pd.date_range("2024-03-20", periods=20, freq="MS"), {}),
    (pd.date_range("2024-03-20", periods=20, freq="B"), {"calendar": None}),
    (pd.period_range("2024-03", periods=20, freq="M"), {}),
    (list(range(3, 30, 2)), {}),
]


@pytest.mark.parametrize("times, arguments", CASES)
def test_a_reader_comes_back(times: Any, arguments: dict[str, Any]) -> None:
    reader, df = fitted(times, **arguments)
    config = json.loads(json.dumps(reader.to_config(), allow_nan=False))
    loaded = FrameReader.from_config(config)
    assert loaded.to_config() == reader.to_config()
    assert loaded.columns == reader.columns
    one, other = reader.read(df), loaded.read(df.drop(columns=["size", "kind"]))
    assert (one.hist_names, one.futr_names, one.static_names) == (
        other.hist_names,
        other.futr_names,
        other.static_names,
    )
    for a, b in zip(one.series, other.series, strict=True):
        assert a.id == b.id
        for name in ("times", "y", "hist", "futr", "static"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    pd.testing.assert_frame_equal(reader.make_future(one, 5), loaded.make_future(other, 5))


def damaged(config: Any) -> list[Any]:
    """Return the description with each of its parts taken away or replaced."""
    found: list[Any] = [None, [], "x", 3, {}]
    values = [None, True, -1, 0, 1.5, 2**70, float("nan"), "x", "", [], {}, [[]], ["x"], {"x": 1}]

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        items = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        for key, child in items:
            for value in values:
                whole = copy.deepcopy(config)
                at = whole
                for step in path:
                    at = at[step]
                at[key] = value
                found.append(whole)
            whole = copy.deepcopy(config)
            at = whole
            for step in path:
                at = at[step]
            del at[key]
            found.append(whole)
            walk(child, (*path, key))

    walk(config, ())
    return found


@pytest.mark.parametrize("times, arguments", CASES)
def test_damaged_descriptions_raise_value_error(times: Any, arguments: dict[str, Any]) -> None:
    reader, df = fitted(times, **arguments)
    config = json.loads(json.dumps(reader.to_config()))
    refused = 0
    assert "antigravity" not in sys.modules
    with pytest.raises(ValueError, match="of which package"):
        FrameReader.from_config({**config, "package": "antigravity"})
    assert "antigravity" not in sys.modules  # nothing that a file names is imported
    for one in damaged(config):
        try:
            loaded = FrameReader.from_config(one)
        except ValueError:
            refused += 1
            continue
        json.dumps(loaded.to_config())
        panel = reader.read(df)
        loaded.axis.steps(panel.series[0].times[-1], 3)  # what is accepted works
        loaded.frame(["a"], panel.series[0].times[:1], {})
    assert refused > 200


def test_ids_that_json_has_not() -> None:
    df = long(pd.date_range("2024-01-01", periods=5, freq="h"))
    df["unique_id"] = pd.to_datetime(["2024-01-01"] * 5 + ["2024-01-02"] * 5)
    reader = FrameReader(hist_exog=["flow", "temp"], stat_exog=["size"], cat_exog=["kind"])
    reader.fit(df)
    with pytest.raises(ValueError, match="ids of type Timestamp cannot be saved: use texts or whole numbers"):
        reader.to_config()
    with pytest.raises(ValueError, match=r"call fit\(df\) first"):
        FrameReader().to_config()
