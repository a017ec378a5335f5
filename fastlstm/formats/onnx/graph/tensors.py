"""Convert the tensors of an ONNX file to arrays.

The bytes of a tensor may lie in a separate file. No size, offset or path that a tensor claims is trusted.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np

from ...._typing import Array
from .nodes import DTYPES, MAX_RANK, element_count

__all__ = ["ELEMENT_TYPES", "tensor_array"]


_EMPTY = 2**24
"""Largest element count that an empty tensor may have if each 0 in its shape is replaced by 1."""

ELEMENT_TYPES: dict[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip
"""Supported values of onnx.TensorProto.DataType, and the names of the types."""

# The field that holds a tensor's elements if raw_data does not; smaller types are stored one in each int32.
_FIELDS = {
    "float32": "float_data", "float64": "double_data", "int64": "int64_data", "uint32": "uint64_data",
    "uint64": "uint64_data",
}  # fmt: skip


def tensor_array(tensor: Any, folder: Path | None, what: str) -> Array:
    """Return the array that an ``onnx.TensorProto`` holds.

    Parameters
    ----------
    tensor : onnx.TensorProto
    folder : Path or None
        Folder that may hold external data; None if external data is not allowed.
    what : str
        Name of the tensor in error messages.

    Returns
    -------
    ndarray
        Of one of the types in `DTYPES`; bfloat16 becomes float32.

    Raises
    ------
    ValueError
        If the element type is unknown, the number of elements does not match the shape, or the external file is not a
        regular file inside the folder, is reached through a symbolic link, or is too short.
    """
    kind = ELEMENT_TYPES.get(tensor.data_type)
    if kind is None:
        raise ValueError(f"{what} has element type {tensor.data_type}; known are {_type_names()}")
    shape = tuple(tensor.dims)
    if 0 in shape and element_count([max(size, 1) for size in shape], _EMPTY) > _EMPTY:
        raise ValueError(f"{what} has shape {list(shape)}, which is empty, but its other sizes are too large")
    if len(shape) > MAX_RANK:
        raise ValueError(f"{what} has {len(shape)} axes, at most {MAX_RANK} are supported")
    if tensor.HasField("segment"):
        raise ValueError(f"{what} is a segment of a tensor, which is not supported")
    stored = np.dtype(np.uint16) if kind == "bfloat16" else DTYPES[kind]
    if tensor.data_location == 1:
        raw = _external(tensor, folder, what)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    else:
        return _from_typed_field(tensor, kind, stored, shape, what)
    if element_count(shape, len(raw)) * stored.itemsize != len(raw):
        raise ValueError(f"{what} has shape {list(shape)} of {kind}, but {len(raw)} bytes")
    return _native(np.frombuffer(raw, stored.newbyteorder("<")), kind, shape)


def _type_names() -> str:
    return ", ".join(ELEMENT_TYPES.values())


def _native(values: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """Return a copy in native byte order, in NumPy's type for this element type and in this shape."""
    if kind == "bfloat16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif kind == "bool":
        values = values.view(np.uint8) != 0
    return values.astype(values.dtype.newbyteorder("="), copy=True).reshape(shape)


def _from_typed_field(tensor: Any, kind: str, stored: np.dtype[Any], shape: tuple[int, ...], what: str) -> Array:
    field = _FIELDS.get(kind, "int32_data")
    numbers = getattr(tensor, field)
    if element_count(shape, len(numbers)) != len(numbers):
        raise ValueError(f"{what} has shape {list(shape)}, but {len(numbers)} elements in {field}")
    values: Array = np.array(numbers, np.int64 if field == "int32_data" else None)
    if field != "int32_data":
        return values.astype(stored).reshape(shape)
    if kind in ("float16", "bfloat16", "bool"):
        return _native(values.astype(np.uint16).view(stored) if kind != "bool" else values != 0, kind, shape)
    return values.astype(stored).reshape(shape)


def _external(tensor: Any, folder: Path | None, what: str) -> bytes:
    """Return the bytes of a tensor that is stored in a separate file."""
    if folder is None:
        raise ValueError(f"{what} is stored in a separate file; pass the path of the model, not its contents")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) < len(tensor.external_data):
        raise ValueError(f"{what}: external_data has a duplicate entry")
    unknown = sorted(entries.keys() - {"location", "offset", "length", "checksum", "basepath"})
    location = entries.get("location", "")
    if unknown or not location:
        raise ValueError(f"{what}: external_data has {sorted(entries)}, expected location, offset and length")
    path = _inside(folder, location, what)
    numbers = []
    for key in ("offset", "length"):
        text = entries.get(key, "0" if key == "offset" else "")
        if not re.fullmatch("[0-9]{1,18}", text) and (key == "offset" or text):
            raise ValueError(f"{what}: {key} of its external data is {text[:30]!r}, expected a byte count")
        numbers.append(int(text) if text else -1)
    offset, length = numbers
    try:
        with open(path, "rb", opener=_no_links) as file:
            size = os.fstat(file.fileno()).st_size
            if length < 0:
                length = size - offset
            if length < 0 or offset + length > size:
                raise ValueError(
                    f"{what}: needs bytes {offset} to {offset + length} of {location!r}, which has {size} bytes"
                )
            # Read no more than the shape needs: the file may be large and hold many tensors.
            kind = ELEMENT_TYPES[tensor.data_type]
            itemsize = 2 if kind == "bfloat16" else DTYPES[kind].itemsize
            if element_count(tensor.dims, length) * itemsize != length:
                raise ValueError(f"{what} has shape {list(tensor.dims)} of {kind}, but {length} bytes in {location!r}")
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise ValueError(f"{what}: its external data {location!r} cannot be read: {error.strerror}") from error


def _no_links(path: str, flags: int) -> int:
    """Open a file without following a symbolic link and without blocking on a pipe, where the platform can."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _inside(folder: Path, location: str, what: str) -> Path:
    """Return the path of a regular file in or below the folder, reached without any symbolic link."""
    parts = location.split("/")
    if parts[:1] == ["."]:
        parts = parts[1:]
    if (
        not parts
        or any(part in ("", ".", "..") for part in parts)
        or any(sign in location for sign in "\\:\0")
        or os.path.isabs(location)
    ):
        raise ValueError(f"{what}: its external data is at {location!r}, expected a path below the model's folder")
    path = folder
    for part in parts:
        path = path / part
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            reason = f"its external data {location!r} cannot be read"
            raise ValueError(f"{what}: {reason}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{what}: its external data is at {location!r}: {error}") from error
        if stat.S_ISLNK(mode):
            raise ValueError(f"{what}: {part!r} in the path of its external data {location!r} is a symbolic link")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{what}: its external data {location!r} is not a regular file")
    return path
