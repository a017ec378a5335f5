"""What every loss is, and which positions of a batch it counts with which weight."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .._checks import shown

__all__ = [
    "Array",
    "Loss",
    "check_arrays",
    "padding",
    "position_weights",
    "total_weight",
    "weighted_sum",
    "without_weight",
]

Array = NDArray[Any]


class Loss:
    """Base class of the losses; subclass it to write your own.

    A subclass sets the class attributes and implements `__call__`; overriding `value` saves the gradient
    during validation, overriding `metric` (with `metric_name`) reports a second figure beside the loss.

    Attributes
    ----------
    name : str
        Name for `Model.fit(loss=...)` and for saving.
    kind : {"labels", "values", "sequences"}
        Whether targets are int64 class labels, (batch,) or (batch, time), or floats (batch, K) or (batch,
        time, K), or int64 sequences of labels of their own lengths, (batch, L), padded with -100.
    metric_name : str or None
        Name of what `metric` measures, such as ``"accuracy"``; None if there is no metric.
    """

    name: ClassVar[str] = "custom"
    kind: ClassVar[Literal["labels", "values", "sequences"]] = "values"
    metric_name: ClassVar[str | None] = None

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        """Loss of a batch and its gradient.

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
        """`total` and `weight_sum` as `__call__` returns them, without the gradient."""
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
        """Weighted sum of the metric over the positions that count, and the sum of the weights.

        Parameters
        ----------
        out, target, lengths, weight
            As in `__call__`.
        scale : ndarray (K,), optional
            Factor from the units of `target` to the original ones, for metrics that have units.
        """
        raise NotImplementedError

    def check_outputs(self, features: int, columns: int) -> None:
        """Raise ValueError if targets of `columns` values do not suit a model of `features` outputs."""
        if features != columns:
            raise ValueError(
                f"the model puts out {features} values and y has {columns}: "
                f"the last layer must have {columns} outputs, for example fl.Dense({columns})"
            )

    def get_config(self) -> dict[str, Any]:
        """Name and arguments, fit for JSON; `get_loss` makes the same loss from it."""
        return {"name": self.name}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({arguments})"


def check_arrays(out: Array, target: Array, lengths: Array | None, weight: Array | None) -> None:
    """Raise TypeError or ValueError unless these are arrays such as `Loss.__call__` takes, but for the shapes."""
    for name, value, kinds in (("out", out, "f"), ("target", target, "fiub"), ("weight", weight, "fiub")):
        if value is not None and (not isinstance(value, np.ndarray) or value.dtype.kind not in kinds):
            raise TypeError(f"{name} must be a NumPy array of real numbers, got {shown(value)}")
    if out is None or target is None:
        raise TypeError("out and target must be NumPy arrays, got None")
    if out.ndim not in (2, 3) or out.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"out must be float32 or float64, (batch, features) or (batch, time, features), got {out.dtype} of shape "
            f"{out.shape}"
        )
    if lengths is None:
        return
    if not isinstance(lengths, np.ndarray) or lengths.shape != out.shape[:1] or lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths must be an array of {len(out)} integers, got {shown(lengths)}")


def padding(out: Array, lengths: Array | None) -> Array | None:
    """Mask (batch, time) of the steps beyond each length; None if there are none."""
    if lengths is None or out.ndim == 2:
        return None
    return np.asarray(np.arange(out.shape[1]) >= lengths[:, None])


def position_weights(shape: tuple[int, ...], ignored: Array | None, weight: Array | None) -> Array | None:
    """float64 weight of each position, 0 where ignored; None if all are 1."""
    if weight is None:
        return None if ignored is None else (~ignored).astype(np.float64)
    if weight.shape != shape and weight.shape != shape[:1]:
        raise ValueError(f"weight must have shape {shape} or {shape[:1]}, got {weight.shape}")
    weights = np.empty(shape)
    with np.errstate(over="ignore"):  # of what total_weight refuses
        weights[...] = weight if weight.shape == shape else weight.reshape(-1, *[1] * (len(shape) - 1))
    if ignored is not None:
        weights[ignored] = 0.0
    return weights


def total_weight(weights: Array | None, positions: int) -> float:
    """Sum of the weights of so many positions; ValueError if it is not finite."""
    if weights is None:
        return float(positions)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(weights.sum())
    if not math.isfinite(total):
        raise ValueError(f"weight must hold finite numbers with a finite sum, got a sum of {total}")
    return total


def without_weight(weights: Array | None) -> Array | None:
    """Mask of the positions of weight 0; None if there are none."""
    if weights is None or weights.all():
        return None
    return np.asarray(weights == 0)


def weighted_sum(rows: Array, weights: Array | None) -> tuple[float, float]:
    """Sum of ``weights * rows`` and of the weights, in float64."""
    total = total_weight(weights, rows.size)
    if weights is None:
        return float(rows.sum(dtype=np.float64)), total
    return float((rows * weights).sum()), total
