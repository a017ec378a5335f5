"""Write keras3.zip and keras2.zip: small models with random weights, and what Keras itself computes with them.

Run it once with each Keras; the tests do not run it:

    python -m venv k3 && k3/bin/pip install keras==3.15.1 h5py torch==2.13.0
    KERAS_BACKEND=torch k3/bin/python tests/formats/data/keras/make.py
    python -m venv k2 && k2/bin/pip install tensorflow-cpu==2.15.1
    k2/bin/python tests/formats/data/keras/make.py

An archive has, for each model, NAME.keras, for some of them also NAME.h5, NAME.weights.h5 and NAME.json, and NAME.npz
with the input ``x`` and the output ``y``.
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

layers = keras.layers
MAJOR = int(keras.__version__.split(".")[0])

BATCH, TIME, FEATURES, TOKENS = 5, 7, 3, 9

MASK = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],  # no step is masked
        [1, 1, 1, 1, 0, 0, 0],  # padding after the series
        [0, 0, 0, 1, 1, 1, 1],  # padding before it
        [0, 1, 0, 0, 1, 1, 0],  # gaps
        [0, 0, 0, 0, 0, 0, 0],  # nothing but padding
    ],
    bool,
)


def series(rng: np.random.Generator, masked: float | None = None) -> np.ndarray:
    """Return series of numbers; masked steps have the mask value in all features, others in none."""
    x = rng.standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
    if masked is not None:
        x[0, 0, 1] = x[3, 4, 0] = masked  # in one feature only, which masks nothing
        x[~MASK] = masked
    return x


def tokens(rng: np.random.Generator) -> np.ndarray:
    """Return token ids, 0 where MASK masks."""
    return np.where(MASK, rng.integers(1, TOKENS, MASK.shape), 0).astype(np.int32)


def numbers(*stack: Any, time: int | None = None, batch: int | None = None) -> Any:
    """Return a Sequential that reads series of numbers."""
    shape = (TIME if time is None else time or None, FEATURES)
    first = layers.Input(shape=shape) if batch is None else layers.Input(batch_shape=(batch, *shape))
    return keras.Sequential([first, *stack])


def words(*stack: Any, mask_zero: bool = False) -> Any:
    """Return a Sequential that reads token ids."""
    ids = layers.Input(shape=(TIME,), dtype="int32")
    return keras.Sequential([ids, layers.Embedding(TOKENS, FEATURES, mask_zero=mask_zero), *stack])


def chain(*stack: Any, ids: bool = False) -> Any:
    """Return a Functional model that is a chain."""
    first = layers.Input(shape=(TIME,), dtype="int32") if ids else layers.Input(shape=(TIME, FEATURES))
    x = first
    for layer in stack:
        x = layer(x)
    return keras.Model(first, x)


def models() -> dict[str, tuple[Callable[[], Any], float | None]]:
    """Return, for each name, the function that builds the model, and the value that masks a step."""
    lstm, both, dense = layers.LSTM, layers.Bidirectional, layers.Dense
    made: dict[str, tuple[Callable[[], Any], float | None]] = {}

    def add(name: str, build: Callable[[], Any], masked: float | None = None) -> None:
        assert name not in made
        made[name] = build, masked

    # The LSTM's own options.
    add("final", lambda: numbers(lstm(4)))
    add("sequences", lambda: numbers(lstm(4, return_sequences=True), time=0))
    add("no_bias", lambda: numbers(lstm(4, use_bias=False), dense(2, use_bias=False)))
    add("no_forget_bias", lambda: numbers(lstm(4, unit_forget_bias=False)))
    add("one_unit", lambda: numbers(lstm(1)))
    add("stacked", lambda: numbers(lstm(4, return_sequences=True), lstm(3, return_sequences=True), lstm(2), dense(2)))
    add("stateful", lambda: numbers(lstm(4, stateful=True), dense(2), batch=BATCH))
    add("unroll", lambda: numbers(lstm(4, unroll=True, return_sequences=True)))
    add("implementation_1", lambda: numbers(lstm(4, implementation=1)))
    add("dropout", lambda: numbers(lstm(4, dropout=0.25, recurrent_dropout=0.125, seed=1)))
    add("backwards", lambda: numbers(lstm(4, go_backwards=True)))
    add("backwards_sequences", lambda: numbers(lstm(4, go_backwards=True, return_sequences=True)))
    add("backwards_twice", lambda: numbers(*(lstm(4, go_backwards=True, return_sequences=True) for _ in range(2))))
    add(
        "backwards_then_both",
        lambda: numbers(lstm(3, go_backwards=True, return_sequences=True), both(lstm(2, return_sequences=True))),
    )
    for gate in ("hard_sigmoid", "tanh", "relu", "linear", "elu", "softplus", "softsign", "sigmoid"):
        add(f"gate_{gate}", lambda gate=gate: numbers(lstm(4, recurrent_activation=gate, return_sequences=True)))
    for kind in ("sigmoid", "hard_sigmoid", "relu", "linear", "elu", "softplus", "softsign", None):
        add(f"cell_{kind}", lambda kind=kind: numbers(lstm(4, activation=kind, return_sequences=True)))
    if MAJOR >= 3:
        add("cell_leaky_relu", lambda: numbers(lstm(4, activation="leaky_relu", return_sequences=True)))

    # Two directions.
    for merge in ("concat", "sum", "mul", "ave"):
        add(f"both_{merge}", lambda merge=merge: numbers(both(lstm(4), merge_mode=merge), dense(2)))
        add(
            f"both_{merge}_sequences",
            lambda merge=merge: numbers(both(lstm(4, return_sequences=True), merge_mode=merge)),
        )
    add("both_no_bias", lambda: numbers(both(lstm(4, use_bias=False, activation="relu")), dense(2)))
    add(
        "both_given",
        lambda: numbers(
            both(lstm(4, return_sequences=True), backward_layer=lstm(4, return_sequences=True, go_backwards=True))
        ),
    )
    add(
        "both_stacked",
        lambda: numbers(both(lstm(4, return_sequences=True)), both(lstm(3, return_sequences=True)), both(lstm(2))),
    )

    # Layers around it.
    add("embedding", lambda: words(lstm(4), dense(3, activation="softmax")))
    for kind in ("relu", "sigmoid", "tanh", "softmax", "elu", "softplus", "softsign", "hard_sigmoid", "linear"):
        add(f"dense_{kind}", lambda kind=kind: numbers(lstm(4), dense(3, activation=kind)))
    add("dense_first", lambda: numbers(dense(5, activation="relu"), lstm(4, return_sequences=True), dense(2)))
    add(
        "time_distributed",
        lambda: numbers(lstm(4, return_sequences=True), layers.TimeDistributed(dense(2, activation="softmax"))),
    )
    add(
        "activation_layers",
        lambda: numbers(
            dense(4),
            layers.ReLU(),
            dense(4),
            layers.ReLU(negative_slope=0.3),
            dense(4),
            layers.ReLU(threshold=0.5),
            dense(4),
            layers.LeakyReLU(),
            dense(4),
            layers.ELU(alpha=0.7),
            lstm(4),
            layers.Activation("tanh"),
            layers.Softmax(),
        ),
    )
    add(
        "training_only",
        lambda: numbers(
            layers.GaussianNoise(0.1),
            layers.SpatialDropout1D(0.25),
            lstm(4, return_sequences=True),
            layers.Dropout(0.5),
            lstm(4),
            layers.Dropout(0.125),
            layers.ActivityRegularization(0.1) if MAJOR < 3 else layers.GaussianNoise(0.2),
            layers.Flatten(),
            dense(2, kernel_regularizer="l2", bias_constraint="max_norm"),
        ),
    )

    add("pool_mean", lambda: numbers(lstm(4, return_sequences=True), layers.GlobalAveragePooling1D(), dense(2)))
    add("pool_max", lambda: numbers(lstm(4, return_sequences=True), layers.GlobalMaxPooling1D(), dense(2)))

    # Masks.
    def masking(value: float = 0.0) -> Any:
        return layers.Masking(mask_value=value)

    add("mask", lambda: numbers(masking(), lstm(4), dense(2)), 0.0)
    add("mask_value", lambda: numbers(masking(-1.1), lstm(4), dense(2)), -1.1)
    add("mask_sequences", lambda: numbers(masking(), lstm(4, return_sequences=True)), 0.0)
    add("mask_dense", lambda: numbers(masking(), dense(4, activation="tanh"), lstm(4, return_sequences=True)), 0.0)
    add("mask_steps", lambda: numbers(masking(2.0), lstm(4, return_sequences=True), dense(2, activation="relu")), 2.0)
    add("mask_both", lambda: numbers(masking(), both(lstm(4)), dense(2)), 0.0)
    for merge in ("concat", "sum", "mul", "ave"):
        add(
            f"mask_both_{merge}_sequences",
            lambda merge=merge: numbers(masking(), both(lstm(4, return_sequences=True), merge_mode=merge), dense(2)),
            0.0,
        )
    add(
        "mask_stacked",
        lambda: numbers(
            masking(),
            lstm(4, return_sequences=True),
            layers.Dropout(0.5),
            both(lstm(3, return_sequences=True)),
            layers.TimeDistributed(dense(3)),
            lstm(4, return_sequences=True),
            dense(2),
        ),
        0.0,
    )
    add("mask_backwards", lambda: numbers(masking(), lstm(4, go_backwards=True), dense(2)), 0.0)
    add("mask_late", lambda: numbers(dense(3, use_bias=False, activation="relu"), masking(), lstm(4)), 0.0)
    add("mask_twice", lambda: numbers(masking(2.0), layers.ReLU(), masking(), lstm(4, return_sequences=True)), 2.0)
    add("mask_alone", lambda: numbers(masking(), dense(3)), 0.0)
    add(
        "mask_pool_mean",
        lambda: numbers(masking(), lstm(4, return_sequences=True), layers.GlobalAveragePooling1D()),
        0.0,
    )
    add("mask_zero", lambda: words(lstm(4), dense(2), mask_zero=True), 0.0)
    add("mask_zero_sequences", lambda: words(lstm(4, return_sequences=True), dense(2), mask_zero=True), 0.0)
    add("mask_zero_both", lambda: words(both(lstm(4, return_sequences=True)), lstm(3), mask_zero=True), 0.0)

    # Functional models.
    add("functional", lambda: chain(lstm(4, return_sequences=True), layers.Dropout(0.5), lstm(3), dense(2)))
    add("functional_both", lambda: chain(both(lstm(4), merge_mode="sum"), dense(2, activation="sigmoid")))
    add("functional_mask", lambda: chain(masking(), lstm(4, return_sequences=True), both(lstm(3)), dense(2)), 0.0)
    add(
        "functional_mask_zero",
        lambda: chain(layers.Embedding(TOKENS, 3, mask_zero=True), lstm(4, return_sequences=True), dense(2), ids=True),
        0.0,
    )

    # Other dtypes.
    def wide() -> Any:
        return keras.Sequential(
            [
                layers.Input(shape=(TIME, FEATURES), dtype="float64"),
                lstm(4, dtype="float64"),
                dense(2, dtype="float64"),
            ]
        )

    add("float64", wide)

    # Encoders and decoders. (They are the last to be added, because the seeds of the others are their places.)
    add(
        "repeat",
        lambda: numbers(
            lstm(4), layers.RepeatVector(5), lstm(3, return_sequences=True), layers.TimeDistributed(dense(2))
        ),
    )
    add(
        "repeat_mask",
        lambda: numbers(
            masking(), both(lstm(4)), dense(3), layers.RepeatVector(4), both(lstm(2, return_sequences=True)), dense(2)
        ),
        0.0,
    )
    add(
        "repeat_tokens",
        lambda: words(lstm(4), layers.RepeatVector(3), lstm(3, return_sequences=True), dense(TOKENS), mask_zero=True),
        0.0,
    )
    add(
        "repeat_functional",
        lambda: chain(
            lstm(4, return_sequences=True),
            lstm(3),
            layers.RepeatVector(TIME),
            lstm(3, return_sequences=True),
            layers.Dropout(0.5),
            layers.TimeDistributed(dense(FEATURES)),
        ),
    )
    add("repeat_last", lambda: numbers(lstm(4), layers.RepeatVector(2), lstm(3), dense(2)))

    # Convolutions.
    conv = layers.Conv1D
    add("conv", lambda: numbers(conv(5, 3, activation="relu"), lstm(4)))
    add("conv_same", lambda: numbers(conv(4, 4, strides=2, padding="same"), lstm(4), dense(2)))
    add("conv_causal", lambda: numbers(conv(6, 2, dilation_rate=3, padding="causal", use_bias=False), lstm(4)))
    add(
        "conv_sequences",
        lambda: numbers(conv(6, 3, groups=3, padding="same"), lstm(4, return_sequences=True), dense(2)),
    )
    add(
        "conv_inside",
        lambda: numbers(
            lstm(6, return_sequences=True), conv(4, 3, activation="elu"), layers.GlobalMaxPooling1D(), dense(2)
        ),
    )
    add("conv_words", lambda: words(conv(4, 3, padding="same", activation="tanh"), both(lstm(3)), dense(1)))
    return made


ALSO_H5 = ("stacked", "both_concat", "both_ave_sequences", "embedding", "mask_zero", "training_only", "functional")
ALSO_H5 += ("gate_hard_sigmoid", "mask_stacked", "no_bias", "activation_layers", "functional_mask", "time_distributed")
ALSO_H5 += ("backwards_sequences", "stateful", "dropout", "repeat", "repeat_functional", "conv_same")


def write(name: str, model: Any, x: np.ndarray, rng: np.random.Generator, folder: Path) -> None:
    """Write the files of one model."""
    for variable in model.weights:
        dtype = variable.numpy().dtype
        if dtype.kind == "f":  # the others are states of random generators
            variable.assign(rng.normal(0, 0.5, tuple(variable.shape)).astype(dtype))
    y = np.asarray(model.predict(x, verbose=0, batch_size=len(x)))
    assert np.isfinite(y).all(), name
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states() if MAJOR < 3 else layer.reset_state()
    np.savez_compressed(folder / f"{name}.npz", x=x, y=y)
    model.save(folder / f"{name}.keras")
    if name in ALSO_H5:
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
        (folder / f"{name}.json").write_text(model.to_json())
        if MAJOR < 3:
            model.save_weights(folder / f"{name}.old.h5", save_format="h5")


def main() -> None:
    target = Path(__file__).parent / f"keras{MAJOR}.zip"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, (name, (build, masked)) in enumerate(models().items()):
            rng = np.random.default_rng(k)
            if hasattr(keras.utils, "set_random_seed"):
                keras.utils.set_random_seed(k)
            keras.backend.clear_session()
            model = build()
            ids = len(model.input_shape) == 2
            x = tokens(rng) if ids else series(rng, masked)
            if name == "mask_pool_mean":
                x = x[:-1]  # Keras has no mean of zero steps
            write(name, model, x, rng, folder)
            print(name, file=sys.stderr)
        files = sorted(folder.iterdir())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                # A fixed date: the same models give the same archive as far as Keras allows.
                archive.writestr(
                    zipfile.ZipInfo(file.name, (2026, 1, 1, 0, 0, 0)), file.read_bytes(), zipfile.ZIP_DEFLATED
                )
        print(f"{target.name}: {len(files)} files, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
