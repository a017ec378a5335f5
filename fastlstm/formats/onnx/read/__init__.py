"""From an ONNX file to a model."""
