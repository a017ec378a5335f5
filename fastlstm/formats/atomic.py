"""Write files atomically: a file appears complete or not at all, however the writing process ends.

A file is written under a temporary name in the target's folder, flushed to disk and renamed. The writing process locks
the temporary file. One without a lock was left by a process that was killed; the next process that writes to the folder
removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable

from .._checks import path as checked_path

if sys.platform != "win32":
    import fcntl

__all__ = ["check_folder", "remove_leftovers", "write"]

_TEMPORARY = re.compile(r"\.fastlstm-[0-9a-f]{16}\.tmp")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_MOST = 2**30  # maximum number of bytes per call of os.write; Linux writes no more than 2 GiB


def write(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Create a file with these bytes, or replace an existing one in one step.

    Parameters
    ----------
    path : path
        Its folder must exist. If it is a symbolic link, the link stays and its target is replaced. The permissions of
        an existing file are kept.
    parts : iterable of bytes or C-contiguous memoryview
        The contents of the file.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written, the disk is full, or `path` exists and is not a regular file.
        An existing file is unchanged.
    """
    target = os.path.realpath(checked_path(path))
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"cannot save to {target}: it is a folder; pass the name of a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(f"cannot save to {target}: it is not a regular file")
    remove_leftovers(folder)
    temporary, descriptor = _temporary(folder)
    try:
        try:
            for part in parts:
                _write_all(descriptor, part)
            os.fsync(descriptor)
            if os.path.exists(target):
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            if sys.platform != "win32":  # rename before closing, so that the lock is held until the file has its name
                os.replace(temporary, target)
        finally:
            # Errors of writing to the disk have been reported by fsync.
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if sys.platform == "win32":  # Windows can neither rename nor remove an open file
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            reason = f"cannot save; an existing file is unchanged: {error.strerror or error}"
            raise OSError(error.errno or errno.EIO, reason, target) from error
        raise
    _sync_folder(folder)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise OSError unless a file can be created in the folder, by creating and removing one."""
    temporary, descriptor = _temporary(os.path.realpath(folder))
    os.close(descriptor)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files in a folder whose writers have died; keep those that any process is still writing."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            found = [entry.path for entry in entries if _TEMPORARY.fullmatch(entry.name)]
        for path in found:
            with contextlib.suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: str) -> None:
    if sys.platform == "win32":
        os.unlink(path)  # fails while a process has the file open
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: a process is writing it, or locks are missing
        os.unlink(path)
    finally:
        os.close(descriptor)


def _temporary(folder: str) -> tuple[str, int]:
    """Create a file in the folder and lock it; return its path and descriptor."""
    while True:
        path = os.path.join(folder, f".fastlstm-{os.urandom(8).hex()}.tmp")
        try:
            descriptor = os.open(path, _FLAGS, 0o666)
            if sys.platform == "win32" or _lock(path, descriptor):
                return path, descriptor
            os.close(descriptor)
        except OSError as error:
            reason = f"cannot save a file in this folder: {error.strerror}"
            raise OSError(error.errno, reason, folder) from error


def _lock(path: str, descriptor: int) -> bool:
    """Lock a new file; return False if another process took it for a leftover and removed it meanwhile."""
    try:
        with contextlib.suppress(OSError):  # on file systems without locks no process removes leftovers
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


def _sync_folder(folder: str) -> None:
    """Make the renaming itself survive a power failure, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    # Ignore errors: the new file is complete and in place, and some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
