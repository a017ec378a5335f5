"""What makes one LSTM cell differ from another: its settings, and the weights that it has beyond those of the gates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from .activations import SIGMOID, TANH, Activation

__all__ = ["NORM_EPS", "NO_MORE", "PLAIN", "Cell", "CellWeights"]

Array = npt.NDArray[Any]

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


class CellWeights(NamedTuple):
    """The weights that some cells have beyond those of the gates; H is hidden_size, P the size of a projection.

    `fastlstm.reference` has the sources.
    """

    weight_hr: Array | None = None
    """(P, H): projects the cell's output to h_t of size P. The recurrent weights are then (4H, P)."""
    peepholes: Array | None = None
    """(3, H): what i, f and o see of the cell state; (2, H), of i and o, with coupled gates."""
    gain_ih: Array | None = None
    """(4H,): gain of the normalised W_ih x_t; the three below belong to it. bias_ih and bias_hh are the two
    normalisations' biases."""
    gain_hh: Array | None = None
    """(4H,): gain of the normalised W_hh h_(t-1)."""
    gain_c: Array | None = None
    """(H,): gain of the normalised cell state."""
    bias_c: Array | None = None


NO_MORE = CellWeights()
