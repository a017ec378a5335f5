"""The training loop: fit, epoch, step.

A step is: batch -> forward -> loss -> backward -> update; a batch that is cut into shards goes to backward shard by
shard, and their gradients are summed before the update. An epoch consists of the steps over all batches, the validation
and the callbacks. A run consists of the epochs between `on_train_begin` and `on_train_end`.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from typing import Any, NoReturn

import numpy as np

from .. import _core, _exact
from .._typing import Array
from ..data import SCALERS, Standardizer
from ..data.batching import sequential_batches
from ..data.fingerprint import fingerprints
from ..data.targets import Targets
from ..inference.evaluate import run_evaluation
from ..inference.feeding import Feed, Segment
from ..inference.outputs import skipped_layer
from ..losses.batch import Batch, position_weights, total_weight
from ..protocols import TrainableModel
from .callbacks import Callback
from .checkpoint import find_saved
from .history import History
from .interrupt import BetweenBatches, Interrupt
from .joined import JoinedShards, joining_layers
from .prepare import TrainingData
from .ranks import new_reduce
from .reduce import Reduce, Sums, shard_bounds
from .run_state import Progress, RunState, SavedRun, described, environment
from .settings import Settings

__all__ = ["TrainingDiverged", "TrainingLoop", "fit"]

_EVALUATION_BATCH = 256
_FIXED = ("layers", "input_size", "dtype", "precision", "seed")
"""Entries of a model's config that training does not change."""


class TrainingDiverged(FloatingPointError):
    """Error raised when loss, gradient or weights become NaN or infinite; the model has its last good weights.

    Attributes
    ----------
    history : History
        Record of the epochs completed before.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.history)


def fit(model: TrainableModel, settings: Settings, prepare: Callable[[Reduce], TrainingData]) -> History:
    """Do the work of `Model.fit`; `prepare` checks the data and builds the network for them."""
    reduce = new_reduce(settings.shards, settings.communicator, settings.deadline)
    with reduce.together():
        with model.network.unbuilt_on_error(), _scaler_unfitted_on_error(model):  # a refused call fixes no input size
            saved = find_saved(settings.resume, settings.callbacks)
            training = TrainingLoop(model, prepare(reduce), settings, reduce)
            state = training.start(saved)
            reduce.agree({} if settings.communicator is None else training.described(saved))
        return training.fit(saved, state)


def _digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _described_scaler(model: TrainableModel, name: str) -> object:
    """Return the name of a plain Standardizer, which is all that older files hold; of others the settings too."""
    config = getattr(model, name).get_config()
    return name if config == Standardizer().get_config() else {"name": name, **config}


def _scaler_unfitted_on_error(model: TrainableModel) -> AbstractContextManager[None]:
    return nullcontext() if model.scaler is None else model.scaler.unfitted_on_error()


class TrainingLoop:
    """A training run.

    Parameters
    ----------
    model : TrainableModel
    data : TrainingData
    settings : Settings
    reduce : Reduce, optional
        The sum over the shards of a batch, by default in this process.

    Attributes
    ----------
    history : History
    mean_weight : float or None
        Mean of the weights over all positions that count in the training data; None if they have no weights.
    progress : Progress
        The current epoch, its completed updates, and their sums.
    last_finite_parameters : ndarray
        The last weights whose loss was finite.
    """

    def __init__(
        self, model: TrainableModel, data: TrainingData, settings: Settings, reduce: Reduce | None = None
    ) -> None:
        self.model = model
        self.data = data
        self.settings = settings
        self.reduce = Reduce(settings.shards) if reduce is None else reduce
        rank_0 = self.reduce.rank == 0
        self.callbacks = [one for one in settings.callbacks if rank_0 or not one.on_rank_0_only]
        self.history = History(data.quantities)
        self.progress = Progress()
        self.feed = Feed(
            model,
            data.train,
            settings.tbptt_steps,
            training=True,
            n_threads=settings.n_threads,
            recompute_every=settings.recompute_every,
            skip=skipped_layer(model.network, settings.loss, training=True),
            share=None if self.reduce.alone else self.reduce,
        )
        self.mean_weight = self._mean_weight()
        # A copy of the weights costs little compared with the update, and a bad update shows only in the next loss.
        self.last_finite_parameters: Array = model.flat_parameters.copy()
        self.batch_listeners = [c for c in settings.callbacks if type(c).on_batch_end is not Callback.on_batch_end]
        self.target_scale: Array | None = None
        self.joined = None
        if self.reduce.shards > 1 and joining_layers(model.network):
            self.joined = JoinedShards(model.network, self.feed, self.reduce, self._measure)
        if not self.reduce.alone:
            parameters = model.network.parameters
            ends = [*parameters.starts[1:], parameters.flat.size]
            # Worth a thread if a tenth of the gradient is known before the backward pass reaches its last layer.
            self.reduce.sends_early = ends[parameters.lowest_trainable] <= 0.9 * parameters.flat.size
        self._fingerprints: dict[str, Any] | None = None
        self.interrupt = Interrupt()
        self.interrupted = False  # whether Ctrl-C was noted in some process, as of the last update

    # ------------------------------------------------------------------------------------ the run

    def fit(self, saved: SavedRun | None = None, state: RunState | None = None) -> History:
        """Train to the end of the run or until it is stopped; continue a saved run if one is given."""
        state = self.start(saved) if state is None else state
        progress = self.progress
        with ExitStack() as at_end, self.settings.optimizer.in_use(), self.interrupt:
            self._begin(state, saved, at_end)
            try:
                if self.settings.metrics:
                    self._measured()  # so that a metric which does not fit fails before the first update
                while progress.epoch <= progress.before + self.settings.epochs and not progress.stopped:
                    completed = self.run_epoch()
                    if not completed or self._stopped_by_callback():
                        break
                    self.interrupt.take(self.reduce.any(self.interrupt.noted))
            except KeyboardInterrupt as error:
                self._interrupted(error)
        return self.history

    def _interrupted(self, error: KeyboardInterrupt) -> None:
        """Say what Ctrl-C has left, save it if the state is complete, and raise KeyboardInterrupt with the history."""
        self.history.interrupted = True
        progress, total = self.progress, self.data.steps_per_epoch
        if self.reduce.rank == 0:
            print(
                f"fastlstm: training interrupted in epoch {progress.epoch}, after {progress.batch} of {total} updates; "
                "the model has the weights of this moment",
                file=sys.stderr,
            )
        if isinstance(error, BetweenBatches):
            for checkpoint in self.settings.checkpoints:
                if checkpoint in self.callbacks:
                    checkpoint.save_now()
        if self.settings.on_interrupt == "raise":
            raised = KeyboardInterrupt("training interrupted")
            raised.history = self.history  # type: ignore[attr-defined]
            raise raised from None

    def start(self, saved: SavedRun | None = None) -> RunState:
        """Collect the state that a checkpoint saves; raise ValueError if a saved run is not this run."""
        settings, steps_per_epoch = self.settings, self.data.steps_per_epoch
        state = RunState(
            self.model,
            settings.optimizer,
            self.history,
            self.feed,
            self.last_finite_parameters,
            self.progress,
            settings.callbacks,
        )
        if settings.checkpoints or saved is not None:
            state.arguments = self._arguments()
        if saved is not None:
            saved.check(state)
        optimizer = settings.optimizer
        if settings.owns_optimizer:
            self.model.own_optimizer = optimizer
        optimizer.bind(steps_per_epoch, settings.epochs, self.model)
        before = optimizer.epochs if saved is None else saved.progress.before
        self.progress.before, self.progress.epoch = before, before + 1
        self.history.first_epoch = before + 1
        state.schedule, self.progress.last_lr = optimizer.schedule, optimizer.lr
        for checkpoint in settings.checkpoints:
            checkpoint.bind(state)
        for callback in settings.callbacks:
            callback.attach(self.model, optimizer, self.history, before + settings.epochs, steps_per_epoch, before + 1)
        return state

    def _arguments(self) -> dict[str, object]:
        """Return the arguments of the run as data for JSON; only a run with equal arguments can continue it."""
        model, data, settings = self.model, self.data, self.settings
        if self._fingerprints is None:  # they read all data
            self._fingerprints = {name: fingerprints(cases) for name, cases in data.given.items()}
        return {
            "data": self._fingerprints,
            "model": {name: value for name, value in model.get_config().items() if name in _FIXED},
            "scaled": [_described_scaler(model, name) for name in SCALERS if getattr(model, name) is not None],
            "classes": data.train.targets.classes,
            "loss": described(settings.loss),
            "optimizer": described(settings.optimizer),
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "validation_split": settings.validation_split,
            "class_weight": None if data.class_weights is None else data.class_weights.tolist(),
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "tbptt_steps": settings.tbptt_steps,
            "shards": settings.shards,
            "steps_per_epoch": data.steps_per_epoch,
            "names": list(self.history.history),
        }

    def described(self, saved: SavedRun | None) -> dict[str, Any]:
        """Return what must be the same in all processes of a run."""
        return {
            **self._arguments(),
            "environment": environment(),
            "weights": _digest(self.model.flat_parameters),
            "number of training passes": self.model.network.passes,
            "epochs so far": self.settings.optimizer.epochs,
            "recompute_every": self.settings.recompute_every,
            "callbacks": [type(callback).__qualname__ for callback in self.settings.callbacks],
            "resumed run": None if saved is None else (saved.progress.epoch, saved.progress.batch),
        }

    def _begin(self, state: RunState, saved: SavedRun | None, at_end: ExitStack) -> None:
        """Call the callbacks' first hooks, restore a saved run, and fit the scalers."""
        callbacks, model, train = self.callbacks, self.model, self.data.train
        if saved is None:
            for callback in callbacks:
                at_end.callback(callback.on_train_end)
                callback.on_train_begin()
        else:
            saved.restore(state)
            for callback, remembered in saved.with_states(self.settings.callbacks):
                if callback not in callbacks:
                    continue
                at_end.callback(callback.on_train_end)
                saved.resume_callback(callback, remembered)
            saved.restore_weights(state)
        model.loss = self.settings.loss
        model.classes = train.targets.classes
        model.target_shape = train.targets.shape if isinstance(train.targets, Targets) else None
        if model.scaler is not None and not model.scaler.fitted:
            model.scaler.fit(train.inputs)
        if model.target_scaler is not None:
            if not model.target_scaler.fitted and isinstance(train.targets, Targets):
                model.target_scaler.fit(train.targets)
            self.target_scale = model.target_scaler.scale_

    def _stopped_by_callback(self) -> bool:
        return self.reduce.any(any(callback.stop_training for callback in self.settings.callbacks))

    # ------------------------------------------------------------------------------------ an epoch

    def run_epoch(self) -> bool:
        """Train on the rest of the current epoch, validate and record; return False if a callback cut it short."""
        callbacks, progress = self.callbacks, self.progress
        epoch = progress.epoch
        if not progress.batch:
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
        with closing(self._segments(epoch, progress.batch)) as segments:
            logs = self.train_epoch(segments)
        if logs is None:
            return False
        logs.update(self.validate(epoch))
        logs["lr"] = progress.last_lr
        self.history.append(logs)
        progress.next_epoch()
        self.settings.optimizer.epochs = epoch
        for callback in callbacks:
            callback.on_epoch_end(epoch, dict(logs))
        return True

    def _segments(self, epoch: int, done: int) -> Generator[Segment, None, None]:
        """Return the segments of an epoch, one for each update, without the first `done` of them."""
        if self.feed.steps:
            return self.feed.segments(self.data.batches(epoch), done)
        return self.feed.segments(self.data.batches(epoch, done))

    def train_epoch(self, segments: Iterable[Segment]) -> dict[str, float] | None:
        """Update the weights for each segment; return mean loss and metric, or None if a callback ended the run."""
        progress = self.progress
        for batch, segment in enumerate(segments, start=progress.batch + 1):
            self.step(batch, segment)
            progress.batch = batch
            if self.batch_listeners:  # of all ranks, so that all ask each other at the same batches
                logs = self._means()
                for callback in self.batch_listeners:
                    if callback in self.callbacks:
                        callback.on_batch_end(batch, logs)
                if self._stopped_by_callback():
                    return None
            self.interrupt.take(None if self.reduce.alone else self.interrupted)
        if progress.sums[1] == 0:
            raise ValueError(
                "nothing to learn: every target has label -100 or weight 0 or is missing (nan), or its step is masked, "
                "expected one that counts"
            )
        if _core.first_nonfinite(self.model.flat_parameters) >= 0:
            self._diverge(f"a weight became NaN or infinite at the end of epoch {progress.epoch}")
        return self._means()

    def validate(self, epoch: int) -> dict[str, float]:
        """Measure loss and metrics on the validation data; return an empty dict if there are none."""
        if self.data.validation is None:
            return {}
        measured = self._measured()
        if not math.isfinite(measured["loss"]):
            self._diverge(f"the validation loss became {measured['loss']} after epoch {epoch}")
        return {f"val_{name}": value for name, value in measured.items()}

    def _measured(self) -> dict[str, float]:
        settings, validation = self.settings, self.data.validation
        assert validation is not None
        return run_evaluation(
            self.model,
            validation,
            settings.loss,
            settings.metrics,
            _EVALUATION_BATCH,
            settings.n_threads,
            steps=settings.tbptt_steps,
            share=self.reduce,
        )

    # ------------------------------------------------------------------------------------ a step

    def step(self, batch: int, segment: Segment) -> None:
        """Make one update: forward, loss and backward of each shard, their sum, optimizer."""
        network = self.model.network
        passes = network.passes
        try:
            sums = self._shard(segment) if self.reduce.shards == 1 else self._shards(segment)
            if not math.isfinite(sums.loss):
                self._diverge(f"the training loss became {sums.loss} in epoch {self.progress.epoch}, batch {batch}")
            if self.reduce.shards > 1:
                self._accept(sums, network.parameters.flat_gradients)
            self.progress.add(sums.loss, sums.weight, sums.metric, sums.metric_weight)
            # Without positions that count there is no gradient, but momentum would still move the weights.
            if sums.weight > 0:
                self._update(batch)
        except Exception:
            network.passes = passes  # so that a retry draws the same masks
            raise

    def _shards(self, segment: Segment) -> Sums:
        """Compute the gradient of the mean loss of a segment and its sums, shard by shard."""
        if self.joined is not None:
            return self._checked(self.joined(segment, lambda: self.interrupt.noted))
        network, rows, count = self.model.network, segment.rows_in_all, self.reduce.shards
        passes = network.passes
        states = self.feed.begin(segment)

        def compute(index: int) -> Sums:
            begin, end = shard_bounds(rows, count, index)
            if begin == end:
                return Sums(interrupted=float(self.interrupt.noted))
            network.passes = passes  # all shards draw the masks of one pass, each those of its rows
            with states.of_rows(begin):
                return self._shard(segment.part(begin, end), begin)

        sums = self.reduce(compute, network.parameters.flat_gradients)
        states.join(self.reduce.joined)
        network.passes = passes + 1
        return self._checked(sums)

    def _checked(self, sums: Sums) -> Sums:
        """Take note of Ctrl-C in any process; raise ValueError if the weights of all shards have no finite sum."""
        self.interrupted = sums.interrupted > 0
        if math.isfinite(sums.loss) and not math.isfinite(sums.weight):
            raise ValueError(f"the weights of a batch must have a finite sum, got {sums.weight}")
        return sums

    def _shard(self, segment: Segment, first_row: int = 0) -> Sums:
        """Compute the gradient of the mean loss of some rows, from `first_row` on, and their sums.

        There is no gradient if no position counts, or the loss is not finite.
        """
        network = self.model.network
        network.parameters.zero_gradients()
        sums, gradient = self._measure(segment, self.feed.forward(segment, first_row))
        sums = sums._replace(interrupted=float(self.interrupt.noted))
        known_from = self.reduce.early_sum(sums)
        if sums.weight > 0 and math.isfinite(sums.loss):
            network.backward(gradient, known_from=known_from)
        return sums

    def _measure(self, segment: Segment, out: Array) -> tuple[Sums, Array]:
        """Return the sums of rows with this output, and the gradient of their mean loss, undefined if there is none."""
        loss, network, n_threads = self.settings.loss, self.model.network, self.settings.n_threads
        segment, out = self.feed.counted(segment, out)
        _, lengths, y, sample_weight, *_ = segment
        weight = sample_weight if self.data.class_weights is None else self._with_class_weights(y, sample_weight)
        if self.model.target_scaler is not None:
            y = self.model.target_scaler.scaled(y, network.dtype)
        total, total_weight, d_out = loss(out, y, lengths, weight, n_threads=n_threads)
        if not math.isfinite(total):
            return Sums(total, total_weight), d_out
        positions = 0.0 if self.mean_weight is None else _exact.total(loss.positions(Batch(out, y, lengths, weight)))
        metric, metric_weight = 0.0, 0.0
        if loss.metric_name is not None:
            metric, metric_weight = loss.metric(out, y, lengths, sample_weight, self.target_scale)
        sums = Sums(total, total_weight, positions, metric, metric_weight)
        if self.reduce.shards == 1:
            self._accept(sums, d_out)
        return sums, self.feed.gradient(d_out)

    def _accept(self, sums: Sums, gradient: Array) -> None:
        """Take note of weights whose loss is finite, and scale the gradient of the mean loss by the mean weight."""
        np.copyto(self.last_finite_parameters, self.model.flat_parameters)
        if self.mean_weight is not None and sums.weight > 0:
            # Divide the sum of the weighted gradients by the number of positions instead of the sum of weights, so that
            # a batch of small weights moves the model less.
            gradient *= sums.weight / (self.mean_weight * sums.positions)

    def _mean_weight(self) -> float | None:
        data, loss, network = self.data, self.settings.loss, self.model.network
        if not data.train.weighted and data.class_weights is None:
            return None
        total = count = 0.0
        for indices in sequential_batches(len(data.train), _EVALUATION_BATCH):
            time, lengths, y, sample_weight, _ = self.feed.counted_targets(indices)
            weight = sample_weight if data.class_weights is None else self._with_class_weights(y, sample_weight)
            steps = network.output_steps or time
            shape = (len(y), steps, 1) if network.per_step else (len(y), 1)
            out = np.broadcast_to(np.zeros((), network.dtype), shape)  # only its shape is read
            counts = loss.positions(Batch(out, y, network.output_lengths(lengths), weight))
            if weight is not None and weight.ndim > counts.ndim:
                weight = _exact.row_sums(weight) / weight.shape[-1]  # of a position some of whose targets are missing
            weights = position_weights(counts.shape, counts == 0, weight)
            total += total_weight(weights, counts.size)
            count += _exact.total(counts)
        return total / count if total > 0 else None

    def _update(self, batch: int) -> None:
        optimizer = self.settings.optimizer
        self.progress.last_lr = optimizer.lr
        try:
            optimizer.step(self.model, self.settings.n_threads)
        except FloatingPointError as error:
            np.copyto(self.model.flat_parameters, self.last_finite_parameters)  # running statistics have changed
            raise TrainingDiverged(f"in epoch {self.progress.epoch}, batch {batch}, {error}", self.history) from error

    def _with_class_weights(self, y: Array, sample_weight: Array | None) -> Array:
        assert self.data.class_weights is not None
        # mode="clip" gives ignored labels (-100) a weight too, which the loss does not read.
        weight = self.data.class_weights.take(self.settings.loss.class_labels(y), mode="clip")
        if sample_weight is None:
            return weight
        return weight * (sample_weight if sample_weight.ndim == weight.ndim else sample_weight[:, None])

    def _means(self) -> dict[str, float]:
        loss_sum, loss_weight, metric_sum, metric_weight = self.progress.sums
        logs = {"loss": loss_sum / loss_weight if loss_weight else math.nan}
        metric_name = self.settings.loss.metric_name
        if metric_name is not None:
            logs[metric_name] = metric_sum / metric_weight if metric_weight else math.nan
        return logs

    def _diverge(self, what: str) -> NoReturn:
        """Restore the last good weights and raise TrainingDiverged."""
        np.copyto(self.model.flat_parameters, self.last_finite_parameters)
        raise TrainingDiverged(
            f"{what}; the model has its last good weights. A smaller learning rate, clip_norm=1.0 in the "
            "optimizer, or scaled inputs and targets usually help",
            self.history,
        )
