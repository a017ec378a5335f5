"""The loss of sequences of labels that nobody has aligned with the steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _checks, _core
from ..buffers import Buffers
from ..config import resolve_threads
from ..decoding import best_path, label_errors
from .base import Array, Loss, check_arrays, position_weights, total_weight

__all__ = ["CTC", "steps_needed"]


class CTC(Loss):
    """Connectionist temporal classification: from series to shorter sequences of labels (Graves et al. 2006).

    The model answers at each step with one score for each label and one for the *blank*, no label. A path, one of
    them for each step, stands for the labels that are left when repetitions are merged and blanks taken out. The loss
    of a case is ``-log`` of the probability of all paths that stand for its labels, as
    ``torch.nn.CTCLoss(reduction="sum")`` computes it; that of a batch is the mean over the cases. (PyTorch's
    ``"mean"`` divides each case's loss by the number of its labels before.)

    Targets of `Model.fit` are, for each case, a list or array of integers that are not the blank, or a text, whose
    characters are the labels, or a list of texts; or one integer array (n, L) padded with -100; or ``(array, numbers
    of labels)``. The metric is the label error rate: the insertions, deletions and changes that make what `ctc_decode`
    reads off the outputs into the labels, divided by the number of labels.

    Where a case has more labels than its steps have room for (each needs a step, and one more where it equals the one
    before), they have probability 0 and an infinite loss: `Model.fit` and `Model.evaluate` refuse such data, before
    any weight changes.

    Parameters
    ----------
    blank : int, default 0
        The class that stands for no label.
    zero_infinity : bool, default False
        Let such cases be: they count neither in the loss nor in the gradient.
    """

    name = "ctc"
    kind = "sequences"
    metric_name = "label_error_rate"

    def __init__(self, blank: int = 0, zero_infinity: bool = False) -> None:
        self.blank = _checks.count("blank", blank, least=0)
        self.zero_infinity = _checks.flag("zero_infinity", zero_infinity)
        self._buffers = Buffers()
        self._workspace = _core.Workspace()

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        """As `Loss.__call__`; target is int64 (batch, L), each case's labels followed by -100, weight (batch,).

        Without `zero_infinity` the total is infinite if labels have no room; the gradient of such a case is zero.
        """
        check_arrays(out, target, lengths, weight)
        d_out = self._buffers.get("d_out", out.shape, out.dtype)
        total, weight_sum = self._compute(out, target, lengths, weight, d_out, n_threads)
        return total, weight_sum, d_out

    def value(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        check_arrays(out, target, lengths, weight)
        return self._compute(out, target, lengths, weight, None, n_threads)

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        check_arrays(out, target, lengths, weight)
        numbers = _numbers(out, target)
        weights = np.ones(len(out)) if weight is None else weight
        expected = [row[:number] for row, number in zip(target, numbers, strict=True)]
        errors = label_errors(best_path(out, lengths, self.blank), expected)
        return float((weights * errors).sum()), float((weights * numbers).sum())

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "blank": self.blank, "zero_infinity": self.zero_infinity}

    def _compute(
        self,
        out: Array,
        target: Array,
        lengths: Array | None,
        weight: Array | None,
        d_out: Array | None,
        n_threads: int | None,
    ) -> tuple[float, float]:
        numbers = _numbers(out, target)
        steps = np.full(len(out), out.shape[1]) if lengths is None else lengths
        impossible = None
        if self.zero_infinity:
            impossible = steps_needed(target, numbers) > steps
        weights = position_weights(out.shape[:1], impossible, weight)
        weight_sum = total_weight(weights, len(out))
        if weights is None:
            weights = np.ones(len(out))
        shares = weights / weight_sum if weight_sum > 0 else weights
        losses = self._buffers.get("losses", (len(out),), np.float64)
        _core.ctc(
            np.ascontiguousarray(out),
            np.ascontiguousarray(target, np.int64),
            numbers,
            self.blank,
            shares,
            d_out,
            losses,
            self._workspace,
            lengths=None if lengths is None else np.ascontiguousarray(lengths, np.int64),
            n_threads=resolve_threads(n_threads),
        )
        if self.zero_infinity:  # there is room, but a score of -inf on every path
            losses[np.isinf(losses)] = 0.0
        return float(losses.sum()) * weight_sum, weight_sum


def steps_needed(labels: Array, numbers: Array) -> Array:
    """Steps that each case's labels (batch, L) need: one for each, and a blank between two that are equal."""
    counted = np.arange(labels.shape[1]) < numbers[:, None]
    repeated = (labels[:, 1:] == labels[:, :-1]) & counted[:, 1:]
    return np.asarray(numbers + repeated.sum(axis=1))


def _numbers(out: Array, target: Array) -> Array:
    """How many labels each case has."""
    if out.ndim != 3 or target.ndim != 2 or len(target) != len(out) or target.dtype.kind not in "iu":
        raise ValueError(
            f"for an output of shape {out.shape} target must be integer labels (batch, labels), padded with -100, and "
            f"the output (batch, time, classes); got {target.dtype} of shape {target.shape}"
        )
    there = target >= 0
    if (there[:, 1:] & ~there[:, :-1]).any():
        raise ValueError(
            "labels follow the padding of a case in target: padding (-100) must stand behind its labels only"
        )
    return np.asarray(there.sum(axis=1, dtype=np.int64))
