"""Reader of .ts files, the format of the UCR and UEA archives, aeon and sktime."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._arguments import closest
from ..._checks import path as as_path
from ..._checks import short_repr
from .series_file import LabelledSeries, SeriesMeta, lines_of, numbers_of, place, text_of

__all__ = ["read_ts"]

_FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
_COUNTS = ("serieslength", "dimensions", "dimension")
_TAGS = ("problemname", "classlabel", *_FLAGS, *_COUNTS)


class _Header(NamedTuple):
    """The header of a file, checked."""

    tags: dict[str, str]
    """Tags in lower case, with their text."""
    lines: dict[str, int]
    """The line of each tag."""
    labels: str | None
    """"classes", "numbers", or None: there are none."""
    classes: tuple[str, ...]
    """The class labels in the order of the header."""

    def flag(self, tag: str) -> bool | None:
        """Return a tag that is true or false; None if there is none."""
        return None if tag not in self.tags else self.tags[tag].lower() == "true"

    def size(self, *tags: str) -> int | None:
        """Return the first of some tags that are numbers; None if there is none."""
        return next((int(self.tags[tag]) for tag in tags if tag in self.tags), None)


def read_ts(path: Any) -> LabelledSeries:
    r"""Read a ``.ts`` file of the UCR and UEA archives, the format of aeon and sktime.

    Parameters
    ----------
    path : str or path-like
        A file such as ``BasicMotions_TRAIN.ts``: lines of comment that begin with ``#`` or ``%``, a header of tags such
        as ``@classLabel true a b``, and after ``@data`` one case in each line: the values of a channel are separated by
        commas, channels and label by colons.

    Returns
    -------
    LabelledSeries
        `X`, float64 of shape (n, T, channels), or a list of (T_i, channels) if lengths differ; ``?`` and ``NaN`` become
        NaN. `y`, shape (n,): class labels as strings, as ``fit`` takes them (``y.astype(int)`` makes numbers), float64
        with ``@targetLabel true``, or None. `meta`: the name of the problem, the classes, whether values are missing,
        and the header.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is no ``.ts`` file, has time stamps, or contradicts its header; the message names the line. Only
        ``@missing`` and ``@univariate false`` may be wrong, since the values say it.

    Warns
    -----
    UserWarning
        If all series have the same length, but not that of ``@seriesLength``.

    Notes
    -----
    The files come from https://www.timeseriesclassification.com. Their labels and their official split into training
    and test parts are as in the ``.tsv`` files, which `read_ucr_tsv` reads.

    Examples
    --------
    >>> from pathlib import Path
    >>> import fastlstm as fl
    >>> text = "@problemName Two\n@univariate false\n@classLabel true up down\n@data\n1,2:5,6:up\n4,3:?,7:down\n"
    >>> _ = Path("Two_TRAIN.ts").write_text(text)
    >>> X, y, meta = fl.data.read_ts("Two_TRAIN.ts")
    >>> X.tolist(), y.tolist(), meta.classes
    ([[[1.0, 5.0], [2.0, 6.0]], [[4.0, nan], [3.0, 7.0]]], ['up', 'down'], ('up', 'down'))
    """
    name = as_path(path)
    # Comments are not decoded: in some files of the archive they are no UTF-8.
    lines = ((number, line.strip()) for number, line in lines_of(name) if not line.lstrip().startswith((b"#", b"%")))
    header = _read_header(lines, name)
    known = frozenset(header.classes)
    series: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in lines:
        where = place(name, number)
        parts = text_of(line, where).split(":")
        if header.labels:
            labels.append(_checked_label(parts.pop().strip(), known, where))
        _check_channels(len(parts), series, header, where)
        series.append(_read_case(parts, where))
        if header.flag("equallength") and len(series[-1]) != len(series[0]):
            raise ValueError(
                f"{where}: got {len(series[-1])} values, but the first case has {len(series[0])}, and the header says "
                "@equalLength true"
            )
    if not series:
        raise ValueError(f"{name} has no case after @data, expected one in each line")
    _check_lengths(series, header, name)
    missing = any(bool(np.isnan(one).any()) for one in series)
    meta = SeriesMeta(
        header.tags.get("problemname", ""), header.classes if header.labels == "classes" else None, missing, header.tags
    )
    equal = all(len(one) == len(series[0]) for one in series)
    y: NDArray[Any] | None = np.array(labels, np.str_) if header.labels == "classes" else None
    if header.labels == "numbers":
        y = np.concatenate([numbers_of(label, ",", name) for label in labels])
    return LabelledSeries(np.stack(series) if equal else series, y, meta)


# ------------------------------------------------------------------------------------------------ header


def _read_header(lines: Iterator[tuple[int, bytes]], name: str) -> _Header:
    tags: dict[str, str] = {}
    where: dict[str, int] = {}
    for number, line in lines:
        text = text_of(line, place(name, number))
        if not text.startswith("@"):
            advice = ": a .tsv file is read by fl.data.read_ucr_tsv(path)" if "\t" in text and not tags else ""
            raise ValueError(
                f"{place(name, number)}: got {short_repr(text[:80])} before @data, expected a tag such as "
                f"'@classLabel true a b', or a comment after #{advice}"
            )
        tag, _, value = text[1:].replace("\t", " ").partition(" ")
        tag, value = tag.lower(), value.strip()
        if tag == "data":
            if value:
                raise ValueError(f"{place(name, number)}: got {short_repr(value)} after @data, expected nothing")
            return _checked_header(tags, where, name, number)
        if tag != "problemname" and tags.get(tag, value) != value:
            raise ValueError(
                f"{place(name, number)}: got @{tag} {short_repr(value)}, but it is {short_repr(tags[tag])} in line "
                f"{where[tag]}, expected each tag once"
            )
        _check_tag(tag, value, place(name, number))
        tags.setdefault(tag, value)
        where.setdefault(tag, number)
    raise ValueError(f"{name} has no line @data, expected a .ts file of the UCR or UEA archive: header, @data, cases")


def _check_tag(tag: str, value: str, where: str) -> None:
    if tag not in _TAGS:
        near = closest(tag, _TAGS) if len(tag) < 40 else None  # the search takes a time quadratic in the length
        advice = "" if near is None else f": did you mean @{near}?"
        raise ValueError(f"{where}: got the tag @{short_repr(tag)[1:-1]}, expected one of {', '.join(_TAGS)}{advice}")
    if tag in _FLAGS and value.lower() not in ("true", "false"):
        raise ValueError(f"{where}: got @{tag} {short_repr(value)}, expected true or false")
    if tag in _COUNTS and not re.fullmatch(r"[0-9]{1,12}", value):
        raise ValueError(f"{where}: got @{tag} {short_repr(value)}, expected a number")
    if tag == "timestamps" and value.lower() == "true":
        raise ValueError(
            f"{where}: got @{tag} true, expected false, since the steps of a series have no times here: read the file "
            "with aeon or sktime, bring the series to even steps, and turn them by fl.from_numpy3d"
        )
    if tag == "classlabel" and not re.fullmatch(r"false|true\s.+", value, re.I):
        raise ValueError(
            f"{where}: got @{tag} {short_repr(value)}, expected false, or true and the labels, as in "
            "'@classLabel true a b'"
        )


def _checked_header(tags: dict[str, str], where: dict[str, int], name: str, line: int) -> _Header:
    words = tags.get("classlabel", "false").split()
    classes = tuple(words[1:]) if words[0].lower() == "true" else ()
    numbers = tags.get("targetlabel", "").lower() == "true"
    if not {"classlabel", "targetlabel"} & tags.keys():
        raise ValueError(
            f"{place(name, line)}: got no tag @classLabel or @targetLabel before @data, expected one, which says "
            "whether the last part of a line is a label: write '@classLabel false' if it is not"
        )
    if classes and numbers:
        raise ValueError(
            f"{place(name, where['targetlabel'])}: got @targetLabel true, but line {where['classlabel']} has class "
            "labels, expected one of the two"
        )
    if len(set(classes)) < len(classes):
        raise ValueError(f"{place(name, where['classlabel'])}: got a class label twice, expected each once")
    return _Header(tags, where, "classes" if classes else "numbers" if numbers else None, classes)


# ------------------------------------------------------------------------------------------------ cases


def _read_case(parts: list[str], where: str) -> NDArray[np.float64]:
    """Return one case, (T, channels)."""
    channels = []
    for channel, part in enumerate(parts, start=1):
        within = where if len(parts) == 1 else f"{where}, channel {channel}"
        channels.append(numbers_of(part, ",", within))
        if len(channels[-1]) != len(channels[0]):
            raise ValueError(
                f"{within}: got {len(channels[-1])} values, expected {len(channels[0])}, those of the first channel"
            )
    return np.stack(channels, axis=1)


def _check_channels(channels: int, before: list[NDArray[np.float64]], header: _Header, where: str) -> None:
    if not channels:
        raise ValueError(f"{where}: got a label only, expected values before it, separated by a colon")
    said = "the header says"
    expected = header.size("dimensions", "dimension")
    if expected is None and header.flag("univariate"):
        expected = 1
    if expected is None and before:
        expected, said = before[0].shape[1], "the first case has"
    if expected is not None and channels != expected:
        raise ValueError(f"{where}: got {channels} channels, but {said} {expected}")


def _check_lengths(series: list[NDArray[np.float64]], header: _Header, name: str) -> None:
    """Compare the length that the header gives with that of all series; the archive has files in which it is wrong."""
    steps = header.size("serieslength")
    if steps is None or header.flag("equallength") is False:
        return
    where = place(name, header.lines["serieslength"])
    lengths = {len(one) for one in series}
    if len(lengths) > 1:
        raise ValueError(
            f"{where}: got @seriesLength {steps}, but the series have {min(lengths)} to {max(lengths)} steps, expected "
            "all of the same length: write '@equalLength false' if they may differ"
        )
    if lengths != {steps}:
        warnings.warn(f"{where}: got @seriesLength {steps}, but all series have {lengths.pop()} steps", stacklevel=3)


def _checked_label(label: str, classes: frozenset[str], where: str) -> str:
    """Return the label of a case; without classes it must be a number."""
    if not classes:
        if len(numbers_of(label, ",", f"{where}, target")) > 1:
            raise ValueError(f"{where}: got several numbers after the last colon, expected one target")
    elif label not in classes:
        raise ValueError(
            f"{where}: got the label {short_repr(label)}, expected one of those of @classLabel: "
            f"{short_repr(' '.join(sorted(classes)))}"
        )
    return label
