"""`forget_bias="chrono"`: the distribution of the biases, where their range of times comes from, files and copies."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

H = 4000


def biases(model: fl.Model, suffix: str = "_l0", layer: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of both biases, (gates, H), and bias_hh alone."""
    p = model.parameters()
    ih, hh = (p[f"{layer}.bias_{name}{suffix}"].astype("f8") for name in ("ih", "hh"))
    hidden = model.layers[layer].hidden_size  # type: ignore[attr-defined]
    return (ih + hh).reshape(-1, hidden), hh.reshape(-1, hidden)


def made(steps: Any = ("chrono", 784), hidden: int = H, **options: Any) -> fl.Model:
    return fl.Model([fl.LSTM(hidden, forget_bias=steps, **options)], input_size=1, seed=5)


def check_uniform(u: np.ndarray, low: float, high: float) -> None:
    """Kolmogorov and Smirnov's distance of n draws exceeds 2 / sqrt(n) once in 1500 times; the seed is fixed."""
    assert low * (1 - 1e-6) <= u.min() and u.max() <= high * (1 + 1e-6)
    ranks = (np.sort(u) - low) / (high - low)
    assert np.abs(ranks - (np.arange(len(u)) + 0.5) / len(u)).max() < 2 / np.sqrt(len(u))


def test_forget_biases_are_logarithms_of_uniform_times_and_input_biases_their_negatives() -> None:
    (b_i, b_f, b_g, b_o), hh = biases(made())
    check_uniform(np.exp(b_f), 1, 783)
    np.testing.assert_array_equal(b_i, -b_f)
    np.testing.assert_array_equal(hh[:2], 0)
    bound = 2 / np.sqrt(H)  # the others are drawn as ever
    assert 0 < np.abs(b_g).max() < bound and 0 < np.abs(b_o).max() < bound


@pytest.mark.parametrize(
    "options",
    [{"layer_norm": True}, {"peepholes": True}, {"proj_size": 3}, {"learn_state": True, "gate_clip": 9.0}],
    ids=lambda options: next(iter(options)),
)
def test_other_cells(options: dict[str, Any]) -> None:
    model = made(**options)
    (b_i, b_f, _, _), hh = biases(model)
    check_uniform(np.exp(b_f), 1, 783)
    np.testing.assert_array_equal(b_i, -b_f)
    np.testing.assert_array_equal(hh[:2], 0)
    assert np.isfinite(model.predict(np.ones((1, 3, 1)))).all()


def test_coupled_gates_get_the_biases_of_the_input_gate() -> None:
    """The forget gate is 1 - sigmoid(b_i) = sigmoid(-b_i), so that -b_i has the distribution of forget biases."""
    (b_i, b_g, _), hh = biases(made(coupled=True))
    check_uniform(np.exp(-b_i), 1, 783)
    np.testing.assert_array_equal(hh[0], 0)
    assert np.abs(b_g).max() < 2 / np.sqrt(H)


def test_layers_and_directions_have_draws_of_their_own_from_the_seed() -> None:
    model = made(hidden=5, num_layers=2, bidirectional=True)
    found = [biases(model, suffix)[0][1] for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse")]
    assert len({one.tobytes() for one in found}) == 4
    np.testing.assert_array_equal(
        model.flat_parameters, made(hidden=5, num_layers=2, bidirectional=True).flat_parameters
    )
    other = fl.Model([fl.LSTM(5, forget_bias=("chrono", 784))], input_size=1, seed=6)
    assert not np.array_equal(biases(other)[0][1], biases(made(hidden=5))[0][1])


def test_two_steps_are_the_least() -> None:
    (b_i, b_f, _, _), _ = biases(made(("chrono", 2), hidden=8))
    assert not b_i.any() and not b_f.any()  # log(1)


# ------------------------------------------------------------------ the longest series


def series(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((n, 2)) for n in lengths]


@pytest.mark.parametrize("form", ["list", "array", "lengths"])
def test_the_longest_series_of_fit(form: str) -> None:
    X, lengths = series(3, 9, 5), None
    longest = 9
    if form != "list":
        padded = np.zeros((3, 12, 2))
        for row, one in zip(padded, X, strict=True):
            row[: len(one)] = one
        X, lengths, longest = padded, ([3, 9, 5] if form == "lengths" else None), (9 if form == "lengths" else 12)
    model = fl.Model([fl.LSTM(7, forget_bias="chrono"), fl.Dense(1)], seed=2)
    assert model.layers[0].get_config()["forget_bias"] == "chrono"
    model.fit(X, [0.0, 1.0, 2.0], lengths=lengths, loss="mse", optimizer=fl.SGD(1e-30), epochs=1, verbose=0)
    given = fl.Model([fl.LSTM(7, forget_bias=("chrono", longest)), fl.Dense(1)], input_size=2, seed=2)
    np.testing.assert_allclose(model.flat_parameters, given.flat_parameters, rtol=0, atol=1e-20)  # one update of SGD
    assert model.layers[0].get_config()["forget_bias"] == ["chrono", longest]
    assert json.loads(json.dumps(model.get_config())) == model.get_config()
    model.summary()  # connects the layers anew
    assert repr(model.layers[0]) == f"LSTM(hidden_size=7, forget_bias=['chrono', {longest}])"


def test_a_decoder_takes_its_own_steps() -> None:
    def layers(encoder: Any, decoder: Any) -> list[Any]:
        last = fl.LSTM(6, forget_bias=decoder, return_sequences=True)
        return [fl.LSTM(5, forget_bias=encoder), fl.RepeatVector(20), fl.Dense(4), last]

    model = fl.Model(layers(("chrono", 9), "chrono"), input_size=2)
    given = fl.Model(layers(("chrono", 9), ("chrono", 20)), input_size=2)
    np.testing.assert_array_equal(model.flat_parameters, given.flat_parameters)
    both = fl.Model(layers("chrono", "chrono"))
    both.fit(series(3, 9), np.zeros((2, 20, 6)), loss="mse", optimizer=fl.SGD(1e-30), epochs=1, verbose=0)
    np.testing.assert_allclose(both.flat_parameters, given.flat_parameters, rtol=0, atol=1e-20)  # one update of SGD


def test_models_that_are_built_before_fit_are_refused() -> None:
    message = r"layer {}: forget_bias='chrono' takes the longest series from the X of fit.*=\('chrono', 784\)"
    with pytest.raises(ValueError, match=message.format(0)):
        fl.Model([fl.LSTM(3, forget_bias="chrono")], input_size=2)
    with pytest.raises(ValueError, match=message.format(1)):
        fl.Model([fl.Embedding(5, 2), fl.LSTM(3, forget_bias="chrono")])
    model = fl.Model([fl.LSTM(3, forget_bias="chrono"), fl.Dense(1)])
    X = np.ones((2, 4, 2))
    with pytest.raises(ValueError, match=message.format(0)):
        model.build(2)
    with pytest.raises(ValueError, match=message.format(0)):
        model.forward(X)  # a batch need not have the longest series
    assert not model.built
    model.fit(X, [0.0, 1.0], loss="mse", epochs=1, verbose=0)  # nothing stands in the way of it
    assert model.layers[0].get_config()["forget_bias"] == ["chrono", 4]


def test_a_refused_fit_leaves_no_trace() -> None:
    model = fl.Model([fl.LSTM(3, forget_bias="chrono"), fl.Dense(1)])
    with pytest.raises(ValueError, match="y has 3 cases, X has 2"):
        model.fit(np.ones((2, 9, 2)), np.zeros(3), loss="mse", verbose=0)
    assert not model.built and model.layers[0].get_config()["forget_bias"] == "chrono"
    model.fit(np.ones((2, 30, 2)), np.zeros(2), loss="mse", epochs=1, verbose=0)
    assert model.layers[0].get_config()["forget_bias"] == ["chrono", 30]


def test_series_of_one_step_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer 0: .*the longest series has 1 step: use a number"):
        fl.Model([fl.LSTM(3, forget_bias="chrono")]).fit(np.ones((2, 1, 2)), np.zeros((2, 3)), loss="mse", verbose=0)


@pytest.mark.parametrize(
    "value, error, message",
    [
        ("Chrono", ValueError, r"forget_bias must be a number, None, 'chrono' or a pair such as .*got 'Chrono'"),
        (("chrono",), ValueError, r"forget_bias must be a pair such as \('chrono', 784\), got"),
        (("chrone", 5), ValueError, r"forget_bias must be a pair such as \('chrono', 784\), got"),
        ((np.zeros((0, 2)), 5), ValueError, r"forget_bias must be a pair such as"),
        ([], ValueError, r"forget_bias must be a pair such as \('chrono', 784\), got \[\]"),
        (("chrono", 1), ValueError, "the number of steps in forget_bias must be at least 2, got 1"),
        (("chrono", 7.5), TypeError, r"the number of steps in forget_bias must be an integer, got 7\.5"),
        (float("nan"), ValueError, "forget_bias must be finite"),
        ({"chrono": 5}, TypeError, "forget_bias must be a number"),
    ],
)
def test_wrong_arguments(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fl.LSTM(3, forget_bias=value)


def test_without_biases_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"forget_bias=\['chrono', 9\] draws biases, and bias=False has none"):
        fl.LSTM(3, forget_bias=("chrono", 9), bias=False)


# ------------------------------------------------------------------ files, copies, resumed runs


def test_files_and_copies(tmp_path: Path) -> None:
    X, y = series(4, 8, 6), np.zeros(3)
    model = fl.Model([fl.LSTM(3, forget_bias="chrono"), fl.Dense(1)])
    model.fit(X, y, loss="mse", epochs=1, verbose=0)
    model.save(tmp_path / "m.safetensors")
    twins = [fl.load(tmp_path / "m.safetensors"), copy.copy(model), pickle.loads(pickle.dumps(model))]
    for twin in twins:
        assert twin.get_config()["layers"] == model.get_config()["layers"]
        np.testing.assert_array_equal(twin.flat_parameters, model.flat_parameters)
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    fresh = pickle.loads(pickle.dumps(fl.Model([fl.LSTM(3, forget_bias="chrono"), fl.Dense(1)])))
    fresh.fit(X, y, loss="mse", epochs=1, verbose=0)
    np.testing.assert_array_equal(fresh.flat_parameters, model.flat_parameters)
    assert model.to_torch_state_dict().keys() == fl.Model([fl.LSTM(3), fl.Dense(1)], input_size=2).state_dict().keys()


def test_a_run_is_resumed(tmp_path: Path) -> None:
    X, y = series(4, 8, 6), np.arange(3.0)

    def trained(epochs: int, resume: bool) -> fl.Model:
        model = fl.Model([fl.LSTM(3, forget_bias="chrono"), fl.Dense(1)])
        saved = fl.Checkpoint(tmp_path / "run.safetensors")
        model.fit(X, y, loss="mse", epochs=epochs, callbacks=[saved], resume=resume, verbose=0)
        return model

    straight = trained(4, False).flat_parameters.copy()
    trained(2, False)
    np.testing.assert_array_equal(trained(4, True).flat_parameters, straight)
