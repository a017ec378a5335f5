"""From the bytes of a CSV file to rows of text: encoding, separator, quotes, line numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...._checks import short_repr

__all__ = ["SEPARATORS", "Rows", "decoded", "find_separator", "read_rows", "separator_name", "split_line"]

SEPARATORS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma"}
"""Names of the separators, in the order in which they are tried: commas may also be decimal commas."""
_BOMS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_SAMPLE = 200
"""Rows by which the separator is found."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file that are not empty, as text."""

    cells: list[list[str]]
    lines: list[int] | range
    """The line in which each row begins, counted from 1."""
    empty: int
    """Number of lines without values."""


def decoded(data: bytes, name: str, encoding: str | None = None) -> tuple[str, str]:
    """Return the text of a file, and the name of its encoding.

    Parameters
    ----------
    data : bytes
    name : str
        Name of the file in messages.
    encoding : str, optional
        By default that of the byte-order mark; without one UTF-8, or Windows-1252, which is Latin-1 with more
        characters, if the bytes are no UTF-8; UTF-16 if every second byte is 0.
    """
    if encoding is not None:
        try:
            return data.decode(encoding), encoding
        except LookupError as error:
            raise ValueError(f"encoding is {encoding!r}, expected one that Python knows, such as 'utf-8'") from error
        except UnicodeError as error:
            raise ValueError(f"{name}: the bytes are no text in {encoding} ({error})") from error
    for mark, found in _BOMS.items():
        if data.startswith(mark):
            try:
                return data.decode(found), found.removesuffix("-sig")
            except UnicodeError as error:
                raise ValueError(f"{name} begins as {found}, but is damaged ({error})") from error
    wide = _utf16(data)
    for found in (wide,) if wide else ("utf-8", "cp1252", "latin-1"):
        try:
            return data.decode(found), {"cp1252": "windows-1252"}.get(found, found)
        except UnicodeError:
            continue
    raise ValueError(f"{name}: the bytes are no text, expected a CSV file")


def _utf16(data: bytes) -> str | None:
    """Return UTF-16 if every second byte of the start is 0, as in text of Western languages without its mark."""
    start = data[:1000]
    if len(start) < 4 or b"\0" not in start:
        return None
    even, odd = start[::2].count(0) / len(start[::2]), start[1::2].count(0) / len(start[1::2])
    return "utf-16-le" if odd > 0.8 and even < 0.2 else "utf-16-be" if even > 0.8 and odd < 0.2 else None


def separator_name(separator: str) -> str:
    """Return the name of a separator, for reports."""
    return SEPARATORS.get(separator, repr(separator))


def find_separator(text: str, name: str) -> str:
    """Return the separator of a table: the first that divides all of its first rows into as many parts, at least two.

    Parts without text at the end of a row do not count. If no separator does, it is that which divides the most rows;
    the comma if none divides any.
    """
    best, most = ",", 0
    for separator in SEPARATORS:
        counts = []
        try:
            for row in _parsed(text, separator, name):
                while row and not row[-1].strip():
                    row.pop()
                if row:
                    counts.append(len(row))
                if len(counts) == _SAMPLE:
                    break
        except ValueError:  # a quote that is right only with another separator
            continue
        widest = max(counts, default=0)
        if widest > 1 and min(counts) == widest:
            return separator
        divided = sum(count == widest for count in counts) if widest > 1 else 0
        if divided > most:
            best, most = separator, divided
    return best


def read_rows(text: str, separator: str, name: str) -> Rows:
    """Return the rows of a table, without those that hold nothing.

    Raises
    ------
    ValueError
        If a quote is not closed, or a character is 0; the message names the line.
    """
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{name}, line {line}: got a null character, expected text: the file may be damaged")
    try:
        every = list(_reader(text, separator))
    except csv.Error as error:
        list(_numbered(text, separator, name))  # raises with the line
        raise ValueError(_explained(error, name)) from error
    lines: list[int] | range = range(1, len(every) + 1)
    if '"' in text:  # values may hold line ends
        lines = [line for line, _ in _numbered(text, separator, name)]
    kept = [number for number, row in enumerate(every) if row and (row[0].strip() or any(map(str.strip, row)))]
    if len(kept) == len(every):
        return Rows(every, lines, 0)
    return Rows([every[k] for k in kept], [lines[k] for k in kept], len(every) - len(kept))


def split_line(line: str, separator: str, name: str) -> list[str]:
    """Return the parts of one line."""
    rows = list(_parsed(line.rstrip("\r\n"), separator, name))
    if len(rows) != 1:
        raise ValueError(f"{name}: got {short_repr(line)}, expected one row")
    return rows[0]


def _numbered(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = _reader(text, separator)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(_explained(error, f"{name}, line {line}")) from error


def _parsed(text: str, separator: str, name: str) -> Iterator[list[str]]:
    for _, row in _numbered(text, separator, name):
        yield row


def _reader(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)


def _explained(error: csv.Error, where: str) -> str:
    if "end of data" in str(error):
        return f'{where}: got a value that begins with a quote (") and does not end, expected a closing quote'
    if "expected after" in str(error):
        return f'{where}: got text after a closing quote, expected a separator; a quote within a value is written ""'
    return f'{where}: not a row of a CSV file ({error}); a quote (") that does not end may be the reason'
