"""Evaluation: loss and metrics of a model on labelled data."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from ..data.batching import bounded_batches
from ..data.case_objects import refuse_dataset
from ..data.cases import Cases
from ..losses import Loss, get_loss
from ..losses.base import apply_link
from ..protocols import InferenceModel
from .counted import Counted
from .feeding import Feed, Segment
from .inputs import checked_cases, checked_inputs
from .metrics import Metric, Metrics, named_metrics
from .outputs import as_scores, check_link, loss_of, skipped_layer
from .predict import original_units

__all__ = ["evaluate", "run_evaluation"]


class Share(Protocol):
    """The part of the work that a process does; `training.reduce.Reduce` is one."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def joined(self, parts: dict[int, Any]) -> dict[int, Any]:
        """Return the entries of all processes together."""


class _Whole:
    """All of the work."""

    rank, size = 0, 1

    def joined(self, parts: dict[int, Any]) -> dict[int, Any]:
        return parts


def evaluate(
    model: InferenceModel,
    X: Any,
    y: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    loss: Loss | str | None = None,
    sample_weight: ArrayLike | None = None,
    metrics: Metrics | None = None,
    batch_size: int = 256,
    n_threads: int | None = None,
) -> dict[str, float]:
    """Do the work of `Model.evaluate`."""
    loss = loss_of(model) if loss is None else get_loss(loss)
    check_link(model.network, loss)
    cases: Cases
    if y is None:
        from .dataset_inputs import dataset_cases  # few programs need it

        cases = dataset_cases(model, X, loss, lengths=lengths, sample_weight=sample_weight)
    else:
        refuse_dataset(X)
        cases = checked_cases(model, checked_inputs(model, X, lengths), y, loss, sample_weight=sample_weight)
    batch_size = _checks.count("batch_size", batch_size)
    return run_evaluation(model, cases, loss, named_metrics(metrics, loss), batch_size, n_threads, per_output=True)


def run_evaluation(
    model: InferenceModel,
    cases: Cases,
    loss: Loss,
    metrics: Mapping[str, Metric],
    batch_size: int,
    n_threads: int | None,
    *,
    steps: int = 0,
    per_output: bool = False,
    share: Share | None = None,
) -> dict[str, float]:
    """Measure the loss, its metric and `metrics` over all cases, in segments of `steps` steps; 0: in whole series.

    Of several processes, each computes a `share` of the batches, and all get the same result, which has the bits of one
    process. With `per_output` also the metric of each output, if there are several outputs and the loss allows it.
    """
    scaler = model.target_scaler
    scale = None if scaler is None else scaler.scale_
    share = _Whole() if share is None else share
    outputs = cases.targets.n_outputs
    if not (per_output and outputs > 1 and outputs == model.network.output_size and loss.metric_per_output):
        outputs = 0
    measured: dict[int, list[Array]] = {}  # by number of the batch, for each segment
    final, skip = model.network.final_activation(), skipped_layer(model.network, loss, training=False)
    counted = Counted(loss, in_segments=steps > 0)
    with closing(_passes(model, cases, batch_size, n_threads, steps, skip, counted, share)) as passes:
        for number, segment, out in passes:
            _, lengths, y, weight, *_ = segment
            if metrics:
                predicted = (
                    original_units(out, scaler) if skip is None or final is None else apply_link(final.kind, out)
                )
                counted.add(segment, predicted)
            if final is not None and skip is None and loss.link is not None:
                out = as_scores(final.kind, out)
            if scaler is not None:
                y = scaler.scaled(y, model.network.dtype)
            row = np.zeros((2 + outputs, 2))  # loss and its weight, metric and its weight, the same of each output
            row[0] = loss.value(out, y, lengths, weight, n_threads=n_threads)
            if loss.metric_name is not None:
                row[1] = loss.metric(out, y, lengths, weight, scale)
            for k in range(outputs):
                one = slice(k, k + 1)
                output_scale = scale if scale is None or scale.size == 1 else scale.reshape(-1)[one]
                own = weight if weight is None or weight.ndim < out.ndim else weight[..., k]
                row[2 + k] = loss.metric(out[..., one], y[..., one], lengths, own, output_scale)
            measured.setdefault(number, []).append(row)
    measured = share.joined(measured)
    total = np.zeros((2 + outputs, 2))
    for number in sorted(measured):
        for row in measured[number]:
            total += row
    sums, errors = total[:2].reshape(-1), total[2:]
    if sums[1] == 0:
        raise ValueError(
            "nothing to evaluate: every label is -100, every weight is 0, every target is missing (nan), or every step "
            "is masked"
        )
    result = {"loss": float(sums[0] / sums[1])}
    if loss.metric_name is not None:
        result[loss.metric_name] = float(sums[2] / sums[3]) if sums[3] else math.nan
    for k, (error, weights) in enumerate(errors.tolist()):
        result[f"{loss.metric_name}_{k}"] = error / weights if weights else math.nan
    if metrics:
        y_true, y_pred = counted.joined(share.rank, share.joined)
        result.update((name, float(metric(y_true, y_pred))) for name, metric in metrics.items())
    return result


def _passes(
    model: InferenceModel,
    cases: Cases,
    batch_size: int,
    n_threads: int | None,
    steps: int,
    skip: int | None,
    counted: Counted,
    share: Share,
) -> Generator[tuple[int, Segment, Array], None, None]:
    """Yield the segments of a share of the cases with their outputs, as the loss reads them, valid until the next.

    Each comes after the number of its batch.

    `counted` is told which cases come.
    """
    begun = 0
    with closing(cases.parts(batch_size)) as parts:
        for first, part in parts:
            feed = Feed(model, part, steps, training=False, n_threads=n_threads, skip=skip)
            batches = list(enumerate(bounded_batches(part.inputs, batch_size), begun))
            begun += len(batches)
            mine = [(number, batch) for number, batch in batches if number % share.size == share.rank]
            counted.begin([batch for _, batch in mine], first)
            for number, batch in mine:
                for segment in feed.segments([batch]):
                    yield number, *feed.counted(segment, feed.forward(segment))
            for _ in range(-(-len(batches) // share.size) - len(mine)):
                part.inputs.stand_by()
            del part, feed  # before the next part is read
