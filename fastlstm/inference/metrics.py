"""Metrics that users pass to `fit` and `evaluate`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from .. import _checks
from .._typing import Array
from ..losses import Loss

__all__ = ["Metric", "Metrics", "named_metrics"]

Metric = Callable[[Array, Array], float]
Metrics = Sequence[Metric] | Mapping[str, Metric]

_TAKEN = ("epoch", "loss", "accuracy", "mae", "label_error_rate", "lr")


def named_metrics(metrics: Metrics | None, loss: Loss) -> dict[str, Metric]:
    """Return the metrics by name; those of a list are named after their functions.

    Raises
    ------
    TypeError, ValueError
        If a metric is not a function or has no name of its own, or the loss's targets are not aligned with the outputs.
    """
    given = (
        metrics
        if isinstance(metrics, Mapping)
        else _checks.as_list("metrics", [] if metrics is None else metrics, "functions")
    )
    if not given:
        return {}
    if not loss.aligned:
        raise ValueError(
            f"metrics compare targets and outputs position by position, and those of loss={loss.name!r} are not "
            "aligned: leave them out, and compare y with ctc_decode(model.predict(X))"
        )
    named = dict(given) if isinstance(given, Mapping) else {}
    if not isinstance(given, Mapping):
        for metric in given:
            name = getattr(metric, "__name__", "<lambda>")
            if not callable(metric) or name == "<lambda>" or name in named:
                raise ValueError(
                    f"metrics must be named functions of (y_true, y_pred), got {metric!r:.200}: give a dict such "
                    "as {'rmse': function} for others; accuracy or mae is always reported"
                )
            named[name] = metric
    for key, metric in named.items():
        if not isinstance(key, str) or not callable(metric):
            raise TypeError(f"metrics must map names to functions of (y_true, y_pred), got {key!r}: {metric!r:.200}")
    reserved = {name for name in named if name in _TAKEN or re.fullmatch("mae_[0-9]+", name)}
    if reserved:
        raise ValueError(
            f"metrics must not be called {', '.join(sorted(reserved))}: these names are reserved, choose others"
        )
    return named
