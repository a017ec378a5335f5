"""Fork children to which the system refuses threads or their memory; a child of test_memory_faults.py.

Prints a line for each of 12 children: four numbers of threads that may still be started, in three ways.
"""

from __future__ import annotations

import ctypes
import os
import sys

import numpy as np

import fastlstm as fl
from fastlstm import _core

LIBRARY = ctypes.CDLL(None)
variables = {name: ctypes.c_long.in_dll(LIBRARY, f"faults_{name}") for name in ("on", "at", "stay", "hit", "threads")}

# Enough work for four threads.
X = np.random.default_rng(0).standard_normal((32, 30, 3)).astype(np.float32)
LONG = np.ones(2_000_000, np.float32)


def trained(n_threads: int) -> bytes:
    model = fl.Model([fl.LSTM(64, num_layers=2), fl.Dense(2)], input_size=3, seed=1)
    for _ in range(2):
        out = model.forward(X, training=True, n_threads=n_threads)
        model.backward(np.ones_like(out))
    return model.flat_gradients.tobytes() + model.predict(X, n_threads=n_threads).tobytes()


def told(way: str, number: int) -> str:
    """Fork a child in which only `number` threads, or `number` allocations of the fork pool, succeed."""
    if way == "threads":
        variables["threads"].value = number
    else:
        # With these kernels only the fork pool allocates memory.
        variables["at"].value, variables["stay"].value = number + 1, way == "memory, from there on"
        variables["on"].value = 1
    y = np.empty_like(LONG)
    for _ in range(5):
        _core.dropout(LONG, y, 0.5, 7, 4)
    variables["on"].value = 0
    if variables["threads"].value if way == "threads" else not variables["hit"].value:
        return "nothing was refused"
    again = trained(4)
    variables["threads"].value = -1
    if (y != expected).any() or again != alone or trained(4) != alone:
        return "other bits"
    return "the same bits"


_core.always_wake(True)
assert LIBRARY.faults_only(_core.__file__.encode())
expected, alone = np.empty_like(LONG), trained(1)
_core.dropout(LONG, expected, 0.5, 7, 1)
assert trained(4) == alone
for way in ("threads", "memory, once", "memory, from there on"):
    for number in range(4):
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            print(told(way, number), flush=True)
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0
