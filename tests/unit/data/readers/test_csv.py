"""CSV files: read right, or refused with the line number."""

from __future__ import annotations

import io
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cures import message_of

import fastlstm as fl


def read(folder: Path, text: str | bytes, **options: Any) -> fl.data.CsvTable:
    path = folder / "some.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return fl.data.read_csv(path, **options)


def values(table: fl.data.CsvTable, name: str) -> list[Any]:
    """Return a column as a list, with None for missing values."""
    found = table[name]
    if found.dtype.kind == "M":
        return [None if np.isnat(one) else str(one.astype("datetime64[s]")) for one in found]
    return [None if isinstance(one, float) and math.isnan(one) else one for one in found.tolist()]


def kinds(table: fl.data.CsvTable) -> dict[str, str]:
    return {name: column.kind for name, column in table.columns.items()}


def test_types(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "time,n,x,label,flag,none\n2026-01-01 00:00,1,1.5,up,True,\n2026-01-01T00:15:30,-2,2e-3,down,false,NA\n",
    )
    assert kinds(table) == {
        "time": "time", "n": "integer", "x": "number", "label": "text", "flag": "boolean", "none": "empty"
    }  # fmt: skip
    assert values(table, "time") == ["2026-01-01T00:00:00", "2026-01-01T00:15:30"]
    assert values(table, "n") == [1, -2] and table["n"].dtype == np.int64
    assert values(table, "x") == [1.5, 0.002]
    assert values(table, "label") == ["up", "down"]
    assert values(table, "flag") == [1.0, 0.0] and table.labels("flag") == ["True", "false"]
    assert values(table, "none") == [None, None]
    assert len(table) == 2 and list(table) == ["time", "n", "x", "label", "flag", "none"]


@pytest.mark.parametrize("word", ["", "NA", "NaN", "nan", "null", "NULL", "-", "N/A", "#N/A", " ", '""'])
def test_missing_values(tmp_path: Path, word: str) -> None:
    table = read(tmp_path, f"n,x,s,t\n1,1.5,a,2026-01-01\n{word},{word},{word},{word}\n3,2.5,b,2026-01-02\n")
    for name in "nxst":
        # A line of nothing but empty values is no row.
        assert len(table) == (2 if not word.strip('" ') else 3)
        assert table.column(name).missing == len(table) - 2
    assert table.labels("n")[-1] == 3 and type(table.labels("n")[-1]) is int


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path: Path, separator: str) -> None:
    table = read(tmp_path, separator.join("ab") + "\n" + separator.join("12") + "\n" + separator.join("34") + "\n")
    assert table.separator == separator and values(table, "a") == [1, 3] and values(table, "b") == [2, 4]


def test_the_separator_that_excel_writes(tmp_path: Path) -> None:
    table = read(tmp_path, "sep=;\r\na;b\r\n1,5;x\r\n2;y\r\nz;y\r\n")
    assert table.separator == ";" and values(table, "b") == ["x", "y", "y"]
    assert "line 5, column 'a'" in message_of(lambda: table["a"])


def test_decimal_commas(tmp_path: Path) -> None:
    table = read(tmp_path, "t;a;b\n1;1,5;10\n2;-,5;3,25e2\n3;;-0,125\n")
    assert values(table, "a") == [1.5, -0.5, None] and values(table, "b") == [10.0, 325.0, -0.125]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.234,5", "2"], [1234.5, 2.0]),
        (["1,234.5", "12,345,678"], [1234.5, 12345678.0]),
        (["1.234.567", "1"], [1234567, 1]),
        (["1,234", "0,5"], [1.234, 0.5]),
        (["1,234", "1234,5"], [1.234, 1234.5]),
        (["1.234", "2.345"], [1.234, 2.345]),
    ],
)
def test_marks_that_the_numbers_decide(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    assert values(read(tmp_path, "a;b\n" + "".join(f"{cell};x\n" for cell in cells)), "a") == expected


def test_marks_that_nothing_decides(tmp_path: Path) -> None:
    text = "a;b\n7;x\n1,234;x\n"
    table = read(tmp_path, text)
    assert "line 3, column 'a': got '1,234'" in message_of(lambda: table["a"])
    assert "decimal=',' (--decimal ,)" in message_of(lambda: table.numbers("a"))
    assert values(read(tmp_path, text, decimal=","), "a") == [7.0, 1.234]
    assert values(read(tmp_path, text, decimal="."), "a") == [7, 1234]
    # Another column says what the comma is here.
    assert values(read(tmp_path, "a;b\n1,234;1,5\n"), "a") == [1.234]
    assert values(read(tmp_path, "a;b\n1,234;1.5\n"), "a") == [1234]
    # In a file with decimal commas 1.234 may be either.
    table = read(tmp_path, "a;b;c\n1.234;1,5;1.5\n")
    assert "got '1.234'" in message_of(lambda: table["a"])
    assert values(table, "b") == [1.5] and values(table, "c") == [1.5]
    assert values(read(tmp_path, "a;b\n1.234;1,5\n", decimal=","), "a") == [1234]
    assert "line 3, column 'a': got '1.5'" in message_of(lambda: read(tmp_path, "a;b\n0,25;x\n1.5;x\n")["a"])


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("größe,ort\n1,Köln\n".encode(), "utf-8"),
        ("größe,ort\n1,Köln\n".encode("utf-8-sig"), "utf-8"),
        ("größe,ort\n1,Köln\n".encode("latin-1"), "windows-1252"),
        ("größe,ort\n1,Köln\n".encode("utf-16"), "utf-16"),
        ("größe,ort\n1,Köln\n".encode("utf-16-le"), "utf-16-le"),
        ("größe,ort\n1,Köln\n".encode("utf-16-be"), "utf-16-be"),
        (b"\xfe\xff" + "größe,ort\n1,Köln\n".encode("utf-16-be"), "utf-16"),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, encoding: str) -> None:
    table = read(tmp_path, data)
    assert table.encoding == encoding
    assert list(table) == ["größe", "ort"] and values(table, "ort") == ["Köln"]


def test_wrong_encodings(tmp_path: Path) -> None:
    assert "expected one that Python knows" in message_of(lambda: read(tmp_path, "a\n1\n", encoding="utf-99"))
    assert "no text in ascii" in message_of(lambda: read(tmp_path, "ä\n1\n", encoding="ascii"))
    assert values(read(tmp_path, "a\nü\n".encode("cp437"), encoding="cp437"), "a") == ["ü"]
    assert "line 2: got a null character" in message_of(lambda: read(tmp_path, "aaaaaaaa\nb\0b\n"))


def test_no_header(tmp_path: Path) -> None:
    table = read(tmp_path, "2026-01-01,1.5\n2026-01-02,2.5\n")
    assert list(table) == ["c1", "c2"] and not table.header and len(table) == 2
    assert "the first line holds values: the columns are c1 to c2" in table.notes
    assert list(read(tmp_path, "a,1.5\nb,2.5\n")) == ["c1", "c2"]
    assert list(read(tmp_path, "a,b\nb,c\n", header=False)) == ["c1", "c2"]
    assert list(read(tmp_path, "label,0,1,2\nup,0.5,0.25,1\n")) == ["label", "0", "1", "2"]
    assert list(read(tmp_path, "label,7,1,2\nup,0.5,0.25,1\n")) == ["c1", "c2", "c3", "c4"]
    assert list(read(tmp_path, "2024,2025\n1,2\n", header=True)) == ["2024", "2025"]


def test_quotes_and_line_ends(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\r\n"x, ""y""\r\nz",1\r\n"q", "2"\r\nw,u\r\n')
    assert values(table, "a") == ['x, "y"\r\nz', "q", "w"]
    assert "line 5, column 'b': got 'u'" in message_of(lambda: table["b"])
    assert values(read(tmp_path, "a;b\r1;2\r3;4\r"), "b") == [2, 4]
    assert "line 2: got a value that begins with a quote" in message_of(lambda: read(tmp_path, 'a,b\n"x,1\n2,3\n'))
    assert "line 3: got text after a closing quote" in message_of(lambda: read(tmp_path, 'a,b\n1,2\n"x"y,1\n'))


def test_empty_lines_and_trailing_separators(tmp_path: Path) -> None:
    table = read(tmp_path, "\n\na,b\n\n1,2\n , \n3,4\n,\n\n")
    assert values(table, "a") == [1, 3] and "6 lines without values are left out" in table.notes
    assert "line 7" in table.place(1)
    for text in ("a;b;\n1;2;\n3;4;\n", "a;b\n1;2;\n3;4;\n", "a;b;\n1;2\n3;4\n"):
        table = read(tmp_path, text)
        assert list(table) == ["a", "b"] and values(table, "b") == [2, 4]
        assert "the last column has neither a name nor values: it is left out" in table.notes
    assert list(read(tmp_path, ",a\n0,1\n1,2\n")) == ["c1", "a"]


def test_rows_of_unequal_length(tmp_path: Path) -> None:
    message = message_of(lambda: read(tmp_path, "a,b\n1,2\n\n1,2,3\n"))
    assert "some.csv, line 4: got 3 values, expected 2, as in line 1" in message
    assert "line 3: got 1 values, expected 2" in message_of(lambda: read(tmp_path, "a;b\n1;2\n1\n"))
    # A decimal comma in a file with commas.
    assert "line 2: got 3 values, expected 2" in message_of(lambda: read(tmp_path, "a,b\n1,5,2\n2,3\n"))


def test_names(tmp_path: Path) -> None:
    assert "got the name 'a' twice" in message_of(lambda: read(tmp_path, "a,b,a\n1,2,3\n"))
    table = read(tmp_path, "load, temp \n1,2\n")
    assert list(table) == ["load", "temp"]
    message = message_of(lambda: table["Loadd"])
    assert "has no column 'Loadd', expected one of ['load', 'temp']: did you mean 'load'?" in message
    by_spaces = read(tmp_path, "load temp\n1 2\n")
    assert "if spaces divide the columns, pass separator=' '" in message_of(lambda: by_spaces["temp"])


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", ",,\n,,\n"])
def test_empty_files(tmp_path: Path, text: str) -> None:
    assert "is empty, expected a table" in message_of(lambda: read(tmp_path, text))


def test_a_header_alone(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n")
    assert len(table) == 0 and kinds(table) == {"a": "empty", "b": "empty"}
    assert "0 rows" in str(table)


def test_mixed_types(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,c\n1,x,2026-01-01\n2,y,2026-01-02\noops,3,soon\n")
    assert kinds(table) == dict.fromkeys("abc", "mixed")
    assert "some.csv, line 4, column 'a': got 'oops', neither a number" in message_of(lambda: table["a"])
    assert "line 4, column 'b': got '3', a number or a time among texts" in message_of(lambda: table["b"])
    assert "line 4, column 'c': got 'soon', not a time" in message_of(lambda: table.times("c"))
    assert table.labels("b") == ["x", "y", "3"]  # names may be anything
    assert "line 4" in str(table) and table.to_dict()["columns"][0]["problem"].startswith("some.csv, line 4") is False


@pytest.mark.parametrize("cell", ["1_000", "inf", "0x10", "\u0663", "1e", "--1", "1 234", "5 %", "1e999", "1.2.3"])
def test_no_numbers(tmp_path: Path, cell: str) -> None:
    table = read(tmp_path, f"a;b\n1;x\n2;y\n{cell};z\n".encode())
    assert "line 4, column 'a': got" in message_of(lambda: table.numbers("a"))


def test_digits_that_are_no_numbers(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,c\n007,9007199254740993,99999999999999999999\n010,1,2\n")
    assert values(table, "a") == ["007", "010"] and table.labels("a") == ["007", "010"]
    assert values(table, "b") == [9007199254740993, 1]
    assert values(table, "c") == ["99999999999999999999", "2"]
    assert "line 2, column 'a': got '007': digits with leading zeros" in message_of(lambda: table.numbers("a"))
    assert "line 2, column 'c'" in message_of(lambda: table.numbers("c"))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-03-31", "2026-03-31T00:00:00"),
        ("2026/3/1 7:05", "2026-03-01T07:05:00"),
        ("2026-03-31T14:15:16.5", "2026-03-31T14:15:16"),
        ("2026-03-31T14:15:16Z", "2026-03-31T14:15:16"),
        ("2026-03-31 14:15:16+02:00", "2026-03-31T12:15:16"),
        ("2026-03-31 14:15 -0530", "2026-03-31T19:45:00"),
        ("2026-03-31 24:00", "2026-04-01T00:00:00"),
        ("31.3.2026 14:15", "2026-03-31T14:15:00"),
        ("01.02.2026", "2026-02-01T00:00:00"),
        ("31/03/2026", "2026-03-31T00:00:00"),
        ("03/31/2026 12:15 AM", "2026-03-31T00:15:00"),
        ("03/31/2026, 12:15:01 pm", "2026-03-31T12:15:01"),
        ("2024-02-29", "2024-02-29T00:00:00"),
        ("04/04/2026", "2026-04-04T00:00:00"),
        ("1969-12-31 23:59:59", "1969-12-31T23:59:59"),
    ],
)
def test_times(tmp_path: Path, cell: str, expected: str) -> None:
    table = read(tmp_path, f't;x\n"{cell}";1\n')
    assert values(table, "t") == [expected]
    assert table.times("t").utc == table.column("t").utc == (cell.endswith(("Z", ":00", "-0530")) and len(cell) > 16)


@pytest.mark.parametrize(
    "cell",
    ["2026-02-29", "2026-13-01", "2026-01-01 25:00", "2026-01-01 24:15", "2026-01-01 10:60", "13/13/2026", "1/2/26",
     "31/12/2026 13:00 PM", "0001-01-01", "2026-01-01 00:00:60"],
)  # fmt: skip
def test_times_that_do_not_exist(tmp_path: Path, cell: str) -> None:
    table = read(tmp_path, f"t,x\n{cell},1\n")
    assert f"line 2, column 't': got {cell!r}" in message_of(lambda: table.times("t"))


def test_day_or_month_first(tmp_path: Path) -> None:
    text = "t,x\n03/04/2026,1\n05/04/2026,2\n"
    message = message_of(lambda: read(tmp_path, text).times("t"))
    assert "line 2, column 't': got '03/04/2026', either day first or month first" in message
    assert "day_first=True (--day-first)" in message
    assert values(read(tmp_path, text, day_first=True), "t") == ["2026-04-03T00:00:00", "2026-04-05T00:00:00"]
    assert values(read(tmp_path, text, day_first=False), "t") == ["2026-03-04T00:00:00", "2026-05-04T00:00:00"]
    assert values(read(tmp_path, text + "13/04/2026,3\n"), "t")[0] == "2026-04-03T00:00:00"
    assert values(read(tmp_path, text + "04/13/2026,3\n"), "t")[0] == "2026-03-04T00:00:00"
    table = read(tmp_path, text + "04/13/2026,3\n13/04/2026,4\n")
    assert "line 5, column 't': got '13/04/2026', neither day first" in message_of(lambda: table.times("t"))
    table = read(tmp_path, "t,x\n31/04/2026,1\n", day_first=None)  # a day that April does not have
    assert "not a time that exists" in message_of(lambda: table.times("t"))
    assert values(table, "x") == [1]  # other columns can be used


@pytest.mark.parametrize(
    ("dates", "order"),
    [("01/01/2026,02/02/2026", None), ("01/01/2026", None), ("01.01.2026", True), ("01/01/2026,13/01/2026", True),
     ("01-01-2026,01-13-2026", False), ("2026-01-01", None)],
)  # fmt: skip
def test_dates_that_leave_the_order_open(tmp_path: Path, dates: str, order: bool | None) -> None:
    """Those whose days equal their months are the same times in both orders, and say nothing of later ones."""
    every = dates.split(",")
    table = read(tmp_path, "t,x\n" + "".join(f"{date},1\n" for date in every))
    assert len(table.times("t").values) == len(every) and table.day_first("t") is order
    assert read(tmp_path, "t,x\n01/01/2026,1\n", day_first=True).day_first("t") is True


def test_offsets_in_some_lines(tmp_path: Path) -> None:
    table = read(tmp_path, "t,x\n2026-01-01T00:00Z,1\n2026-01-01T01:00,2\n")
    assert "line 3, column 't'" in (message := message_of(lambda: table.times("t")))
    assert "a time without an offset from UTC, unlike those before it" in message
    table = read(tmp_path, "t,x\n2026-10-25T02:45+02:00,1\n2026-10-25T02:00+01:00,2\n")
    assert np.diff(table.times("t").values).tolist() == [15 * 60 * 10**9]


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_seconds_since_1970(tmp_path: Path, factor: int, unit: str) -> None:
    times = read(tmp_path, f"t,x\n{1774966500 * factor},1\n{1774967400 * factor},1\n").times("t")
    assert times.utc and times.values[0] == np.datetime64("2026-03-31T14:15")
    assert np.diff(times.values).tolist() == [900 * 10**9]


def test_steps_and_dates_as_integers(tmp_path: Path) -> None:
    times = read(tmp_path, "t,x\n0,1\n1,1\n").times("t")
    assert times.values.tolist() == [0, 1] and not times.utc
    message = message_of(lambda: read(tmp_path, "t,x\n20260331,1\n20260401,1\n").times("t"))
    assert "write dates as 2026-03-31" in message
    message = message_of(lambda: read(tmp_path, "t,x\n46023.5,1\n").times("t"))
    assert "got 46023.5, expected times such as 2026-03-31 14:15" in message and "format the column as date" in message
    message = message_of(lambda: read(tmp_path, "t,x\n14:15,1\n").times("t"))
    assert "got '14:15', expected times" in message and "the time of day into one column" in message
    message = message_of(lambda: read(tmp_path, "t,x\n2026-01-01,1\n,2\n2026-01-03,1\n").times("t"))
    assert "line 3, column 't': the time is missing" in message


def test_open_files(tmp_path: Path) -> None:
    assert values(fl.data.read_csv(io.BytesIO(b"a,b\n1,2\n")), "b") == [2]
    assert "a file opened with mode 'rb'" in message_of(lambda: fl.data.read_csv(io.StringIO("a,b\n1,2\n")))


@pytest.mark.parametrize("option", [{"separator": ",,"}, {"separator": '"'}, {"decimal": " "}, {"dayfirst": True}])
def test_wrong_options(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(option))}"):
        read(tmp_path, "a,b\n1,2\n", **option)


def test_the_report(tmp_path: Path) -> None:
    table = read(tmp_path, "time;load;city\n31.03.2026 00:00;1,5;Köln\n31.03.2026 00:15;-;\n")
    said = str(table)
    assert "2 rows, 3 columns, utf-8, separator: semicolon" in said
    assert "time (day first)" in said and "2026-03-31 00:00:00 - 2026-03-31 00:15:00" in said
    described = table.to_dict()
    assert described["rows"] == 2 and described["separator"] == ";"
    assert [(one["type"], one["missing"]) for one in described["columns"]] == [("time", 0), ("number", 1), ("text", 1)]


# ------------------------------------------------------------------------------------------------ files of spreadsheets


def test_rows_of_units_and_titles(tmp_path: Path) -> None:
    table = read(tmp_path, "time,p,q\n-,bar,\n2026-01-01,1,2\n2026-01-02,3,4\n")
    message = message_of(lambda: table.numbers("p"))
    assert (
        "line 2, column 'p': got 'bar'" in message and "line 2 holds no number: remove it if it holds units" in message
    )
    table = read(tmp_path, "Station Nord, March\n\ntime,load\n2026-01-01,1\n2026-01-02,3\n")
    message = message_of(lambda: table.times("Station Nord"))
    assert "line 3 holds no number" in message and "the lines above it if it holds names" in message
    table = read(tmp_path, "p,q\nbad,2\n1,2\n3,4\n")  # a row with a number is no row of units
    assert "holds no number" not in message_of(lambda: table.numbers("p"))
    message = message_of(lambda: read(tmp_path, "# meter\ntime,load\n2026-01-01,1\n2026-01-02,3\n"))
    assert "line 2: got 2 values, expected 1" in message and "remove the lines above the names" in message


def test_empty_columns_at_the_end(tmp_path: Path) -> None:
    table = read(tmp_path, "a;b;;\n1;2;;\n3;4;;\n")
    assert list(table) == ["a", "b"] and values(table, "b") == [2, 4]
    assert "the last 2 columns have neither names nor values: they are left out" in table.notes
    assert list(read(tmp_path, "a;b;\n1;2;;;\n3;4\n")) == ["a", "b"]
    table = read(tmp_path, "a;b;;\n1;2;;\n3;4;;5\n")  # a value without a name is kept
    assert list(table) == ["a", "b", "c3", "c4"] and values(table, "c4")[1] == 5
    assert "got 3 values, expected 2" in message_of(lambda: read(tmp_path, "a;b\n1;2\n3;4;5\n"))


def test_numbers_with_units(tmp_path: Path) -> None:
    table = read(tmp_path, "a;b;c\n100 €;x;1\n5 €;y;2\n")
    assert message_of(lambda: table.numbers("a")).endswith("expected numbers without units, spaces or other signs")
    assert message_of(lambda: table.numbers("b")).endswith("got 'x', expected numbers")
    table = read(tmp_path, "a,b\n1,?\n2,3\n")
    assert np.isnan(table.numbers("b")[0]) and table.columns["b"].missing == 1


# ------------------------------------------------------------------------------------------------ pandas


def generated(rng: random.Random) -> tuple[str, dict[str, Any], dict[str, list[Any]]]:
    """Return the text of a random table, the options of pandas for it, and its kinds of columns."""
    separator = rng.choice([",", ";", "\t"])
    decimal = rng.choice([".", ","]) if separator != "," else "."
    rows, kinds = rng.randint(1, 30), [rng.choice("nixst") for _ in range(rng.randint(2, 6))]
    columns: dict[str, list[Any]] = {}
    for number, kind in enumerate(kinds):
        cells = []
        for row in range(rows):
            if number and row and rng.random() < 0.1:
                cells.append(rng.choice(["", "NA", "NaN", "null"]))
            elif kind == "i":
                cells.append(str(rng.randint(-1000, 1000)))
            elif kind in "nx":
                number_text = f"{rng.uniform(-10, 10):.{rng.choice([1, 2, 5, 12])}f}"
                cells.append(number_text.replace(".", decimal))
            elif kind == "t":
                cells.append(f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d} {rng.randint(0, 23):02d}:15")
            else:
                word = "".join(rng.choice('abcü ,;\t"\n') for _ in range(rng.randint(0, 6)))
                cells.append('"w' + word.replace('"', '""') + 'w"')
        columns[f"{kind}{number}"] = cells
    ends = rng.choice(["\n", "\r\n"])
    lines = [separator.join(columns), *(separator.join(row) for row in zip(*columns.values(), strict=True))]
    text = ends.join(lines) + rng.choice([ends, ""])
    return text, {"sep": separator, "decimal": decimal, "na_values": ["-"]}, columns


def test_as_pandas_reads_them(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rng = random.Random(0)
    compared = 0
    for _ in range(400):
        text, options, columns = generated(rng)
        table = read(tmp_path, text, decimal=options["decimal"], separator=options["sep"])
        assert read(tmp_path, text).separator == options["sep"]
        frame = pandas.read_csv(io.StringIO(text, newline=""), **options)
        assert list(table) == list(frame.columns) and len(table) == len(frame)
        for name, cells in columns.items():
            expected = frame[name]
            if name[0] == "t":
                expected = pandas.to_datetime(expected).to_numpy().astype("datetime64[ns]")
                np.testing.assert_array_equal(table[name], expected)
            elif name[0] == "s":
                assert table.labels(name) == [None if one != one else one.strip() for one in expected.tolist()], cells
            else:
                # Fast parsers of pandas may be wrong in the last digit.
                np.testing.assert_allclose(table.numbers(name), expected.to_numpy(np.float64), rtol=1e-15)
            compared += len(expected)
    assert compared > 10_000
