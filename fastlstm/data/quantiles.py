"""Exact quantiles of each feature of data that need not fit in memory.

Data of up to `HELD` values are sorted. Of larger data, the order statistics that a quantile needs are found by radix
selection: the 64 bits of a float64, with the sign turned so that integers have the order of the numbers, are fixed from
the highest digit on, each by counting the digits of the values that begin with the digits so far. A digit has 11 bits,
so that the counts of a feature take 96 kB; each digit is a pass over the data, and as soon as few enough values begin
with the digits so far, these are collected and sorted instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HELD", "Quantiles", "quantiles"]

HELD = 2**24
"""Number of values that are held in memory at once, as float64."""

_BITS = 11
_SIGN = np.uint64(2**63)

Pass = Callable[[], Iterator[NDArray[Any]]]


class Quantiles(NamedTuple):
    """Quantiles of each feature."""

    values: NDArray[np.float64]
    """(levels, F); arbitrary for a feature without values."""
    counts: NDArray[np.int64]
    """(F,): values that are not missing."""
    rows: int
    finite: bool
    """Whether all values are finite, or missing where they may be; if not, `values` are arbitrary."""


def quantiles(rows: Pass, levels: Sequence[float], skip_missing: bool) -> Quantiles:
    """Return quantiles of the columns of all blocks (rows, F) of a pass, interpolated linearly between two values.

    The quantile of level q of n values is the value at q (n - 1) in sorted order, counted from 0: definition 7 of
    Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50(4), 1996, as in NumPy and
    scikit-learn. With `skip_missing` NaN does not count.
    """
    total, held = 0, []
    counts: NDArray[np.int64] = np.zeros(1, np.int64)
    finite = True
    for block in _floats(rows):
        absent = np.isnan(block)
        finite = finite and bool((np.isfinite(block) | (absent & skip_missing)).all())
        counts = counts + (len(block) - absent.sum(axis=0))
        total += len(block)
        if total * block.shape[1] <= HELD:
            held.append(block)
        else:
            held.clear()
    if not total or not finite:
        return Quantiles(np.zeros((len(levels), counts.size)), counts, total, finite)
    place = np.multiply.outer(np.asarray(levels), np.maximum(counts - 1, 0))  # (levels, F)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    ranks = np.concatenate([below, above])
    if total * counts.size <= HELD:
        ordered = np.sort(np.concatenate(held), axis=0)  # NaN comes last
        found = np.take_along_axis(ordered, ranks, axis=0)
    else:
        found = _selected(rows, ranks)
    low, high = found[: len(levels)], found[len(levels) :]
    with np.errstate(over="ignore", invalid="ignore"):
        values = low + (place - below) * (high - low)
    return Quantiles(values, counts, total, True)


def _floats(rows: Pass) -> Iterator[NDArray[np.float64]]:
    """Yield the blocks in float64, with a single zero."""
    for values in rows():
        if len(values):
            yield values.astype(np.float64) + 0.0


def _selected(rows: Pass, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of these ranks (k, F) in the sorted columns, by radix selection."""
    prefix = np.zeros(ranks.shape, np.uint64)  # the digits so far
    left = ranks.copy()  # the rank among the values that begin with them
    shift = 64
    while shift > 0:
        bits = min(_BITS, shift)
        shift -= bits
        counts = _digit_counts(rows, prefix, shift, bits)
        within = 0
        for k, c in np.ndindex(*ranks.shape):
            of_prefix = counts[c][int(prefix[k, c])]
            sums = np.cumsum(of_prefix)
            digit = int(np.searchsorted(sums, left[k, c], side="right"))
            left[k, c] -= sums[digit] - of_prefix[digit]
            prefix[k, c] = (int(prefix[k, c]) << bits) | digit
            within += int(of_prefix[digit])
        if within <= HELD:
            return _collected(rows, prefix, left, shift)
    return _numbers(prefix)


def _digit_counts(rows: Pass, prefix: NDArray[np.uint64], shift: int, bits: int) -> list[dict[int, NDArray[np.int64]]]:
    """Count the next digits of the values of each column that begin with each of its prefixes."""
    chosen = [sorted({int(one) for one in column}) for column in prefix.T]
    counts = [{one: np.zeros(2**bits, np.int64) for one in column} for column in chosen]
    digits = np.uint64(2**bits - 1)
    for block in _floats(rows):
        for c, of_column in enumerate(counts):
            keys = _keys(block[:, c])
            for one, of_prefix in of_column.items():
                next_digits = (_beginning_with(keys, one, shift + bits) >> np.uint64(shift)) & digits
                of_prefix += np.bincount(next_digits.astype(np.int64), minlength=2**bits)
    return counts


def _collected(rows: Pass, prefix: NDArray[np.uint64], left: NDArray[np.int64], shift: int) -> NDArray[np.float64]:
    """Return the values with these ranks among those that begin with the prefixes, which are few."""
    parts: list[dict[int, list[NDArray[np.uint64]]]] = [{int(one): [] for one in column} for column in prefix.T]
    for block in _floats(rows):
        for c, of_column in enumerate(parts):
            keys = _keys(block[:, c])
            for one, found in of_column.items():
                found.append(_beginning_with(keys, one, shift))
    ordered = [{one: np.sort(np.concatenate(found)) for one, found in of_column.items()} for of_column in parts]
    keys = np.zeros(prefix.shape, np.uint64)
    for k, c in np.ndindex(*prefix.shape):
        keys[k, c] = ordered[c][int(prefix[k, c])][left[k, c]]
    return _numbers(keys)


def _beginning_with(keys: NDArray[np.uint64], prefix: int, shift: int) -> NDArray[np.uint64]:
    """Return the keys whose bits above `shift` are those of the prefix."""
    return keys if shift == 64 else keys[keys >> np.uint64(shift) == prefix]


def _keys(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return integers that have the order of the numbers, without those that are NaN."""
    bits = values[~np.isnan(values)].view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the numbers of keys."""
    bits = np.where(keys & _SIGN, keys & ~_SIGN, ~keys)
    return bits.view(np.float64)
