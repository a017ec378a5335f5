"""The training loop: batch, forward, loss, backward, update; epochs, validation, callbacks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks, _core
from ..data import SCALERS, split
from ..data.fingerprint import fingerprints
from ..data.label_sequences import LabelSequences
from ..data.sequences import Indices, Sequences
from ..data.shuffle import Shuffle
from ..data.targets import Targets
from ..inference.evaluation import (
    Cases,
    Metrics,
    checked_cases,
    checked_inputs,
    evaluate,
    in_order,
    named_metrics,
    predict,
    run_evaluation,
)
from ..inference.feeding import Feed, Piece, check_pieces, count_pieces
from ..losses import BinaryCrossEntropy, Loss, get_loss
from ..optimizers import Optimizer, get_optimizer
from ..runtime.config import resolve_threads
from .callbacks import Callback, EpochPrinter, ProgressBar
from .callbacks.checkpoint import Checkpoint, find_saved
from .history import History
from .run_state import Progress, RunState, described

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["TrainingDiverged", "evaluate", "fit", "predict"]

Array = NDArray[Any]
ClassWeight = Mapping[Any, float] | Literal["balanced"]

_EVALUATION_BATCH = 256
_FIXED = ("layers", "input_size", "dtype", "seed")
"""Of a model's config what training does not change."""


class TrainingDiverged(FloatingPointError):
    """The loss or the gradient became NaN or infinite; the model keeps its last good weights.

    Attributes
    ----------
    history : History
        The epochs completed before.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def fit(
    model: Model,
    X: Sequences | ArrayLike,
    y: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    loss: Loss | str = "cross_entropy",
    optimizer: Optimizer | str | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    validation_data: tuple[Any, ...] | None = None,
    validation_split: float = 0.0,
    class_weight: ClassWeight | None = None,
    sample_weight: ArrayLike | None = None,
    shuffle: bool = True,
    callbacks: Iterable[Callback] = (),
    verbose: int = 1,
    metrics: Metrics | None = None,
    n_threads: int | None = None,
    seed: int | None = None,
    checkpoint_every: int | None = None,
    tbptt_steps: int | None = None,
    resume: str | os.PathLike[str] | bool | None = None,
) -> History:
    """Train a model.

    The model is built from the data if it is not built yet; a scaler or target scaler of it that is not fitted yet is
    fitted on the training part. Everything is checked before any weight changes. Calling it again goes on from the
    present weights.

    Parameters
    ----------
    X : array (n, T, F) or (n, T), memory map, or list of (T_i, F) arrays
        Inputs of any real type; read batch by batch.
    y : array or list of arrays
        Targets. Labels (n,), or (n, T) for a model with one output per step, as integers from 0 (-100: ignore
        this one) or strings; values (n,), (n, K), (n, T) or (n, T, K); for a list of series with one output
        per step, a list of (T_i,) or (T_i, K) arrays. For CTC a list of label sequences, or a padded array; see
        `fastlstm.losses.CTC`.
    lengths : int array (n,), optional
        Valid steps of each case of an array. What lies beyond is never read.
    loss : str or Loss, default "cross_entropy"
        ``"cross_entropy"`` (labels), ``"binary_cross_entropy"`` (0 and 1), ``"mse"``, ``"mae"``, ``"huber"``,
        ``"quantile"`` (values), ``"ctc"`` (sequences of labels that are not aligned with the steps), or an
        object such as ``fl.Huber(delta=0.5)``.
    optimizer : Optimizer or str, optional
        Default ``Adam(lr=1e-3)``. An optimizer object keeps its state between calls; its schedule starts
        anew.
    epochs : int, default 10
        Passes over the training data.
    batch_size : int, default 32
        Cases in each update; the last batch of an epoch may be smaller.
    validation_data : tuple, optional
        ``(X, y)``, ``(X, y, lengths)`` or ``(X, y, lengths, sample_weight)``, evaluated after each epoch; lengths
        may be None.
    validation_split : float, default 0.0
        Instead: the share of the data, drawn at random (with equal class shares if `y` is one label per
        case), that is kept out of training for validation. For overlapping windows of one series split by
        time yourself, or training cases will overlap the validation cases.
    class_weight : dict or "balanced", optional
        Weight of each class in the training loss, by label; classes not named have weight 1. "balanced" means
        ``positions / (classes * positions of the class)``. For labels, and for one column of binary targets.
    sample_weight : array (n,) or (n, T), optional
        Weight of each case or step in loss and metric, >= 0. Where it is 0, `y` is not looked at: values that
        are not known may be NaN there.
    shuffle : bool, default True
        Whether each epoch takes the cases in a new random order.
    callbacks : iterable of Callback
        What else is to happen; see `fastlstm.callbacks`.
    verbose : {0, 1, 2}, default 1
        1: a progress bar on stderr if that is a terminal. 2: one printed line per epoch. 0: nothing.
    metrics : list or dict of callables, optional
        Functions ``metric(y_true, y_pred) -> float`` for the validation data; see `evaluate`.
    n_threads : int, optional
        Threads to use; by default as configured. The result does not depend on it.
    seed : int, optional
        Seed of the order and of `validation_split`; by default that of the model.
    checkpoint_every : int, optional
        For long series: the LSTM layers keep their gates and cells of about so many steps only (rounded up to the
        steps over which a gradient is summed at a time) and the state before each such segment; the backward pass
        computes a segment's gates again before it goes through it (Chen et al. 2016, arXiv:1604.06174). Memory then
        goes with ``checkpoint_every + T / checkpoint_every``, least at the square root of T, rather than with T; a
        batch takes about a third longer; the results are the same bits. By default all steps are kept.
    tbptt_steps : int, optional
        Truncated back-propagation through time (Williams & Peng 1990), for series so long that one update for each
        would be few: the series of a batch are cut into pieces of so many steps, each piece is an update, and the
        state goes on from piece to piece, but no gradient. Each series begins with the initial state of the layers;
        the order is random among series, never within one. For models that answer at each step and have one direction.
        Validation goes the same way. Where lengths differ, the number of updates of an epoch depends on which
        series stand side by side; schedules count those of the first epoch. By default each batch is one update.
    resume : path or bool, optional
        Go on with a run that a `Checkpoint` saved: from this file, or, if True, from the newest file of the
        `Checkpoint` among the callbacks; True begins a run if there is none yet. Everything else is given as in the
        first call, also the data; what differs is refused. Only `epochs` may be another number, if the learning rates
        do not depend on it. The result is the same bits as that of a run without an end in between; see
        docs/checkpoints.md.

    Returns
    -------
    History
        ``"loss"``, ``"accuracy"`` (cross-entropies), ``"mae"`` (regression, in the original units of `y`) or
        ``"label_error_rate"`` (CTC), the same with ``"val_"``, and ``"lr"``. With a target scaler the loss is that
        of the scaled targets. After Ctrl-C `History.interrupted` is true and the model has the weights of that
        moment.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, the data hold NaN or infinity, or `resume` leads to another run. No weight has
        changed.
    OSError
        If the file to resume from cannot be read (no weight has changed), or a callback cannot write.
    RuntimeError
        If the model is frozen.
    TrainingDiverged
        If loss, gradient or weights become NaN or infinite. The model has the last weights whose loss was
        finite.
    """
    loss = get_loss(loss)
    optimizer = get_optimizer(optimizer)
    epochs = _checks.count("epochs", epochs)
    batch_size = _checks.count("batch_size", batch_size)
    seed = model.seed if seed is None else _checks.count("seed", seed, least=0, bits=_checks.MANY)
    every = _checks.checkpoints(checkpoint_every)
    steps = 0 if tbptt_steps is None else _checks.count("tbptt_steps", tbptt_steps)
    shuffle = _checks.flag("shuffle", shuffle)
    resolve_threads(n_threads)
    callbacks = _checked_callbacks(callbacks, verbose)
    user_metrics = named_metrics(metrics, loss)
    saved = find_saved(resume, callbacks)

    inputs = checked_inputs(model, X, lengths)
    if steps:
        check_pieces(model, loss)
    train = checked_cases(model, inputs, y, loss, sample_weight=sample_weight)
    validation = _validation_cases(model, train, loss, validation_data)
    validation_split = _checks.below_one("validation_split", 0.0 if validation_split is None else validation_split)
    data = {"training": train} if validation is None else {"training": train, "validation": validation}
    if validation_split:
        if validation is not None:
            raise ValueError("give either validation_data or validation_split")
        train, validation = _split_off(train, validation_split, seed, loss)
    if user_metrics and validation is None:
        raise ValueError("metrics are measured on validation data: give validation_data or validation_split")
    class_weights = (
        None if class_weight is None else _class_weights(class_weight, train.targets, loss, model.output_size)
    )

    names = ["loss"] if loss.metric_name is None else ["loss", loss.metric_name]
    if validation is not None:
        names += [f"val_{name}" for name in (*names, *user_metrics)]
    history = History([*names, "lr"])

    def batches_of(epoch: int, first: int = 0) -> Iterator[Indices]:
        n = len(train)
        return Shuffle(n, seed, epoch).batches(batch_size, first) if shuffle else in_order(n, batch_size, first)

    steps_per_epoch = count_pieces(train.inputs, batches_of(1), steps) if steps else -(-len(train) // batch_size)
    feed = Feed(model, train, steps, training=True, n_threads=n_threads, checkpoint_every=every)
    run = _Run(feed, loss, optimizer, class_weights, callbacks, history)
    checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    state = RunState(model, optimizer, history, feed, run.good, run.progress, callbacks)
    if checkpoints or saved is not None:
        state.run = {
            "data": {name: fingerprints(cases) for name, cases in data.items()},
            "model": {name: value for name, value in model.get_config().items() if name in _FIXED},
            "scaled": [name for name in SCALERS if getattr(model, name) is not None],
            "classes": train.targets.classes,
            "loss": described(loss),
            "optimizer": described(optimizer),
            "epochs": epochs,
            "batch_size": batch_size,
            "validation_split": validation_split,
            "class_weight": None if class_weights is None else class_weights.tolist(),
            "shuffle": shuffle,
            "seed": seed,
            "tbptt_steps": tbptt_steps,
            "steps_per_epoch": steps_per_epoch,
            "names": list(history.history),
        }
    if saved is not None:
        saved.check(state)
    optimizer.bind(steps_per_epoch, epochs)
    state.schedule, run.progress.last_lr = optimizer.schedule, optimizer.lr
    for checkpoint in checkpoints:
        checkpoint.bind(state)
    with ExitStack() as at_end:
        for callback in callbacks:
            callback.attach(model, optimizer, history, epochs, steps_per_epoch)
        if saved is None:
            for callback in callbacks:
                at_end.callback(callback.on_train_end)
                callback.on_train_begin()
        else:
            saved.restore(state)
            for callback, remembered in saved.with_states(callbacks):
                at_end.callback(callback.on_train_end)
                saved.resume_callback(callback, remembered)
            saved.restore_weights(state)
        model.loss = loss
        model.classes = train.targets.classes
        if model.scaler is not None and not model.scaler.fitted:
            model.scaler.fit(train.inputs)
        if isinstance(train.targets, Targets) and model.target_scaler is not None and not model.target_scaler.fitted:
            model.target_scaler.fit(train.targets)
        try:
            while run.progress.epoch <= epochs and not run.progress.stopped:
                epoch, done = run.progress.epoch, run.progress.batch
                if not done:
                    for callback in callbacks:
                        callback.on_epoch_begin(epoch)
                pieces = feed.pieces(batches_of(epoch), done) if steps else feed.pieces(batches_of(epoch, done))
                logs = run.epoch(pieces)
                if logs is None:
                    break
                if validation is not None:
                    measured = run_evaluation(
                        model, validation, loss, user_metrics, _EVALUATION_BATCH, n_threads, steps=steps
                    )
                    if not math.isfinite(measured["loss"]):
                        run.diverge(f"the validation loss became {measured['loss']} after epoch {epoch}")
                    logs.update((f"val_{name}", value) for name, value in measured.items())
                logs["lr"] = run.progress.last_lr
                history.append(logs)
                run.progress.next_epoch()
                for callback in callbacks:
                    callback.on_epoch_end(epoch, dict(logs))
                if run.stopped():
                    break
        except KeyboardInterrupt:
            history.interrupted = True
    return history


class _Run:
    """One training run: the state of the loop over batches."""

    def __init__(
        self,
        feed: Feed,
        loss: Loss,
        optimizer: Optimizer,
        class_weights: Array | None,
        callbacks: list[Callback],
        history: History,
    ) -> None:
        self.feed = feed
        self.model = feed.model
        self.loss = loss
        self.optimizer = optimizer
        self.class_weights = class_weights
        self.callbacks = callbacks
        self.history = history
        self.progress = Progress()
        # The last weights whose loss was finite. Copying them costs little beside the update, and an update
        # that ruins the weights shows only in the next loss.
        self.good = self.model.flat_parameters.copy()

    def epoch(self, pieces: Iterator[Piece]) -> dict[str, float] | None:
        """Train on what is left of an epoch; mean loss and metric, or None if a callback stopped the training."""
        model, loss, optimizer, n_threads = self.model, self.loss, self.optimizer, self.feed.n_threads
        progress, epoch = self.progress, self.progress.epoch
        scaler = model.target_scaler
        scale = None if scaler is None else scaler.scale_
        listeners = [c for c in self.callbacks if type(c).on_batch_end is not Callback.on_batch_end]
        sums = progress.sums
        logs: dict[str, float] = {}
        for batch, piece in enumerate(pieces, start=progress.batch + 1):
            passes = model._steps
            try:
                _, lengths, y, sample_weight, _ = piece
                weight = sample_weight
                if self.class_weights is not None:
                    weight = self._with_class_weights(y, sample_weight)
                if scaler is not None:
                    scaler.transform_batch_(y)
                model.zero_grad()
                out = self.feed.forward(piece)
                total, weight_sum, d_out = loss(out, y, lengths, weight, n_threads=n_threads)
                if not math.isfinite(total):
                    self.diverge(f"the training loss became {total} in epoch {epoch}, batch {batch}")
                np.copyto(self.good, model.flat_parameters)
                sums[0] += total
                sums[1] += weight_sum
                if loss.metric_name is not None:
                    value, count = loss.metric(out, y, lengths, sample_weight, scale)
                    sums[2] += value
                    sums[3] += count
                # A batch in which nothing counts has no gradient; an update would still move the weights by
                # momentum.
                if weight_sum > 0:
                    model._backward(d_out)
                    progress.last_lr = optimizer.lr
                    try:
                        optimizer.step(model, n_threads)
                    except FloatingPointError as error:
                        raise TrainingDiverged(f"in epoch {epoch}, batch {batch}, {error}", self.history) from error
            except Exception:
                model._steps = passes  # the batch has not been: when it is tried again it draws the same masks
                raise
            progress.batch = batch
            if listeners:
                logs = self._means()
                for callback in listeners:
                    callback.on_batch_end(batch, logs)
                if self.stopped():
                    return None
        if sums[1] == 0:
            raise ValueError("there is nothing to learn: every label is -100 or has weight 0")
        if _core.first_nonfinite(model.flat_parameters) >= 0:
            self.diverge(f"a weight became NaN or infinite at the end of epoch {epoch}")
        return self._means()

    def diverge(self, what: str) -> NoReturn:
        """Put the last good weights back and raise TrainingDiverged."""
        np.copyto(self.model.flat_parameters, self.good)
        raise TrainingDiverged(
            f"{what}; the model has its last good weights. A smaller learning rate, clip_norm=1.0 in the "
            "optimizer, or scaled inputs and targets usually help",
            self.history,
        )

    def stopped(self) -> bool:
        return any(callback.stop_training for callback in self.callbacks)

    def _with_class_weights(self, y: Array, sample_weight: Array | None) -> Array:
        assert self.class_weights is not None
        labels = y if self.loss.kind == "labels" else (y[..., 0] >= 0.5).astype(np.int64)
        # Clipping gives ignored labels (-100) a weight as well, which the loss does not read.
        weight = self.class_weights.take(labels, mode="clip")
        if sample_weight is None:
            return weight
        return weight * (sample_weight if sample_weight.ndim == weight.ndim else sample_weight[:, None])

    def _means(self) -> dict[str, float]:
        loss_sum, loss_weight, metric_sum, metric_weight = self.progress.sums
        logs = {"loss": loss_sum / loss_weight if loss_weight else math.nan}
        if self.loss.metric_name is not None:
            logs[self.loss.metric_name] = metric_sum / metric_weight if metric_weight else math.nan
        return logs


def _checked_callbacks(callbacks: Iterable[Callback], verbose: int) -> list[Callback]:
    if not isinstance(verbose, (int, np.integer)) or verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 0, 1 or 2, got {_checks.shown(verbose)}")
    checked = _checks.listed("callbacks", callbacks, "fl.Callback objects")
    for callback in checked:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be objects of classes derived from fl.Callback, got {callback!r}")
    if verbose == 1:
        checked.append(ProgressBar())
    elif verbose == 2:
        checked.append(EpochPrinter())
    checked.sort(key=lambda callback: isinstance(callback, Checkpoint))  # what the others remember is to be in it
    return checked


def _validation_cases(model: Model, train: Cases, loss: Loss, validation_data: tuple[Any, ...] | None) -> Cases | None:
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3, 4):
        raise ValueError("validation_data must be (X, y), (X, y, lengths) or (X, y, lengths, sample_weight)")
    X, y, lengths, weight = (*validation_data, None, None)[:4]
    inputs = checked_inputs(model, X, lengths, "validation X")
    classes = train.targets.classes
    return checked_cases(model, inputs, y, loss, sample_weight=weight, classes=classes, name="validation y")


def _split_off(cases: Cases, share: float, seed: int, loss: Loss) -> tuple[Cases, Cases]:
    """Training and validation part."""
    fractions = (1.0 - share, share)
    if loss.kind == "labels" and not cases.targets.per_step:
        labels = cases.targets.batch(slice(0, len(cases)), 1)
        train, validation = split(labels, fractions, method="stratified", seed=seed)
    else:
        train, validation = split(len(cases), fractions, method="random", seed=seed)
    return cases.subset(train), cases.subset(validation)


def _class_weights(class_weight: ClassWeight, targets: Targets | LabelSequences, loss: Loss, outputs: int) -> Array:
    """Weight of each class, (classes,) float64."""
    if loss.kind == "labels":
        classes = outputs
    elif isinstance(loss, BinaryCrossEntropy) and targets.n_outputs == 1:
        classes = 2
    else:
        raise ValueError(
            f"class_weight is for classes, and loss={loss.name!r} with {targets.n_outputs} target values has "
            "none: use sample_weight"
        )
    weights = np.ones(classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict or 'balanced', got {class_weight!r}")
        counts = np.zeros(classes, np.int64)
        for block in targets.blocks():
            labels = block[block >= 0] if loss.kind == "labels" else block >= 0.5
            counts += np.bincount(labels.astype(np.int64).reshape(-1), minlength=classes)
        present = counts > 0
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight must be a dict or 'balanced', got {class_weight!r}")
    labels_of = list(range(classes)) if targets.classes is None else targets.classes
    for label, weight in class_weight.items():
        if label not in labels_of:
            raise ValueError(f"class_weight names {label!r}, which is not a class; there are {labels_of}")
        weights[labels_of.index(label)] = _checks.non_negative(f"class_weight[{label!r}]", weight)
    return weights
