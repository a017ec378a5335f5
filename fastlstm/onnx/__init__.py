"""ONNX files: models out of them (`fastlstm.from_onnx`) and into them (`Model.to_onnx`)."""

from .importer import from_onnx
from .layer import OnnxGraph

__all__ = ["OnnxGraph", "from_onnx"]
