"""What makes one LSTM cell differ from another, but for its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .activations import SIGMOID, TANH, Activation

__all__ = ["NORM_EPS", "PLAIN", "Cell"]

NORM_EPS = 1e-5
"""Added to the variance in layer normalisation, as in Ba et al.'s code and torch.nn.LayerNorm."""


@dataclass(frozen=True)
class Cell:
    """The settings of a cell; `fastlstm.reference.lstm_forward` has the equations and the sources."""

    gate_activation: Activation = SIGMOID
    """Of the input, forget and output gates."""
    cell_activation: Activation = TANH
    """Of the candidate g."""
    output_activation: Activation = TANH
    """Of the cell state on its way out."""
    coupled: bool = False
    """f = 1 - i; the weights have the gates i, g, o only."""
    gate_clip: float = math.inf
    """Limit of the gates' and the candidate's net inputs."""
    cell_clip: float = math.inf
    """Limit of the cell state itself."""
    output_clip: float = math.inf
    """Limit of what the output activation reads."""
    layer_norm: bool = False
    recurrent_dropout: float = 0.0
    """Of the candidate g, drawn anew in each step."""
    variational_dropout: float = 0.0
    """Of h_(t-1) on its way to the gates, one mask for all steps."""
    zoneout_h: float = 0.0
    """Probability with which a unit's h keeps its value of the step before; in inference the expectation is taken."""
    zoneout_c: float = 0.0

    @property
    def gates(self) -> int:
        """Gates that have weights."""
        return 3 if self.coupled else 4


PLAIN = Cell()
"""Today's LSTM: forget gates, sigmoid and tanh, nothing else."""
