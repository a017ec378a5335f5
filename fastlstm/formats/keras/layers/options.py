"""The options of a Keras layer, each read once and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ....layers import Layer

__all__ = ["Config", "Options"]

Config = Mapping[str, Any]
_REQUIRED = object()
# Options that do not change predictions: names, initial weights, training, the implementation.
_HARMLESS = {"name", "trainable", "seed", "batch_input_shape", "batch_shape", "input_dtype"}
_HARMLESS_ENDS = ("_initializer", "_regularizer", "_constraint")
_DTYPES = {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}


class Options:
    """The options of one layer. Reading an option removes it; those left at the end are unknown."""

    def __init__(self, kind: str, config: Config) -> None:
        self.kind = kind
        self.name = str(config.get("name", kind))
        self._left = {
            key: value
            for key, value in config.items()
            if key not in _HARMLESS and not key.endswith(_HARMLESS_ENDS) and key != "dtype"
        }
        self._check_dtype(config.get("dtype"))

    def error(self, option: str, value: Any, why: str) -> ValueError:
        return ValueError(f"{self.kind} {self.name!r}: {option}={str(value)[:100]} {why}")

    def take(self, option: str, default: Any = _REQUIRED) -> Any:
        if option not in self._left and default is _REQUIRED:
            raise ValueError(f"{self.kind} {self.name!r}: the option {option} is missing")
        return self._left.pop(option, default)

    def flag(self, option: str, default: bool) -> bool:
        value = self.take(option, default)
        if not isinstance(value, bool):
            raise self.error(option, value, "is neither true nor false")
        return value

    def size(self, option: str) -> int:
        value = self.take(option)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise self.error(option, value, "is not a number of units, expected at least 1")
        return value

    def number(self, option: str, default: Any = _REQUIRED) -> float:
        value = self.take(option, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise self.error(option, value, "is not a finite number")
        return float(value)

    def refuse(self, option: str, *allowed: Any) -> None:
        """Raise ValueError if the option is present and has none of these values."""
        value = self._left.pop(option, None)
        if value is not None and not any(
            value is one or (value == one and type(value) is type(one)) for one in allowed
        ):
            raise self.error(option, value, "is not supported")

    def ignore(self, options: Iterable[str]) -> None:
        for option in options:
            self._left.pop(option, None)

    def end(self) -> None:
        """Raise ValueError if an unknown option is left whose value is not None, which means "not used"."""
        for option, value in self._left.items():
            if value is not None:
                raise self.error(option, value, "is not supported")

    def build(self, cls: Callable[..., Layer], *args: Any, **settings: Any) -> Layer:
        """Return a layer of this package; what it raises names the Keras layer."""
        try:
            return cls(*args, **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.kind} {self.name!r}: {error}") from error

    def _check_dtype(self, policy: Any) -> None:
        name = policy
        if isinstance(policy, dict):
            inner = policy.get("config")
            known = policy.get("class_name") in ("DTypePolicy", "Policy") and isinstance(inner, dict)
            name = inner.get("name") if known and isinstance(inner, dict) else policy
        if name is not None and (not isinstance(name, str) or name not in _DTYPES):
            if not (self.kind in ("InputLayer", "Embedding") and isinstance(name, str)):
                raise self.error("dtype", name, f"is not supported, expected one of {', '.join(sorted(_DTYPES))}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False
