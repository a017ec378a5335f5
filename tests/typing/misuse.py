"""Mistakes that mypy must report: each line has the error that is expected, and mypy --strict reports one that is not.

Nothing here is run; test_types.py checks it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastlstm as fl

X = np.zeros((4, 5, 3))
model = fl.Model([fl.LSTM(4), fl.Dense(2)])

# Settings of layers and models
fl.LSTM("64")  # type: ignore[arg-type]
fl.LSTM(64, True)  # type: ignore[call-arg]
fl.LSTM(64, bidirectionnal=True)  # type: ignore[call-arg]
fl.Dense()  # type: ignore[call-arg]
fl.Model(fl.LSTM(4))  # type: ignore[arg-type]
fl.Model(["lstm"])  # type: ignore[list-item]
fl.Model([fl.Dense(1)], scaler="standard")  # type: ignore[arg-type]

# Arguments of fit
model.fit()  # type: ignore[call-arg]
model.fit(object())  # type: ignore[arg-type]
model.fit(X, [0, 1, 0, 1], None)  # type: ignore[call-arg]
model.fit(X, [0, 1, 0, 1], epoch=3)  # type: ignore[call-arg]
model.fit(X, [0, 1, 0, 1], epochs="3")  # type: ignore[arg-type]
model.fit(X, [0, 1, 0, 1], optimizer=fl.CosineLR(0.1))  # type: ignore[arg-type]
model.fit(X, [0, 1, 0, 1], loss=fl.Adam())  # type: ignore[arg-type]
model.fit(X, [0, 1, 0, 1], callbacks=fl.EarlyStopping())  # type: ignore[arg-type]
fl.Adam(lr="fast")  # type: ignore[arg-type]
fl.split(10, method="shuffled")  # type: ignore[call-overload]
fl.split(10, method="random", gap=3)  # type: ignore[call-overload]
fl.split(10, method="time", groups=[1, 2])  # type: ignore[call-overload]
fl.data.windows_by_group({}, "id", 3, pad="front")  # type: ignore[arg-type]
fl.data.segments(X[0], [1], 1)  # type: ignore[call-arg]

# Types of the results
number: float = model.evaluate(X, [0, 1, 0, 1])  # type: ignore[assignment]
model.fit(X, [0, 1, 0, 1])["loss"]  # type: ignore[index]
_ = model.fit(X, [0, 1, 0, 1]).losses  # type: ignore[attr-defined]
_ = model.stream().step(X).loss  # type: ignore[attr-defined]
fl.load(3)  # type: ignore[arg-type]


class Reports(fl.Callback):
    def on_epoch_end(self, epoch: int) -> None:  # type: ignore[override]
        self.stop_training = "yes"  # type: ignore[assignment]


class Loss(fl.losses.Loss):
    def __call__(self, out: Any, target: Any) -> float:  # type: ignore[override]
        return 0.0
