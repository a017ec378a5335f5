"""Typical programs with their types: pytest runs them, and mypy checks them (test_types.py).

What a program gets back has the type that `assert_type` states, which nothing untyped passes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm as fl
from fastlstm.layers import Layer, Signal

if sys.version_info >= (3, 11):
    from typing import assert_type
else:

    def assert_type(value: Any, kind: Any, /) -> Any:
        return value


Array = NDArray[Any]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 9, 3))
LABELS = np.arange(12) % 3


def classifier() -> fl.Model:
    return fl.Model([fl.LSTM(5, bidirectional=True), fl.Dropout(0.1), fl.Dense(3)], scaler=fl.Standardizer(), seed=0)


def test_train_evaluate_predict() -> None:
    model = classifier()
    history = model.fit(
        X,
        LABELS,
        loss="cross_entropy",
        optimizer=fl.Adam(fl.CosineLR(1e-2), clip_norm=1.0),
        epochs=2,
        batch_size=4,
        validation_split=0.25,
        class_weight="balanced",
        verbose=0,
    )
    assert_type(history, fl.History)
    assert_type(history.history, dict[str, list[float]])
    assert_type(history.best_epoch, int | None)
    assert_type(model.evaluate(X, LABELS), dict[str, float])
    assert_type(model.parameters(), dict[str, Array])
    assert_type(model.built, bool)
    assert model.predict(X).shape == model.predict_proba(X).shape == (12, 3)


def test_metrics_and_their_types() -> None:
    model = classifier()
    model.fit(X, LABELS, epochs=1, validation_split=0.25, metrics=[fl.metrics.f1, fl.metrics.recall], verbose=0)
    assert_type(fl.metrics.f1(LABELS, LABELS), float)
    assert_type(fl.metrics.recall(LABELS, LABELS, average=None), Array)
    report = fl.metrics.classification_report(LABELS, model.predict_classes(X), ["a", "b", "c"])
    assert_type(report, fl.metrics.ClassificationReport)
    assert_type(report.confusion, Array)
    assert_type(report.macro_f1, float)
    assert_type(fl.metrics.anomaly.events([0, 1, 0], 0.5), list[fl.metrics.anomaly.Event])
    assert_type(fl.metrics.mase([1.0], [2.0], [1.0, 3.0]), float)


class Recordings:
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Array, int]:
        return X[i], int(LABELS[i])


def test_a_data_set() -> None:
    model = classifier()
    assert_type(model.fit(Recordings(), epochs=1, validation_data=Recordings(), verbose=0), fl.History)
    assert_type(model.evaluate(Recordings()), dict[str, float])
    assert model.predict(Recordings()).shape == (12, 3)


def test_data_of_other_kinds() -> None:
    model = fl.Model([fl.LSTM(5), fl.Dense(2)])
    series: list[Array] = [np.ones((1, 3)), np.zeros((4, 3), "f4")]
    model.fit([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]] * 2], ["yes", "no"], epochs=1, verbose=0)
    model.fit(series, ["yes", "no"], epochs=1, loss=fl.CrossEntropy(), verbose=0)
    classifier().fit(
        X, LABELS, lengths=[9] * 12, sample_weight=np.ones(12), validation_data=(X, LABELS), epochs=1, verbose=0
    )
    inputs, targets = fl.windows(np.arange(30.0), length=8, horizon=2)
    assert_type(inputs, Array)
    assert_type(targets, Array)
    assert_type(fl.split(10), tuple[NDArray[np.int64], ...])
    assert_type(fl.split(10, (0.8, 0.2), method="time"), tuple[slice, ...])
    scaler = assert_type(fl.Standardizer().fit(X), fl.Standardizer)
    assert_type(scaler.transform(X), Array)
    assert_type(scaler.inverse_transform(series), list[Array])
    vowels = fl.datasets.load_japanese_vowels()
    assert_type(vowels.X_train, list[NDArray[np.float32]])


def test_tables_and_events(tmp_path: Path) -> None:
    table: dict[str, list[float]] = {"unit": [1, 1, 1, 2, 2], "x": [1.0, 2.0, 3.0, 4.0, 5.0]}
    left = assert_type(fl.data.rul(table["unit"], cap=2), NDArray[np.float64])
    assert_type(fl.data.will_fail(table["unit"], within=1), NDArray[np.int64])
    w = assert_type(fl.data.windows_by_group(table, "unit", 2, target=left), fl.data.GroupWindows)
    assert_type(w.features, tuple[str, ...])
    assert_type(fl.split(len(w.X), (0.5, 0.5), groups=w.groups), tuple[NDArray[np.int64], ...])
    assert_type(fl.data.from_frame(table, group="unit"), fl.data.FrameSeries)
    beats, kept = fl.data.segments(np.arange(9.0), [2, 5], before=1, after=2)
    assert_type(kept, NDArray[np.int64])
    assert_type(fl.to_numpy3d(beats), NDArray[Any])
    assert_type(fl.from_numpy3d([np.zeros((2, 5))]), list[NDArray[Any]])
    (tmp_path / "a.ts").write_text("@classLabel true a\n@data\n1,2:a\n")
    X, y, meta = fl.data.read_ts(tmp_path / "a.ts")
    assert_type(meta.classes, tuple[str, ...] | None)
    assert len(X) == 1 and y is not None


def test_save_and_load(tmp_path: Path) -> None:
    model = classifier()
    model.build(3)
    model.save(tmp_path / "model.safetensors")
    assert_type(fl.load(str(tmp_path / "model.safetensors")), fl.Model)
    state = assert_type(model.state_dict(), dict[str, Array])
    model.load_state_dict(state)
    weights = {f"lstm.{name}_l0": np.ones((8, 2)) for name in ("weight_ih", "weight_hh")}
    assert_type(fl.from_torch(weights, order=["lstm", fl.Dropout(0.1), "tanh"], return_sequences=None), fl.Model)


def test_layers_of_all_kinds() -> None:
    layers: list[Layer] = [
        fl.Masking(0.0),
        fl.LSTM(4, num_layers=2, dropout=0.1, merge="concat", bidirectional=True, return_sequences=True),
        fl.LSTM(6, proj_size=3, peepholes=True, zoneout_h=0.1, return_sequences=True),
        fl.Activation("relu"),
        fl.GaussianNoise(0.1),
        fl.AttentionPool(5),
        fl.Dense(2, bias=False),
    ]
    model = fl.Model(layers, input_size=3, dtype="float64")
    model.fit(X, X[:, 0, :2], loss=fl.Huber(0.5), optimizer="sgd", epochs=1, verbose=0)
    model.summary()


def test_streams() -> None:
    model = fl.Model([fl.LSTM(4, return_sequences=True), fl.Dense(1)], input_size=3)
    stream = assert_type(model.stream(batch_size=2), fl.Stream)
    assert_type(stream.step(X[:2, 0]), Array)
    assert_type(stream.run(X[:2]), Array)
    assert_type(stream.state, list[tuple[Array, Array]])
    stream.reset([0])


def test_a_loop_of_ones_own() -> None:
    model = fl.Model([fl.LSTM(4), fl.Dense(1)], input_size=3)
    optimizer = fl.AdamW(1e-3, weight_decay=0.1)
    out = model.forward(X, training=True)
    model.zero_grad()
    model.backward(2 * out / out.size)
    optimizer.step(model)
    assert_type(optimizer.lr, float)
    assert_type(model.gradients(), dict[str, Array])


def test_generation_and_decoding() -> None:
    model = fl.Model([fl.Embedding(5, 2), fl.LSTM(4, return_sequences=True), fl.Dense(5)])
    assert_type(fl.generate(model, [1, 2], 3, temperature=0.5), Array)
    assert_type(fl.ctc_decode(np.zeros((2, 4, 3)), beam_width=2), list[Array])


def test_callbacks_that_come_along(tmp_path: Path) -> None:
    callbacks: list[fl.Callback] = [
        fl.EarlyStopping(patience=3),
        fl.ReduceLROnPlateau(factor=0.5),
        fl.ModelCheckpoint(tmp_path / "best.safetensors"),
        fl.CSVLogger(tmp_path / "log.csv"),
        fl.Checkpoint(tmp_path / "run.safetensors", every_seconds=60),
    ]
    classifier().fit(X, LABELS, epochs=1, validation_split=0.25, callbacks=callbacks, verbose=0)


class StopBelow(fl.Callback):
    """A callback of one's own: ends the training where the loss is small enough."""

    def __init__(self, loss: float) -> None:
        self.loss = loss

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        assert_type(self.model.parameters(), dict[str, Array])
        assert_type(self.history, fl.History)
        self.optimizer.lr *= 0.9
        self.stop_training = logs["loss"] < self.loss

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss}


class Quartic(fl.losses.Loss):
    """A loss of one's own: the fourth power of the error."""

    name = "quartic"

    def __call__(
        self,
        out: Array,
        target: Array,
        lengths: Array | None = None,
        weight: Array | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, float, Array]:
        error = out - target
        return float((error**4).sum()), float(error.size), 4 * error**3 / error.size


class Doubled(Layer):
    """A layer of one's own: twice what comes in."""

    def build(self, signal: Signal) -> Signal:
        return signal

    def forward(self, x: Array, ctx: Any, cache: Any) -> Array:
        return 2 * x

    def backward(self, dy: Array, ctx: Any, cache: Any, need_dx: bool) -> Array | None:
        return 2 * dy

    def get_config(self) -> dict[str, Any]:
        return {}


def test_parts_of_ones_own() -> None:
    model = fl.Model([Doubled(), fl.LSTM(4), fl.Dense(1)])
    callback = StopBelow(1e6)
    history = model.fit(X, X[:, 0, 0], loss=Quartic(), epochs=5, callbacks=[callback], verbose=0)
    assert callback.stop_training
    assert history.epochs == 1


def test_settings() -> None:
    assert_type(fl.get_num_threads(), int)
    before = fl.get_num_threads()
    fl.set_num_threads(1)
    fl.set_num_threads(None)
    assert fl.get_num_threads() == before
    assert_type(fl.__version__, str)
