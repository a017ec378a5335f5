"""Child processes that take turns: the parent's side, `Child`, and the child's side, `serve`.

They communicate over the child's standard input and output. A request is a pickled tuple ``(request, *arguments)``, the
reply is ``("ok", value)`` or ``("error", text)``. Requests:

``prepare, peer, case, threads``
    Create the runners of a peer for a case, replacing earlier ones; return ``(settle, every)`` by name.
``answer, name``
    Return a runner's answer: name to (dtype, shape, bytes), which every version of NumPy can read.
``turn, name, plan``
    Take a turn; return the times in seconds.
``version, peer``
    Return the peer's version.
``blocks from the heap``
    Return whether malloc takes large blocks from the heap.
``where``
    Return the folder of the fastlstm in use.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from .cases import Case
from .peers import Runner, by_name
from .timing import Plan
from .verify import Answer

__all__ = ["Child", "ChildError", "heap_holds_large_blocks", "serve"]

_PICKLE = 4  # supported by every Python that fastlstm supports

_CODE = """
import importlib.util, sys
folder, first = sys.argv[1:3]
# The current folder may be a checkout, whose fastlstm has no compiled module.
sys.path[:] = [*([first] if first else []), *(entry for entry in sys.path if entry)]
spec = importlib.util.spec_from_file_location(
    "benchmarks", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["benchmarks"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from benchmarks.child import serve
serve()
"""


class ChildError(RuntimeError):
    """A child failed or ended."""


class Child:
    """A process that takes turns.

    Parameters
    ----------
    python : sequence of str
        The interpreter and its options.
    environment : mapping, optional
        Environment variables; by default those of this process.
    first : str, default ""
        A folder that comes first in the search path for packages.
    """

    def __init__(self, python: Sequence[str], environment: Mapping[str, str] | None = None, first: str = "") -> None:
        folder = str(Path(__file__).resolve().parent)
        self._process = subprocess.Popen(
            [*python, "-c", _CODE, folder, first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if environment is None else dict(environment),
        )

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def ask(self, *request: Any) -> Any:
        """Send a request and wait for the value.

        Raises
        ------
        ChildError
            If the child reports an error, with its traceback, or has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin, _PICKLE)
            self._process.stdin.flush()
            verdict, value = pickle.load(self._process.stdout)
        except (OSError, EOFError) as error:
            code = self._process.wait()
            raise ChildError(f"{self._process.args!r} ended with code {code} at {request[0]!r}") from error
        if verdict != "ok":
            raise ChildError(f"a child failed at {request[0]!r}:\n{value}")
        return value

    def prepare(self, peer: str, case: Case, threads: int) -> dict[str, Runner]:
        """Return proxies of the child's runners for a case, valid until the next `prepare`."""
        described = self.ask("prepare", peer, case, threads)
        return {
            name: Runner(partial(self.ask, "turn", name), partial(self._answer, name), *rest)
            for name, rest in described.items()
        }

    def _answer(self, name: str) -> Answer:
        return {
            what: np.frombuffer(content, dtype).reshape(shape)
            for what, (dtype, shape, content) in self.ask("answer", name).items()
        }

    def close(self) -> None:
        """End the process; it holds nothing that could be lost."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # the process has already ended, with a request left in the pipe
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Service:
    """The child's side: one method for each request."""

    def __init__(self) -> None:
        self.runners: dict[str, Runner] = {}

    def __call__(self, request: str, *arguments: Any) -> Any:
        return getattr(self, request.replace(" ", "_"))(*arguments)

    def prepare(self, peer: str, case: Case, threads: int) -> dict[str, tuple[float, int, Mapping[str, float]]]:
        self.runners.clear()  # free their memory before the new ones are created
        self.runners = by_name(peer).prepare(case, case.data(), threads)
        return {name: (runner.settle, runner.every, runner.tolerances) for name, runner in self.runners.items()}

    def answer(self, name: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
        answer = self.runners[name].answer
        assert answer is not None
        arrays = {what: np.asarray(value) for what, value in answer().items()}
        return {what: (array.dtype.str, array.shape, array.tobytes()) for what, array in arrays.items()}

    def turn(self, name: str, plan: Plan) -> list[float]:
        return self.runners[name].turn(plan)

    def version(self, peer: str) -> str:
        return by_name(peer).version()

    def blocks_from_the_heap(self) -> bool:
        return heap_holds_large_blocks()

    def where(self) -> str:
        import fastlstm

        return str(Path(fastlstm.__file__).parent)


def heap_holds_large_blocks() -> bool:
    """Return whether malloc takes a block of 512 MiB from the heap (on Linux; elsewhere False)."""
    block = np.empty(512 << 20, np.uint8)  # never touched, so it takes no physical memory
    address = block.ctypes.data
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return False
    for line in maps.splitlines():
        if line.endswith("[heap]"):
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if start <= address < end:
                return True
    return False


def serve() -> None:
    """Answer requests until the parent closes the pipe."""
    requests: IO[bytes] = sys.stdin.buffer
    # Redirect standard output, so that the output of libraries does not mix with the replies.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    service = _Service()
    while True:
        try:
            request = pickle.load(requests)
        except (EOFError, KeyboardInterrupt):
            return
        try:
            reply: tuple[str, Any] = ("ok", service(*request))
        except Exception:
            reply = ("error", traceback.format_exc())
        try:
            pickle.dump(reply, answers, _PICKLE)
            answers.flush()
        except OSError:  # the parent is gone
            return
