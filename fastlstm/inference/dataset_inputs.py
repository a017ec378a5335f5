"""Checks of objects that give one case at a time, as data of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._foreign import type_name
from ..data.case_objects import gives_cases, refuse_batches
from ..data.case_reader import CaseReader
from ..data.cases import Cases
from ..data.dataset import DatasetCases, DatasetSequences
from ..data.sequences import Sequences, list_sequences
from ..losses import Loss
from ..protocols import InferenceModel
from .inputs import checked_cases, checked_inputs, draft_scaler, head_of, known_channels

__all__ = ["dataset_cases", "dataset_inputs"]


def dataset_inputs(model: InferenceModel, X: Any, lengths: Any, name: str = "X") -> DatasetSequences:
    """Wrap an object whose cases are series, or tuples that begin with a series; check that the first fits."""
    _refuse_beside(name, lengths=lengths)
    return _checked_reader(model, X, with_targets=False, name=name)


def dataset_cases(
    model: InferenceModel,
    X: Any,
    loss: Loss,
    *,
    lengths: Any = None,
    sample_weight: Any = None,
    classes: list[str] | None = None,
    name: str = "X",
    target_name: str = "y",
    training: bool = False,
) -> DatasetCases:
    """Wrap an object whose cases are ``(x, y)`` or ``(x, y, weight)``, for a call without y; check its first case.

    Strings among the targets become indices into `classes`, by default the model's classes, else the sorted strings of
    all cases, which are read once for this. `training` says whether they are the training data, as in `checked_inputs`.

    Raises
    ------
    TypeError, ValueError
        If X is no such object, or its first case does not fit the model or the loss.
    RuntimeError
        If the object raises an exception.
    """
    refuse_batches(X, name)
    if not gives_cases(X) and not isinstance(X, list):
        raise TypeError(_no_cases(X, name, target_name))
    _refuse_beside(name, lengths=lengths, sample_weight=sample_weight)
    inputs = _checked_reader(model, X, with_targets=True, name=name, training=training)
    known = classes or model.classes or _collected_classes(model, loss, inputs.reader, target_name)

    def join(part: Sequences, y: list[Any], weight: NDArray[np.float64] | None) -> Cases:
        return checked_cases(model, part, y, loss, sample_weight=weight, classes=known, name=target_name)

    return DatasetCases(inputs, join, model.network.output_size, model.network.output_steps)


def _checked_reader(
    model: InferenceModel, X: Any, with_targets: bool, name: str, training: bool = False
) -> DatasetSequences:
    network = model.network
    if not training:
        network.require_built()

    def check(part: Sequences) -> None:
        checked_inputs(model, part, None, name)

    reader = CaseReader(X, network.takes_tokens, with_targets, name)
    inputs = DatasetSequences(reader, check)
    if training:
        draft_scaler(model, inputs.features)
    if not network.built:
        first = list_sequences([reader.first.x], reader.tokens, name)
        first.numbers = np.zeros(1, np.int64)
        added, missing = known_channels(model)
        first.check_finite(network.dtype, missing_steps=network.layers[0].masks_missing_steps, missing=missing)
        # The lengths of all series are not known before all have been read, which few layers need.
        needed = any(layer.needs_longest for layer in network.layers)
        network.build(inputs.features + added, longest=inputs.time if needed else None)
    inputs.masking = network.input_masks
    inputs.listed(np.zeros(1, np.int64), [reader.first])
    return inputs


def _collected_classes(model: InferenceModel, loss: Loss, reader: CaseReader, name: str) -> list[str] | None:
    """Return the classes of string labels, which needs all of them; None if the first target is no string."""
    head = head_of(model)
    y = reader.first.y
    one_each = isinstance(y, str)
    # Strings of another form than the loss takes are refused with the first case, before all others are read.
    if not one_each and not (head.per_step and (y.dtype.kind == "U" or y.size == 0)):
        return None
    names = reader.survey.names
    if names is None:
        return None
    steps = [1] * len(names) if one_each else [len(names)]
    series = list_sequences([np.zeros((n, 1)) for n in steps], False, reader.name)
    return loss.as_targets(names if one_each else [np.array(names)], series, head, name=name).classes or names


def _refuse_beside(name: str, **given: Any) -> None:
    for argument, value in given.items():
        if value is not None:
            cure = (
                "its series have their own lengths: leave lengths out"
                if argument == "lengths"
                else "give the weight with each case, (x, y, weight)"
            )
            raise ValueError(f"got {argument} for {name}, which is read case by case, expected None: {cure}")


def _no_cases(X: object, name: str, target_name: str) -> str:
    """Return the message for a call without y, and with something that does not give cases."""
    what = f"{name} is a {type_name(X)}"
    cases = "a data set with __len__ and __getitem__ whose items are tuples (x, y)"
    if X is None or hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, (Sequences, tuple)):
        return f"{target_name} is None: {what}, expected targets beside it, or for {name} {cases}"
    if isinstance(X, Mapping):
        return f"{what}, expected {cases}: pass {name}[...] for the inputs and for the targets"
    if isinstance(X, Iterator):
        return f"{what}, which can be read only once, expected {cases}: pass list({name}) if its items are (x, y)"
    missing = " and ".join(method for method in ("__len__", "__getitem__") if not hasattr(type(X), method))
    return f"{what}{f' without {missing}' if missing else ''}, expected {cases}"
