"""Context of a pass: the caches of the layers, and the settings that all layers share.

Layers hold settings and views of the parameters only. The values that a forward pass saves for the backward pass, and
all temporary arrays, are kept in a `PassContext` that the caller owns. So one model may serve several threads at once,
each with its own context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._core import PackedWeights, Workspace
from .._typing import Array, State
from ..runtime.buffers import Buffers
from .masked_steps import MaskedSteps
from .memory import Memory

__all__ = ["LayerCache", "PassContext"]


class LayerCache:
    """Part of a `PassContext` that belongs to one layer."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.masked_steps: MaskedSteps | None = None
        """Masked steps of the last forward pass, for backward; None: no step was masked."""
        self.mask_in: Array | None = None
        """(batch, time), boolean: the mask of a layer that masks steps, if it is known before the pass; see
        `fastlstm.layers.input_masks`."""
        self.seed = 0
        """Seed of the layer's random numbers in this pass."""
        self.saved: dict[str, Any] = {}
        """Values that forward saves for backward."""
        self.state_in: State | None = None
        """Initial (h, c) of an LSTM, each (num_layers * directions, batch, hidden_size); None: the layer's own."""
        self.state_out: State | None = None
        """Final (h, c)."""
        self.d_state_out: State | None = None
        """Gradient of the loss with respect to `state_out`; None: zeros."""
        self.d_state_in: State | None = None
        """Gradient of the loss with respect to `state_in`."""
        self._workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        """Memory of the layer's kernel, which its passes use one after the other."""
        if self._workspace is None:
            self._workspace = Workspace()
        return self._workspace


class PassContext:
    """One pass of a batch through the layers of a network."""

    def __init__(self, n_layers: int, dtype: np.dtype[Any], training: bool) -> None:
        self.layers = [LayerCache() for _ in range(n_layers)]
        self.dtype = dtype
        self.lengths: Array | None = None
        """(batch,): valid steps of each case; None: all. A layer that begins new series replaces it for the layers
        above in its forward pass, and restores it in its backward pass."""
        self.memory: Memory | None = None
        """What layers read as a side input: the outputs of an encoder; None: there is none."""
        self.mask: Array | None = None
        """(batch, time), boolean: the steps that are not masked; None: all. Layers set it during the forward pass."""
        self.training = training
        self.packed: PackedWeights | None = None
        """Where inference keeps the packed weights of read-only parameters; None: they may change."""
        self.observe: Callable[[str, Array, Array | None], None] | None = None
        """Called by layers that can be quantized with the name of an input, its values and their lengths, before they
        compute, in inference."""
        self.n_threads = 1
        self.first_row = 0
        """Number of the first case in the batch of which this pass computes a part; random numbers are drawn by it."""
        self.recompute_every = 0
        """Number of steps whose gates an LSTM stores; backward recomputes the others in segments. 0: all steps."""
        self.want_d_state = False
        """Whether the backward pass computes `LayerCache.d_state_in`."""
        self.skipped: int | None = None
        """Index of the layer that the forward pass has left out."""
        self.out_shape: tuple[int, ...] = ()
        self.trainable = True
        """Whether layers may learn in this pass; False in a layer of layers that is not trainable."""
        self.taps: dict[str, Array] = {}
        """Data at each `Tap` of this pass, by its name."""
        self.d_taps: dict[str, Array | None] = {}
        """Gradient of the loss with respect to them, as far as the backward pass has come; None: zeros."""
        self.pending = False
        """Whether a forward pass of a custom training loop has not been followed by its backward pass yet."""
