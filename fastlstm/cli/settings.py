"""Settings of the networks and their training: names, values, checks. They are the parameters of the estimators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import _checks
from .._arguments import closest
from ..tasks.anomaly import METHODS
from ..tasks.answers import REGRESSION_LOSSES
from ..tasks.network import POOLINGS
from .errors import UsageError

__all__ = ["SETTINGS", "checked_settings"]

_SHARED: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 1,
    "dropout": 0.0,
    "precision": "float32",
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "batch_size": "auto",
    "epochs": "auto",
    "early_stopping": False,
    "validation_fraction": 0.1,
    "n_iter_no_change": 10,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "classify": {
        **_SHARED,
        "bidirectional": True,
        "pooling": "auto",
        "deviations": "auto",
        "differences": "auto",
        "stride": "auto",
        "scaler": "standard",
        "missing": "error",
        "class_weight": None,
    },
    "regress": {
        **_SHARED,
        "bidirectional": False,
        "pooling": "last",
        "scaler": "standard",
        "missing": "error",
        "loss": "squared_error",
        "quantiles": None,
    },
    "anomaly": {
        **_SHARED,
        "hidden_size": 32,
        "validation_fraction": 0.2,
        "method": "forecast",
        "window": "auto",
        "warmup": "auto",
        "quantile": 0.99,
        "missing": "error",
    },
}
"""Settings of each task that is trained without pandas, with their default values."""


def _auto(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: value if value == "auto" else check(name, value)


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _choice(*choices: str) -> Callable[[str, Any], Any]:
    return lambda name, value: _checks.one_of(name, value, choices)


def _only(choice: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value != choice:
            raise ValueError(f"{name} must be {choice!r} or none, got {_checks.short_repr(value)}")
        return value

    return check


def _quantiles(name: str, value: Any) -> tuple[float, ...]:
    levels = tuple(
        _checks.inside_unit(name, level) for level in (value if isinstance(value, (list, tuple)) else [value])
    )
    if 0.5 not in levels:
        raise ValueError(f"{name} must hold 0.5, which is the prediction, got {list(levels)}")
    return levels


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "hidden_size": _checks.count,
    "num_layers": _checks.count,
    "bidirectional": _checks.as_bool,
    "dropout": _checks.below_one,
    "precision": _choice("float32", "bfloat16"),
    "pooling": _auto(_choice(*POOLINGS)),
    "deviations": _auto(_checks.as_bool),
    "differences": _auto(_checks.as_bool),
    "stride": _auto(_checks.count),
    "scaler": _or_none(_choice("standard", "robust")),
    "missing": _choice("error", "mask", "mask-all"),
    "class_weight": _or_none(_only("balanced")),
    "loss": _choice(*REGRESSION_LOSSES),
    "quantiles": _or_none(_quantiles),
    "method": _choice(*METHODS),
    "window": _auto(_checks.count),
    "warmup": _auto(_checks.count),
    "quantile": _checks.inside_unit,
    "optimizer": _choice("sgd", "rmsprop", "adam", "adamw"),
    "learning_rate": _checks.positive,
    "schedule": _or_none(_only("cosine")),
    "weight_decay": _checks.non_negative,
    "clip_norm": _or_none(_checks.positive),
    "batch_size": _auto(_checks.count),
    "epochs": _auto(_checks.count),
    "early_stopping": _checks.as_bool,
    "validation_fraction": _checks.inside_unit,
    "n_iter_no_change": _checks.count,
}


def checked_settings(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a task, checked.

    Raises
    ------
    UsageError
        If a setting does not exist, with the nearest name, or its value is wrong.
    """
    known = SETTINGS[task]
    for name in given:
        if name not in known:
            near = closest(name, known)
            advice = f": did you mean {near}?" if near else ""
            raise UsageError(f"--task {task} has no setting {name!r}, expected one of {', '.join(known)}{advice}")
    settings = {**known, **given}
    try:
        return {name: _CHECKS[name](name, value) for name, value in settings.items()}
    except (TypeError, ValueError) as error:
        raise UsageError(f"--set {error}") from error
