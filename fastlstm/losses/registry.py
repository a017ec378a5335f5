"""The losses by name, for `Model.fit(loss=...)` and for files."""

from __future__ import annotations

from typing import Any, TypeVar

from .._arguments import closest
from .._checks import short_repr
from .base import Loss

__all__ = ["get_loss", "is_known", "register"]

_L = TypeVar("_L", bound=type[Loss])
_BY_NAME: dict[str, type[Loss]] = {}
_ELSEWHERE = {  # names in other packages, which are not spelt like the names here
    "bce": "binary_cross_entropy",
    "bcewithlogitsloss": "binary_cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "ce": "cross_entropy",
    "l1": "mae",
    "l2": "mse",
    "log_loss": "cross_entropy",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "nll": "cross_entropy",
    "pinball": "quantile",
    "smooth_l1": "huber",
    "sparse_categorical_crossentropy": "cross_entropy",
}


def register(cls: _L) -> _L:
    """Make a loss known under its `name`; for use as a decorator."""
    _BY_NAME[cls.name] = cls
    return cls


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
        meant = _ELSEWHERE.get(name.lower()) or closest(name, _BY_NAME)
        advice = "" if meant is None else f"; did you mean {meant!r}?"
        raise ValueError(f"unknown loss {name!r}; there are: {', '.join(sorted(_BY_NAME))}{advice}")
    return _BY_NAME[name](**arguments)


def is_known(loss: Loss) -> bool:
    """Return whether `get_loss` can make the loss again from a file, which it cannot for a loss that a user wrote."""
    return _BY_NAME.get(loss.name) is type(loss)
