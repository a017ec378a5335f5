"""The fuzzers of files of text: the same cases in each run, the loop, and long runs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import fuzz_archives
import fuzz_csv
import fuzzing


@pytest.mark.parametrize("fuzzer", [fuzz_csv, fuzz_archives], ids=["csv", "archives"])
def test_a_case_is_always_the_same_file(fuzzer: ModuleType) -> None:
    cases = [fuzzer.case(3, number) for number in range(50)]
    assert cases == [fuzzer.case(3, number) for number in range(50)]
    assert cases != [fuzzer.case(4, number) for number in range(50)]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("fuzzer", "cases"), [(fuzz_csv, 100_000), (fuzz_archives, 200_000)], ids=["csv", "archives"])
def test_many_damaged_files(fuzzer: ModuleType, cases: int, seed: int) -> None:
    assert fuzzer.fuzz(0, seed, cases=cases) == 0


def test_failures_are_counted_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, new = tmp_path / "case", []

    def attempts(number: int) -> list[fuzzing.Attempt]:
        def read() -> str:
            if number == 1:
                raise ValueError(f"{path}: line 3")
            if number == 2:
                raise KeyError("odd")
            if number == 3:
                raise ValueError("a message without the name of the file")
            return "read"

        data = b"%d" % number
        return [fuzzing.Attempt(data, ".txt", lambda: fuzzing.outcome(path, data, read, 60))]

    found = fuzzing.run(
        attempts, lambda one: one[:7], seconds=0, seed=9, cases=6, failures=tmp_path / "kept", new_kind=new.append
    )
    assert found == 2 and new == [b"0", b"1"]
    assert {one.name: one.read_bytes() for one in (tmp_path / "kept").iterdir()} == {"9-2.txt": b"2", "9-3.txt": b"3"}
    printed = capfd.readouterr()
    assert "6 cases, 2 kinds of outcomes, 2 failures" in printed.out and "       3 read" in printed.out
    assert "KeyError" in printed.err and "no path in the message" in printed.err
