"""What every loss is: a value and a gradient, and all that follows from it - which targets, which answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .._typing import Array
from ..data.label_sequences import LabelSequences
from ..data.sequences import Sequences
from ..data.targets import Targets, as_targets
from .batch import Batch, check_arrays

__all__ = ["BuiltInLoss", "Head", "Loss", "softmax"]


class Head(NamedTuple):
    """What the end of a model puts out, for the loss to compare the targets with."""

    outputs: int
    """Features of the output."""
    per_step: bool
    """Whether there is an output for each step, (batch, time, outputs)."""
    dtype: DTypeLike
    scaled: bool = False
    """Whether the model has a target scaler."""


class Loss:
    """Base class of the losses; subclass it to write your own.

    A subclass sets the class attributes and implements `__call__`; overriding `value` saves the gradient
    during validation, overriding `metric` (with `metric_name`) reports a second figure with the loss.

    Attributes
    ----------
    name : str
        Name for `Model.fit(loss=...)` and for saving.
    kind : {"labels", "values", "sequences"}
        Whether targets are int64 class labels, (batch,) or (batch, time), or floats (batch, K) or (batch,
        time, K), or int64 sequences of labels of their own lengths, (batch, L), padded with -100.
    metric_name : str or None
        Name of what `metric` measures, such as ``"accuracy"``; None if there is no metric.
    aligned : bool
        Whether each target belongs to one position of the output, so that they can be compared one by one.
    metric_per_output : bool
        Whether `metric` can also be taken of single outputs with a target each.
    """

    name: ClassVar[str] = "custom"
    kind: ClassVar[Literal["labels", "values", "sequences"]] = "values"
    metric_name: ClassVar[str | None] = None
    aligned: ClassVar[bool] = True
    metric_per_output: ClassVar[bool] = False

    # ------------------------------------------------------------------------------------ value and gradient

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        """Compute the loss of a batch and its gradient.

        Parameters
        ----------
        out : ndarray, (batch, features) or (batch, time, features)
            What the model put out.
        target : ndarray
            int64 labels (batch,) or (batch, time), or values of the shape of `out`.
        lengths : int64 ndarray (batch,), optional
            Valid steps of each sequence; used only if `out` has a time axis.
        weight : ndarray (batch,) or (batch, time), optional
            Weight of each position, >= 0.
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.

        Returns
        -------
        total : float
            Sum of ``weight * loss`` over the positions that count.
        weight_sum : float
            Sum of the weights of the positions that count; the loss of the batch is ``total / weight_sum``.
        d_out : ndarray like `out`
            Gradient of ``total / weight_sum``; zero if nothing counts. Valid until the next call.
        """
        raise NotImplementedError

    def value(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        """Compute `total` and `weight_sum` as `__call__` returns them, without the gradient."""
        total, weight_sum, _ = self(out, target, lengths, weight, n_threads=n_threads)
        return total, weight_sum

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        """Compute the weighted sum of the metric over the positions that count, and the sum of the weights.

        Parameters
        ----------
        out, target, lengths, weight
            As in `__call__`.
        scale : ndarray (K,), optional
            Factor from the units of `target` to the original ones, for metrics that have units.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------------------------ targets

    def as_targets(
        self,
        y: ArrayLike,
        inputs: Sequences,
        head: Head,
        *,
        classes: list[str] | None = None,
        weight: Array | None = None,
        name: str = "y",
    ) -> Targets | LabelSequences:
        """Wrap the targets of a model without copying them, and check that they suit the inputs and the model.

        Parameters
        ----------
        y : array or list of arrays
            As `Model.fit` takes them.
        inputs : Sequences
            The inputs that `y` belongs to.
        head : Head
            What the model puts out.
        classes : list of str, optional
            What the labels stand for; string labels become indices into it.
        weight : array (n,) or (n, T), optional
            Weight of each case or step; values of weight 0 are not looked at.
        name : str
            What error messages call `y`.

        Raises
        ------
        TypeError, ValueError
            If they do not suit each other; the message says what would.
        """
        kind: Literal["labels", "values"] = "labels" if self.kind == "labels" else "values"
        targets = as_targets(y, inputs, head.per_step, kind, classes, weight=weight, dtype=head.dtype, name=name)
        if self.kind == "labels":
            _check_label_outputs(targets, head.outputs)
        else:
            self.check_outputs(head.outputs, targets.n_outputs)
        self.check_values(targets, name)
        if head.scaled and self.metric_name == "accuracy":
            raise ValueError(
                f"a target_scaler is for regression; loss={self.name!r} needs targets as they are: set it to None"
            )
        return targets

    def check_outputs(self, features: int, columns: int) -> None:
        """Raise ValueError if targets of `columns` values do not suit a model of `features` outputs."""
        if features != columns:
            raise ValueError(
                f"the model puts out {features} values and y has {columns}: "
                f"the last layer must have {columns} outputs, for example fl.Dense({columns})"
            )

    def check_values(self, targets: Targets, name: str) -> None:
        """Raise ValueError if the values of the targets are not such as the loss compares with."""

    def check_cases(
        self, targets: Targets | LabelSequences, inputs: Sequences, weight: Array | None, name: str = "y"
    ) -> None:
        """Raise ValueError if a case that has weight cannot be learnt from."""

    def weight_per_step(self, head: Head) -> bool:
        """Tell whether a weight can be given for each step."""
        return head.per_step

    def class_count(self, targets: Targets | LabelSequences, outputs: int) -> int | None:
        """Return the number of classes between which the targets choose; None if they choose between none."""
        return outputs if self.kind == "labels" else None

    def class_labels(self, y: Array) -> Array:
        """Return the class index of each target, -100 for those that are ignored; for losses with a `class_count`."""
        return y

    def strata(self, targets: Targets | LabelSequences) -> Array | None:
        """Return a label (n,) for each case, of which every part of the data should get its share; None if none."""
        if self.kind == "labels" and not targets.per_step:
            return targets.batch(slice(0, len(targets)), 1)
        return None

    def counted(self, y: Array, out: Array, lengths: Array | None) -> tuple[Array, Array]:
        """Return targets (N,) or (N, K) and outputs (N, F) of the positions that count, as copies."""
        counts = y >= 0 if self.kind == "labels" else np.isfinite(y).all(axis=-1)
        if out.ndim == 3 and lengths is not None:
            counts &= np.arange(out.shape[1]) < lengths[:, None]
        return y[counts], out[counts]

    # ------------------------------------------------------------------------------------ answers

    def probabilities(self, out: Array) -> Array:
        """Turn what a model puts out into probabilities.

        Raises
        ------
        ValueError
            If the loss is one of regression.
        """
        if self.metric_name != "accuracy":
            raise ValueError(f"this model was trained for regression (loss={self.name!r}): use predict")
        return softmax(out)

    def decide(self, out: Array | list[Array], lengths: ArrayLike | None, classes: Sequence[str] | None) -> Any:
        """Turn what a model puts out, an array or a list of one for each case, into the most probable classes."""
        if isinstance(out, list):
            return [self.decide_positions(self.probabilities(one), classes) for one in out]
        return self.decide_positions(self.probabilities(out), classes)

    def decide_positions(self, probabilities: Array, classes: Sequence[str] | None) -> Array:
        """Choose the most probable class of each position: indices, or their names where there are names."""
        index: Array = probabilities.argmax(axis=-1)
        return index if classes is None else np.asarray(classes)[index]

    # ------------------------------------------------------------------------------------ files

    def get_config(self) -> dict[str, Any]:
        """Return name and arguments, fit for JSON; `get_loss` makes the same loss from it."""
        return {"name": self.name}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({arguments})"


class BuiltInLoss(Loss):
    """Base class of this package's losses: the arguments are checked here, once, and go on as a `Batch`."""

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        batch = Batch(out, target, lengths, weight)
        check_arrays(batch)
        return self.gradient_of(batch, n_threads)

    def value(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        batch = Batch(out, target, lengths, weight)
        check_arrays(batch)
        return self.value_of(batch, n_threads)

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        batch = Batch(out, target, lengths, weight)
        check_arrays(batch)
        return self.metric_of(batch, scale)

    def gradient_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float, Array]:
        """Compute what `__call__` returns."""
        raise NotImplementedError

    def value_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float]:
        """Compute what `value` returns."""
        raise NotImplementedError

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        """Compute what `metric` returns."""
        raise NotImplementedError


def softmax(scores: Array) -> Array:
    """Return exp(z - max z) / sum exp(z - max z) over the last axis, in NumPy."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


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
