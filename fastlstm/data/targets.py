"""Targets of training: labels or values, for each case or each step, read batch by batch.

Shapes: n cases, T steps, K columns; a batch has b cases and T_b steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._arrays import as_array, as_numeric, strings
from .._checks import as_list, short_repr
from . import sequences
from .label_checks import check_label_axes, check_listed_axes, column_of, is_listed, label_type_error, names_cure
from .sequences import ArraySequences, Indices, Sequences, list_sequences
from .unmasked import UnmaskedSteps

__all__ = ["IGNORE", "Targets", "as_targets", "encode_labels", "holds_strings", "with_values"]

IGNORE = -100
"""Label that every loss skips, as in ``torch.nn.CrossEntropyLoss``."""


class Targets:
    """Labels or values for each case or each step, read batch by batch; made by `as_targets`.

    Attributes
    ----------
    kind : {"labels", "values"}
    per_step : bool
        Whether there is a target for each step.
    n_outputs : int
        Number of outputs that a model needs: the columns K of values; for labels the largest label + 1, or
        `len(classes)`.
    classes : list of str or None
        Names of the classes, by label index.
    shape : tuple of int or None
        Axes of the values of a case or step, before they were flattened to K columns; None for labels.
    data : Sequences
        Per-step labels and values as (n, T, K), with K = 1 for labels; per-case values along the step axis, (n, K, 1).
    steps : int or None
        Number of steps of each case's targets, if the model sets it; None: those of the case's inputs.
    missing : bool
        Whether some values are not finite: NaN where a value is missing, or anything where the weight is 0.
    """

    def __init__(
        self,
        data: Sequences,
        kind: Literal["labels", "values"],
        per_step: bool,
        n_outputs: int,
        classes: list[str] | None,
        missing: bool = False,
        shape: tuple[int, ...] | None = None,
        steps: int | None = None,
    ) -> None:
        # Per-case values lie along the step axis, so that scans recognise windows of one series.
        self.data = data
        self.kind = kind
        self.per_step = per_step
        self.n_outputs = n_outputs
        self.classes = classes
        self.shape = shape
        self.steps = steps
        self.missing = missing

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Indices, time: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Copy the targets of some cases.

        Parameters
        ----------
        indices : slice, range or ndarray of int, shape (b,)
            Which cases, in which order.
        time : int
            Steps of the batch of inputs; per-step targets are cut or padded to this number, unless there are `steps`.
        dtype : dtype
            float32 or float64 for values; labels are always int64.

        Returns
        -------
        ndarray, shape (b,) or (b, time) for labels; (b, K) or (b, time, K) for values
            A new C-contiguous array. After the last step of a case labels are -100 and values 0.
        """
        y, lengths = self.data.batch(indices, dtype)
        if not self.per_step:
            return y.reshape(len(y)) if self.kind == "labels" else y.reshape(len(y), -1)
        if self.steps is not None:
            return y
        fill = IGNORE if self.kind == "labels" else 0
        steps = min(time, y.shape[1])
        if lengths is not None:
            y[np.arange(y.shape[1]) >= lengths[:, None]] = fill
        if y.shape[1] != time:
            padded = np.full((len(y), time, *y.shape[2:]), fill, y.dtype)
            padded[:, :steps] = y[:, :steps]
            y = padded
        return y

    def subset(self, indices: Indices) -> Targets:
        """Return the chosen cases without copying them; see `Sequences.subset`."""
        data = self.data.subset(indices)
        return Targets(
            data, self.kind, self.per_step, self.n_outputs, self.classes, self.missing, self.shape, self.steps
        )

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the valid values in blocks (rows, K), NaN where one is missing; labels in blocks (rows, 1).

        Rows without a value are left out.
        """
        for rows in self._rows():
            yield with_values(rows) if self.missing else rows

    def _rows(self) -> Iterator[NDArray[Any]]:
        if self.per_step or self.kind == "labels":
            yield from (block.values for block in self.data.blocks())
            return
        cases = max(1, sequences.BLOCK_VALUES // self.n_outputs)
        for case in range(0, len(self), cases):
            yield self.batch(slice(case, case + cases), 1, np.float64)


def with_values(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the rows that have a finite value, with NaN in place of those that are not finite."""
    known = np.isfinite(rows)
    if known.all():
        return rows
    some = known.any(axis=1)
    return np.where(known[some], rows[some], np.nan)


def as_targets(
    y: ArrayLike,
    seq: Sequences,
    per_step: bool,
    kind: Literal["labels", "values"],
    classes: list[str] | None = None,
    *,
    weight: NDArray[Any] | None = None,
    dtype: DTypeLike | None = None,
    name: str = "y",
    steps: int | None = None,
) -> Targets:
    """Wrap the targets of a model without copying them, and check every valid target.

    Parameters
    ----------
    y : array or list of arrays
        Per case (n,) or (n, K); per step (n, T), (n, T, K), or a list of (T_i,) or (T_i, K) arrays. Labels have no
        K axis. Per-case values with further axes, such as windows (n, horizon, targets), are flattened to K columns.
    seq : Sequences
        The inputs that y belongs to.
    per_step : bool
        Whether y has a target for each step.
    kind : {"labels", "values"}
        Labels are integers from 0, with -100 for 'ignore', or strings.
    classes : list of str, optional
        Names of the classes; string labels become indices into this list. By default the sorted labels of y.
    weight : array (n,) or (n, T), optional
        Weight of each case or step; values of weight 0 are not checked.
    dtype : dtype, optional
        Type in which the values will be read; values that overflow in it are refused too.
    name : str, default "y"
        Name of y in error messages.
    steps : int, optional
        Number of steps of each case's targets, if a layer of the model sets it. By default y has the steps of `seq`.

    Returns
    -------
    Targets

    Raises
    ------
    TypeError
        If the type of y does not fit the kind.
    ValueError
        If a shape does not fit, a label is negative or unknown, a valid value is infinite, or all values are missing
        (NaN); the message gives the index.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> inputs = fl.data.as_sequences(np.zeros((3, 5, 2)))
    >>> targets = fl.data.as_targets(["on", "off", "on"], inputs, per_step=False, kind="labels")
    >>> targets.classes, targets.batch(slice(0, 3), time=5).tolist()
    (['off', 'on'], [1, 0, 1])
    """
    labels, missing = kind == "labels", False
    y, name = column_of(y, per_step, labels, name)
    if labels and holds_strings(y, name):
        y, classes = encode_labels(y, classes, name=name)
    data = _step_targets(y, seq, labels, name, steps) if per_step else _case_targets(y, seq, labels, name)
    if len(data) != len(seq):
        advice = f"; two axes are (batch, time), so pass {seq.one_series} for one series" if seq.one_series else ""
        raise ValueError(
            f"{name} has {len(data)} cases, {seq.name} has {len(seq)}: expected one target for each{advice}"
        )
    if per_step and seq.masks_output:
        data = UnmaskedSteps(data, seq)
    if labels:
        data.numbers = seq.numbers
        n_outputs = _checked_label_count(data, per_step, classes, names_cure(y, name))
    else:
        n_outputs = data.features if per_step else data.time * data.features
        found = data.find_nonfinite(dtype)
        missing = found is not None
        if missing:
            found, known = _bad_where_it_counts(data, weight, per_step, dtype)
            # A batch of larger data may have no target that is known.
            if not (known or found) and seq.numbers is None and (weight is None or weight.all()):
                raise ValueError(f"every value of {name} is missing (nan), expected at least one that is known")
        if found is not None:
            problem, case, step, column = found
            case = seq.number(case)
            place = f"[{case}, {step}, {column}]" if per_step else f"[{case}, {step * data.features + column}]"
            advice = "divide by a constant, or make the model with dtype='float64'"
            if problem.lstrip("-") == "inf":
                advice = (
                    "find out what made it (a division by 0, a logarithm of 0, an overflow), and drop such cases or "
                    "give them a sample_weight of 0; a target that is missing is nan"
                )
            raise ValueError(
                f"{name} holds {problem} at [case, {'step, ' if per_step else ''}column] = {place}, expected "
                f"finite numbers: {advice}"
            )
    shape = None if labels else _value_shape(y, per_step)
    return Targets(data, kind, per_step, n_outputs, classes, missing, shape, steps if per_step else None)


def _value_shape(y: ArrayLike, per_step: bool) -> tuple[int, ...]:
    """Return the axes of values after those of cases and steps."""
    if per_step and isinstance(y, (list, tuple)):
        return np.shape(y[0])[1:]
    return np.shape(y)[2 if per_step else 1 :]


def _bad_where_it_counts(
    data: Sequences, weight: NDArray[Any] | None, per_step: bool, dtype: DTypeLike | None
) -> tuple[tuple[str, int, int, int] | None, bool]:
    """Return the first value that is neither finite nor missing (NaN), as `Sequences.find_nonfinite` does.

    Values whose weight is 0 are not looked at. Return also whether any value is finite.
    """
    known = False
    for values, locate in data.blocks():
        if values.dtype.kind != "f":
            known = True
            continue
        finite, missing = sequences.finite(values, dtype), np.isnan(values)
        known = known or bool(finite.any())
        for row in np.flatnonzero(~(finite | missing).all(axis=1)):
            case, step = locate(int(row))
            if weight is None or (weight[case, step] if per_step and weight.ndim == 2 else weight[case].any()):
                column = int(np.argmin((finite | missing)[row]))
                return (sequences.bad_value(values[row, column], dtype), case, step, column), known
    return None, known


def _case_targets(y: ArrayLike, seq: Sequences, labels: bool, name: str) -> Sequences:
    if labels:
        check_label_axes(as_array(y, name), y, len(seq), seq.time, False, name)
    array = _target_array(y, labels, name)
    if not labels and array.ndim not in (1, 2, 3):
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({len(seq)},) or ({len(seq)}, columns), the values of each case"
        )
    _refuse_empty(array, name)
    return ArraySequences(array.reshape(*array.shape, *[1] * (3 - array.ndim)), None, labels, name)


def _step_targets(y: ArrayLike, seq: Sequences, labels: bool, name: str, steps: int | None) -> Sequences:
    time = seq.time if steps is None else steps
    if isinstance(y, (list, tuple)):
        for i, one in enumerate(y):
            check_listed_axes(as_array(one, f"{name}[{i}]"), labels, f"{name}[{i}]")
        data = list_sequences([_target_array(one, labels, f"{name}[{i}]") for i, one in enumerate(y)], labels, name)
        if len(data) == len(seq):
            got, expected = (np.full(len(s), s.time) if s.lengths is None else s.lengths for s in (data, seq))
            expected = expected if steps is None else np.full(len(seq), steps)
            bad = np.flatnonzero(got != expected)
            if len(bad):
                of = f"{seq.name}[{bad[0]}]" if steps is None else "the model's output"
                raise ValueError(
                    f"{name}[{bad[0]}] has {got[bad[0]]} steps, {of} has {expected[bad[0]]}: expected one target for "
                    f"each step{_of_repeat(steps)}"
                )
        return data
    if labels:
        check_label_axes(as_array(y, name), y, len(seq), time, True, name)
    array = _target_array(y, labels, name)
    _refuse_empty(array, name)
    shapes = f"({len(seq)}, {time})" + ("" if labels else f" or ({len(seq)}, {time}, columns)")
    if array.ndim not in ((2,) if labels else (2, 3)) or array.shape[1] != time:
        of = seq.name if steps is None else "the model's output"
        raise ValueError(
            f"{name} has shape {array.shape}, expected {shapes}: a target for each step of {of}, because "
            f"the model has an output for each step{_of_repeat(steps)}; for one target per case set "
            "return_sequences=False in the last LSTM"
        )
    lengths = seq.lengths if len(array) == len(seq) and steps is None else None
    return ArraySequences(array[:, :, None] if array.ndim == 2 else array, lengths, labels, name)


def _of_repeat(steps: int | None) -> str:
    return "" if steps is None else f", {steps} steps for every case (fl.RepeatVector({steps}))"


def _target_array(y: ArrayLike, labels: bool, name: str) -> NDArray[Any]:
    if not labels:
        return as_numeric(y, False, name)
    array = as_array(y, name)
    if array.dtype.kind == "U":
        strings(y, name)  # raises TypeError if NumPy has converted other things to strings
    if array.dtype.kind not in "iub":
        raise label_type_error(array, y, name)
    return array.view(np.uint8) if array.dtype == bool else array


def _refuse_empty(array: NDArray[Any], name: str) -> None:
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one target")


def _checked_label_count(data: Sequences, per_step: bool, classes: list[str] | None, as_names: str) -> int:
    """Return the number of classes; raise ValueError for a label outside them."""
    limit = None if classes is None else len(classes)
    largest = -1
    for values, locate in data.blocks():
        bad = (values < 0) & (values != IGNORE)
        if limit is not None:
            bad |= values >= limit
        if bad.any():
            row = int(np.argmax(bad[:, 0]))
            case, step = locate(row)
            case = data.number(case)
            place = f"[case, step] = [{case}, {step}]" if per_step else f"[{case}]"
            raise ValueError(
                f"{data.name} holds label {values[row, 0]} at {place}, expected 0 to "
                f"{'the number of classes - 1' if limit is None else limit - 1}, or {IGNORE} for 'ignore': "
                + (f"pass names, {as_names}" if limit is None else f"the classes are {short_repr(classes)}")
            )
        largest = max(largest, int(values.max()))
    if largest < 0 and data.numbers is None:  # a batch of larger data may have no label that counts
        masked = ", or its step is masked" if isinstance(data, UnmaskedSteps) else ""
        raise ValueError(f"every label of {data.name} is {IGNORE} ('ignore'){masked}, expected at least one class")
    return largest + 1 if limit is None else limit


def holds_strings(y: ArrayLike, name: str) -> bool:
    """Return whether some labels are strings."""
    if isinstance(y, (list, tuple)):
        return any(holds_strings(one, f"{name}[{i}]") for i, one in enumerate(y))
    if isinstance(y, np.generic) or not hasattr(y, "__array__"):
        return isinstance(y, str)
    array = as_array(y, name)
    return array.dtype.kind == "U" or (array.dtype == object and any(isinstance(v, str) for v in array.ravel()))


def encode_labels(y: ArrayLike, classes: list[str] | None = None, *, name: str = "y") -> tuple[Any, list[str] | None]:
    """Turn string labels into class indices.

    Parameters
    ----------
    y : array of str or int, or list of such arrays
        Labels of any shape; a list of arrays for per-step labels of series of different lengths.
    classes : list of str, optional
        The known classes, such as those of a trained model. By default the sorted labels of y.
    name : str, default "y"
        Name of y in error messages.

    Returns
    -------
    labels : ndarray of int64, or list of such arrays
        Indices into the classes; integer labels unchanged.
    classes : list of str or None
        None for integer labels if no classes were given.

    Raises
    ------
    TypeError
        If the labels are neither integers nor strings, or strings are mixed with other things, such as nan.
    ValueError
        If a string is not among the classes.

    Examples
    --------
    >>> import fastlstm as fl
    >>> labels, classes = fl.data.encode_labels(["on", "off", "on"])
    >>> labels.tolist(), classes
    ([1, 0, 1], ['off', 'on'])
    """
    if classes is not None:
        classes = [str(label) for label in as_list("classes", classes, "names")]
        if not classes:
            raise ValueError("classes is empty, expected the names of the classes")
    if is_listed(y):
        if not holds_strings(y, name):
            return [_target_array(one, True, f"{name}[{i}]").astype(np.int64) for i, one in enumerate(y)], classes
        parts = [strings(one, f"{name}[{i}]") for i, one in enumerate(y)]
        flat, known = encode_labels(np.concatenate([part.ravel() for part in parts]), classes, name=name)
        encoded = np.split(flat, np.cumsum([part.size for part in parts])[:-1])
        return [labels.reshape(part.shape) for labels, part in zip(encoded, parts, strict=True)], known
    if not holds_strings(y, name):
        return _target_array(y, True, name).astype(np.int64), classes
    array = strings(y, name)
    if classes is None:
        names, labels = np.unique(array, return_inverse=True)
        return labels.reshape(array.shape).astype(np.int64), [str(label) for label in names]
    order = np.argsort(classes)
    place = np.searchsorted(classes, array, sorter=order)
    labels = order[np.minimum(place, len(classes) - 1)]
    unknown = np.asarray(classes)[labels] != array
    if unknown.any():
        raise ValueError(
            f"{name} holds the label {str(array[unknown][0])!r}, expected one of the known classes "
            f"{classes}: drop such cases, or train a new model with them"
        )
    return labels.astype(np.int64), classes
