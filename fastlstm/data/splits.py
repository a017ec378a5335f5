"""Divide cases into parts: training, validation, test."""

from __future__ import annotations

from collections.abc import Sized
from itertools import pairwise
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import explain_arguments
from .._arrays import as_array
from .._checks import MANY, as_list, count, one_of, real
from .._draws import Draws
from .group_splits import split_groups
from .groups import as_groups
from .label_checks import label_type_error

__all__ = ["split"]


@overload
def split(
    cases: int | Sized,
    fractions: tuple[float, ...] = ...,
    *,
    method: Literal["random", "stratified"] = ...,
    y: ArrayLike | None = ...,
    groups: ArrayLike | None = ...,
    seed: int = ...,
) -> tuple[NDArray[np.int64], ...]: ...


@overload
def split(
    cases: int | Sized, fractions: tuple[float, ...] = ..., *, method: Literal["time"], gap: int = ...
) -> tuple[slice, ...]: ...


@explain_arguments
def split(
    cases: int | Sized,
    fractions: tuple[float, ...] = (0.7, 0.15, 0.15),
    *,
    method: Literal["random", "stratified", "time"] = "random",
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
    gap: int = 0,
) -> tuple[NDArray[np.int64], ...] | tuple[slice, ...]:
    """Divide cases into parts, such as training, validation and test.

    Parameters
    ----------
    cases : int, or anything with a length
        Number of cases, or the inputs or targets themselves.
    fractions : tuple of float, default (0.7, 0.15, 0.15)
        Share of each part; they must sum to 1.
    method : {"random", "stratified", "time"}, default "random"
        - "random": each case in a random part;
        - "stratified": random, but each class has the same share in every part, to about one case;
        - "time": consecutive parts, the first cases first.
    y : array, shape (n,), optional
        Labels for "stratified". By default `cases`, if that is an array or list of labels.
    groups : array of int or str, shape (n,), optional
        Group of each case, such as the patient or the engine. All cases of a group get into the same part, so that a
        model is tested on groups that it has never seen. The parts get their shares of the cases, and with "stratified"
        of each class, as nearly as whole groups allow.
    seed : int, default 0
        Seed of the random methods.
    gap : int, default 0
        For "time": number of cases left out between parts. Windows of length L, stride 1 and horizon H share no step
        with another part if gap = L + H - 1, and no target if gap = H - 1; with a stride s, divide by s and round down.

    Returns
    -------
    tuple of ndarray of int64, or of slice
        For each part the sorted indices of its cases; for "time" slices, which give views of an array.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the fractions do not sum to 1, a part would be empty, labels or groups do not fit, or groups are given with
        "time", which would cut them.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.split(10, (0.8, 0.2), method="time")
    (slice(0, 8, None), slice(8, 10, None))
    >>> train, test = fl.split(["a", "a", "b", "b"], (0.5, 0.5), method="stratified", seed=1)
    >>> len(train), len(test)
    (2, 2)
    >>> patients = ["ann", "ann", "bob", "bob", "cid", "cid"]
    >>> train, test = fl.split(6, (0.7, 0.3), groups=patients)
    >>> train.tolist(), test.tolist()
    ([2, 3, 4, 5], [0, 1])
    """
    n = len(cases) if isinstance(cases, Sized) and getattr(cases, "shape", None) != () else count("cases", cases)
    gap = count("gap", gap, 0)
    one_of("method", method, ("random", "stratified", "time"))
    fractions = tuple(real("each of fractions", fraction) for fraction in as_list("fractions", fractions, "numbers"))
    if any(fraction <= 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"got fractions {fractions}, expected positive numbers that sum to 1")
    bounds = np.rint(np.cumsum((0.0, *fractions)) * n).astype(np.int64)
    if method == "time":
        if groups is not None:
            raise ValueError(
                "got groups with method = 'time', which would cut them, expected one of the two: leave method out, or "
                "leave groups out"
            )
        starts = bounds[:-1] + gap * (np.arange(len(fractions)) > 0)
        if np.any(starts >= bounds[1:]):
            raise ValueError(
                f"{n} cases with gap = {gap} leave a part of fractions {fractions} empty, expected at least "
                "one case in each: take fewer parts or a smaller gap"
            )
        return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, bounds[1:], strict=True))
    if gap:
        raise ValueError(f"got gap = {gap} with method = {method!r}, expected method = 'time'")
    draws = Draws(count("seed", seed, 0, bits=MANY), "split")
    if groups is not None:
        classes = _class_numbers(cases, y, n) if method == "stratified" else np.zeros(n, np.int64)
        return split_groups(as_groups(groups, n, "groups"), classes, fractions, draws)
    if np.any(np.diff(bounds) < 1):
        raise ValueError(
            f"{n} cases leave a part of fractions {fractions} empty, expected at least one case in each: "
            "take fewer parts"
        )
    order = draws.permutation(n)
    if method == "stratified":
        order = order[_spread(_class_numbers(cases, y, n)[order], draws)]
    return tuple(np.sort(order[start:stop]) for start, stop in pairwise(bounds))


def _class_numbers(cases: Any, y: Any, n: int) -> NDArray[np.int64]:
    labels = as_array(cases, "cases") if y is None else as_array(y, "y")
    if y is not None and labels.shape == (n,) and labels.dtype.kind == "f":
        raise ValueError(str(label_type_error(labels, y, "y")))
    if labels.shape != (n,) or labels.dtype.kind not in "iubUO":
        raise ValueError(
            f"got labels of shape {labels.shape} and type {labels.dtype}, expected ({n},) integers or "
            "strings: a stratified split needs y=labels"
        )
    return np.unique(labels, return_inverse=True)[1]


def _spread(classes: NDArray[np.int64], draws: Draws) -> NDArray[np.int64]:
    """Order cases so that every run of consecutive cases holds each class in proportion.

    Member j of a class of m members gets the key (j + offset) / m, which spreads each class evenly over (0, 1),
    whatever its size. The offsets are spread over (0, 1) too, so that the rounding errors of many small classes cancel.
    """
    by_class = np.argsort(classes, kind="stable")
    counts = np.bincount(classes)
    offsets = (draws.permutation(len(counts)) + 0.5) / len(counts)
    members = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = (members + np.repeat(offsets, counts)) / np.repeat(counts, counts)
    return by_class[np.argsort(keys, kind="stable")]
