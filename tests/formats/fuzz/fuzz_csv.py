"""Fuzz the reader of CSV files, `fl.data.read_csv`.

    python tests/formats/fuzz/fuzz_csv.py --seconds 600 --seed 1

A reader must give what the file says, or raise a ValueError with the path, and nothing else. What it gives is compared
with a second parser in this file, which takes an accepted file apart character by character and reads each cell by
itself. Case n of a seed is always the same file. ``--failures`` keeps the files that break a promise.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fuzzing
from fuzzing import Attempt, Change, cut, flip, insertion, lines, replacement

import fastlstm as fl

HANGS = 60
"""Seconds after which a case counts as hanging."""

FILES = [
    'time,load,temp,city\n2026-03-30 00:00,1.5,-3,Köln\n2026-03-30 00:15,NA,4,"a, b"\n2026-03-30 00:30,2e3,,x\n',
    "Zeit;Last;T\r\n30.03.2026 00:00;1.234,5;-0,25\r\n31.03.2026 00:00;-;1,5\r\n01.04.2026 00:00;7;12\r\n",
    "t\ta\tb\n0\t1\t2\n1\t3\t4\n2\t5\t6\n",
    "1,2,3\n4,5,6\n7,8,9\n",
    "id,when,y\n007,03/13/2026 2:15 PM,true\n008,03/14/2026 12:00 AM,FALSE\n",
    "when;y;\n2026-10-25T02:45:00+02:00;1;\n2026-10-25T02:00:00+01:00;2;\n\n;;\n",
    'a,b\n"x\ny","1,234"\n"""q""","5,678.5"\n',
    "sep=;\na;b\n1;2\n",
    "when,y\n1774966500,1\n1774967400,2\n",
]
PIECES = [
    ",", ";", "\t", "|", "\n", "\r", "\r\n", '"', '""', " ", ".", "-", "+", "1,5", "1.5", "1.234", "1,234", "1.234,5",
    "NA", "?",
    "NaN", "null", "1e999", "1_0", "0x10", "\u0663", "\ufeff", "\x00", "\u2028", "\x85", "\xa0", "007", "9" * 20, "inf",
    "01/02/2026", "13/02/2026", "02/13/2026", "2026-02-29", "2026-01-01", "31.12.2026", "24:00", "T", "Z", "+01:00",
    "12:00 PM", "true", "\n\n\n", ",,,,", "sep=,\n", "1" * 400, "a", "\x1c", "2026-01-01 00:00",
]  # fmt: skip
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "-", "?", "nat"}

# ------------------------------------------------------------------------------------------------ damaged files


insert = insertion(PIECES, 300)
replace = replacement(rb"[^\n,;\t]+", PIECES, insert)


def recode(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"]), "replace")


CHANGES: list[Change] = [
    flip, insert, insert, replace, replace, replace, replace, cut, lines, recode,
]  # fmt: skip


def case(seed: int, number: int) -> bytes:
    """Return case `number` of a seed: what is in the file."""
    rng = random.Random(f"{seed} {number}")
    data = rng.choice(FILES).encode()
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        data = rng.choice(CHANGES)(data or b"1", rng)
    return data


# ------------------------------------------------------------------------------------------------ the second parser


def cells_of(text: str, separator: str) -> list[list[str]]:
    """Return the rows of a text that was accepted, without those that hold nothing."""
    rows, row, cell, quoted, closed = [], [], "", False, False
    place = 0
    while place < len(text):
        one = text[place]
        if quoted:
            if one == '"' and text[place + 1 : place + 2] == '"':
                cell, place = cell + '"', place + 1
            elif one == '"':
                quoted, closed = False, True
            else:
                cell += one
        elif one == '"' and not cell and not closed:
            quoted = True
        elif one == " " and not cell and not closed:
            pass
        elif one == separator:
            row, cell, closed = [*row, cell], "", False
        elif one in "\r\n":
            place += text[place : place + 2] == "\r\n"
            rows.append([*row, cell])
            row, cell, closed = [], "", False
        else:
            cell += one
        place += 1
    rows.append([*row, cell])
    return [[one.strip() for one in row] for row in rows if any(one.strip() for one in row)]


def readings(cell: str) -> set[float]:
    """Return all numbers that a cell can mean."""
    found = set()
    for text in (cell, cell.replace(",", "."), cell.replace(".", "").replace(",", "."), cell.replace(",", "")):
        if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
            found.add(float(text))
    if re.fullmatch(r"[+-]?\d{1,20}", cell, re.ASCII):
        found.add(int(cell))  # exact beyond 2**53
    return found


def moments(cell: str) -> set[datetime]:
    """Return all times that a cell can mean, in UTC if it has an offset."""
    found = set()
    date, _, clock = re.sub(r"[T,]", " ", cell, count=1).strip().partition(" ")
    numbers = [int(one) for one in re.findall(r"\d+", date)]
    parts = re.findall(r"\d+", re.sub(r"[+-]\d\d:?(\d\d)?$", "", clock))
    hour, minute, second = (int(parts[k]) if k < len(parts) else 0 for k in range(3))
    if re.search("[aA]", clock) and hour == 12:
        hour = 0
    elif re.search("[pP]", clock) and hour < 12:
        hour += 12
    zone = re.search(r"([+-])(\d\d):?(\d\d)?$", clock)
    offset = timedelta(hours=int(zone[2]), minutes=int(zone[3] or 0)) * (-1 if zone[1] == "-" else 1) if zone else None
    for year, month, day in ((0, 1, 2), (2, 1, 0), (2, 0, 1)):
        try:
            at = datetime(numbers[year], numbers[month], numbers[day], tzinfo=timezone.utc)
        except (ValueError, IndexError):
            continue
        found.add(at + timedelta(hours=hour, minutes=minute, seconds=second) - (offset or timedelta()))
    return found


def compare(data: bytes, table: fl.data.CsvTable) -> None:
    encoding = {"utf-8": "utf-8-sig"}.get(table.encoding, table.encoding)
    text = data.decode("utf-16" if encoding == "utf-16" else encoding)
    rows = cells_of(text, table.separator)
    start, end, rest = text.partition("\n")
    if end and re.fullmatch("sep=.", start.strip().strip('"'), re.I):
        rows = cells_of(rest, table.separator)
    rows = rows[table.header :]
    assert len(rows) == len(table)
    for number, (name, column) in enumerate(table.columns.items()):
        cells = [row[number] if number < len(row) else "" for row in rows]
        missing = [cell.lower() in MISSING for cell in cells]
        assert column.missing == sum(missing), (name, cells)
        check_column(table, name, cells, missing)


def check_column(table: fl.data.CsvTable, name: str, cells: list[str], missing: list[bool]) -> None:
    column = table.columns[name]
    if column.texts is not None:
        assert column.texts == [None if gone else cell for cell, gone in zip(cells, missing, strict=True)]
    if column.kind == "mixed":
        assert column.problem and table.place(column.row)
        return
    if column.values is None:
        return
    for cell, gone, value in zip(cells, missing, column.values.tolist(), strict=True):
        where = (name, column.kind, cell, value)
        if column.kind == "time":
            stamp: Any = None if value is None else datetime.fromtimestamp(value // 10**9, timezone.utc)
            assert gone if stamp is None else stamp in moments(cell), where
        elif gone:
            assert math.isnan(value), where
        elif column.kind == "boolean":
            assert value == float(cell.lower() == "true"), where
        else:
            assert value in readings(cell), where


# ------------------------------------------------------------------------------------------------ reading


def outcome(data: bytes, folder: Path) -> str:
    """Return the outcome of reading a file; raise a RuntimeError that explains it if that breaks a promise."""
    path = folder / "case.csv"

    def read() -> str:
        table = fl.data.read_csv(path)
        compare(data, table)
        assert str(table).startswith(str(path)) and table.to_dict()["rows"] == len(table)
        for name in table:
            for use in (table.__getitem__, table.numbers, table.times, table.labels):
                try:
                    assert len(getattr(found := use(name), "values", found)) == len(table)
                except ValueError as error:
                    if not str(error).startswith(str(path)):
                        raise RuntimeError(f"no path in the message: {error}") from None
        return f"read: {', '.join(sorted({column.kind for column in table.columns.values()}))}"

    return fuzzing.outcome(path, data, read, HANGS)


def kind(result: str) -> str:
    """Return an outcome without the details of the single case."""
    plain = result.encode("ascii", "backslashreplace").decode()
    return re.sub(r"'.*'|\".*\"|'.*$|-?[0-9.]+|(?<=\()the sep.*", "_", plain)[:100]


def fuzz(seconds: float, seed: int, *, cases: int = 0, failures: Path | None = None) -> int:
    """Return the number of failures in `seconds`, or in `cases` cases."""
    with tempfile.TemporaryDirectory() as folder:

        def attempts(number: int) -> list[Attempt]:
            data = case(seed, number)
            return [Attempt(data, ".csv", lambda: outcome(data, Path(folder)))]

        return fuzzing.run(attempts, kind, seconds=seconds, seed=seed, cases=cases, failures=failures)


if __name__ == "__main__":
    fuzzing.main(__doc__, fuzz)
