"""Recognise files of other kinds, by their first bytes or their names, so that an error can say which reader to use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["advice", "is_torch_file", "with_advice"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""How torch.save began its files before 1.6: a pickle of a number of its own."""

_ONNX, _KERAS, _TORCH = "an ONNX model", "a file of Keras", "a file of PyTorch"
_PICKLE, _TFLITE, _SAFETENSORS = "a pickle", "a TensorFlow Lite model", "a .safetensors file"
_NUMPY = "a file of NumPy"
_ENDINGS = {
    ".onnx": _ONNX,
    ".keras": _KERAS,
    ".h5": _KERAS,
    ".hdf5": _KERAS,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".bin": _TORCH,
    ".ckpt": _TORCH,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".tflite": _TFLITE,
    ".npy": _NUMPY,
    ".npz": _NUMPY,
}
_READERS = {
    _ONNX: ("from_onnx", "read it with fl.from_onnx({path!r})"),
    _KERAS: ("from_keras", "read it with fl.from_keras({path!r})"),
    _TORCH: ("from_torch", "read it with fl.from_torch({path!r})"),
    _SAFETENSORS: (
        "",
        "fl.load reads those that Model.save wrote, fl.from_torch({path!r}) those with PyTorch's weights",
    ),
    _PICKLE: (
        "",
        "fastlstm never reads one, since it may run any code: where it was made, save the model with model.save(path), "
        "or the weights of a PyTorch module with torch.save(module.state_dict(), 'weights.pt')",
    ),
    _TFLITE: ("", "fastlstm has no reader for it: read the model it was made from, with fl.from_keras or fl.from_onnx"),
    _NUMPY: ("", "numpy.load reads it; fl.from_torch takes a mapping of names to arrays"),
}
_MAX_IR_VERSION = 64


def advice(path: str | os.PathLike[str], reader: str) -> str | None:
    """Return what kind of file this is and how to read it; None if that is unknown, or `reader` is the right one.

    Parameters
    ----------
    path : path
        The file.
    reader : str
        Name of the function that has refused the file.
    """
    kind = _kind(path)
    if kind is None or _READERS[kind][0] == reader or (kind == _SAFETENSORS and reader in ("load", "from_torch")):
        return None
    return f"it is {kind}: {_READERS[kind][1].format(path=os.fsdecode(path))}"


def is_torch_file(path: str | os.PathLike[str]) -> bool:
    """Return whether torch.save wrote a file, by its first bytes, or by its name if these are of no known kind."""
    return _kind(path) == _TORCH


@contextmanager
def with_advice(path: str | os.PathLike[str], reader: str) -> Iterator[None]:
    """Add to a ValueError raised in the context how to read this file, if another function reads it."""
    try:
        yield
    except ValueError as error:
        more = advice(path, reader)
        if more is None:
            raise
        raise ValueError(f"{error}; {more}") from error


def _kind(path: str | os.PathLike[str]) -> str | None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            start = file.read(256)
    except (OSError, ValueError):  # a path that cannot be one; the reader has said so
        return None
    by_name = _ENDINGS.get(os.path.splitext(os.fsdecode(path))[1].lower())
    by_content = _by_content(start)
    if by_content is None or (by_content, by_name) == (_PICKLE, _TORCH):
        return by_name
    return by_content


def _by_content(start: bytes) -> str | None:
    if start[8:9] == b"{":
        return _SAFETENSORS
    if start.startswith(_HDF5):
        return _KERAS
    if start.startswith(_OLD_TORCH):
        return _TORCH
    if start.startswith(_ZIP):
        # A zip archive begins with the name of its first member: 30 bytes, of which two give its length.
        name = start[30 : 30 + int.from_bytes(start[26:28], "little")].decode("latin-1")
        if name in ("metadata.json", "config.json", "model.weights.h5"):
            return _KERAS
        if name.endswith(".npy"):
            return _NUMPY
        if name.endswith(("/data.pkl", "/version", "/byteorder", "/.format_version")):
            return _TORCH
        return None
    if start[4:8] == b"TFL3":
        return _TFLITE
    if start.startswith(b"\x93NUMPY"):
        return _NUMPY
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
    # A protobuf of onnx.ModelProto: the field ir_version, then another field of type string, message or number.
    if (
        len(start) > 3
        and start[0] == 8
        and 0 < start[1] < _MAX_IR_VERSION
        and start[2] in (0x12, 0x1A, 0x22, 0x28, 0x3A)
    ):
        return _ONNX
    return None
