"""Anomalies in series: how badly a network that was trained on normal data forecasts or reconstructs each step.

The score of a step t is the mean over the channels of the squared error, divided by that on held-out normal data::

    s[t] = mean over c of (x[t, c] - x'[t, c])^2 / e[c]

so that normal steps have a score of about 1; a channel whose value is missing (NaN) is left out of the mean. x and x'
are in units of the scaler; x' is

- "forecast": what was expected of step t after the steps before it. Nothing is expected of step 0, and not much of the
  next ones: at step 1 the error on the engine noise of FordA is 550 times that of later steps, at step 8 twice. Errors
  of a warm-up are therefore left out, from e as well;
- "reconstruction": the mean over all windows that contain step t of what an autoencoder returns for it, of whose code
  all that it knows about the window has to pass through (Malhotra et al. 2016, "LSTM-based encoder-decoder for
  multi-sensor anomaly detection").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from .. import _checks, _exact
from .._typing import Array
from ..data import Scaler, Standardizer
from ..data.scaler import Missing
from ..inference.stream import Stream
from ..layers import LSTM, Dense, Layer, RepeatVector
from ..model import Model

__all__ = [
    "METHODS",
    "Calibration",
    "Method",
    "StepScorer",
    "calibrated",
    "check_length",
    "detector_layers",
    "detector_scaler",
    "expected",
    "known_mean",
    "normal_parts",
    "plan",
    "scaled_targets",
    "series_scores",
    "step_errors",
    "step_scores",
    "window_pairs",
]

Method = Literal["forecast", "reconstruction"]
METHODS: tuple[Method, ...] = ("forecast", "reconstruction")
_WINDOW = 64


class Calibration(NamedTuple):
    """What scores of normal data are like."""

    normal_error: Array
    """(channels,): mean squared error in units of the scaler."""
    threshold: float
    """Quantile of the scores of the steps."""
    offset: float
    """Minus the quantile of the mean scores of the cases; minus `threshold` if there is one case."""


def plan(
    series: list[Array], method: Method, window: int | Literal["auto"], warmup: int | Literal["auto"]
) -> tuple[int, int]:
    """Return the steps of a window, and those of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If the shortest series is too short for them.
    """
    shortest = min(map(len, series))
    if shortest < 2:
        raise ValueError(
            f"a series has {shortest} step (n_features = 1 for an array of two axes), expected at least 2: leave "
            "such cases out"
        )
    if window == "auto":
        # Of a single series they leave enough for both parts and the gap between them.
        steps = min(_WINDOW, shortest if len(series) > 1 else max(2, shortest // 4))
    else:
        steps = _checks.count("window", window)
    if method == "reconstruction" and steps > shortest:
        raise ValueError(f"window is {steps}, and the shortest series has {shortest} steps: give a smaller window")
    if method == "reconstruction":
        return steps, 0
    first = max(1, steps // 8) if warmup == "auto" else _checks.count("warmup", warmup)
    if first >= shortest:
        raise ValueError(f"warmup is {first}, and the shortest series has {shortest} steps: give a smaller warmup")
    return steps, first


def detector_layers(
    method: Method, channels: int, window: int, hidden_size: int, num_layers: int, dropout: float
) -> list[Layer]:
    """Return the layers of a forecaster of the next step, or of an autoencoder of windows."""
    share = dropout if num_layers > 1 else 0.0
    if method == "forecast":
        lstm = LSTM(hidden_size, num_layers=num_layers, dropout=share, return_sequences=True)
        return [lstm, Dense(channels)]
    encoder = LSTM(hidden_size, num_layers=num_layers, dropout=share)
    decoder = LSTM(hidden_size, num_layers=num_layers, dropout=share, return_sequences=True)
    return [encoder, RepeatVector(window), decoder, Dense(channels)]


def detector_scaler(train: list[Array], everything: list[Array], missing: Missing) -> Scaler:
    """Return a scaler with the statistics of `train`.

    With ``missing="mask"`` each channel in which a value of `everything` is missing has a channel that tells of it: a
    sensor that fails now and then may have done so in the part that is held out alone.
    """
    scaler = Standardizer(missing=missing).fit(train)
    if missing == "mask":
        scaler.indicator_ = np.any([np.isnan(one).any(axis=0) for one in everything], axis=0)
    return scaler


def scaled_targets(scaler: Scaler, one: Array) -> Array:
    """Return a series (T, channels) in units of the scaler; missing values stay NaN."""
    scaled = scaler.scaled(one, "float64")[..., : one.shape[-1]]
    return np.where(np.isnan(one), np.nan, scaled) if scaler.added_channels else scaled


def known_mean(values: Array, axis: int) -> Array:
    """Return the mean over the values that are not NaN; NaN where there are none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = _exact.row_sums(np.moveaxis(np.where(known, values, 0.0), axis, -1))
        return np.asarray(sums / known.sum(axis=axis))


def normal_parts(
    series: list[Array], method: Method, fraction: float, window: int, warmup: int
) -> tuple[list[Array], list[Array] | None]:
    """Return the cases to train on and those to measure normal errors on.

    Of several cases the last ones are held out, at least one and not all; of a single one its last part, with the steps
    of a window left out before it. If it is too short for two parts that can be scored, nothing is held out, and the
    second part is None.
    """
    if len(series) > 1:
        held = min(max(1, round(len(series) * fraction)), len(series) - 1)
        return series[:-held], series[-held:]
    (one,) = series
    least = window if method == "reconstruction" else warmup + 1
    start = len(one) - max(least, round(len(one) * fraction))
    if start - window < least:
        return series, None
    return [one[: start - window]], [one[start:]]


def _cut(series: list[Array], window: int, hop: int) -> list[Array]:
    """Return windows of each series; the last one ends where the series ends. Shorter series are left as they are."""
    return [one[start : start + window] for one in series for start in _starts(len(one), window, hop)]


def _starts(steps: int, window: int, hop: int) -> list[int]:
    if steps <= window:
        return [0]
    return sorted({*range(0, steps - window + 1, hop), steps - window})


def window_pairs(method: Method, series: list[Array], window: int, scaler: Scaler) -> tuple[list[Array], list[Array]]:
    """Return inputs and targets of the windows that a network is trained on.

    The targets are in units of the scaler, NaN where the values are missing.
    """
    # The network must not learn at which phases the windows begin.
    windows = _cut(series, window, max(1, window // 2 if method == "forecast" else window // 8))
    if method == "forecast":
        kept = [one for one in windows if len(one) > 1]
        return [one[:-1] for one in kept], [scaled_targets(scaler, one[1:]) for one in kept]
    return windows, [scaled_targets(scaler, one) for one in windows]


def expected(model: Model, method: Method, series: list[Array], window: int, n_threads: int | None) -> Iterator[Array]:
    """Yield for each series what was expected of its steps, (T_i, channels) in units of the scaler; nan: nothing."""
    if method == "forecast":
        for one, out in zip(series, model.predict(series, n_threads=n_threads), strict=True):
            yield np.concatenate([np.full((1, one.shape[1]), np.nan), out[:-1]])
        return
    for one in series:
        starts = _starts(len(one), window, max(1, window // 2))
        windows = np.stack([one[start : start + window] for start in starts])
        found = np.asarray(model.predict(windows, n_threads=n_threads), np.float64).reshape(windows.shape)
        total, count = np.zeros(one.shape), np.zeros((len(one), 1))
        for start, part in zip(starts, found, strict=True):
            total[start : start + window] += part
            count[start : start + window] += 1
        yield total / count


def step_errors(
    model: Model, method: Method, series: list[Array], window: int, n_threads: int | None = None
) -> list[Array]:
    """Return the squared error of each step and channel of each series, (T_i, channels).

    It is NaN where nothing was expected, and where the value is missing.
    """
    assert model.scaler is not None
    answers = expected(model, method, series, window, n_threads)
    scaled = (scaled_targets(model.scaler, one) for one in series)
    return [np.square(one - answer) for one, answer in zip(scaled, answers, strict=True)]


def check_length(series: list[Array], method: Method, window: int, warmup: int) -> None:
    """Raise ValueError if a series is too short to be scored."""
    shortest = min(map(len, series))
    if method == "reconstruction" and shortest < window:
        raise ValueError(f"a series has {shortest} steps, expected at least the window of {window}")
    if shortest <= warmup:
        raise ValueError(
            f"a series has {shortest} steps, expected more than the warm-up of {warmup}, which is not scored: leave "
            "such series out"
        )


def step_scores(errors: Array, normal_error: Array) -> Array:
    """Return the scores of steps, (T,), of their squared errors (T, channels)."""
    relative = known_mean(errors / normal_error, axis=1)
    return np.asarray(np.nan_to_num(relative, nan=0.0, posinf=np.finfo(np.float64).max))


class StepScorer:
    """Scores of the steps of one or more series as they arrive, those of `series_scores` to the bit.

    Parameters
    ----------
    stream : Stream
        Of a model that forecasts the next step.
    scaler : Scaler
        Of the model.
    warmup : int
    normal_error : array (channels,)
    """

    def __init__(self, stream: Stream, scaler: Scaler, warmup: int, normal_error: Array) -> None:
        self._stream, self._scaler = stream, scaler
        self._warmup, self._normal_error = warmup, normal_error
        self._expected: Array | None = None
        self._seen = 0

    def step(self, x: Array) -> Array:
        """Return the scores of the next step (batch, channels) of each series, (batch,); 0 in the warm-up.

        Raises
        ------
        TypeError, ValueError
            If the stream refuses x, which changes nothing.
        """
        answer = self._stream.step(x)
        scores = np.zeros(self._stream.batch_size)
        if self._expected is not None and self._seen >= self._warmup:
            errors = np.square(scaled_targets(self._scaler, x) - self._expected)
            scores = step_scores(errors, self._normal_error)
        self._expected = answer
        self._seen += 1
        return scores


def series_scores(
    model: Model,
    method: Method,
    series: list[Array],
    window: int,
    warmup: int,
    normal_error: Array,
    n_threads: int | None = None,
) -> list[Array]:
    """Return the scores of the steps of each series, each (T_i,), 0 in the warm-up."""
    start = np.zeros(warmup)
    errors = step_errors(model, method, series, window, n_threads)
    return [np.concatenate([start, step_scores(one[warmup:], normal_error)]) for one in errors]


def calibrated(
    model: Model,
    method: Method,
    held: list[Array],
    window: int,
    warmup: int,
    quantile: float,
    n_threads: int | None = None,
) -> Calibration:
    """Return what the scores of normal data are like that were held out."""
    errors = [one[warmup:] for one in step_errors(model, method, held, window, n_threads)]
    mean = known_mean(np.concatenate(errors), axis=0)
    # A channel that is forecast perfectly must not be divided by. One of which nothing was known has the error of a
    # forecast by the mean, 1.
    normal = np.where(np.isnan(mean), 1.0, np.maximum(mean, 1e-12))
    scores = [step_scores(one, normal) for one in errors]
    threshold = float(np.quantile(np.concatenate(scores), quantile))
    if len(scores) == 1:
        return Calibration(normal, threshold, -threshold)
    return Calibration(normal, threshold, float(np.quantile([-_exact.mean(one) for one in scores], 1 - quantile)))
