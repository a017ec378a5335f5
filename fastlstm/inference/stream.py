"""Streams: inference step by step, or block by block, while the data arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import _core
from .._arrays import as_array, as_numeric
from .._checks import count
from .._typing import Array, State
from ..data.sequences import missing_cure
from ..layers import Stage, checked_states
from ..protocols import InferenceModel
from ..runtime.config import resolve_threads
from .inputs import input_features
from .stream_stages import stream_stages, with_scalers

__all__ = ["Stream"]


def _copied(stage: Stage) -> Stage:
    """Return a stage with copies of its arrays."""
    weights = {name: array.copy() for name, array in stage.weights.items()}
    states = [one if one.initial is None else one._replace(initial=one.initial.copy()) for one in stage.states]
    return stage._replace(weights=weights, states=tuple(states))


class Stream(_core.Stream):
    """Inference that keeps the state of each series from call to call; made by `Model.stream`.

    Each `step` or `run` continues where the last one ended, and returns the same bits as the model for the whole series
    so far. The weights, packed once, and the scalers are those that the model had when the stream was made. If the
    model has a scaler, pass unscaled data. One thread at a time may use a stream.

    ``step(x, out=None)`` reads x (batch_size, features) and returns (batch_size, output_size); ``run(x, out=None)``
    reads a block (batch_size, steps, features) and returns (batch_size, steps, output_size). Token ids have no axis of
    features. The result is a new array, or ``out`` if given, a C-contiguous array of that shape that does not overlap
    x, of the model's dtype or, if the model has a target scaler, float64; with ``out`` a step allocates nothing.

    Attributes
    ----------
    batch_size : int
        Number of parallel series.
    state : list of (h, c)
        Copies of the states, one pair for each LSTM layer object, and for each pooling layer except `LastStep`. The
        attribute can be assigned. h and c of an LSTM are (num_layers, batch_size, hidden_size); with ``proj_size`` the
        last axis of h has this size. The pair of a pooling layer is its sums (1, batch_size, features) and its counts
        (1, batch_size, 3) so far, float64.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> stream = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3).stream(batch_size=4)
    >>> stream.step(np.zeros((4, 3))).shape
    (4, 2)
    >>> answer = np.empty((4, 2), np.float32)
    >>> stream.step(np.zeros((4, 3), np.float32), out=answer) is answer
    True
    """

    def __init__(self, model: InferenceModel, batch_size: int = 1, n_threads: int | None = None) -> None:
        network = model.network
        layers = stream_stages(model)
        self.batch_size = count("batch_size", batch_size, bits=31)
        pairs = (sum(bool(stage.states) for stage in stages) for stages in layers)
        self._depths = [depth for depth in pairs if depth]
        if not network.parameters.frozen:  # frozen parameters never change, whatever becomes of the model
            layers = [[_copied(stage) for stage in stages] for stages in layers]
        features = self._features = input_features(model)
        self._feature_names = model.feature_names
        self._features_masked = model.scaler is not None and model.scaler.missing != "error"
        super().__init__(
            with_scalers(model, layers),
            features,
            self.batch_size,
            network.dtype,
            resolve_threads(n_threads),
        )

    def _refusal(self, x: Array, position: int) -> str:
        if not (self._features_masked and np.isnan(x.reshape(-1)[position])):
            return super()._refusal(x, position)
        steps = x.size // (self.batch_size * self._features)
        place, feature = divmod(position, self._features)
        case, step = divmod(place, steps)
        return (
            f"x holds nan at [series, step, feature] = [{case}, {step}, {feature}], expected finite numbers: "
            f"{missing_cure(feature, self._feature_names)}; the state has not changed"
        )

    def _numeric(self, x: npt.ArrayLike, dtype: str) -> Array:
        return as_numeric(x, dtype == "int64", "x")

    @property
    def state(self) -> list[State]:
        """Copies of the states, one pair for each layer that has one."""
        pairs = iter(self._states)
        result = []
        for depth in self._depths:
            layers = [next(pairs) for _ in range(depth)]
            result.append((np.stack([h for h, _ in layers]), np.stack([c for _, c in layers])))
        return result

    @state.setter
    def state(self, value: Sequence[State]) -> None:
        self._set_states(value)

    def _set_states(self, value: Sequence[State]) -> None:
        expected = [(h.shape, c.shape, h.dtype) for h, c in self.state]
        pairs = checked_states(value, expected, "layers with a state")
        new = [layer for pair in pairs for layer in zip(*pair, strict=True)]
        for (h, c), (new_h, new_c) in zip(self._states, new, strict=True):
            h[:], c[:] = new_h, new_c

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Begin new series: set the states to zero, or to what the layers have learnt (``learn_state``).

        Parameters
        ----------
        rows : int array or boolean mask, optional
            The series to reset; by default all.

        Raises
        ------
        ValueError
            If there is no such series. No state has changed.
        """
        if rows is None:
            self._reset(None)
            return
        chosen = as_array(rows, "rows")
        mask = chosen.dtype == bool and chosen.shape == (self.batch_size,)
        index = chosen.ndim < 2 and chosen.dtype.kind in "iu"
        index = index and bool(((chosen >= -self.batch_size) & (chosen < self.batch_size)).all())
        if chosen.ndim > 1 or not (mask or index or chosen.size == 0):
            raise ValueError(
                f"rows holds {chosen!r:.200}, expected numbers of series from 0 to {self.batch_size - 1}, or "
                f"{self.batch_size} booleans"
            )
        numbers = np.flatnonzero(chosen) if mask else chosen.reshape(-1).astype(np.int64) % self.batch_size
        self._reset(np.ascontiguousarray(numbers, np.int64))
