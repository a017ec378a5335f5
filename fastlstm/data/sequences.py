"""One interface over arrays, memory maps and lists of series, read batch by batch.

`Sequences` keeps a reference to the user's data and copies only the cases of a batch, so a model can be trained on data
larger than the memory.

Shapes: n cases, T steps, F features; a batch has b cases and T_b steps.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _core
from .._arrays import as_array, as_numeric
from .._foreign import array_code, frame_cure, frames_cure, is_frame, is_misread, typed
from .masking import StepMasking

__all__ = [
    "ArraySequences",
    "Block",
    "Indices",
    "Sequences",
    "as_sequences",
    "batch_lengths",
    "blocks_of_series",
    "checked_indices",
    "checked_lengths",
    "list_sequences",
    "missing_cure",
    "unmasked_series",
]

BLOCK_VALUES = 2**20
"""Number of values per block in scans over a whole data set."""

_KERNEL_TYPES = (np.dtype(np.float32), np.dtype(np.float64))

Indices = slice | range | NDArray[np.integer[Any]]


class Block(NamedTuple):
    """One block of a scan: valid steps only."""

    values: NDArray[Any]
    """(rows, F)."""
    locate: Callable[[int], tuple[int, int]]
    """Return the (case, step) of a row."""


class Sequences(ABC):
    """Series of numbers or token ids, read batch by batch; made by `as_sequences`.

    Attributes
    ----------
    features : int
        Number of features of a step; 0 for tokens.
    time : int
        Number of steps of the array, or of the longest series of a list.
    lengths : ndarray of int64, shape (n,), or None
        Valid steps of each case; None if every case has `time` valid steps. Not to be changed.
    tokens : bool
        Whether the series are integer token ids.
    name : str
        Name of the data in error messages.
    one_series : str or None
        Code that passes the data as one series (T, F) if they have no axis of features, for a message.
    numbers : ndarray of int64, shape (n,), or None
        If these are some cases of larger data, their numbers there, for error messages.
    feature_names : list of str or None
        Names of the features, for error messages.
    masking : StepMasking or None
        How the model that reads the series masks steps of them; None if it masks none, or no model has been told of.
    """

    features: int
    time: int
    lengths: NDArray[np.int64] | None
    tokens: bool
    name: str
    one_series: str | None = None
    numbers: NDArray[np.int64] | None = None
    feature_names: list[str] | None = None
    masking: StepMasking | None = None

    def number(self, case: int) -> int:
        """Return the number by which error messages call a case."""
        return case if self.numbers is None else int(self.numbers[case])

    @property
    def kind(self) -> Literal["tokens", "values"]:
        """Kind of the data: token ids or measured values."""
        return "tokens" if self.tokens else "values"

    @property
    def exact_dtype(self) -> np.dtype[Any]:
        """float32 if it holds the values exactly, else float64."""
        return np.dtype(np.float64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the user's values; of a list of several types the one that holds all."""
        return self.exact_dtype

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of cases."""

    @abstractmethod
    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Copy some cases into one array.

        Parameters
        ----------
        indices : slice, range or ndarray of int, shape (b,)
            Which cases, in which order; a slice of consecutive cases is the fastest.
        dtype : dtype
            float32 or float64; tokens are always int64.

        Returns
        -------
        x : ndarray, shape (b, T_b, features), or (b, T_b) for tokens
            A new C-contiguous array that the caller may change. T_b is the longest length of the batch. Padding is zero
            for a list; for an array it is whatever the user's array holds there.
        lengths : ndarray of int64, shape (b,), or None
            Valid steps of each case; None if all cases have T_b steps.
        """

    def stand_by(self) -> None:  # noqa: B027
        """Take part in one `batch` of other processes, without reading a case; only inputs in parts need it."""

    @abstractmethod
    def subset(self, indices: Indices) -> Sequences:
        """Return the chosen cases without copying a series.

        Parameters
        ----------
        indices : slice, range or ndarray of int, shape (m,)
            Which cases, in which order.

        Returns
        -------
        Sequences
            The chosen cases, numbered from 0.

        Raises
        ------
        ValueError
            If no case is chosen or an index is outside [0, n).
        """

    # ------------------------------------------------------------------------------------ masked steps

    def with_masking(self, masking: StepMasking | None) -> Sequences:
        """Return the same series, for a model that masks steps in this way."""
        if masking is self.masking:
            return self
        series = copy.copy(self)
        series.masking = masking
        return series

    def masks(self, indices: Indices) -> NDArray[np.bool_]:
        """Return which steps of some cases are not masked, (b, T_b, k), as `masking` decides; arbitrary in padding."""
        x, _ = self.batch(indices, self.exact_dtype)
        return self._masks_of(x)

    def _masks_of(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        assert self.masking is not None
        return self.masking.counts(x)

    @property
    def masks_output(self) -> bool:
        """Whether masks of the series reach a model's output, and are known before a pass."""
        return self.masking is not None and self.masking.masks_output

    def output_mask(self, indices: Indices) -> NDArray[np.bool_] | None:
        """Return which steps of a model's output for some cases are not masked, (b, T_b); None unless `masks_output`.

        It is arbitrary in padding.
        """
        if self.masking is None or not self.masking.masks_output:
            return None
        return self.masking.output_mask(self.masks(indices), None if self.lengths is None else self.lengths[indices])

    def output_steps(self) -> NDArray[np.int64]:
        """Return the number of valid steps of each case, (n,), without those that are masked in a model's output."""
        steps = np.full(len(self), self.time) if self.lengths is None else self.lengths
        if not self.masks_output:
            return steps
        counts = []
        cases = max(1, BLOCK_VALUES // (self.time * max(1, self.features)))
        for case in range(0, len(self), cases):
            chosen = slice(case, case + cases)
            mask = self.output_mask(chosen)
            assert mask is not None
            counts.append((mask & (np.arange(mask.shape[1]) < steps[chosen, None])).sum(axis=1))
        return np.concatenate(counts)

    def unmasked_blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the values (rows, F) of `blocks`, without the steps that are masked."""
        for values, _ in self.blocks():
            yield values if self.masking is None else values[self._masks_of(values).all(axis=-1)]

    def parts(self, batch_size: int) -> Generator[tuple[int, Sequences], None, None]:
        """Yield all cases in parts of which `batch` can take any cases, each after the number of its first case.

        Data in memory or in a memory map are one part. Data that are read case by case come `batch_size` at a time.
        Close the generator, or read it to its end: there may be a thread that reads ahead.
        """
        yield 0, self

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield the valid steps in blocks of bounded size.

        Windows of one series share memory: each step that any case holds is yielded once, not once per window.
        """

    def check_finite(
        self,
        dtype: DTypeLike | None = None,
        *,
        missing_steps: bool = False,
        missing: NDArray[np.bool_] | None = None,
    ) -> None:
        """Raise ValueError if a valid step holds NaN or infinity.

        Parameters
        ----------
        dtype : dtype, optional
            Also refuse finite values that overflow in this type.
        missing_steps : bool, default False
            Accept steps all of whose features are NaN.
        missing : ndarray of bool, shape (features,), optional
            Accept NaN in these features: those for which a scaler has an indicator channel.

        Raises
        ------
        ValueError
            The message gives the first bad value and its index, [case, step, feature].
        """
        found = self.find_nonfinite(dtype, missing_steps=missing_steps, missing=missing)
        if found is not None:
            problem, case, step, feature = found
            cure = self._finite_cure(problem)
            if problem == "nan" and missing is not None:
                cure = missing_cure(feature, self.feature_names)
            named = "" if self.feature_names is None else f" ({self.feature_names[feature]!r})"
            raise ValueError(
                f"{self.name} holds {problem} at [case, step, feature] = [{self.number(case)}, {step}, {feature}]"
                f"{named}, expected finite numbers: {cure}"
            )

    def _finite_cure(self, problem: str) -> str:
        """Return what to do about a value that is not finite."""
        if problem == "nan":
            return (
                f"fill missing values, for example by 0: {self.for_each('numpy.where(numpy.isnan({0}), 0, {0})')}, "
                "or by interpolation; or drop such cases; or exclude padding by `lengths`; or train a model with "
                "scaler=fl.Standardizer(missing='mask'), or an estimator with missing='mask', which read them"
            )
        if problem.lstrip("-") == "inf":
            return (
                "find out what made it (a division by 0, a logarithm of 0, an overflow), and drop such cases; "
                f"{self.for_each('numpy.argwhere(numpy.isinf({0}))')} lists all places"
            )
        divided = self.for_each("numpy.divide({0}, 1e30)")
        return f"divide by a constant, {divided}, or make the model with dtype='float64'"

    def for_each(self, code: str) -> str:
        """Return code, in which {0} is an array, for all data at once or, if they are a list, for each series of it."""
        return code.format(typed(self.name))

    def find_nonfinite(
        self,
        dtype: DTypeLike | None = None,
        *,
        missing_steps: bool = False,
        missing: NDArray[np.bool_] | None = None,
    ) -> tuple[str, int, int, int] | None:
        """Return the first value that `check_finite` refuses: (value, case, step, feature); None if there is none."""
        for values, locate in self.blocks():
            if values.dtype.kind != "f":
                continue
            if (
                values.flags.c_contiguous
                and values.flags.aligned
                and values.dtype in _KERNEL_TYPES
                and dtype in (None, values.dtype)
            ):
                # Nothing to convert: the kernel needs no temporary arrays and is quick for small data.
                if _core.first_nonfinite(values.reshape(-1)) < 0:
                    continue
            good = finite(values, dtype)
            if missing_steps:
                good |= np.isnan(values).all(axis=1, keepdims=True)
            if missing is not None:
                good |= np.isnan(values) & missing
            if not good.all():
                row, feature = (int(i) for i in np.argwhere(~good)[0])
                return bad_value(values[row, feature], dtype), *locate(row), feature
        return None

    def check_tokens(self, num_embeddings: int) -> None:
        """Raise ValueError if a valid step holds a token id outside [0, num_embeddings).

        Raises
        ------
        ValueError
            The message gives the first bad token and its index, [case, step].
        """
        for values, locate in self.blocks():
            good = (values >= 0) & (values < num_embeddings)
            if not good.all():
                row = int(np.argmin(good[:, 0]))
                case, step = locate(row)
                raise ValueError(
                    f"{self.name} holds token {values[row, 0]} at [case, step] = [{self.number(case)}, {step}], "
                    f"expected ids in [0, {num_embeddings}): raise num_embeddings of the Embedding, or map rarer "
                    "tokens to one id"
                )


class ArraySequences(Sequences):
    """Cases of one array (n, T, F); for tokens (n, T, 1).

    Attributes
    ----------
    rows : ndarray of int64 or None
        Indices of the cases in use, in this order; None: all cases of the array.
    """

    def __init__(
        self,
        array: NDArray[Any],
        lengths: NDArray[np.int64] | None,
        tokens: bool,
        name: str,
        rows: NDArray[np.int64] | None = None,
        *,
        one_series: str | None = None,
    ) -> None:
        self._array = array
        self.one_series = one_series
        self.rows = rows
        self.time = array.shape[1]
        self.features = 0 if tokens else array.shape[2]
        self.lengths = None if lengths is None or bool((lengths == self.time).all()) else lengths
        self.tokens = tokens
        self.name = name

    @property
    def exact_dtype(self) -> np.dtype[Any]:
        return _exact_dtype([self._array])

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._array.dtype.newbyteorder("=")
        return dtype

    def __len__(self) -> int:
        return len(self._array) if self.rows is None else len(self.rows)

    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        array, lengths = self._array, None
        if self.lengths is not None:
            lengths, longest = batch_lengths(self.lengths[indices])
            array = array[:, :longest]
        rows = indices if self.rows is None else self.rows[indices]
        dtype = np.int64 if self.tokens else dtype
        # A slice is a view of the user's memory, which the caller of batch may not change: always copy it.
        with np.errstate(over="ignore"):  # only padding and targets without weight can overflow
            x = (
                np.array(array[rows], dtype, order="C")
                if isinstance(rows, slice)
                else np.ascontiguousarray(array[rows], dtype)
            )
        return (x[:, :, 0] if self.tokens else x), lengths

    def masks(self, indices: Indices) -> NDArray[np.bool_]:
        array = self._array
        if self.lengths is not None:
            array = array[:, : batch_lengths(self.lengths[indices])[1]]
        array = array[indices if self.rows is None else self.rows[indices]]
        return self._masks_of(array[:, :, 0] if self.tokens else array)

    def subset(self, indices: Indices) -> Sequences:
        indices = checked_indices(indices, len(self))
        array, rows = self._array, self.rows
        if rows is not None:
            rows = rows[indices]
        elif isinstance(indices, slice):
            array = array[indices]
        else:
            rows = indices
        lengths = None if self.lengths is None else self.lengths[indices]
        chosen = ArraySequences(array, lengths, self.tokens, self.name, rows, one_series=self.one_series)
        chosen.masking = self.masking
        return chosen

    def blocks(self) -> Iterator[Block]:
        hop = self.hop
        return self.blocks_of_cases() if hop is None else self._blocks_of_windows(hop)

    @property
    def hop(self) -> int | None:
        """Steps from one case to the next if the cases are overlapping windows of one series, else None."""
        time, (next_case, next_step, _) = self.time, self._array.strides
        if self.lengths is None and next_step and next_case % next_step == 0 and 0 < next_case // next_step < time:
            return next_case // next_step
        return None

    def blocks_of_cases(self) -> Iterator[Block]:
        """Yield the valid steps of one case after the other, those of windows as often as windows contain them."""
        _, time, features = self._array.shape
        steps = max(1, min(time, BLOCK_VALUES // features))
        cases = max(1, BLOCK_VALUES // (time * features))
        for case in range(0, len(self), cases):
            chosen = slice(case, case + cases)
            lengths = None if self.lengths is None else self.lengths[chosen, None]
            for step in range(0, time, steps):
                rows = chosen if self.rows is None else self.rows[chosen]
                block = self._array[rows, step : step + steps]
                valid = None if lengths is None else np.arange(step, step + block.shape[1]) < lengths
                values = block.reshape(-1, features) if valid is None else block[valid]
                yield Block(values, partial(_locate_in_grid, case, step, block.shape[1], valid))

    def _blocks_of_windows(self, hop: int) -> Iterator[Block]:
        cases, time, features = self._array.shape
        total = (cases - 1) * hop + time
        series = np.lib.stride_tricks.as_strided(
            self._array, (total, features), self._array.strides[1:], writeable=False
        )
        steps = max(1, BLOCK_VALUES // features)
        if self.rows is None:
            for start in range(0, total, steps):
                yield Block(series[start : start + steps], partial(_locate_in_windows, start, time, hop))
            return
        order = np.argsort(self.rows, kind="stable")
        windows = self.rows[order]
        for start in range(0, total, steps):
            values = series[start : start + steps]
            # Step p lies in the windows ceil((p - time + 1) / hop) to p // hop; is one of these in use?
            p = np.arange(start, start + len(values))
            place = np.searchsorted(windows, -((time - 1 - p) // hop))
            place[place == len(windows)] = 0
            held = (windows[place] * hop <= p) & (p < windows[place] * hop + time)
            place = place[held]
            located = order[place], p[held] - windows[place] * hop
            yield Block(values[held], partial(_locate_in_lists, *located))


class _ListSequences(Sequences):
    """Series of a list, each (T_i, F); for tokens (T_i, 1)."""

    def __init__(self, series: list[NDArray[Any]], tokens: bool, name: str, one_series: str | None = None) -> None:
        self._series = series
        self._all_lengths = np.array([len(one) for one in series], np.int64)
        self.time = int(self._all_lengths.max())
        self.features = 0 if tokens else series[0].shape[1]
        self.lengths = None if bool((self._all_lengths == self.time).all()) else self._all_lengths
        self.tokens = tokens
        self.name = name
        self.one_series = one_series

    @property
    def exact_dtype(self) -> np.dtype[Any]:
        return _exact_dtype(self._series)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.result_type(*{one.dtype for one in self._series}).newbyteorder("=")
        return dtype

    def __len__(self) -> int:
        return len(self._series)

    def for_each(self, code: str) -> str:
        if self.numbers is not None:
            return f"{code.format('x')} in the __getitem__ of {typed(self.name)}"
        return f"[{code.format('one')} for one in {typed(self.name)}]"

    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        series = self._chosen(indices)
        lengths, longest = batch_lengths(self._all_lengths[indices])
        x = np.zeros((len(series), longest, series[0].shape[1]), np.int64 if self.tokens else dtype)
        with np.errstate(over="ignore"):  # only targets without weight can overflow
            for row, one in zip(x, series, strict=True):
                row[: len(one)] = one
        return (x[:, :, 0] if self.tokens else x), lengths

    def masks(self, indices: Indices) -> NDArray[np.bool_]:
        masks = [self._masks_of_series(one) for one in self._chosen(indices)]
        joined = np.zeros((len(masks), max(map(len, masks)), masks[0].shape[-1]), bool)
        for row, mask in zip(joined, masks, strict=True):
            row[: len(mask)] = mask
        return joined

    def _masks_of_series(self, one: NDArray[Any]) -> NDArray[np.bool_]:
        return self._masks_of(one[:, 0] if self.tokens else one)

    def unmasked_blocks(self) -> Iterator[NDArray[Any]]:
        series: Iterable[NDArray[Any]] = self._series
        if self.masking is not None:  # series by series, before those of different types are joined
            series = unmasked_series(self._series, self.masking)
        return (block.values for block in blocks_of_series(series, self._series[0].shape[1]))

    def subset(self, indices: Indices) -> Sequences:
        chosen = _ListSequences(self._chosen(checked_indices(indices, len(self))), self.tokens, self.name)
        chosen.masking = self.masking
        return chosen

    def _chosen(self, indices: Indices) -> list[NDArray[Any]]:
        return self._series[indices] if isinstance(indices, slice) else [self._series[i] for i in indices]

    def blocks(self) -> Iterator[Block]:
        return blocks_of_series(self._series, self._series[0].shape[1])


def blocks_of_series(series: Iterable[NDArray[Any]], features: int) -> Iterator[Block]:
    """Yield all steps of series, (T_i, features) each, in blocks of bounded size."""
    steps = max(1, BLOCK_VALUES // features)
    parts: list[tuple[int, int, NDArray[Any]]] = []
    rows = 0
    for case, one in enumerate(series):
        for step in range(0, len(one), steps):
            part = one[step : step + steps]
            if rows + len(part) > steps:
                yield _joined(parts)
                parts, rows = [], 0
            parts.append((case, step, part))
            rows += len(part)
    if parts:
        yield _joined(parts)


def unmasked_series(series: Iterable[NDArray[Any]], masking: StepMasking) -> Iterator[NDArray[Any]]:
    """Yield the steps of series of numbers, (T_i, F) each, that are not masked."""
    return (one[masking.counts(one).all(axis=-1)] for one in series)


def finite(values: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[np.bool_]:
    """Return a mask of the values that are finite, also after a cast to `dtype`."""
    with np.errstate(over="ignore"):
        result: NDArray[np.bool_] = np.isfinite(values if dtype is None else values.astype(dtype, copy=False))
    return result


def missing_cure(feature: int, names: list[str] | None = None) -> str:
    """Return what to do about a missing value of a feature for which a scaler has no indicator channel."""
    named = "" if names is None else f" ({names[feature]!r})"
    return (
        f"feature {feature}{named} had no missing values in the training data, so that no channel tells of them; fill "
        "the value, or train with missing='mask-all', which gives every feature a channel"
    )


def bad_value(value: Any, dtype: DTypeLike | None) -> str:
    """Return the text by which messages describe a value that is not `finite`."""
    return f"{value} (too large for {np.dtype(dtype)})" if np.isfinite(value) else f"{value}"


def _joined(parts: list[tuple[int, int, NDArray[Any]]]) -> Block:
    values = parts[0][2] if len(parts) == 1 else np.concatenate([part for _, _, part in parts])
    return Block(values, partial(_locate_in_parts, parts))


def _locate_in_grid(case: int, step: int, width: int, valid: NDArray[np.bool_] | None, row: int) -> tuple[int, int]:
    in_case, in_step = divmod(row, width) if valid is None else np.argwhere(valid)[row]
    return case + int(in_case), step + int(in_step)


def _locate_in_windows(start: int, time: int, hop: int, row: int) -> tuple[int, int]:
    p = start + row
    first = max(0, -((time - 1 - p) // hop))
    return first, p - first * hop


def _locate_in_lists(cases: NDArray[np.int64], steps: NDArray[np.int64], row: int) -> tuple[int, int]:
    return int(cases[row]), int(steps[row])


def _locate_in_parts(parts: list[tuple[int, int, NDArray[Any]]], row: int) -> tuple[int, int]:
    ends = np.cumsum([len(part) for _, _, part in parts])
    i = int(np.searchsorted(ends, row, side="right"))
    case, step, part = parts[i]
    return case, step + row - int(ends[i]) + len(part)


def _exact_dtype(arrays: Iterable[NDArray[Any]]) -> np.dtype[Any]:
    single = np.dtype(np.float32)
    exact = all(np.promote_types(dtype, single) == single for dtype in {array.dtype for array in arrays})
    return single if exact else np.dtype(np.float64)


def batch_lengths(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, int]:
    """Return the lengths of some cases, None if they are all the same, and the longest."""
    longest = int(lengths.max())
    return (None if int(lengths.min()) == longest else lengths), longest


def checked_indices(indices: Indices, n: int) -> slice | NDArray[np.int64]:
    """Return indices of some of n cases; raise ValueError if there are none, or one is out of range."""
    if isinstance(indices, slice):
        if len(range(*indices.indices(n))) == 0:
            raise ValueError(f"{indices} chooses none of the {n} cases, expected at least one")
        return indices
    rows = np.asarray(indices)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
        raise ValueError(
            f"got indices of shape {rows.shape} and type {rows.dtype}, expected a slice or a 1-D array of at "
            "least one integer: turn a boolean mask into indices by numpy.flatnonzero"
        )
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"indices run from {rows.min()} to {rows.max()}, expected 0 to {n - 1}")
    return rows.astype(np.int64, copy=False)


# ---------------------------------------------------------------------------------------------- inputs


def as_sequences(
    X: Sequences | ArrayLike, lengths: ArrayLike | None = None, *, tokens: bool = False, name: str = "X"
) -> Sequences:
    """Wrap the inputs of a model without copying them.

    Parameters
    ----------
    X : array, memory map, list of arrays, or Sequences
        - array (n, T, F) of any real type;
        - array (n, T): one feature per step, or token ids if `tokens`;
        - list of n arrays (T_i, F) or (T_i,), whose lengths may differ;
        - Sequences: returned unchanged.
    lengths : array of int, shape (n,), optional
        Valid steps of each case of an array, in [1, T]. Later steps are padding, which is never read.
    tokens : bool, default False
        Whether X holds integer token ids, (n, T) or a list of (T_i,) arrays.
    name : str, default "X"
        Name of X in error messages.

    Returns
    -------
    Sequences

    Raises
    ------
    TypeError
        If the values are not real numbers (or not integers for tokens), an array is masked, or X is a table such as a
        DataFrame: its rows may be steps or series, and columns are not known by name.
    ValueError
        If a shape or a length does not fit.

    Examples
    --------
    >>> import fastlstm as fl
    >>> x, lengths = fl.data.as_sequences([[1, 2, 3], [4]]).batch(slice(0, 2))
    >>> x[:, :, 0].tolist(), lengths.tolist()
    ([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]], [3, 1])
    """
    if isinstance(X, Sequences):
        if lengths is not None:
            raise ValueError(f"{name} is a Sequences, which holds its lengths already: pass lengths=None")
        if X.tokens != tokens:
            raise ValueError(f"{name} is a Sequences made with tokens={X.tokens}, expected tokens={tokens}")
        return X
    if is_frame(X):
        raise TypeError(frame_cure(X, name))
    if isinstance(X, (list, tuple)) and not is_misread(X):
        if lengths is not None:
            raise ValueError(
                f"{name} is a list, whose series have their own lengths: pass lengths=None, or one padded array"
            )
        return list_sequences(X, tokens, name)
    array = as_numeric(X, tokens, name)
    expected = "a (batch, time) array of token ids" if tokens else "(batch, time, features) or (batch, time)"
    if array.ndim != 2 and (array.ndim != 3 or tokens):
        code = array_code(X, name)
        advice = {
            0: "this is one number",
            1: f"for one series pass {code}[None]" if tokens else f"for one series pass {code}[None, :, None]",
            3: f"token ids have no feature axis, pass {code}[:, :, 0]",
        }.get(array.ndim, f"reshape it, {code}.reshape(*{code}.shape[:2], -1)")
        raise ValueError(f"{name} has shape {array.shape}, expected {expected}: {advice}")
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one case, one step and one feature")
    checked = None if lengths is None else checked_lengths(lengths, array.shape[0], array.shape[1], name)
    if array.ndim == 2:
        one_series = None if tokens else f"{array_code(X, name)}[None]"
        return ArraySequences(array[:, :, None], checked, tokens, name, one_series=one_series)
    return ArraySequences(array, checked, tokens, name)


def list_sequences(X: list[Any] | tuple[Any, ...], tokens: bool, name: str) -> Sequences:
    """Wrap a list of series, (T_i, F) or (T_i,) each; raise TypeError or ValueError if one does not fit."""
    if not X:
        raise ValueError(f"{name} is an empty list, expected at least one series")
    series: list[NDArray[Any]] = []
    flat = 0  # number of series without an axis of features
    for i, member in enumerate(X):
        if is_frame(member):
            raise TypeError(frames_cure(member, f"{name}[{i}]"))
        one = as_numeric(member, tokens, f"{name}[{i}]")
        expected = "(time,) integers" if tokens else "(time, features) or (time,)"
        if one.ndim != 1 and (one.ndim != 2 or tokens):
            code = typed(name)
            advice = {
                0: f"for a single series pass [{code}]",
                3: f"for the cases of all arrays of the list pass numpy.concatenate({code})",
            }.get(one.ndim, f"reshape it, [one.reshape(len(one), -1) for one in {code}]")
            if one.ndim == 2:
                advice = f"token ids have no feature axis, pass [numpy.ravel(one) for one in {code}]"
            raise ValueError(
                f"{name}[{i}] has shape {one.shape}, expected {expected}: a list holds one array for each "
                f"series; {advice}"
            )
        if 0 in one.shape:
            if len(one):
                raise ValueError(f"{name}[{i}] has shape {one.shape}, expected at least one feature")
            raise ValueError(
                f"{name}[{i}] has no steps, expected at least one: drop empty series and what belongs to them, "
                f"keep = [i for i, one in enumerate({typed(name)}) if len(one)]"
            )
        flat += one.ndim == 1
        one = one[:, None] if one.ndim == 1 else one
        if series and one.shape[1] != series[0].shape[1]:
            raise ValueError(
                f"{name}[{i}] has {one.shape[1]} features, expected {series[0].shape[1]} as {name}[0] has: "
                "every series must be (time, features) with the same features (is one transposed?)"
            )
        series.append(one)
    even = flat == len(series) and len({len(one) for one in series}) == 1
    return _ListSequences(series, tokens, name, f"[{typed(name)}]" if even and not tokens else None)


def checked_lengths(lengths: ArrayLike, n: int, time: int, name: str) -> NDArray[np.int64]:
    """Return the valid steps of n cases of `time` steps; raise TypeError or ValueError if they do not fit."""
    array = as_array(lengths, "lengths")
    if array.shape != (n,) or (n > 0 and array.dtype.kind not in "iu"):  # [] is an array of floats
        code = array_code(lengths, "lengths")
        advice = "" if array.dtype.kind != "f" else f"; use {code}.astype(int) if they are whole numbers"
        if array.shape == (n, 1):
            advice = f"; pass {code}[:, 0]"
        raise ValueError(
            f"lengths have shape {array.shape} and type {array.dtype}, expected ({n},) integers: one for "
            f"each case of {name}{advice}"
        )
    bad = np.flatnonzero((array < 1) | (array > time))
    if len(bad):
        advice = "give the number of steps that count"
        if array[bad[0]] == 0:
            advice = "drop empty series and what belongs to them, keep = numpy.flatnonzero(lengths)"
        raise ValueError(f"lengths[{bad[0]}] is {array[bad[0]]}, expected 1 to {time}, the steps of {name}: {advice}")
    return array.astype(np.int64)
