"""Write models as ONNX files: the stages of each layer become nodes."""

from .model import IR_VERSION, OPSET, model_proto, save_onnx

__all__ = ["IR_VERSION", "OPSET", "model_proto", "save_onnx"]
