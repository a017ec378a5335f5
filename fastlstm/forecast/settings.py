"""Settings of a forecaster of panels, checked, and what follows from them for the training."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..layers import Layer
from .layout import ResidualOf
from .panel import Panel
from .series import ScalerName
from .training import Plan

__all__ = ["Settings"]

_UPDATES = 2500
"""Number of updates for which ``epochs="auto"`` is enough."""
_NEAR = 1.0
"""Power of the weights of the horizon's steps: the first steps, which can be forecast best, would else count little."""
_PER_EPOCH = 64
"""Number of updates of an epoch at which ``batch_size="auto"`` aims."""

_LAST_EPOCHS = 0.25
"""Number of epochs on all origins after the best one is known, relative to that of the epochs before."""
_LAST_RATE = 1 / 3
"""Learning rate with which they begin, relative to that of the epochs before."""


@dataclass(frozen=True)
class Settings:
    """Settings of an `Engine`. Those that `Forecaster` has too mean the same there."""

    horizon: int
    gap: int = 0
    context: int | Literal["auto"] = "auto"
    season: int = 1
    """Number of steps of the seasonal naive forecast."""
    seasons: tuple[tuple[int, int], ...] = ()
    """Pairs (steps, n): earlier seasons that each step of the horizon reads, if the series are long enough."""
    residual_of: ResidualOf | None = "auto"
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    conformal: bool = True
    bounds: tuple[float, float] | None = None
    missing: Literal["mask", "error"] = "mask"
    min_observed: float = 0.5
    scaler: ScalerName | None = "standard"
    hidden_size: int = 96
    num_layers: int = 1
    dropout: float = 0.3
    layers: tuple[Layer, ...] | None = None
    precision: str = "float32"
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    batch_size: int | Literal["auto"] = "auto"
    epochs: int | Literal["auto"] = "auto"
    patience: int | None = None
    validation: float = 0.15
    learn_validation: bool = True
    seed: int = 0
    n_threads: int | None = None
    verbose: int = 0
    step_context: int = 16
    common_context: int = 32
    local_units: int = 64

    def seasons_for(self, rows: int) -> tuple[tuple[int, int], ...]:
        """Return the earlier seasons that fit twice into series of this many rows."""
        fitting = []
        for season, count in self.seasons:
            behind = -(-(self.gap + self.horizon) // season) * season
            most = min(count, (rows // 2 - behind) // season + 1)
            if most > 0:
                fitting.append((season, most))
        return tuple(fitting)

    def context_for(self, rows: Sequence[int]) -> int:
        """Return the number of steps before the first forecast of a series, for series of these numbers of rows."""
        if self.context != "auto":
            return self.context
        return int(min(np.clip(self.season, 16, 192), max(1, np.median(np.asarray(rows)) // 4)))

    @property
    def warm_up(self) -> int:
        """Number of steps before the validation part with which its measurement after each epoch begins."""
        return 2048

    def plan(self, origins: int, context: int, cost: float) -> Plan:
        """Return how to train on this many origins.

        `cost` is that of the head for one origin, in units of that of a step of the encoder.
        """
        chunk = int(np.clip(context, 32, 96))
        batch = self.batch_size
        if batch == "auto":
            batch = int(np.clip(round(origins / (chunk * _PER_EPOCH)), 1, 64))
        lane = min(max(-(-origins // batch), chunk), 4096)
        per_epoch = max(1, origins // (batch * chunk))
        epochs = self.epochs
        if epochs == "auto":
            epochs = int(np.clip(-(-_UPDATES // per_epoch), 10, 200))
        return Plan(
            epochs=epochs,
            patience=self.patience,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            clip_norm=1.0,
            batch=batch,
            lane=lane,
            chunk=chunk,
            every=int(np.clip(round(cost / 2), 1, 8)),
            context=context,
            min_observed=self.min_observed,
            near=_NEAR,
            seed=self.seed,
            last_epochs=max(1, round(_LAST_EPOCHS * epochs)) if self.learn_validation and self.validation else 0,
            last_rate=self.learning_rate * _LAST_RATE,
        )

    def check_panel(self, panel: Panel, training: bool = True, known: Container[Any] = ()) -> None:
        """Raise ValueError if a series cannot be read.

        The series with an id in `known` go on from earlier rows: no row of these has to be observed.
        """
        if not len(panel):
            raise ValueError("there is no series, expected at least one")
        for one in panel.series:
            missing = np.isnan(one.y)
            if not len(one) or (missing.all() and one.id not in known):
                raise ValueError(f"the series {one.id!r} has no observed value, expected at least one")
            if np.isinf(one.y).any():
                row = int(np.flatnonzero(np.isinf(one.y))[0])
                raise ValueError(f"the series {one.id!r} holds {one.y[row]} at {one.times[row]}, expected a number")
            if self.missing == "error" and missing.any():
                row = int(np.flatnonzero(missing)[0])
                raise ValueError(
                    f"the series {one.id!r} has no value at {one.times[row]}, expected one: missing='mask' reads gaps"
                )
            if self.bounds is not None and training:
                low, high = self.bounds
                bad = np.flatnonzero((one.y < low) | (one.y > high))
                if len(bad):
                    raise ValueError(
                        f"the series {one.id!r} holds {one.y[bad[0]]} at {one.times[bad[0]]}, outside the bounds "
                        f"{self.bounds}: check the data or the bounds"
                    )
