"""Files: this package's own, and those of PyTorch, Keras and ONNX."""
