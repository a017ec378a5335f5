"""Reading ahead: a thread computes the next items of an iterator while the caller works on the current one."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield the items of an iterator that runs in a thread of its own, up to two items ahead.

    The thread lives while the generator runs: it starts with the first item, and has ended when the generator is
    exhausted, closed (also by ``contextlib.closing`` after an exception in the caller) or has raised. So a process that
    forks between two runs copies no thread. Closing waits for the item that is being computed.

    Parameters
    ----------
    items : iterator
        It must not be used elsewhere, and is closed by garbage collection if it is a generator.

    Yields
    ------
    object
        The items, in order. One is waiting and one is being computed while the caller has a third.

    Raises
    ------
    BaseException
        Whatever the iterator raises, after the items before it.
    """
    import queue  # 1 ms, which programs without such data do not need

    waiting: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                waiting.put(([item], None))
                # Otherwise this item is in memory until the next one has been computed.
                del item
                if stopped.is_set():
                    return
        except BaseException as error:  # also KeyboardInterrupt and SystemExit belong to the caller
            end = error
        waiting.put(([], end))

    thread = threading.Thread(target=work, name="fastlstm-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            held, error = waiting.get()
            if error is not None:
                raise error
            if not held:
                return
            yield held.pop()
    finally:
        error = None  # which refers to this frame
        stopped.set()
        # The thread puts at most one more entry before it sees the flag: there must be room for it.
        while not waiting.empty():
            waiting.get_nowait()
        thread.join()
