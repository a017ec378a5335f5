"""Memory does not grow: thousands of steps and calls leave nothing behind."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastlstm as fl

STATM = Path("/proc/self/statm")
CALLS, WARM_UP = 2000, 300

# What may come and go inside NumPy and Python: caches of small objects, the last arrays of each shape. A leak of only
# one small object per call would be 2000 * 50 bytes.
TRACED = 50_000
# The system counts whole pages, and allocators keep some free. One leaked batch per call would be 2000 * 8 kB.
RESIDENT = 8_000_000

rng = np.random.default_rng(0)
SERIES = [rng.standard_normal((batch, time, 4)).astype("f4") for batch in (1, 2, 7, 16) for time in (1, 5, 12)]


def built() -> fl.Model:
    layers = [fl.LSTM(16, num_layers=2, dropout=0.1, return_sequences=True), fl.Dropout(0.1), fl.LSTM(8), fl.Dense(3)]
    return fl.Model(layers, input_size=4, seed=0)


def training() -> Callable[[int], None]:
    model, optimizer, loss = built(), fl.Adam(clip_norm=1.0), fl.CrossEntropy()

    def step(k: int) -> None:
        x = SERIES[k % len(SERIES)]
        out = model.forward(x, training=True, n_threads=1)
        model.zero_grad()
        model.backward(loss(out, np.zeros(len(x), np.int64))[2])
        optimizer.step(model, 1)

    return step


def fitting() -> Callable[[int], None]:
    model, optimizer = built(), fl.Adam()

    def fit(k: int) -> None:
        if k % 10 == 0:  # 10 updates each
            model.fit(
                np.ones((20, 5, 4), "f4"), np.zeros(20, int), epochs=1, batch_size=2, optimizer=optimizer, verbose=0
            )

    return fit


def predicting(frozen: bool) -> Callable[[int], None]:
    model = built()
    if frozen:
        model.freeze()

    def predict(k: int) -> None:
        x = SERIES[k * 7 % len(SERIES)]
        model.predict(x, np.full(len(x), x.shape[1]) if k % 3 else None, n_threads=1)

    return predict


def streaming() -> Callable[[int], None]:
    stream = built().stream()

    def step(k: int) -> None:
        stream.step(SERIES[0][0, 0])
        if k % 50 == 0:
            stream.state = stream.state
            stream.run(SERIES[2])

    return step


def freezing() -> Callable[[int], None]:
    model = built()

    def turn(k: int) -> None:
        model.predict(SERIES[1])
        (model.unfreeze if model.frozen else model.freeze)()

    return turn


KINDS: dict[str, Callable[[], Callable[[int], None]]] = {
    "training": training,
    "fit": fitting,
    "predict": lambda: predicting(False),
    "predict, frozen": lambda: predicting(True),
    "stream": streaming,
    "freeze and unfreeze": freezing,
}


def resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow(kind: str) -> None:
    call = KINDS[kind]()
    tracemalloc.start()
    try:
        for k in range(WARM_UP):
            call(k)
        gc.collect()
        traced, pages = tracemalloc.get_traced_memory()[0], resident() if STATM.exists() else 0
        for k in range(CALLS):
            call(k)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - traced < TRACED
        if STATM.exists():
            assert resident() - pages < RESIDENT
    finally:
        tracemalloc.stop()
