"""Fuzz the readers of the UCR and UEA archives' files, `fl.data.read_ts` and `fl.data.read_ucr_tsv`.

    python tests/formats/fuzz/fuzz_archives.py --seconds 600 --seed 1

A reader must give what the file says, or raise a ValueError with the path, and nothing else. What it gives is compared
with a second parser in this file, which knows no error: it takes a file that was accepted apart, token by token. Case n
of a seed is always the same file. ``--failures`` keeps the files that break a promise.
"""

from __future__ import annotations

import random
import re
import tempfile
import warnings
from pathlib import Path

import fuzzing
import numpy as np
from fuzzing import Attempt, Change, cut, flip, insertion, lines, replacement

import fastlstm as fl

HANGS = 60
"""Seconds after which a case counts as hanging."""

TS = [
    "# comment\n@problemName Some\n@timeStamps false\n@missing true\n@univariate true\n@equalLength true\n"
    "@seriesLength 4\n@classLabel true up down\n@data\n1,2,?,4:up\n-1.5,2e-3,+3,.25:down\n0,0,0,0:up\n",
    "%# old\r\n@problemName Two\r\n@univariate false\r\n@dimensions 2\r\n@equalLength false\r\n@classLabel true 1 -1 é"
    "\r\n@data\r\n1,2:3,4:-1\r\n5:6:1\r\n\r\n# more\r\n1,2,3:NaN,?,nan:é\r\n",
    "@targetLabel true\n@data\n1,2:3,4:0.5\n5,6:7,8:?\n 1 , 2 : 3 , 4 : -1e3 \n",
    "@classLabel false\n@data\n1,2,3\n4,5,6\n",
    "@timestamps true\n@classLabel true 1\n@data\n(2026-01-01 00:00:00,1),(2026-01-01 00:01:00,2):1\n",
]
TSV = ["1\t0.5\t0.25\tNaN\n2\t1\t-2\t3e-2\n-1\t?\t4\t5\n", "a\t1\nb\t2\n", "1.0\t1\t2\r\n2.0\t3\t4\r\n"]
PIECES = [
    ":", ",", "\t", "\n", "\r", "@", "#", "%", "?", "NaN", "-nan", "inf", "-", "+", ".", "e", "1e999", "1_0", "0x10",
    " ", "\x00", "\u0663", "\ufeff", "\u2028", "@data", "@data\n", "@classLabel true a b\n", "@dimensions 3\n", "true",
    "false", "9" * 20, "(", ")", "1,2:up\n", "::", ",,", "\x1c", "\x85", "1" * 400, "@equalLength true\n",
]  # fmt: skip

# ------------------------------------------------------------------------------------------------ damaged files


insert = insertion(PIECES, 500)
replace = replacement(rb"[^\s:,]+", PIECES, insert)
CHANGES: list[Change] = [flip, insert, insert, replace, replace, replace, cut, lines]


def case(seed: int, number: int) -> tuple[str, bytes]:
    """Return case `number` of a seed: the suffix of the file, and what is in it."""
    rng = random.Random(f"{seed} {number}")
    suffix = rng.choice(["ts", "ts", "tsv"])
    data = rng.choice(TS if suffix == "ts" else TSV).encode()
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        data = rng.choice(CHANGES)(data or b"1", rng)
    return suffix, data


# ------------------------------------------------------------------------------------------------ the second parser


def number_of(token: str) -> float:
    token = token.strip()
    if token in ("?", "") or token.lower() == "nan":
        assert token, "an empty token was accepted"
        return float("nan")
    assert re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", token, re.ASCII), f"{token!r} was accepted"
    return float(token)


def taken_apart(suffix: str, data: bytes) -> tuple[list[np.ndarray], list[str] | None]:
    """Return the series of a file that was accepted, and their labels."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    rows = [line for line in text.split(b"\n") if line.strip()]
    if suffix == "tsv":
        cells = [row.rstrip(b"\r").decode().split("\t") for row in rows]
        series = [np.array([number_of(cell) for cell in row[1:]])[:, None] for row in cells]
        ends = [np.flatnonzero(~np.isnan(one[:, 0]))[-1] + 1 for one in series]
        return [one[:end] for one, end in zip(series, ends, strict=True)], [row[0].strip() for row in cells]
    rows = [row.strip() for row in rows if not row.strip().startswith((b"#", b"%"))]
    start = next(place for place, row in enumerate(rows) if row.strip().lower() == b"@data")
    header = b"\n".join(rows[:start]).decode().lower()
    labelled = re.search(r"^@(classlabel|targetlabel)\s+true", header, re.M) is not None
    parts = [row.decode().split(":") for row in rows[start + 1 :]]
    labels = [row.pop().strip() for row in parts] if labelled else None
    return [np.array([[number_of(t) for t in part.split(",")] for part in row]).T for row in parts], labels


def compare(suffix: str, data: bytes, got: fl.data.LabelledSeries) -> None:
    series, labels = taken_apart(suffix, data)
    assert len(series) == len(got.X)
    for one, other in zip(series, got.X, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (labels is None) == (got.y is None)
    if labels is not None and got.y is not None:
        if got.y.dtype.kind == "f":
            np.testing.assert_array_equal([number_of(label) for label in labels], got.y)
        else:
            assert labels == got.y.tolist() and set(labels) <= set(got.meta.classes or ())
    assert got.meta.missing == any(np.isnan(one).any() for one in series)


# ------------------------------------------------------------------------------------------------ reading


def outcome(suffix: str, data: bytes, folder: Path) -> str:
    """Return the outcome of reading a file; raise a RuntimeError that explains it if that breaks a promise."""
    path = folder / f"case.{suffix}"

    def read() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a wrong @seriesLength
            got = fl.data.read_ts(path) if suffix == "ts" else fl.data.read_ucr_tsv(path)
        compare(suffix, data, got)
        return "read"

    return f"{suffix} {fuzzing.outcome(path, data, read, HANGS)}"


def kind(result: str) -> str:
    """Return an outcome without the details of the single case."""
    plain = result.encode("ascii", "backslashreplace").decode()
    return re.sub(r"tag @.*, expected|@[a-z]+|'.*'|\".*\"|'.*$|-?[0-9.]+", "_", plain)[:100]


def fuzz(seconds: float, seed: int, *, cases: int = 0, failures: Path | None = None) -> int:
    """Return the number of failures in `seconds`, or in `cases` cases."""
    with tempfile.TemporaryDirectory() as folder:

        def attempts(number: int) -> list[Attempt]:
            suffix, data = case(seed, number)
            return [Attempt(data, f".{suffix}", lambda: outcome(suffix, data, Path(folder)))]

        return fuzzing.run(attempts, kind, seconds=seconds, seed=seed, cases=cases, failures=failures)


if __name__ == "__main__":
    fuzzing.main(__doc__, fuzz)
