"""ONNX files: models out of them (`fastlstm.from_onnx`) and into them (`Model.to_onnx`)."""

from .importer import from_onnx

__all__ = ["from_onnx"]
