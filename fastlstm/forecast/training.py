"""Training of a forecaster: truncated backpropagation along long lanes of the series, whose state is carried.

Each series is cut into lanes, long contiguous parts; a batch of lanes is walked chunk by chunk, each of which continues
from the states of the one before, as in training language models. So the network learns with states as old as those
with which it will forecast. Lanes begin at other rows in each epoch, and with a warm-up without loss.

The lanes of a batch may be cut into shards, whose gradients are summed up a fixed tree, by one process or by several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .._draws import Draws
from .._typing import Array, State
from ..inference.feeding import joined_states
from ..losses import Quantile
from ..optimizers import AdamW
from ..schedules import CosineLR
from ..training.history import History
from ..training.interrupt import Interrupt
from ..training.loop import TrainingDiverged
from ..training.reduce import Reduce, Sums, shard_bounds
from .layout import Layout
from .network import ForecastNetwork
from .passes import answers_at, own_series, run_through
from .series import ReadySeries

__all__ = ["Lane", "Part", "Plan", "Trainer", "Walk", "pinball_at"]


_DECAY = 0.99
"""Of the exponential mean of the parameters, which is what is validated and kept."""


@dataclass(frozen=True)
class Plan:
    """Settings of a training."""

    epochs: int
    patience: int | None
    """Number of epochs without improvement on the validation part after which the training ends."""
    learning_rate: float
    weight_decay: float
    clip_norm: float
    batch: int
    """Number of lanes that are walked at a time."""
    lane: int
    """Number of origins of a lane."""
    chunk: int
    """Number of steps between two updates."""
    every: int
    """Each `every`-th step of a chunk is an origin of a forecast."""
    context: int
    """Number of steps of a lane before its first origin."""
    min_observed: float
    near: float
    """Step h of the horizon has the weight h ** -near in the loss."""
    seed: int
    falls: bool = True
    """Whether the learning rate falls to a hundredth, along a cosine."""
    last_epochs: int = 0
    """Number of epochs on all origins that follow when the best epoch is known, from its weights."""
    last_rate: float = 0.0
    """Learning rate with which these epochs begin."""


@dataclass(frozen=True)
class Part:
    """Origins of one series: rows from `start` to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True)
class Lane:
    """Rows of a series that are walked in one go, from `begin`; the first origin is `start`."""

    series: int
    begin: int
    start: int
    stop: int


@dataclass
class Walk:
    """Place of a training between two updates."""

    epoch: int = 1
    update: int = 0
    """Completed updates of this epoch, those without an origin among them."""
    states: list[State] = field(default_factory=list)
    """States of the lanes of this batch."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Sums of the loss and of its weights in this epoch."""
    best: float = math.inf
    best_epoch: int = 0
    last_from: int = 0
    """The epoch after which the origins of the validation part are learnt too; 0 before it."""


class Trainer:
    """A training run.

    Parameters
    ----------
    network : ForecastNetwork
    layout : Layout
    series : sequence of ReadySeries
    parts : sequence of Part
        Origins of each series whose targets are in the training part.
    validation : callable, optional
        Returns the loss on the validation part.
    quantiles : tuple of float
    plan : Plan
    n_threads : int, optional
    moments : mapping, optional
        State of the optimizer of an earlier run that goes on.
    all_parts : sequence of Part, optional
        All origins of each series whose targets are known, for the last epochs of the plan.
    reduce : Reduce, optional
        The sum over the shards of a batch, by default of one.

    Attributes
    ----------
    walk : Walk
        The place of the run.
    best_parameters : ndarray
        Those of the best epoch on the validation part; without one, the current ones.
    interrupt : Interrupt
        What notes Ctrl-C.
    interrupted : bool
        Whether it was noted in some process, as of the last update.
    """

    def __init__(
        self,
        network: ForecastNetwork,
        layout: Layout,
        series: Sequence[ReadySeries],
        parts: Sequence[Part],
        validation: Callable[[], float] | None,
        quantiles: tuple[float, ...],
        plan: Plan,
        n_threads: int | None = None,
        moments: Mapping[str, Any] | None = None,
        all_parts: Sequence[Part] | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        self.reduce = Reduce(1) if reduce is None else reduce
        self.interrupt, self.interrupted = Interrupt(), False
        self.network, self.layout, self.series, self.parts = network, layout, series, parts
        self.all_parts = parts if all_parts is None else all_parts
        self.validation, self.plan, self.n_threads = validation, plan, n_threads
        self.loss = Quantile(quantiles)
        self.step_weights = np.arange(1.0, layout.horizon + 1) ** -plan.near
        self.walk = Walk()
        self.history = History(["loss", *(["val_loss"] if validation else []), "lr"])
        self.optimizer = self._new_optimizer(plan.learning_rate, plan.epochs, moments)
        self.average = network.flat_parameters.copy()
        self.best_parameters = network.flat_parameters.copy()

    def _new_optimizer(self, learning_rate: float, epochs: int, moments: Mapping[str, Any] | None = None) -> AdamW:
        plan = self.plan
        rate = CosineLR(learning_rate, learning_rate / 100) if plan.falls else learning_rate
        optimizer = AdamW(rate, weight_decay=plan.weight_decay, clip_norm=plan.clip_norm)
        if moments is not None:
            optimizer.load_state_dict(moments)
        optimizer.bind(max(1, self.updates_per_epoch()), epochs, self.network)
        return optimizer

    # ------------------------------------------------------------------------------------ epochs

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run, if it does not end early."""
        return self.plan.epochs + self.plan.last_epochs

    @property
    def goes_on(self) -> bool:
        """Whether the run has not come to its end."""
        walk, plan = self.walk, self.plan
        return walk.epoch <= (walk.last_from + plan.last_epochs if walk.last_from else plan.epochs)

    def updates_per_epoch(self) -> int:
        """Return the number of chunks of an epoch, which differs little between epochs."""
        return sum(self._chunks(batch) for batch in self.batches(1))

    def batches(self, epoch: int) -> list[list[Lane]]:
        """Return the lanes of an epoch in batches."""
        plan = self.plan
        draws = Draws(plan.seed, "lanes", epoch)
        lanes = []
        for k, part in enumerate(self.all_parts if self.walk.last_from else self.parts):
            if part.stop <= part.start:
                continue
            offset = int(draws.integers(plan.lane, 1)[0]) if part.stop - part.start > plan.lane else 0
            edges = [part.start, *range(part.start + (offset or plan.lane), part.stop, plan.lane), part.stop]
            lanes += [Lane(k, max(0, a - plan.context), a, b) for a, b in pairwise(edges)]
        order = draws.permutation(len(lanes))
        mixed = [lanes[k] for k in order]
        # The pieces that an offset leaves at both ends of a series get no batch of their own.
        count = max(1, round(len(mixed) / plan.batch))
        groups = [mixed[k::count] for k in range(count)]
        return [sorted(group, key=lambda lane: lane.begin - lane.stop) for group in groups]

    def _chunks(self, batch: list[Lane]) -> int:
        return -(-max(lane.stop - lane.begin for lane in batch) // self.plan.chunk)

    def run_epoch(self, after_update: Callable[[], None] = lambda: None) -> bool:
        """Train for the rest of the current epoch, validate; return whether the run goes on."""
        walk, done = self.walk, 0
        for batch in self.batches(walk.epoch):
            chunks = self._chunks(batch)
            for index in range(chunks):
                done += 1
                if done <= walk.update:
                    continue
                self.step(batch, index)
                walk.update = done
                after_update()
        return self._end_epoch()

    def _end_epoch(self) -> bool:
        walk, plan = self.walk, self.plan
        if walk.sums[1] == 0:
            raise ValueError(
                "nothing to learn: no origin of the training part has enough observed values in its horizon and in its "
                "context, expected some: lower min_observed, context or horizon, or give longer series"
            )
        logs = {"loss": walk.sums[0] / walk.sums[1]}
        if not walk.last_from:
            logs.update(self._validate())
        self.history.append({**logs, "lr": self.optimizer.lr})
        walk.epoch += 1
        walk.update, walk.states, walk.sums = 0, [], [0.0, 0.0]
        since = walk.epoch - 1 - walk.best_epoch
        stopped = self.validation is not None and plan.patience is not None and since >= plan.patience
        if not walk.last_from and (stopped or walk.epoch > plan.epochs):
            walk.last_from = walk.epoch - 1
            if plan.last_epochs:
                self.restore_best()
                np.copyto(self.average, self.best_parameters)
                self.begin_last_epochs()
        return self.goes_on

    def _validate(self) -> dict[str, float]:
        """Measure the mean of the weights on the validation part, keep it if it is the best; return the loss there."""
        walk, found = self.walk, {}
        current = self.network.flat_parameters.copy()
        self._use(self.average)
        if self.validation is not None:
            found["val_loss"] = self.validation()
            if not math.isfinite(found["val_loss"]):
                self._diverge(f"the validation loss became {found['val_loss']} after epoch {walk.epoch}")
        if self.validation is None or found["val_loss"] < walk.best:
            walk.best, walk.best_epoch = found.get("val_loss", math.inf), walk.epoch
            np.copyto(self.best_parameters, self.average)
        self._use(current)
        return found

    def begin_last_epochs(self) -> None:
        """Take the optimizer of the last epochs, which learn all origins from the best weights on."""
        if self.plan.last_epochs:
            self.optimizer = self._new_optimizer(self.plan.last_rate, self.plan.last_epochs)

    def restore_last(self) -> None:
        """Give the network the parameters at the end of the run."""
        self._use(self.average if self.plan.last_epochs else self.best_parameters)

    def restore_best(self) -> None:
        """Give the network the parameters of the best epoch."""
        self._use(self.best_parameters)

    def _use(self, parameters: Array) -> None:
        np.copyto(self.network.flat_parameters, parameters)
        self.network.scatter()

    def _diverge(self, message: str) -> None:
        self.restore_best()
        raise TrainingDiverged(f"{message}: lower learning_rate; the network has its best weights so far", self.history)

    # ------------------------------------------------------------------------------------ a step

    def step(self, batch: list[Lane], index: int) -> None:
        """Walk the lanes for one chunk, and update the weights if there are origins in it."""
        walk, at = self.walk, index * self.plan.chunk
        active = [lane for lane in batch if lane.stop - lane.begin > at]
        before = _rows(walk.states, 0, len(active)) if index else None
        if self.reduce.shards == 1:
            sums, walk.states = self._part(active, at, before)
        else:
            sums, walk.states = self._shards(active, at, before)
        self.interrupted = sums.interrupted > 0
        if not math.isfinite(sums.loss):
            self._diverge(f"the loss became {sums.loss / sums.weight} in epoch {walk.epoch}")
        if sums.weight > 0:
            self._update(sums)

    def _shards(self, active: list[Lane], at: int, before: list[State] | None) -> tuple[Sums, list[State]]:
        """Do what `_part` does, shard by shard, together with the other processes."""
        network, reduce = self.network, self.reduce
        passes = network.passes
        after: dict[int, list[State]] = {}

        def compute(index: int) -> Sums:
            begin, end = shard_bounds(len(active), reduce.shards, index)
            if begin == end:
                return Sums(interrupted=float(self.interrupt.noted))
            network.passes = passes  # all shards draw the masks of one pass, each those of its rows
            states = None if before is None else _rows(before, begin, end)
            sums, after[begin] = self._part(active[begin:end], at, states, begin)
            return sums

        sums = reduce(compute, network.flat_gradients)
        network.passes = [one + (sums.positions > 0) for one in passes]
        return sums, joined_states(reduce.joined(after))

    def _part(
        self, lanes: list[Lane], at: int, before: list[State] | None, first_row: int = 0
    ) -> tuple[Sums, list[State]]:
        """Walk some lanes of a batch, from `first_row` on, for the chunk from step `at` on.

        Their sums and the states at the end are returned, the gradient of the mean loss is left in the network. There
        is none if no origin counts, or the loss is not finite.
        """
        network, plan = self.network, self.plan
        lengths = np.array([min(lane.stop - lane.begin - at, plan.chunk) for lane in lanes])
        x = np.zeros((len(lanes), int(lengths.max()), self.layout.n_inputs), network.encoder.dtype)
        for row, lane in enumerate(lanes):
            start = lane.begin + at
            self.layout.inputs(self.series[lane.series], start, start + int(lengths[row]), x[row, : lengths[row]])
        chosen = self._origins(lanes, lengths, at)
        ragged = lengths if lengths.min() < x.shape[1] else None
        out, states = network.encode(x, ragged, before, chosen is not None, self.n_threads, first_row)
        sums = Sums() if chosen is None else self._learn(x, out, lanes, at, *chosen)
        return sums._replace(interrupted=float(self.interrupt.noted)), states

    def _origins(self, active: list[Lane], lengths: Array, at: int) -> tuple[Array, Array, Array] | None:
        """Return lane, step and weight of each origin of a chunk; None if there is none."""
        plan, reach = self.plan, self.layout.gap + self.layout.horizon
        phase = int(Draws(plan.seed, "origins", self.walk.epoch, self.walk.update).integers(plan.every, 1)[0])
        steps = np.arange(phase, plan.chunk, plan.every)
        found: list[tuple[Array, Array, Array]] = []
        for row, lane in enumerate(active):
            rows = lane.begin + at + steps[steps < lengths[row]]
            rows = rows[rows >= lane.start]
            if not len(rows):
                continue
            series = self.series[lane.series]
            weight = np.ones(len(rows))
            if series.observed is not None:
                known = series.observed_share(rows + self.layout.gap + 1, rows + reach + 1)
                recent = series.observed_share(rows + 1 - plan.context, rows + 1)
                weight = np.where(np.minimum(known, recent) >= plan.min_observed, 1.0, 0.0)
            rows = rows[weight > 0]
            found.append((np.full(len(rows), row), rows - lane.begin - at, weight[weight > 0]))
        if not any(len(one[0]) for one in found):
            return None
        lanes, places, weights = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return lanes, places, weights

    def _learn(
        self, x: Array, out: Array, active: list[Lane], at: int, lanes: Array, places: Array, weights: Array
    ) -> Sums:
        """Return loss and weight of origins, and leave the gradient of their mean loss in the network."""
        network, layout = self.network, self.layout
        context = np.concatenate([out[lanes, places], x[lanes, places]], axis=1)
        ahead = np.empty((len(lanes), layout.horizon, layout.n_ahead), context.dtype)
        target = np.empty((len(lanes), layout.horizon))
        for row in np.unique(lanes):
            where = lanes == row
            series = self.series[active[row].series]
            origins = active[row].begin + at + places[where]
            block = np.empty((len(origins), layout.horizon, layout.n_ahead), context.dtype)
            base = layout.ahead(series, origins, block)
            ahead[where] = block
            target[where] = layout.targets(series, origins) - base
        known = ~np.isnan(target)
        answers = network.head(context, ahead, True, self.n_threads)
        values = np.where(known, target, 0.0).astype(answers.dtype)[:, :, None]
        total, weight_sum, slope = self.loss(answers, values, weight=weights[:, None] * known * self.step_weights)
        sums = Sums(total, weight_sum, positions=len(lanes))
        if weight_sum > 0 and math.isfinite(total):
            network.zero_gradients()
            d_out = np.zeros(out.shape, out.dtype)
            d_out[lanes, places] = network.head_backward(slope)
            network.encoder.network.backward(d_out)
            network.gather_gradients()
        return sums

    def _update(self, sums: Sums) -> None:
        network, walk = self.network, self.walk
        self.optimizer.step(network, self.n_threads)
        network.scatter()
        # In the first updates the mean is that of all of them.
        share = max(1 - _DECAY, 1 / (1 + self.optimizer.iterations))
        self.average += share * (network.flat_parameters - self.average)
        walk.sums[0] += sums.loss
        walk.sums[1] += sums.weight


def _rows(states: list[State], begin: int, end: int) -> list[State]:
    """Return copies of the states of some lanes."""
    return [(h[:, begin:end].copy(), c[:, begin:end].copy()) for h, c in states]


def pinball_at(
    network: ForecastNetwork,
    layout: Layout,
    series: Sequence[ReadySeries],
    parts: Sequence[Part],
    starts: Sequence[int],
    quantiles: tuple[float, ...],
    stride: int,
    n_threads: int | None = None,
    reduce: Reduce | None = None,
) -> float:
    """Return the mean pinball loss, in units of the network, over each `stride`-th origin of the parts.

    With `reduce` its processes share out the series.
    """
    reduce = Reduce(1) if reduce is None else reduce
    loss = Quantile(quantiles)
    origins = [np.arange(part.start, part.stop, stride) for part in parts]
    used = [k for k, rows in enumerate(origins) if len(rows)]
    ends = [int(origins[k][-1]) + 1 for k in used]
    mine = own_series([end - starts[k] for k, end in zip(used, ends, strict=True)], reduce)
    own = [used[place] for place in mine]
    passed = run_through(
        network, layout, [series[k] for k in own], [origins[k] for k in own], [starts[k] for k in own],
        stops=[ends[place] for place in mine], n_threads=n_threads,
    )  # fmt: skip
    sums: dict[int, list[tuple[float, float]]] = {k: [] for k in own}
    for k, one in zip(own, passed, strict=True):
        targets = layout.targets(series[k], origins[k])
        for block, answers in answers_at(network, layout, series[k], origins[k], one.contexts, n_threads, clip=True):
            target = targets[block][:, :, None]
            known = ~np.isnan(target[:, :, 0])
            values = np.where(np.isnan(target), 0.0, target)
            sums[k].append(loss.value(answers, values, weight=known.astype(np.float64)))
    total = weight = 0.0
    for _, blocks in sorted(reduce.joined(sums).items()):
        for a, b in blocks:
            total, weight = total + a, weight + b
    return total / weight if weight else math.nan
