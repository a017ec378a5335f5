"""The forecaster of panels: what `Forecaster` does, without tables and times."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._typing import Array, State
from ..inference.quantizing import QuantizationReport
from ..layers import LSTM, Dropout, Layer, copied_layer
from ..metrics.forecasting import interval_pairs
from ..training.history import History
from ..training.prepare import require_separable
from ..training.reduce import Reduce
from ..training.run_state import environment
from .conformal import Corrections
from .layout import Layout
from .memory import Memory, memory_of, naive_error, ready_from
from .network import ForecastNetwork, Widths
from .panel import Panel, SeriesData
from .parts import Parts, split_parts
from .passes import Passed, answers_at, own_series, run_through
from .runs import Checkpoint, run, run_arguments
from .series import ColumnScales, ReadySeries, Scale, ready, scale_of
from .settings import Settings
from .shares import best_shares
from .training import Plan, Trainer, pinball_at

__all__ = ["Engine", "widths_of"]

_VALIDATION_ORIGINS = 1000
"""Number of origins at which the loss of an epoch is measured at most."""
_CONFORMAL_ORIGINS = 8000
_OF_THE_CALL = 5
"""Level of the stack, seen from a function that `Engine.fit` calls, at which a user calls `Forecaster.fit`."""
_CALIBRATION_ORIGINS = 2000
"""Number of origins at which the head of a network is asked, about at most, before its weights become integers."""


class Engine:
    """A network for panels, with all that was learnt at fit.

    Attributes
    ----------
    settings : Settings
    layout : Layout
    network : ForecastNetwork
    scales : dict
        Units of each series of the training data.
    corrections : Corrections or None
    memories : dict
        What each series has left behind, from which its forecast starts.
    trained_until : dict
        Time of the last row of each series of the training data, those of the validation part among them.
    coverage : dict
        Coverage of each interval on the conformal part, before and after the correction.
    history : History or None
        Losses of the last run; None after `load`.
    moments : dict or None
        State of the optimizer.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout: Layout
        self.network: ForecastNetwork
        self.scales: dict[Any, Scale] = {}
        self.corrections: Corrections | None = None
        self.memories: dict[Any, Memory] = {}
        self.history: History | None = None
        self.moments: dict[str, Any] | None = None
        self.trained_until: dict[Any, Any] = {}
        self.coverage: dict[str, Any] = {}

    # ------------------------------------------------------------------------------------ fit

    def fit(self, panel: Panel, checkpoint: Checkpoint | None = None, reduce: Reduce | None = None) -> None:
        """Train on a panel: scales, weights, conformal corrections, and the state at the end of each series.

        The processes of `reduce`, all of which have the whole panel, share out the lanes of each batch, and the series
        of each pass without training.
        """
        settings = self.settings
        reduce = Reduce(1) if reduce is None else reduce
        settings.check_panel(panel)
        parts = split_parts(panel, settings)
        self.scales = {
            one.id: scale_of(one.y[:stop] if stop else one.y, settings.scaler)
            for one, stop in zip(panel.series, parts.training_stops, strict=True)
        }
        self.layout = self._new_layout(panel, parts)
        series = [ready(one, self.scales[one.id]) for one in panel.series]
        self.network = self._new_network()
        if reduce.shards > 1:
            require_separable(reduce.shards, [(f"layer {k}", one) for k, one in enumerate(self.network.encoder.layers)])
        if self.layout.gate is not None:
            self.network.shares[:] = best_shares(self.layout, series, parts.training)
        trainer = self._new_trainer(series, parts, reduce)
        _warn_of_idle(trainer)
        in_common = None
        if not reduce.alone:
            given = run_arguments(settings, panel, reduce.shards) if checkpoint is None else checkpoint.arguments
            in_common = _in_common(given)
        run(trainer, settings.verbose, checkpoint, in_common)
        self.history, self.moments = trainer.history, trainer.optimizer.state_dict()
        self.trained_until = {one.id: one.times[-1] for one in panel.series}
        trainer.restore_best()
        if settings.conformal:
            self._correct(series, parts, reduce)
        trainer.restore_last()
        self._pass_to_end(series, reduce)

    def _new_layout(self, panel: Panel, parts: Parts) -> Layout:
        settings = self.settings
        hist_flags = tuple(
            column
            for column in range(len(panel.hist_names))
            if any(np.isnan(one.hist[:, column]).any() for one in panel.series)
        )
        longest = max(parts.training_stops)
        return Layout(
            horizon=settings.horizon,
            gap=settings.gap,
            seasons=settings.seasons_for(longest),
            hist_flags=hist_flags,
            residual_of=settings.residual_of,
            season=settings.season,
            scales=ColumnScales.of(panel, parts.training_stops),
        )

    def _new_network(self) -> ForecastNetwork:
        settings, layout = self.settings, self.layout
        layers: list[Layer]
        if settings.layers is not None:
            layers = [copied_layer(layer) for layer in settings.layers]
        else:
            between = settings.dropout if settings.num_layers > 1 else 0.0
            layers = [
                LSTM(settings.hidden_size, num_layers=settings.num_layers, dropout=between, return_sequences=True)
            ]
            if settings.dropout:
                layers.append(Dropout(settings.dropout))
        return ForecastNetwork(layers, widths_of(settings, layout), settings.seed, settings.precision)

    def _new_trainer(self, series: list[ReadySeries], parts: Parts, reduce: Reduce) -> Trainer:
        settings, network, layout = self.settings, self.network, self.layout
        validation = None
        total = sum(part.stop - part.start for part in parts.validation)
        if total > 0:
            stride = max(1, total // _VALIDATION_ORIGINS)
            starts = [max(0, part.start - settings.warm_up) for part in parts.validation]

            def validation() -> float:
                return pinball_at(
                    network, layout, series, parts.validation, starts, settings.quantiles, stride, settings.n_threads,
                    reduce,
                )  # fmt: skip

        return Trainer(
            network, layout, series, parts.training, validation, settings.quantiles, self._plan(parts),
            settings.n_threads, all_parts=parts.all, reduce=reduce,
        )  # fmt: skip

    def _plan(self, parts: Parts) -> Plan:
        origins = sum(max(0, part.stop - part.start) for part in parts.training)
        cost = self.network.head_cost / self.network.encoder_cost
        return self.settings.plan(origins, self.settings.context_for(parts.training_stops), cost)

    def _correct(self, series: list[ReadySeries], parts: Parts, reduce: Reduce) -> None:
        """Set the conformal corrections, and report the coverage before and after on the same data."""
        settings, layout = self.settings, self.layout
        total = sum(max(0, part.stop - part.start) for part in parts.conformal)
        stride = max(1, total // _CONFORMAL_ORIGINS)
        origins = [np.arange(part.start, max(part.start, part.stop), stride) for part in parts.conformal]
        stops = [int(rows[-1]) + 1 if len(rows) else 0 for rows in origins]
        mine = own_series(stops, reduce)
        passed = run_through(
            self.network, layout, [series[k] for k in mine], [origins[k] for k in mine],
            stops=[stops[k] for k in mine], n_threads=settings.n_threads,
        )  # fmt: skip

        def blocks(k: int, contexts: Array) -> Iterator[tuple[Array, Array]]:
            targets = layout.targets(series[k], origins[k])
            for block, answers in answers_at(
                self.network, layout, series[k], origins[k], contexts, settings.n_threads, clip=True
            ):
                yield answers, targets[block]

        own = {k: list(blocks(k, result.contexts)) for k, result in zip(mine, passed, strict=True)}
        found = [pair for _, pairs in sorted(reduce.joined(own).items()) for pair in pairs]
        self.corrections = Corrections.of(settings.quantiles, found, settings.horizon, settings.horizon / stride)
        if self.corrections is None and interval_pairs(settings.quantiles) and reduce.rank == 0:
            warnings.warn(
                "the validation part is too short for the conformal correction, so that intervals are those of the "
                "network: give longer series, a larger validation part, or conformal=False",
                UserWarning,
                stacklevel=_OF_THE_CALL,
            )
        self.coverage = _coverage(settings.quantiles, found, self.corrections)

    def _pass_to_end(self, series: Sequence[ReadySeries], reduce: Reduce | None = None) -> None:
        """Run through series from their beginning, and remember their ends."""
        reduce = Reduce(1) if reduce is None else reduce
        mine = own_series([len(one) for one in series], reduce)
        own = [series[k] for k in mine]
        ends = [np.array([len(one) - 1]) for one in own]
        passed = run_through(self.network, self.layout, own, ends, n_threads=self.settings.n_threads)
        found = reduce.joined({k: self._memory(series[k], one) for k, one in zip(mine, passed, strict=True)})
        self.memories.update({series[k].data.id: found[k] for k in sorted(found)})

    # ------------------------------------------------------------------------------------ more data

    def scale_for(self, data: SeriesData) -> Scale:
        """Return the units of a series: frozen at fit, or those of its own values if it is new."""
        known = self.scales.get(data.id)
        return scale_of(data.y, self.settings.scaler) if known is None else known

    def ready(self, panel: Panel, futures: Sequence[Array] | None = None) -> list[ReadySeries]:
        """Return the series of later data in their units."""
        self.settings.check_panel(panel, training=False)
        ahead = [None] * len(panel) if futures is None else list(futures)
        return [ready(one, self.scale_for(one), future) for one, future in zip(panel.series, ahead, strict=True)]

    def read(self, panel: Panel, tail: int = 0) -> list[Memory]:
        """Return what the series of a panel leave behind, each read from the zero state at its first row.

        At least `tail` of their last values are kept.
        """
        series = self.ready(panel)
        ends = [np.array([len(one) - 1]) for one in series]
        passed = run_through(self.network, self.layout, series, ends, n_threads=self.settings.n_threads)
        return [self._memory(one, result, tail) for one, result in zip(series, passed, strict=True)]

    def _memory(self, series: ReadySeries, passed: Passed, tail: int = 0) -> Memory:
        error = naive_error(series.data.y, self.settings.season)
        return memory_of(series, passed.contexts[-1], passed.states, max(self.layout.kept, tail), error)

    def update(self, panel: Panel) -> None:
        """Continue the memories with new rows, which follow those known so far; new series begin at zero."""
        self.settings.check_panel(panel, training=False, known=self.memories)
        series: list[ReadySeries] = []
        starts: list[int] = []
        states: list[list[State] | None] = []
        for one in panel.series:
            memory = self.memories.get(one.id)
            if memory is None:
                scale = self.scales[one.id] = self.scale_for(one)
                series.append(ready(one, scale))
                starts.append(0)
                states.append(None)
            else:
                joined = ready_from(memory, one)
                series.append(joined)
                starts.append(len(joined) - len(one))
                states.append(memory.states)
        ends = [np.array([len(one) - 1]) for one in series]
        passed = run_through(
            self.network, self.layout, series, ends, starts, states=states, n_threads=self.settings.n_threads
        )
        for read, result, start in zip(series, passed, starts, strict=True):
            old = self.memories.get(read.data.id)
            new = self._memory(read, result)
            if old is not None:
                new.rows, new.naive_error = old.rows + len(read) - start, old.naive_error
            self.memories[read.data.id] = new

    def partial_fit(self, panel: Panel, epochs: int = 1) -> None:
        """Train for some epochs more on a panel, at a tenth of the rate; memories are those of the panel's series."""
        settings = self.settings
        for one in panel.series:
            self.scales.setdefault(one.id, self.scale_for(one))
        series = self.ready(panel)
        parts = split_parts(panel, settings, validation=0.0)
        rate = settings.learning_rate / 10
        plan = replace(self._plan(parts), epochs=epochs, learning_rate=rate, falls=False, last_epochs=0)
        trainer = Trainer(
            self.network, self.layout, series, parts.training, None, settings.quantiles, plan, settings.n_threads,
            self.moments,
        )  # fmt: skip
        run(trainer, settings.verbose, None)
        self.history, self.moments = trainer.history, trainer.optimizer.state_dict()
        self.trained_until = {**self.trained_until, **{one.id: one.times[-1] for one in panel.series}}
        self.memories = {}
        self._pass_to_end(series)

    # ------------------------------------------------------------------------------------ weights of 8 bits

    def quantized(self, panel: Panel | None, skip: Sequence[int] | int) -> tuple[Engine, QuantizationReport]:
        """Return a copy whose network has weights of 8 bits, and what that has changed on a panel of typical series."""
        made = copy.copy(self)
        made.network = network = copy.deepcopy(self.network)
        made.scales, made.memories = dict(self.scales), dict(self.memories)
        answers = None
        if panel is not None:
            series = self.ready(panel)
            stride = max(1, sum(map(len, series)) // _CALIBRATION_ORIGINS)
            origins = [np.arange((len(one) - 1) % stride, len(one), stride) for one in series]

            def answers() -> Array:
                layout, n_threads = self.layout, self.settings.n_threads
                passed = run_through(network, layout, series, origins, n_threads=n_threads)
                blocks = [
                    block.reshape(-1, block.shape[-1])
                    for one, rows, result in zip(series, origins, passed, strict=True)
                    for _, block in answers_at(network, layout, one, rows, result.contexts, n_threads, clip=True)
                ]
                return np.concatenate(blocks)

        return made, network.quantize(answers, skip)

    # ------------------------------------------------------------------------------------ forecasts

    def forecast(self, memories: Sequence[Memory], futures: Sequence[Array]) -> Array:
        """Return the quantiles that follow each memory, (n, horizon, quantiles), in the units of the series."""
        settings, layout = self.settings, self.layout
        result = np.empty((len(memories), settings.horizon, len(settings.quantiles)))
        context = np.stack([one.context for one in memories])
        ahead = np.empty((len(memories), settings.horizon, layout.n_ahead), context.dtype)
        series = [one.tail_series(future) for one, future in zip(memories, futures, strict=True)]
        last = [np.array([len(one) - 1]) for one in series]
        bases = [layout.ahead(series[k], last[k], ahead[k : k + 1]) for k in range(len(memories))]
        answers = self.network.answers(context, ahead, settings.n_threads).astype(np.float64)
        for k, base in enumerate(bases):
            block = answers[k : k + 1] + base[:, :, None]
            block.sort(axis=-1)
            result[k] = self.in_units(block, series[k].scale)[0]
        return result

    def at_origins(self, series: Sequence[ReadySeries], origins: Sequence[Array]) -> list[Array]:
        """Return the quantiles at rows of each series, (n, horizon, quantiles), in one pass over each series."""
        shape = (self.settings.horizon, len(self.settings.quantiles))
        results = [np.empty((len(rows), *shape)) for rows in origins]
        for k, block, answers in self.blocks_at(series, origins):
            results[k][block] = answers
        return results

    def blocks_at(
        self,
        series: Sequence[ReadySeries],
        origins: Sequence[Array],
        starts: Sequence[int] | None = None,
        states: Sequence[list[State] | None] | None = None,
    ) -> Iterator[tuple[int, slice, Array]]:
        """Yield what `at_origins` returns in blocks: number of the series, part of its origins, quantiles.

        `starts` and `states` are those of `run_through`.
        """
        first = [0] * len(series) if starts is None else list(starts)
        stops = [int(rows[-1]) + 1 if len(rows) else start for rows, start in zip(origins, first, strict=True)]
        n_threads = self.settings.n_threads
        passed = run_through(self.network, self.layout, series, origins, first, stops, states, n_threads)
        for k, (one, rows, result) in enumerate(zip(series, origins, passed, strict=True)):
            for block, answers in answers_at(self.network, self.layout, one, rows, result.contexts, n_threads):
                yield k, block, self.in_units(answers, one.scale)

    def in_units(self, answers: Array, scale: Scale) -> Array:
        """Return corrected quantiles in the units of a series, inside the bounds."""
        if self.corrections is not None:
            answers = self.corrections.apply(answers)
        values: Array = answers * scale.scale + scale.center
        if not np.isfinite(values).all():
            raise ValueError(
                "a forecast is not finite, because an input lies too far from the training data for float32: look for "
                "the largest values in hist_exog and futr_exog"
            )
        if self.settings.bounds is not None:
            np.clip(values, *self.settings.bounds, out=values)
        return values


def _in_common(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what all processes of a training with these arguments of `run_arguments` must have in common."""
    named = {"table" if name == "data" else name: value for name, value in arguments.items()}
    return {**named, "environment": environment()}


def _warn_of_idle(trainer: Trainer) -> None:
    """Warn if a batch has too few lanes for all processes."""
    if trainer.reduce.alone or trainer.reduce.rank:
        return
    size, largest = trainer.reduce.size, max(map(len, trainer.batches(1)))
    if largest < size:
        warnings.warn(
            f"{size} processes share out the long parts of the series that are read side by side, which are at most "
            f"{largest}, so that {size - largest} of them train nothing: start fewer, or give a larger batch_size than "
            f"{trainer.plan.batch}, which changes the training",
            UserWarning,
            stacklevel=_OF_THE_CALL,
        )


def widths_of(settings: Settings, layout: Layout) -> Widths:
    """Return the sizes of the network's parts."""
    return Widths(
        layout.n_inputs,
        layout.horizon,
        layout.n_ahead,
        len(settings.quantiles),
        settings.step_context,
        settings.common_context,
        settings.local_units,
        layout.gate,
    )


def _coverage(
    quantiles: tuple[float, ...], found: list[tuple[Array, Array]], corrections: Corrections | None
) -> dict[str, Any]:
    """Return for each interval its coverage on the conformal part, of the network and corrected; {} if it is empty."""
    result: dict[str, Any] = {}
    for low, high in interval_pairs(quantiles):
        level = round(100 * (quantiles[high] - quantiles[low]), 6)
        inside = {"network": [0, 0], "corrected": [0, 0]}
        for answers, targets in found:
            known = ~np.isnan(targets)
            both = {"network": answers, "corrected": answers if corrections is None else corrections.apply(answers)}
            for name, values in both.items():
                hits = (values[:, :, low] <= targets) & (targets <= values[:, :, high])
                inside[name][0] += int(hits[known].sum())
                inside[name][1] += int(known.sum())
        if inside["network"][1]:
            result[f"{level:g}"] = {name: hits / count for name, (hits, count) in inside.items()}
    return result
