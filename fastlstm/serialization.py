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

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

__all__ = ["is_model", "load", "parse_views", "read_file", "save", "view_array"]

T = TypeVar("T")

_FORMAT = "fastlstm"
_FORMAT_VERSION = "1"
_METADATA = "__metadata__"
_MAX_HEADER = 100_000_000  # bytes; the safetensors package refuses longer ones
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
        ``config`` holds NaN or infinity, refers to itself, or is too large for a header (100 MB).
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
    if len(header) > _MAX_HEADER:
        raise ValueError(f"config and tensor names take {len(header)} bytes; a file can hold {_MAX_HEADER}")

    target = Path(os.path.realpath(path))  # so that saving through a symbolic link keeps the link
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {target}: it is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot save to {target}: it is not a regular file")
    temporary = target.parent / f".fastlstm-{secrets.token_hex(8)}.tmp"
    try:
        file = open(temporary, "xb")
    except OSError as error:
        reason = f"cannot save a model in this folder: {error.strerror}"
        raise OSError(error.errno, reason, str(target.parent)) from error
    try:
        with file:
            file.write(len(header).to_bytes(8, "little"))
            file.write(header)
            for array in arrays.values():
                file.write(array.data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


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
        The file does not exist or cannot be read.
    """
    return read_file(path, _parse, "a fastlstm model")


def read_file(path: str | os.PathLike[str], parse: Callable[[bytes], T], kind: str) -> T:
    """What ``parse`` makes of the bytes of a file that begins like a .safetensors file.

    Parameters
    ----------
    path : path
        Must be a regular file.
    parse : callable
        Its ValueErrors are given the path.
    kind : str
        What the caller looks for, with its article, for the messages.

    Raises
    ------
    ValueError
        The file does not begin like a .safetensors file, or ``parse`` raised it.
    OSError
        The file does not exist or cannot be read.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        # A pipe may block, a device may not end.
        raise ValueError(f"{os.fspath(path)}: not {kind}: it is not a regular file")
    with open(path, "rb") as file:
        try:
            # The first bytes tell most foreign files, which may be huge, before they are read.
            _header_size(file.read(9), info.st_size, kind)
            file.seek(0)
            return parse(file.read())
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error


def parse_views(data: bytes, kind: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The tensors of a whole file as the safetensors package gives them ("shape", "dtype", "data"), and the header."""
    size = _header_size(data[:9], len(data), kind)
    from safetensors import SafetensorError, deserialize  # here: not every process reads a file

    try:
        views = dict(deserialize(data))
    except SafetensorError as error:
        raise ValueError(f"truncated, damaged, or not a .safetensors file ({error})") from None
    return views, _decode_json(data[8 : 8 + size], "header")


def view_array(name: str, view: Mapping[str, Any], dtype: np.dtype[Any]) -> np.ndarray:
    """One of `parse_views`'s tensors as a read-only array of this dtype, little-endian."""
    array: np.ndarray = np.frombuffer(view["data"], dtype.newbyteorder("<"))
    try:
        array = array.reshape(view["shape"])
    except (OverflowError, ValueError):  # e.g. (0, 2**63), or more axes than NumPy has
        raise ValueError(f"tensor {name!r} has a shape that NumPy cannot hold") from None
    return array


def is_model(header: Mapping[str, Any]) -> bool:
    """Whether a file with this header is one of :func:`save`'s."""
    metadata = header.get(_METADATA)
    return isinstance(metadata, dict) and metadata.get("format") == _FORMAT


def _parse(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Check the bytes of a whole file and return their tensors and config."""
    views, header = parse_views(data, "a fastlstm model")
    if not is_model(header):
        raise ValueError("a .safetensors file, but not a fastlstm model; only Model.save writes those")
    metadata = header[_METADATA]
    version, text, digest = (metadata.get(key, "") for key in ("format_version", "config", "sha256"))
    if version != _FORMAT_VERSION:
        if re.fullmatch("[1-9][0-9]{0,8}", version):
            raise ValueError(
                f"written by a newer fastlstm (file format {version}; this version reads {_FORMAT_VERSION}); "
                f"update with: pip install -U fastlstm"
            )
        raise ValueError(f"unknown file format {version[:20]!r}; this version reads {_FORMAT_VERSION}")

    arrays = {}
    for name, view in sorted(views.items()):
        dtype = _DTYPES.get(view["dtype"])
        if dtype is None:
            raise ValueError(f"tensor {name!r} is {view['dtype']}; expected one of {', '.join(_DTYPES)}")
        arrays[name] = view_array(name, view, dtype)
    if _digest(arrays, text) != digest:
        raise ValueError("the file was altered or damaged after saving (its checksum differs)")
    config = _decode_json(text.encode(), "config")
    return {name: np.require(a, a.dtype.newbyteorder("="), ["C", "W"]) for name, a in arrays.items()}, config


def _header_size(start: bytes, file_size: int, kind: str) -> int:
    """Return the header's length from the first 9 bytes of a file, once it fits a safetensors file."""
    if file_size == 0:
        raise ValueError("the file is empty")
    size = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        raise ValueError(f"not {kind}: the file does not begin like a .safetensors file")
    if size > min(file_size - 8, _MAX_HEADER):
        raise ValueError(f"truncated, or not {kind}: {size} bytes of header, {file_size} of file")
    return size


def _decode_json(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"the {what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the {what} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"the {what} is a {type(value).__name__}, expected an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers differ in which of two equal keys they take, so that a checked value may not be the used one.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


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


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    # The new file is complete and in place by now; some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
