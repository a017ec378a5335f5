"""Sum of the gradients of several processes that begins while they still compute.

Once the backward pass has left a layer, the gradient of its parameters is known, and with it that of all layers above.
Where each process has one shard, a thread sends these parts and receives those of the others, which `Ranks` otherwise
does after the backward pass: the same sums of the same numbers. The kernels run without the GIL, so that the thread
works beside them. It asks for its messages every fifth of a millisecond, because MPI moves them on only when it is
called.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

from .._typing import Array
from ..runtime.buffers import Buffers
from .messages import Messages, Request
from .reduce import Sums

__all__ = ["EarlySum"]

_PAUSE = 2e-4
"""Seconds between two looks at the messages."""


class EarlySum:
    """The sum of one batch.

    Parameters
    ----------
    messages : Messages
        Used by the thread alone, from `begin` to `result`.
    gradients : ndarray
        The gradient of this process while it is computed, at the end that of all.
    bounds : list of slice
        The part of the gradient that each process adds.
    total_of : function
        Return the sums of the whole batch from those of this process, together with the other processes, and those of
        each.
    add : function
        Return the part of this process of the whole gradient from those parts of all, which it overwrites.
    buffers : Buffers
        For what is sent and received.
    """

    def __init__(
        self,
        messages: Messages,
        gradients: Array,
        bounds: list[slice],
        total_of: Callable[[Sums], tuple[Sums, dict[int, Sums]]],
        add: Callable[[Mapping[int, Sums], dict[int, Array]], Array],
        buffers: Buffers,
    ) -> None:
        self._messages = messages
        self._gradients = gradients
        self._bounds = bounds
        self._total_of = total_of
        self._add = add
        self._buffers = buffers
        self._known = gradients.size  # from this element on the gradient is known
        self._thread: threading.Thread | None = None
        self._own = Sums()
        self._total = Sums()
        self._error: BaseException | None = None

    # ------------------------------------------------------------------------------------ called while computing

    def begin(self, sums: Sums) -> None:
        """Begin with the sums of this process, before its backward pass."""
        if self._thread is None:
            self._own = sums
            self._thread = threading.Thread(target=self._work, name="fastlstm-early-sum", daemon=True)
            self._thread.start()

    def known_from(self, element: int) -> None:
        """Say that the gradient is known from this element on."""
        self._known = element

    def result(self) -> Sums:
        """Wait for the end; return the sums of the batch, whose gradient is in `gradients`."""
        assert self._thread is not None
        self._known = 0
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._total

    def cancel(self) -> None:
        """End the thread, since this process has failed."""
        if self._thread is not None:
            self._messages.cancelled = True
            self._thread.join()
            self._messages.cancelled = False

    # ------------------------------------------------------------------------------------ the thread

    def _work(self) -> None:
        try:
            self._total, each = self._total_of(self._own)
            if self._total.weight > 0 and math.isfinite(self._total.loss):
                self._exchange(each)
        except BaseException as error:  # belongs to the process
            self._error = error

    def _exchange(self, each: Mapping[int, Sums]) -> None:
        messages, gradients, bounds = self._messages, self._gradients, self._bounds
        me, size = messages.rank, messages.size
        others = [rank for rank in range(size) if rank != me]
        own = self._buffers.get("sent", gradients.shape, gradients.dtype)  # results arrive in the gradient itself
        shape = gradients[bounds[me]].shape
        parts = {rank: self._buffers.get(f"of rank {rank}", shape, gradients.dtype) for rank in others}
        arriving = [(messages.begin_receive(parts[rank], rank), rank) for rank in others]
        leaving: list[tuple[Request, int]] = []
        waiting = sorted(range(size), key=lambda rank: -bounds[rank].start)  # in the order in which they become known
        added = False
        watch = messages.watch()
        while waiting or arriving or leaving or not added:
            known, before = self._known, len(waiting) + len(arriving) + len(leaving)
            while waiting and bounds[waiting[0]].start >= known:
                rank = waiting.pop(0)
                part = bounds[rank]
                own[part] = gradients[part]
                if rank == me:
                    parts[me] = own[part]
                else:
                    leaving.append((messages.begin_send(own[part], rank), rank))
            if not added and me in parts and not arriving and not waiting:
                gradients[bounds[me]] = self._add(each, parts)
                for rank in others:
                    arriving.append((messages.begin_receive(gradients[bounds[rank]], rank), rank))
                    leaving.append((messages.begin_send(gradients[bounds[me]], rank), rank))
                added = True
            arriving = [(request, rank) for request, rank in arriving if not request.Test()]
            leaving = [(request, rank) for request, rank in leaving if not request.Test()]
            if len(waiting) + len(arriving) + len(leaving) == before:
                # The deadline counts from when this process has computed everything, and waits for others only.
                late = [rank for _, rank in arriving + leaving]
                watch.check(late[0] if late and known == 0 else None)
                time.sleep(_PAUSE)
            else:
                watch.restart()
