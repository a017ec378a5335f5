"""Random models of everything that streams take, with input for them: for tests of exports."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import fastlstm as fl

GATES: list[Any] = ["sigmoid", "sigmoid", "hard_sigmoid", "softsign", ("hard_sigmoid", 0.25, 0.4)]
CELLS: list[Any] = ["tanh", "tanh", "softsign", "elu", ("scaled_tanh", 1.5, 0.7), "affine"]
FUNCTIONS = "sigmoid tanh relu leaky_relu thresholded_relu hard_sigmoid elu softsign softplus softmax".split()


def _lstm(draw: random.Random, hidden: int, last: bool) -> fl.LSTM:
    options: dict[str, Any] = {"return_sequences": not last or draw.random() < 0.5}
    depth = draw.choice([1, 1, 2, 3])
    if draw.random() < 0.3:
        options["proj_size"] = draw.randint(1, hidden)
    for name in ("peepholes", "coupled", "layer_norm", "residual", "learn_state"):
        options[name] = draw.random() < 0.25
    options["residual"] = options["residual"] and depth > 1
    for name in ("gate_clip", "cell_clip", "output_clip"):
        if draw.random() < 0.15:
            options[name] = draw.choice([0.5, 1.7])
    for name in ("zoneout_h", "zoneout_c", "recurrent_dropout", "variational_dropout"):
        if draw.random() < 0.15:
            options[name] = draw.choice([0.1, 0.35])
    if draw.random() < 0.3:
        options["gate_activation"] = draw.choice(GATES)
        options["cell_activation"] = draw.choice(CELLS)
        options["output_activation"] = draw.choice(CELLS)
    return fl.LSTM(hidden, num_layers=depth, bias=draw.random() < 0.8, **options)


def random_model(seed: int) -> tuple[fl.Model, np.ndarray]:
    """Return a model with random weights, and a series for it, (200, features), or token ids (200,)."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    features = draw.randint(1, 6)
    layers: list[Any] = []
    tokens = draw.random() < 0.15
    masked = draw.random() < 0.2
    if tokens:
        layers.append(fl.Embedding(11, draw.randint(1, 5), mask_token=3 if masked else None))
    elif masked:
        layers.append(fl.Masking(draw.choice([0.0, -1.5, "nan"])))
    if draw.random() < 0.3:
        layers += [fl.Dense(draw.randint(1, 9)), fl.Activation(draw.choice(FUNCTIONS[:-1]))]
    count = draw.choice([1, 1, 2])
    pool = draw.choice([None, None, fl.LastStep, fl.MeanPool, fl.MaxPool])
    for k in range(count):
        layers.append(_lstm(draw, draw.choice([1, 3, 8, 16, 21, 33]), k == count - 1 and pool is None))
    if pool is not None:
        layers[-1].return_sequences = True
        layers.append(pool())
    if draw.random() < 0.8:
        layers.append(fl.Dense(draw.randint(1, 9), bias=draw.random() < 0.8))
        if draw.random() < 0.5:
            layers.append(fl.Activation(draw.choice(FUNCTIONS)))
    targets = None
    if draw.random() < 0.3:
        targets = fl.Standardizer().fit(rng.normal(50, 7, (40, 1)))
    if tokens:
        model = fl.Model(layers, seed=seed, target_scaler=targets)
        series: np.ndarray = rng.integers(0, 11, 200)
        model.forward(series[None, :5])
    else:
        kind = draw.choice([None, fl.Standardizer, fl.RobustScaler])
        values = rng.normal(3, 2, (300, features)) * 10.0 ** rng.integers(-3, 4, features)
        missing = kind is not None and draw.random() < 0.5
        nan = masked and layers[0].masks_missing_steps
        if missing:
            values[rng.random(values.shape) < 0.1] = np.nan
        scaler = None if kind is None else kind(missing="mask" if missing else "error").fit(values)
        added = 0 if scaler is None else scaler.added_channels
        size = features + added if kind is None else features
        model = fl.Model(layers, input_size=size, seed=seed, scaler=scaler, target_scaler=targets)
        series = values[:200].astype(np.float32)
        if masked:
            series[rng.random(200) < 0.2] = np.nan if nan else layers[0].value
        if kind is None:
            series = np.where(np.isnan(series), series, np.clip(series, -5, 5))
            if not nan:
                series = np.nan_to_num(series)
    for p in model.parameters().values():
        p[:] = p + rng.uniform(-0.3, 0.3, p.shape).astype(p.dtype)
    return model, series


def random_integer_model(seed: int) -> tuple[fl.Model, np.ndarray]:
    """Return a model that has an integer form, and series for it, (8, 60, features), or token ids (8, 60)."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    features = draw.randint(1, 5)
    layers: list[Any] = []
    tokens, masked = draw.random() < 0.2, draw.random() < 0.2
    if tokens:
        layers.append(fl.Embedding(9, draw.randint(1, 5), mask_token=2 if masked else None))
    elif masked:
        layers.append(fl.Masking(draw.choice([-1.5, "nan"])))
    if draw.random() < 0.3:
        layers += [fl.Dense(draw.randint(1, 9)), fl.Activation(draw.choice(["relu", "tanh", "sigmoid"]))]
    depth = draw.choice([1, 1, 2])
    pool = draw.choice([None, None, fl.LastStep, fl.MeanPool, fl.MaxPool])
    options = {"num_layers": depth, "residual": depth > 1 and draw.random() < 0.5, "learn_state": draw.random() < 0.3}
    layers.append(fl.LSTM(draw.choice([1, 5, 16, 33]), return_sequences=True, bias=draw.random() < 0.8, **options))
    layers += [] if pool is None else [pool()]
    if draw.random() < 0.8:
        layers.append(fl.Dense(draw.randint(1, 7)))
        if draw.random() < 0.5:
            layers.append(fl.Activation(draw.choice(["softmax", "sigmoid", "softplus"])))
    targets = fl.Standardizer().fit(rng.normal(50, 7, (40, 1))) if draw.random() < 0.3 else None
    if tokens:
        model = fl.Model(layers, seed=seed, target_scaler=targets)
        series: np.ndarray = rng.integers(0, 9, (8, 60))
        model.forward(series[:, :5])
    else:
        values = rng.normal(3, 2, (8, 60, features)) * 10.0 ** rng.integers(-2, 3, features)
        missing = draw.random() < 0.4
        if missing:
            values[rng.random(values.shape) < 0.1] = np.nan
        scaler = fl.RobustScaler(missing="mask" if missing else "error").fit(values) if draw.random() < 0.7 else None
        if scaler is None:
            values = np.clip(np.nan_to_num(values), -4, 4)
        size = features
        model = fl.Model(layers, input_size=size, seed=seed, scaler=scaler, target_scaler=targets)
        series = values.astype(np.float32)
        if masked:
            series[rng.random((8, 60)) < 0.2] = layers[0].value
    for p in model.parameters().values():
        p[:] = p + rng.uniform(-0.4, 0.4, p.shape).astype(p.dtype)
    return model, series
