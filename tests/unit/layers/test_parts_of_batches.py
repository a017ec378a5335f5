"""A part of a batch, computed alone with the number of its first row, draws the random numbers of the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.layers import Layer

ROWS, TIME = 9, 12
SEQUENCE = {"return_sequences": True}
LAYERS: dict[str, Callable[[], list[Layer]]] = {
    "dropout": lambda: [fl.Dropout(0.4)],
    "dropout per series": lambda: [fl.Dropout(0.4, per_series=True)],
    "noise": lambda: [fl.GaussianNoise(0.5)],
    "random start": lambda: [fl.StackSteps(4, random_start=True), fl.LSTM(3)],
    "dropout between layers": lambda: [fl.LSTM(5, num_layers=3, dropout=0.4, **SEQUENCE)],
    "input dropout": lambda: [fl.LSTM(5, num_layers=2, input_dropout=0.4, **SEQUENCE)],
    "recurrent dropout": lambda: [fl.LSTM(5, recurrent_dropout=0.4, bidirectional=True, **SEQUENCE)],
    "variational dropout": lambda: [fl.LSTM(19, variational_dropout=0.4)],
    "zoneout": lambda: [fl.LSTM(19, zoneout_h=0.3, zoneout_c=0.4, proj_size=5, **SEQUENCE), fl.Dropout(0.2)],
    # Without lengths: the steps of a batch are numbered without those that are not computed.
    "within steps": lambda: [fl.TimeDistributed([fl.Dropout(0.4), fl.LSTM(3, zoneout_h=0.4)], steps=2)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "in_lengths"),
    [
        *((name, lengths) for name in LAYERS if name != "within steps" for lengths in (False, True)),
        ("within steps", False),
    ],
)
def test_a_part_draws_what_the_whole_does(name: str, in_lengths: bool, dtype: str) -> None:
    rng = np.random.default_rng(4)
    model = fl.Model(LAYERS[name](), input_size=6, dtype=dtype, seed=2)
    network = model.network
    x: np.ndarray = rng.standard_normal((ROWS, TIME, 6)).astype(dtype)
    lengths = rng.integers(1, TIME + 1, ROWS) if in_lengths else None

    def run(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        of_part = None if lengths is None else lengths[begin:end]
        out = network.forward(x[begin:end].copy(), of_part, True, 1, first_row=begin).copy()
        dx = network.backward(np.ones_like(out), need_dx=True)
        assert dx is not None
        dx = dx.copy()
        if of_part is not None:  # steps beyond the lengths are unspecified
            padding = np.arange(TIME) >= of_part[:, None]
            dx[padding] = 0
            if out.ndim == 3:
                out[padding] = 0
        network.passes = passes  # the random numbers of one training pass
        return out, dx

    passes = network.passes
    out, dx = run(0, ROWS)
    for begin, end in ((0, 4), (4, 5), (5, ROWS)):
        part, d_part = run(begin, end)
        np.testing.assert_array_equal(part, out[begin:end])
        np.testing.assert_array_equal(d_part, dx[begin:end])
    other = network.forward(x[4:6].copy(), None if lengths is None else lengths[4:6], True, 1)
    assert not np.array_equal(other, out[4:6])
