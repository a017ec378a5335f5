"""Train, predict, stream, save and load a little, so that each kernel runs; for .ci/valgrind."""

from __future__ import annotations

import os
import tempfile

import numpy as np

import fastlstm as fl

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 7, 3))
LENGTHS = np.array([7, 2, 5])
last = {"return_sequences": True}
STACKS = [
    ([fl.LSTM(9, num_layers=2, dropout=0.2, residual=True), fl.Dense(2)], {}),
    ([fl.LSTM(5, bidirectional=True, **last), fl.AttentionPool(3), fl.Dense(2)], {"dtype": "float64"}),
    ([fl.LSTM(5, proj_size=3, peepholes=True, layer_norm=True, zoneout_h=0.1, **last), fl.MaxPool(), fl.Dense(2)], {}),
    ([fl.LSTM(17, coupled=True, gate_activation="hard_sigmoid", reverse=True), fl.Dense(2)], {"dtype": "float64"}),
]
optimizers = [fl.Adam(clip_norm=1.0), fl.SGD(0.1, momentum=0.9), fl.RMSprop(0.01), fl.AdamW()]
with tempfile.TemporaryDirectory() as folder:
    for number, (layers, options) in enumerate(STACKS):
        model = fl.Model(layers, scaler=fl.Standardizer(), **options)
        how = {"n_threads": 1 + number % 2, "recompute_every": (None, 3)[number % 2], "optimizer": optimizers[number]}
        model.fit(X, [0, 1, 0], lengths=LENGTHS, epochs=1, batch_size=2, verbose=0, **how)
        path = os.path.join(folder, "model.safetensors")
        model.save(path)
        loaded = fl.load(path).freeze()
        expected = model.predict(X, LENGTHS)
        assert (loaded.predict(X, LENGTHS) == expected).all()
        model.evaluate(X, [0, 1, 0])
        if number in (0, 2):
            stream = loaded.stream(3)
            stream.run(X[:, :4])
            stream.step(X[:, 5])
tokens = fl.Model([fl.Embedding(5, 4, mask_token=0), fl.LSTM(6, **last), fl.Dense(5)])
tokens.fit(rng.integers(0, 5, (3, 6)), rng.integers(0, 5, (3, 6)), epochs=1, verbose=0, tbptt_steps=4)
fl.generate(fl.Model([fl.Embedding(5, 4), fl.LSTM(6, **last), fl.Dense(5)]), [1, 2], 3)
ctc = fl.Model([fl.LSTM(6, **last), fl.Dense(4)])
ctc.fit(X, [[1, 2], [1], []], lengths=LENGTHS, loss="ctc", epochs=1, verbose=0)
fl.ctc_decode(ctc.predict(X), LENGTHS, beam_width=3)
print("all done")
