"""Small training runs whose bits are kept in golden.json; ``python tests/numerics/golden.py`` rewrites that file.

Users notice when these bits change: they cannot reproduce their results with the new version, and a run that resumes
from a checkpoint of the old version ends elsewhere. Change them on purpose only, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastlstm as fl
from fastlstm import _core

FILE = Path(__file__).with_name("golden.json")


def series(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Return numbers in [-1, 1) that depend on nothing but these arguments."""
    n = np.arange(int(np.prod(shape)), dtype=np.uint64)
    return ((n * np.uint64(2654435761 + 2 * k)) % np.uint64(2**20) / 2**19 - 1).reshape(shape)


def labels(n_threads: int | None = None) -> fl.Model:
    """Train a classifier of series of different lengths, in float32."""
    x = series((40, 24, 5), 1).astype("f4")
    y = np.arange(40) * 7 % 3
    lengths = 1 + np.arange(40) * 11 % 24
    layers = [fl.LSTM(37, num_layers=2, bidirectional=True, dropout=0.2), fl.Dropout(0.1), fl.Dense(3)]
    model = fl.Model(layers, seed=5, scaler=fl.Standardizer())
    model.fit(
        x, y, lengths=lengths, epochs=3, batch_size=16, optimizer=fl.Adam(1e-2, clip_norm=0.5), validation_split=0.2,
        verbose=0, n_threads=n_threads,
    )  # fmt: skip
    return model


def values(n_threads: int | None = None) -> fl.Model:
    """Train a regression on chunks of long series, in float64."""
    x = series((6, 90, 3), 2)
    y = np.cumsum(x[:, :, 0], axis=1)
    layers = [fl.LSTM(19, return_sequences=True, proj_size=7, learn_state=True), fl.Dense(1)]
    model = fl.Model(layers, seed=6, dtype="float64", target_scaler=fl.Standardizer())
    model.fit(
        x, y, loss="huber", epochs=2, batch_size=4, tbptt_steps=25, optimizer=fl.SGD(0.05, momentum=0.9), verbose=0,
        n_threads=n_threads,
    )  # fmt: skip
    return model


def tokens(n_threads: int | None = None) -> fl.Model:
    """Train a tagger of texts, with class weights."""
    x = (np.arange(20 * 15) * 13 % 11).reshape(20, 15)
    layers = [fl.Embedding(11, 6), fl.LSTM(16, return_sequences=True, zoneout_h=0.1), fl.Dense(4)]
    model = fl.Model(layers, seed=7)
    model.fit(
        x, x % 4, epochs=3, batch_size=6, optimizer=fl.RMSprop(1e-2), class_weight="balanced", verbose=0,
        n_threads=n_threads,
    )  # fmt: skip
    return model


RUNS: dict[str, Callable[[int | None], fl.Model]] = {"labels": labels, "values": values, "tokens": tokens}


def digest(model: fl.Model) -> str:
    """Return the digest of the weights, as little-endian bytes."""
    weights = model.flat_parameters
    return hashlib.sha256(weights.astype(weights.dtype.newbyteorder("<")).tobytes()).hexdigest()


def place(isa: str) -> str:
    """Name what the bits may depend on: processor, instruction set, and the C library's mathematical functions."""
    return f"{platform.machine()} {isa} {platform.libc_ver()[0] or platform.system()}"


def main() -> None:
    """Write the digests for every instruction set of this machine; keep those of other machines."""
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    before = _core.isa()
    for isa in _core.available_isas():
        _core.set_isa(isa)
        golden[place(isa)] = {name: digest(run(None)) for name, run in RUNS.items()}
    _core.set_isa(before)
    FILE.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
