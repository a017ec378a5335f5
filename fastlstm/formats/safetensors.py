"""Save and load a model as one ``.safetensors`` file.

The file holds the tensors and, as its header's metadata, four texts: ``format`` ("fastlstm"),
``format_version``, ``config`` (JSON) and ``sha256``, a digest over the config and every tensor. Nothing in a
file is run (no pickle): whatever it holds, the outcome of reading it is what was saved or a ``ValueError``.

The layout is that of https://github.com/huggingface/safetensors: 8 bytes with the header's length N (unsigned
little-endian), N bytes of JSON padded with spaces, then the tensors' bytes without gaps. It is written here,
not by the safetensors package, which puts the metadata in random order: the same model should give the same
bytes. It is read through the package, which checks that the tensors fit the file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

import numpy as np

from .._checks import path as checked_path
from . import atomic
from .json_object import json_object

__all__ = ["Reader", "load", "opened", "save"]

_FORMAT = "fastlstm"
_FORMAT_VERSION = "1"
_METADATA = "__metadata__"
_MAX_HEADER = 4_000_000
"""Bytes. The header of a model takes some thousand, and 20 for each name of a class."""
_MAX_MARKS = 200_000
"""Commas, colons and brackets in one JSON text: each may take some 100 bytes once it is read."""
_MARKS = ",:[{"
_CODES = {"float32": "F32", "float64": "F64", "int64": "I64"}
_DTYPES = {code: np.dtype(name) for name, code in _CODES.items()}


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``config`` to ``path``, replacing an older file in one step.

    The file is written beside ``path`` under a temporary name, flushed to the disk and renamed: a crash or a
    kill leaves the old file whole. Equal arguments give equal bytes.

    Parameters
    ----------
    path : path
        Conventionally ends in ``.safetensors``. Its folder must exist.
    tensors : mapping of str to ndarray
        Any shapes; dtype float32, float64 or int64.
    config : mapping
        Anything JSON can hold, without NaN or infinity. Tuples come back as lists.

    Raises
    ------
    TypeError
        A tensor is not an array of a supported dtype, or ``config`` holds something JSON cannot.
    ValueError
        ``config`` holds NaN or infinity, refers to itself, or is too large for a header (4 MB, 200,000 values).
    OSError
        The folder does not exist or cannot be written, the disk is full, or ``path`` is not a regular file.
    """
    arrays = {name: _little_endian(name, array) for name, array in tensors.items()}
    # 8-byte numbers first, so that every tensor begins at a multiple of its item size.
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    try:
        text = json.dumps(dict(config), allow_nan=False)
    except RecursionError:
        raise ValueError("config is nested too deeply to be saved") from None
    header = _header(arrays, text)
    marks = _marks(header.decode())
    if len(header) > _MAX_HEADER or marks > _MAX_MARKS:
        raise ValueError(
            f"config and tensor names take {len(header)} bytes with {marks} values; a file can hold {_MAX_HEADER} with "
            f"{_MAX_MARKS}"
        )
    atomic.write(path, [len(header).to_bytes(8, "little"), header, *(array.data for array in arrays.values())])


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file written by :func:`save`.

    Returns
    -------
    tensors : dict of str to ndarray
        As saved, sorted by name, writable.
    config : dict
        As saved.

    Raises
    ------
    ValueError
        The file is not one of :func:`save`'s, or is truncated, altered, or from a newer fastlstm; the message
        says which.
    OSError
        The file does not exist or cannot be read, or does not fit in the memory.
    """
    with opened(path, "a fastlstm model") as reader:
        return _parse(reader)


@contextmanager
def opened(path: str | os.PathLike[str], kind: str) -> Iterator[Reader]:
    """A reader of a .safetensors file whose header has been checked; ValueErrors within are given the path.

    Parameters
    ----------
    path : path
        Must be a regular file.
    kind : str
        What the caller looks for, with its article, for the messages.

    Raises
    ------
    ValueError
        The file is no .safetensors file.
    OSError
        The file does not exist or cannot be read, or does not fit in the memory.
    """
    info = os.stat(checked_path(path))
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        # A pipe may block, a device may not end.
        raise ValueError(f"{os.fspath(path)}: not {kind}: it is not a regular file")
    with open(path, "rb") as file:
        try:
            yield Reader(file, kind)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        except MemoryError as error:
            raise OSError(errno.ENOMEM, "what the file holds does not fit in the memory", os.fspath(path)) from error


class Reader:
    """An open file that begins like a .safetensors file; its tensors are read when they are asked for.

    The package safetensors reads them and checks that they fit the file. What it does not bound is checked before: the
    length of the header, and how many values it may hold.

    Attributes
    ----------
    metadata : dict of str to str
    dtypes : dict of str to str
        The type of each tensor, as the file format calls it; empty before `tensors`.
    """

    def __init__(self, file: BinaryIO, kind: str) -> None:
        # The first bytes tell most foreign files, which may be huge, before they are read.
        length = _header_size(file.read(9), os.fstat(file.fileno()).st_size, kind)
        file.seek(8)
        header = _decode_json(file.read(length), "header")
        self.metadata = _checked_metadata(header.get(_METADATA, {}))
        self.dtypes: dict[str, str] = {}
        self._file = file

    @property
    def is_model(self) -> bool:
        """Whether the file is one of :func:`save`'s."""
        return self.metadata.get("format") == _FORMAT

    def tensors(self, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, np.ndarray]:
        """All tensors, sorted by name, writable and little-endian.

        Parameters
        ----------
        dtypes : mapping of str to dtype
            For each type of the file format that is known, the one to read it as, of the same size.

        Raises
        ------
        ValueError
            The tensors do not fit the file, or one has another type or a shape that NumPy cannot hold.
        """
        from safetensors import SafetensorError, deserialize  # here: not every process reads a file

        self._file.seek(0)
        try:
            # The file's bytes are gone when the tensors' copies of them are looked at: twice its size at most.
            views = dict(deserialize(self._file.read()))
        except SafetensorError as error:
            raise ValueError(f"truncated, damaged, or not a .safetensors file ({error})") from None
        except BaseException as error:
            # How the package tells that Python had no memory for a tensor; it is not even an Exception.
            if type(error).__name__ != "PanicException":
                raise
            raise MemoryError("the tensors do not fit in the memory") from None
        arrays: dict[str, np.ndarray] = {}
        for name, view in sorted(views.items()):
            if view["dtype"] not in dtypes:
                raise ValueError(f"tensor {name!r} is {view['dtype']}; expected one of {', '.join(dtypes)}")
            flat = np.frombuffer(view["data"], dtypes[view["dtype"]].newbyteorder("<"))
            try:
                arrays[name] = flat.reshape(view["shape"])
            except (OverflowError, ValueError):  # e.g. (0, 2**63), or more axes than NumPy has
                raise ValueError(f"tensor {name!r} has a shape that NumPy cannot hold") from None
        self.dtypes = {name: view["dtype"] for name, view in views.items()}
        return arrays


def _parse(reader: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Check a whole file and return its tensors and config."""
    if not reader.is_model:
        raise ValueError("a .safetensors file, but not a fastlstm model; only Model.save writes those")
    version, text, digest = (reader.metadata.get(key, "") for key in ("format_version", "config", "sha256"))
    if version != _FORMAT_VERSION:
        if re.fullmatch("[1-9][0-9]{0,8}", version):
            raise ValueError(
                f"written by a newer fastlstm (file format {version}; this version reads {_FORMAT_VERSION}); "
                f"update with: pip install -U fastlstm"
            )
        raise ValueError(f"unknown file format {version[:20]!r}; this version reads {_FORMAT_VERSION}")
    arrays = reader.tensors(_DTYPES)
    if _digest(arrays, text) != digest:
        raise ValueError("the file was altered or damaged after saving (its checksum differs)")
    config = _decode_json(text.encode(), "config")
    return {name: np.require(a, a.dtype.newbyteorder("="), ["C", "W"]) for name, a in arrays.items()}, config


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"the header's {_METADATA} must map names to texts")
    for text in (*metadata, *metadata.values()):
        _check_text(text)
    return metadata


def _check_text(text: str) -> None:
    """JSON can write half of a character, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the header holds {text[:50]!r}, which is no valid text") from None


def _header_size(start: bytes, file_size: int, kind: str) -> int:
    """Return the header's length from the first 9 bytes of a file, once it fits a safetensors file."""
    if file_size == 0:
        raise ValueError("the file is empty")
    size = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        raise ValueError(f"not {kind}: the file does not begin like a .safetensors file")
    if size > file_size - 8:
        raise ValueError(f"truncated, or not {kind}: {size} bytes of header, {file_size} of file")
    if size > _MAX_HEADER:
        raise ValueError(f"not {kind}: {size} bytes of header, expected at most {_MAX_HEADER}")
    return size


def _marks(text: str) -> int:
    """How many values a JSON text may hold at most, without reading it."""
    return sum(text.count(mark) for mark in _MARKS)


def _decode_json(data: bytes, what: str) -> dict[str, Any]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the {what} is not valid JSON ({error})") from None
    if _marks(text) > _MAX_MARKS:
        raise ValueError(f"the {what} holds more than {_MAX_MARKS} values")
    return json_object(text, f"the {what}", _refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"tensor name {name!r} is a {type(name).__name__}; expected str")
    if name == _METADATA:
        raise ValueError(f"a tensor cannot be named {_METADATA!r}: the file format keeps this name")
    if not isinstance(array, np.ndarray) or array.dtype.name not in _CODES:
        got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"tensor {name!r} is {got}; expected a NumPy array of dtype {', '.join(_CODES)}")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _header(arrays: Mapping[str, np.ndarray], config: str) -> bytes:
    """Return the JSON header, padded so that the tensors begin at a multiple of 8 bytes."""
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "config": config,
        "sha256": _digest(arrays, config),
    }
    header: dict[str, Any] = {_METADATA: metadata}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _digest(arrays: Mapping[str, np.ndarray], config: str) -> str:
    """Return the SHA-256 of the config and, by name, of each tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    # One line of JSON for each tensor names its length, so that no two contents run into the same bytes.
    digest.update(json.dumps([_FORMAT, _FORMAT_VERSION, config]).encode() + b"\n")
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, _CODES[array.dtype.name], list(array.shape)]).encode() + b"\n")
        digest.update(array.data)
    return digest.hexdigest()
