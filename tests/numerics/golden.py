"""Small training runs and computations whose bits are kept in golden.json; this program rewrites that file.

The bits are those of every instruction set with a fused multiply-add. Users notice when they change: they cannot
reproduce their results with the new version, and a run that resumes from a checkpoint of the old version ends
elsewhere. Change them on purpose only, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import one_answer
from one_answer import series

import fastlstm as fl
from fastlstm import _core

FILE = Path(__file__).with_name("golden.json")


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
    """Return the digest of the weights."""
    return one_answer.digest([model.flat_parameters])


def main() -> None:
    """Write the digests of the runs and computations."""
    if not _core.fused():
        raise SystemExit("this machine has no instruction set with a fused multiply-add, whose bits golden.json holds")
    golden = {"runs": {name: digest(run(None)) for name, run in RUNS.items()}, "computations": one_answer.digests()}
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
