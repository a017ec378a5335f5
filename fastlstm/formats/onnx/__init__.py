"""Read models from ONNX files (`fastlstm.from_onnx`) and write them (`Model.to_onnx`)."""

from .graph.layer import OnnxGraph
from .read.importer import from_onnx

__all__ = ["OnnxGraph", "from_onnx"]
