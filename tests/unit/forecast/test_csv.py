"""CSV files as they come from meters and spreadsheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

import fastlstm as fl  # noqa: E402
from fastlstm.forecast.frames import FrameReader  # noqa: E402


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "meter.csv"
    path.write_bytes(text.encode(encoding))
    return path


LOCAL = """time;site;load;temperature
26.10.2024 23:30;north;1,5;8
27.10.2024 02:30;north;2,5;8
27.10.2024 02:30;north;3,5;7
27.10.2024 03:30;north;;7
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_file_of_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, LOCAL.replace("north", "Süd" if encoding == "latin-1" else "north"), encoding)
    reader = FrameReader(time_zone="Europe/Berlin", hist_exog=["temperature"], freq="h")
    panel = reader.fit(path, id_col="site", time_col="time", target_col="load")
    (one,) = panel.series
    assert one.id == ("Süd" if encoding == "latin-1" else "north")
    np.testing.assert_array_equal(one.y, [1.5, np.nan, np.nan, 2.5, 3.5, np.nan])
    assert one.times[0] == np.datetime64("2024-10-26T21:30") and one.times[3] == np.datetime64("2024-10-27T00:30")
    out = reader.make_future(panel, 1)
    assert out["time"].iloc[0] == pd.Timestamp("2024-10-27 04:30")
    np.testing.assert_array_equal(reader.read(fl.data.read_csv(path)).series[0].y, one.y)


def test_offsets_and_seconds_since_1970(tmp_path: Path) -> None:
    path = write(tmp_path, "ds,y\n2024-03-31T01:45+01:00,1\n2024-03-31T03:00+02:00,2\n")
    reader = FrameReader(time_zone="Europe/Berlin")
    assert reader.fit(path).series[0].y.tolist() == [1, 2] and reader.report.time_zone == "Europe/Berlin"
    path = write(tmp_path, "ds,y\n1711846800,1\n1711847700,2\n")
    one = FrameReader().fit(path).series[0]
    assert one.times[0] == np.datetime64("2024-03-31T01:00") and len(one) == 2


def test_whole_numbers_and_wide_files(tmp_path: Path) -> None:
    path = write(tmp_path, "ds,a,b\n1,2.5,7\n2,3.5,8\n")
    panel = FrameReader().fit(path, target_col=["a", "b"])
    assert [one.y.tolist() for one in panel.series] == [[2.5, 3.5], [7, 8]]
    assert panel.series[0].times.tolist() == [1, 2]


@pytest.mark.parametrize(
    "text, words",
    [
        ("ds,y\n2024-03-01,1\n\n2024-03-02,x\n2024-03-03,2\n", r"'x' \(.*meter.csv, line 4\) among numbers"),
        ("ds,y\n2024-03-01,1\ntomorrow,2\n2024-03-03,2\n", "meter.csv, line 3, column 'ds': got 'tomorrow'"),
        ("ds,y\n2024-03-01,1\n,2\n2024-03-03,2\n", "meter.csv, line 3, column 'ds': the time is missing"),
        ('ds,y\n2024-01-01,"1,485"\n2024-01-02,"1,502"\n', "line 2, column 'y': got '1,485', a number whose mark is"),
        ("ds,y\n03/04/2024,1\n04/04/2024,2\n", "line 2, column 'ds': .*either day first or month first"),
        (
            "ds,y\n2024-03-01,1\n2024-03-02,2\n2024-03-02,3\n",
            "meter.csv, line 3 and .*meter.csv, line 4: series 'y' has two",
        ),
        ("unique_id,ds,y\na,2024-03-01,1\n,2024-03-02,2\n", "meter.csv, line 3 has no id"),
        ("ds,y,more\n2024-03-01,1,1\n2024-03-02,2,2\n", "'more' .hist_exog or futr_exog."),
        ("ds,y\n", "no rows"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        FrameReader().fit(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        FrameReader().fit(tmp_path / "none.csv")
