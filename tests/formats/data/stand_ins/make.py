"""Write the files of stand_ins.zip: networks of the forms in which LSTMs are published, by Keras and tf2onnx.

    python make.py 2; python make.py 3

Run with tensorflow-cpu, tf_keras, tf2onnx, onnx and h5py; the argument is the version of Keras. Each network has random
weights, and is stored as Keras's own file, .h5 or .keras, and by ``tf2onnx.convert.from_function`` as .onnx, with an
input x and Keras's output y in an .npz.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

VERSION = sys.argv[1]
os.environ["TF_USE_LEGACY_KERAS"] = "1" if VERSION == "2" else "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402

L = tf.keras.layers
TARGET = Path(__file__).parent / "stand_ins.zip"
STEPS, FEATURES = 8, 3


def networks() -> dict[str, tuple[list[Any], int | None]]:
    """Return layers, and the number of steps if it is fixed, of each network by name."""
    each = {"return_sequences": True}
    return {
        "autoencoder": (
            [L.LSTM(5), L.RepeatVector(STEPS), L.LSTM(5, **each), L.TimeDistributed(L.Dense(FEATURES))],
            STEPS,
        ),
        "relu_autoencoder": (
            [
                *(L.LSTM(6, activation="relu", **each), L.LSTM(4, activation="relu")),
                *(L.RepeatVector(STEPS), L.LSTM(4, activation="relu", **each), L.LSTM(6, activation="relu", **each)),
                L.TimeDistributed(L.Dense(FEATURES)),
            ],
            STEPS,
        ),
        "forecaster": ([L.LSTM(6), L.RepeatVector(5), L.LSTM(6, **each), L.TimeDistributed(L.Dense(1))], STEPS),
        "batchnorm": (
            [L.LSTM(5, **each), L.BatchNormalization(), L.LSTM(4), L.BatchNormalization(), L.Dense(3, "softmax")],
            STEPS,
        ),
        "flatten": ([L.LSTM(5, **each), L.Dropout(0.2), L.Flatten(), L.Dense(2, "sigmoid")], STEPS),
        "cnn": ([L.Conv1D(6, 3, activation="relu", padding="same"), L.LSTM(5), L.Dense(1, "sigmoid")], STEPS),
        "cnn_pooled": (
            [
                *(L.Conv1D(6, 3, activation="relu"), L.Conv1D(5, 2, activation="relu"), L.MaxPooling1D(2)),
                *(L.Dropout(0.3), L.LSTM(5), L.Dense(3, "softmax")),
            ],
            STEPS,
        ),
        "cnn_strided": (
            [L.Conv1D(6, 2, strides=2, padding="causal"), L.LSTM(5, **each), L.GlobalAveragePooling1D(), L.Dense(2)],
            None,
        ),
        "layernorm": ([L.LSTM(5, **each), L.LayerNormalization(), L.Dense(2)], STEPS),
        "bidirectional": ([L.Bidirectional(L.LSTM(4, **each)), L.GlobalMaxPooling1D(), L.Dense(2)], STEPS),
        "tagger": ([L.LSTM(4, **each), L.Dense(3, "softmax")], None),
        "elu": ([L.LSTM(5, activation="elu", **each), L.Dense(2)], STEPS),
        "linear": ([L.LSTM(3, activation="linear"), L.Dense(2)], None),
        "softsign": ([L.LSTM(5, activation="softsign", use_bias=False), L.Dense(2)], STEPS),
        "hard": ([L.LSTM(4, recurrent_activation="hard_sigmoid", **each), L.LSTM(3, activation="elu")], STEPS),
    }


def main() -> None:
    """Write all networks of one version of Keras."""
    rng = np.random.default_rng(int(VERSION))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(TARGET, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, (layers, steps) in networks().items():
            model = tf.keras.Sequential([tf.keras.Input((steps, FEATURES)), *layers])
            for weight in model.weights:
                low = 0.5 if "variance" in weight.name else -0.6
                weight.assign(rng.uniform(low, low + 1.2, weight.shape).astype(np.float32))
            x = rng.standard_normal((4, STEPS, FEATURES)).astype(np.float32)
            stored = io.BytesIO()
            np.savez_compressed(stored, x=x, y=np.asarray(model(x, training=False)))
            spec = tf.TensorSpec([None, steps, FEATURES], tf.float32)
            run = tf.function(lambda x, model=model: model(x, training=False))
            proto, _ = tf2onnx.convert.from_function(run, input_signature=[spec], opset=17)
            own = Path(folder) / f"{name}.{'h5' if VERSION == '2' else 'keras'}"
            model.save(own)
            stem = f"keras{VERSION}/{name}"
            archive.writestr(f"{stem}.npz", stored.getvalue())
            archive.writestr(f"{stem}.onnx", proto.SerializeToString())
            archive.writestr(f"{stem}{own.suffix}", own.read_bytes())
            print(stem, {node.op_type for node in proto.graph.node})


if __name__ == "__main__":
    main()
