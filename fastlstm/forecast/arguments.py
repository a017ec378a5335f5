"""From the arguments of `Forecaster` and the time axis of the data to the settings of an engine."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from .. import _checks
from .._checks import MANY, as_list, short_repr
from ..layers import Layer
from ..runtime.config import resolve_threads
from .axis import TimeAxis
from .settings import Settings

__all__ = ["Steps", "check_arguments", "draw_seed", "settings_for"]

_DAY = 86_400_000_000_000


class Steps(NamedTuple):
    """Horizon and gap in steps."""

    horizon: int
    """The most that the horizon can have: a day with 25 hours has more steps than others."""
    gap: int


def check_arguments(given: Any) -> None:
    """Raise TypeError or ValueError if an argument that needs no data is wrong; `given` is a `Forecaster`."""
    if not isinstance(given.horizon, str):
        _checks.count("horizon", given.horizon)
    if not isinstance(given.gap, str):
        _checks.count("gap", given.gap, least=0)
    for name in ("context", "season_length", "batch_size", "epochs"):
        if getattr(given, name) != "auto":
            _checks.count(name, getattr(given, name))
    if given.residual_of is not None:
        _checks.one_of("residual_of", given.residual_of, ("auto", "naive", "seasonal_naive"))
    if given.scaler is not None:
        _checks.one_of("scaler", given.scaler, ("standard", "robust"))
    _checks.one_of("missing", given.missing, ("mask", "error"))
    _checks.one_of("precision", given.precision, ("float32", "bfloat16"))
    _checks.as_bool("conformal", given.conformal)
    _checks.as_bool("learn_validation", given.learn_validation)
    levels_of(given.quantiles)
    _bounds(given.bounds)
    share = _checks.real("min_observed", given.min_observed)
    if not 0 <= share <= 1:
        raise ValueError(f"min_observed must be a share from 0 to 1, got {short_repr(given.min_observed)}")
    for name in ("hidden_size", "num_layers"):
        _checks.count(name, getattr(given, name))
    _checks.below_one("dropout", given.dropout)
    _checks.below_one("validation", given.validation)
    _checks.positive("learning_rate", given.learning_rate)
    _checks.non_negative("weight_decay", given.weight_decay)
    if given.patience is not None:
        _checks.count("patience", given.patience)
    if given.n_jobs is not None:
        _checks.count("n_jobs", given.n_jobs)
    if given.verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 0, 1 or 2, got {short_repr(given.verbose)}")
    _layers(given.layers)
    draw_seed(given.random_state)


def levels_of(quantiles: Any) -> tuple[float, ...]:
    """Return the levels of quantiles in rising order, checked."""
    levels = [_checks.inside_unit("each of quantiles", one) for one in as_list("quantiles", quantiles, "levels")]
    if not levels or levels != sorted(set(levels)):
        raise ValueError(f"quantiles must be levels in rising order such as (0.05, 0.5, 0.95), got {levels}")
    if not levels[0] <= 0.5 <= levels[-1]:
        raise ValueError(f"quantiles must reach to both sides of 0.5, the median, which is the forecast, got {levels}")
    return tuple(levels)


def draw_seed(random_state: Any) -> int:
    """Return a seed: the integer that is given, a number of a generator, or one that is drawn for None."""
    if random_state is None:
        return int.from_bytes(os.urandom(4), "little") >> 1
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return _checks.count("random_state", random_state, least=0, bits=MANY)


def steps_of(given: Any, axis: TimeAxis, end: Any) -> Steps:
    """Return horizon and gap in steps of the axis."""
    least, most = axis.horizon_bounds(given.gap, end, "gap")
    if least != most:
        raise ValueError(
            f"gap={given.gap!r} has from {least} to {most} steps, since the clock changes, expected one number: pass "
            f"the steps, gap={(least + most) // 2}, or a number of hours"
        )
    horizon = axis.horizon_bounds(given.horizon, end)[1]
    if horizon < 1:
        raise ValueError(f"horizon must have at least one step, got {given.horizon!r}")
    return Steps(horizon, least)


def season_of(given: Any, axis: TimeAxis, rows: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return the season in steps, and the earlier seasons that the network reads, for series of this many rows."""
    usual = _seasons(axis)
    if given.season_length != "auto":
        season = int(given.season_length)
        longer = tuple(one for one in usual if one[0] > season)
        return season, (((season, 3), *longer) if season > 1 else longer)
    if not usual or rows < 2 * usual[0][0]:
        return 1, ()
    return usual[0][0], usual


def _seasons(axis: TimeAxis) -> tuple[tuple[int, int], ...]:
    """Return the seasons that a time grid suggests, in steps, each with the number of them that are read."""
    if axis.counted:
        return ()
    step = axis.grid.length
    if step < _DAY:
        day = _DAY // step
        return () if _DAY % step else ((day, 7), (7 * day, 3))
    for length, season in ((_DAY, 7), (7 * _DAY, 52), (31 * _DAY, 12), (92 * _DAY, 4)):
        if step <= length:
            return ((season, 3),)
    return ()


def settings_for(given: Any, axis: TimeAxis, end: Any, rows: int, seed: int) -> Settings:
    """Return the settings for data on an axis that end at a time; the longest series has this many rows."""
    steps = steps_of(given, axis, end)
    season, seasons = season_of(given, axis, rows)
    return Settings(
        horizon=steps.horizon,
        gap=steps.gap,
        context=given.context,
        season=season,
        seasons=seasons,
        residual_of=given.residual_of,
        quantiles=levels_of(given.quantiles),
        conformal=bool(given.conformal),
        bounds=_bounds(given.bounds),
        missing=given.missing,
        min_observed=float(given.min_observed),
        scaler=given.scaler,
        hidden_size=given.hidden_size,
        num_layers=given.num_layers,
        dropout=float(given.dropout),
        layers=_layers(given.layers),
        precision=given.precision,
        learning_rate=float(given.learning_rate),
        weight_decay=float(given.weight_decay),
        batch_size=given.batch_size,
        epochs=given.epochs,
        patience=given.patience,
        validation=float(given.validation),
        learn_validation=bool(given.learn_validation),
        seed=seed,
        n_threads=None if given.n_jobs is None else resolve_threads(given.n_jobs),
        verbose=int(given.verbose),
    )


def _bounds(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    pair = as_list("bounds", given, "two numbers, the least and the greatest value")
    if len(pair) != 2:
        raise ValueError(f"bounds must be two numbers, the least and the greatest value, got {short_repr(given)}")
    low, high = (
        default if one is None else _checks.real("each of bounds", one)
        for one, default in zip(pair, (-np.inf, np.inf), strict=True)
    )
    if not low < high:
        raise ValueError(f"bounds must be (least, greatest), got {short_repr(given)}")
    return low, high


def _layers(given: Any) -> tuple[Layer, ...] | None:
    if given is None:
        return None
    layers = as_list("layers", given, "layers such as [fl.LSTM(64, return_sequences=True)]")
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(
                f"layers must be a list of layers such as [fl.LSTM(64, return_sequences=True)], got {short_repr(layer)}"
            )
    if not layers:
        raise ValueError("layers must hold at least one layer, got none")
    return tuple(layers)
