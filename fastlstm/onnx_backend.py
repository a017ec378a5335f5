"""The interface that ONNX asks of its backends: another name of `fastlstm.formats.onnx.backend`."""

from .formats.onnx.backend import *  # noqa: F403
from .formats.onnx.backend import __all__ as __all__
