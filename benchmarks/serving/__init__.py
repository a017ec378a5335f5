"""Serving: many threads, many models, many streams, cold starts; fastlstm, ONNX Runtime and PyTorch.

The model is that of a small service: scaled inputs, LSTM(64), Dense(9), series of 100 steps of 12 features. Each peer
runs in a process of its own (`benchmarks.serving.child`), with one thread in its kernels; peers take turns.
"""

from __future__ import annotations

__all__ = ["FEATURES", "HIDDEN", "OUTPUTS", "STEPS"]

STEPS, FEATURES, HIDDEN, OUTPUTS = 100, 12, 64, 9
