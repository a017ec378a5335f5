"""What a pass leaves behind: the caches of the layers, and what they have in common.

Layers hold settings and views of the parameters only. What a forward pass leaves for the backward pass, and all
temporary arrays, live in a `PassContext` that the caller owns: so one model may serve several threads at once, each
with a context of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import Array, State
from ..runtime.buffers import Buffers
from .masked_steps import MaskedSteps

__all__ = ["LayerCache", "PassContext"]


class LayerCache:
    """One layer's part of a `PassContext`."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.masked_steps: MaskedSteps | None = None
        """The steps that were left out in the last pass, for backward; None: none."""
        self.seed = 0
        """Seed of the layer's random numbers in this pass."""
        self.saved: dict[str, Any] = {}
        """What forward leaves for backward."""
        self.state_in: State | None = None
        """Initial (h, c) of an LSTM, each (num_layers * directions, batch, hidden_size); None: those of the layer."""
        self.state_out: State | None = None
        self.d_state_out: State | None = None
        """Gradient of the loss with respect to `state_out`; None: zeros."""
        self.d_state_in: State | None = None


class PassContext:
    """One pass of a batch through the layers of a network."""

    def __init__(self, n_layers: int, dtype: np.dtype[Any], training: bool) -> None:
        self.layers = [LayerCache() for _ in range(n_layers)]
        self.dtype = dtype
        self.lengths: Array | None = None
        self.mask: Array | None = None
        """(batch, time), boolean: the steps that count; None: all. A layer sets it as the data pass."""
        self.training = training
        self.frozen = False
        """Whether the parameters are read-only for good, so that a workspace may keep them packed."""
        self.n_threads = 1
        self.checkpoint_every = 0
        """Of how many steps at a time an LSTM keeps what the backward pass needs; 0: of all."""
        self.want_d_state = False
        """Whether the backward pass is to leave the gradients of the initial states."""
        self.out_shape: tuple[int, ...] = ()
        self.pending = False
        """Whether a forward pass of a custom loop waits for its backward pass."""
