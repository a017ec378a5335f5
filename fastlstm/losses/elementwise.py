"""Losses that compare outputs and targets element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks, _core, _exact
from .._checks import short_repr
from .._typing import Array
from ..activations import SIGMOID, SOFTPLUS
from ..data.label_sequences import LabelSequences
from ..data.sequences import Sequences
from ..data.targets import Targets, encode_labels, holds_strings
from ..runtime.buffers import ThreadBuffers
from .base import Head, Loss
from .batch import Batch, padding, position_weights, total_weight, value_weights, weighted_sum, without_weight
from .registry import register

__all__ = ["MAE", "MSE", "BinaryCrossEntropy", "Huber", "Quantile", "Regression"]


class _Pointwise(Loss):
    """Base of the element-by-element losses; the loss of a position is the mean over its K values."""

    weight_per_output = True

    def __init__(self) -> None:
        self._buffers = ThreadBuffers()

    def gradient_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float, Array]:
        out, target = batch.out, batch.target
        total, weight_sum, ignored, weights = self._total(batch)
        slope = self._buffers.get("slope", out.shape, out.dtype)
        if weight_sum == 0:
            slope.fill(0.0)
            return total, weight_sum, slope
        with np.errstate(over="ignore", invalid="ignore"):  # the training loop reports a loss that is not finite
            self._slope(out, target, slope)
            factor = 1.0 / (weight_sum * out.shape[-1])
            if weights is None:
                slope *= factor
            else:
                scaled = (weights * factor).astype(out.dtype)
                slope *= scaled if scaled.ndim == out.ndim else scaled[..., None]
        if ignored is not None:
            slope[ignored] = 0.0
        return total, weight_sum, slope

    def value_of(self, batch: Batch, n_threads: int | None) -> tuple[float, float]:
        return self._total(batch)[:2]

    def _total(self, batch: Batch) -> tuple[float, float, Array | None, Array | None]:
        """Return total, sum of weights, mask of what does not count, and weights (None: all 1).

        The mask and the weights are those of positions, or of values if the batch has weights of values.
        """
        out, target = batch.out, batch.target
        self._check_shapes(out, target)
        values = self._buffers.get("values", out.shape, out.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self._values(out, target, values)
        return _weighted_mean(values, batch)

    def _check_shapes(self, out: Array, target: Array) -> None:
        if target.shape != out.shape:
            raise ValueError(f"target must have the shape of the model's output, {out.shape}, got {target.shape}")

    def _values(self, out: Array, target: Array, values: Array) -> None:
        """Write the loss of each element to `values`."""
        raise NotImplementedError

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        """Write the derivative of each element's loss with respect to `out` to `slope`."""
        raise NotImplementedError


def _weighted_mean(values: Array, batch: Batch) -> tuple[float, float, Array | None, Array | None]:
    """Average values (like `out`) over the last axis and sum the weighted means, as `_Pointwise._total` returns it.

    Values that do not count are set to 0.
    """
    out, _, lengths, weight = batch
    weights = value_weights(out, lengths, weight)
    if weights is None:
        weights = position_weights(out.shape[:-1], padding(out, lengths), weight)
        ignored = without_weight(weights)
        if ignored is not None:
            values[ignored] = 0
        return *weighted_sum(_exact.row_sums(values) / values.shape[-1], weights), ignored, weights
    ignored = without_weight(weights)
    if ignored is not None:
        values[ignored] = 0
    outputs = out.shape[-1]
    return _exact.total(values, weights) / outputs, total_weight(weights, 0) / outputs, ignored, weights


@register
class BinaryCrossEntropy(_Pointwise):
    """Cross-entropy of K independent binary outputs: sigmoid of the scores `out` against targets in [0, 1].

    It is computed from the scores as ``max(out, 0) - out * target + log1p(exp(-abs(out)))``, which neither overflows
    nor loses digits (as in torch.nn.BCEWithLogitsLoss). The metric is the accuracy: the share of scores on the correct
    side of 0, where a target of 0.5 or more counts as 1.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> total, weight_sum, d_out = fl.BinaryCrossEntropy()(np.array([[0.0]]), np.array([[1.0]]))
    >>> round(total, 4), d_out.tolist()
    (0.6931, [[-0.5]])
    """

    name = "binary_cross_entropy"
    metric_name = "accuracy"

    @property
    def link(self) -> Literal["sigmoid"]:
        return "sigmoid"

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        return _weighted_mean((batch.out > 0) == (batch.target >= 0.5), batch)[:2]

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
        """Take two names, too: they become 0 and 1 in the order of `classes`, by default in sorted order."""
        if not isinstance(y, str) and holds_strings(y, name):
            y, classes = encode_labels(y, classes, name=name)
            if len(classes or ()) != 2:
                raise ValueError(self._other_than_two(classes or [], name))
            if head.outputs != 1:
                raise ValueError(
                    f"{name} holds names and the model has {head.outputs} outputs, expected 1: the last layer must be "
                    "fl.Dense(1); for several outputs give 0 and 1 for each"
                )
        return super().as_targets(y, inputs, head, classes=classes, weight=weight, name=name)

    def _other_than_two(self, names: list[str], name: str) -> str:
        if len(names) == 1:
            return (
                f"{name} holds one class only, {names[0]!r}, expected two: give fit cases of the other class too, or "
                f"both names, fl.Model(..., classes=[{names[0]!r}, ...])"
            )
        return (
            f"{name} has {len(names)} classes, {short_repr(names)}, and loss='binary_cross_entropy' is for two: use "
            f"loss='cross_entropy' with fl.Dense({len(names)})"
        )

    def check_values(self, targets: Targets, name: str) -> None:
        if not any(((block < 0) | (block > 1)).any() for block in targets.blocks()):
            return
        values = np.unique(np.concatenate([np.unique(block[~np.isnan(block)]) for block in targets.blocks()]))
        advice = "use a loss for values, such as 'mse'"
        if len(values) == 2:
            advice = f"for 0 and 1 pass {targets.data.for_each(f'numpy.equal({{0}}, {values[1]:g})')}"
        elif targets.n_outputs == 1 and (values == np.rint(values)).all():
            advice = f"for {len(values)} classes use loss='cross_entropy' with fl.Dense({len(values)})"
        bad = values[(values < 0) | (values > 1)][0]
        raise ValueError(f"{name} must hold 0 and 1 for loss='binary_cross_entropy', got {bad:g}: {advice}")

    def class_count(self, targets: Targets | LabelSequences, outputs: int) -> int | None:
        return 2 if targets.n_outputs == 1 else None

    def class_labels(self, y: Array) -> Array:
        return (y[..., 0] >= 0.5).astype(np.int64)

    def decide_positions(self, probabilities: Array, classes: Sequence[str] | None) -> Array:
        chosen: Array = (probabilities >= 0.5).astype(np.int64)
        if chosen.shape[-1] > 1:
            return chosen
        return chosen[..., 0] if classes is None else np.asarray(classes)[chosen[..., 0]]

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.abs(out, out=values)
        np.negative(values, out=values)
        _core.activation(SOFTPLUS.number, 0.0, 0.0, values, values)  # log(1 + exp(-|out|))
        values += np.maximum(out, 0) - out * target

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        # sigmoid(x) - t = (1 - t) sigmoid(x) - t sigmoid(-x), which keeps all digits of a confident, correct answer.
        # The first term is computed in slope, the second one in a buffer.
        second = self._buffers.get("second", out.shape, out.dtype)
        np.negative(out, out=second)
        np.copyto(slope, out)
        for term in (slope, second):
            _core.activation(SIGMOID.number, 0.0, 0.0, term, term)
        slope *= 1 - target
        second *= target
        slope -= second


class Regression(_Pointwise):
    """Base of the regression losses, functions of the error ``out - target``; the metric is the mean absolute error."""

    metric_name = "mae"
    metric_per_output = True

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        error = np.abs(np.subtract(batch.out, batch.target, dtype=np.float64))
        if scale is not None:
            error *= scale
        return _weighted_mean(error, batch)[:2]


@register
class MSE(Regression):
    """Mean squared error: ``(out - target)**2``.

    It is computed in the type of `out`; a square that is too large for this type is infinite, which training reports as
    divergence.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> total, weight_sum, d_out = fl.MSE()(np.array([[1.0], [5.0]]), np.array([[0.0], [2.0]]))
    >>> total / weight_sum, d_out.tolist()
    (5.0, [[1.0], [3.0]])
    """

    name = "mse"

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(out, target, out=values)
        np.square(values, out=values)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        slope *= 2.0


@register
class MAE(Regression):
    """Mean absolute error: ``abs(out - target)``; its derivative at 0 is defined as 0.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> total, weight_sum, d_out = fl.MAE()(np.array([[1.0], [5.0]]), np.array([[2.0], [2.0]]))
    >>> total / weight_sum, d_out.tolist()
    (2.0, [[-0.5], [0.5]])
    """

    name = "mae"

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(out, target, out=values)
        np.abs(values, out=values)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        np.sign(slope, out=slope)


@register
class Huber(Regression):
    """Huber's loss: quadratic for small errors, linear for large ones (Huber 1964; as torch.nn.HuberLoss).

    ``0.5 * e**2`` if ``abs(e) <= delta``, else ``delta * (abs(e) - 0.5 * delta)``, with ``e = out - target``.

    Parameters
    ----------
    delta : float, default 1.0
        Error at which the loss becomes linear, > 0, in the units of the (scaled) target.

    Raises
    ------
    TypeError, ValueError
        If delta is not a positive number.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.Huber(delta=1.0).value(np.array([[0.5], [3.0]]), np.array([[0.0], [0.0]]))
    (2.625, 2.0)
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


@register
class Quantile(Regression):
    """Quantile (pinball) loss, for outputs that predict quantiles of the target (Koenker & Bassett 1978).

    ``max(q * (y - out), (q - 1) * (y - out))``, averaged over the output columns. The derivative at 0 is defined as 0.

    Parameters
    ----------
    quantiles : float or sequence of float, default (0.1, 0.5, 0.9)
        Levels, each between 0 and 1. With several levels the model has one output column for each, and `y` has either
        one value, whose quantiles are predicted, or one value per column. A single level applies to all columns.

    Raises
    ------
    TypeError, ValueError
        If a level is not a number between 0 and 1.

    Notes
    -----
    The metric is the mean absolute error; with one value and several levels it is that of the column whose level is
    nearest to 0.5.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> fl.Quantile(0.9).value(np.array([[0.0], [0.0]]), np.array([[1.0], [-1.0]]))  # 0.9 below y, 0.1 above y
    (1.0, 2.0)
    """

    name = "quantile"

    def __init__(self, quantiles: float | Sequence[float] = (0.1, 0.5, 0.9)) -> None:
        super().__init__()
        levels = (
            [quantiles]
            if isinstance(quantiles, (int, float, np.number))
            else _checks.as_list("quantiles", quantiles, "levels")
        )
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
                f"the model has {features} outputs and y has {columns} values"
            )

    def metric_of(self, batch: Batch, scale: Array | None) -> tuple[float, float]:
        out = batch.out
        if batch.target.shape[-1:] < out.shape[-1:]:
            middle = int(np.argmin(np.abs(self._levels - 0.5)))
            out = out[..., middle : middle + 1]
        return super().metric_of(batch._replace(out=out), scale)

    def _check_shapes(self, out: Array, target: Array) -> None:
        self.check_outputs(out.shape[-1], target.shape[-1] if target.ndim else 0)
        if target.shape[:-1] != out.shape[:-1]:
            raise ValueError(f"target must be (..., values) for an output of shape {out.shape}, got {target.shape}")

    def _values(self, out: Array, target: Array, values: Array) -> None:
        np.subtract(target, out, out=values)
        values *= np.where(values > 0, self._levels, self._levels - 1.0)

    def _slope(self, out: Array, target: Array, slope: Array) -> None:
        np.subtract(out, target, out=slope)
        np.copyto(slope, np.where(slope > 0, 1.0 - self._levels, np.where(slope < 0, -self._levels, slope)))
