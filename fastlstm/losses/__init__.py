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
    """`loss` as an object.

    Parameters
    ----------
    loss : str, dict or Loss
        A name (``"cross_entropy"``, ``"binary_cross_entropy"``, ``"mse"``, ``"mae"``, ``"huber"``,
        ``"quantile"``, ``"ctc"``), what `Loss.get_config` returned, or a loss, which is returned as it is.

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
        raise TypeError(f"loss must be a name or an object such as fl.Huber(delta=0.5), got {short_repr(loss)}")
    if name not in _BY_NAME:
        raise ValueError(f"unknown loss {name!r}; there are: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name](**arguments)


def is_known(loss: Loss) -> bool:
    """Whether `get_loss` can make the loss again: of one that a user wrote a file can say nothing."""
    return _BY_NAME.get(loss.name) is type(loss)
