"""Replace the model of a running service: save it under the same name.

`Model.save` writes to a temporary file and renames it, so that whoever opens the file reads the old model or the new
one, never a part of both. A service looks at the file now and then, and loads it when it is another one; requests that
are being answered keep the model with which they began.
"""

from __future__ import annotations

import os
import threading

import fastlstm as fl


class Served:
    """The newest model of a file, frozen and warmed up.

    Parameters
    ----------
    path : str
        A file of `Model.save`.
    steps : int, default 100
        Steps of the series that will come.
    """

    def __init__(self, path: str, steps: int = 100) -> None:
        self._path, self._steps = path, steps
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.model = self._load()
        """The model to use; take it once for each request."""

    def refresh(self) -> bool:
        """Load the model if its file is another one; return whether it is. A file that cannot be read is ignored."""
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            self._seen = stamp
            try:
                self.model = self._load()  # one assignment: other threads see the old model or the new one
            except (OSError, ValueError) as error:
                print(f"{self._path}: the model is not replaced: {error}", flush=True)
                return False
            return True

    def _load(self) -> fl.Model:
        return fl.load(self._path).freeze().warm_up(self._steps)

    def _stamp(self) -> tuple[int, ...]:
        try:
            info = os.stat(self._path)
        except FileNotFoundError:
            return ()
        return info.st_ino, info.st_mtime_ns, info.st_size
