"""Data that an object gives case by case, with the interfaces of `Sequences`, `Targets` and `Cases`.

Only the cases of the batch at hand, and of the two that are read ahead, are in memory. Each batch becomes a list of
series with targets, which is checked and read as if the user had passed it. What needs all cases at once (class names,
class frequencies, strata of a split, lengths) is collected by one pass over the object, when it is first needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import sequences
from .batching import SMALL_BATCH, sequential_batches
from .case_reader import Case, CaseReader
from .cases import CaseBatch, Cases, LoadedBatch, TargetBatch
from .label_sequences import LabelSequences
from .read_ahead import read_ahead
from .scaler import Scaler
from .sequences import Block, Indices, Sequences, blocks_of_series, list_sequences, unmasked_series
from .targets import Targets, with_values

__all__ = ["DatasetCases", "DatasetSequences", "DatasetTargets"]

_CASES_AT_ONCE = 32
"""Largest number of cases in memory in a pass over all of them; fewer if they have many steps."""


class DatasetSequences(Sequences):
    """Inputs of an object that gives one case at a time.

    Parameters
    ----------
    reader : CaseReader
    check : function of Sequences
        Raise an error if some series do not fit the model; called with the series of each batch.
    rows : ndarray of int64, optional
        Numbers of the cases in use, in this order; by default all.
    """

    def __init__(
        self, reader: CaseReader, check: Callable[[Sequences], object], rows: NDArray[np.int64] | None = None
    ) -> None:
        self.reader = reader
        self.rows = rows
        self._check = check
        self.features = reader.features
        self.tokens = reader.tokens
        self.name = reader.name

    def __len__(self) -> int:
        return len(self.reader) if self.rows is None else len(self.rows)

    @property
    def time(self) -> int:  # type: ignore[override]
        """Number of steps of the longest series; reads all cases once."""
        return int(self._lengths.max())

    @property
    def lengths(self) -> NDArray[np.int64] | None:  # type: ignore[override]
        """Steps of each case; None if all have the same. Reads all cases once."""
        lengths = self._lengths
        return None if bool((lengths == lengths[0]).all()) else lengths

    @property
    def _lengths(self) -> NDArray[np.int64]:
        lengths = self.reader.survey.lengths
        return lengths if self.rows is None else lengths[self.rows]

    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        part = self.listed(*self.read_cases(indices))
        return part.batch(slice(0, len(part)), dtype)

    def masks(self, indices: Indices) -> NDArray[np.bool_]:
        part = self.listed(*self.read_cases(indices))
        return part.masks(slice(0, len(part)))

    def subset(self, indices: Indices) -> DatasetSequences:
        chosen = DatasetSequences(self.reader, self._check, self.numbers_of(indices))
        chosen.masking = self.masking
        return chosen

    def parts(self, batch_size: int) -> Generator[tuple[int, Sequences], None, None]:
        with closing(read_ahead(map(self.read_cases, sequential_batches(len(self), batch_size)))) as batches:
            first = 0
            for numbers, cases in batches:
                part = [self.listed(numbers, cases)]
                del cases
                yield first, part.pop()  # no longer in memory here while the caller works
                first += len(numbers)

    def blocks(self) -> Iterator[Block]:
        return blocks_of_series(self._series(), self.features or 1)

    def unmasked_blocks(self) -> Iterator[NDArray[Any]]:
        series = self._series() if self.masking is None else unmasked_series(self._series(), self.masking)
        return (block.values for block in blocks_of_series(series, self.features or 1))

    def _series(self) -> Iterator[NDArray[Any]]:
        for numbers, cases in self.groups():
            self.listed(numbers, cases)
            yield from (case.x if case.x.ndim == 2 else case.x[:, None] for case in cases)

    def groups(self) -> Iterator[tuple[NDArray[np.int64], list[Case]]]:
        """Yield all cases in small groups, each after their numbers in the object."""
        numbers: list[int] = []
        cases: list[Case] = []
        steps = 0
        for index in range(len(self)):
            number = index if self.rows is None else int(self.rows[index])
            numbers.append(number)
            cases.append(self.reader.read(number))
            steps += len(cases[-1].x)
            if steps >= SMALL_BATCH or len(cases) == _CASES_AT_ONCE:
                yield np.array(numbers), cases
                numbers, cases, steps = [], [], 0
        if cases:
            yield np.array(numbers), cases

    def numbers_of(self, indices: Indices) -> NDArray[np.int64]:
        """Return the numbers of some cases in the object."""
        if self.rows is not None:
            return self.rows[indices]
        return np.arange(*indices.indices(len(self))) if isinstance(indices, slice) else np.asarray(indices)

    def read_cases(self, indices: Indices) -> tuple[NDArray[np.int64], list[Case]]:
        """Read some cases, with their targets and weights; return them after their numbers in the object."""
        numbers = self.numbers_of(indices)
        return numbers, self.reader.read_all(numbers)

    def listed(self, numbers: NDArray[np.int64], cases: list[Case]) -> Sequences:
        """Return the series of some cases as a list, after a check."""
        part = list_sequences([case.x for case in cases], self.tokens, self.name)
        part.numbers = numbers
        part.masking = self.masking
        self._check(part)
        return part


class DatasetTargets(Targets):
    """Targets of an object that gives one case at a time.

    Parameters
    ----------
    cases : DatasetCases
    template : Targets or LabelSequences
        Targets of one case.
    outputs : int
        Number of outputs of the model: that of the classes, of which one case does not tell all.
    """

    def __init__(self, cases: DatasetCases, template: Targets | LabelSequences, outputs: int) -> None:
        # There is no `data`, which would hold the targets of all cases.
        self.kind = template.kind  # type: ignore[assignment]
        self.per_step = template.per_step
        self.n_outputs = template.n_outputs if template.kind == "values" else outputs
        self.classes = template.classes
        self.shape = template.shape if isinstance(template, Targets) else None
        self.steps = template.steps if isinstance(template, Targets) else None
        self.missing = False  # what holds for a batch is known when it is read
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def batch(self, indices: Indices, time: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        labels = self._labels()
        if labels is not None:
            return labels[indices]
        part = self._cases.listed(indices)
        return part.targets.batch(slice(0, len(part)), time, dtype)

    def subset(self, indices: Indices) -> DatasetTargets:
        return self._cases.subset(indices).targets

    def blocks(self) -> Iterator[NDArray[Any]]:
        labels = self._labels()
        if labels is not None:
            yield labels[:, None]
            return
        # The blocks are those of arrays and lists, because their limits decide in which order a scaler adds.
        for rows in self._blocks_of_steps() if self.per_step else self._blocks_of_cases():
            yield with_values(rows) if rows.dtype.kind == "f" else rows

    def _labels(self) -> NDArray[np.int64] | None:
        """Return the label of each case; None if the targets are no such labels. Reads all cases once."""
        if self.kind != "labels" or self.per_step:
            return None
        labels = self._cases.reader.survey.labels
        if labels is None or labels.dtype.kind not in "iubU":
            return None  # the checks of a batch say what is wrong
        rows = self._cases.inputs.rows
        labels = labels if rows is None else labels[rows]
        if labels.dtype.kind != "U":
            return labels.astype(np.int64)
        index = {label: number for number, label in enumerate(self.classes or ())}
        if not index.keys() >= set(labels.tolist()):
            return None
        return np.array([index[label] for label in labels.tolist()], np.int64)

    def _blocks_of_steps(self) -> Iterator[NDArray[Any]]:
        def series() -> Iterator[NDArray[Any]]:
            for targets, lengths, inputs in self._parts():
                for case, length in enumerate(lengths):
                    values = targets.batch(slice(case, case + 1), length, np.float64)[0]
                    mask = inputs.output_mask(slice(case, case + 1))
                    values = values if mask is None else values[mask[0]]
                    yield values[:, None] if values.ndim == 1 else values

        return (block.values for block in blocks_of_series(series(), self.n_outputs if self.kind == "values" else 1))

    def _blocks_of_cases(self) -> Iterator[NDArray[Any]]:
        most = max(1, sequences.BLOCK_VALUES // self.n_outputs)
        rows = (
            row for targets, lengths, _ in self._parts() for row in targets.batch(slice(0, len(lengths)), 1, np.float64)
        )
        while held := list(itertools.islice(rows, most)):
            yield np.reshape(held, (len(held), -1))

    def _parts(self) -> Iterator[tuple[Targets | LabelSequences, list[int], Sequences]]:
        """Yield the targets of some cases at a time, with their numbers of steps and the inputs."""
        for numbers, cases in self._cases.inputs.groups():
            part = self._cases.joined(numbers, cases)
            lengths = part.inputs.lengths if self.steps is None else None
            ends = [self.steps or part.inputs.time] * len(part) if lengths is None else lengths.tolist()
            yield part.targets, ends, part.inputs


class DatasetCases(Cases):
    """Cases of an object that gives one at a time.

    Parameters
    ----------
    inputs : DatasetSequences
    join : function of (Sequences, list, ndarray or None)
        Check the targets and weights of some series, and join them.
    outputs : int
        Number of outputs of the model.
    steps : int or None
        Number of steps of each case's targets and weights, if the model sets it; None: those of the case's inputs.
    template : Targets or LabelSequences, optional
        Targets of one case; by default the first case is checked for them.
    """

    inputs: DatasetSequences
    targets: DatasetTargets

    def __init__(
        self,
        inputs: DatasetSequences,
        join: Callable[[Sequences, list[Any], NDArray[np.float64] | None], Cases],
        outputs: int,
        steps: int | None,
        template: Targets | LabelSequences | None = None,
    ) -> None:
        self.inputs = inputs
        self._join = join
        self._outputs = outputs
        self._steps = steps
        self._template = template or self.joined(np.zeros(1, np.int64), [inputs.reader.first]).targets
        super().__init__(inputs, DatasetTargets(self, self._template, outputs), None)

    @property
    def reader(self) -> CaseReader:
        """The reader of the object."""
        return self.inputs.reader

    def subset(self, indices: Indices) -> DatasetCases:
        return DatasetCases(self.inputs.subset(indices), self._join, self._outputs, self._steps, self._template)

    def read(
        self,
        indices: Indices,
        dtype: DTypeLike,
        scaler: Scaler | None,
        y_dtype: DTypeLike | None = None,
        steps: int | None = None,
    ) -> CaseBatch:
        part = self.listed(indices)
        return part.read(slice(0, len(part)), dtype, scaler, y_dtype, steps)

    def steps_of(self, indices: Indices) -> int | None:
        return None

    @property
    def weighted(self) -> bool:
        return self.reader.first.weight is not None

    def read_targets(self, indices: Indices, dtype: DTypeLike) -> TargetBatch:
        if not self.weighted and self.targets.kind == "labels" and not self.targets.per_step:
            return super().read_targets(indices, dtype)  # from the pass over all cases
        numbers = self.inputs.numbers_of(indices)
        cases = []
        for number in numbers.tolist():
            case = self.reader.read(number)
            if not self.inputs.masks_output:
                # Only its shape is read from here on: so only one series is in memory at a time.
                case = case._replace(x=np.broadcast_to(np.zeros((), case.x.dtype), case.x.shape))
            cases.append(case)
        part = self.joined(numbers, cases)
        return part.read_targets(slice(0, len(part)), dtype)

    def load(
        self, batches: Iterable[Indices], own: Callable[[Indices], Indices] | None = None
    ) -> Generator[LoadedBatch, None, None]:
        def read(indices: Indices) -> tuple[Indices, NDArray[np.int64], list[Case]]:
            return indices, *self.inputs.read_cases(indices if own is None else own(indices))

        with closing(read_ahead(map(read, batches))) as loaded:
            for whole, numbers, cases in loaded:
                part = [self.joined(numbers, cases) if cases else self]
                del cases
                yield LoadedBatch(part.pop(), slice(0, len(numbers)), whole)  # no longer in memory here meanwhile

    def parts(self, batch_size: int) -> Generator[tuple[int, Cases], None, None]:
        first = 0
        with closing(read_ahead(map(self.inputs.read_cases, sequential_batches(len(self), batch_size)))) as loaded:
            for numbers, cases in loaded:
                part = [self.joined(numbers, cases)]
                del cases
                yield first, part.pop()
                first += len(numbers)

    def listed(self, indices: Indices) -> Cases:
        """Read some cases into a list, and check them."""
        return self.joined(*self.inputs.read_cases(indices))

    def joined(self, numbers: NDArray[np.int64], cases: list[Case]) -> Cases:
        """Return some cases that have been read as a list, after a check; an error names the case that does not fit."""
        part = self.inputs.listed(numbers, cases)
        try:
            return self._join(part, [case.y for case in cases], _weights(cases, self._steps))
        except (TypeError, ValueError) as error:
            problem, place = error, f"{self.inputs.name}[{numbers[0]}]"
        if len(cases) > 1:
            for number, case in zip(numbers, cases, strict=True):
                self.joined(np.array([number]), [case])  # raises for the case that does not fit
            place = f"cases {numbers.tolist()} of {self.inputs.name}"
        kind = TypeError if isinstance(problem, TypeError) else ValueError
        raise kind(f"{place}: {problem}") from problem


def _weights(cases: list[Case], steps: int | None) -> NDArray[np.float64] | None:
    """Return the weights of some cases, (b,) or, if there is one for each step, (b, T); None if all are 1."""
    weights = [case.weight for case in cases if case.weight is not None]
    if not weights:
        return None
    if all(weight.ndim == 0 for weight in weights):
        return np.array(weights)
    ends = [len(case.x) if steps is None else steps for case in cases]
    joined = np.zeros((len(cases), max(ends)))
    for row, weight, end in zip(joined, weights, ends, strict=True):
        if weight.shape not in ((), (end,)):
            raise ValueError(
                f"the weight has shape {weight.shape}, expected one number, or ({end},), one for each step"
            )
        row[:end] = weight
    return joined
