"""Damaged files of the UCR and UEA archives: a short run of the fuzzer, and files made to take memory or time."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import fuzz_archives

import fastlstm as fl


def test_some_thousand_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz_archives.fuzz(0, 17, cases=1500) == 0
    printed = capfd.readouterr().out
    assert "1500 cases" in printed and " 0 failures" in printed
    kinds = [line for line in printed.splitlines() if "refused" in line]
    assert len(kinds) > 30 and "ts read" in printed and "tsv read" in printed


def test_the_second_parser_finds_a_reader_that_errs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fl.data.read_ts

    def wrong(path: Path) -> fl.data.LabelledSeries:
        got = good(path)
        return got._replace(X=[one + 1e-9 for one in got.X])

    monkeypatch.setattr(fl.data, "read_ts", wrong, raising=False)
    with pytest.raises(RuntimeError, match="AssertionError"):
        fuzz_archives.outcome("ts", fuzz_archives.TS[0].encode(), tmp_path)


LARGE = {
    "one line of values": b"@classLabel true a\n@data\n" + b"1," * 100_000 + b"1:a\n",
    "many lines": b"@classLabel true a\n@data\n" + b"1:a\n" * 20_000,
    "many channels": b"@classLabel true a\n@data\n" + b"1:" * 20_000 + b"a\n",
    "a long label": b"@classLabel true a\n@data\n1:" + b"b" * 1_000_000,
    "a long tag": b"@" + b"b" * 1_000_000,
    "many tags": b"@problemName x\n" * 20_000,
    "missing values": b"@classLabel true a\n@data\n" + b"?," * 100_000 + b"1:a\n",
    "a large claim": b"@dimensions 999999999999\n@seriesLength 999999999999\n@classLabel true a\n@data\n1:a\n",
}


@pytest.mark.parametrize("kind", LARGE)
def test_memory_is_bounded_by_the_size_of_the_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "case.ts"
    path.write_bytes(LARGE[kind])
    tracemalloc.start()
    try:
        fl.data.read_ts(path)
    except ValueError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # An array of one value has 112 bytes and some of its own: a channel "1:" or a line "1:a" becomes one or two.
    assert peak < 300 * len(LARGE[kind]) + 100_000
    if kind in ("one line of values", "missing values"):
        assert peak < 40 * len(LARGE[kind])
