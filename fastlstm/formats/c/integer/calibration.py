"""From a model and typical inputs to an integer model, and what that costs in accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...._typing import Array
from ....data.cases import Cases, TargetBatch
from ....data.targets import IGNORE, Targets
from ....inference.inputs import checked_cases, checked_inputs
from ....inference.masked_stream import MaskedStream, Masking, new_stream
from ....inference.outputs import decide, loss_of
from ....layers import Stage
from ....losses import get_loss
from ....protocols import InferenceModel
from ..checks import integer_part
from .emulator import Emulator
from .operations import integer_operations
from .ranges import value_ranges

__all__ = ["calibration_data", "integer_model", "quality"]

_CASES = 256  # of a batch

Group = tuple[Array, Array]
"""Numbers of cases, and their series of one length: (cases, steps, features) in raw units, or (cases, steps) tokens."""


def calibration_data(model: InferenceModel, X: Any, y: Any) -> tuple[list[Group], Cases | None]:
    """Return the series of a calibration, in groups of one length, and with targets the cases; errors as `evaluate`."""
    inputs = checked_inputs(model, X, None, "calibrate")
    cases = None
    if y is not None:
        loss = get_loss("mse") if model.loss is None and model.output_kind is None else loss_of(model)
        cases = checked_cases(model, inputs, y, loss, name="calibrate[1]")
        if not isinstance(cases.targets, Targets):
            raise ValueError(
                f"calibrate has targets of loss={loss.name!r}, which the report has no score for: pass X alone"
            )
    groups: list[Group] = []
    for first in range(0, len(inputs), _CASES):
        x, ends = inputs.batch(slice(first, first + _CASES))
        lengths = np.full(len(x), x.shape[1]) if ends is None else ends
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            groups.append((first + rows, np.ascontiguousarray(x[rows, :length])))
    return groups, cases


def integer_model(
    model: InferenceModel, stages: Sequence[Stage], groups: Sequence[Group], masking: Masking | None
) -> tuple[Emulator, list[Stage]]:
    """Return the integer model, and the stages after it that remain float; ValueError if a layer cannot be integer."""
    end = integer_part(stages)
    counts = None if masking is None else model.network.layers[masking.layers[0]].counts
    seen = [x if counts is None else _without_masked(x, counts(x), stages[0]) for _, x in groups]
    largest = max((float(np.abs(np.nan_to_num(x)).max(initial=0)) for x in seen), default=0.0)
    values, cells = value_ranges(stages[:end], seen)
    tokens = model.network.takes_tokens
    features = 0 if tokens else seen[0].shape[2]
    operations = integer_operations(stages[:end], features, tokens, largest, values, cells)
    tail = [stage._replace(main=stage.main - end) for stage in stages[end:]]
    return Emulator(operations, tail, counts, masking), tail


def _without_masked(x: Array, counts: Array, first: Stage) -> Array:
    """Return x with typical values in place of masked steps."""
    if x.dtype.kind == "i":
        return x
    return np.where(counts[..., None], x, first.weights["mean"] if first.kind == "standardize" else 0.0).astype(x.dtype)


def quality(
    model: InferenceModel, emulator: Emulator, groups: Sequence[Group], cases: Cases | None
) -> dict[str, float]:
    """Return how far the integer model is from the float one on the calibration data.

    The errors are those of all outputs that the model answers (the last step of a series, or each step): ``max_error``
    and ``mean_error`` in the units of the output, ``spread``: the standard deviation of the float outputs. With several
    outputs ``agreement`` is the share of the answers whose largest output is the same. With targets, also the accuracy
    or the root of the mean squared error of both.
    """
    exact, whole, scores = [], [], []
    for numbers, f, q in _both(model, emulator, groups):
        if not model.network.per_step:
            f, q = f[:, -1], q[:, -1]
        if cases is not None:
            batch = cases.read_targets(numbers, np.float64)
            scores.append([_score(model, out, batch) for out in (f, q)])
        exact.append(f.reshape(-1, f.shape[-1]).astype(np.float64))
        whole.append(q.reshape(-1, q.shape[-1]).astype(np.float64))
    f_all, q_all = np.concatenate(exact), np.concatenate(whole)
    error = np.abs(f_all - q_all)
    found = {
        "max_error": float(error.max()),
        "mean_error": float(error.mean()),
        "spread": float(f_all.std()),
    }
    if f_all.shape[1] > 1:
        found["agreement"] = float((f_all.argmax(axis=1) == q_all.argmax(axis=1)).mean())
    if scores:
        for name, (total, known) in zip(("float", "int8"), np.sum(scores, axis=0).tolist(), strict=True):
            mean = total / known if known else math.nan
            found |= {f"{name}_accuracy": mean} if _decides(model) else {f"{name}_rmse": math.sqrt(mean)}
    return found


def _both(model: InferenceModel, emulator: Emulator, groups: Sequence[Group]) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the numbers of some cases, and the answers of both models to their steps (cases, steps, outputs)."""
    for numbers, x in groups:
        stream = new_stream(model, len(x), None)
        if isinstance(stream, MaskedStream):
            steps = [np.asarray(stream.step(np.ascontiguousarray(x[:, t]))) for t in range(x.shape[1])]
            exact = np.stack(steps, axis=1)
        else:
            exact = np.asarray(stream.run(x))
        emulator.reset(len(x))
        yield numbers, exact.astype(np.float32), emulator.run(x)
    emulator.reset()


def _decides(model: InferenceModel) -> bool:
    return str(model.output_kind).startswith(("class", "binary"))


def _score(model: InferenceModel, out: Array, batch: TargetBatch) -> tuple[float, float]:
    """Return the number of right labels, or the sum of the squared errors, and how many targets are known."""
    target = batch.y.reshape(out.shape[: out.ndim - 1] + batch.y.shape[out.ndim - 1 :])
    if _decides(model):
        labels = np.asarray(decide(model, out, None, None))
        target = target.reshape(labels.shape)
        known = np.isfinite(target) & (target != IGNORE)
        found = labels == target
    else:
        known = np.isfinite(target)
        found = (out - np.where(known, target, 0.0)) ** 2
    if batch.output_mask is not None:
        known &= batch.output_mask.reshape(batch.output_mask.shape + (1,) * (known.ndim - batch.output_mask.ndim))
    return float(found[known].sum()), float(known.sum())
