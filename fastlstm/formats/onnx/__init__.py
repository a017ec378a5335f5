"""ONNX files: models out of them (`fastlstm.from_onnx`) and into them (`Model.to_onnx`)."""

from .graph.layer import OnnxGraph
from .read.importer import from_onnx

__all__ = ["OnnxGraph", "from_onnx"]
