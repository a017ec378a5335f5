"""States that `Model.predict` carries from one call to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._typing import Array, State
from ..layers import Layer
from ..protocols import InferenceModel

__all__ = ["Carried", "require_states_suffice"]


class Carried:
    """The states of all cases before the steps of a call, and after them.

    Parameters
    ----------
    model : InferenceModel
    state : (h, c), list of (h, c), or None
        As users pass them; None: the states with which series begin.
    cases : int
        Number of cases of the call.

    Raises
    ------
    TypeError, ValueError
        If states do not fit the model, or the model remembers more of a series than these states.
    """

    def __init__(self, model: InferenceModel, state: State | Sequence[State] | None, cases: int) -> None:
        self._network = network = model.network
        require_states_suffice(model)
        self._before = network.checked_states(state, cases)
        shapes = [shape for layer in network.layers if (shape := layer.state_shapes(cases)) is not None]
        self.states: list[State] = [(np.zeros(h, network.dtype), np.zeros(c, network.dtype)) for h, c in shapes]
        """The states after the steps, (num_layers, cases, size) each; complete when all batches have been computed."""

    def before(self, numbers: Array) -> list[State | None]:
        """Return the states of some cases before the steps."""
        return [
            None if one is None else (one[0].take(numbers, axis=1), one[1].take(numbers, axis=1))
            for one in self._before
        ]

    def finish(self, numbers: Array) -> None:
        """Take the states at the end of this thread's last pass as those of some cases."""
        for (h, c), (final_h, final_c) in zip(self.states, self._network.final_states(False), strict=True):
            h[:, numbers], c[:, numbers] = final_h, final_c


def require_states_suffice(model: InferenceModel) -> None:
    """Raise ValueError unless the states of the LSTM layers are all that a model remembers of the steps so far."""
    scaler = model.scaler
    if scaler is not None and scaler.per_series:
        raise ValueError(
            "the model's scaler scales each series as a whole (per_series=True), so that a series cannot be "
            "continued from a state: train a model with fl.Standardizer()"
        )
    if model.network.chains.get("states suffice"):
        return  # of the same layers, whose stages take long to make
    for index, layer in enumerate(model.network.layers):
        obstacle = layer.segment_obstacle()
        if obstacle:
            raise ValueError(f"series cannot be continued from a state: layer {index} {obstacle}")
        if layer.masks_steps:
            raise ValueError(
                f"layer {index}, {layer!r}, masks steps, whose outputs repeat those of the call before, which a state "
                "does not hold: use model.stream() and its save_state()"
            )
        if layer.state_shapes(1) is None and _has_states(layer):
            raise ValueError(
                f"layer {index}, {layer!r}, remembers all steps of a series, which the states of the LSTM layers do "
                "not hold: use model.stream() and its save_state()"
            )
    model.network.chains["states suffice"] = True


def _has_states(layer: Layer) -> bool:
    try:
        return any(stage.states for stage in layer.stages())
    except TypeError:
        return False  # a user's layer, which computes each step by itself unless it says otherwise
