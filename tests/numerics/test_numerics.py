"""Numerical edge cases: long series, extreme weights and inputs, saturation, NaN; how exact the results are.

What is promised, with u half the distance from 1 to the next number (6.0e-8 in float32, 1.1e-16 in float64):

*   sigmoid and tanh are within 3 units in the last place, monotone, NaN for NaN, exact at saturation:
    csrc/tests/exhaustive.c checks that over all floats; here kernels and reference must agree at infinities and NaN,
    for every activation.
*   A sum of n products w x is off by at most (n + 2) u sum |w x|. So a gate that saturates in exact arithmetic
    saturates here, unless larger terms of both signs cancel in its net input.
*   Results are finite where every product and every partial sum is: up to 3.4e38 in float32, 1.8e308 in float64. A net
    input that overflows in one direction is an infinity, at which the gates saturate. If products overflow in both
    directions the result is NaN (infinity minus infinity), or with fused multiply-adds one of the infinities; a NaN
    shows in everything that is computed from it, and in no other row of the batch.
*   Numbers below 1.2e-38 in float32, 2.2e-308 in float64, count as 0.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from helpers import TOLERANCE, random_lstm, relative_error
from test_cells import CELLS, Case, sized
from test_kernels import cast, run_kernel, run_reference

import fastlstm as fl
from fastlstm import _core, reference
from fastlstm.activations import KINDS, Activation

Array = np.ndarray[Any, Any]

DTYPES = ["float32", "float64"]
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
LARGE = {"float32": 1e30, "float64": 1e300}
SATURATED = {"float32": 100.0, "float64": 800.0}  # exp(-x) is below the smallest normal number

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def off(got: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest expected element, however small that is."""
    assert np.isfinite(got).all()
    most = np.abs(expected).max(initial=0.0)
    return float(np.abs(got - expected).max(initial=0.0) / most) if most else float(np.abs(got).max(initial=0.0))


# ---------------------------------------------------------------------------------------------------- activations


def activated(function: Activation, x: Array) -> tuple[Array, Array]:
    """Return values and derivatives by the kernel."""
    y, slope = np.empty_like(x), np.empty_like(x)
    _core.activation(function.number, function.alpha, function.beta, x, y)
    _core.activation_backward(function.number, function.alpha, function.beta, x, y, np.ones_like(x), slope)
    return y, slope


@each_dtype
@pytest.mark.parametrize("name", KINDS)
def test_nan_gives_nan_and_infinity_the_limit(isa: str, name: str, dtype: str) -> None:
    function = Activation(name, *KINDS[name])
    ordinary = np.linspace(-3, 3, 37).astype(dtype)  # in every lane of a vector, and next to ordinary values
    expected = function(ordinary), function.derivative(ordinary)
    for place in range(len(ordinary)):
        x = ordinary.copy()
        x[place] = np.nan
        others = np.arange(len(x)) != place
        for got, wanted, of_reference in zip(
            activated(function, x), expected, (function(x), function.derivative(x)), strict=True
        ):
            is_constant = name == "affine" and wanted is expected[1]
            assert np.isnan(got[place]) != is_constant
            assert np.isnan(of_reference[place]) != is_constant
            np.testing.assert_allclose(got[others], wanted[others], rtol=20 * UNIT[dtype], atol=4 * UNIT[dtype])
    ends = np.array([np.inf, -np.inf, np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    with np.errstate(over="ignore"):
        wanted, slopes = function(ends), function.derivative(ends)
    got, got_slopes = activated(function, ends)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(got_slopes, np.where(np.abs(slopes) < np.finfo(dtype).tiny, 0, slopes))


CLIPPED = ["gate clip", "cell clip", "output clip", "all", "peepholes", "layer norm"]


@each_dtype
@pytest.mark.parametrize("name", CLIPPED)
def test_clipping_hides_no_nan_and_rows_do_not_meet(isa: str, name: str, dtype: str) -> None:
    case = sized(name, {"batch": 3, "time": 4, "inputs": 2, "hidden": 5}, dtype=dtype, lengths=False)
    clean = case.kernel()
    case.x[1, 2, 0] = np.nan
    with np.errstate(invalid="ignore"):
        expected = case.reference()
    got = case.kernel()
    for a, b, before in zip(got[:3], expected[:3], clean[:3], strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(a[[0, 2]], before[[0, 2]])
    assert np.isnan(got[0][1, 2:]).any()
    assert np.isnan(got[3]["x"][1]).any()
    assert np.isfinite(got[3]["x"][[0, 2]]).all()


@each_dtype
def test_exactly_one_where_tanh_rounds_to_it(isa: str, dtype: str) -> None:
    """tanh is 1 where 1 - tanh(x) = 2 / (exp(2 x) + 1) is less than half the distance to the number before 1."""
    edge = dict(float32=13, float64=27.5)[dtype] * math.log(2)
    x = np.full(4000, edge, dtype)
    x += np.arange(-2000, 2000) * np.spacing(x[0])
    y = activated(fl_activation("tanh"), x)[0]
    half = Decimal(UNIT[dtype]) / 2
    with localcontext() as context:
        context.prec = 50
        for k in (*range(0, 4000, 97), *range(1985, 2015)):
            rest = 2 / ((2 * Decimal(float(x[k]))).exp() + 1)
            if rest < half:
                assert y[k] == 1
            assert abs(Decimal(float(y[k])) - (1 - rest)) <= 2 * half  # one unit in the last place
    assert (y <= 1).all()


def fl_activation(name: str) -> Activation:
    return Activation(name, *KINDS[name])


# ---------------------------------------------------------------------------------------------------- long series

# With weights of 1 / sqrt(hidden) the cell forgets: an error of one step fades in the next steps, so that 100,000 steps
# are as exact as 100. The gradient of a weight is a sum over all steps of terms of both signs: n terms add up to about
# sqrt(n), their n rounding errors, of sqrt(n) u each, to about n u. Relative to the gradient that is sqrt(n) u; four
# times that is allowed.


def long_problem(steps: int) -> dict[str, Array]:
    return random_lstm(np.random.default_rng(8), 2, steps, 2, 5)


def check_long(dtype: str, got: dict[str, Array], expected: dict[str, Array], steps: int) -> None:
    for name, array in expected.items():
        is_sum = name.startswith(("dweight", "dbias"))
        allowed = max(TOLERANCE[dtype], 4 * math.sqrt(steps) * UNIT[dtype]) if is_sum else TOLERANCE[dtype]
        assert off(got[name], array) <= allowed, name


@pytest.fixture(scope="module")
def long_reference() -> tuple[dict[str, Array], dict[str, Array]]:
    """Compute the reference in float64, from numbers that float32 holds exactly."""
    p = cast(cast(long_problem(10_000), "float32"), "float64")
    return p, run_reference(p)


@each_dtype
def test_ten_thousand_steps(isa: str, dtype: str, long_reference: tuple[dict[str, Array], dict[str, Array]]) -> None:
    p, expected = long_reference
    check_long(dtype, run_kernel(cast(p, dtype)), expected, 10_000)


def test_a_hundred_thousand_steps_in_both_precisions(isa: str) -> None:
    p = cast(long_problem(100_000), "float32")
    check_long("float32", run_kernel(p), run_kernel(cast(p, "float64")), 100_000)


@pytest.mark.nightly
def test_a_hundred_thousand_steps() -> None:
    p = cast(cast(long_problem(100_000), "float32"), "float64")
    expected = run_reference(p)
    before = _core.isa()
    for isa in _core.available_isas():
        _core.set_isa(isa)
        for dtype in DTYPES:
            check_long(dtype, run_kernel(cast(p, dtype)), expected, 100_000)
    _core.set_isa(before)


@each_dtype
@pytest.mark.parametrize("net", [30.0, 10.0, 3.0, -10.0, -200.0])
def test_a_constant_forget_gate(isa: str, dtype: str, net: float) -> None:
    """Over 100,000 steps c_t = f^t c_0 + i g (1 - f^t) / (1 - f), which is i g t where f is 1.

    Each step rounds once, u, and f itself is off by at most 2 units in the last place (exhaustive.c), which near 1 are
    2 u. The cell remembers T = min(t, 1 / (1 - f)) steps, which gives 3 T u; i g adds 12 u. The rounding is the same in
    every step while c hardly changes, so the errors do not cancel.
    """
    steps, hidden = 100_000, 3
    x = np.ones((1, steps, 1), dtype)
    bias = np.repeat([0.5, net, 0.25, 0.0], hidden).astype(dtype)
    zeros = np.zeros((4 * hidden, hidden), dtype)
    c0, h0 = np.full((1, hidden), 2.0, dtype), np.zeros((1, hidden), dtype)
    y, cn = np.empty((1, steps, hidden), dtype), np.empty_like(c0)
    weight_ih = np.ascontiguousarray(zeros[:, :1])
    _core.LSTMPass().forward(x, weight_ih, zeros, bias, np.zeros_like(bias), h0=h0, c0=c0, y=y, cn=cn)
    one_less = 1 / (1 + math.exp(net)) if net < 500 else 0.0  # 1 - f
    added = math.tanh(0.25) / (1 + math.exp(-0.5))
    if dtype == "float32" and net == 30:
        one_less = 0.0  # f rounds to 1
    faded = -math.expm1(steps * math.log1p(-one_less)) if one_less < 1 else 1.0  # 1 - f^t
    expected = 2 * (1 - faded) + added * (faded / one_less if one_less else steps)
    reach = min(steps, 1 / one_less) if one_less else steps
    allowed = (3 * reach + 12) * UNIT[dtype]
    assert off(cn, np.full_like(cn, expected, np.float64)) <= allowed
    assert off(y[:, -1], np.full_like(cn, math.tanh(expected) / 2, np.float64)) <= allowed + 12 * UNIT[dtype]


# ---------------------------------------------------------------------------------------------------- extremes

SCALES = {
    "float32": [(1e-38, 1.0), (1e-30, 1e-30), (1e-20, 1e20), (1e20, 1e-20), (1e30, 1.0), (1e15, 1e15), (1.0, 1e36)],
    "float64": [(1e-300, 1.0), (1e-200, 1e-200), (1e-150, 1e150), (1e300, 1.0), (1e150, 1e150), (1.0, 1e300)],
}


@pytest.mark.parametrize("shape", [(1, 5, 3, 3), (7, 6, 4, 17)], ids=str)
@pytest.mark.parametrize(("dtype", "scales"), [(d, s) for d in DTYPES for s in SCALES[d]], ids=str)
def test_extreme_weights_and_inputs(
    isa: str, dtype: str, scales: tuple[float, float], shape: tuple[int, int, int, int]
) -> None:
    """No product overflows: all results are finite and equal to those in float64, exactly saturated or not."""
    rng = np.random.default_rng(3)
    p = random_lstm(rng, *shape)
    p["weight_ih"] *= scales[0]
    p["weight_hh"] *= scales[0]
    p["x"] *= scales[1]
    p = cast(p, dtype)
    lengths = rng.integers(1, shape[1] + 1, shape[0])
    got, expected = run_kernel(p, lengths), run_reference(cast(p, "float64"), lengths)
    for name, array in expected.items():
        assert np.isfinite(got[name]).all(), name
        if np.abs(array).max() > 1e-3:  # otherwise remainders of saturated gates, which differ by nature
            assert relative_error(got[name] / 1.0, array) <= TOLERANCE[dtype], name


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_net_inputs_beyond_the_largest_number(isa: str, dtype: str, sign: int) -> None:
    """At infinity the gates and g are 1 and c counts the steps, or all gates are 0. No gradient passes through."""
    batch, steps, inputs, hidden = 3, 9, 4, 5
    large = LARGE[dtype]
    p = random_lstm(np.random.default_rng(0), batch, steps, inputs, hidden)
    p["x"] = np.full((batch, steps, inputs), large)
    p["weight_ih"] = np.full((4 * hidden, inputs), sign * large)
    p["weight_hh"][...] = 0
    p["c0"][...] = 0
    got = run_kernel(cast(p, dtype))
    counted = np.arange(1, steps + 1) if sign > 0 else np.zeros(steps)
    np.testing.assert_array_equal(got["cn"], np.full((batch, hidden), counted[-1]))
    wanted = np.broadcast_to(np.tanh(counted)[:, None], (batch, steps, hidden))
    np.testing.assert_allclose(got["y"], wanted, rtol=10 * UNIT[dtype])
    for name in ("dx", "dweight_ih", "dweight_hh", "dbias_ih", "dh0"):
        np.testing.assert_array_equal(got[name], np.zeros_like(got[name]), err_msg=name)
    assert np.isfinite(got["dc0"]).all()


@each_dtype
def test_infinity_minus_infinity(isa: str, dtype: str) -> None:
    """Two products that overflow with opposite signs give NaN, or with fused multiply-adds the first infinity.

    Other rows and earlier steps are not affected.
    """
    p = random_lstm(np.random.default_rng(0), 3, 6, 2, 5)
    p["weight_ih"][:, 0], p["weight_ih"][:, 1] = LARGE[dtype], -LARGE[dtype]
    p["x"] /= LARGE[dtype]
    p = cast(p, dtype)
    clean = run_kernel(p)
    p["x"][1, 3] = LARGE[dtype]
    got = run_kernel(p)
    late = np.abs(got["y"][1, 3:])
    assert (np.isnan(late) | (late <= 1)).all()
    assert isa != "portable" or np.isnan(late).all()
    np.testing.assert_array_equal(got["y"][1, :3], clean["y"][1, :3])
    for name in ("y", "hn", "cn", "dx", "dh0", "dc0"):
        np.testing.assert_array_equal(got[name][[0, 2]], clean[name][[0, 2]], err_msg=name)


@each_dtype
def test_sums_of_products_of_any_size(isa: str, dtype: str) -> None:
    """The error is at most (n + 2) u sum |w x|, forward and backward, whatever cancels."""
    rng = np.random.default_rng(1)
    n, m, rows, decades = 40, 9, 7, math.log10(LARGE[dtype]) / 2.2
    x, weight, dy = (
        (rng.choice([-1, 1], s) * 10 ** rng.uniform(-decades, decades, s)).astype(dtype)
        for s in ((rows, n), (m, n), (rows, m))
    )
    weight[:, n // 2 :] = -weight[:, : n // 2]
    x[:, n // 2 :] = x[:, : n // 2]  # everything cancels
    workspace = _core.Workspace()
    y, dx, dw, db = np.empty((rows, m), dtype), np.empty_like(x), np.zeros_like(weight), np.zeros(m, dtype)
    _core.dense_forward(x, weight, None, y, workspace)
    _core.dense_backward(dy, x, weight, dx, dw, db, workspace)
    u = UNIT[dtype]

    def check(got: Array, a: Array, b: Array) -> None:
        exact, size = a.astype(np.longdouble) @ b, np.abs(a).astype(np.longdouble) @ np.abs(b)
        least = float(np.finfo(dtype).tiny) * a.shape[1]  # from terms that count as 0
        assert np.isfinite(got).all()
        assert (np.abs(got - exact) <= (a.shape[1] + 2) * u * size + least).all()

    check(y, x, weight.T)
    check(dx, dy, weight)
    check(dw, dy.T, x)
    check(db[:, None], dy.T, np.ones((rows, 1)))


@each_dtype
def test_all_zero(isa: str, dtype: str) -> None:
    """With all weights 0 the gates are 1/2, g is 0, and c halves exactly in every step."""
    p = random_lstm(np.random.default_rng(2), 3, 20, 2, 5)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0"):
        p[name][...] = 0
    p = cast(p, dtype)
    got = run_kernel(p)
    np.testing.assert_array_equal(got["cn"], p["c0"] / p["c0"].dtype.type(2**20))
    np.testing.assert_array_equal(got["dx"], np.zeros_like(got["dx"]))
    for name, array in run_reference(cast(p, "float64")).items():
        assert relative_error(got[name], array) <= TOLERANCE[dtype], name
    for name in ("c0", "x", "dy", "dhn", "dcn"):
        p[name][...] = 0
    for name, array in run_kernel(p).items():
        np.testing.assert_array_equal(array, np.zeros_like(array), err_msg=name)


@each_dtype
@pytest.mark.parametrize("gate", range(4))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_saturated_gate_has_no_gradient(isa: str, dtype: str, gate: int, sign: int) -> None:
    hidden = 5
    rows = slice(gate * hidden, (gate + 1) * hidden)
    p = random_lstm(np.random.default_rng(4), 3, 7, 2, hidden)
    p["bias_ih"][rows] += sign * SATURATED[dtype]
    p = cast(p, dtype)
    got, expected = run_kernel(p), run_reference(cast(p, "float64"))
    for name in ("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"):
        np.testing.assert_array_equal(got[name][rows], np.zeros_like(got[name][rows]), err_msg=name)
    for name, array in expected.items():
        assert relative_error(got[name], array) <= TOLERANCE[dtype], name


# ---------------------------------------------------------------------------------------------------- other cells

BOUNDED = [
    "projection", "peepholes", "coupled", "coupled, peepholes", "gate clip", "cell clip", "output clip", "layer norm",
    "layer norm, coupled", "zoneout", "zoneout of h, projection", "recurrent dropout", "variational dropout", "all",
]  # fmt: skip


def scaled(name: str, dtype: str, by: float, batch: int) -> Case:
    case = sized(name, {"batch": batch, "time": 5, "inputs": 3, "hidden": 9}, dtype=dtype)
    for key in ("weight_ih", "weight_hh"):
        case.weights[key] *= np.asarray(by, dtype)
    if "peepholes" in case.cell_weights:
        case.cell_weights["peepholes"] *= np.asarray(by, dtype)
    return case


def in_float64(case: Case) -> Case:
    for group in (case.weights, case.cell_weights, vars(case)):
        for key, value in group.items():
            if isinstance(value, np.ndarray) and value.dtype == np.float32:
                group[key] = value.astype(np.float64)
    return case


@each_dtype
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("by", [0.0, "small", "large"], ids=str)
@pytest.mark.parametrize("name", BOUNDED)
def test_every_cell_with_extreme_weights(isa: str, name: str, by: float | str, batch: int, dtype: str) -> None:
    """Layer normalisation is included, although its squares overflow."""
    scale = by if isinstance(by, float) else LARGE[dtype] if by == "large" else 1 / LARGE[dtype]
    case = scaled(name, dtype, scale, batch)
    got = case.kernel()
    expected = in_float64(case).reference()
    for a, b in zip(got[:3], expected[:3], strict=True):
        assert relative_error(a, b) <= TOLERANCE[dtype]
    for key, gradient in got[3].items():
        wanted = expected[3]["bias" if key in ("bias_ih", "bias_hh") else key]
        assert np.isfinite(gradient).all(), key
        # Gradients far below 1 remain of cancellation; at a clipping limit a net input may fall to either side.
        if np.abs(wanted).max() > 1e-3 and np.abs(wanted).max() < 1e6:
            assert relative_error(gradient, wanted) <= 10 * TOLERANCE[dtype], key


@each_dtype
def test_layer_norm_of_rows_without_variance(isa: str, dtype: str) -> None:
    """If all n sums of a row are the same number a, the normalised sums are 0, up to the rounding of the mean.

    That is at most (n + 2) u a / sqrt(eps), with gains of 1.
    """
    hidden = 9
    case = Case(CELLS["layer norm"][0], batch=3, time=4, inputs=2, hidden=hidden, dtype=dtype)
    for key in ("weight_ih", "weight_hh"):
        case.weights[key][...] = 0.25
    for key in ("gain_ih", "gain_hh", "gain_c"):
        case.cell_weights[key][...] = 1
    got = case.kernel()
    expected = in_float64(case).reference()
    allowed = 4 * (4 * hidden + 2) * UNIT[dtype] / math.sqrt(1e-5)
    for a, b in zip(got[:3], expected[:3], strict=True):
        assert np.abs(a - b).max() <= allowed
    for key, gradient in got[3].items():
        assert np.isfinite(gradient).all(), key


# ---------------------------------------------------------------------------------------------------- heads and losses


def exact_cross_entropy(z: Array, label: int) -> float:
    with localcontext() as context:
        context.prec = 60
        d = [Decimal(float(v)) - Decimal(float(z.max())) for v in z if np.isfinite(v)]
        total = sum((v.exp() for v in d if v > -2000), Decimal(0)).ln()
        return float(total - (Decimal(float(z[label])) - Decimal(float(z.max()))))


LOGITS = {
    "equal": [7.0] * 20,
    "equal and large": [1e30] * 20,
    "equal and small": [-1e30] * 20,
    "far apart": [1e30, -1e30, 0.0, 5.0],
    "near the largest number": [3e38, -3e38, 3e38],
    "one that cannot be": [0.0, 1.0, -np.inf, 2.0],
    "mixed": list(np.linspace(-90, 90, 33)),
    "one class": [1e30],
}


@each_dtype
@pytest.mark.parametrize("name", LOGITS)
def test_cross_entropy_of_extreme_logits(isa: str, name: str, dtype: str) -> None:
    """Losses are within 10 u, relative to the loss or to 1 if it is less; probabilities and their sum within 20 u."""
    z = np.array([LOGITS[name]], dtype)
    u = UNIT[dtype]
    p = np.empty_like(z)
    _core.softmax(z, p)
    assert abs(float(p.sum(dtype=np.float64)) - 1) <= 20 * u
    np.testing.assert_allclose(p, reference.softmax(z.astype(np.float64)), rtol=200 * u, atol=20 * u)
    for label in range(min(z.size, 4)):
        if not np.isfinite(z[0, label]):
            continue
        dz, losses = np.empty_like(z), np.empty(1)
        _core.softmax_cross_entropy(z, np.array([label]), None, dz, losses)
        wanted = exact_cross_entropy(z[0], label)
        assert abs(losses[0] - wanted) <= 10 * u * max(wanted, 1)
        onehot = np.zeros_like(p)
        onehot[0, label] = 1
        np.testing.assert_allclose(dz, p - onehot, atol=20 * u)
        total, _, d_out = fl.CrossEntropy()(z, np.array([label]))
        assert abs(total - wanted) <= 20 * u * max(wanted, 1)
        assert np.isfinite(d_out).all()


POINTWISE: dict[str, tuple[fl.Loss, Any]] = {
    "mse": (fl.MSE(), lambda e: (e * e, 2 * e)),
    "mae": (fl.MAE(), lambda e: (abs(e), np.sign(e))),
    "huber": (fl.Huber(0.5), lambda e: (0.5 * (abs(e) - 0.25) if abs(e) > 0.5 else e * e / 2, np.clip(e, -0.5, 0.5))),
    "huber, wide": (fl.Huber(1e25), lambda e: (1e25 * (abs(e) - 5e24) if abs(e) > 1e25 else e * e / 2,
                                              np.clip(e, -1e25, 1e25))),
    "quantile": (fl.Quantile(0.25), lambda e: (max(-0.25 * e, 0.75 * e), 0.75 if e > 0 else -0.25 if e < 0 else 0.0)),
}  # fmt: skip


@each_dtype
@pytest.mark.parametrize("error", [1e30, -1e30, 1e-30, 1e-5, 0.0, 3.0, -1e19])
@pytest.mark.parametrize("name", POINTWISE)
def test_regression_losses(name: str, error: float, dtype: str) -> None:
    """A loss that overflows the output's type is infinite, by which training detects divergence.

    The gradient is still finite.
    """
    loss, formula = POINTWISE[name]
    out = np.array([[error]], dtype)
    value, slope = formula(float(out[0, 0]))
    value = math.inf if value > float(np.finfo(dtype).max) else value
    total, _, d_out = loss(out, np.zeros_like(out))
    tiny = float(np.finfo(dtype).tiny)
    assert total == pytest.approx(value, rel=8 * UNIT[dtype], abs=tiny)
    assert float(d_out[0, 0]) == pytest.approx(slope, rel=8 * UNIT[dtype], abs=tiny)
    assert loss.value(out, np.zeros_like(out))[0] == total
    total, _, d_out = loss(np.array([[np.nan]], dtype), np.zeros((1, 1), dtype))
    assert math.isnan(total)
    assert np.isnan(d_out).all()


@each_dtype
@pytest.mark.parametrize("score", [1e30, -1e30, 0.0, 1e-30, 20.0, -20.0, 80.0, -80.0, 90.0])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_binary_cross_entropy(score: float, target: float, dtype: str) -> None:
    out = np.array([[score]], dtype)
    total, _, d_out = fl.BinaryCrossEntropy()(out, np.full_like(out, target))
    with localcontext() as context:
        context.prec = 60
        s = Decimal(float(out[0, 0]))
        rest = (1 + (-abs(s)).exp()).ln() if abs(s) < 1000 else Decimal(0)
        value = float(max(s, Decimal(0)) - s * Decimal(target) + rest)
        share = 1 / (1 + (-s).exp()) if abs(s) < 1000 else Decimal(int(s > 0))
        slope = float(share - Decimal(target))
    assert abs(total - value) <= 8 * UNIT[dtype] * max(abs(score), 1e-30) + 8 * UNIT[dtype] * value
    # A confident right answer has a small gradient, which must keep all digits; in between two terms cancel.
    exact = 8 * UNIT[dtype] * (abs(slope) if target in (0.0, 1.0) else 1)
    assert abs(float(d_out[0, 0]) - slope) <= exact + float(np.finfo(dtype).tiny)


@each_dtype
@pytest.mark.parametrize("level", [0.0, 1e9, 1e30, -1e30])
def test_ctc_of_extreme_logits(isa: str, level: float, dtype: str) -> None:
    """Adding a constant to all logits changes nothing: the loss is T log C - log(number of paths)."""
    time, classes = 4, 5
    z = np.full((1, time, classes), level, dtype)
    labels, numbers = np.array([[1, 2]]), np.array([2])
    dz, losses = np.empty_like(z), np.empty(1)
    _core.ctc(z, labels, numbers, 0, None, dz, losses, _core.Workspace())
    paths = 15  # paths of 4 steps that read 1 2
    assert losses[0] == pytest.approx(time * math.log(classes) - math.log(paths), rel=20 * UNIT[dtype])
    wanted = reference.ctc(np.zeros((time, classes)), labels[0])
    np.testing.assert_allclose(dz[0], wanted[1], atol=20 * UNIT[dtype])
    z[0, :, 1] = -LARGE[dtype]  # practically impossible, but still finite
    _core.ctc(z, labels, numbers, 0, None, dz, losses, _core.Workspace())
    distance = float(z[0, 0, 0]) - float(z[0, 0, 1])
    assert losses[0] == pytest.approx(max(distance, math.log(paths)), rel=1e-3, abs=10)
    assert np.isfinite(dz).all()
    z[0, :, 1] = -np.inf  # impossible
    _core.ctc(z, labels, numbers, 0, None, dz, losses, _core.Workspace())
    assert losses[0] == np.inf
    np.testing.assert_array_equal(dz, np.zeros_like(dz))


# ------------------------------------------------------------------------------------------------ optimizers, scaling


class Flat:
    """The attributes of a model that an optimizer uses."""

    def __init__(self, gradients: list[float], dtype: str) -> None:
        self.flat_gradients = np.array(gradients, dtype)
        self.flat_parameters = np.ones_like(self.flat_gradients)


@each_dtype
def test_adam_takes_steps_of_the_learning_rate_whatever_the_gradient(isa: str, dtype: str) -> None:
    large = [1e18, -1e18] if dtype == "float32" else [1e150, -1e150]
    for gradients in (large, [1e3, -1e3], [1e-3, -1e-3]):
        model, optimizer = Flat(gradients, dtype), fl.Adam(0.125)
        for step in range(1, 4):
            optimizer.step(model)
            wanted = 1 - 0.125 * step * np.sign(gradients)
            np.testing.assert_allclose(model.flat_parameters, wanted, rtol=2e-5)  # eps next to 1e-3
    for optimizer in (fl.Adam(0.125), fl.Adam(0.125, eps=1e-300), fl.RMSprop(0.125, eps=1e-300)):
        model = Flat([0.0, 0.0, 1.0], dtype)  # 0 / (0 + eps)
        optimizer.step(model)
        np.testing.assert_array_equal(model.flat_parameters[:2], [1, 1])
        assert np.isfinite(model.flat_parameters).all()
    model = Flat([1e-30, -1e-30], dtype)
    fl.Adam(0.125).step(model)
    np.testing.assert_allclose(model.flat_parameters, [1, 1], atol=2e-16)  # 0.125 1e-30 / 1e-8


@each_dtype
@pytest.mark.parametrize("optimizer", [fl.Adam, fl.AdamW, fl.RMSprop])
def test_gradients_too_large_to_square(isa: str, dtype: str, optimizer: type[fl.Adam]) -> None:
    """Otherwise their mean of squares would stay infinite, and the parameter would never move again."""
    large = 1e20 if dtype == "float32" else 1e160
    model = Flat([large, 1.0], dtype)
    with pytest.raises(FloatingPointError, match="does not fit"):
        optimizer(0.1).step(model)
    np.testing.assert_array_equal(model.flat_parameters, [1, 1])
    optimizer(0.1, clip_norm=1.0).step(model)
    assert model.flat_parameters[0] < 1
    assert np.isfinite(model.flat_parameters).all()


@pytest.mark.parametrize(
    ("dtype", "most"), [("float32", 3.4e38), ("float32", 1e20), ("float64", 1e306), ("float64", 1e155)]
)
def test_clipping_by_the_norm_whose_square_overflows(isa: str, dtype: str, most: float) -> None:
    for count in (2, 5000):
        gradients = [most * (-1) ** k for k in range(count)]
        norms = {_core.grad_norm(np.array(gradients, dtype), n_threads) for n_threads in (1, 2, 3)}
        assert len(norms) == 1
        assert norms.pop() == pytest.approx(most * math.sqrt(count), rel=1e-6)
        model = Flat(gradients, dtype)
        fl.SGD(1.0, clip_norm=2.0).step(model)
        wanted = 1 - 2 / math.sqrt(count) * np.sign(gradients)
        np.testing.assert_allclose(model.flat_parameters, wanted, atol=1e-5)


@each_dtype
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([3.0, 3.0, 3.0, 3.0], [0, 0, 0, 0]),
        ([1e30, 1e30, 1e30, 1e30], [0, 0, 0, 0]),
        ([1e30, -1e30, 1e30, -1e30], [1, -1, 1, -1]),
        ([1e-30, -1e-30, 1e-30, -1e-30], [1, -1, 1, -1]),
        ([1e-40, -1e-40, 1e-40, -1e-40], [1, -1, 1, -1]),  # below the smallest normal float
        ([1e-320, -1e-320, 1e-320, -1e-320], [0, 0, 0, 0]),
        ([1e30, 1e30 + 1e25, 1e30, 1e30 + 1e25], [-1, 1, -1, 1]),
    ],
    ids=str,
)
def test_standardizer(isa: str, values: list[float], wanted: list[float], dtype: str) -> None:
    X = np.array(values, dtype).reshape(1, -1, 1)
    scaler = fl.Standardizer().fit(X)
    assert np.isfinite(scaler.mean_).all()
    assert (scaler.scale_ > 0).all()
    got = scaler.transform(X)
    np.testing.assert_allclose(got.reshape(-1), wanted, atol=1e-2 if dtype == "float32" and values[1] > 1e30 else 1e-6)
    back = scaler.inverse_transform(got)
    np.testing.assert_allclose(back, X, rtol=1e-6, atol=1e-38 if dtype == "float32" else 1e-307)
    model = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(1)], input_size=1, scaler=scaler, dtype=dtype)
    np.testing.assert_array_equal(model.stream().run(X), model.predict(X))
    assert np.isfinite(model.predict(X)).all()
