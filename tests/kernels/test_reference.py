"""The reference itself: against values computed by hand, its gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, numerical_gradient, random_lstm, relative_error

from fastlstm import reference


def test_one_step_by_hand() -> None:
    """Compare with numbers computed from the equations with math.exp and math.tanh, one at a time."""
    x, w_i, w_f, w_g, w_o, u_i, u_f, u_g, u_o = 0.5, 0.1, -0.2, 0.3, 0.4, 0.5, 0.6, -0.7, 0.8
    h0, c0 = 0.25, -1.5
    i, f, o = (1 / (1 + math.exp(-(w * x + u * h0 + 0.1))) for w, u in ((w_i, u_i), (w_f, u_f), (w_o, u_o)))
    g = math.tanh(w_g * x + u_g * h0 + 0.1)
    c = f * c0 + i * g
    h = o * math.tanh(c)
    y, hn, cn, _ = reference.lstm_forward(
        np.array([[[x]]]),
        np.array([[w_i], [w_f], [w_g], [w_o]]),
        np.array([[u_i], [u_f], [u_g], [u_o]]),
        np.full(4, 0.03),
        np.full(4, 0.07),
        h0=np.array([[h0]]),
        c0=np.array([[c0]]),
    )
    # Equal up to the last bit: NumPy's tanh and exp are not the C library's.
    assert y[0, 0, 0] == pytest.approx(h, rel=1e-15)
    assert hn[0, 0] == y[0, 0, 0]
    assert cn[0, 0] == pytest.approx(c, rel=1e-15)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_lstm_gradients(reverse: bool, lengths: list[int] | None) -> None:
    p = random_lstm(np.random.default_rng(1), 3, 4, 2, 3)
    names = ["x", "weight_ih", "weight_hh", "bias_ih", "h0", "c0"]

    def run() -> tuple[np.ndarray, ...]:
        return reference.lstm_forward(
            *(p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")),
            lengths=None if lengths is None else np.array(lengths),
            h0=p["h0"],
            c0=p["c0"],
            reverse=reverse,
        )

    def loss() -> float:
        y, hn, cn, _ = run()
        return float((y * p["dy"]).sum() + (hn * p["dhn"]).sum() + (cn * p["dcn"]).sum())

    gradients = reference.lstm_backward(run()[3], p["dy"], p["dhn"], p["dcn"])
    for name in names:
        numerical = numerical_gradient(loss, p[name])
        assert relative_error(gradients[name.replace("bias_ih", "bias")], numerical) <= FINITE_DIFFERENCE, name


def test_reverse_is_forward_over_flipped_series() -> None:
    p = random_lstm(np.random.default_rng(2), 2, 5, 3, 4)
    weights = [p[k] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y, hn, cn, _ = reference.lstm_forward(p["x"], *weights, reverse=True)
    flipped, fhn, fcn, _ = reference.lstm_forward(p["x"][:, ::-1], *weights)
    np.testing.assert_array_equal(y, flipped[:, ::-1])
    np.testing.assert_array_equal(hn, fhn)
    np.testing.assert_array_equal(cn, fcn)


def test_a_short_row_equals_the_row_alone() -> None:
    p = random_lstm(np.random.default_rng(3), 2, 6, 3, 4)
    weights = [p[k] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y, hn, _, _ = reference.lstm_forward(p["x"], *weights, lengths=np.array([6, 2]), reverse=True)
    alone, hn_alone, _, _ = reference.lstm_forward(p["x"][1:, :2], *weights, reverse=True)
    # Matrix products of other shapes may add in another order.
    np.testing.assert_allclose(y[1, :2], alone[0], rtol=1e-13)
    np.testing.assert_allclose(hn[1], hn_alone[0], rtol=1e-13)
    assert (y[1, 2:] == 0).all()


def test_sigmoid_at_the_ends() -> None:
    np.testing.assert_array_equal(reference.sigmoid(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])
    assert reference.sigmoid(np.array(-700.0)) == pytest.approx(math.exp(-700), rel=1e-14)


def test_philox_known_answers() -> None:
    """Compare with the authors' test vectors (Random123, kat_vectors, philox4x32 10)."""
    assert [hex(w) for w in reference.philox4x32(0, np.array([0]))[0]] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]


def test_dense_and_cross_entropy_gradients() -> None:
    rng = np.random.default_rng(4)
    x, w, b = rng.standard_normal((3, 2, 5)), rng.standard_normal((4, 5)), rng.standard_normal(4)
    labels, weights = np.array([0, 3, -100, 1, 2, 3]), rng.uniform(0, 2, 6)

    def loss() -> float:
        logits = reference.dense_forward(x, w, b).reshape(6, 4)
        return float(reference.softmax_cross_entropy(logits, labels, weights)[0].sum())

    logits = reference.dense_forward(x, w, b)
    d_logits = reference.softmax_cross_entropy(logits.reshape(6, 4), labels, weights)[1].reshape(3, 2, 4)
    gradients = reference.dense_backward(d_logits, x, w)
    for name, array in (("x", x), ("weight", w), ("bias", b)):
        assert relative_error(gradients[name], numerical_gradient(loss, array)) <= FINITE_DIFFERENCE, name
