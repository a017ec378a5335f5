"""Prediction and evaluation: batches through a trained model, and the checked data that training shares with
them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._arrays import real_numbers
from ..data import Standardizer
from ..data.label_sequences import LabelSequences, as_label_sequences
from ..data.sequences import Indices, Sequences, as_sequences
from ..data.targets import Targets, as_targets
from ..losses import CTC, BinaryCrossEntropy, Loss, get_loss
from ..losses.ctc import steps_needed
from ..losses.elementwise import Regression
from .feeding import Feed

if TYPE_CHECKING:
    from ..model import Model

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]
Metrics = Sequence[Metric] | Mapping[str, Metric]


def predict(
    model: Model,
    X: Sequences | ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    batch_size: int = 256,
    n_threads: int | None = None,
) -> Array | list[Array]:
    """Outputs of a built model, batch by batch.

    Parameters
    ----------
    X : array (n, T, F) or (n, T), memory map, or list of (T_i, F) arrays
        Inputs, in the units of the training data: the model's scaler is applied here.
    lengths : int array (n,), optional
        Valid steps of each case of an array.
    batch_size : int, default 256
        Cases at a time; it bounds the memory and does not change the result.
    n_threads : int, optional
        Threads to use; by default as configured.

    Returns
    -------
    ndarray or list of ndarray
        (n, outputs); with one output per step (n, T, outputs), where steps beyond a length are zero, or for a
        list of series a list of (T_i, outputs) arrays. The model's dtype. Class scores (logits), or values in
        the original units if the model has a target scaler.

    Raises
    ------
    TypeError, ValueError
        If the input does not fit or holds NaN or infinity.
    """
    batch_size = _checks.count("batch_size", batch_size)
    inputs = checked_inputs(model, X, lengths)
    as_list = model.per_step and isinstance(X, (list, tuple))
    parts: list[Array] = []
    result: Array | None = None
    for chosen in in_order(len(inputs), batch_size):
        x, batch_lengths = read_inputs(model, inputs, chosen)
        out = _original_units(model._forward(x, batch_lengths, False, n_threads), model.target_scaler)
        if as_list:
            ends = [out.shape[1]] * len(out) if batch_lengths is None else batch_lengths
            parts.extend(row[:end].copy() for row, end in zip(out, ends, strict=True))
            continue
        if result is None:
            shape = (len(inputs), inputs.time, out.shape[-1]) if model.per_step else (len(inputs), out.shape[-1])
            result = np.zeros(shape, out.dtype)
        if model.per_step:
            result[chosen, : out.shape[1]] = out
            if batch_lengths is not None:
                result[chosen][np.arange(inputs.time) >= batch_lengths[:, None]] = 0.0
        else:
            result[chosen] = out
    return parts if result is None else result


def evaluate(
    model: Model,
    X: Sequences | ArrayLike,
    y: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    loss: Loss | str | None = None,
    sample_weight: ArrayLike | None = None,
    metrics: Metrics | None = None,
    batch_size: int = 256,
    n_threads: int | None = None,
) -> dict[str, float]:
    """Loss and metrics of a built model on labelled data.

    Parameters
    ----------
    X, y, lengths
        Inputs and targets as in `Model.fit`.
    loss : str or Loss, optional
        By default the one that the model was trained with.
    sample_weight : array (n,) or (n, T), optional
        Weight of each case or step in the loss and in the loss's own metric.
    metrics : list or dict of callables, optional
        Functions ``metric(y_true, y_pred) -> float`` beside the loss's own metric; a list is named after the
        functions. They are given every position that counts at once: `y_true` (N,) labels or (N, K) values,
        and `y_pred` (N, outputs) as `predict` returns them. For a function of class labels, such as those of
        scikit-learn, pass ``lambda y, scores: f1_score(y, scores.argmax(1), average="macro")``.
    batch_size : int, default 256
        Cases at a time.
    n_threads : int, optional
        Threads to use; by default as configured.

    Returns
    -------
    dict of str to float
        ``"loss"``, then ``"accuracy"`` for the cross-entropies, ``"mae"`` for the regression losses or
        ``"label_error_rate"`` for CTC, then `metrics`. With a target scaler the loss is that of the scaled
        targets, as in training, and ``"mae"`` and `metrics` are in the original units. For several outputs with a
        target each ``"mae"`` is their mean, and ``"mae_0"``, ``"mae_1"``, ... are those of the single ones.

    Raises
    ------
    TypeError, ValueError
        If inputs, targets or weights do not fit the model or hold NaN or infinity.
    """
    loss = model.loss if loss is None else get_loss(loss)
    if loss is None:
        raise ValueError(
            "this model has not been trained with fit, so evaluate needs to be told the loss, e.g. loss='mse'"
        )
    cases = checked_cases(model, checked_inputs(model, X, lengths), y, loss, sample_weight=sample_weight)
    batch_size = _checks.count("batch_size", batch_size)
    return run_evaluation(model, cases, loss, named_metrics(metrics, loss), batch_size, n_threads, per_output=True)


@dataclass(frozen=True)
class Cases:
    """Inputs with their targets and weights, all checked."""

    inputs: Sequences
    targets: Targets | LabelSequences
    weight: Array | None
    """(n,) or (n, T), float64; None if all are 1."""

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, indices: Indices) -> Cases:
        """Some of the cases; at least one of them must have weight."""
        weight = None if self.weight is None else self.weight[indices]
        if weight is not None and not weight.any():
            raise ValueError("a part of the data has only sample weights of 0: give its cases weight, or drop them")
        return Cases(self.inputs.subset(indices), self.targets.subset(indices), weight)

    def read(self, model: Model, indices: Indices) -> tuple[Array, Array | None, Array, Array | None]:
        """One batch: scaled inputs, lengths, targets as the user gave them, weights."""
        x, lengths = read_inputs(model, self.inputs, indices)
        y = self.targets.batch(indices, x.shape[1], model.dtype)
        weight = None if self.weight is None else self.weight[indices]
        if weight is not None and weight.ndim == 2:
            weight = weight[:, : x.shape[1]]
        return x, lengths, y, weight


def checked_inputs(model: Model, X: Sequences | ArrayLike, lengths: ArrayLike | None, name: str = "X") -> Sequences:
    """`X` as Sequences that fit the model; builds the model if it is not built yet."""
    inputs = as_sequences(X, lengths, tokens=model.takes_tokens, name=name)
    model._build_from(inputs)
    return inputs


def checked_cases(
    model: Model,
    inputs: Sequences,
    y: ArrayLike,
    loss: Loss,
    *,
    sample_weight: ArrayLike | None = None,
    classes: list[str] | None = None,
    name: str = "y",
) -> Cases:
    """Inputs and targets together, if targets and weights fit the model and the loss.

    String labels are numbered by `classes`, by default those of the model, or else their sorted order.
    """
    if isinstance(loss, CTC):
        return _checked_label_sequences(model, inputs, y, loss, sample_weight, classes, name)
    weight = _checked_weight(sample_weight, inputs, model.per_step)
    kind: Literal["labels", "values"] = "labels" if loss.kind == "labels" else "values"
    targets = as_targets(
        y, inputs, model.per_step, kind, classes or model.classes, weight=weight, dtype=model.dtype, name=name
    )
    if loss.kind == "labels":
        _check_label_outputs(targets, model.output_size)
    else:
        loss.check_outputs(model.output_size, targets.n_outputs)
    if isinstance(loss, BinaryCrossEntropy) and any(((b < 0) | (b > 1)).any() for b in targets.blocks()):
        raise ValueError(f"{name} must hold 0 and 1 for loss='binary_cross_entropy', got other values")
    if model.target_scaler is not None and loss.metric_name == "accuracy":
        raise ValueError(
            f"a target_scaler is for regression; loss={loss.name!r} needs targets as they are: set it to None"
        )
    return Cases(inputs, targets, weight)


def _checked_label_sequences(
    model: Model,
    inputs: Sequences,
    y: Any,
    loss: CTC,
    sample_weight: ArrayLike | None,
    classes: list[str] | None,
    name: str,
) -> Cases:
    if not model.per_step:
        raise ValueError(
            "loss='ctc' needs an output for each step and the model puts out one for each case: make the last LSTM "
            "return_sequences=True, and leave pooling out"
        )
    if model.target_scaler is not None:
        raise ValueError("a target_scaler is for regression; loss='ctc' needs labels as they are: set it to None")
    targets = as_label_sequences(y, len(inputs), loss.blank, classes or model.classes, name=name)
    if targets.n_outputs > model.output_size or (targets.classes and targets.n_outputs != model.output_size):
        raise ValueError(
            f"{name} and the blank are {targets.n_outputs} classes and the model puts out {model.output_size}: the "
            f"last layer must have {targets.n_outputs} outputs, for example fl.Dense({targets.n_outputs})"
        )
    weight = _checked_weight(sample_weight, inputs, False)
    if not loss.zero_infinity:
        steps = np.full(len(inputs), inputs.time) if inputs.lengths is None else inputs.lengths
        for chosen in in_order(len(targets), 4096):
            needed = steps_needed(targets.batch(chosen, 0), targets.numbers[chosen])
            short = needed > steps[chosen]
            if weight is not None:
                short &= weight[chosen] != 0
            if short.any():
                case = chosen.start + int(np.argmax(short))
                raise ValueError(
                    f"{name}[{case}] has {targets.numbers[case]} labels, which need {needed[case - chosen.start]} "
                    f"steps, one for each and one between two equal ones; {inputs.name}[{case}] has {steps[case]}: "
                    "drop such cases, or let them count nothing with loss=fl.losses.CTC(zero_infinity=True)"
                )
    return Cases(inputs, targets, weight)


def read_inputs(model: Model, inputs: Sequences, indices: Indices) -> tuple[Array, Array | None]:
    """One batch of inputs, scaled, and its lengths."""
    x, lengths = inputs.batch(indices, model.dtype)
    if model.scaler is not None:
        model.scaler.transform_batch_(x)
    return x, lengths


def run_evaluation(
    model: Model,
    cases: Cases,
    loss: Loss,
    metrics: Mapping[str, Metric],
    batch_size: int,
    n_threads: int | None,
    *,
    steps: int = 0,
    per_output: bool = False,
) -> dict[str, float]:
    """Loss, its metric and `metrics` over all cases, in pieces of so many steps or (0) of whole series.

    `per_output`: the mean absolute error of each output, too, if there are several.
    """
    scaler = model.target_scaler
    scale = None if scaler is None else scaler.scale_
    sums = np.zeros(4)  # loss, its weights, metric, its weights
    outputs = cases.targets.n_outputs
    if not (per_output and outputs > 1 and outputs == model.output_size and isinstance(loss, Regression)):
        outputs = 0
    errors = np.zeros((outputs, 2))  # of each output, with its weights
    seen: list[tuple[Array, Array]] = []
    feed = Feed(model, cases, steps, training=False, n_threads=n_threads)
    for piece in feed.pieces(in_order(len(cases), batch_size)):
        _, lengths, y, weight, _ = piece
        out = feed.forward(piece)
        if metrics:
            seen.append(_counted(y, _original_units(out, scaler), lengths, loss))
        if scaler is not None:
            scaler.transform_batch_(y)
        sums[:2] += loss.value(out, y, lengths, weight, n_threads=n_threads)
        if loss.metric_name is not None:
            sums[2:] += loss.metric(out, y, lengths, weight, scale)
        for k in range(outputs):
            one = slice(k, k + 1)
            of_scale = scale if scale is None or scale.size == 1 else scale.reshape(-1)[one]
            errors[k] += loss.metric(out[..., one], y[..., one], lengths, weight, of_scale)
    if sums[1] == 0:
        raise ValueError("nothing to evaluate: every label is -100 or every weight is 0")
    result = {"loss": float(sums[0] / sums[1])}
    if loss.metric_name is not None:
        result[loss.metric_name] = float(sums[2] / sums[3]) if sums[3] else math.nan
    result.update((f"{loss.metric_name}_{k}", float(error / weights)) for k, (error, weights) in enumerate(errors))
    if metrics:
        y_true, y_pred = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
        result.update((name, float(metric(y_true, y_pred))) for name, metric in metrics.items())
    return result


def named_metrics(metrics: Metrics | None, loss: Loss) -> dict[str, Metric]:
    """`metrics` as a dict, named after the functions if it is a list."""
    given = (
        metrics
        if isinstance(metrics, Mapping)
        else _checks.listed("metrics", [] if metrics is None else metrics, "functions")
    )
    if not given:
        return {}
    if loss.kind == "sequences":
        raise ValueError(
            f"metrics compare targets and outputs position by position, and those of loss={loss.name!r} are not "
            "aligned: leave them out, and compare y with ctc_decode(model.predict(X))"
        )
    named = dict(given) if isinstance(given, Mapping) else {}
    if not isinstance(given, Mapping):
        for metric in given:
            name = getattr(metric, "__name__", "<lambda>")
            if not callable(metric) or name == "<lambda>" or name in named:
                raise ValueError(
                    f"metrics must be named functions of (y_true, y_pred), got {metric!r:.200}: give a dict such "
                    "as {'rmse': function} for others; accuracy or mae is always reported"
                )
            named[name] = metric
    for key, metric in named.items():
        if not isinstance(key, str) or not callable(metric):
            raise TypeError(f"metrics must map names to functions of (y_true, y_pred), got {key!r}: {metric!r:.200}")
    taken = ("epoch", "loss", "accuracy", "mae", "label_error_rate", "lr")
    reserved = {name for name in named if name in taken or re.fullmatch("mae_[0-9]+", name)}
    if reserved:
        raise ValueError(f"metrics must not be called {', '.join(sorted(reserved))}: these names are taken")
    return named


def in_order(n: int, batch_size: int, first: int = 0) -> Iterator[slice]:
    """The batches of n cases, one after the other, from batch `first` on."""
    for start in range(first * batch_size, n, batch_size):
        yield slice(start, min(start + batch_size, n))


def _original_units(out: Array, scaler: Standardizer | None) -> Array:
    """The model's output, not scaled any more if there is a target scaler.

    Not Standardizer.inverse_transform: several quantiles of one target share its one scale.
    """
    if scaler is None:
        return out
    values: Array = out * scaler.scale_ + scaler.mean_
    return values.astype(out.dtype, copy=False)


def _counted(y: Array, out: Array, lengths: Array | None, loss: Loss) -> tuple[Array, Array]:
    """Targets (N,) or (N, K) and outputs (N, F) of the positions that count."""
    counts = y >= 0 if loss.kind == "labels" else np.isfinite(y).all(axis=-1)
    if out.ndim == 3 and lengths is not None:
        counts &= np.arange(out.shape[1]) < lengths[:, None]
    return y[counts], out[counts]  # a mask copies: out is overwritten by the next batch


def _check_label_outputs(targets: Targets, outputs: int) -> None:
    if outputs < 2:
        raise ValueError(
            "loss='cross_entropy' needs one output per class and the model has 1: give the last layer an "
            "output for each class, or use loss='binary_cross_entropy' with targets of 0 and 1"
        )
    if targets.n_outputs > outputs or (targets.classes is not None and targets.n_outputs != outputs):
        raise ValueError(
            f"y has {targets.n_outputs} classes and the model puts out {outputs}: the last layer must have "
            f"{targets.n_outputs} outputs, for example fl.Dense({targets.n_outputs})"
        )


def _checked_weight(sample_weight: ArrayLike | None, inputs: Sequences, per_step: bool) -> Array | None:
    if sample_weight is None:
        return None
    weight = real_numbers(sample_weight, False, "sample_weight")
    shapes = [(len(inputs),), (len(inputs), inputs.time)] if per_step else [(len(inputs),)]
    if weight.shape not in shapes:
        raise ValueError(f"sample_weight must have shape {' or '.join(map(str, shapes))}, got {weight.shape}")
    with np.errstate(over="ignore"):
        weight = weight.astype(np.float64)
    valid = weight
    if weight.ndim == 2 and inputs.lengths is not None:
        valid = weight[np.arange(inputs.time) < inputs.lengths[:, None]]
    if not np.isfinite(valid).all() or (valid < 0).any() or not valid.any():
        raise ValueError("sample_weight must hold finite numbers >= 0, not all of them 0")
    return weight
