"""PyTorch's tensors as arrays; torch objects are recognised by their type names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._arrays import as_array
from ..._typing import Array

__all__ = ["as_float_array", "is_torch"]


def is_torch(value: Any, name: str) -> bool:
    """Return whether a value is an instance of torch's class of this name or of a subclass."""
    return any(cls.__name__ == name and cls.__module__.partition(".")[0] == "torch" for cls in type(value).__mro__)


def as_float_array(name: Any, value: Any) -> Array:
    """Convert a tensor or an array to float32 or float64."""
    if not isinstance(name, str):
        raise TypeError(f"the names of the tensors must be strings, got {name!r}")
    if isinstance(value, Mapping):
        raise TypeError(f"{name!r} is itself a mapping: if it is the state dict, pass source[{name!r}]")
    if is_torch(value, "Tensor"):
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name!r} has dtype {value.dtype}, expected floating-point numbers")
        try:
            value = value.detach().cpu()
            array = np.asarray((value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy())
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{name!r} cannot be read as an array: {error}") from error
    elif hasattr(value, "__array__"):
        array = as_array(value, repr(name))
    else:
        raise TypeError(f"{name!r} is a {type(value).__name__}, expected a tensor or an array")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ValueError(f"{name!r} has dtype {array.dtype}, expected float16, float32 or float64")
    array = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name!r} holds NaN or infinity, expected finite numbers")
    return array
