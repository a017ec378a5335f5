"""Write models as ONNX files: the stages of each layer become nodes."""

from .model import save_onnx

__all__ = ["save_onnx"]
