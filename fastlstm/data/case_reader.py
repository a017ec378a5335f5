"""Objects that give one case at a time, such as a data set of PyTorch: what they are, and how a case is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array, as_numeric
from .._checks import short_repr
from .._foreign import type_name

__all__ = ["Case", "CaseReader", "Survey"]


class Case(NamedTuple):
    """One case, in arrays of its own."""

    x: NDArray[Any]
    """(T, F) or (T,), of the type in which the object gives it."""
    y: Any
    """An array, or a string; None if only inputs are read."""
    weight: NDArray[np.float64] | None
    """(), or one for each step."""


class Survey(NamedTuple):
    """What is known after all cases have been read."""

    lengths: NDArray[np.int64]
    """(n,): steps of each case."""
    labels: NDArray[Any] | None
    """(n,): target of each case, if it is one integer or string each."""
    names: list[str] | None
    """The different strings among the targets, sorted; None if there are no strings."""


class CaseReader:
    """Read and check the cases of an object with ``__len__`` and ``__getitem__``.

    Each case is copied: the object may fill the same buffers again, or give views of larger arrays.

    Parameters
    ----------
    source : object
        ``source[i]`` is one case: a tuple ``(x, y)`` or ``(x, y, weight)``; also x alone if there are no targets.
    tokens : bool
        Whether x holds token ids.
    with_targets : bool
        Whether targets and weights are read too.
    name : str
        Name of the object in error messages.

    Raises
    ------
    TypeError, ValueError
        If the first case does not have the form of a case, or there is none, or the object takes no integers as index.
    RuntimeError
        If the object raises an exception.
    """

    def __init__(self, source: Any, tokens: bool, with_targets: bool, name: str) -> None:
        self.source = source
        self.tokens = tokens
        self.with_targets = with_targets
        self.name = name
        try:
            self._n = len(source)
        except Exception as error:
            raise TypeError(
                f"{name} is a {type_name(source)} whose length is not known ({error}), expected an object "
                "with __len__ and __getitem__"
            ) from error
        if self._n == 0:
            raise ValueError(f"{name} is a {type_name(source)} of length 0, expected at least one case")
        self._features: int | None = None
        self._members: int | None = None
        self._text: bool | None = None
        try:
            self.first = self.read(0)
        except RuntimeError as error:
            if not isinstance(error.__cause__, (LookupError, TypeError)):
                raise
            problem = f"{type(error.__cause__).__name__}: {error.__cause__}"
            raise TypeError(
                f"{name} is a {type_name(source)} whose item 0 cannot be read ({problem}), expected an object "
                f"with items 0 to {self._n - 1}"
            ) from error.__cause__

    def __len__(self) -> int:
        return self._n

    @property
    def features(self) -> int:
        """Number of features of a step; 0 for tokens."""
        return 0 if self.tokens else self._features or 1

    def read(self, number: int) -> Case:
        """Read and copy one case; errors name its number."""
        try:
            item = self.source[number]
        except MemoryError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"{self.name}[{number}] of 0 to {self._n - 1} could not be read: {type(error).__name__}: {error}"
            ) from error
        place = f"{self.name}[{number}]"
        x, y, weight = self._members_of(item, place)
        series = self._checked_series(x, place)
        if not self.with_targets:
            return Case(series, None, None)
        target = self._checked_target(y, place)
        return Case(series, target, None if weight is None else _checked_weight(weight, place))

    def read_all(self, numbers: Iterable[int]) -> list[Case]:
        """Read some cases."""
        return [self.read(int(number)) for number in numbers]

    @cached_property
    def survey(self) -> Survey:
        """What all cases are like: reads each of them once, when it is first needed."""
        lengths = np.empty(self._n, np.int64)
        labels: list[Any] | None = []
        names: set[str] = set()
        for number in range(self._n):
            case = self.first if number == 0 else self.read(number)
            lengths[number] = len(case.x)
            for label in _labels_of(case.y):
                if isinstance(label, str):
                    names.add(label)
            if labels is None or case.y is None or np.ndim(case.y):
                labels = None
            else:
                labels.append(case.y if isinstance(case.y, str) else case.y.item())
        return Survey(lengths, None if labels is None else np.asarray(labels), sorted(names) or None)

    # ------------------------------------------------------------------------------------ the form of a case

    def _members_of(self, item: Any, place: str) -> tuple[Any, Any, Any]:
        if not self.with_targets:
            return (item[0], None, None) if isinstance(item, tuple) and item else (item, None, None)
        if not isinstance(item, tuple):
            kind = type_name(item)
            cure = f"or, if {self.name} holds the inputs alone, give the targets as y"
            if isinstance(item, Mapping):
                keys = [repr(key) for key in item][:2]
                pair = ", ".join(f"item[{key}]" for key in keys)
                cure = f"such as ({pair}): pass an object whose __getitem__ returns it"
            raise TypeError(f"{place} is a {kind}, expected a tuple (x, y) or (x, y, weight), {cure}")
        if len(item) not in (2, 3):
            raise ValueError(f"{place} is a tuple of {len(item)}, expected (x, y) or (x, y, weight)")
        if self._members is None:
            self._members = len(item)
        elif len(item) != self._members:
            raise ValueError(
                f"{place} is a tuple of {len(item)}, expected {self._members} members, as {self.name}[0] has: give a "
                "weight with each case or with none"
            )
        return item if len(item) == 3 else (*item, None)

    def _checked_series(self, x: Any, place: str) -> NDArray[Any]:
        series = as_numeric(x, self.tokens, f"x of {place}")
        expected = "(time,) token ids" if self.tokens else "(time, features) or (time,)"
        most = 1 if self.tokens else 2
        if series.ndim == most + 1:
            batch = f"{self.name}.dataset" if hasattr(self.source, "dataset") else "an object whose [i] is case i"
            raise ValueError(
                f"x of {place} has shape {series.shape}, expected one case, {expected}: it looks like a batch; pass "
                f"{batch}, and the number of cases of a batch as batch_size"
            )
        if series.ndim not in (1, most):
            raise ValueError(f"x of {place} has shape {series.shape}, expected {expected}")
        if 0 in series.shape:
            raise ValueError(f"x of {place} has shape {series.shape}, expected at least one step: drop empty series")
        features = 1 if series.ndim == 1 else series.shape[1]
        if self._features is None:
            self._features = features
        elif features != self._features:
            raise ValueError(
                f"x of {place} has {features} features, expected {self._features} as {self.name}[0] has: every series "
                "must be (time, features) with the same features (is one transposed?)"
            )
        return np.array(series, order="C")

    def _checked_target(self, y: Any, place: str) -> Any:
        target: Any = y if isinstance(y, str) else np.array(as_array(y, f"y of {place}"))
        if isinstance(target, np.ndarray) and target.ndim == 0 and target.dtype.kind == "U":
            target = str(target)
        if not isinstance(target, str) and target.size == 0:
            return target  # no labels: a sequence for CTC may be empty
        text = isinstance(target, str) or target.dtype.kind == "U"
        if self._text is None:
            self._text = text
        elif text != self._text:
            expected, got = ("a string", "a number") if self._text else ("a number", "a string")
            raise TypeError(
                f"y of {place} is {got} ({short_repr(y)}), expected {expected} as in {self.name}[0]: labels are "
                "strings alone or integers alone"
            )
        return target


def _checked_weight(weight: Any, place: str) -> NDArray[np.float64]:
    array = as_numeric(weight, False, f"the weight of {place}")
    if array.ndim > 1:
        raise ValueError(f"the weight of {place} has shape {array.shape}, expected one number, or one for each step")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"the weight of {place} must hold finite numbers >= 0, got {array.min()} to {array.max()}")
    return array


def _labels_of(y: Any) -> Iterator[Any]:
    if isinstance(y, str):
        yield y
    elif isinstance(y, np.ndarray) and y.dtype.kind in "UO":
        yield from y.ravel().tolist()
