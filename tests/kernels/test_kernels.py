"""The C kernels through `_core` against the reference, for every instruction set, dtype and awkward size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, numerical_gradient, random_lstm, relative_error

from fastlstm import _core, reference

DTYPES = ["float32", "float64"]

# Hidden sizes below, at and above the vector widths (2, 4, 8, 16) and their multiples; batches around the height of a
# register tile (6); input sizes around the width of one (4 vectors).
SHAPES = [
    (1, 1, 1, 1),
    (2, 5, 1, 3),
    (3, 7, 5, 7),
    (6, 3, 2, 8),
    (7, 4, 63, 15),
    (5, 4, 64, 16),
    (12, 3, 65, 17),
    (13, 6, 3, 31),
    (1, 50, 4, 33),
    (19, 3, 7, 64),
    (8, 4, 20, 100),
    (2, 3, 200, 9),
    (1, 60, 7, 130),
    (3, 20, 30, 200),
]


def cast(problem: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    return {name: array.astype(dtype) for name, array in problem.items()}


def mixed_lengths(rng: np.random.Generator, batch: int, time: int) -> np.ndarray:
    """Return random lengths with both extremes: one full row, and an empty one if there are two."""
    lengths = rng.integers(0, time + 1, batch)
    lengths[rng.integers(batch)] = time
    if batch > 1:
        lengths[(int(np.argmax(lengths)) + 1) % batch] = 0
    return lengths


def run_kernel(
    p: dict[str, np.ndarray], lengths: np.ndarray | None = None, reverse: bool = False, n_threads: int = 2
) -> dict[str, np.ndarray]:
    """Run forward and backward; return every output of the kernel."""
    dtype = p["x"].dtype
    batch, time, inputs = p["x"].shape
    hidden = p["weight_hh"].shape[1]
    out: dict[str, Any] = {
        "y": np.full((batch, time, hidden), np.nan, dtype),
        "hn": np.full((batch, hidden), np.nan, dtype),
        "cn": np.full((batch, hidden), np.nan, dtype),
        "dx": np.full((batch, time, inputs), np.nan, dtype),
        "dh0": np.full((batch, hidden), np.nan, dtype),
        "dc0": np.full((batch, hidden), np.nan, dtype),
    }
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        out["d" + name] = np.zeros_like(p[name])
    kernel = _core.LSTMPass()
    kernel.forward(
        *(p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        lengths=lengths,
        h0=p["h0"],
        c0=p["c0"],
        y=out["y"],
        hn=out["hn"],
        cn=out["cn"],
        reverse=reverse,
        training=True,
        n_threads=n_threads,
    )
    kernel.backward(
        dy=p["dy"],
        dhn=p["dhn"],
        dcn=p["dcn"],
        n_threads=n_threads,
        **{k: v for k, v in out.items() if k.startswith("d")},
    )
    return out


def run_reference(
    p: dict[str, np.ndarray], lengths: np.ndarray | None = None, reverse: bool = False
) -> dict[str, np.ndarray]:
    y, hn, cn, trace = reference.lstm_forward(
        *(p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        lengths=lengths,
        h0=p["h0"],
        c0=p["c0"],
        reverse=reverse,
    )
    g = reference.lstm_backward(trace, p["dy"], p["dhn"], p["dcn"])
    return {
        "y": y,
        "hn": hn,
        "cn": cn,
        "dx": g["x"],
        "dweight_ih": g["weight_ih"],
        "dweight_hh": g["weight_hh"],
        "dbias_ih": g["bias"],
        "dbias_hh": g["bias"],
        "dh0": g["h0"],
        "dc0": g["c0"],
    }


def poison_padding(p: dict[str, np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return a copy with NaN after the end of each row."""
    p = {name: array.copy() for name, array in p.items()}
    for row, length in enumerate(lengths):
        p["x"][row, length:] = np.nan
        p["dy"][row, length:] = np.nan
    return p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("variable", [False, True], ids=["full", "lengths"])
def test_lstm_equals_reference(
    isa: str, dtype: str, shape: tuple[int, int, int, int], reverse: bool, variable: bool
) -> None:
    rng = np.random.default_rng(sum(shape))
    p = cast(random_lstm(rng, *shape), dtype)
    lengths = mixed_lengths(rng, *shape[:2]) if variable else None
    got = run_kernel(p if lengths is None else poison_padding(p, lengths), lengths, reverse)
    expected = run_reference(cast(p, "float64"), lengths, reverse)
    for name, array in expected.items():
        assert relative_error(got[name], array) <= TOLERANCE[dtype], name


@pytest.mark.parametrize("dtype", DTYPES)
def test_thousands_of_steps(isa: str, dtype: str) -> None:
    p = cast(random_lstm(np.random.default_rng(5), 2, 3000, 2, 5), dtype)
    got, expected = run_kernel(p), run_reference(cast(p, "float64"))
    for name, array in expected.items():
        assert relative_error(got[name], array) <= TOLERANCE[dtype], name


@pytest.mark.parametrize("name", ["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0", "c0"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_lstm_gradients_by_finite_differences(isa: str, name: str, reverse: bool) -> None:
    shape = (7, 3, 3, 5)
    p = random_lstm(np.random.default_rng(6), *shape)
    lengths = np.array([3, 1, 2, 3, 0, 3, 2])
    y, hn, cn = np.empty((7, 3, 5)), np.empty((7, 5)), np.empty((7, 5))
    kernel = _core.LSTMPass()

    def loss() -> float:
        kernel.forward(
            *(p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")),
            lengths=lengths,
            h0=p["h0"],
            c0=p["c0"],
            y=y,
            hn=hn,
            cn=cn,
            reverse=reverse,
        )
        return float((y * p["dy"]).sum() + (hn * p["dhn"]).sum() + (cn * p["dcn"]).sum())

    got = run_kernel(p, lengths, reverse)["d" + name]
    assert relative_error(got, numerical_gradient(loss, p[name])) <= FINITE_DIFFERENCE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13, 6, 65, 33), (64, 20, 16, 64), (2, 300, 9, 100), (7, 30, 40, 120)], ids=str)
def test_same_bits_for_any_number_of_threads(isa: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(7)
    p = cast(random_lstm(rng, *shape), dtype)
    lengths = mixed_lengths(rng, *shape[:2])
    one = run_kernel(p, lengths, n_threads=1)
    for n_threads in (2, 3, 8):
        many = run_kernel(p, lengths, n_threads=n_threads)
        for name in one:
            np.testing.assert_array_equal(one[name], many[name], err_msg=f"{name}, {n_threads} threads")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_same_bits_for_a_row_in_any_batch(isa: str, dtype: str, reverse: bool) -> None:
    """A row's result is the same alone, in batches of other sizes and lengths, and next to rows of garbage."""
    rng = np.random.default_rng(8)
    p = cast(random_lstm(rng, 17, 9, 5, 37), dtype)
    lengths = mixed_lengths(rng, 17, 9)
    whole = run_kernel(p, lengths, reverse)
    per_row = ("x", "h0", "c0", "dy", "dhn", "dcn")
    for rows in ([3], [0, 1, 2, 3, 4], list(range(16, -1, -1)), [5, 5, 5, 5, 5, 5, 5]):
        part = {k: np.ascontiguousarray(v[rows]) if k in per_row else v for k, v in p.items()}
        got = run_kernel(part, lengths[rows], reverse)
        for name in ("y", "hn", "cn", "dx", "dh0", "dc0"):
            np.testing.assert_array_equal(got[name], whole[name][rows], err_msg=f"{name} of rows {rows}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_equals_training_pass(isa: str, dtype: str) -> None:
    p = cast(random_lstm(np.random.default_rng(9), 11, 8, 6, 21), dtype)
    args = [p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    outs = []
    for training in (False, True):
        y, hn, cn = np.empty((11, 8, 21), dtype), np.empty((11, 21), dtype), np.empty((11, 21), dtype)
        _core.LSTMPass().forward(*args, y=y, hn=hn, cn=cn, training=training)
        outs.append((y, hn, cn))
    for a, b in zip(*outs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_strided_inputs_and_outputs(isa: str) -> None:
    """Take overlapping windows as input, one half of a wider array as output and as gradient."""
    rng = np.random.default_rng(10)
    series = rng.standard_normal((30, 3))
    x = np.lib.stride_tricks.as_strided(series, (25, 6, 3), (series.strides[0], *series.strides))
    p = random_lstm(rng, 25, 6, 3, 5)
    p["x"] = np.ascontiguousarray(x)
    wide_y, wide_dy = np.full((25, 6, 10), 7.0), np.full((25, 6, 10), np.nan)
    wide_dy[:, :, 5:] = p["dy"]
    expected = run_reference(p)
    kernel = _core.LSTMPass()
    weights = [p[k] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    kernel.forward(x, *weights, h0=p["h0"], c0=p["c0"], y=wide_y[:, :, 5:], training=True)
    assert relative_error(wide_y[:, :, 5:], expected["y"]) <= TOLERANCE["float64"]
    assert (wide_y[:, :, :5] == 7).all()
    dx = np.ones((25, 6, 3))
    kernel.backward(dy=wide_dy[:, :, 5:], dhn=p["dhn"], dcn=p["dcn"], dx=dx, dx_add=True)
    assert relative_error(dx - 1, expected["dx"]) <= TOLERANCE["float64"]


def test_without_bias_and_state(isa: str) -> None:
    p = random_lstm(np.random.default_rng(11), 4, 5, 3, 6)
    y, expected = np.empty((4, 5, 6)), reference.lstm_forward(p["x"], p["weight_ih"], p["weight_hh"])[0]
    _core.LSTMPass().forward(p["x"], p["weight_ih"], p["weight_hh"], y=y)
    assert relative_error(y, expected) <= TOLERANCE["float64"]


def test_gradients_are_added_to(isa: str) -> None:
    p = random_lstm(np.random.default_rng(12), 4, 5, 3, 6)
    expected = run_reference(p)
    kernel = _core.LSTMPass()
    total = np.full_like(p["weight_ih"], 3.0)
    for _ in range(2):
        kernel.forward(
            *(p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")),
            h0=p["h0"],
            c0=p["c0"],
            training=True,
        )
        kernel.backward(dy=p["dy"], dhn=p["dhn"], dcn=p["dcn"], dweight_ih=total)
    assert relative_error(total, 3 + 2 * expected["dweight_ih"]) <= TOLERANCE["float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_keep_relative_accuracy(isa: str, dtype: str) -> None:
    """A cell with chosen weights shows the activations: with open gates h = o tanh(i g) is tanh(tanh(z)) near 0.

    Absolute accuracy is not enough: a signal of 1e-20 must come out as 1e-20 and not as 0 or 1e-8.
    """
    z = np.concatenate([np.geomspace(1e-30, 30, 400), -np.geomspace(1e-30, 30, 400)]).astype(dtype)
    x = z.reshape(-1, 1, 1)
    weight_ih = np.array([[0], [0], [1], [0]], dtype)
    bias = np.array([90, 0, 0, 90], dtype)  # sigmoid(90) = 1 in both dtypes
    h, c = np.empty((len(z), 1), dtype), np.empty((len(z), 1), dtype)
    _core.LSTMPass().forward(x, weight_ih, np.zeros((4, 1), dtype), bias, np.zeros(4, dtype), hn=h, cn=c)
    exact = np.tanh(z.astype(np.float64))
    # 5 units in the last place for one tanh; the second tanh is of the rounded first.
    ulp = np.finfo(dtype).eps
    np.testing.assert_allclose(c[:, 0], exact, rtol=5 * ulp)
    np.testing.assert_allclose(h[:, 0], np.tanh(c[:, 0].astype(np.float64)), rtol=5 * ulp)
    # The sigmoid of the forget gate shows in c = f * 1; tiny results keep their digits too.
    z = np.linspace(-80, 80, 801).astype(dtype)
    weight_ih = np.array([[0], [1], [0], [0]], dtype)
    c = np.empty((len(z), 1), dtype)
    _core.LSTMPass().forward(
        z.reshape(-1, 1, 1), weight_ih, np.zeros((4, 1), dtype), c0=np.ones((len(z), 1), dtype), cn=c
    )
    np.testing.assert_allclose(c[:, 0], reference.sigmoid(z.astype(np.float64)), rtol=5 * ulp)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sigmoid_has_no_hole_before_it_saturates(isa: str, dtype: str) -> None:
    """Check where exp(-z) is finite but nearest to the first power of 2 that is not."""
    most = np.log(np.finfo(dtype).max)
    z = -np.linspace(most - 1, most + 1, 4001).astype(dtype)
    weight_ih = np.array([[0], [1], [0], [0]], dtype)
    ones, c = np.ones((len(z), 1), dtype), np.empty((len(z), 1), dtype)
    _core.LSTMPass().forward(z.reshape(-1, 1, 1), weight_ih, np.zeros((4, 1), dtype), c0=ones, cn=c)
    assert ((c >= 0) & (c <= 4 * np.exp(1 - most))).all()


def test_activations_saturate_exactly_and_pass_nan_on(isa: str) -> None:
    x = np.array([1e6, -1e6, np.inf, -np.inf, np.nan], np.float32).reshape(-1, 1, 1)
    c = np.empty((5, 1), np.float32)
    weight_ih = np.array([[0], [0], [1], [0]], np.float32)
    bias = np.array([1e6, -1e6, 0, 0], np.float32)
    _core.LSTMPass().forward(x, weight_ih, np.zeros((4, 1), np.float32), bias, cn=c)
    # An infinite input times a weight of 0 is NaN by IEEE 754; the finite ones saturate.
    np.testing.assert_array_equal(c[:2, 0], [1, -1])
    assert np.isnan(c[2:, 0]).all()


# ---------------------------------------------------------------------------------------------- the other kernels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, inputs, outputs", [(1, 1, 1), (7, 3, 9), (700, 33, 65), (40, 130, 17), (13, 64, 130)])
def test_dense_equals_reference(isa: str, dtype: str, rows: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(13)
    shapes = ((rows, inputs), (outputs, inputs), outputs, (rows, outputs))
    x, w, b, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    results = []
    for n_threads in (1, 3):
        y, dx, dw, db = np.empty((rows, outputs), dtype), np.empty_like(x), np.zeros_like(w), np.zeros_like(b)
        workspace = _core.Workspace()
        _core.dense_forward(x, w, b, y, workspace, n_threads)
        _core.dense_backward(dy, x, w, dx, dw, db, workspace, n_threads)
        results.append((y, dx, dw, db))
    g = reference.dense_backward(*(a.astype("float64") for a in (dy, x, w)))
    expected = (reference.dense_forward(*(a.astype("float64") for a in (x, w, b))), g["x"], g["weight"], g["bias"])
    for got, other, array in zip(*results, expected, strict=True):
        assert relative_error(got, array) <= TOLERANCE[dtype]
        np.testing.assert_array_equal(got, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_standardize_equals_reference(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for width in (1, 2, 7, 8, 9, 17, 33):
        mean, scale = rng.normal(size=width) * 1e6, rng.uniform(0.5, 2, width)
        for source in (np.float32, np.float64):
            x = (mean + rng.normal(size=(5, width))).astype(source)
            y = np.empty((5, width), dtype)
            _core.standardize(x, mean, scale, y)
            np.testing.assert_array_equal(y, reference.standardize(x, mean, scale).astype(dtype))
            for count in {0, 1, width // 2, width}:
                missing = rng.permutation(width)[:count]
                gaps = x.copy()
                gaps[:, missing] = np.where(rng.random((5, count)) < 0.5, np.nan, gaps[:, missing])
                z = np.full((5, width + count), 7, dtype)
                _core.standardize_missing(gaps, mean, scale, missing, z)
                np.testing.assert_array_equal(z, reference.standardize(gaps, mean, scale, missing).astype(dtype))
                if count < width:  # NaN in another feature stays NaN
                    other = np.setdiff1d(np.arange(width), missing)[0]
                    gaps[2, other] = np.nan
                    _core.standardize_missing(gaps, mean, scale, missing, z)
                    assert np.isnan(z[2, other]) and np.isnan(z).sum() == 1
    for wrong, message in (([2], "missing holds 2, expected features from 0 to 1"), ([-1], "holds -1")):
        with pytest.raises(ValueError, match=message):
            _core.standardize_missing(np.ones((3, 2)), np.ones(2), np.ones(2), np.array(wrong), np.ones((3, 3)))
    with pytest.raises(ValueError, match="expected rows of 2 and of 3"):
        _core.standardize_missing(np.ones((3, 2)), np.ones(2), np.ones(2), np.array([0]), np.ones((3, 2)))
    with pytest.raises(TypeError, match="missing must be"):
        _core.standardize_missing(np.ones((3, 2)), np.ones(2), np.ones(2), np.array([0.0]), np.ones((3, 3)))
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="y is x"):
        _core.standardize_missing(x, np.ones(2), np.ones(2), np.zeros(0, np.int64), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_equals_reference(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(14)
    index, table = rng.integers(0, 7, 300), rng.standard_normal((7, 13)).astype(dtype)
    dout = rng.standard_normal((300, 13)).astype(dtype)
    out = np.empty_like(dout)
    results = [np.zeros_like(table) for _ in range(2)]
    _core.embedding_forward(index, table, out, 2)
    np.testing.assert_array_equal(out, table[index])
    for n_threads, dtable in zip((1, 3), results, strict=True):
        _core.embedding_backward(index, dout, dtable, n_threads)
    expected = np.zeros((7, 13))
    np.add.at(expected, index, dout.astype("float64"))
    assert relative_error(results[0], expected) <= TOLERANCE[dtype]
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
def test_dropout_equals_reference(isa: str, dtype: str, p: float) -> None:
    x = np.random.default_rng(15).standard_normal((7, 151)).astype(dtype)
    seed = 2**63 + 12345
    results = [np.empty_like(x) for _ in range(2)]
    for n_threads, y in zip((1, 3), results, strict=True):
        _core.dropout(x, y, p, seed, n_threads)
    mask = reference.dropout_mask(7, 151, p, seed)
    np.testing.assert_array_equal(results[0] != 0, mask != 0)
    assert relative_error(results[0], x * mask) <= TOLERANCE[dtype]
    np.testing.assert_array_equal(results[0], results[1])
    # Within 4 standard deviations of the expected share.
    assert abs((results[0] == 0).mean() - p) <= 4 * np.sqrt(p * (1 - p) / x.size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [_core.dropout, _core.noise])
def test_rows_of_a_part_draw_what_the_whole_does(isa: str, dtype: str, draw: Any) -> None:
    x = np.random.default_rng(16).standard_normal((7, 5, 31)).astype(dtype)
    whole = np.empty_like(x)
    draw(x, whole, 0.4, 2**63 + 12345, 2)
    for begin, end in ((0, 3), (3, 4), (4, 7), (7, 7)):
        part = np.ascontiguousarray(x[begin:end])
        draw(part, part, 0.4, 2**63 + 12345, 2, first_row=begin)
        np.testing.assert_array_equal(part, whole[begin:end])
    draw(x, x, 0.4, 1, first_row=2**32 - 7)  # the last rows that have a number of 32 bits
    for first_row in (-1, 2**32 - 6):
        with pytest.raises(ValueError, match=f"first_row is {first_row} for 7 rows"):
            draw(x, x, 0.4, 1, first_row=first_row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 9, 33])
def test_cross_entropy_equals_reference(isa: str, dtype: str, classes: int) -> None:
    rng = np.random.default_rng(16)
    logits = (50 * rng.standard_normal((29, classes))).astype(dtype)
    labels, weights = rng.integers(0, classes, 29), rng.uniform(0, 2, 29).astype(dtype)
    labels[4] = -100
    losses, gradient, probabilities = np.empty(29), np.empty_like(logits), np.empty_like(logits)
    _core.softmax_cross_entropy(logits, labels, weights, gradient, losses, 2)
    _core.softmax(logits, probabilities, 2)
    expected, d_expected = reference.softmax_cross_entropy(logits.astype("float64"), labels, weights.astype("float64"))
    assert relative_error(losses, expected) <= TOLERANCE[dtype]
    assert relative_error(gradient, d_expected) <= TOLERANCE[dtype]
    assert relative_error(probabilities, reference.softmax(logits.astype("float64"))) <= TOLERANCE[dtype]
    assert losses[4] == 0 and (gradient[4] == 0).all()


def test_cross_entropy_propagates_nan(isa: str) -> None:
    logits, losses = np.zeros((2, 5), np.float32), np.empty(2)
    logits[0, 3] = np.nan
    _core.softmax_cross_entropy(logits, np.array([0, 0]), None, None, losses)
    assert np.isnan(losses[0]) and losses[1] == pytest.approx(np.log(5), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_optimizers_equal_reference(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(17)
    p, g, m = (rng.standard_normal(1003).astype(dtype) for _ in range(3))
    v = np.abs(rng.standard_normal(1003)).astype(dtype)
    exact = [a.astype("float64") for a in (p, g, m, v)]
    for decoupled in (False, True):
        got = [a.copy() for a in (p, m, v)]
        _core.adam_step(got[0], g, got[1], got[2], 0.01, 0.9, 0.999, 1e-8, 0.1, decoupled, 3, 2)
        want = reference.adam(exact[0], exact[1], exact[2], exact[3], 0.01, 0.9, 0.999, 1e-8, 0.1, decoupled, 3)
        assert max(map(relative_error, got, want)) <= TOLERANCE[dtype]
    for nesterov in (False, True):
        got = [a.copy() for a in (p, m)]
        _core.sgd_step(got[0], g, got[1], 0.1, 0.9, nesterov, 0.01, 2)
        assert max(map(relative_error, got, reference.sgd(*exact[:3], 0.1, 0.9, nesterov, 0.01))) <= TOLERANCE[dtype]
    got = [a.copy() for a in (p, v, m)]
    _core.rmsprop_step(got[0], g, got[1], got[2], 0.01, 0.9, 1e-6, 0.5, 0.01, 2)
    want = reference.rmsprop(exact[0], exact[1], exact[3], exact[2], 0.01, 0.9, 1e-6, 0.5, 0.01)
    assert max(map(relative_error, got, want)) <= TOLERANCE[dtype]
    assert _core.grad_norm(g) == pytest.approx(np.linalg.norm(exact[1]), rel=1e-12)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 65_536, 65_537, 400_003])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_and_updates_do_not_depend_on_the_threads(isa: str, dtype: str, size: int) -> None:
    rng = np.random.default_rng(18)
    p, g, m = (rng.standard_normal(size).astype(dtype) for _ in range(3))
    v = np.abs(rng.standard_normal(size)).astype(dtype)
    results = []
    for n_threads in (1, 2, 3):
        arrays = [a.copy() for a in (p, m, v)]
        _core.adam_step(arrays[0], g, arrays[1], arrays[2], 0.01, 0.9, 0.999, 1e-8, 0.1, False, 3, n_threads)
        _core.rmsprop_step(arrays[0], g, arrays[2], arrays[1], 0.01, 0.9, 1e-6, 0.5, 0.01, n_threads)
        _core.sgd_step(arrays[0], g, arrays[1], 0.1, 0.9, True, 0.01, n_threads)
        _core.clip_value(arrays[1], 0.5, n_threads)
        _core.scale(arrays[2], 0.5, n_threads)
        results.append([_core.grad_norm(g, n_threads), *arrays])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
    # Double sums of up to 400,003 squares: a relative error of 1e-13 at most.
    assert results[0][0] == pytest.approx(np.sqrt(np.sum(g.astype(np.longdouble) ** 2)), rel=1e-12)


def test_first_nonfinite() -> None:
    x = np.zeros(5000, np.float32)
    assert _core.first_nonfinite(x) == -1
    for bad in (np.inf, -np.inf, np.nan):
        for index in (0, 1023, 1024, 4999):
            y = x.copy()
            y[index:] = bad
            assert _core.first_nonfinite(y) == index


# ---------------------------------------------------------------------------------------------- the boundary


def good() -> dict[str, Any]:
    p = random_lstm(np.random.default_rng(18), 2, 3, 4, 5)
    return {k: p[k] for k in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")}


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": np.zeros((2, 3, 4), int)}, TypeError, "dtype int64, expected float32 or float64"),
        ({"x": np.zeros((2, 3, 4), ">f8")}, TypeError, "got >f8"),
        ({"x": np.zeros((2, 3))}, ValueError, "2 axes"),
        ({"x": np.zeros((2, 3, 8))[:, :, ::2]}, ValueError, "features of x are not contiguous"),
        ({"x": np.zeros((2, 3, 0))}, ValueError, "input size 0"),
        ({"weight_ih": np.zeros((20, 3))}, ValueError, r"weight_ih has shape \(20, 3\), expected \(20, 4\)"),
        ({"weight_ih": np.zeros((20, 4), np.float32)}, TypeError, "weight_ih must be"),
        ({"weight_hh": np.zeros((5, 20)).T}, TypeError, "weight_hh must be a C-contiguous"),
        ({"bias_ih": np.zeros(19)}, ValueError, "bias_ih has shape"),
        ({"lengths": [1, 4]}, ValueError, r"lengths\[1\] is 4, expected 0 to 3"),
        ({"lengths": [-1, 3]}, ValueError, r"lengths\[0\] is -1"),
        ({"lengths": [3]}, ValueError, "lengths has shape"),
        ({"h0": np.zeros((2, 4))}, ValueError, "h0 has shape"),
        ({"y": np.zeros((2, 3, 4))}, ValueError, "y has shape"),
        ({"hn": np.broadcast_to(np.zeros(5), (2, 5))}, TypeError, "hn must be a C-contiguous"),
        ({"n_threads": 0}, ValueError, "n_threads is 0"),
    ],
)
def test_wrong_arrays_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _core.LSTMPass().forward(**{**good(), **change})


def test_read_only_output_is_refused() -> None:
    y = np.zeros((2, 3, 5))
    y.flags.writeable = False
    with pytest.raises(ValueError, match="y is read-only"):
        _core.LSTMPass().forward(**good(), y=y)


def test_backward_needs_its_forward() -> None:
    kernel = _core.LSTMPass()
    with pytest.raises(RuntimeError, match="forward"):
        kernel.backward()
    kernel.forward(**good())
    with pytest.raises(RuntimeError, match="forward"):
        kernel.backward()
    kernel.forward(**good(), training=True)
    kernel.backward()
    with pytest.raises(RuntimeError, match="once for each"):
        kernel.backward()


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="needs two instruction sets")
def test_changing_the_instruction_set_between_passes_is_refused() -> None:
    before = _core.isa()
    kernel = _core.LSTMPass()
    kernel.forward(**good(), training=True)
    try:
        _core.set_isa(next(name for name in _core.available_isas() if name != before))
        with pytest.raises(RuntimeError, match="instruction set was changed"):
            kernel.backward()
    finally:
        _core.set_isa(before)


def test_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of"):
        _core.set_isa("mmx")


def test_indices_are_checked() -> None:
    with pytest.raises(ValueError, match="token 7 at position 1 is not in the table: expected 0 to 6"):
        _core.embedding_forward(np.array([0, 7]), np.zeros((7, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="token -1 at position 0"):
        _core.embedding_backward(np.array([-1, 0]), np.zeros((2, 2)), np.zeros((7, 2)))
    with pytest.raises(ValueError, match="label 3 at position 1 is outside the 3 classes"):
        _core.softmax_cross_entropy(np.zeros((2, 3)), np.array([-100, 3]), None, None, np.zeros(2))


def test_empty_batches() -> None:
    p = good()
    y, hn = np.empty((0, 3, 5)), np.empty((0, 5))
    _core.LSTMPass().forward(**{**p, "x": np.zeros((0, 3, 4))}, y=y, hn=hn)
    hn = np.full((2, 5), np.nan)
    h0 = np.arange(10.0).reshape(2, 5)
    _core.LSTMPass().forward(**{**p, "x": np.zeros((2, 0, 4))}, h0=h0, hn=hn)
    np.testing.assert_array_equal(hn, h0)


def test_steady_state_keeps_its_workspace() -> None:
    kernel = _core.LSTMPass()
    kernel.forward(**good(), training=True)
    held = kernel.nbytes
    for _ in range(3):
        kernel.forward(**good(), training=True)
        kernel.backward()
    assert kernel.nbytes == held > 0


@pytest.mark.parametrize("shape", [(3,), (), (3, 2, 2)])
def test_a_table_without_two_axes_is_refused(shape: tuple[int, ...]) -> None:
    table, out = np.zeros(shape), np.zeros((1, 2))
    with pytest.raises(ValueError, match="expected two axes"):
        _core.embedding_forward(np.zeros(1, np.int64), table, out)
    with pytest.raises(ValueError, match="expected two axes"):
        _core.embedding_backward(np.zeros(1, np.int64), out, table)
