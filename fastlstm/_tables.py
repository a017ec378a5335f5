"""Tables of text as aligned lines and as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["aligned", "html_table"]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, the first column aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if number == 0 else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", text_columns: Iterable[int] = (0,)
) -> str:
    """Return an HTML table; every text is escaped.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequences of str
        The cells.
    caption : str, optional
        Text above the table.
    text_columns : iterable of int, default (0,)
        Columns that are aligned to the left; the others are numbers, aligned to the right.
    """
    from html import escape  # here, because its table of entities takes a millisecond

    left = set(text_columns)

    def row_of(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="text-align: {"left" if number in left else "right"}">{escape(cell)}</{tag}>'
            for number, cell in enumerate(cells)
        )

    lines = ["<table>"]
    if caption:
        style = "caption-side: top; text-align: left; font-weight: bold; white-space: nowrap"
        lines.append(f'<caption style="{style}">{escape(caption)}</caption>')
    lines.append(f"<thead><tr>{row_of('th', header)}</tr></thead>")
    lines.append("<tbody>")
    lines += [f"<tr>{row_of('td', row)}</tr>" for row in rows]
    lines += ["</tbody>", "</table>"]
    return "\n".join(lines)
