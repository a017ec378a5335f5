"""Small computations of every kind, whose bits must be the same on every processor with a fused multiply-add.

``python tests/numerics/one_answer.py`` prints a digest of each, for each instruction set of the machine, as JSON: run
it with builds of several compilers, with several versions of NumPy or on several machines, and compare what it prints.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm import _core

DTYPES = ("float32", "float64")


def series(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Return numbers in [-1, 1) that depend on nothing but these arguments."""
    n = np.arange(int(np.prod(shape)), dtype=np.uint64)
    return ((n * np.uint64(2654435761 + 2 * k)) % np.uint64(2**20) / 2**19 - 1).reshape(shape)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return a digest of arrays, as little-endian bytes; any NaN counts as the same one."""
    found = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        found.update(np.where(np.isnan(plain), np.nan, plain).astype(plain.dtype).tobytes())
    return found.hexdigest()[:16]


def passes(dtype: str, layers: list[Any], inputs: int, x: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
    """Return the output in inference and in training, and all gradients."""
    model = fl.Model(layers, input_size=inputs or None, dtype=dtype, seed=3)
    tokens = x.dtype.kind == "i"
    x = x if tokens else x.astype(dtype)
    found = [model.predict(x, lengths=lengths)]
    y = model.forward(x, lengths=lengths, training=True)
    found.append(y.copy())
    dx = model.backward(series(y.shape, 5).astype(dtype))
    found += [*([] if tokens or dx is None else [dx]), model.flat_gradients]
    return found


def fitted(dtype: str, layers: list[Any], x: np.ndarray, y: np.ndarray, **settings: Any) -> list[np.ndarray]:
    """Return weights and losses after some updates, and what evaluation and prediction then give."""
    made = {"epochs": 2, "batch_size": 8, "verbose": 0, **settings}
    options = {name: made.pop(name) for name in ("scaler", "target_scaler") if name in made}
    model = fl.Model(layers, seed=4, dtype=dtype, **options)
    lengths = made.get("lengths")
    history = model.fit(x, y, **made)
    numbers = [value for values in history.history.values() for value in values]
    scores = model.evaluate(x, y, lengths=lengths)
    return [
        model.flat_parameters,
        np.array(numbers, np.float64),
        np.array(list(scores.values()), np.float64),
        model.predict(x, lengths=lengths),
    ]


def _lengths(batch: int, time: int) -> np.ndarray:
    return 1 + np.arange(batch) * 5 % time


CELLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.2},
    "reverse, residual": {"reverse": True, "num_layers": 2, "residual": True},
    "layer norm": {"layer_norm": True},
    "layer norm, everything": {
        "layer_norm": True, "peepholes": True, "coupled": True, "proj_size": 13, "bidirectional": True,
        "zoneout_h": 0.1, "zoneout_c": 0.1, "recurrent_dropout": 0.2,
    },
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "projection": {"proj_size": 9, "num_layers": 2},
    "clips": {"gate_clip": 0.8, "cell_clip": 0.5, "output_clip": 0.3},
    "activations": {
        "gate_activation": ("hard_sigmoid", 1 / 6, 0.5), "cell_activation": "softsign", "output_activation": "elu",
    },
    "masks": {"recurrent_dropout": 0.3, "variational_dropout": 0.4, "input_dropout": 0.2},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.4},
    "learnt state": {"learn_state": True, "bidirectional": True, "merge": "product"},
}  # fmt: skip

HIDDEN = (1, 3, 8, 12, 16, 24, 37, 64, 100)
"""Sizes that fill vectors and banks of every width, and sizes that do not."""

ACTIVATIONS = (
    "sigmoid", "tanh", "relu", "leaky_relu", "hard_sigmoid", "elu", "softsign", "softplus", "softmax", "silu", "selu",
    "gelu", "gelu_tanh",
)  # fmt: skip


def _cell(options: dict[str, Any], dtype: str) -> list[np.ndarray]:
    layers = [fl.LSTM(37, return_sequences=True, **options)]
    return passes(dtype, layers, 5, series((7, 19, 5), 1), _lengths(7, 19))


def _size(hidden: int, dtype: str) -> list[np.ndarray]:
    found = []
    for batch, time, inputs in ((1, 9, 33), (13, 6, 2)):
        layers = [fl.LSTM(hidden, return_sequences=True), fl.LSTM(hidden, layer_norm=True)]
        found += passes(dtype, layers, inputs, series((batch, time, inputs), hidden), None)
    return found


def _layers(kind: str, dtype: str) -> list[np.ndarray]:
    x = series((9, 14, 21), 6)
    kinds: dict[str, list[Any]] = {
        "attention": [fl.LSTM(21, return_sequences=True), fl.AttentionPool(5), fl.Dense(3)],
        "mean": [fl.LSTM(21, return_sequences=True), fl.MeanPool(), fl.Dense(3)],
        "max": [fl.LSTM(21, return_sequences=True), fl.MaxPool(), fl.Dense(3)],
        "concat": [fl.LSTM(21, return_sequences=True), fl.ConcatPool(), fl.Dense(3)],
        "dropout": [fl.Dropout(0.3), fl.LSTM(21), fl.Dropout(0.2, per_series=True), fl.Dense(3)],
        "noise": [fl.GaussianNoise(0.1), fl.LSTM(11), fl.Dense(3)],
        "wide": [fl.Dense(67), fl.Activation("tanh"), fl.LSTM(5), fl.Dense(35), fl.Dense(2)],
        "stack": [fl.StackSteps(3), fl.LSTM(11), fl.Dense(3)],
        "differences": [fl.Differences(), fl.LSTM(11), fl.Dense(3)],
        "convolutions": [
            fl.Conv1D(37, 4, padding="same", activation="relu"), fl.Conv1D(10, 3, stride=2, groups=1, padding=2),
            fl.Conv1D(12, 2, dilation=2, groups=2, padding="causal", bias=False), fl.LSTM(11), fl.Dense(3),
        ],
        "batch norm": [fl.BatchNorm(), fl.LSTM(11, return_sequences=True), fl.BatchNorm(), fl.MeanPool(), fl.Dense(3)],
        "layer norm": [fl.LayerNorm(), fl.LSTM(11, return_sequences=True), fl.LayerNorm(), fl.MeanPool(), fl.Dense(3)],
        "windows": [
            fl.MaxPool1D(3, stride=2, padding="same"), fl.LSTM(11, return_sequences=True),
            fl.AvgPool1D(4, stride=1, padding="causal"), fl.MeanPool(), fl.Dense(3),
        ],
        "flatten": [fl.LSTM(11, return_sequences=True), fl.Flatten(14), fl.Dense(3)],
    }  # fmt: skip
    lengths = _lengths(9, 14)
    if kind == "flatten":
        return passes(dtype, kinds[kind], 21, x, None)
    return passes(dtype, kinds[kind], 21, x, np.maximum(lengths, 4) if kind == "stack" else lengths)


def _activation(kind: str, dtype: str) -> list[np.ndarray]:
    return passes(dtype, [fl.Dense(35), fl.Activation(kind)], 4, 30 * series((6, 5, 4), 8), None)


def _tokens(dtype: str) -> list[np.ndarray]:
    x = (np.arange(20 * 15) * 13 % 11).reshape(20, 15)
    read, learn = (
        [fl.Embedding(11, 6), fl.LSTM(16, return_sequences=True, zoneout_h=0.1), fl.Dense(4)] for _ in range(2)
    )
    return [
        *passes(dtype, read, 0, x, None),
        *fitted(dtype, learn, x, x % 4, class_weight="balanced", optimizer=fl.RMSprop(1e-2)),
    ]


def _values(loss: str, dtype: str) -> list[np.ndarray]:
    x, y = series((30, 11, 3), 9), 3 * series((30, 11, 2), 10)
    if loss == "binary_cross_entropy":
        y = (y > 0) * 1.0
    layers = [fl.LSTM(19, return_sequences=True), fl.Dense(2)]
    chosen: Any = {"quantile": fl.Quantile([0.2, 0.8]), "huber": fl.Huber(0.7)}.get(loss, loss)
    y = y[:, :, :1] if loss == "quantile" else y
    scaled = loss not in ("binary_cross_entropy",)
    return fitted(
        dtype, layers, x, y, loss=chosen, scaler=fl.Standardizer(), lengths=_lengths(30, 11),
        target_scaler=fl.Standardizer() if scaled else None, validation_split=0.2,
    )  # fmt: skip


def _classes(kind: str, dtype: str) -> list[np.ndarray]:
    x, y = series((40, 16, 5), 11), np.arange(40) * 7 % 3
    settings: dict[str, Any] = {
        "adam": {"optimizer": fl.Adam(1e-2, clip_norm=0.5)},
        "adamw": {"optimizer": fl.AdamW(fl.CosineLR(1e-2), clip_value=0.01)},
        "sgd": {"optimizer": fl.SGD(0.1, momentum=0.9, nesterov=True), "validation_split": 0.2},
        "rmsprop": {"optimizer": fl.RMSprop(1e-2, momentum=0.5), "sample_weight": 1 + np.arange(40) % 4},
        "robust": {"scaler": fl.RobustScaler()},
        "per series": {"scaler": fl.Standardizer(per_series=True)},
    }
    layers = [
        fl.LSTM(23, weight_init="he_normal", recurrent_init="orthogonal", forget_bias=("chrono", 30)),
        fl.Dense(3),
    ]
    return fitted(dtype, layers, x, y, lengths=_lengths(40, 16), **settings[kind])


def _ctc(dtype: str) -> list[np.ndarray]:
    x = series((16, 25, 6), 12)
    y = [list(1 + np.arange(k % 6) * 3 % 5) for k in range(16)]
    layers = [fl.LSTM(18, return_sequences=True, bidirectional=True), fl.Dense(6)]
    return fitted(dtype, layers, x, y, loss="ctc", epochs=3)


def _long(dtype: str) -> list[np.ndarray]:
    x = series((5, 300, 3), 13)
    layers = [fl.LSTM(19, return_sequences=True, proj_size=7, learn_state=True), fl.Dense(1)]
    settings = {"loss": "huber", "batch_size": 4, "optimizer": fl.SGD(0.05, momentum=0.9)}
    return [
        *fitted(dtype, layers, x, np.cumsum(x[:, :, :1], axis=1), tbptt_steps=70, **settings),
        *passes(dtype, [fl.LSTM(40, return_sequences=True, forget_bias=2.0)], 3, x, None),
    ]


def _quantized(dtype: str) -> list[np.ndarray]:
    """Return answers of weights of 8 bits, which are float32 whatever the type."""
    x, lengths = series((9, 14, 21), 6), _lengths(9, 14)
    model = fl.Model([fl.LSTM(37, num_layers=2, bidirectional=True), fl.Dense(35)], input_size=21, seed=3)
    found = []
    for small in (model.quantize(), model.quantize(x, lengths)):
        found += [small.predict(x, lengths=lengths), small.predict(x[:1])]
    return found


def _stream(dtype: str) -> list[np.ndarray]:
    layers = [fl.LSTM(23, return_sequences=True), fl.AttentionPool(5), fl.Dense(4), fl.Activation("softmax")]
    model = fl.Model(layers, input_size=3, seed=2, dtype=dtype).freeze()
    stream = model.stream(batch_size=3)
    x = series((3, 12, 3), 14).astype(dtype)
    return [np.array(stream.step(x[:, t])) for t in range(12)]


COMPUTATIONS: dict[str, Callable[[str], list[np.ndarray]]] = {
    **{f"cell: {name}": functools.partial(_cell, options) for name, options in CELLS.items()},
    **{f"hidden {size}": functools.partial(_size, size) for size in HIDDEN},
    **{
        f"layers: {kind}": functools.partial(_layers, kind)
        for kind in (
            "attention",
            "mean",
            "max",
            "concat",
            "dropout",
            "noise",
            "wide",
            "stack",
            "differences",
            "convolutions",
            "batch norm",
            "layer norm",
            "windows",
            "flatten",
        )
    },
    **{f"activation: {kind}": functools.partial(_activation, kind) for kind in ACTIVATIONS},
    **{
        f"loss: {loss}": functools.partial(_values, loss)
        for loss in ("mse", "mae", "huber", "quantile", "binary_cross_entropy")
    },
    **{
        f"classes: {kind}": functools.partial(_classes, kind)
        for kind in ("adam", "adamw", "sgd", "rmsprop", "robust", "per series")
    },
    "tokens": _tokens,
    "ctc": _ctc,
    "long series": _long,
    "stream": _stream,
    "quantized": _quantized,
}


def digests() -> dict[str, str]:
    """Return a digest of each computation in each dtype, by the instruction set in use."""
    return {f"{name}, {dtype}": digest(compute(dtype)) for name, compute in COMPUTATIONS.items() for dtype in DTYPES}


def main() -> None:
    """Print the digests for every instruction set of this machine."""
    before, found = _core.isa(), {}
    for isa in _core.available_isas():
        _core.set_isa(isa)
        found[isa] = digests()
    _core.set_isa(before)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
