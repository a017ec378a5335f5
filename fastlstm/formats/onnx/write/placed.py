"""A stage with its position in the model: its layer, its index and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ....layers import Layer, Stage
from .builder import Value

__all__ = ["PlacedStage"]


@dataclass(frozen=True, eq=False)
class PlacedStage:
    """Arguments of a function that writes a stage, except the graph."""

    index: int
    """Index of the layer in the model."""
    layer: Layer
    number: int
    """Index of the stage in the layer."""
    stage: Stage
    x: Value
    """The main input."""
    side: Mapping[str, Value]

    def parameter(self, weight: str) -> str:
        """Return the name of the parameter that shares memory with a weight of the stage; "" if there is none."""
        array = self.stage.weights[weight]
        return next((name for name, own in self.layer.parameters.items() if np.may_share_memory(own, array)), "")

    def constant_name(self, weight: str) -> str:
        """Return the name of the constant for a weight: the index of the layer, a dot and the parameter's name."""
        return f"{self.index}.{self.parameter(weight) or f'{self.stage.kind}_{self.number}.{weight}'}"

    def refusal(self, reason: str) -> ValueError:
        """Return the error that names the layer and says why it cannot be written."""
        return ValueError(f"layer {self.index}, {self.layer!r}: {reason}")
