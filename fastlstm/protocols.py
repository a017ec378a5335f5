"""What the floors below `Model` may use of a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ._typing import Array
from .data.scaling import Standardizer
from .losses import Loss
from .network import Network

__all__ = ["CallbackModel", "InferenceModel", "TrainableModel"]


class InferenceModel(Protocol):
    """What prediction, evaluation, streams and exports need: a network, and the units of its data.

    Attributes
    ----------
    network : Network
    scaler, target_scaler : Standardizer or None
        Of inputs and targets.
    classes : list of str or None
        Names of the classes.
    loss : Loss or None
        That of the training, if the model has been trained.
    """

    network: Network
    scaler: Standardizer | None
    target_scaler: Standardizer | None
    classes: list[str] | None
    loss: Loss | None


class CallbackModel(Protocol):
    """What a callback may use of the model in training."""

    @property
    def flat_parameters(self) -> Array:
        """All parameters, one after the other."""

    @property
    def flat_gradients(self) -> Array:
        """The gradients, in the same layout."""

    def parameters(self) -> dict[str, Array]:
        """Return views of the parameters, by name."""

    @property
    def predict(self) -> Callable[..., Any]:
        """See `fastlstm.Model.predict`."""

    @property
    def evaluate(self) -> Callable[..., dict[str, float]]:
        """See `fastlstm.Model.evaluate`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file."""


class TrainableModel(InferenceModel, CallbackModel, Protocol):
    """What training needs of a model, with what a checkpoint saves and restores."""

    def get_config(self) -> dict[str, Any]:
        """Return everything about the model except its numbers, fit for JSON."""

    def saved_tensors(self) -> dict[str, Array]:
        """Return what a file of the model holds apart from `get_config`."""

    def restore(self, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        """Take over `saved_tensors` and the number of training passes of a model that has the same layers."""
