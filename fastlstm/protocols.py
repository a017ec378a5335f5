"""Protocols: the members of a model that the floors below `Model` may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ._typing import Array
from .data.scaler import Scaler
from .losses import Loss
from .network import Network
from .optimizers import Optimizer

__all__ = ["CallbackModel", "InferenceModel", "TrainableModel"]


class InferenceModel(Protocol):
    """A model as prediction, evaluation, streams and exports see it: a network and the units of its data.

    Attributes
    ----------
    network : Network
    scaler, target_scaler : Scaler or None
        Scaling of inputs and of targets.
    classes : list of str or None
        Names of the classes.
    feature_names : list of str or None
        Names of the features.
    loss : Loss or None
        Loss of the training; None before it.
    output_kind : str or None
        What the outputs are; see `fastlstm.inference.outputs`.
    target_shape : tuple of int or None
        Axes of the values that `fit` was given as targets, after those of cases and steps; None for labels.
    """

    network: Network
    scaler: Scaler | None
    target_scaler: Scaler | None
    classes: list[str] | None
    target_shape: tuple[int, ...] | None

    @property
    def input_size(self) -> int | None:
        """Number of features of a step as users pass it; None before it is known."""

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the features."""

    @property
    def loss(self) -> Loss | None:
        """Loss of the training."""

    @loss.setter
    def loss(self, value: Loss | None) -> None: ...

    @property
    def output_kind(self) -> str | None:
        """What the outputs are."""


class CallbackModel(Protocol):
    """A model as a callback sees it during training."""

    @property
    def flat_parameters(self) -> Array:
        """All parameters in one vector."""

    @property
    def flat_gradients(self) -> Array:
        """The gradients, in the same layout."""

    def parameters(self) -> dict[str, Array]:
        """Return views of the parameters, by name."""

    @property
    def predict(self) -> Callable[..., Any]:
        """`fastlstm.Model.predict`."""

    @property
    def evaluate(self) -> Callable[..., dict[str, float]]:
        """`fastlstm.Model.evaluate`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file."""


class TrainableModel(InferenceModel, CallbackModel, Protocol):
    """A model as training and its checkpoints see it.

    Attributes
    ----------
    own_optimizer : Optimizer or None
        Optimizer of the runs that were not given one.
    """

    own_optimizer: Optimizer | None

    def get_config(self) -> dict[str, Any]:
        """Return the model's architecture and settings, without its weights, as data for JSON."""

    def saved_tensors(self) -> dict[str, Array]:
        """Return the tensors that a file of the model holds in addition to `get_config`."""

    def restore(self, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        """Set weights, scalers, number of passes and what is trainable to those of a model of the same layers."""
