"""The tensors of a file: `.safetensors`, read here, or one that torch.save wrote, read by PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._checks import path as checked_path
from ..._typing import Array
from .. import safetensors
from ..foreign import is_torch_file, with_advice
from .names import state_dict_of
from .tensors import as_float_array, is_torch

__all__ = ["file_tensors"]

_BFLOAT16 = "BF16"
_FILE_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    _BFLOAT16: np.dtype(np.uint16),  # NumPy has no bfloat16: its bits are the upper half of a float32
}
_OLDEST_TORCH = (2, 6)
"""Before 2.6, a file could run code in spite of ``weights_only=True`` (CVE-2025-32434)."""


def file_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], bool]:
    """Return the tensors of a file, and whether it keeps the order of its layers.

    Raises
    ------
    ValueError
        If the file is damaged, or holds something else than a state dict; the message begins with the path.
    ImportError
        If the file needs PyTorch, and it is missing or too old.
    OSError
        If the file cannot be read.
    """
    name = checked_path(path)
    if is_torch_file(name):
        return _torch_tensors(name), True
    with with_advice(name, "from_torch"):
        return _safetensors_tensors(name), False


def _safetensors_tensors(name: str) -> dict[str, Array]:
    with safetensors.opened(name, "a .safetensors file") as reader:
        if reader.is_model:
            raise ValueError("Model.save wrote this file: read it with fl.load")
        tensors = reader.tensors(_FILE_DTYPES)
        for key, array in tensors.items():
            if reader.dtypes[key] == _BFLOAT16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[key] = as_float_array(key, array)
    return tensors


def _torch_tensors(name: str) -> dict[str, Array]:
    torch = _import_torch(name)
    try:
        found = torch.load(name, weights_only=True, map_location="cpu")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch passes on many types of exceptions that damaged bytes cause in its parts
        reason = str(error).strip().partition("\n")[0][:300]
        raise ValueError(
            f"{name}: torch.load(path, weights_only=True) refuses it ({type(error).__name__}: {reason}). Such a file "
            "must hold tensors only: in the program that made it, save torch.save(module.state_dict(), path)"
        ) from error
    if not isinstance(found, Mapping):
        kind = "a tensor" if is_torch(found, "Tensor") else f"an object of type {type(found).__name__}"
        raise ValueError(f"{name}: the file holds {kind}, expected a state dict: torch.save(module.state_dict(), path)")
    try:
        return {key: as_float_array(key, value) for key, value in state_dict_of(found).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error} (source is torch.load(path, weights_only=True))") from error


def _import_torch(name: str) -> Any:
    """Return the package torch, or raise an ImportError that says how to do without."""
    instead = (
        "or convert the file where PyTorch is installed: "
        "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors')"
    )
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{name}: reading this file needs PyTorch: pip install torch; {instead}") from error
    version = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_TORCH:
        raise ImportError(
            f"{name}: PyTorch {torch.__version__} may run code from such a file, which 2.6 and newer do not: "
            f"pip install -U torch; {instead}"
        )
    return torch
