"""Damaged CSV files: a short run of the fuzzer, and files made to take memory or time."""

from __future__ import annotations

import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import fuzz_csv

import fastlstm as fl


def test_some_thousand_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz_csv.fuzz(0, 17, cases=1500) == 0
    printed = capfd.readouterr().out
    assert "1500 cases" in printed and " 0 failures" in printed
    assert len([line for line in printed.splitlines() if "refused" in line]) > 6
    assert len([line for line in printed.splitlines() if "read: " in line]) > 15


def test_the_second_parser_finds_a_reader_that_errs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fl.data.read_csv

    def wrong(path: Path) -> fl.data.CsvTable:
        table = good(path)
        numbers = {name: one for name, one in table.columns.items() if one.kind in ("integer", "number")}
        columns = {**table.columns, **{name: replace(one, values=one.values + 1) for name, one in numbers.items()}}
        return replace(table, columns=columns)

    monkeypatch.setattr(fl.data, "read_csv", wrong, raising=False)
    with pytest.raises(RuntimeError, match="AssertionError"):
        fuzz_csv.outcome(fuzz_csv.FILES[0].encode(), tmp_path)


LARGE = {
    "one line of values": b"1," * 25_000 + b"1\n",
    "many lines": b"a,b\n" + b"1,2\n" * 5_000,
    "empty lines": b"a,b\n" + b"\n" * 50_000,
    "a long value": b"a,b\n1," + b"b" * 25_000 + b"\n",
    "a quote that does not end": b'a,b\n1,"' + b"b" * 25_000 + b"\n",
    "many quotes": b"a,b\n" + b'"x\n","y"\n' * 5_000,
    "a long number": b"a,b\n1," + b"9" * 25_000 + b"\n",
    "groups of thousands": b"a;b\n1;" + b"1" + b",111" * 5_000 + b"\n",
    "missing values": b"a,b\n" + b"1,NA\n" * 5_000,
}


@pytest.mark.parametrize("kind", LARGE)
def test_memory_is_bounded_by_the_size_of_the_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "case.csv"
    path.write_bytes(LARGE[kind])
    begin = time.process_time()
    tracemalloc.start()
    try:
        str(fl.data.read_csv(path))
    except ValueError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A column of one value "1," has a name, a record and its array of some 800 bytes.
    assert peak < 500 * len(LARGE[kind]) + 100_000
    assert time.process_time() - begin < 60  # linear: a tenth of a second, without the tracing


def test_a_year_of_quarter_hours(tmp_path: Path) -> None:
    """35,040 rows of 10 columns, each value of which is compared."""
    start, step = np.datetime64("2026-01-01T00:00"), np.timedelta64(15, "m")
    times = start + np.arange(35_040) * step
    values = np.random.default_rng(0).normal(size=(35_040, 9)).round(4)
    lines = ["time," + ",".join(f"x{k}" for k in range(9))]
    rows = zip(np.datetime_as_string(times).tolist(), values, strict=True)
    lines += [when.replace("T", " ") + "," + ",".join(map(str, row)) for when, row in rows]
    (tmp_path / "year.csv").write_text("\n".join(lines))
    table = fl.data.read_csv(tmp_path / "year.csv")
    assert (table.times("time").values == times).all()
    np.testing.assert_array_equal(np.column_stack([table.numbers(f"x{k}") for k in range(9)]), values)
