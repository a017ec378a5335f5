"""Forecasts while readings arrive: one step of the encoder, and the head, for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from .._arrays import as_numeric
from .._checks import short_repr
from .._typing import Array
from .axis import TimeAxis
from .engine import Engine
from .memory import Memory
from .series import LARGEST

__all__ = ["ForecastStream"]

_ZONE = re.compile(r":\d\d(?:\.\d+)?\s*(?:Z|[+-]\d\d(?::?\d\d)?)$")
"""Offset from UTC at the end of a time in text."""
_AHEAD = 2048
"""Number of steps for which the calendar is computed at a time."""


class ForecastStream:
    """Forecasts of series whose readings arrive one by one; made by `Forecaster.stream`.

    Each step continues from the states after the training data, or after `Forecaster.update`, and returns the bits that
    `Forecaster.predict` gives for the whole past. Arrays are allocated once. One thread at a time may use a stream.

    Attributes
    ----------
    ids : list
        The series, in the order of all arrays.
    quantiles : tuple of float
        Levels of the answers.
    next_time : datetime64 or int
        Time of the next reading, in UTC.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> y = np.sin(np.arange(400) / 5)
    >>> forecaster = fl.Forecaster(horizon=3, hidden_size=8, epochs=1, random_state=0, verbose=0)
    >>> stream = forecaster.fit({"ds": np.arange(400), "y": y}).stream()
    >>> stream.step(400, 0.9).shape  # steps of the horizon, quantiles
    (3, 7)
    """

    def __init__(self, engine: Engine, axis: TimeAxis, memories: Sequence[Memory], n_user: int) -> None:
        layout, network = engine.layout, engine.network
        self._engine, self._axis, self._layout = engine, axis, layout
        self.ids = [one.id for one in memories]
        self.quantiles = engine.settings.quantiles
        batch, width = len(memories), network.widths
        self._encoder = network.encoder.stream(batch)
        self._common = network.common.stream(batch)
        self._local = network.local.stream(batch * width.horizon)
        if memories[0].states:
            pairs = zip(*(one.states for one in memories), strict=True)
            self._encoder.state = [
                (np.concatenate([h for h, _ in layer], axis=1), np.concatenate([c for _, c in layer], axis=1))
                for layer in pairs
            ]
        dtype = network.encoder.dtype
        self._n_user = n_user
        self._center = np.array([[one.scale.center] for one in memories])
        self._scale = np.array([[one.scale.scale] for one in memories])
        self._last = np.array([one.last for one in memories])
        self._x = np.zeros((batch, layout.n_inputs), dtype)
        self._context = np.zeros((batch, network.context_size), dtype)
        self._ahead = np.zeros((batch, width.horizon, layout.n_ahead), dtype)
        self._local_in = np.zeros((batch, width.horizon, network.local.input_size or 0), dtype)
        self._out = np.empty((batch, network.encoder.output_size), dtype)
        self._contexts = np.empty((batch, network.common.output_size), dtype)
        self._answers = np.empty((batch * width.horizon, network.local.output_size), dtype)
        self._set_static(memories)
        self._set_tail(memories)
        self._time = axis.as_numbers(np.atleast_1d(memories[0].end))[0]
        self._set_calendar()

    # ------------------------------------------------------------------------------------ arrays

    def _set_static(self, memories: Sequence[Memory]) -> None:
        center, scale = self._layout.scales.static
        if len(center):
            at = self._x.shape[1] - len(self._layout.hist_flags) - len(center)
            scaled = (np.stack([one.static for one in memories]) - center) / scale
            self._x[:, at : at + len(center)] = np.where(np.isnan(scaled), 0.0, scaled)

    def _set_tail(self, memories: Sequence[Memory]) -> None:
        """Set the last values in units of the network, which the head reads; NaN where there are none."""
        size = self._layout.memory
        self._tail = np.full((len(memories), size + _AHEAD), np.nan)
        for row, one in enumerate(memories):
            read = one.tail[-size:]
            self._tail[row, size - len(read) : size] = (read - one.scale.center) / one.scale.scale
        self._at = size
        ahead = self._layout.gap + np.arange(self._layout.horizon)
        self._lag_places = ahead[:, None] - self._layout.lags
        self._base_places = ahead - self._layout.base_lags

    def _set_calendar(self) -> None:
        """Compute the times of the next steps and what the calendar says of them."""
        reach = self._layout.gap + self._layout.horizon
        times = self._axis.steps(self._axis.as_times(np.array([self._time]))[0], _AHEAD + reach)
        self._times = self._axis.as_numbers(times)
        self._local_times = self._axis.as_numbers(self._axis.local(times))
        center, scale = self._layout.scales.futr
        features = self._axis.features(times)
        self._calendar = (features - center[self._n_user :]) / scale[self._n_user :]
        self._place = 0

    @property
    def next_time(self) -> Any:
        """Time of the next reading, in UTC."""
        return self._axis.as_times(self._times[self._place : self._place + 1])[0]

    def next_times(self, n: int) -> tuple[Array, Array]:
        """Return the next n times of the grid, in UTC, and what the local clock shows."""
        times = self._axis.steps(self._axis.as_times(np.array([self._time]))[0], n)
        return times, self._axis.local(times)

    def check_zone(self, time: Any) -> None:
        """Raise ValueError for a time that has a zone if the training data have times without one."""
        if self._axis.zone is None and not self._axis.counted:
            raise ValueError(
                f"time is {time}, which has a zone, the training data have times without one: pass the time of their "
                "clock, or give time_zone=... and fit again"
            )

    @property
    def n_ahead(self) -> int:
        """Number of steps from the one after a reading to the end of the horizon."""
        return self._layout.gap + self._layout.horizon

    # ------------------------------------------------------------------------------------ steps

    def step(self, time: Any, y: Any, *, hist: Any = None, futr: Any = None, future: Any = None) -> Array:
        """Read the values of one time, return the forecasts from it.

        Parameters
        ----------
        time : datetime64, Timestamp, str or int
            The next time of the grid, of the local clock unless it has a zone; None: the next one. If it is later,
            the values between are missing ones, which ``missing="error"`` refuses.
        y : float, or array (series,)
            NaN: missing.
        hist : array (n_hist,) or (series, n_hist), optional
            Values of the columns `hist_exog`.
        futr : array (n_futr,) or (series, n_futr), optional
            Values of the columns `futr_exog` at this time.
        future : array (gap + horizon, n_futr) or (series, gap + horizon, n_futr), optional
            Their values at the following steps.

        Returns
        -------
        ndarray (horizon, quantiles), or (series, horizon, quantiles) if the stream has several, float64
            A new array.

        Raises
        ------
        TypeError, ValueError
            If the time is not one of the grid or was read before, or columns are missing. The state has not changed.
        """
        batch, layout = len(self.ids), self._layout
        values = self._given("y", y, (batch,))
        past = self._given("hist", hist, (batch, len(layout.scales.hist[0])))
        known = self._given("futr", futr, (batch, self._n_user))
        following = self._given("future", future, (batch, layout.gap + layout.horizon, self._n_user))
        if np.isnan(following).any():
            raise ValueError("future holds NaN, expected the values of each step: they are known in advance")
        if (np.abs(values - self._center[:, 0]) > LARGEST * self._scale[:, 0]).any():
            raise ValueError(
                f"y holds {values.tolist()}, expected numbers within {LARGEST:g} times the scale of the past"
            )
        between = self._steps_to(time)
        if self._engine.settings.missing == "error":
            if np.isnan(values).any():
                raise ValueError("y holds NaN, expected a value: missing='mask' reads gaps")
            if between:
                raise ValueError(
                    f"time is {time}, {between} steps after the next one, {self._shown_time()}, expected no gap: give "
                    "these steps first; missing='mask' reads gaps"
                )
        for _ in range(between):
            nothing = np.full(batch, np.nan)
            self._read(nothing, np.full(past.shape, np.nan), np.full(known.shape, np.nan))
        self._read(values, past, known)
        answers = self._answer(following)
        return answers if batch > 1 else answers[0]

    def _given(self, name: str, value: Any, shape: tuple[int, ...]) -> Array:
        """Return an argument as float64 of a shape, whose first axis may be missing if there is one series."""
        if value is None:
            if name == "y":
                raise TypeError("y is None, expected a number, or NaN where there is none")
            if shape[-1]:
                raise ValueError(f"{name} is missing, expected an array {shape}: the network reads these columns")
            return np.zeros(shape)
        array = np.asarray(as_numeric(value, False, name), np.float64)
        if shape[0] == 1 and array.shape in (shape[1:], ()):
            array = array.reshape(shape) if array.size == int(np.prod(shape)) else array
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        if np.isinf(array).any():
            raise ValueError(f"{name} holds {short_repr(array.tolist())}, expected numbers, or NaN where there is none")
        return array

    def _steps_to(self, time: Any) -> int:
        """Return the number of steps that lie between the last time and a later one."""
        if time is None:
            return 0
        times = self._times
        if self._axis.counted:
            if not isinstance(time, (int, np.integer)):
                raise TypeError(f"time must be a whole number such as {self.next_time}, got {short_repr(time)}")
            number = int(time)
        else:
            number, has_zone = _nanoseconds(time)
            if has_zone:
                self.check_zone(time)
            else:
                times = self._local_times
        if times[self._place] == number:
            return 0
        later = np.flatnonzero(times[self._place : _AHEAD] == number)
        if not len(later):
            raise ValueError(
                f"time is {time}, expected the next one, {self._shown_time(times)}, or one of the "
                f"{_AHEAD - self._place} steps after it: a time can be read once, in order, and must lie on the grid"
            )
        return int(later[0])

    def _shown_time(self, times: Array | None = None) -> Any:
        """Return the next of some times, by default of those of the local clock, for a message."""
        return self._axis.as_times(self._local_times if times is None else times)[self._place]

    def _read(self, y: Array, hist: Array, futr: Array) -> None:
        """Let the encoder read one time."""
        x, layout = self._x, self._layout
        missing = np.isnan(y)
        self._last = np.where(missing, self._last, y)
        scaled = (self._last - self._center[:, 0]) / self._scale[:, 0]
        x[:, 0] = np.where(np.isnan(scaled), 0.0, scaled)
        x[:, 1] = missing
        self._remember(y)
        at = 2 + len(layout.next_lags)
        if at > 2:
            layout.write_next(self._tail[:, self._at - 1 - layout.next_lags], x)
        n_hist, n_futr = len(layout.scales.hist[0]), len(layout.scales.futr[0])
        if n_hist:
            center, scale = layout.scales.hist
            values = (hist - center) / scale
            x[:, at : at + n_hist] = np.where(np.isnan(values), 0.0, values)
            at += n_hist
        if self._n_user:
            center, scale = (one[: self._n_user] for one in layout.scales.futr)
            values = (futr - center) / scale
            x[:, at : at + self._n_user] = np.where(np.isnan(values), 0.0, values)
        x[:, at + self._n_user : at + n_futr] = self._calendar[self._place]
        if layout.hist_flags:
            x[:, x.shape[1] - len(layout.hist_flags) :] = np.isnan(hist[:, layout.hist_flags])
        self._encoder.step(x, out=self._out)
        self._time = self._times[self._place]
        self._place += 1
        if self._place == _AHEAD:
            self._set_calendar()

    def _remember(self, y: Array) -> None:
        size = self._layout.memory
        if self._at == self._tail.shape[1]:
            self._tail[:, :size] = self._tail[:, self._at - size :].copy()
            self._at = size
        self._tail[:, self._at] = (y - self._center[:, 0]) / self._scale[:, 0]
        self._at += 1

    def _answer(self, following: Array) -> Array:
        """Return the quantiles after the last time that was read."""
        width, engine = self._engine.network.widths, self._engine
        batch, hidden = len(self.ids), self._out.shape[1]
        self._context[:, :hidden] = self._out
        self._context[:, hidden:] = self._x
        self._common.step(self._context, out=self._contexts)
        per_step = width.horizon * width.per_step
        x = self._local_in
        x[:, :, : width.per_step] = self._contexts[:, :per_step].reshape(batch, width.horizon, width.per_step)
        at = width.per_step + width.common
        x[:, :, width.per_step : at] = self._contexts[:, None, per_step:]
        base = self._base()
        self._write_ahead(x[:, :, at:], following, base)
        self._local.step(x.reshape(-1, x.shape[2]), out=self._answers)
        raw = self._answers.reshape(batch, width.horizon, -1)
        answers = engine.network.gated(raw, x[:, :, at:])[0]
        if engine.network.direct:
            answers = answers + x[:, :, :1]
        answers = answers.astype(np.float64)
        answers += base[:, :, None]
        answers.sort(axis=-1)
        if engine.corrections is not None:
            answers = engine.corrections.apply(answers)
        values: Array = answers * self._scale[:, :, None] + self._center[:, :, None]
        if engine.settings.bounds is not None:
            np.clip(values, *engine.settings.bounds, out=values)
        return values

    def _write_ahead(self, out: Array, following: Array, base: Array) -> None:
        """Write the inputs of the steps of the horizon."""
        layout = self._layout
        n_futr = len(layout.scales.futr[0])
        if self._n_user:
            center, scale = (one[: self._n_user] for one in layout.scales.futr)
            out[:, :, : self._n_user] = (following[:, layout.gap :] - center) / scale
        start = self._place + layout.gap
        out[:, :, self._n_user : n_futr] = self._calendar[start : start + layout.horizon]
        values = self._tail[:, self._at + self._lag_places]
        layout.write_earlier(values, self._last_scaled(), base, out[:, :, n_futr:])

    def _last_scaled(self) -> Array:
        """Return the naive forecast in units of the network, (series, 1)."""
        last = (self._last - self._center[:, 0]) / self._scale[:, 0]
        return np.where(np.isnan(last), 0.0, last)[:, None]

    def _base(self) -> Array:
        """Return what the forecasts are relative to, in units of the network."""
        layout = self._layout
        if layout.residual_of is None:
            return np.zeros((len(self.ids), 1))
        last = self._last_scaled()
        if layout.residual_of == "naive":
            return last
        base = np.full((len(self.ids), layout.horizon), np.nan)
        for back in layout.fallbacks:
            base = np.where(np.isnan(base), self._tail[:, self._at + self._base_places - back], base)
        return np.where(np.isnan(base), last, base)


def _nanoseconds(time: Any) -> tuple[int, bool]:
    """Return a time in ns since 1970, and whether it has a zone: then in UTC, else of the local clock."""
    if isinstance(time, (int, float, np.number)):
        raise TypeError(f"time must be a time such as '2026-01-01 00:15', got {short_repr(time)}")
    stamp, moment = np.datetime64("NaT"), time
    try:
        if isinstance(moment, str) and _ZONE.search(moment):
            moment = datetime.fromisoformat(moment.strip().replace("Z", "+00:00"))
        has_zone = getattr(moment, "tzinfo", None) is not None
        if has_zone:
            moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
        stamp = np.datetime64(moment, "ns")
    except (TypeError, ValueError, OverflowError):
        pass
    if np.isnat(stamp):
        raise ValueError(f"time must be a time such as '2026-01-01 00:15', got {short_repr(time)}")
    return int(stamp.astype(np.int64)), has_zone
