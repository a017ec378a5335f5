"""Losses: value and gradient of a batch.

Shapes: `out` is (batch, features) or, with one output per step, (batch, time, features); float32 or float64.
A *position* is one sequence in the first case and one step of one sequence in the second. Every loss is a
weighted mean over the positions that count: ``sum(weight * loss) / sum(weight)``, as
torch.nn.CrossEntropyLoss does with weights. Steps beyond a sequence's length, labels of -100 and positions of
weight 0 do not count; their gradient is exactly zero, and what stands in `target` there is never used, nor what
stands in `out` beyond a length, so that a target that nobody knows may be NaN with weight 0.

Totals are accumulated in float64. The gradient is written to a buffer that the loss object owns and uses
again in the next call, so one loss object serves one training loop at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from .buffers import Buffers
from .config import resolve_threads
from .targets import IGNORE

Array = NDArray[Any]


class Loss:
    """Base class of the losses; subclass it to write your own.

    A subclass sets the class attributes and implements `__call__`; overriding `value` saves the gradient
    during validation, overriding `metric` (with `metric_name`) reports a second figure beside the loss.

    Attributes
    ----------
    name : str
        Name for `Model.fit(loss=...)` and for saving.
    kind : {"labels", "values"}
        Whether targets are int64 class labels, (batch,) or (batch, time), or floats (batch, K) or (batch,
        time, K).
    metric_name : str or None
        Name of what `metric` measures, such as ``"accuracy"``; None if there is no metric.
    """

    name: ClassVar[str] = "custom"
    kind: ClassVar[Literal["labels", "values"]] = "values"
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


class CrossEntropy(Loss):
    """Softmax cross-entropy of class scores and integer labels: ``-log softmax(out)[label]``.

    `out` holds one score (logit) per class, `target` int64 labels from 0; -100 marks positions to ignore. The
    metric is the accuracy.
    """

    name = "cross_entropy"
    kind = "labels"
    metric_name = "accuracy"

    def __init__(self) -> None:
        self._buffers = Buffers()

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
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
        return self._compute(out, target, lengths, weight, None, n_threads)

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        labels = _counted_labels(out, target, lengths)
        right = np.argmax(out, axis=-1) == labels
        return _weighted_sum(right, _position_weights(labels.shape, labels < 0, weight))

    def _compute(
        self,
        out: Array,
        target: Array,
        lengths: Array | None,
        weight: Array | None,
        d_out: Array | None,
        n_threads: int | None,
    ) -> tuple[float, float]:
        labels = _counted_labels(out, target, lengths)
        classes = out.shape[-1]
        if labels.size and labels.max() >= classes:
            raise ValueError(f"label {labels.max()} is out of range: the model puts out {classes} classes, from 0")
        ignored = labels < 0
        weights = _position_weights(labels.shape, ignored if ignored.any() else None, weight)
        weight_sum = float(labels.size) if weights is None else float(weights.sum())
        # Dividing the weights by their sum lets the kernel write the final gradient, without another pass
        # over it.
        shares = self._buffers.get("shares", (labels.size,), out.dtype)
        if weights is None:
            shares.fill(1.0 / weight_sum if weight_sum else 0.0)
        elif weight_sum > 0:
            np.divide(weights.reshape(-1), weight_sum, out=shares, casting="same_kind")
        else:
            shares.fill(0.0)
        losses = self._buffers.get("losses", (labels.size,), np.float64)
        _core.softmax_cross_entropy(
            np.ascontiguousarray(out).reshape(-1, classes),
            labels.reshape(-1),
            shares,
            None if d_out is None else d_out.reshape(-1, classes),
            losses,
            resolve_threads(n_threads),
        )
        return float(losses.sum()) * weight_sum, weight_sum


class _Pointwise(Loss):
    """Base of the losses that compare numbers one by one; a position's loss is the mean over its K values."""

    def __init__(self) -> None:
        self._buffers = Buffers()

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        total, weight_sum, ignored, weights = self._total(out, target, lengths, weight)
        slope = self._buffers.get("slope", out.shape, out.dtype)
        if weight_sum == 0:
            slope.fill(0.0)
            return total, weight_sum, slope
        with np.errstate(over="ignore", invalid="ignore"):  # the training loop reports what is not finite
            self._slope(out, target, slope)
            factor = 1.0 / (weight_sum * out.shape[-1])
            if weights is None:
                slope *= factor
            else:
                slope *= (weights * factor).astype(out.dtype)[..., None]
        if ignored is not None:
            slope[ignored] = 0.0
        return total, weight_sum, slope

    def value(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float]:
        return self._total(out, target, lengths, weight)[:2]

    def _total(
        self, out: Array, target: Array, lengths: Array | None, weight: Array | None
    ) -> tuple[float, float, Array | None, Array | None]:
        """Total, sum of weights, mask of what does not count, weights of the positions (None: all 1)."""
        self._check_shapes(out, target)
        weights = _position_weights(out.shape[:-1], _padding(out, lengths), weight)
        ignored = _ignored(weights)
        values = self._buffers.get("values", out.shape, out.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self._values(out, target, values)
        if ignored is not None:
            values[ignored] = 0.0
        total, weight_sum = _weighted_sum(values.mean(axis=-1, dtype=np.float64), weights)
        return total, weight_sum, ignored, weights

    def _check_shapes(self, out: Array, target: Array) -> None:
        if target.shape != out.shape:
            raise ValueError(f"target must have the shape of the model's output, {out.shape}, got {target.shape}")

    def _values(self, out: Array, target: Array, values: Array) -> None:
        """Write the loss of each number to `values`."""
        raise NotImplementedError

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        """Write the derivative of each number's loss by `out` to `slope`."""
        raise NotImplementedError


class BinaryCrossEntropy(_Pointwise):
    """Cross-entropy of K independent yes/no answers: sigmoid of the scores `out` against targets in [0, 1].

    Computed from the scores as ``max(out, 0) - out * target + log1p(exp(-abs(out)))``, which neither
    overflows nor loses digits (as torch.nn.BCEWithLogitsLoss). The metric is the accuracy: the share of
    scores on the right side of 0, where a target counts as yes from 0.5.
    """

    name = "binary_cross_entropy"
    metric_name = "accuracy"

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        right = ((out > 0) == (target >= 0.5)).mean(axis=-1)
        return _weighted_sum(right, _position_weights(right.shape, _padding(out, lengths), weight))

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.abs(out, out=values)
        np.negative(values, out=values)
        np.exp(values, out=values)
        np.log1p(values, out=values)
        values += np.maximum(out, 0) - out * target

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow.
        np.multiply(out, 0.5, out=slope)
        np.tanh(slope, out=slope)
        slope *= 0.5
        slope += 0.5
        slope -= target


class _Regression(_Pointwise):
    """Base of the regression losses: functions of the error ``out - target``; the metric is the mean absolute
    error."""

    metric_name = "mae"

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        error = np.abs(np.subtract(out, target, dtype=np.float64))
        if scale is not None:
            error *= scale
        rows = error.mean(axis=-1)
        weights = _position_weights(rows.shape, _padding(out, lengths), weight)
        ignored = _ignored(weights)
        if ignored is not None:
            rows[ignored] = 0.0
        return _weighted_sum(rows, weights)


class MSE(_Regression):
    """Mean squared error: ``(out - target)**2``."""

    name = "mse"

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(out, target, out=values)
        np.square(values, out=values)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        slope *= 2.0


class MAE(_Regression):
    """Mean absolute error: ``abs(out - target)``; the derivative at 0 is taken as 0."""

    name = "mae"

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(out, target, out=values)
        np.abs(values, out=values)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        np.sign(slope, out=slope)


class Huber(_Regression):
    """Huber's loss: quadratic for small errors, linear for large ones (Huber 1964; as torch.nn.HuberLoss).

    ``0.5 * e**2`` if ``abs(e) <= delta``, else ``delta * (abs(e) - 0.5 * delta)``, with ``e = out - target``.

    Parameters
    ----------
    delta : float, default 1.0
        Error at which the loss turns linear, > 0, in the units of the (scaled) target.
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = _checks.positive("delta", delta)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "delta": self.delta}

    def _values(self, out: Array, target: Array, values: Array) -> None:
        # With c = min(|e|, delta), both branches are c * (|e| - c / 2).
        np.subtract(out, target, out=values)
        np.abs(values, out=values)
        capped = np.minimum(values, self.delta)
        values -= 0.5 * capped
        values *= capped

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        np.clip(slope, -self.delta, self.delta, out=slope)


class Quantile(_Regression):
    """Quantile (pinball) loss: the output becomes the quantile of the target (Koenker & Bassett 1978).

    ``max(q * (y - out), (q - 1) * (y - out))``, averaged over the output columns. The derivative at 0 is
    taken as 0.

    Parameters
    ----------
    quantiles : float or sequence of float, default (0.1, 0.5, 0.9)
        Levels, each between 0 and 1. Several levels: the model has one output column for each, and `y` is
        either one value, whose quantiles these are, or one value per column. One level applies to all
        columns.

    Notes ----- The metric is the mean absolute error; with one value and several levels it is that of the
    column whose level is nearest to 0.5.
    """

    name = "quantile"

    def __init__(self, quantiles: float | Sequence[float] = (0.1, 0.5, 0.9)) -> None:
        super().__init__()
        levels = [quantiles] if np.ndim(quantiles) == 0 else list(quantiles)  # type: ignore[arg-type]
        if not levels:
            raise ValueError("quantiles must hold at least one level, got none")
        self.quantiles = tuple(_checks.inside_unit("each of quantiles", level) for level in levels)
        self._levels = np.array(self.quantiles)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "quantiles": list(self.quantiles)}

    def check_outputs(self, features: int, columns: int) -> None:
        if len(self.quantiles) == 1:
            super().check_outputs(features, columns)
        elif features != len(self.quantiles) or columns not in (1, features):
            levels = len(self.quantiles)
            raise ValueError(
                f"{self!r} needs a model of {levels} outputs and y of 1 or {levels} values; "
                f"the model puts out {features} values and y has {columns}"
            )

    def metric(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[float, float]:
        if target.shape[-1] < out.shape[-1]:
            middle = int(np.argmin(np.abs(self._levels - 0.5)))
            out = out[..., middle : middle + 1]
        return super().metric(out, target, lengths, weight, scale)

    def _check_shapes(self, out: Array, target: Array) -> None:
        self.check_outputs(out.shape[-1], target.shape[-1])
        if target.shape[:-1] != out.shape[:-1]:
            raise ValueError(f"target must be (..., values) for an output of shape {out.shape}, got {target.shape}")

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(target, out, out=values)
        values *= np.where(values > 0, self._levels, self._levels - 1.0)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        np.copyto(slope, np.where(slope > 0, 1.0 - self._levels, np.where(slope < 0, -self._levels, 0.0)))


_BY_NAME: dict[str, type[Loss]] = {
    loss.name: loss for loss in (CrossEntropy, BinaryCrossEntropy, MSE, MAE, Huber, Quantile)
}


def get_loss(loss: Loss | str | dict[str, Any]) -> Loss:
    """`loss` as an object.

    Parameters
    ----------
    loss : str, dict or Loss
        A name (``"cross_entropy"``, ``"binary_cross_entropy"``, ``"mse"``, ``"mae"``, ``"huber"``,
        ``"quantile"``), what `Loss.get_config` returned, or a loss, which is returned as it is.

    Raises
    ------
    ValueError
        If there is no loss of that name.
    TypeError
        If it is none of these.
    """
    if isinstance(loss, Loss):
        return loss
    arguments = dict(loss) if isinstance(loss, dict) else {"name": loss}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise TypeError(f"loss must be a name or an object such as fl.Huber(delta=0.5), got {loss!r}")
    if name not in _BY_NAME:
        raise ValueError(f"unknown loss {name!r}; there are: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name](**arguments)


def _padding(out: Array, lengths: Array | None) -> Array | None:
    """Mask (batch, time) of the steps beyond each length; None if there are none."""
    if lengths is None or out.ndim == 2:
        return None
    return np.asarray(np.arange(out.shape[1]) >= lengths[:, None])


def _counted_labels(out: Array, target: Array, lengths: Array | None) -> Array:
    """Contiguous int64 labels with -100 at the steps that do not count."""
    if target.shape != out.shape[:-1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"target must be integer labels of shape {out.shape[:-1]} for an output of shape {out.shape}, "
            f"got {target.dtype} of shape {target.shape}"
        )
    labels = np.ascontiguousarray(target, np.int64)
    padding = _padding(out, lengths)
    return labels if padding is None else np.where(padding, IGNORE, labels)


def _position_weights(shape: tuple[int, ...], ignored: Array | None, weight: Array | None) -> Array | None:
    """float64 weight of each position, 0 where ignored; None if all are 1."""
    if weight is None:
        return None if ignored is None else (~ignored).astype(np.float64)
    if weight.shape != shape and weight.shape != shape[:1]:
        raise ValueError(f"weight must have shape {shape} or {shape[:1]}, got {weight.shape}")
    weights = np.empty(shape)
    weights[...] = weight if weight.shape == shape else weight.reshape(-1, *[1] * (len(shape) - 1))
    if ignored is not None:
        weights[ignored] = 0.0
    return weights


def _ignored(weights: Array | None) -> Array | None:
    """Mask of the positions of weight 0; None if there are none."""
    if weights is None or weights.all():
        return None
    return np.asarray(weights == 0)


def _weighted_sum(rows: Array, weights: Array | None) -> tuple[float, float]:
    """Sum of ``weights * rows`` and of the weights, in float64."""
    if weights is None:
        return float(rows.sum(dtype=np.float64)), float(rows.size)
    return float((rows * weights).sum()), float(weights.sum())
