"""Losses: value and gradient of a batch.

Shapes: `out` is (batch, features) or, with one output per step, (batch, time, features); float32 or float64. A
*position* is one sequence in the first case and one step of one sequence in the second. Every loss is a weighted mean
over the positions that count, ``sum(weight * loss) / sum(weight)``, as in torch.nn.CrossEntropyLoss with weights.

Padding, labels of -100 and positions of weight 0 do not count: their gradient is exactly zero. The `target` of such a
position is never used, nor is the `out` of padding; so a missing target may be NaN with weight 0.

Totals are accumulated in float64. The gradient is written to a buffer that the loss object owns and reuses in the next
call, so one loss object serves one training loop at a time.
"""

from __future__ import annotations

from typing import Any

from .._checks import short_repr
from .base import Head, Loss
from .batch import Batch
from .cross_entropy import CrossEntropy
from .ctc import CTC
from .decoding import ctc_decode
from .elementwise import MAE, MSE, BinaryCrossEntropy, Huber, Quantile

__all__ = [
    "CTC",
    "MAE",
    "MSE",
    "Batch",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Head",
    "Huber",
    "Loss",
    "Quantile",
    "ctc_decode",
    "get_loss",
    "is_known",
]

_BY_NAME: dict[str, type[Loss]] = {
    loss.name: loss for loss in (CrossEntropy, BinaryCrossEntropy, MSE, MAE, Huber, Quantile, CTC)
}


def get_loss(loss: Loss | str | dict[str, Any]) -> Loss:
    """Return the loss of a name or configuration.

    Parameters
    ----------
    loss : str, dict or Loss
        A name (``"cross_entropy"``, ``"binary_cross_entropy"``, ``"mse"``, ``"mae"``, ``"huber"``,
        ``"quantile"``, ``"ctc"``), the result of `Loss.get_config`, or a loss, which is returned unchanged.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is no loss of this name.
    TypeError
        If `loss` is not a name, a configuration or a loss.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.losses.get_loss("huber"), fl.losses.get_loss({"name": "quantile", "quantiles": [0.5]})
    (Huber(delta=1.0), Quantile(quantiles=[0.5]))
    """
    if isinstance(loss, Loss):
        return loss
    arguments = dict(loss) if isinstance(loss, dict) else {"name": loss}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise TypeError(f"loss must be a name or an object such as fl.Huber(delta=0.5), got {short_repr(loss)}")
    if name not in _BY_NAME:
        raise ValueError(f"unknown loss {name!r}; there are: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name](**arguments)


def is_known(loss: Loss) -> bool:
    """Return whether `get_loss` can make the loss again from a file, which it cannot for a loss that a user wrote."""
    return _BY_NAME.get(loss.name) is type(loss)
