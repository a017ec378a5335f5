"""The package onnx, which only reading and writing ONNX files needs."""

from __future__ import annotations

from typing import Any

__all__ = ["import_onnx"]


def import_onnx() -> Any:
    """Return the package onnx, or raise an ImportError that names the extra to install."""
    try:
        import onnx  # imported here, because only reading and writing ONNX files needs it
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx: pip install 'fastlstm[onnx]'") from error
    return onnx
