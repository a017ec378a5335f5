"""Graphs of ONNX operators, run and trained by NumPy and the LSTM kernels."""
