"""Write pairs3.zip and pairs2.zip: encoders and decoders with random weights, and what Keras computes with them.

Run it once with each Keras, as make.py says; the tests do not run it. An archive has for each model NAME.keras, NAME.h5
and NAME.npz with the input ``source``, the targets ``target`` and the output ``y``; of a half of such a model with its
input ``x``, the states that it is given and all its outputs. (pairs2.zip was written without the halves.)
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

layers = keras.layers
MAJOR = int(keras.__version__.split(".")[0])
BATCH, TIME, STEPS, WORDS, TOKENS = 3, 5, 4, 9, 7
BOS, EOS = 1, 0


def lstm(units: int, **options: Any) -> Any:
    return layers.LSTM(units, return_state=True, **options)


def words(mask_zero: bool = False) -> tuple[Any, Any]:
    ids = layers.Input(shape=(None,))
    return ids, layers.Embedding(WORDS, 5, mask_zero=mask_zero)(ids)


def given(mask_zero: bool = False) -> tuple[Any, Any]:
    ids = layers.Input(shape=(None,))
    return ids, layers.Embedding(TOKENS, 5, mask_zero=mask_zero)(ids)


def tutorial() -> Any:
    source = layers.Input(shape=(None, 6))
    _, h, c = lstm(8)(source)
    tokens = layers.Input(shape=(None, TOKENS))
    out, _, _ = lstm(8, return_sequences=True)(tokens, initial_state=[h, c])
    return keras.Model([source, tokens], layers.Dense(TOKENS, activation="softmax")(out))


def embedded() -> Any:
    (source, x), (tokens, y) = words(mask_zero=True), given(mask_zero=True)
    _, h, c = lstm(8)(x)
    y, _, _ = lstm(8, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model([source, tokens], layers.Dense(TOKENS)(y))


def two_layers() -> Any:
    (source, x), (tokens, y) = words(), given()
    x, h, c = lstm(8, return_sequences=True)(x)
    _, h2, c2 = lstm(6)(x)
    y = layers.LSTM(8, return_sequences=True)(y, initial_state=[h, c])
    y = layers.LSTM(6, return_sequences=True)(layers.Dropout(0.2)(y), initial_state=[h2, c2])
    return keras.Model([source, tokens], layers.Dense(TOKENS)(y))


def attention(context_first: bool, mask_zero: bool = False) -> Any:
    (source, x), (tokens, y) = words(mask_zero), given()
    x, fh, fc, bh, bc = layers.Bidirectional(lstm(4, return_sequences=True))(x)
    state = [layers.Concatenate()([fh, bh]), layers.Concatenate()([fc, bc])]
    y, _, _ = lstm(8, return_sequences=True)(y, initial_state=state)
    context = layers.Attention()([y, x])
    joined = layers.Concatenate()([context, y] if context_first else [y, context])
    out = layers.TimeDistributed(layers.Dense(TOKENS, activation="softmax"))(joined)
    return keras.Model([source, tokens], out)


def shuffled_states() -> Any:
    (source, x), (tokens, y) = words(), given()
    _, h, c = lstm(8)(x)
    y, _, _ = lstm(8, return_sequences=True)(y, initial_state=[c, h])
    return keras.Model([source, tokens], layers.Dense(TOKENS)(y))


def encoder_half() -> Any:
    source, x = words()
    x, h, c = lstm(8, return_sequences=True)(x)
    _, h2, c2 = lstm(6)(x)
    return keras.Model(source, [h, c, h2, c2])


def encoder_with_output() -> Any:
    source = layers.Input(shape=(None, 6))
    out, h, c = lstm(8, return_sequences=True)(source)
    return keras.Model(source, [out, h, c])


def decoder_half() -> Any:
    tokens, y = given(mask_zero=False)
    states = [layers.Input(shape=(size,)) for size in (8, 8, 6, 6)]
    y, h, c = lstm(8, return_sequences=True)(y, initial_state=states[:2])
    y, h2, c2 = lstm(6, return_sequences=True)(y, initial_state=states[2:])
    out = layers.Dense(TOKENS, activation="softmax")(y)
    return keras.Model([tokens, *states], [out, h, c, h2, c2])


HALVES = {"encoder_half": encoder_half, "encoder_with_output": encoder_with_output, "decoder_half": decoder_half}

MODELS = {
    "tutorial": tutorial,
    "embedded": embedded,
    "two_layers": two_layers,
    "attention": lambda: attention(False),
    "attention_context_first": lambda: attention(True),
    "attention_masked": lambda: attention(False, True),
    "shuffled_states": shuffled_states,
}


def main() -> None:
    """Write the archive of this Keras."""
    rng = np.random.default_rng(0)
    path = Path(__file__).with_name(f"pairs{MAJOR}.zip")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, build in MODELS.items():
            model = build()
            source: Any = rng.integers(1, WORDS, (BATCH, TIME))
            if name == "tutorial":
                source = rng.standard_normal((BATCH, TIME, 6)).astype(np.float32)
            elif name in ("embedded", "attention_masked"):
                source[1, 3:] = 0
            target = rng.integers(2, TOKENS, (BATCH, STEPS))
            ids = np.concatenate([np.full((BATCH, 1), BOS), target], axis=1)
            fed = np.eye(TOKENS, dtype=np.float32)[ids] if name == "tutorial" else ids
            y = np.asarray(model.predict([source, fed], verbose=0))
            for suffix in (".keras", ".h5"):
                file = Path(folder, name + suffix)
                model.save(file)
                archive.write(file, file.name)
            np.savez(Path(folder, f"{name}.npz"), source=source, target=target, y=y)
            archive.write(Path(folder, f"{name}.npz"), f"{name}.npz")
        for name, build in HALVES.items():
            model = build()
            x: Any = rng.integers(1, TOKENS, (BATCH, TIME))
            if name == "encoder_with_output":
                x = rng.standard_normal((BATCH, TIME, 6)).astype(np.float32)
            sizes = (8, 8, 6, 6) if name == "decoder_half" else ()
            states = [rng.standard_normal((BATCH, size)).astype(np.float32) for size in sizes]
            outputs = model.predict([x, *states] if states else x, verbose=0)
            for suffix in (".keras", ".h5"):
                file = Path(folder, name + suffix)
                model.save(file)
                archive.write(file, file.name)
            arrays = {f"state{k}": one for k, one in enumerate(states)}
            arrays.update({f"output{k}": np.asarray(one) for k, one in enumerate(outputs)})
            np.savez(Path(folder, f"{name}.npz"), x=x, **arrays)
            archive.write(Path(folder, f"{name}.npz"), f"{name}.npz")
    print(path, path.stat().st_size, sys.version)


if __name__ == "__main__":
    main()
