"""Write the files of this folder: encoders and decoders of Keras 2, exported by tf2onnx, with Keras's outputs.

python -m venv k2 && k2/bin/pip install tensorflow-cpu==2.15.1 tf2onnx==1.17.0
k2/bin/python export.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

keras = tf.keras
layers = keras.layers

BATCH, TIME, FEATURES = 5, 7, 3


def models() -> dict[str, Any]:
    lstm, dense = layers.LSTM, layers.Dense
    decoder = [layers.RepeatVector(5), lstm(3, return_sequences=True), layers.TimeDistributed(dense(2))]
    repeat = keras.Sequential([layers.Input(shape=(TIME, FEATURES)), lstm(4), *decoder])
    first = layers.Input(shape=(TIME, FEATURES))
    x = layers.RepeatVector(TIME)(lstm(3)(lstm(4, return_sequences=True)(first)))
    x = layers.Dropout(0.5)(lstm(3, return_sequences=True)(x))
    return {"repeat": repeat, "autoencoder": keras.Model(first, layers.TimeDistributed(dense(FEATURES))(x))}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    rng = np.random.default_rng(0)
    for name, model in models().items():
        for variable in model.weights:
            variable.assign(rng.normal(0, 0.5, tuple(variable.shape)))
        x = rng.standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
        signature = (tf.TensorSpec((None, None, FEATURES), tf.float32, name="x"),)
        tf2onnx.convert.from_keras(model, signature, opset=17, output_path=str(folder / f"{name}.onnx"))
        np.savez_compressed(folder / f"{name}.npz", x=x, y=model.predict(x, verbose=0))


if __name__ == "__main__":
    main()
