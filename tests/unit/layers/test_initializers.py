"""Initial weights: distribution, shape, independence of BLAS and other settings."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.layers.initializers import INITIALIZERS
from fastlstm.layers.orthogonal import orthonormal_rows

FAN_IN, HIDDEN = 60, 90

# Variance of an element for a gate's own (HIDDEN, FAN_IN) matrix.
VARIANCE = {
    "uniform": 1 / (3 * HIDDEN),
    "glorot_uniform": 2 / (FAN_IN + HIDDEN),
    "glorot_normal": 2 / (FAN_IN + HIDDEN),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "zeros": 0.0,
}


def weights(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    layers = [fl.LSTM(HIDDEN, weight_init=name, recurrent_init=name), fl.Dense(30, weight_init=name)]
    return fl.Model(layers, input_size=FAN_IN, dtype="float64", seed=seed).parameters()


@pytest.mark.parametrize("name", VARIANCE)
def test_spread(name: str) -> None:
    w = weights(name)["0.weight_ih_l0"]
    assert w.shape == (4 * HIDDEN, FAN_IN)
    for gate in np.split(w, 4):
        # The mean square of 5,400 independent numbers: its relative deviation is below 2 %, five of them are 10 %.
        assert np.square(gate).mean() == pytest.approx(VARIANCE[name], rel=0.1)
        assert abs(gate.mean()) <= 5 * math.sqrt(VARIANCE[name] / gate.size)
    assert len({gate.tobytes() for gate in np.split(w, 4)}) == (1 if name == "zeros" else 4)
    bound = math.sqrt(3 * VARIANCE[name])
    if name.endswith("uniform"):
        assert 0.99 * bound < np.abs(w).max() <= bound
    elif name.endswith("normal"):
        # Of 21,600 normal numbers some lie beyond 3 and none beyond 6 deviations.
        assert 3 < np.abs(w).max() / math.sqrt(VARIANCE[name]) < 6


def test_the_fans_of_a_dense_layer_are_its_own() -> None:
    for name, variance in (
        ("uniform", 1 / (3 * HIDDEN)),
        ("glorot_normal", 2 / (HIDDEN + 30)),
        ("he_uniform", 2 / HIDDEN),
    ):
        w = weights(name)["1.weight"]
        assert w.shape == (30, HIDDEN)
        assert np.square(w).mean() == pytest.approx(variance, rel=0.12)  # 2,700 numbers: five deviations


def test_orthogonal() -> None:
    """Each gate's matrix preserves the length of every vector (square, tall), or of those outside its kernel (wide)."""
    p = weights("orthogonal")
    for name, rows, columns in (("0.weight_ih_l0", HIDDEN, FAN_IN), ("0.weight_hh_l0", HIDDEN, HIDDEN)):
        for gate in np.split(p[name], 4):
            assert gate.shape == (rows, columns)
            np.testing.assert_allclose(gate.T @ gate, np.eye(columns), atol=1e-13)
    np.testing.assert_allclose(p["1.weight"] @ p["1.weight"].T, np.eye(30), atol=1e-13)
    first, second = np.split(p["0.weight_hh_l0"], 4)[:2]
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (5, 5), (32, 32), (33, 40), (64, 64), (65, 200)])
def test_orthonormal_rows_are_those_of_a_qr_factorization(n: int, m: int) -> None:
    for seed in range(20):
        rows = np.random.default_rng(seed).standard_normal((n, m))
        q, r = np.linalg.qr(rows.T)
        got = orthonormal_rows(rows)
        # 2e-16 and a little for each sum over m numbers; without the second pass it was 2e-13 at worst.
        np.testing.assert_allclose(got @ got.T, np.eye(n), atol=1e-14)
        # Rounding turns the last row by its relative error, which is proportional to 1 / the smallest of R's diagonal.
        sign = np.sign(np.diagonal(r))
        np.testing.assert_allclose(got, (q * sign).T, atol=1e-13 / np.abs(np.diagonal(r)).min())


def test_orthogonal_matrices_are_drawn_evenly() -> None:
    """Without the correction of LAPACK's signs the diagonal would hardly ever be positive."""
    diagonals = [
        np.diagonal(gate)
        for seed in range(50)
        for gate in np.split(
            fl.Model([fl.LSTM(4, recurrent_init="orthogonal")], input_size=1, seed=seed).parameters()["0.weight_hh_l0"],
            4,
        )
    ]
    # 800 numbers, even about 0, of variance 1/4: five deviations of their mean are 0.09, of the positive share 0.09.
    assert abs(np.mean(diagonals)) < 0.09
    assert abs((np.array(diagonals) > 0).mean() - 0.5) < 0.09


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_seed_fixes_the_numbers(name: str) -> None:
    one, again, other = weights(name, 5), weights(name, 5), weights(name, 6)
    for key in one:
        np.testing.assert_array_equal(one[key], again[key])
        assert key.endswith("weight_ih_l0") is False or name == "zeros" or (one[key] != other[key]).any()
    assert (one["0.bias_ih_l0"][HIDDEN : 2 * HIDDEN] == 1).all(), "biases have their own rule"


def test_the_two_matrices_have_names_of_their_own() -> None:
    model = fl.Model([fl.LSTM(6, num_layers=2, weight_init="zeros", recurrent_init="orthogonal")], input_size=3)
    p = model.parameters()
    assert not p["0.weight_ih_l0"].any() and not p["0.weight_ih_l1"].any()
    assert p["0.weight_hh_l0"].any() and p["0.weight_hh_l1"].any()
    with pytest.raises(ValueError, match="weight_init must be one of"):
        fl.Dense(3, weight_init="xavier")
    with pytest.raises(TypeError, match=r"got None: for other values .* model.parameters\(\)"):
        fl.Dense(3, weight_init=None)  # type: ignore[arg-type]
