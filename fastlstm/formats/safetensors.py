"""Save and load a model as one ``.safetensors`` file.

The file holds the tensors and, as its header's metadata, four strings: ``format`` ("fastlstm"),
``format_version``, ``config`` (JSON) and ``sha256``, a digest over the config and every tensor. No code in a
file is run (no pickle): reading any file either returns what was saved or raises a ``ValueError``.

The layout is that of https://github.com/huggingface/safetensors: 8 bytes with the header's length N (unsigned
little-endian), N bytes of JSON padded with spaces, then the tensors' bytes without gaps. The file is written here,
not by the safetensors package, which writes the metadata in random order: the same model should give the same
bytes. The file is read through the package, which checks that the tensors fit the file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO, NoReturn

import numpy as np

from .._checks import path as checked_path
from . import atomic
from .json_object import json_object

__all__ = ["RUN_KEY", "RUN_PREFIX", "Reader", "Source", "load", "load_config", "name_of", "opened", "save"]

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, the content of a file, or an open binary file."""

RUN_KEY = "training"
"""Key in the config of a training run's data, which a `Checkpoint` saves beside the model."""
RUN_PREFIX = "training."
"""Prefix of the names of the run's tensors."""

_FORMAT = "fastlstm"
_FORMAT_VERSION = "1"
_METADATA = "__metadata__"
_MAX_HEADER = 4_000_000
"""Maximum size in bytes. The header of a model takes a few thousand bytes, and 20 for each name of a class."""
_MAX_MARKS = 200_000
"""Maximum number of commas, colons and brackets in a JSON text; the value at each may take some 100 bytes of memory."""
_MARKS = ",:[{"
_CODES = {"float32": "F32", "float64": "F64", "int64": "I64", "int8": "I8"}
_DTYPES = {code: np.dtype(name) for name, code in _CODES.items()}


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    """Write ``tensors`` and ``config`` to ``path``, replacing an older file in one step.

    The file is written under a temporary name in the same folder, flushed to disk and renamed: a crash or a
    kill leaves the old file intact. Equal arguments give equal bytes.

    Parameters
    ----------
    path : path
        Conventionally ends in ``.safetensors``. Its folder must exist.
    tensors : mapping of str to ndarray
        Any shapes; dtype float32, float64, int64 or int8.
    config : mapping
        Anything JSON can hold, without NaN or infinity. Tuples come back as lists.

    Raises
    ------
    TypeError
        If a tensor is not an array of a supported dtype, or ``config`` holds something that JSON cannot.
    ValueError
        If ``config`` holds NaN or infinity, refers to itself, is nested too deeply, or is too large for a header (4 MB,
        200,000 values); if a tensor has the name ``__metadata__``.
    OSError
        If the folder does not exist or cannot be written, the disk is full, or ``path`` is not a regular file.
    """
    arrays = {name: _little_endian(name, array) for name, array in tensors.items()}
    # Tensors with 8-byte elements come first, so that every tensor begins at a multiple of its item size.
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    try:
        text = json.dumps(dict(config), allow_nan=False)
    except RecursionError:
        raise ValueError("config is nested too deeply to be saved") from None
    header = _header(arrays, text)
    marks = _marks(header.decode())
    if len(header) > _MAX_HEADER or marks > _MAX_MARKS:
        raise ValueError(
            f"config and tensor names take {len(header)} bytes with {marks} values; a file can hold {_MAX_HEADER} "
            f"bytes with {_MAX_MARKS} values"
        )
    atomic.write(path, [len(header).to_bytes(8, "little"), header, *(array.data for array in arrays.values())])


def load(path: Source) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file written by :func:`save`.

    Parameters
    ----------
    path : path, bytes-like or binary file object
        The file, its content, or an object whose ``read()`` returns its content.

    Returns
    -------
    tensors : dict of str to ndarray
        As saved, sorted by name, writable.
    config : dict
        As saved.

    Raises
    ------
    ValueError
        If the file was not written by :func:`save`, or is truncated, altered, or from a newer fastlstm; the
        message says which.
    OSError
        If the file does not exist, cannot be read, or does not fit in memory.
    """
    with opened(path, "a fastlstm model") as reader:
        return _parse(reader)


def load_config(path: Source) -> dict[str, Any]:
    """Return the config of a file written by :func:`save`, from its header alone: no tensor is read or checked.

    Parameters
    ----------
    path : path, bytes-like or binary file object

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file was not written by :func:`save`, or comes from a newer fastlstm.
    OSError
        If the file does not exist or cannot be read.
    """
    with opened(path, "a fastlstm model") as reader:
        return _config(reader)


def name_of(path: Source) -> str:
    """Return how messages call a file, its content or a file object."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        return f"<{len(path)} bytes>"
    if _is_stream(path):
        return str(getattr(path, "name", f"<{type(path).__name__}>"))
    return checked_path(path)


def _is_stream(path: Source) -> bool:
    return not isinstance(path, (str, os.PathLike)) and hasattr(path, "read")


def _content(path: Source) -> BytesIO | None:
    """Return the content of bytes or of a file object; None for a path."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        return BytesIO(path)
    if not _is_stream(path):
        return None
    data = path.read()  # type: ignore[union-attr]
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name_of(path)} gives {type(data).__name__}, expected bytes: open it in binary mode, 'rb'")
    return BytesIO(data)


@contextmanager
def opened(path: Source, kind: str) -> Iterator[Reader]:
    """Open a .safetensors file and check its header; prefix ValueErrors raised in the context with the path.

    Parameters
    ----------
    path : path, bytes-like or binary file object
        A regular file, or its content.
    kind : str
        Name of the expected kind of file in messages, with its article.

    Yields
    ------
    Reader

    Raises
    ------
    ValueError
        If the file is not a .safetensors file.
    OSError
        If the file does not exist, cannot be read, or does not fit in memory.
    """
    content = _content(path)
    if content is not None:
        try:
            yield Reader(content, kind, content.getbuffer().nbytes)
        except ValueError as error:
            what = "expected the content of a file that Model.save has written"
            raise ValueError(f"{name_of(path)}: {error}; {what}") from error
        return
    info = os.stat(checked_path(path))
    assert isinstance(path, (str, os.PathLike))
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        # A pipe may block, a device may be endless.
        raise ValueError(f"{os.fspath(path)}: not {kind}: it is not a regular file")
    with open(path, "rb") as file:
        try:
            yield Reader(file, kind, info.st_size)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        except MemoryError as error:
            raise OSError(errno.ENOMEM, "the file's contents do not fit in memory", os.fspath(path)) from error


class Reader:
    """An open file with a valid .safetensors header; `tensors` reads the tensors.

    The safetensors package reads them and checks that they fit the file. The constructor checks what that package does
    not limit: the length of the header and the number of values in it.

    Attributes
    ----------
    metadata : dict of str to str
    dtypes : dict of str to str
        The type of each tensor by its name in the file format; empty before the call of `tensors`.
    """

    def __init__(self, file: BinaryIO, kind: str, size: int) -> None:
        # The first bytes identify most foreign files, which may be huge, before the rest is read.
        length = _header_size(file.read(9), size, kind)
        file.seek(8)
        header = _decode_json(file.read(length), "header")
        self.metadata = _checked_metadata(header.get(_METADATA, {}))
        self.dtypes: dict[str, str] = {}
        self._file = file

    @property
    def is_model(self) -> bool:
        """Whether the file was written by :func:`save`."""
        return self.metadata.get("format") == _FORMAT

    def tensors(self, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, np.ndarray]:
        """Return all tensors, sorted by name, writable and little-endian.

        Parameters
        ----------
        dtypes : mapping of str to dtype
            For each supported type of the file format, a dtype of the same size to read it as.

        Raises
        ------
        ValueError
            If the tensors do not fit the file, or one has another type or a shape that NumPy cannot hold.
        """
        from safetensors import SafetensorError, deserialize  # imported here, because not every process reads a file

        self._file.seek(0)
        try:
            # The file's bytes are freed before the tensors' copies are converted, so at most twice its size is needed.
            views = dict(deserialize(self._file.read()))
        except SafetensorError as error:
            raise ValueError(f"truncated, damaged, or not a .safetensors file ({error})") from None
        except BaseException as error:
            # The package raises this if Python has no memory for a tensor; it does not even derive from Exception.
            if type(error).__name__ != "PanicException":
                raise
            raise MemoryError("the tensors do not fit in memory") from None
        arrays: dict[str, np.ndarray] = {}
        for name, view in sorted(views.items()):
            if view["dtype"] not in dtypes:
                raise ValueError(f"tensor {name!r} is {view['dtype']}; expected one of {', '.join(dtypes)}")
            flat = np.frombuffer(view["data"], dtypes[view["dtype"]].newbyteorder("<"))
            try:
                arrays[name] = flat.reshape(view["shape"])
            except (OverflowError, ValueError):  # e.g. (0, 2**63), or more axes than NumPy supports
                raise ValueError(f"tensor {name!r} has a shape that NumPy cannot hold") from None
        self.dtypes = {name: view["dtype"] for name, view in views.items()}
        return arrays


def _parse(reader: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Check a whole file and return its tensors and config."""
    config = _config(reader)
    arrays = reader.tensors(_DTYPES)
    if _digest(arrays, reader.metadata["config"]) != reader.metadata.get("sha256", ""):
        raise ValueError("the file was altered or damaged after saving (its checksum differs)")
    return {name: np.require(a, a.dtype.newbyteorder("="), ["C", "W"]) for name, a in arrays.items()}, config


def _config(reader: Reader) -> dict[str, Any]:
    """Check that a file is one of this format; return its config."""
    if not reader.is_model:
        raise ValueError(
            "a .safetensors file, but not a fastlstm model; only Model.save writes such files, and fl.from_torch reads "
            "those with the weights of a PyTorch module"
        )
    version, text = (reader.metadata.get(key, "") for key in ("format_version", "config"))
    if version != _FORMAT_VERSION:
        if re.fullmatch("[1-9][0-9]{0,8}", version):
            raise ValueError(
                f"written by a newer fastlstm (file format {version}; this version reads {_FORMAT_VERSION}); "
                f"update with: pip install -U fastlstm"
            )
        raise ValueError(f"unknown file format {version[:20]!r}; this version reads {_FORMAT_VERSION}")
    return _decode_json(text.encode(), "config")


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"the header's {_METADATA} must map names to strings")
    for text in (*metadata, *metadata.values()):
        _check_encodable(text)
    return metadata


def _check_encodable(text: str) -> None:
    """Raise ValueError if a string holds half of a surrogate pair, which JSON can express."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the header holds {text[:50]!r}, which is not a valid string") from None


def _header_size(start: bytes, file_size: int, kind: str) -> int:
    """Return the header's length from the first 9 bytes of a file; raise ValueError if it is not safetensors."""
    if file_size == 0:
        raise ValueError("the file is empty")
    size = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        raise ValueError(f"not {kind}: the file does not begin like a .safetensors file")
    if size > file_size - 8:
        raise ValueError(f"truncated, or not {kind}: the header has {size} bytes, but the file has {file_size}")
    if size > _MAX_HEADER:
        raise ValueError(f"not {kind}: the header has {size} bytes, expected at most {_MAX_HEADER}")
    return size


def _marks(text: str) -> int:
    """Return an upper bound of the number of values in a JSON text, without parsing it."""
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
        raise ValueError(f"a tensor cannot be named {_METADATA!r}: the file format reserves this name")
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


def _sha256() -> Any:
    """Return a new SHA-256 digest, Python's own where there is one: loading OpenSSL takes longer than a small model."""
    for name in ("_sha2", "_sha256"):  # from Python 3.12 on, and before
        with suppress(ImportError):
            return import_module(name).sha256()
    return import_module("hashlib").sha256()


def _digest(arrays: Mapping[str, np.ndarray], config: str) -> str:
    """Return the SHA-256 of the config and, by name, of each tensor's name, dtype, shape and bytes."""
    digest = _sha256()
    # One line of JSON for each tensor states its size, so that different contents never give the same bytes.
    digest.update(json.dumps([_FORMAT, _FORMAT_VERSION, config]).encode() + b"\n")
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, _CODES[array.dtype.name], list(array.shape)]).encode() + b"\n")
        digest.update(array.data)
    return str(digest.hexdigest())
