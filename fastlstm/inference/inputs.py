"""Checks of the data that users pass to a model: inputs, and inputs with targets and weights."""

from __future__ import annotations

from numpy.typing import ArrayLike

from ..data.cases import Cases, as_weight
from ..data.sequences import Sequences, as_sequences
from ..losses import Head, Loss
from ..protocols import InferenceModel

__all__ = ["checked_cases", "checked_inputs", "head_of"]


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
    model.network.build_for(inputs, training=training)
    return inputs.with_masking(model.network.input_masks)


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
    return Cases(inputs, targets, weight)


def head_of(model: InferenceModel) -> Head:
    """Return the form of a built model's output."""
    network, scaled = model.network, model.target_scaler is not None
    return Head(network.output_size, network.per_step, network.dtype, scaled, network.output_steps)
