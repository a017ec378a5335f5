"""Targets of CTC: for each case a sequence of labels, whose length may differ from case to case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from .._arrays import as_array, place_of, strings
from .._checks import as_list
from .._typing import Array
from .label_checks import label_type_error
from .sequences import Indices
from .targets import IGNORE

__all__ = ["LabelSequences", "as_label_sequences", "label_arrays"]


class LabelSequences:
    """Label sequences, read batch by batch, with the interface of `Targets`; made by `as_label_sequences`.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n,)
        Number of labels of each case.
    n_outputs : int
        Number of outputs that a model needs: the largest label or the blank, + 1, or `len(classes)`.
    classes : list of str or None
        Names of the labels; the blank is an empty name if the names were collected from the labels.
    steps : int or None
        Number of steps of each case's output, if a layer of the model sets it; None: those of the case's inputs.
    """

    kind: Literal["sequences"] = "sequences"
    per_step = False

    def __init__(
        self,
        flat: Array,
        numbers: Array,
        starts: Array,
        n_outputs: int,
        classes: list[str] | None,
        steps: int | None = None,
    ) -> None:
        self._flat = flat
        self._starts = starts
        self.numbers = numbers
        self.n_outputs = n_outputs
        self.classes = classes
        self.steps = steps

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Indices, time: int, dtype: DTypeLike = np.float32) -> Array:
        """Return the labels of some cases, int64 (b, L), padded by -100 to the longest sequence of the batch, L."""
        numbers, starts = self.numbers[indices], self._starts[indices]
        y = np.full((len(numbers), int(numbers.max())), IGNORE, np.int64)
        positions = np.arange(y.shape[1])
        present = positions < numbers[:, None]
        y[present] = self._flat[(starts[:, None] + positions)[present]]
        return y

    def subset(self, indices: Indices) -> LabelSequences:
        """Return the chosen cases without copying them; see `Sequences.subset`."""
        numbers, starts = self.numbers[indices], self._starts[indices]
        return LabelSequences(self._flat, numbers, starts, self.n_outputs, self.classes, self.steps)

    def blocks(self) -> Iterator[Array]:
        """Yield the labels of each case, (rows, 1)."""
        for start, number in zip(self._starts, self.numbers, strict=True):
            yield self._flat[start : start + number, None]


def as_label_sequences(
    y: Any, n: int, blank: int, classes: list[str] | None = None, *, name: str = "y", steps: int | None = None
) -> LabelSequences:
    """Convert and check the targets of a model that is trained with CTC.

    Parameters
    ----------
    y : list of sequences, int array (n, L), or tuple of such an array and the numbers of labels (n,)
        For each case its labels: integers other than the blank, a string whose characters are the labels, or a list of
        strings. An array is padded by -100 after the labels of a case, or by anything if the numbers are given.
    n : int
        Number of cases of the inputs.
    blank : int
        The class that means no label.
    classes : list of str, optional
        Names of all classes, including the blank. By default, for strings, the sorted labels of y, and an empty name
        for the blank.
    name : str
        Name of y in error messages.
    steps : int, optional
        Number of steps of each case's output, if a layer of the model sets it.

    Returns
    -------
    LabelSequences

    Raises
    ------
    TypeError, ValueError
        If y has another form, or a label is negative, the blank, or unknown.
    """
    cases = label_arrays(y, n, name)
    numbers = np.array([len(case) for case in cases], np.int64)
    flat: Array = np.concatenate(cases) if cases else np.zeros(0, np.int64)
    if flat.dtype.kind == "U":
        flat, classes = _encoded(flat, blank, classes, name)
    starts = np.concatenate([[0], np.cumsum(numbers)[:-1]]).astype(np.int64)
    flat = flat.astype(np.int64)
    limit = None if classes is None else len(classes)
    bad = (flat < 0) | (flat == blank)
    if limit is not None:
        bad |= flat >= limit
    if bad.any():
        place = int(np.argmax(bad))
        case = int(np.searchsorted(starts, place, side="right")) - 1
        raise ValueError(
            f"{name}[{case}] holds label {flat[place]}, expected integers from 0"
            f"{'' if limit is None else f' to {limit - 1}'} other than the blank, {blank}: renumber the "
            f"labels, or choose another blank, loss=fl.losses.CTC(blank=...)"
        )
    n_outputs = limit if limit is not None else max(int(flat.max(initial=0)), blank) + 1
    return LabelSequences(flat, numbers, starts, n_outputs, classes, steps)


def label_arrays(y: Any, n: int, name: str) -> list[Array]:
    """Return the labels of each of n cases, integers or names, from what `as_label_sequences` takes."""
    cases = _padded_cases(y, name) if _is_array(y) else _listed_cases(y, name)
    if len(cases) != n:
        raise ValueError(f"{name} has {len(cases)} cases, X has {n}: expected one sequence of labels for each")
    return cases


def _is_array(y: Any) -> bool:
    if isinstance(y, tuple) and len(y) == 2 and hasattr(y[0], "ndim") and y[0].ndim == 2:
        return True
    return hasattr(y, "ndim") and y.ndim == 2


def _padded_cases(y: Any, name: str) -> list[Array]:
    array, numbers = y if isinstance(y, tuple) else (y, None)
    array = as_array(array, name)
    if array.dtype.kind not in "iu":
        raise label_type_error(array, y, name)
    if numbers is None:
        present = array >= 0
        wrong = ~present & (array != IGNORE)
        wrong[:, 1:] |= present[:, 1:] & ~present[:, :-1]
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"{name}{place_of(place, array.shape)} is {array.flat[place]}, but a row must hold labels from 0 and "
                f"then {IGNORE} as padding; other padding needs the numbers of labels, ({name}, numbers)"
            )
        numbers = present.sum(axis=1)
    numbers = as_array(numbers, "the numbers of labels")
    if numbers.shape != array.shape[:1] or numbers.dtype.kind not in "iu":
        raise ValueError(f"the numbers of labels must be {len(array)} integers, got {numbers!r:.200}")
    if (numbers < 0).any() or (numbers > array.shape[1]).any():
        raise ValueError(f"the numbers of labels must be from 0 to {array.shape[1]}, the columns of {name}")
    return [row[:number] for row, number in zip(array, numbers, strict=True)]


def _listed_cases(y: Any, name: str) -> list[Array]:
    cases = []
    for index, one in enumerate(as_list(name, y, "sequences of labels, one for each case")):
        one = list(one) if isinstance(one, str) else one
        case = as_array(one, f"{name}[{index}]")
        if case.size == 0:
            case = np.zeros(0, np.int64)
        elif case.dtype.kind == "U":
            case = strings(one, f"{name}[{index}]")
        if case.ndim != 1 or case.dtype.kind not in "iuU":
            raise TypeError(
                f"{name}[{index}] has shape {case.shape} and type {case.dtype}, "
                "expected integer labels (L,), or strings"
            )
        cases.append(case)
    if len({case.dtype.kind == "U" for case in cases if case.size}) > 1:
        raise TypeError(f"{name} holds integers and strings: expected one or the other")
    if any(case.dtype.kind == "U" for case in cases):
        return [case.astype(np.str_) if case.size else np.zeros(0, np.str_) for case in cases]
    return cases


def _encoded(flat: Array, blank: int, classes: list[str] | None, name: str) -> tuple[Array, list[str]]:
    if classes is None:
        classes = [str(label) for label in np.unique(flat)]
        if blank > len(classes):
            raise ValueError(
                f"blank is {blank}, but {name} has only {len(classes)} labels, and so {len(classes) + 1} classes: "
                f"expected 0 to {len(classes)}"
            )
        classes.insert(blank, "")
    index = {label: k for k, label in enumerate(classes)}
    unknown = set(flat.tolist()) - index.keys()
    if unknown:
        raise ValueError(f"{name} holds the label {min(unknown)!r}, expected one of the known classes {classes}")
    return np.array([index[label] for label in flat.tolist()], np.int64), classes
