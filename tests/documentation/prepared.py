"""What the pages take for granted: data, models and files of the reader.

`BEFORE` has for each page functions by a text of the block that they go before. Each takes the names of the page so far
and its blocks of C, and returns further names.
"""

from __future__ import annotations

import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl

FILES = Path(__file__).parents[1] / "formats" / "data"
Names = dict[str, Any]
Preparation = Callable[[Names, list[str]], "Names | None"]

BEFORE: dict[str, dict[str, Preparation]] = {}


def before(page: str, block: str) -> Callable[[Preparation], Preparation]:
    def register(function: Preparation) -> Preparation:
        BEFORE.setdefault(page, {})[block] = function
        return function

    return register


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def cases(n: int, steps: int, features: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return series, and the class of each: in which part of its range its mean is."""
    X = noise(n, steps, features, seed=seed)
    y = np.argsort(np.argsort(X.mean(axis=(1, 2)))) * classes // n
    return X, y


def extract(archive: str, member: str, name: str) -> None:
    Path(name).write_bytes(zipfile.ZipFile(FILES / "keras" / archive).read(member))


@before("checkpoints.md", "model.fit(")
def _(names: Names, c: list[str]) -> Names:
    X = noise(20, 6, 2)
    return {"X": X, "y": X.sum(axis=(1, 2))[:, None]}


@before("datasets.md", "class Recordings")
def _(names: Names, c: list[str]) -> Names:
    data = fl.datasets.load_japanese_vowels()
    found: Names = {}
    for part, rows in (("", slice(0, 60)), ("more_", slice(60, 90)), ("test_", slice(90, 120))):
        found[f"{part}labels"] = np.arange(120)[rows] % 9
        found[f"{part}files"] = []
        for row, x in enumerate(data.X_train[rows]):
            found[f"{part}files"].append(f"{part}{row}.npy")
            np.save(found[f"{part}files"][-1], x)
    return found


@before("estimators.md", "LSTMClassifier(random_state=0)")
def _(names: Names, c: list[str]) -> Names:
    X, y = cases(40, 12, 2, 2)
    return {"X": X, "y": y, "X_new": X[:5]}


@before("estimators.md", "sklearn.set_config(")
def _(names: Names, c: list[str]) -> Names:
    import sklearn

    return {"sklearn": sklearn}


@before("estimators.md", "detector = ")
def _(names: Names, c: list[str]) -> Names:
    names["sklearn"].set_config(enable_metadata_routing=False)
    from fastlstm.sklearn import LSTMAnomalyDetector

    time = np.arange(1200)
    normal = np.sin(time / 5)[:, None] + 0.1 * noise(1200, 1)
    new = normal[:300].copy()
    new[200:210] += 3
    return {"LSTMAnomalyDetector": LSTMAnomalyDetector, "normal": normal, "new": new}


@before("firmware.md", "cc -O2")
def _(names: Names, c: list[str]) -> None:
    Path("main.c").write_text(next(code for code in c if "int main" in code))


@before("forecasting.md", "fl.Forecaster(")
def _(names: Names, c: list[str]) -> Names:
    data = fl.datasets.load_steel_power_factor()
    factor = data.values[:, data.columns.index("lagging_power_factor")]
    lines = [f"{time},{value}" for time, value in zip(data.time[: 96 * 10], factor[: 96 * 10], strict=True)]
    Path("meter.csv").write_text("\n".join(["time,power_factor", *lines]) + "\n")
    after = slice(96 * 10, 96 * 10 + 5)
    return {"readings": list(zip(data.time[after], factor[after], strict=True))}


@before("guide.md", 'fl.load("base.safetensors")')
def _(names: Names, c: list[str]) -> Names:
    X, y = cases(60, 8, 5, 3)
    base = fl.Model([fl.LSTM(64), fl.Dense(2)], scaler=fl.Standardizer())
    base.fit(X, (y > 0).astype(int), epochs=1, verbose=0)
    base.save("base.safetensors")
    return {"X": X, "y": y}


@before("heads.md", "encoder = [fl.LSTM(64)]")
def _(names: Names, c: list[str]) -> Names:
    X = noise(20, 10, 3)
    return {"X": X, "y": noise(20, 24, 1, seed=1)}


@before("heads.md", 'loss="ctc"')
def _(names: Names, c: list[str]) -> Names:
    draw = random.Random(0)
    y = [[draw.randint(1, 5) for _ in range(3)] for _ in range(20)]
    X = noise(20, 15, 4)
    return {"labels": 5, "X": X, "y": y, "X_test": X[:4], "y_test": y[:4]}


@before("keras.md", 'fl.from_keras("model.keras")')
def _(names: Names, c: list[str]) -> Names:
    extract("keras3.zip", "final.keras", "model.keras")
    extract("keras3.zip", "final.npz", "final.npz")
    return {"X": np.load("final.npz")["x"]}


@before("keras.md", '"model.weights.h5", activations={')
def _(names: Names, c: list[str]) -> None:
    import h5py

    arrays = {
        "lstm/cell": [noise(3, 16), noise(4, 16), noise(16)],
        "dense": [noise(4, 5), noise(5)],
        "dense_1": [noise(5, 2), noise(2)],
    }
    with h5py.File("model.weights.h5", "w") as file:
        for layer, values in arrays.items():
            for number, value in enumerate(values):
                file[f"layers/{layer}/vars/{number}"] = value.astype("float32")


@before("keras.md", 'fl.from_keras("classifier.keras")')
def _(names: Names, c: list[str]) -> Names:
    extract("keras3.zip", "embedding.keras", "classifier.keras")
    extract("keras3.zip", "embedding.npz", "classifier.npz")
    X = np.load("classifier.npz")["x"]
    return {"X": X, "y": np.arange(len(X)) % 2}


@before("keras.md", 'fl.from_keras("s2s.keras"')
def _(names: Names, c: list[str]) -> Names:
    extract("pairs3.zip", "tutorial.keras", "s2s.keras")
    extract("pairs3.zip", "tutorial.npz", "s2s.npz")
    return {"ids": {"\t": 1, "\n": 0}, "X": np.load("s2s.npz")["source"]}


@before("keras.md", 'fl.from_keras("encoder.keras")')
def _(names: Names, c: list[str]) -> Names:
    for half in ("encoder", "decoder"):
        extract("pairs3.zip", f"{half}_half.keras", f"{half}.keras")
        extract("pairs3.zip", f"{half}_half.npz", f"{half}.npz")
    return {"X": np.load("encoder.npz")["x"], "tokens": np.load("decoder.npz")["x"][:, :1]}


@before("layers.md", "my_matrix")
def _(names: Names, c: list[str]) -> Names:
    return {"my_matrix": noise(256, 64)}


@before("metrics.md", "classification_report(")
def _(names: Names, c: list[str]) -> Names:
    X, y = cases(40, 8, 2, 2)
    model = fl.Model([fl.LSTM(8), fl.Dense(2)])
    model.fit(X, y, epochs=2, verbose=0)
    return {"model": model, "X": X, "y": y, "X_test": X, "y_test": y}


@before("metrics.md", "anomaly.events(")
def _(names: Names, c: list[str]) -> Names:
    scores, labels = np.abs(noise(2000)), np.zeros(2000, int)
    scores[500:520] += 5
    labels[500:520] = 1
    return {"scores": scores, "labels": labels, "threshold": 3.0, "untrained_scores": np.abs(noise(2000, seed=1))}


@before("missing.md", "model.fit(X, y)")
def _(names: Names, c: list[str]) -> Names:
    X, y = cases(30, 8, 4, 3)
    X[::3, 2, 1] = np.nan
    return {"X": X, "y": y, "X_new": X[:5]}


@before("onnx.md", 'fl.from_onnx("classifier.onnx")')
def _(names: Names, c: list[str]) -> None:
    shutil.copy(FILES / "onnx" / "last_ts.onnx", "classifier.onnx")


@before("onnx.md", 'fl.from_onnx("vad.onnx")')
def _(names: Names, c: list[str]) -> Names:
    import onnx
    from helpers import load_benchmarks

    load_benchmarks()
    from benchmarks import frame_graphs

    onnx.save(frame_graphs.detector(), "vad.onnx")
    frames = noise(1, 4, 512).astype("float32")
    return {"frames": frames, "frame": frames[:, 0], "state": None}


@before("onnx.md", "onnx_backend.prepare(")
def _(names: Names, c: list[str]) -> Names:
    import onnx
    from onnx_graphs import model_of, op

    weights = {"W": noise(1, 16, 3).astype("float32"), "R": noise(1, 16, 4).astype("float32")}
    inputs = {"x": ("float32", (7, 2, 3)), "h0": ("float32", (1, 2, 4)), "c0": ("float32", (1, 2, 4))}
    node = op("LSTM", "x,W,R,,,h0,c0", "y,h,c", hidden_size=4)
    onnx.save(model_of([node], inputs, ["y", "h", "c"], weights), "model.onnx")
    return {name: noise(*shape).astype(dtype) for name, (dtype, shape) in inputs.items()}


@before("paper-1997.md", "layers = ")
def _(names: Names, c: list[str]) -> Names:
    return {"T": 100, "outputs": 2}


@before("pytorch.md", "fl.from_torch(module)")
def _(names: Names, c: list[str]) -> Names:
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(4, 16, batch_first=True)
            self.fc = torch.nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    weights = torch.nn.ModuleDict(
        {"lstm": torch.nn.LSTM(4, 16, batch_first=True), "fc1": torch.nn.Linear(16, 8), "fc2": torch.nn.Linear(8, 1)}
    )
    torch.save(weights.state_dict(), "weights.pt")
    return {"module": Module()}


@before("seq2seq.md", "fl.EncoderDecoder(")
def _(names: Names, c: list[str]) -> Names:
    draw = random.Random(0)
    words_in, words_out = [f"in{k}" for k in range(5000)], ["<s>", "</s>", *(f"out{k}" for k in range(3998))]
    X = [[draw.randrange(5000) for _ in range(draw.randint(2, 5))] for _ in range(24)]
    Y = [[2 + token % 3998 for token in source] for source in X]
    return {
        "words_in": words_in, "words_out": words_out, "X": X, "Y": Y, "X_val": X[:4], "Y_val": Y[:4], "X_new": X[:3],
    }  # fmt: skip


@before("seq2seq.md", "translator.stream(")
def _(names: Names, c: list[str]) -> Names:
    return {"chosen": [5] * len(names["X"])}


@before("serving.md", 'fl.load("model.safetensors")')
def _(names: Names, c: list[str]) -> Names:
    model = fl.Model([fl.LSTM(16, return_sequences=True), fl.Dense(1)], input_size=3)
    model.save("model.safetensors")
    return {"x": noise(1, 100, 3).astype("float32")}


@before("serving.md", "stream.add_rows")
def _(names: Names, c: list[str]) -> Names:
    import pickle

    return {"x": noise(3, 3).astype("float32"), "other": names["model"].stream(), "pickle": pickle}


@before("serving.md", "y, state = model.predict(x[:, :50]")
def _(names: Names, c: list[str]) -> Names:
    return {"x": noise(1, 100, 3).astype("float32")}


@before("shards.md", "shards=8)")
def _(names: Names, c: list[str]) -> Names:
    X, y = cases(60, 8, 3, 5)
    return {"model": fl.Model([fl.LSTM(8), fl.Dense(5)]), "X": X, "y": y}


@before("state.md", "model.stream(batch_size=8)")
def _(names: Names, c: list[str]) -> Names:
    model = fl.Model([fl.LSTM(16, return_sequences=True), fl.Dense(1)], input_size=3)
    return {"model": model, "x": noise(8, 3), "X": noise(8, 20, 3)}


@before("state.md", "tbptt_steps=200")
def _(names: Names, c: list[str]) -> Names:
    X, y = noise(8, 500, 2), noise(8, 500, 1, seed=1)
    return {"X": X, "y": y, "X_val": X[:2], "y_val": y[:2], "T": 500}


def engines() -> Any:
    import pandas

    rows = [(engine, cycle) for engine in range(6) for cycle in range(40)]
    frame = pandas.DataFrame(rows, columns=["engine", "cycle"])
    for sensor in ("temperature", "pressure"):
        frame[sensor] = noise(len(rows)) + frame["cycle"] / 20
    return frame


@before("tables.md", "fl.data.from_frame(df)")
def _(names: Names, c: list[str]) -> Names:
    return {"df": engines()}


@before("tables.md", 'fl.data.read_csv("meter.csv")')
def _(names: Names, c: list[str]) -> None:
    Path("meter.csv").write_text("time;load\n01.02.2026 00:00;1,5\n01.02.2026 00:15;2,5\n01.02.2026 00:30;\n")


@before("tables.md", "fl.data.segments(signal")
def _(names: Names, c: list[str]) -> Names:
    return {"signal": noise(3000, 2), "peaks": np.arange(50, 2990, 200), "labels": np.arange(15) % 3}


@before("tables.md", "BasicMotions_TRAIN.ts")
def _(names: Names, c: list[str]) -> None:
    lines = ["@problemName Motions", "@timeStamps false", "@univariate false", "@dimensions 2", "@equalLength true"]
    lines += ["@seriesLength 4", "@classLabel true walking running", "@data"]
    lines += ["1,2,3,4:0,1,0,1:walking", "4,3,2,1:1,0,1,0:running"] * 4
    Path("BasicMotions_TRAIN.ts").write_text("\n".join(lines) + "\n")
