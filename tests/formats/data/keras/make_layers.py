"""Write layers3.zip and layers2.zip: models with normalisation, pooling over windows, Flatten and smooth activations.

As make.py, whose functions it uses; see there for how to run it.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from make import MAJOR, numbers, series, words

layers = keras.layers


def models() -> dict[str, Callable[[], Any]]:
    """Return, for each name, the function that builds the model."""
    lstm, both, dense, conv = layers.LSTM, layers.Bidirectional, layers.Dense, layers.Conv1D
    batch, layer = layers.BatchNormalization, layers.LayerNormalization
    most, mean, flat, act = layers.MaxPooling1D, layers.AveragePooling1D, layers.Flatten, layers.Activation
    made: dict[str, Callable[[], Any]] = {
        "batch_first": lambda: numbers(batch(), lstm(4), dense(2)),
        "batch_inside": lambda: numbers(
            conv(6, 3, padding="same"), batch(epsilon=0.01, momentum=0.9), act("relu"), lstm(4), batch(), dense(2)
        ),
        "batch_plain": lambda: numbers(lstm(4, return_sequences=True), batch(scale=False), batch(center=False)),
        "batch_axis": lambda: numbers(batch(axis=2), lstm(4), batch(axis=1, scale=False, center=False)),
        "layer_first": lambda: numbers(layer(), lstm(4), dense(2)),
        "layer_inside": lambda: numbers(lstm(4, return_sequences=True), layer(epsilon=0.1, center=False), lstm(3)),
        "layer_plain": lambda: numbers(lstm(4), layer(scale=False), dense(2), layer(scale=False, center=False)),
        "max": lambda: numbers(conv(6, 2), most(2), lstm(4), dense(2)),
        "max_same": lambda: numbers(most(3, strides=2, padding="same"), lstm(4), dense(2)),
        "mean": lambda: numbers(mean(3), lstm(4), dense(2)),
        "mean_same": lambda: numbers(conv(4, 3), mean(2, strides=1, padding="same"), lstm(4), dense(2)),
        "mean_words": lambda: words(mean(3, strides=2, padding="same"), both(lstm(3)), dense(2)),
        "flatten_first": lambda: numbers(flat(), dense(3), dense(2, activation="relu")),
        "flatten_sequences": lambda: numbers(lstm(4, return_sequences=True), flat(), dense(2)),
        "flatten_windows": lambda: numbers(conv(5, 3), most(2), batch(), flat(), dense(2)),
        "flatten_masked": lambda: numbers(
            layers.Masking(), lstm(4, return_sequences=True), layers.Dropout(0.5), flat(), dense(2)
        ),
        "flatten_repeated": lambda: numbers(lstm(4), layers.RepeatVector(3), lstm(2, return_sequences=True), flat()),
        "swish": lambda: numbers(lstm(4), dense(3, activation="swish"), dense(2)),
        "selu": lambda: numbers(conv(4, 3, activation="selu"), lstm(4, activation="selu"), dense(2)),
        "gelu": lambda: numbers(lstm(4), act("gelu"), dense(2, activation="gelu")),
    }
    return made


ALSO_H5 = ("batch_inside", "layer_inside", "max", "flatten_windows", "swish")


def main() -> None:
    target = Path(__file__).parent / f"layers{MAJOR}.zip"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, (name, build) in enumerate(models().items()):
            rng = np.random.default_rng(k)
            keras.backend.clear_session()
            model = build()
            x = rng.integers(1, 9, (5, 7)).astype(np.int32) if len(model.input_shape) == 2 else series(rng)
            if name == "flatten_masked":
                x[1, 4:] = x[3, :2] = 0
            for variable in model.weights:
                value = rng.normal(0, 0.5, tuple(variable.shape))
                variance = "variance" in getattr(variable, "path", variable.name)
                if variable.numpy().dtype.kind == "f":
                    variable.assign((0.5 + np.abs(value) if variance else value).astype(variable.numpy().dtype))
            y = np.asarray(model.predict(x, verbose=0, batch_size=len(x)))
            assert np.isfinite(y).all(), name
            np.savez_compressed(folder / f"{name}.npz", x=x, y=y)
            model.save(folder / f"{name}.keras")
            if name in ALSO_H5:
                model.save(folder / f"{name}.h5")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                entry = zipfile.ZipInfo(file.name, (2026, 1, 1, 0, 0, 0))
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    print(f"{target.name}: {target.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
