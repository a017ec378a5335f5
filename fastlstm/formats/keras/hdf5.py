"""A defensive reader of HDF5: it reads arrays and strings from the bytes of one file, and from nowhere else.

Soft and external links, datasets stored in other files, and filters and types of plugins are refused before the library
follows them. The size that a dataset claims is compared with what the file stores before memory is allocated. The file
is parsed by libhdf5; this module cannot protect against bugs in that C library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..._typing import Array

__all__ = ["MAGIC", "GroupPath", "Hdf5"]

GroupPath = tuple[str, ...]
"""Names of the groups from the root of a file to an object."""


MAGIC = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01"
_MAX_MEMBERS = 100_000
"""Maximum for one group. A damaged index can list the same members endlessly."""


class Hdf5:
    """The groups and datasets of an HDF5 file that is held in memory.

    Groups and datasets are addressed by a path, a tuple of names. All methods raise ValueError if the file is damaged.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    ImportError
        If h5py is missing.
    ValueError
        If it is not an HDF5 file.
    """

    def __init__(self, data: bytes) -> None:
        try:
            import h5py
        except ImportError as error:
            raise ImportError("reading a Keras file needs h5py: pip install 'fastlstm[keras]'") from error
        self._h5 = h5py
        self._size = len(data)
        self._left = len(data)
        """Bytes of datasets that may still be read; a file that names the same bytes many times soon exceeds this."""
        if not data.startswith(MAGIC):
            raise ValueError("the weights are not an HDF5 file: the signature is missing")
        if _widths(data) != (8, 8):
            raise ValueError("the weights are damaged or not written by h5py, whose addresses have 8 bytes")
        _check_heaps(data)
        with _damaged("the file"):
            self._file = h5py.h5f.open_file_image(data)
            self._root = h5py.h5g.open(self._file, b"/")

    def members(self, path: GroupPath) -> list[str]:
        """Return the names of all objects in a group; empty if there is no such group."""
        group = self._open(path)
        names: list[str] = []

        def note(name: bytes, *_: Any) -> bool | None:
            names.append(_decode(name))
            return True if len(names) > _MAX_MEMBERS else None  # True ends the iteration

        if not isinstance(group, self._h5.h5g.GroupID):
            return names
        with _damaged(_shown(path)):
            group.links.iterate(note)
        if len(names) > _MAX_MEMBERS:
            raise ValueError(f"{_shown(path)} has more than {_MAX_MEMBERS} members")
        return names

    def is_group(self, path: GroupPath) -> bool:
        """Return whether there is a group at this path."""
        return isinstance(self._open(path), self._h5.h5g.GroupID)

    def is_dataset(self, path: GroupPath) -> bool:
        """Return whether there is a dataset at this path."""
        return isinstance(self._open(path), self._h5.h5d.DatasetID)

    def shape(self, path: GroupPath) -> tuple[int, ...]:
        """Return the shape of the result of `array`, without reading the dataset."""
        return self._checked(path)[1]

    def array(self, path: GroupPath) -> Array:
        """Read a dataset of float16, float32, float64, or bfloat16 (as float32) numbers."""
        dataset, shape, dtype = self._checked(path)
        needed = math.prod(shape) * dtype.itemsize
        if needed > self._left:
            raise ValueError(f"{_shown(path)} and the datasets before it are larger than the file")
        self._left -= needed
        with _damaged(_shown(path)):
            array = np.empty(shape, dtype)
            if needed:
                dataset.read(self._h5.h5s.ALL, self._h5.h5s.ALL, array)
        if dtype.kind == "V":
            return np.asarray((array.view("<u2").astype(np.uint32) << 16).view(np.float32))
        return array

    def _checked(self, path: GroupPath) -> tuple[Any, tuple[int, ...], np.dtype[Any]]:
        """Return a dataset whose numbers the file holds, its shape, and the dtype to read it as (V2 for bfloat16)."""
        dataset, name = self._open(path), _shown(path)
        if not isinstance(dataset, self._h5.h5d.DatasetID):
            raise ValueError(f"{name} is missing" if dataset is None else f"{name} is not a dataset")
        h5d, h5s = self._h5.h5d, self._h5.h5s
        with _damaged(name):
            settings = dataset.get_create_plist()
            # Check this first: asking a virtual dataset for its shape opens the files that it consists of.
            if settings.get_layout() == h5d.VIRTUAL or settings.get_external_count():
                raise _Refused(f"{name} is stored in other files, which are not read")
            if settings.get_nfilters() or settings.get_layout() not in (h5d.CONTIGUOUS, h5d.COMPACT):
                raise _Refused(
                    f"{name} is compressed or stored in chunks, which Keras does not do: "
                    "convert the file with h5repack -f NONE -l CONTI"
                )
            dtype = self._dtype(dataset, name)
            space = dataset.get_space()
            if space.get_simple_extent_type() not in (h5s.SIMPLE, h5s.SCALAR):
                raise _Refused(f"{name} holds no numbers")
            shape = tuple(int(n) for n in space.get_simple_extent_dims())
            needed, stored = math.prod(shape) * dtype.itemsize, min(dataset.get_storage_size(), self._size)
            if needed > stored:
                raise _Refused(f"{name} has shape {shape}, {needed} bytes, of which the file holds {stored}")
        return dataset, shape, dtype

    def text(self, path: GroupPath, attribute: str) -> str | None:
        """Return an attribute of a group or a dataset that is one string; None if there is no such attribute."""
        found = self._open(path)
        return None if found is None else self._text(found, attribute, _shown(path))

    def _text(self, found: Any, attribute: str, place: str) -> str | None:
        h5a, h5t = self._h5.h5a, self._h5.h5t
        name = f"attribute {attribute!r} of {place}"
        with _damaged(name):
            if not h5a.exists(found, attribute.encode()):
                return None
            opened = h5a.open(found, attribute.encode())
            kind = opened.get_type()
            # Accept one string only: an array of strings may refer to the same bytes many times.
            if not isinstance(kind, h5t.TypeStringID) or opened.get_space().get_simple_extent_type() != (
                self._h5.h5s.SCALAR
            ):
                raise _Refused(f"{name} is not a string")
            if max(kind.get_size(), opened.get_storage_size()) > self._size:
                raise _Refused(f"{name} claims to be longer than the file")
            buffer = np.empty((), opened.dtype)
            opened.read(buffer)
            value: Any = buffer[()]
            return value if isinstance(value, str) else bytes(value).decode()

    def _dtype(self, dataset: Any, name: str) -> np.dtype[Any]:
        h5t, kind = self._h5.h5t, dataset.get_type()
        known: dict[np.dtype[Any], tuple[Any, Any]] = {
            np.dtype(np.float16): (h5t.IEEE_F16LE, h5t.IEEE_F16BE),
            np.dtype(np.float32): (h5t.IEEE_F32LE, h5t.IEEE_F32BE),
            np.dtype(np.float64): (h5t.IEEE_F64LE, h5t.IEEE_F64BE),
        }
        for dtype, types in known.items():
            if any(kind.equal(one) for one in types):
                return dtype
        opaque = isinstance(kind, h5t.TypeOpaqueID) and kind.get_size() == 2
        if opaque and self._text(dataset, "dtype", name) == "bfloat16":
            return np.dtype("V2")
        raise _Refused(f"{name} does not hold float16, float32, float64 or bfloat16 numbers")

    def _open(self, path: GroupPath) -> Any:
        """Open the object at a path, following hard links only; return None if there is none."""
        found = self._root
        for depth, name in enumerate(path, start=1):
            with _damaged(_shown(path[:depth])):
                key = name.encode()
                if not isinstance(found, self._h5.h5g.GroupID) or not found.links.exists(key):
                    return None
                if found.links.get_info(key).type != self._h5.h5l.TYPE_HARD:
                    raise _Refused(f"{_shown(path[:depth])} is a soft or external link, which is not followed")
                found = self._h5.h5o.open(found, key)
        return found


def _shown(path: GroupPath) -> str:
    return "/".join(path)[:200] or "the file"


def _decode(name: bytes) -> str:
    text = name.decode()
    if "/" in text or text in (".", ".."):  # libhdf5 would interpret it as a path
        raise _Refused(f"{text!r} is not a valid name")
    return text


def _widths(data: bytes) -> tuple[int, ...]:
    """Return the size in bytes of an address and of a length, as the file's superblock states them."""
    first = 13 if data[8:9] in (b"\0", b"\1") else 9
    return tuple(data[first : first + 2])


def _check_heaps(data: bytes) -> None:
    """Raise ValueError if libhdf5 would loop endlessly in one of the file's heaps of strings, or read beyond its end.

    A heap ("global heap collection" in the HDF5 specification) is a sequence of objects, each with an index of two
    bytes and, at offset 8, its size; the free space has the index 0. Bytes that only look like a heap have a size
    beyond the end of the file, which libhdf5 checks.
    """
    start, left = data.find(_HEAP), len(data) // 16  # heaps do not overlap, so this bounds the number of objects
    while start >= 0:
        end = start + _uint(data, start + 8, 8)
        offset = start + 16
        while end <= len(data) and end - offset >= 16:
            size = _uint(data, offset + 8, 8)
            size = (size + 7) // 8 * 8 + 16 if _uint(data, offset, 2) else size
            left -= 1
            if not 16 <= size <= end - offset or left < 0:
                raise ValueError("the file is damaged: a heap of strings is inconsistent")
            offset += size
        start = data.find(_HEAP, start + 1)


def _uint(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "little")


class _Refused(ValueError):
    """An error that this module detects itself, as opposed to one from h5py."""


@contextmanager
def _damaged(what: str) -> Iterator[None]:
    """Convert any exception that h5py raises for libhdf5's errors to a ValueError."""
    try:
        yield
    except _Refused:
        raise
    except Exception as error:
        raise ValueError(f"{what} is damaged ({type(error).__name__}: {error})") from None
