"""Inputs with their targets and weights, checked, and read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._arrays import as_numeric, place_of
from .._foreign import array_code
from .._typing import Array
from .label_sequences import LabelSequences
from .scaler import Scaler
from .sequences import Indices, Sequences
from .targets import Targets

__all__ = ["CaseBatch", "Cases", "LoadedBatch", "TargetBatch", "as_weight", "read_inputs"]


class CaseBatch(NamedTuple):
    """A batch of cases, copied into arrays."""

    x: Array
    """(b, time, features), scaled; or (b, time), token ids."""
    lengths: Array | None
    """(b,), int64; None if all cases have the same length."""
    y: Array
    """Targets in the user's units; `Targets.batch` has the shapes."""
    weight: Array | None
    """(b,) or (b, time), float64; None if all are 1. Where targets are missing (NaN), it is 0; where only some of the K
    values of a position are, there is a weight for each value: (b, K) or (b, time, K)."""
    masks: Array | None
    """(b, time, k), boolean: the steps that are not masked, `Sequences.masks`; None if the model masks no inputs."""


class TargetBatch(NamedTuple):
    """What `CaseBatch` holds, without the inputs."""

    time: int
    lengths: Array | None
    y: Array
    weight: Array | None
    output_mask: Array | None
    """(b, time), boolean: the steps of the output that are not masked; None if all are, or it is not known before a
    pass."""


class LoadedBatch(NamedTuple):
    """A batch of cases that can be read, or the part of it that this process reads."""

    cases: Cases
    indices: Indices
    """Of the part, in `cases`."""
    whole: Indices
    """Of the whole batch, in the data set."""


class Cases:
    """Checked inputs with their targets and weights.

    Attributes
    ----------
    inputs : Sequences
    targets : Targets or LabelSequences
    weight : ndarray (n,) or (n, T) or None
        float64; None if all are 1.
    """

    def __init__(self, inputs: Sequences, targets: Targets | LabelSequences, weight: Array | None) -> None:
        self.inputs = inputs
        self.targets = targets
        self.weight = weight

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, indices: Indices) -> Cases:
        """Return the chosen cases without copying them; ValueError if none has a weight or a target that counts."""
        weight = None if self.weight is None else self.weight[indices]
        if weight is not None and not weight.any():
            raise ValueError(
                "a part of the data has only sample weights of 0: give some of them a positive weight, or drop them"
            )
        targets = self.targets.subset(indices)
        if isinstance(targets, Targets) and targets.missing and not any(len(rows) for rows in targets.blocks()):
            raise ValueError("a part of the data has only missing targets (nan): drop them, or choose other parts")
        return Cases(self.inputs.subset(indices), targets, weight)

    @property
    def weighted(self) -> bool:
        """Whether the cases have weights."""
        return self.weight is not None

    def load(
        self, batches: Iterable[Indices], own: Callable[[Indices], Indices] | None = None
    ) -> Generator[LoadedBatch, None, None]:
        """Yield the batches, or those of their cases that `own` chooses.

        Close the generator, or read it to its end: there may be a thread that reads ahead.
        """
        for indices in batches:
            chosen = indices if own is None else own(indices)
            yield LoadedBatch(self, chosen, indices)

    def steps_of(self, indices: Indices) -> int | None:
        """Return the number of steps of a batch, the longest length; None if it is known only when it is read."""
        inputs = self.inputs
        return inputs.time if inputs.lengths is None else int(inputs.lengths[indices].max())

    def parts(self, batch_size: int) -> Generator[tuple[int, Cases], None, None]:
        """Yield all cases in parts, each after the number of its first case, as `Sequences.parts` does.

        Close the generator, or read it to its end: there may be a thread that reads ahead.
        """
        yield 0, self

    def read(
        self,
        indices: Indices,
        dtype: DTypeLike,
        scaler: Scaler | None,
        y_dtype: DTypeLike | None = None,
        steps: int | None = None,
    ) -> CaseBatch:
        """Copy one batch of cases and scale its inputs; values of the targets are of `y_dtype`, by default `dtype`.

        Shorter inputs are padded to `steps`, if it is given.
        """
        x, lengths, masks = read_inputs(self.inputs, indices, dtype, scaler, steps)
        y, weight = self._read_targets(indices, x.shape[1], dtype if y_dtype is None else y_dtype)
        return CaseBatch(x, lengths, y, weight, masks)

    def read_targets(self, indices: Indices, dtype: DTypeLike) -> TargetBatch:
        """Do `read` without the inputs."""
        lengths = None if self.inputs.lengths is None else self.inputs.lengths[indices]
        time = self.inputs.time if lengths is None else int(lengths.max())
        return TargetBatch(time, lengths, *self._read_targets(indices, time, dtype), self.inputs.output_mask(indices))

    def _read_targets(self, indices: Indices, time: int, dtype: DTypeLike) -> tuple[Array, Array | None]:
        y = self.targets.batch(indices, time, dtype)
        weight = None if self.weight is None else self.weight[indices]
        if weight is not None and weight.ndim == 2:
            weight = weight[:, : y.shape[1]]
        if isinstance(self.targets, Targets) and self.targets.missing:
            return y, _weight_of_known(y, weight)
        return y, weight


def _weight_of_known(y: Array, weight: Array | None) -> Array | None:
    """Return the weights of positions, or of their values, with 0 where targets y (b, K) or (b, time, K) are missing.

    Targets of weight 0 are not read, whatever they hold, but their positions count; that they differ from those that
    are missing is seen in y, where they become infinite.
    """
    finite = np.isfinite(y)
    if weight is not None:
        unread = (weight == 0).reshape(weight.shape + (1,) * (y.ndim - weight.ndim))
        y[~finite & unread] = np.inf
        finite |= unread
    if finite.all():
        return weight
    weights = np.ones(y.shape) if weight is None else np.empty(y.shape)
    if weight is not None:
        weights[...] = weight.reshape(weight.shape + (1,) * (y.ndim - weight.ndim))
    weights[~finite] = 0.0
    whole = (finite == finite[..., :1]).all()
    return np.ascontiguousarray(weights[..., 0]) if whole else weights


def read_inputs(
    inputs: Sequences, indices: Indices, dtype: DTypeLike, scaler: Scaler | None, steps: int | None = None
) -> tuple[Array, Array | None, Array | None]:
    """Copy one batch of inputs and scale it; return it with its lengths and the masks of the values before.

    Shorter inputs are padded to `steps`, if it is given.
    """
    masks = None if inputs.masking is None else inputs.masks(indices)
    if scaler is None:
        x, lengths = inputs.batch(indices, dtype)
    else:
        # Numbers that float32 does not hold are scaled before they are rounded.
        x, lengths = inputs.batch(indices, inputs.exact_dtype)
        x = scaler.scaled_batch(x, dtype, lengths, masks)
    if steps is not None and x.shape[1] < steps:
        lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
        x, masks = _padded_steps(x, steps), None if masks is None else _padded_steps(masks, steps)
    return x, lengths, masks


def _padded_steps(x: Array, steps: int) -> Array:
    padded = np.zeros((len(x), steps, *x.shape[2:]), x.dtype)
    padded[:, : x.shape[1]] = x
    return padded


def _of_unequal_series(sample_weight: ArrayLike) -> bool:
    """Return whether weights are a list of arrays of different lengths, as series and targets may be."""
    if not isinstance(sample_weight, (list, tuple)) or not all(isinstance(one, np.ndarray) for one in sample_weight):
        return False
    return len({np.shape(one) for one in sample_weight}) > 1


def _padded(sample_weight: list[ArrayLike], inputs: Sequences) -> Array:
    """Return weights of the steps of each case as one array (n, T), 0 beyond the case's end."""
    arrays = [as_numeric(one, False, f"sample_weight[{k}]") for k, one in enumerate(sample_weight)]
    lengths = np.full(len(inputs), inputs.time) if inputs.lengths is None else inputs.lengths
    if len(arrays) != len(inputs):
        raise ValueError(f"sample_weight has weights of {len(arrays)} cases, expected {len(inputs)}")
    weight = np.zeros((len(inputs), inputs.time))
    for number, (one, steps) in enumerate(zip(arrays, lengths, strict=True)):
        if one.shape != (steps,):
            raise ValueError(
                f"sample_weight[{number}] has shape {one.shape}, expected ({steps},), a weight for each step"
            )
        weight[number, :steps] = one
    return weight


def as_weight(
    sample_weight: ArrayLike | None, inputs: Sequences, per_step: bool, steps: int | None = None
) -> Array | None:
    """Convert `sample_weight` to float64 (n,) or, if `per_step`, (n, T); ValueError if it does not fit the model.

    T is `steps`, the steps of each case's output, or those of the inputs if it is None.
    """
    if sample_weight is None:
        return None
    if _of_unequal_series(sample_weight):
        if not per_step or steps is not None:
            raise ValueError(
                f"sample_weight is a list of arrays of different lengths, expected shape ({len(inputs)},): a weight "
                "for each case, since the model has one answer for a case"
            )
        sample_weight = _padded(cast("list[ArrayLike]", sample_weight), inputs)
    weight = as_numeric(sample_weight, False, "sample_weight")
    shapes = [(len(inputs),), (len(inputs), steps or inputs.time)] if per_step else [(len(inputs),)]
    if weight.shape not in shapes:
        advice = (
            f": pass {array_code(sample_weight, 'sample_weight')}[:, 0]" if weight.shape == (len(inputs), 1) else ""
        )
        raise ValueError(f"sample_weight must have shape {' or '.join(map(str, shapes))}, got {weight.shape}{advice}")
    with np.errstate(over="ignore"):
        weight = weight.astype(np.float64)
    valid = weight
    if weight.ndim == 2 and inputs.lengths is not None and steps is None:
        valid = weight[np.arange(inputs.time) < inputs.lengths[:, None]]
    bad = np.flatnonzero(~np.isfinite(valid) | (valid < 0))
    if len(bad):
        place = place_of(int(bad[0]), weight.shape) if valid is weight else ""
        raise ValueError(
            f"sample_weight{place} is {valid.flat[bad[0]]}, expected finite numbers >= 0: give cases that shall not "
            "count a weight of 0"
        )
    if not valid.any() and inputs.numbers is None:  # a batch of larger data may have no case that counts
        raise ValueError("sample_weight must hold a number > 0, got zeros only")
    return weight
