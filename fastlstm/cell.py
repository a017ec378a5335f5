"""Settings and weights of an LSTM cell."""

from __future__ import annotations

import math
from typing import NamedTuple

from ._typing import Array
from .activations import SIGMOID, TANH, Activation

__all__ = ["NORM_EPS", "NO_CELL_WEIGHTS", "PLAIN", "Cell", "CellWeights"]

NORM_EPS = 1e-5
"""Added to the variance in layer normalisation, as in Ba et al.'s code and torch.nn.LayerNorm."""


class Cell(NamedTuple):
    """Settings of a cell; `fastlstm.reference.lstm_forward` has the equations and the sources."""

    gate_activation: Activation = SIGMOID
    """Activation of the input, forget and output gates."""
    cell_activation: Activation = TANH
    """Activation of the candidate g."""
    output_activation: Activation = TANH
    """Activation applied to the cell state to compute h."""
    coupled: bool = False
    """Whether f = 1 - i; the weights then have the gates i, g, o only."""
    gate_clip: float = math.inf
    """Limit of the absolute net inputs of the gates and the candidate."""
    cell_clip: float = math.inf
    """Limit of the absolute cell state."""
    output_clip: float = math.inf
    """Limit of the absolute input of the output activation."""
    layer_norm: bool = False
    """Whether net inputs and cell state are normalised (Ba et al. 2016)."""
    recurrent_dropout: float = 0.0
    """Dropout probability of the candidate g, with a new mask at each step."""
    variational_dropout: float = 0.0
    """Dropout probability of h_(t-1) as the gates read it, with one mask for all steps."""
    zoneout_h: float = 0.0
    """Probability that a unit of h keeps its value of the previous step; inference uses the expectation."""
    zoneout_c: float = 0.0
    """Probability that a unit of the cell state keeps its previous value."""

    @property
    def gates(self) -> int:
        """Number of gates that have weights."""
        return 3 if self.coupled else 4


PLAIN = Cell()
"""The standard LSTM: sigmoid gates including a forget gate, tanh, no options."""


class CellWeights(NamedTuple):
    """Weights of a cell other than the gates' matrices and biases; None where the cell has no such weights.

    H is the hidden size, P the size of h with a projection.
    """

    weight_hr: Array | None = None
    """(P, H): projects the cell's output to h_t of size P (Sak et al. 2014). The recurrent weights are then (4H, P)."""
    peepholes: Array | None = None
    """(3, H): from the cell state to i, f and o (Gers & Schmidhuber 2000); (2, H), to i and o, if coupled."""
    gain_ih: Array | None = None
    """(4H,): gain of the normalised W_ih x_t (Ba et al. 2016). This and the next three belong to layer normalisation,
    which uses bias_ih and bias_hh as the biases of the two normalised products."""
    gain_hh: Array | None = None
    """(4H,): gain of the normalised W_hh h_(t-1)."""
    gain_c: Array | None = None
    """(H,): gain of the normalised cell state."""
    bias_c: Array | None = None
    """(H,): bias of the normalised cell state."""


NO_CELL_WEIGHTS = CellWeights()
"""No weights other than those of the gates."""
