"""Split a Keras file into its description of the layers and its HDF5 data with the weights.

Nothing is unpacked to disk. Only three members of a zip archive are read, and their sizes are checked first.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..json_object import json_object
from .hdf5 import MAGIC, GroupPath, Hdf5

__all__ = ["Source", "open_source"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ZIP_MAGIC = b"PK\x03\x04"
_MAX_GROWTH = 10
"""Maximum size of the unpacked members, in multiples of the file's size. Keras does not compress, but users may;
trained weights hardly shrink, but the file of a small model is mostly zeros."""
_FREE_GROWTH = 1 << 20  # bytes allowed in addition, for small files


class Source(NamedTuple):
    """The contents of a file."""

    config: dict[str, Any] | None
    """The description of the model; None if the file has weights only."""
    version: int | None
    """Keras's major version; None if the file does not state it."""
    weights: Hdf5
    root: GroupPath
    """The group with the weights."""


def open_source(path: str | os.PathLike[str]) -> Source:
    """Read a ``.keras``, ``.h5`` or ``.weights.h5`` file; raise ValueError if it is something else or damaged."""
    info = os.stat(path)
    if stat.S_ISDIR(info.st_mode):
        raise ValueError("it is a folder: save the model as one file, model.save('model.keras')")
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("it is not a regular file")  # a pipe may block, a device may be endless
    with open(path, "rb") as file:
        start = file.read(8)
        if not start.startswith(_ZIP_MAGIC) and start != MAGIC:
            raise ValueError("it is neither a .keras file (zip) nor a .h5 file (HDF5)")
        file.seek(0)
        data = file.read()
    return _from_hdf5(data) if start == MAGIC else _from_zip(data)


def _from_hdf5(data: bytes) -> Source:
    weights = Hdf5(data)
    text = weights.text((), "model_config")
    version = weights.text((), "keras_version")
    config = None if text is None else json_object(text, "the attribute 'model_config'")
    root = ("model_weights",) if weights.is_group(("model_weights",)) else ()
    return Source(config, None if version is None else _major({"keras_version": version}), weights, root)


def _from_zip(data: bytes) -> Source:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _checked_members(archive, len(data))
            config, metadata, weights = (_member(archive, members[name]) for name in (_CONFIG, _METADATA, _WEIGHTS))
    except _Refused:
        raise
    except Exception as error:  # zipfile passes on many types of exceptions that damaged bytes cause in its parts
        raise ValueError(f"the zip archive is damaged ({type(error).__name__}: {error})") from None
    version = _major(json_object(metadata, _METADATA))
    return Source(json_object(config, _CONFIG), version, Hdf5(weights), ())


class _Refused(ValueError):
    """An error that this module detects itself, as opposed to one from zipfile."""


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in info.orig_filename:
            raise _Refused(f"the zip archive has a member {name[:200]!r}, whose name points outside it")
        if name in members:
            raise _Refused(f"the zip archive has two members {name[:200]!r}")
        members[name] = info
    missing = [name for name in (_CONFIG, _METADATA, _WEIGHTS) if name not in members]
    if missing:
        if any(name.startswith("model.weights.") for name in members):
            raise _Refused(f"{', '.join(missing)} is missing: weights in .npz or in several files are not supported")
        raise _Refused(f"{', '.join(missing)} is missing: only model.save('model.keras') writes such files")
    needed = sum(members[name].file_size for name in (_CONFIG, _METADATA, _WEIGHTS))
    if needed > _MAX_GROWTH * size + _FREE_GROWTH:
        raise _Refused(f"the members claim to unpack to {needed} bytes, but the file has {size}")
    return members


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & 1:
        raise _Refused(f"{info.filename} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"{info.filename} is compressed by a method other than deflate")
    with archive.open(info) as file:
        data = file.read(info.file_size)
        # Reading to the end makes zipfile compare the checksum, and detects a member that is longer than it claims.
        if len(data) != info.file_size or file.read(1):
            raise _Refused(f"{info.filename} does not have the length that the archive states")
    return data


def _major(metadata: Mapping[str, Any]) -> int | None:
    """Return Keras's major version, 2 or 3; None if it is missing."""
    version = metadata.get("keras_version")
    if version is None:
        return None
    major = version.partition(".")[0] if isinstance(version, str) else None
    if major not in ("2", "3"):
        raise ValueError(f"it was written by Keras {str(version)[:40]!r}, expected version 2 or 3")
    return int(major)
