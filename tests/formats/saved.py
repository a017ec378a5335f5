"""Models in files of this version, which later versions must read; ``python tests/formats/saved.py`` writes them.

Each release gets a folder of its own under tests/formats/data/saved, and keeps those of the releases before. A model is
``NAME.safetensors``, with inputs and what was predicted for them in ``NAME.npz``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

FOLDER = Path(__file__).parent / "data" / "saved"


def numbers(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Return numbers in [-1, 1), which depend on nothing but these arguments."""
    n = np.arange(int(np.prod(shape)), dtype=np.uint64)
    return ((n * np.uint64(2654435761 + 2 * k)) % np.uint64(2**20) / 2**19 - 1).reshape(shape)


X = numbers((12, 7, 3), 1).astype("f4")
LENGTHS = 3 + np.arange(12) % 5
TOKENS = np.arange(12 * 7).reshape(12, 7) * 13 % 11
NAMES = np.array(["fault", "ok", "worn"])[np.arange(12) % 3]
CELL = {"peepholes": True, "layer_norm": True, "coupled": True, "proj_size": 3, "cell_clip": 3.0}


def trained(layers: list[fl.Layer], x: Any, y: Any, model: dict[str, Any] | None = None, **options: Any) -> fl.Model:
    """Return a model after an epoch."""
    result = fl.Model(layers, seed=3, **(model or {}))
    result.fit(x, y, **{"epochs": 1, "batch_size": 5, "verbose": 0, **options})
    return result


def classes() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Names of classes, series of different lengths, a scaler."""
    layers = [fl.LSTM(4, num_layers=2, bidirectional=True, dropout=0.2), fl.Dropout(0.1), fl.Dense(3)]
    return trained(layers, X, NAMES, {"scaler": fl.Standardizer()}, lengths=LENGTHS), X, LENGTHS


def values() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """A regression in the units of its targets, with an offset that float32 cannot resolve."""
    x, y = X + 1.7e9, X[:, :, 0].sum(axis=1).astype("f8") * 1e3 + 1e9
    scalers = {"scaler": fl.Standardizer(), "target_scaler": fl.Standardizer()}
    return trained([fl.LSTM(4), fl.Dense(1)], x.astype("f8"), y, scalers, loss=fl.Huber(0.5)), x.astype("f8"), None


def cell() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Every part of the cell, several values for each step, float64."""
    layers = [
        fl.GaussianNoise(0.1),
        fl.LSTM(5, return_sequences=True, learn_state=True, zoneout_h=0.1, **CELL),
        fl.LSTM(3, num_layers=2, return_sequences=True, residual=True, merge="sum", bidirectional=True),
        fl.Activation("tanh"),
        fl.Dense(4),
    ]
    y = numbers((12, 7, 4), 2)
    return trained(layers, X, y, {"dtype": "float64"}, loss="mse"), X, None


def tokens() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Token ids with a mask, a pool, a sigmoid at the end, a layer that is not trained."""
    layers = [fl.Embedding(11, 4, mask_token=0), fl.LSTM(4, return_sequences=True), fl.AttentionPool(3), fl.Dense(2)]
    layers[0].trainable = False
    y = np.stack([TOKENS[:, 0] % 2, TOKENS[:, 1] % 2], axis=1)
    return trained([*layers, fl.Activation("sigmoid")], TOKENS, y, loss="binary_cross_entropy"), TOKENS, None


def masked() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Steps that are masked before they are scaled; maxima and a softmax."""
    x = X.copy()
    x[1::2, 4:] = -9
    layers = [fl.Masking(-9.0), fl.LSTM(4, return_sequences=True, reverse=True), fl.MaxPool(), fl.Dense(3)]
    return trained([*layers, fl.Activation("softmax")], x, np.arange(12) % 3, {"scaler": fl.Standardizer()}), x, None


def autoencoder() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """An encoder, a repeated vector, a decoder; biases for long memories."""
    layers = [fl.LSTM(4, forget_bias="chrono"), fl.RepeatVector(7), fl.LSTM(4, return_sequences=True), fl.Dense(3)]
    return trained(layers, X, X, loss="mae"), X, None


def unaligned() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Sequences of labels that are not aligned with the steps."""
    y = [[1 + k % 3, 1 + (k + 1) % 3] for k in range(12)]
    return trained([fl.LSTM(4, return_sequences=True), fl.Dense(4)], X, y, loss="ctc"), X, None


def missing() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Missing values of inputs and of targets; median and quartiles."""
    x, y = X.copy(), numbers((12, 2), 4)
    x[::2, 3, 1] = x[5, 2, 2] = np.nan
    y[::3, 1] = np.nan
    scalers = {"scaler": fl.RobustScaler("mask"), "target_scaler": fl.Standardizer()}
    return trained([fl.LSTM(4), fl.Dense(2)], x, y, scalers, loss="mse"), x, None


def own_scale() -> tuple[fl.Model, np.ndarray, np.ndarray | None]:
    """Each series scaled by itself."""
    scaler = fl.Standardizer("mask-all", per_series=True)
    return trained([fl.LSTM(4), fl.Dense(3)], X, np.arange(12) % 3, {"scaler": scaler}, lengths=LENGTHS), X, LENGTHS


def forecaster() -> tuple[Any, Any]:
    """A forecaster with all kinds of columns, and what is known of the steps to come."""
    import pandas as pd

    frames = []
    for number, one in enumerate("ab"):
        columns = numbers((500, 3), 5 + number)
        times = pd.date_range("2024-03-20", periods=500, freq="h", tz="Europe/Berlin")
        frame = pd.DataFrame({"unique_id": one, "ds": times, "y": 5 * number + columns[:, 0].cumsum() / 5})
        frame["past"], frame["known"], frame["size"], frame["kind"] = columns[:, 1], columns[:, 2], number, one * 2
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table.loc[5, "past"] = table.loc[9, "y"] = np.nan
    lists = {"hist_exog": ["past"], "futr_exog": ["known"], "stat_exog": ["size"], "cat_exog": ["kind"]}
    made = fl.Forecaster(
        "1D", gap=2, bounds=(None, 100), holidays=["2024-04-01"], hidden_size=4, epochs=2, random_state=7, verbose=0,
        **lists,
    ).fit(table)  # fmt: skip
    return made, known_steps(made)


def quantiles_of(made: Any, future: Any) -> np.ndarray:
    """Return all quantiles of the steps that follow."""
    return made.predict(future=future, quantiles=made.quantiles).filter(like="-q-").to_numpy()


def known_steps(made: Any) -> Any:
    """Return what is known of the steps that follow."""
    future = made.make_future()
    future["known"] = 0.5
    return future


MODELS: dict[str, Callable[[], tuple[fl.Model, np.ndarray, np.ndarray | None]]] = {
    "classes": classes,
    "values": values,
    "cell": cell,
    "tokens": tokens,
    "masked": masked,
    "autoencoder": autoencoder,
    "unaligned": unaligned,
    "missing": missing,
    "own_scale": own_scale,
}


def run(path: Path, epochs: int, **options: Any) -> fl.Model:
    """Train for some epochs with a checkpoint after each."""
    model = fl.Model([fl.LSTM(4), fl.Dropout(0.2), fl.Dense(3)], seed=4, scaler=fl.Standardizer())
    saved = fl.Checkpoint(path)
    stop = fl.EarlyStopping("loss", patience=9)
    optimizer = fl.Adam(fl.WarmupLR(0.05, warmup_steps=5))
    model.fit(
        X, NAMES, epochs=epochs, batch_size=5, optimizer=optimizer, callbacks=[stop, saved], verbose=0, **options
    )  # fmt: skip
    return model


def write() -> None:
    """Write the files of this version."""
    folder = FOLDER / fl.__version__
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        model, x, lengths = make()
        model.save(folder / f"{name}.safetensors")
        given = {} if lengths is None else {"lengths": lengths}
        np.savez(folder / f"{name}.npz", x=x, y=model.predict(x, lengths), **given)
    made, future = forecaster()
    made.save(folder / "forecaster.safetensors")
    np.savez(folder / "forecaster.npz", y=quantiles_of(made, future))
    run(folder / "run.safetensors", 2)
    end = run(folder / "end.safetensors", 4)
    (folder / "end.safetensors").unlink()
    np.savez(folder / "run.npz", weights=end.flat_parameters)


if __name__ == "__main__":
    write()
