"""CTC, the loss of label sequences that are not aligned with the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks, _core, _exact
from .._typing import Array
from ..data.label_sequences import LabelSequences, as_label_sequences
from ..data.sequences import Sequences
from ..data.targets import Targets
from ..runtime.buffers import ThreadBuffers
from ..runtime.config import call_threads
from .base import Head, Loss, softmax
from .batch import Batch, position_weights, total_weight
from .decoding import best_path, ctc_decode, label_errors
from .registry import register

__all__ = ["CTC", "steps_needed"]

_CASES_AT_ONCE = 4096


class _Memory(ThreadBuffers):
    """Buffers and workspace of a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.workspace = _core.Workspace()


@register
class CTC(Loss):
    """Connectionist temporal classification: from series to shorter sequences of labels (Graves et al. 2006).

    At each step the model gives one score for each label and one for the *blank*, which means no label. A path chooses
    one of these classes at each step; its labels are what remains after repetitions are merged and blanks removed. The
    loss of a case is ``-log`` of the total probability of all paths with its labels, as computed by
    ``torch.nn.CTCLoss(reduction="sum")``; the loss of a batch is the mean over the cases. (PyTorch's ``"mean"`` first
    divides the loss of each case by the number of its labels.)

    The targets of `Model.fit` are, for each case, a list or array of integers other than the blank, a string whose
    characters are the labels, or a list of strings; or one integer array (n, L) padded with -100; or ``(array, numbers
    of labels)``. The metric is the label error rate: the number of insertions, deletions and substitutions that turn
    the result of `ctc_decode` into the labels, divided by the number of labels.

    A case needs one step for each label and one more for each label that equals its predecessor. With fewer steps its
    labels have probability 0 and an infinite loss: `Model.fit` and `Model.evaluate` refuse such data before any weight
    changes.

    Parameters
    ----------
    blank : int, default 0
        The class that means no label.
    zero_infinity : bool, default False
        Whether to accept cases of infinite loss; they count neither in the loss nor in the gradient.

    Raises
    ------
    TypeError, ValueError
        If blank is not an integer of at least 0, or zero_infinity is not a bool.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> scores = np.log(np.full((1, 3, 2), 0.5))  # one case, 3 steps, the blank and one label
    >>> total, weight_sum, d_out = fl.CTC()(scores, np.array([[1]]))
    >>> round(float(np.exp(-total)), 4)  # 6 of the 8 paths mean [1]
    0.75
    """

    name = "ctc"
    kind = "sequences"
    metric_name = "label_error_rate"
    aligned = False

    def __init__(self, blank: int = 0, zero_infinity: bool = False) -> None:
        self.blank = _checks.count("blank", blank, least=0)
        self.zero_infinity = _checks.as_bool("zero_infinity", zero_infinity)
        self._memory = _Memory()

    def gradient_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float, Array]:
        """Compute loss and gradient; target is int64 (batch, L), padded with -100, and weight is (batch,).

        If a case has too few steps, its gradient is zero and, without `zero_infinity`, the total is infinite.
        """
        d_out = self._memory.get("d_out", batch.out.shape, batch.out.dtype)
        total, weight_sum = self._compute(batch, d_out, n_threads)
        return total, weight_sum, d_out

    def value_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float]:
        return self._compute(batch, None, n_threads)

    def positions(self, batch: Batch) -> Array:
        impossible = self._impossible(batch)
        return np.ones(len(batch.out), bool) if impossible is None else ~impossible

    def _impossible(self, batch: Batch) -> Array | None:
        """Return the mask of the cases that do not count, because they have too few steps; None if all count."""
        if not self.zero_infinity:
            return None
        out, target, lengths, _ = batch
        steps = np.full(len(out), out.shape[1]) if lengths is None else lengths
        return np.asarray(steps_needed(target, _numbers(out, target)) > steps)

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        out, target, lengths, weight = batch
        numbers = _numbers(out, target)
        weights = np.ones(len(out)) if weight is None else weight
        expected = [row[:number] for row, number in zip(target, numbers, strict=True)]
        errors = label_errors(best_path(out, lengths, self.blank), expected)
        return _exact.total(errors, weights), _exact.total(numbers, weights)

    def as_targets(
        self,
        y: ArrayLike,
        inputs: Sequences,
        head: Head,
        *,
        classes: list[str] | None = None,
        weight: Array | None = None,
        name: str = "y",
    ) -> LabelSequences:
        if not head.per_step:
            raise ValueError(
                "loss='ctc' needs an output for each step and the model has one for each case: set "
                "return_sequences=True in the last LSTM, and leave pooling out"
            )
        if head.scaled:
            raise ValueError("a target_scaler is for regression; loss='ctc' needs unscaled labels: set it to None")
        targets = as_label_sequences(y, len(inputs), self.blank, classes, name=name, steps=head.steps)
        if targets.n_outputs > head.outputs or (targets.classes and targets.n_outputs != head.outputs):
            raise ValueError(
                f"{name} and the blank are {targets.n_outputs} classes and the model has {head.outputs} outputs: the "
                f"last layer must have {targets.n_outputs} outputs, for example fl.Dense({targets.n_outputs})"
            )
        return targets

    def weight_per_step(self, head: Head) -> bool:
        return False

    def check_cases(
        self, targets: Targets | LabelSequences, inputs: Sequences, weight: Array | None, name: str = "y"
    ) -> None:
        if self.zero_infinity or not isinstance(targets, LabelSequences):
            return
        steps = inputs.output_steps()
        if targets.steps is not None:
            steps = np.full(len(inputs), targets.steps)
        for start in range(0, len(targets), _CASES_AT_ONCE):
            chosen = slice(start, start + _CASES_AT_ONCE)
            needed = steps_needed(targets.batch(chosen, 0), targets.numbers[chosen])
            short = needed > steps[chosen]
            if weight is not None:
                short &= weight[chosen] != 0
            if short.any():
                place = int(np.argmax(short))
                case = start + place
                of = f"{inputs.name}[{case}]" if targets.steps is None else "the model's output"
                masked = " that are not masked" if inputs.masks_output else ""
                raise ValueError(
                    f"{name}[{case}] has {targets.numbers[case]} labels, which need {needed[place]} "
                    f"steps, one for each and one between two equal ones; {of} has {steps[case]}{masked}: "
                    "drop such cases, or exclude them from the loss with loss=fl.losses.CTC(zero_infinity=True)"
                )

    def probabilities(self, out: Array) -> Array:
        return softmax(out)

    def decide(self, out: Array | list[Array], lengths: ArrayLike | None, classes: Sequence[str] | None) -> list[Array]:
        found = ctc_decode(out, None if isinstance(out, list) else lengths, blank=self.blank)
        return found if classes is None else [np.asarray(classes)[labels] for labels in found]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "blank": self.blank, "zero_infinity": self.zero_infinity}

    def _compute(self, batch: Batch, d_out: Array | None, n_threads: int | None) -> tuple[float, float]:
        out, target, lengths, weight = batch
        numbers = _numbers(out, target)
        weights = position_weights(out.shape[:1], self._impossible(batch), weight)
        weight_sum = total_weight(weights, len(out))
        if weights is None:
            weights = np.ones(len(out))
        shares = weights / weight_sum if weight_sum > 0 else weights
        losses = self._memory.get("losses", (len(out),), np.float64)
        _core.ctc(
            np.ascontiguousarray(out),
            np.ascontiguousarray(target, np.int64),
            numbers,
            self.blank,
            shares,
            d_out,
            losses,
            self._memory.workspace,
            lengths=None if lengths is None else np.ascontiguousarray(lengths, np.int64),
            n_threads=call_threads(n_threads),
        )
        if self.zero_infinity:  # enough steps, but a score of -inf on every path
            losses[np.isinf(losses)] = 0.0
        return _exact.total(losses) * weight_sum, weight_sum


def steps_needed(labels: Array, numbers: Array) -> Array:
    """Return how many steps the labels (batch, L) of each case need: one per label, and a blank between equal ones."""
    counted = np.arange(labels.shape[1]) < numbers[:, None]
    repeated = (labels[:, 1:] == labels[:, :-1]) & counted[:, 1:]
    return np.asarray(numbers + repeated.sum(axis=1))


def _numbers(out: Array, target: Array) -> Array:
    """Return the number of labels of each case."""
    if out.ndim != 3 or target.ndim != 2 or len(target) != len(out) or target.dtype.kind not in "iu":
        raise ValueError(
            f"for an output of shape {out.shape} target must be integer labels (batch, labels), padded with -100, and "
            f"the output (batch, time, classes); got {target.dtype} of shape {target.shape}"
        )
    present = target >= 0
    if (present[:, 1:] & ~present[:, :-1]).any():
        raise ValueError(
            "target has labels after the padding of a case: padding (-100) must come after all labels of a case"
        )
    return np.asarray(present.sum(axis=1, dtype=np.int64))
