"""Meaning of a model's outputs: scores, probabilities or values; and what follows from it.

The loss has a link, the function from scores to probabilities: softmax for exclusive classes, sigmoid for independent
ones. A model may end with this function or not:

- Without it, its outputs are scores, and the link makes them probabilities.
- With it, its outputs are probabilities already. The loss is then computed from the scores before the final activation,
  which is exact where a probability is rounded to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .. import _exact
from .._typing import Array
from ..losses import MSE, BinaryCrossEntropy, CrossEntropy, Loss
from ..network import Network
from ..protocols import InferenceModel

__all__ = [
    "OUTPUT_KINDS",
    "OutputKind",
    "as_scores",
    "check_link",
    "decide",
    "loss_of",
    "output_kind",
    "probabilities",
    "skipped_layer",
]

OutputKind = Literal[
    "class_scores",
    "class_probabilities",
    "binary_scores",
    "binary_probabilities",
    "sequence_scores",
    "sequence_probabilities",
    "values",
]
OUTPUT_KINDS: tuple[str, ...] = OutputKind.__args__  # type: ignore[attr-defined]

_STAND_INS: dict[str, type[Loss]] = {"class": CrossEntropy, "binary": BinaryCrossEntropy, "values": MSE}
"""Losses of the same link, for a model whose own loss is not known."""


def output_kind(network: Network, loss: Loss | None) -> OutputKind | None:
    """Return what the outputs of a network are under a loss; None if neither the loss nor a final activation tells."""
    final = network.final_activation()
    if loss is None:
        kinds: dict[str, OutputKind] = {"softmax": "class_probabilities", "sigmoid": "binary_probabilities"}
        return None if final is None else kinds[final.kind]
    if loss.link is None:
        return "values"
    what = "binary" if loss.link == "sigmoid" else "sequence" if loss.kind == "sequences" else "class"
    kind: OutputKind = f"{what}_{'scores' if final is None else 'probabilities'}"  # type: ignore[assignment]
    return kind


def check_link(network: Network, loss: Loss) -> None:
    """Raise ValueError if a network ends with another activation than the link of the loss."""
    final = network.final_activation()
    if final is None or loss.link is None or final.kind == loss.link:
        return
    right = "binary_cross_entropy" if final.kind == "sigmoid" else "cross_entropy"
    raise ValueError(
        f"the model ends with {final.kind} and loss={loss.name!r} is for scores or a final {loss.link}: use "
        f"loss={right!r}, or replace the last activation by fl.Activation({loss.link!r})"
    )


def skipped_layer(network: Network, loss: Loss, training: bool) -> int | None:
    """Return the index of the final activation that the loss computes itself; None if there is none.

    Raises
    ------
    ValueError
        If the final activation is not the link of the loss, or in training cannot be separated from the layers after
        it.
    """
    check_link(network, loss)
    final = network.final_activation()
    if final is None or loss.link is None:
        return None
    if final.layer is None and training:
        raise ValueError(
            f"{final.where}: loss={loss.name!r} is computed from the scores before the {final.kind}, which cannot be "
            f"separated from the rest; train a model that ends with fl.Activation({final.kind!r}) or with the scores"
        )
    return final.layer


def as_scores(name: str, p: Array) -> Array:
    """Return scores of which these are the probabilities; finite also for probabilities of 0 and 1."""
    info = np.finfo(p.dtype)
    p = np.clip(p, info.tiny, 1 - info.epsneg)
    scores = _exact.log(p) if name == "softmax" else _exact.log(p) - _exact.log(1 - p.astype(np.float64))
    return np.asarray(scores, p.dtype)


def loss_of(model: InferenceModel) -> Loss:
    """Return the loss of a model, or one with the same link if only the kind of its outputs is known.

    Raises
    ------
    ValueError
        If it is not known what the outputs are.
    """
    if model.loss is not None:
        return model.loss
    kind = model.output_kind
    if kind is None:
        raise ValueError(
            "it is not known whether the outputs of this model are class scores, independent scores or values: set "
            "model.loss = 'cross_entropy' (exclusive classes), 'binary_cross_entropy' (independent scores) or 'mse' "
            "(values), or pass it as loss= to evaluate or to the function that reads the file"
        )
    return _STAND_INS[kind.partition("_")[0]]()


def probabilities(model: InferenceModel, out: Array | list[Array]) -> Any:
    """Convert the outputs of a model to probabilities; those of a single binary output lose their last axis."""
    loss, given = loss_of(model), _are_probabilities(model)

    def converted(one: Array) -> Array:
        p = one if given else loss.probabilities(one)
        return p[..., 0] if p.shape[-1] == 1 else p

    return [converted(one) for one in out] if isinstance(out, list) else converted(out)


def _are_probabilities(model: InferenceModel) -> bool:
    return str(model.output_kind).endswith("_probabilities")


def decide(
    model: InferenceModel, out: Array | list[Array], lengths: ArrayLike | None, classes: Sequence[str] | None
) -> Any:
    """Convert the outputs of a model to the most probable classes."""
    loss = loss_of(model)
    if loss.link is not None and _are_probabilities(model):
        name = loss.link
        out = [as_scores(name, one) for one in out] if isinstance(out, list) else as_scores(name, out)
    return loss.decide(out, lengths, classes)
