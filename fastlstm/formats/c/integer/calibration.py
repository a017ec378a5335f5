"""From a model and typical inputs to an integer model, and what that costs in accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...._typing import Array
from ....inference.inputs import checked_inputs
from ....inference.masked_stream import MaskedStream, Masking, new_stream
from ....inference.outputs import decide
from ....layers import Stage
from ....protocols import InferenceModel
from ..checks import integer_part
from .emulator import Emulator
from .operations import integer_operations
from .ranges import value_ranges

__all__ = ["integer_model", "quality"]

_CASES = 256  # of a batch

Group = tuple[Array, Array]
"""Numbers of cases, and their series of one length: (cases, steps, features) in raw units, or (cases, steps) tokens."""


def _groups(model: InferenceModel, X: Any) -> list[Group]:
    inputs = checked_inputs(model, X, None, "calibrate")
    groups: list[Group] = []
    for first in range(0, len(inputs), _CASES):
        x, ends = inputs.batch(slice(first, first + _CASES))
        lengths = np.full(len(x), x.shape[1]) if ends is None else ends
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            groups.append((first + rows, np.ascontiguousarray(x[rows, :length])))
    return groups


def integer_model(
    model: InferenceModel, stages: Sequence[Stage], X: Any, masking: Masking | None
) -> tuple[Emulator, list[Stage], list[Group]]:
    """Return the integer model, the stages after it that remain float, and the calibration data.

    Raises
    ------
    ValueError
        If a layer has no integer form, or X does not fit the model.
    """
    end = integer_part(stages)
    groups = _groups(model, X)
    counts = None if masking is None else model.network.layers[masking.layers[0]].counts
    seen = [x if counts is None else _without_masked(x, counts(x), stages[0]) for _, x in groups]
    largest = max((float(np.abs(np.nan_to_num(x)).max(initial=0)) for x in seen), default=0.0)
    values, cells = value_ranges(stages[:end], seen)
    tokens = model.network.takes_tokens
    features = 0 if tokens else seen[0].shape[2]
    operations = integer_operations(stages[:end], features, tokens, largest, values, cells)
    tail = [stage._replace(main=stage.main - end) for stage in stages[end:]]
    return Emulator(operations, tail, counts, masking), tail, groups


def _without_masked(x: Array, counts: Array, first: Stage) -> Array:
    """Return x with typical values in place of masked steps."""
    if x.dtype.kind == "i":
        return x
    return np.where(counts[..., None], x, first.weights["mean"] if first.kind == "standardize" else 0.0).astype(x.dtype)


def quality(model: InferenceModel, emulator: Emulator, groups: Sequence[Group], y: Any) -> dict[str, float]:
    """Return how far the integer model is from the float one on the calibration data.

    The errors are those of all outputs that the model answers (the last step of a series, or each step): ``max_error``
    and ``mean_error`` in the units of the output, ``spread``: the standard deviation of the float outputs. With several
    outputs ``agreement`` is the share of the answers whose largest output is the same. With targets, also the accuracy
    or the root of the mean squared error of both.
    """
    exact, whole, numbers = [], [], []
    for cases, f, q in _both(model, emulator, groups):
        steps = slice(None) if model.network.per_step else slice(-1, None)
        exact += [one.astype(np.float64) for one in f[:, steps]]
        whole += [one.astype(np.float64) for one in q[:, steps]]
        numbers += cases.tolist()
    f_all, q_all = np.concatenate(exact), np.concatenate(whole)
    error = np.abs(f_all - q_all)
    found = {
        "max_error": float(error.max()),
        "mean_error": float(error.mean()),
        "spread": float(f_all.std()),
    }
    if f_all.shape[1] > 1:
        found["agreement"] = float((f_all.argmax(axis=1) == q_all.argmax(axis=1)).mean())
    if y is not None:
        targets = np.asarray(y)
        given = [targets[number] for number in numbers]
        for name, outputs in (("float", exact), ("int8", whole)):
            found |= {f"{name}_{key}": value for key, value in _score(model, outputs, given).items()}
    return found


def _both(model: InferenceModel, emulator: Emulator, groups: Sequence[Group]) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the numbers of some cases, and the answers of both models to their steps (cases, steps, outputs)."""
    for cases, x in groups:
        stream = new_stream(model, len(x), None)
        if isinstance(stream, MaskedStream):
            steps = [np.asarray(stream.step(np.ascontiguousarray(x[:, t]))) for t in range(x.shape[1])]
            exact = np.stack(steps, axis=1)
        else:
            exact = np.asarray(stream.run(x))
        emulator.reset(len(x))
        yield cases, exact.astype(np.float32), emulator.run(x)
    emulator.reset()


def _score(model: InferenceModel, outputs: list[Array], targets: list[Any]) -> dict[str, float]:
    """Return accuracy or root mean squared error; each output is (steps, outputs)."""
    kind = str(model.output_kind)
    if kind.startswith(("class", "binary")):
        right = total = 0
        for out, target in zip(outputs, targets, strict=True):
            labels = np.asarray(decide(model, out.astype(np.float32), None, model.classes)).reshape(-1)
            expected = np.broadcast_to(np.asarray(target).reshape(-1), labels.shape)
            right += int((labels == expected).sum())
            total += labels.size
        return {"accuracy": right / total}
    squares = [
        ((out - np.asarray(target).reshape(out.shape)) ** 2).reshape(-1)
        for out, target in zip(outputs, targets, strict=True)
    ]
    return {"rmse": float(np.sqrt(np.concatenate(squares).mean()))}
