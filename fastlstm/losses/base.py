"""Base classes of the losses: value and gradient, targets that suit the loss, probabilities and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _core, _exact
from .._arguments import ExplainsArguments
from .._typing import Array
from ..activations import SIGMOID
from ..data.label_checks import numbering_cure
from ..data.label_sequences import LabelSequences
from ..data.sequences import Sequences
from ..data.targets import Targets, as_targets
from .batch import Batch, check_arrays, padding

__all__ = ["Head", "Loss", "apply_link", "softmax"]


class Head(NamedTuple):
    """Form of a model's output, which the targets must suit."""

    outputs: int
    """Number of features of the output."""
    per_step: bool
    """Whether there is an output for each step, (batch, time, outputs)."""
    dtype: DTypeLike
    """Type of the output."""
    scaled: bool = False
    """Whether the model has a target scaler."""
    steps: int | None = None
    """Number of steps of each case's output, if a layer of the model sets it; None: those of the input."""


class Loss(ExplainsArguments):
    """Base class of the losses; subclass it to write your own.

    A subclass sets the class attributes and implements `__call__`. Overriding `value` avoids computing the gradient
    during validation; overriding `metric` (with `metric_name`) reports a second figure next to the loss.

    Attributes
    ----------
    name : str
        Name for `Model.fit(loss=...)` and for saving.
    kind : {"labels", "values", "sequences"}
        - "labels": targets are int64 class labels, (batch,) or (batch, time);
        - "values": targets are floats, (batch, K) or (batch, time, K);
        - "sequences": targets are int64 sequences of labels of different lengths, (batch, L), padded with -100.
    metric_name : str or None
        Name of the metric, such as ``"accuracy"``; None if there is no metric.
    aligned : bool
        Whether each target belongs to one position of the output, so that the two can be compared one by one.
    metric_per_output : bool
        Whether `metric` is also reported for each output, if the model has several outputs with a target each.
    weight_per_output : bool
        Whether `weight` may also have the shape of `out`, a weight for each value: where some of the targets of a
        position are missing.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> class Cubic(fl.losses.Loss):
    ...     name = "cubic"
    ...
    ...     def __call__(self, out, target, lengths=None, weight=None, *, n_threads=None):
    ...         error = out - target
    ...         return float((abs(error) ** 3).mean(axis=-1).sum()), len(out), 3 * error * abs(error) / error.size
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(1)])
    >>> history = model.fit(np.ones((8, 5, 1)), np.ones((8, 1)), loss=Cubic(), epochs=1, verbose=0)
    """

    name: ClassVar[str] = "custom"
    kind: ClassVar[Literal["labels", "values", "sequences"]] = "values"
    metric_name: ClassVar[str | None] = None
    aligned: ClassVar[bool] = True
    metric_per_output: ClassVar[bool] = False
    weight_per_output: ClassVar[bool] = False

    @property
    def link(self) -> Literal["softmax", "sigmoid"] | None:
        """Function from the scores `out` to probabilities; None if `out` holds values.

        By default softmax for labels and sequences of labels, and None for values.
        """
        return None if self.kind == "values" else "softmax"

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
            Output of the model.
        target : ndarray
            int64 labels (batch,) or (batch, time), or values of the shape of `out`.
        lengths : int64 ndarray (batch,), optional
            Valid steps of each sequence; used only if `out` has a time axis.
        weight : ndarray (batch,) or (batch, time), optional
            Weight of each position, >= 0; or of each value, like `out`, if `weight_per_output`. Then a position has the
            mean of the weights of its values.
        n_threads : int, optional
            Threads to use; by default as configured. The result does not depend on it.

        Returns
        -------
        total : float
            Sum of ``weight * loss`` over the positions that count.
        weight_sum : float
            Sum of the weights of the positions that count; the loss of the batch is ``total / weight_sum``.
        d_out : ndarray like `out`
            Gradient of ``total / weight_sum``; zero if no position counts. Valid until the next call.

        Raises
        ------
        TypeError, ValueError
            If the type or shape of an array does not fit.
        """
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
        """Compute the loss of a batch without its gradient.

        Parameters
        ----------
        out, target, lengths, weight, n_threads
            As in `__call__`.

        Returns
        -------
        total, weight_sum : float
            As in `__call__`.
        """
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
        """Compute the metric of a batch.

        Parameters
        ----------
        out, target, lengths, weight
            As in `__call__`.
        scale : ndarray (K,), optional
            Factor from the units of `target` to the original units, for metrics that have units.

        Returns
        -------
        total : float
            Sum of ``weight * metric`` over the positions that count.
        weight_sum : float
            Sum of the weights of the positions that count.
        """
        batch = Batch(out, target, lengths, weight)
        check_arrays(batch)
        return self.metric_of(batch, scale)

    # The public methods above check their arguments, make a batch of them and call the following methods.

    def gradient_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float, Array]:
        """Return the sum of the losses, the sum of the weights and the gradient, as `__call__` does."""
        raise NotImplementedError

    def value_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float]:
        """Compute what `value` returns; by default with the gradient."""
        total, weight_sum, _ = self(*batch, n_threads=n_threads)
        return total, weight_sum

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        """Compute what `metric` returns."""
        raise NotImplementedError

    def positions(self, batch: Batch) -> Array:
        """Return the mask of the positions that count, whatever their weights: not padding, ignored or missing.

        If only some values of a position are missing (NaN), it is their share that counts: the array is of floats.
        """
        counts = batch.target >= 0 if self.kind == "labels" else np.ones(batch.out.shape[:-1], bool)
        if self.kind == "values":
            missing = np.isnan(batch.target)
            if missing.any():
                counts = 1.0 - _exact.row_sums(missing) / missing.shape[-1]
        beyond = padding(batch.out, batch.lengths)
        return np.asarray(counts if beyond is None else counts * ~beyond)

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
        """Wrap the targets of a model without copying them, and check that they fit the inputs and the model.

        Parameters
        ----------
        y : array or list of arrays
            As `Model.fit` takes them.
        inputs : Sequences
            The inputs that `y` belongs to.
        head : Head
            Form of the model's output.
        classes : list of str, optional
            Names of the classes; string labels become indices into this list.
        weight : array (n,) or (n, T), optional
            Weight of each case or step; values of weight 0 are not checked.
        name : str, default "y"
            Name of `y` in error messages.

        Returns
        -------
        Targets or LabelSequences

        Raises
        ------
        TypeError, ValueError
            If targets, inputs and model do not fit; the message says what was expected.
        """
        kind: Literal["labels", "values"] = "labels" if self.kind == "labels" else "values"
        targets = as_targets(
            y, inputs, head.per_step, kind, classes, weight=weight, dtype=head.dtype, name=name, steps=head.steps
        )
        if self.kind == "labels":
            _check_label_outputs(self.name, targets, head.outputs, y, name)
        else:
            self.check_outputs(head.outputs, targets.n_outputs)
        self.check_values(targets, name)
        if head.scaled and self.link is not None:
            raise ValueError(
                f"a target_scaler is for regression; loss={self.name!r} needs unscaled targets: set it to None"
            )
        return targets

    def check_outputs(self, features: int, columns: int) -> None:
        """Raise ValueError if targets of `columns` values do not fit a model of `features` outputs."""
        if features != columns:
            raise ValueError(
                f"the model has {features} outputs and y has {columns} values: "
                f"the last layer must have {columns} outputs, for example fl.Dense({columns})"
            )

    def check_values(self, targets: Targets, name: str) -> None:
        """Raise ValueError if the loss is not defined for a value of the targets."""

    def check_cases(
        self, targets: Targets | LabelSequences, inputs: Sequences, weight: Array | None, name: str = "y"
    ) -> None:
        """Raise ValueError if a case of positive weight cannot be learnt."""

    def weight_per_step(self, head: Head) -> bool:
        """Return whether a weight can be given for each step."""
        return head.per_step

    def class_count(self, targets: Targets | LabelSequences, outputs: int) -> int | None:
        """Return the number of classes of the targets; None if the targets are not classes."""
        return outputs if self.kind == "labels" else None

    def class_labels(self, y: Array) -> Array:
        """Return the class index of each target, -100 if ignored; only for losses with a `class_count`."""
        return y

    def strata(self, targets: Targets | LabelSequences) -> Array | None:
        """Return a label (n,) per case by which a split of the data should be stratified; None if there is none."""
        if self.kind == "labels" and not targets.per_step:
            return targets.batch(slice(0, len(targets)), 1)
        return None

    def counted(self, y: Array, out: Array, lengths: Array | None) -> tuple[Array, Array]:
        """Return copies of the targets, (N,) or (N, K), and outputs (N, F) of the positions that count.

        `lengths` are the valid steps of the outputs.
        """
        counts = y >= 0 if self.kind == "labels" else np.isfinite(y).all(axis=-1)
        if out.ndim == 3 and lengths is not None:
            counts &= np.arange(out.shape[1]) < lengths[:, None]
        return y[counts], out[counts]

    # ------------------------------------------------------------------------------------ answers

    def probabilities(self, out: Array) -> Array:
        """Convert scores to probabilities, by the link of the loss.

        Raises
        ------
        ValueError
            If the loss is a regression loss.
        """
        if self.link is None:
            raise ValueError(f"the outputs of this model are values (loss={self.name!r}): use predict")
        return apply_link(self.link, out)

    def decide(self, out: Array | list[Array], lengths: ArrayLike | None, classes: Sequence[str] | None) -> Any:
        """Convert the output of a model, an array or a list of one array per case, to the most probable classes."""
        if isinstance(out, list):
            return [self.decide_positions(self.probabilities(one), classes) for one in out]
        return self.decide_positions(self.probabilities(out), classes)

    def decide_positions(self, probabilities: Array, classes: Sequence[str] | None) -> Array:
        """Return the most probable class of each position: its index, or its name if there are names."""
        index: Array = probabilities.argmax(axis=-1)
        return index if classes is None else np.asarray(classes)[index]

    # ------------------------------------------------------------------------------------ files

    def get_config(self) -> dict[str, Any]:
        """Return name and arguments as data for JSON, from which `get_loss` makes the same loss."""
        return {"name": self.name}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({arguments})"


def apply_link(link: Literal["softmax", "sigmoid"], scores: Array) -> Array:
    """Return the probabilities of scores."""
    if link == "softmax":
        return softmax(scores)
    p = np.array(scores, scores.dtype if scores.dtype in (np.float32, np.float64) else np.float64, order="C")
    _core.activation(SIGMOID.number, 0.0, 0.0, p, p)
    return p


def softmax(scores: Array) -> Array:
    """Return exp(z - max z) / sum exp(z - max z) over the last axis."""
    p = np.array(scores, scores.dtype if scores.dtype in (np.float32, np.float64) else np.float64, order="C")
    rows = p.reshape(-1, p.shape[-1])
    _core.softmax(rows, rows)
    return p


def _check_label_outputs(loss: str, targets: Targets, outputs: int, y: ArrayLike, name: str) -> None:
    names, wanted = targets.classes, targets.n_outputs
    if names is not None and wanted == 1:
        raise ValueError(
            f"{name} holds one class only, {names[0]!r}, expected two or more: give fit cases of the other "
            f"classes too, or the names of all classes, fl.Model(..., classes=[{names[0]!r}, ...])"
        )
    if outputs >= 2 and (wanted == outputs if names is not None else wanted <= outputs):
        return
    part = targets.data.numbers is not None  # a batch of larger data, of which the other batches may hold more classes
    labels = np.unique(np.concatenate([np.unique(block[block >= 0]) for block in targets.blocks()]))
    if outputs < 2:
        if names is None and len(labels) == 1 and not part:
            raise ValueError(
                f"{name} holds one class only, {labels[0]}, expected two or more: give fit cases of the other "
                "classes too"
            )
        count = wanted if names is not None else max(wanted, 2) if part else len(labels)
        raise ValueError(
            f"loss={loss!r} needs one output per class and the model has 1: give the last layer one "
            f"output for each class, for example fl.Dense({count})"
            + (", or use loss='binary_cross_entropy'" if count == 2 else "")
        )
    cure = None
    if names is None and (labels[-1] == outputs or not part):
        cure = numbering_cure(labels, outputs, y, name)
    if cure is not None:
        raise ValueError(f"{name} holds the label {labels[-1]} and the model has {outputs} outputs: {cure}")
    raise ValueError(
        f"{name} has {wanted} classes and the model has {outputs} outputs: the last layer must have "
        f"{wanted} outputs, for example fl.Dense({wanted})"
    )
