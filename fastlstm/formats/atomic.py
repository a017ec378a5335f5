"""Files that appear whole or not at all, whatever ends the process that writes them.

A file is written beside its place under a temporary name, flushed to the disk and renamed. While it is written its
process holds a lock on it; a temporary file without a lock was left by a process that was killed, and is removed by the
next one that writes into the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from .._checks import path as checked_path

if sys.platform != "win32":
    import fcntl

__all__ = ["check_folder", "remove_leftovers", "write"]

_TEMPORARY = re.compile(r"\.fastlstm-[0-9a-f]{16}\.tmp")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_MOST = 2**30  # bytes of one write; Linux takes no more than 2 GiB


def write(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Makes a file of these bytes, or replaces an older one in one step.

    Parameters
    ----------
    path : path
        Its folder must exist. A symbolic link stays one: the file it leads to is replaced. An older file's permissions
        are kept.
    parts : iterable of bytes or C-contiguous memoryview
        What the file is to hold.

    Raises
    ------
    OSError
        The folder does not exist or cannot be written, the disk is full, or `path` is there and no regular file. An
        older file is as it was.
    """
    target = Path(os.path.realpath(checked_path(path)))
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {target}: it is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot save to {target}: it is not a regular file")
    remove_leftovers(target.parent)
    temporary, descriptor = _temporary(target.parent)
    try:
        try:
            for part in parts:
                _write_all(descriptor, part)
            os.fsync(descriptor)
            if target.exists():
                shutil.copymode(target, temporary)
            if sys.platform != "win32":  # the lock is held until the file has its name
                os.replace(temporary, target)
        finally:
            # What could still fail to reach the disk has failed in fsync.
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if sys.platform == "win32":  # an open file cannot be renamed there, nor removed
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            reason = f"cannot save, and an older file is as it was: {error.strerror or error}"
            raise OSError(error.errno or errno.EIO, reason, str(target)) from error
        raise
    _sync_folder(target.parent)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """OSError unless files can be made in the folder, as a trial shows."""
    temporary, descriptor = _temporary(Path(os.path.realpath(folder)))
    os.close(descriptor)
    temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files in a folder whose writers are dead; those being written stay, whosever they are."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            found = [entry.path for entry in entries if _TEMPORARY.fullmatch(entry.name)]
        for path in found:
            with contextlib.suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: str) -> None:
    if sys.platform == "win32":
        os.unlink(path)  # refused while a process has it open
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: somebody writes it, or there are no locks
        os.unlink(path)
    finally:
        os.close(descriptor)


def _temporary(folder: Path) -> tuple[Path, int]:
    """A new file in the folder, locked, and its descriptor."""
    while True:
        path = folder / f".fastlstm-{secrets.token_hex(8)}.tmp"
        try:
            descriptor = os.open(path, _FLAGS, 0o666)
            if sys.platform == "win32" or _locked(path, descriptor):
                return path, descriptor
            os.close(descriptor)
        except OSError as error:
            reason = f"cannot save a file in this folder: {error.strerror}"
            raise OSError(error.errno, reason, str(folder)) from error


def _locked(path: Path, descriptor: int) -> bool:
    """Locks a new file; False if it has been taken for a leftover and removed meanwhile."""
    try:
        with contextlib.suppress(OSError):  # a file system without locks: nobody removes leftovers there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return os.fstat(descriptor).st_nlink > 0
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)
        raise


def _write_all(descriptor: int, part: bytes | memoryview) -> None:
    view = memoryview(part)
    if not view.nbytes:
        return  # a view without elements cannot be cast
    view = view.cast("B")
    while view:
        view = view[os.write(descriptor, view[:_MOST]) :]


def _sync_folder(folder: Path) -> None:
    """Makes the renaming itself survive a power cut, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    # The new file is complete and in place by now; some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
