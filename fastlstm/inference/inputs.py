"""Checks of the data that users pass to a model: inputs, and inputs with targets and weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._checks import short_repr
from .._typing import Array
from ..data.batching import sequential_batches
from ..data.cases import Cases, as_weight
from ..data.sequences import Sequences, as_sequences
from ..data.targets import Targets
from ..losses import Head, Loss
from ..protocols import InferenceModel

__all__ = ["checked_cases", "checked_inputs", "draft_scaler", "head_of", "input_features", "known_channels"]


def checked_inputs(
    model: InferenceModel,
    X: Sequences | ArrayLike,
    lengths: ArrayLike | None,
    name: str = "X",
    *,
    training: bool = False,
) -> Sequences:
    """Wrap `X` as Sequences and check that they fit the model.

    Training data build a model that is not built yet; other data are refused by it, since it has no weights.
    """
    if not training:
        model.network.require_built()
    inputs = as_sequences(X, lengths, tokens=model.network.takes_tokens, name=name)
    names = inputs.feature_names = model.feature_names
    if training and names is not None and len(names) != inputs.features:
        raise ValueError(
            f"{name} has {inputs.features} features, and the model has names of {len(names)}, "
            f"{short_repr(names)}: the last axis must hold these features, in this order"
        )
    if training:
        draft_scaler(model, inputs.features)
    added, missing = known_channels(model)
    if missing is not None and len(missing) != inputs.features and not model.network.built:
        raise ValueError(
            f"{name} has {inputs.features} features, the model's scaler was fitted on {len(missing)}: the last axis "
            "must hold the features in the order of the data of the scaler"
        )
    if missing is None:
        model.network.build_for(inputs, training=training)
    else:
        model.network.build_for(inputs, training=training, added=added, missing=missing)
    return inputs.with_masking(model.network.input_masks)


def known_channels(model: InferenceModel) -> tuple[int, Array | None]:
    """Return the number of channels that the model's scaler adds, and a mask of the features that may be missing.

    Raises
    ------
    ValueError
        If a scaler that may add channels is not fitted, or it adds others than the network was built for.
    """
    scaler = model.scaler
    if scaler is None or scaler.missing == "error" or model.network.takes_tokens:
        return 0, None
    known, size = scaler.may_be_missing, model.network.input_size
    if known is None:
        raise ValueError(f"the model's scaler, {scaler!r}, is not fitted yet: call fit")
    added = scaler.added_channels
    if size is not None and len(known) + added != size:
        raise ValueError(
            f"the model's scaler gives {len(known)} features and {added} indicator channels, the model was built for "
            f"{size} inputs: make a new model with this scaler, fl.Model([...], scaler=...)"
        )
    return added, known


def draft_scaler(model: InferenceModel, features: int) -> None:
    """Prepare a scaler that adds channels, but is not fitted, for the checks of training data of so many features.

    The model is built for it with a channel for every feature; `training.prepare` builds it anew when the scaler is
    fitted.
    """
    scaler = model.scaler
    if scaler is None or scaler.missing == "error" or scaler.fitted or model.network.takes_tokens:
        return
    size = model.network.input_size
    if size is None and model.input_size not in (None, features):
        raise ValueError(f"X has {features} features, expected {model.input_size}, the input_size of the model")
    added = features if size is None else size - features
    if not (added == features or (scaler.missing == "mask" and 0 <= added <= features)):
        raise ValueError(
            f"X has {features} features, to which the model's scaler, {scaler!r}, adds indicator channels, and the "
            f"model was built for {size} inputs: make a new model with this scaler, fl.Model([...], scaler=...)"
        )
    scaler.begin_draft(features, added)


def input_features(model: InferenceModel) -> int:
    """Return the number of features that users pass to a built model: its inputs without a scaler's channels."""
    size = model.network.input_size or 0
    return size if model.scaler is None else size - model.scaler.added_channels


def checked_cases(
    model: InferenceModel,
    inputs: Sequences,
    y: ArrayLike,
    loss: Loss,
    *,
    sample_weight: ArrayLike | None = None,
    classes: list[str] | None = None,
    name: str = "y",
) -> Cases:
    """Check that targets and weights fit the model and the loss, and join them with the inputs.

    String labels become indices into `classes`, by default the model's classes, else the sorted labels.
    """
    head = head_of(model)
    weight = as_weight(sample_weight, inputs, loss.weight_per_step(head), head.steps)
    targets = loss.as_targets(y, inputs, head, classes=classes or model.classes, weight=weight, name=name)
    loss.check_cases(targets, inputs, weight, name)
    cases = Cases(inputs, targets, weight)
    if isinstance(targets, Targets) and targets.missing and not loss.weight_per_output:
        _refuse_partly_missing(cases, loss, name)
    return cases


def _refuse_partly_missing(cases: Cases, loss: Loss, name: str) -> None:
    """Raise ValueError if only some of the values of a position are missing."""
    for indices in sequential_batches(len(cases), 256):
        batch = cases.read_targets(indices, np.float64)
        if batch.weight is not None and batch.weight.shape == batch.y.shape:
            raise ValueError(
                f"{name} has positions of which only some values are missing (nan), and loss={loss.name!r} has one "
                "weight for all values of a position: make the others of such a position nan too, or set "
                "weight_per_output in a loss of your own that takes a weight for each value"
            )


def head_of(model: InferenceModel) -> Head:
    """Return the form of a built model's output."""
    network, scaled = model.network, model.target_scaler is not None
    return Head(network.output_size, network.per_step, network.dtype, scaled, network.output_steps)
