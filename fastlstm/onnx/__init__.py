"""Read models from ONNX files (`fastlstm.from_onnx`) and write them (`Model.to_onnx`)."""

from .importer import from_onnx
from .layer import OnnxGraph

__all__ = ["OnnxGraph", "from_onnx"]
