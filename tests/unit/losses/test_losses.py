"""Losses: values by hand, gradients by finite differences and against torch, masks and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastlstm as fl
from fastlstm.losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, Huber, Loss, Quantile, get_loss

Array = NDArray[Any]

BATCH, TIME, OUTPUTS = 4, 5, 3
LENGTHS = np.array([5, 2, 4, 1])
ALL: list[Loss] = [
    CrossEntropy(),
    BinaryCrossEntropy(),
    MSE(),
    MAE(),
    Huber(0.7),
    Quantile((0.1, 0.5, 0.9)),
    Quantile(0.3),
]
IDS = [repr(loss) for loss in ALL]


def batch(loss: Loss, per_step: bool, dtype: Any = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    shape = (BATCH, TIME) if per_step else (BATCH,)
    out = rng.normal(scale=2.0, size=(*shape, OUTPUTS)).astype(dtype)
    if loss.kind == "labels":
        return out, rng.integers(0, OUTPUTS, shape)
    if isinstance(loss, BinaryCrossEntropy):
        return out, rng.integers(0, 2, (*shape, OUTPUTS)).astype(dtype)
    return out, rng.normal(size=(*shape, OUTPUTS)).astype(dtype)


def pointwise(loss: Loss, out: Array, target: Array) -> Array:
    """Compute the loss of each position by the formulas of the docstrings, in float64."""
    out = out.astype(np.float64)
    error = out - target if loss.kind == "values" else out
    match loss:
        case CrossEntropy():
            probability = np.exp(out) / np.exp(out).sum(-1, keepdims=True)
            return -np.log(np.take_along_axis(probability, target[..., None], -1)[..., 0])
        case BinaryCrossEntropy():
            yes = 1 / (1 + np.exp(-out))
            each = -target * np.log(yes) - (1 - target) * np.log(1 - yes)
        case MSE():
            each = error**2
        case MAE():
            each = np.abs(error)
        case Huber(delta=d):
            each = np.where(np.abs(error) <= d, 0.5 * error**2, d * (np.abs(error) - 0.5 * d))
        case Quantile(quantiles=q):
            each = np.maximum(np.array(q) * -error, (np.array(q) - 1) * -error)
    return each.mean(-1)


def valid(lengths: Array) -> Array:
    return np.arange(TIME) < lengths[:, None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_value_is_the_weighted_mean_over_valid_positions(loss: Loss, dtype: Any) -> None:
    # float32: each loss has a few roundings of 6e-8; exp and log inside.
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    rng = np.random.default_rng(5)
    out, target = batch(loss, per_step=False, dtype=dtype)
    total, weight_sum, d_out = loss(out, target)
    assert weight_sum == BATCH
    assert total == pytest.approx(pointwise(loss, out, target).sum(), rel=tolerance)
    assert d_out.shape == out.shape
    assert d_out.dtype == dtype

    out, target = batch(loss, per_step=True, dtype=dtype)
    each = pointwise(loss, out, target)
    for weight, full in (
        (None, np.ones((BATCH, TIME))),
        (w := rng.uniform(0, 2, BATCH), np.repeat(w[:, None], TIME, 1)),
        (w := rng.uniform(0, 2, (BATCH, TIME)), w),
    ):
        for lengths in (None, LENGTHS):
            counted = full if lengths is None else full * valid(lengths)
            total, weight_sum, _ = loss(out, target, lengths, weight)
            assert weight_sum == pytest.approx(counted.sum(), rel=1e-12)
            assert total == pytest.approx((counted * each).sum(), rel=tolerance)
            assert loss.value(out, target, lengths, weight) == (total, weight_sum)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_gradient_by_finite_differences(loss: Loss, per_step: bool, weighted: bool) -> None:
    out, target = batch(loss, per_step)
    lengths = LENGTHS if per_step else None
    weight = np.random.default_rng(6).uniform(0.1, 2, out.shape[:-1]) if weighted else None
    gradient = loss(out, target, lengths, weight)[2].copy()
    numeric = np.empty_like(out)
    # Step 1e-6: truncation about 1e-12, rounding about 1e-16 / 1e-6 = 1e-10. No error is within 1e-6 of a kink.
    for index in np.ndindex(out.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = out.copy()
            moved[index] += step
            total, weight_sum = loss.value(moved, target, lengths, weight)
            values.append(total / weight_sum)
        numeric[index] = (values[0] - values[1]) / 2e-6
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_padding_is_never_used_and_has_no_gradient(loss: Loss) -> None:
    out, target = batch(loss, per_step=True)
    reference = loss(out, target, LENGTHS)
    expected = reference[0], reference[1], reference[2].copy()
    padding = ~valid(LENGTHS)
    out[padding] = np.nan
    target[padding] = 2**40 if loss.kind == "labels" else np.inf
    total, weight_sum, d_out = loss(out, target, LENGTHS)
    assert (total, weight_sum) == expected[:2]
    np.testing.assert_array_equal(d_out, expected[2])
    assert not d_out[padding].any()
    measured = loss.metric(out, target, LENGTHS)
    assert np.isfinite(measured).all()
    assert measured[1] == LENGTHS.sum()


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.kind == "values"], ids=repr)
def test_an_unknown_target_of_weight_0_does_not_count(loss: Loss, per_step: bool) -> None:
    out, target = batch(loss, per_step)
    weight = np.random.default_rng(7).integers(0, 3, out.shape[:-1]).astype(float)
    weight.flat[1] = 0
    expected, expected_metric = loss(out, target, None, weight), loss.metric(out, target, None, weight)
    expected = (*expected[:2], expected[2].copy())
    target[weight == 0] = np.nan
    got = loss(out, target, None, weight)
    assert got[:2] == expected[:2] and loss.value(out, target, None, weight) == expected[:2]
    np.testing.assert_array_equal(got[2], expected[2])
    assert (got[2][weight == 0] == 0).all()
    assert loss.metric(out, target, None, weight) == expected_metric
    # Without the weight it does count and changes the loss.
    assert np.isnan(loss(out, target)[0])


def test_labels_of_minus_100_are_ignored() -> None:
    loss = CrossEntropy()
    out, target = batch(loss, per_step=True)
    target[1] = -100
    target[0, 3] = -100
    keep = target >= 0
    total, weight_sum, d_out = loss(out, target)
    assert weight_sum == keep.sum() == 14
    assert total == pytest.approx(pointwise(loss, out, np.abs(target) % OUTPUTS)[keep].sum(), rel=1e-12)
    assert not d_out[~keep].any()
    assert loss.metric(out, target)[1] == 14


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_nothing_that_counts_gives_zero(loss: Loss) -> None:
    out, target = batch(loss, per_step=False)
    total, weight_sum, d_out = loss(out, target, None, np.zeros(BATCH))
    assert (total, weight_sum) == (0.0, 0.0)
    assert not d_out.any()


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_buffers_are_used_again_and_smaller_batches_are_right(loss: Loss) -> None:
    out, target = batch(loss, per_step=False)
    first = loss(out, target)[2]
    assert np.shares_memory(first, loss(out, target)[2])
    small = loss(out[:2], target[:2])[2].copy()
    np.testing.assert_array_equal(small, type(loss)(*_arguments(loss))(out[:2], target[:2])[2])


def _arguments(loss: Loss) -> list[Any]:
    return [value for key, value in loss.get_config().items() if key != "name"]


def test_binary_cross_entropy_is_stable_for_large_scores() -> None:
    out = np.array([[1000.0], [-1000.0], [1000.0], [-1000.0]])
    target = np.array([[1.0], [0.0], [0.0], [1.0]])
    total, _, d_out = BinaryCrossEntropy()(out, target)
    assert total == 2000.0
    np.testing.assert_array_equal(d_out[:, 0], [0.0, 0.0, 0.25, -0.25])
    small = BinaryCrossEntropy().value(np.array([[40.0]]), np.array([[1.0]]))[0]
    assert small == pytest.approx(np.exp(-40.0), rel=1e-12)  # a naive log(sigmoid) gives 0


def test_cross_entropy_is_stable_for_large_scores() -> None:
    total, _, d_out = CrossEntropy()(np.array([[1e4, 0.0], [1e4, 0.0]]), np.array([0, 1]))
    assert total == 1e4
    # The kernel's exp ends at the smallest normal number instead of 0.
    np.testing.assert_allclose(d_out, [[0.0, 0.0], [0.5, -0.5]], rtol=0, atol=1e-307)


def test_quantiles_of_one_value() -> None:
    loss = Quantile((0.1, 0.9))
    out, target = np.array([[0.0, 0.0], [4.0, 4.0]]), np.array([[2.0], [3.0]])
    total, weight_sum, d_out = loss(out, target)
    # Errors y - out: 2 and -1; losses (.1 * 2 + .9 * 2) / 2 = 1 and (.9 * 1 + .1 * 1) / 2 = .5.
    assert (total, weight_sum) == (pytest.approx(1.5), 2.0)
    np.testing.assert_allclose(d_out, np.array([[-0.1, -0.9], [0.9, 0.1]]) / 4, rtol=1e-15)
    # The metric uses the column whose level is nearest to 0.5.
    assert Quantile((0.1, 0.6)).metric(np.array([[9.0, 1.0]]), np.array([[3.0]])) == (2.0, 1.0)


def test_minimum_of_the_quantile_loss_is_the_quantile() -> None:
    y = np.sort(np.random.default_rng(0).normal(size=(99, 1)), axis=0)
    losses = [Quantile(0.25).value(np.full((99, 1), guess), y)[0] for guess in y[:, 0]]
    assert int(np.argmin(losses)) == 24  # a quarter of the others is below the 25th of 99


def test_metrics() -> None:
    out = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert CrossEntropy().metric(out, np.array([0, 0, 0])) == (2.0, 3.0)
    assert CrossEntropy().metric(out, np.array([0, 0, 0]), None, np.array([1.0, 5.0, 2.0])) == (3.0, 8.0)
    assert BinaryCrossEntropy().metric(out - 0.5, np.array([[1.0, 0.0]] * 3)) == (0.5 + 0.0 + 1.0, 3.0)
    assert MSE().metric(out, np.zeros((3, 2)), scale=np.array([10.0, 1.0])) == (10.5 + 0.5 + 15.0, 3.0)
    np.testing.assert_array_equal(out, [[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (BinaryCrossEntropy(), ("BCEWithLogitsLoss", {})),
        (MSE(), ("MSELoss", {})),
        (MAE(), ("L1Loss", {})),
        (Huber(0.7), ("HuberLoss", {"delta": 0.7})),
    ],
    ids=repr,
)
def test_values_agree_with_torch(loss: Loss, theirs: tuple[str, dict[str, Any]], dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    out, target = batch(loss, per_step=True, dtype=dtype)
    leaf = torch.from_numpy(out).requires_grad_()
    expected = getattr(torch.nn, theirs[0])(**theirs[1])(leaf, torch.from_numpy(target))
    expected.backward()
    total, weight_sum, d_out = loss(out, target)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12  # a few roundings
    assert total / weight_sum == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(d_out, leaf.grad.numpy(), rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_class_weights_agree_with_torch(dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    loss = CrossEntropy()
    out, target = batch(loss, per_step=True, dtype=dtype)
    target[2, 1] = -100
    class_weight = np.array([0.5, 2.0, 1.25])
    leaf = torch.from_numpy(out).requires_grad_()
    expected = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(class_weight.astype(dtype)))(
        leaf.reshape(-1, OUTPUTS), torch.from_numpy(target.reshape(-1))
    )
    expected.backward()
    total, weight_sum, d_out = loss(out, target, None, class_weight.take(target, mode="clip"))
    tolerance = 1e-6 if dtype == np.float32 else 1e-12  # a few roundings
    assert total / weight_sum == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(d_out, leaf.grad.numpy(), rtol=tolerance * 10, atol=tolerance / 10)


def test_names_and_config_make_the_same_loss_again() -> None:
    for loss in ALL:
        again = get_loss(json.loads(json.dumps(loss.get_config())))
        assert type(again) is type(loss)
        assert again.get_config() == loss.get_config()
        assert type(get_loss(loss.name)) is type(loss)
        assert get_loss(loss) is loss
    with pytest.raises(ValueError, match="cross_entropy, ctc, huber, mae, mse, quantile"):
        get_loss("rmse")
    with pytest.raises(TypeError, match="Huber"):
        get_loss(Huber)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "out", "target", "message"),
    [
        (CrossEntropy(), (4, 3), np.zeros((4, 1), np.int64), r"shape \(4,\)"),
        (CrossEntropy(), (4, 3), np.zeros(4), "integer labels"),
        (CrossEntropy(), (4, 3), np.array([0, 1, 2, 3]), "label 3 is out of range, expected 0 to 2"),
        (MSE(), (4, 3), np.zeros((4, 1)), r"\(4, 3\)"),
        (Quantile((0.1, 0.9)), (4, 3), np.zeros((4, 3)), "needs a model of 2 outputs"),
        (Quantile((0.1, 0.9)), (4, 2), np.zeros((3, 1)), r"\(3, 1\)"),
    ],
)
def test_wrong_shapes_are_refused(loss: Loss, out: tuple[int, ...], target: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(np.zeros(out), target)


def test_wrong_weights_and_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="weight must have shape"):
        MSE()(np.zeros((4, 1)), np.zeros((4, 1)), None, np.ones(3))
    for make in (
        lambda: Huber(0.0),
        lambda: Quantile(()),
        lambda: Quantile(1.0),
        lambda: Quantile((0.5, 2.0)),
    ):
        with pytest.raises(ValueError, match="delta|quantiles"):
            make()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e308])
@pytest.mark.parametrize("loss", [CrossEntropy(), MSE(), BinaryCrossEntropy()])
def test_weights_without_a_finite_sum_are_refused(loss: Any, bad: float) -> None:
    out = np.zeros((3, 4, 2), np.float32)
    target = np.zeros((3, 4), np.int64) if loss.kind == "labels" else np.zeros_like(out)
    weight = np.ones((3, 4))
    weight[:2, 1] = bad
    for use in (loss, loss.value, loss.metric):
        with pytest.raises(ValueError, match="weight must hold finite numbers with a finite sum"):
            use(out, target, None, weight)
        use(out, target, np.array([1, 1, 4]), weight)  # it is beyond the lengths


# ---------------------------------------------------------------------------------------------- names of two classes


def named(outputs: int = 1, per_step: bool = False, **arguments: Any) -> fl.Model:
    return fl.Model([fl.LSTM(4, return_sequences=per_step), fl.Dense(outputs)], seed=0, **arguments)


def test_two_names_become_0_and_1(tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((30, 6, 2))
    y = (X[:, :, 0].sum(1) > 0).astype(int)
    names = np.where(y == 1, "yes", "no")
    settings: Any = {"loss": "binary_cross_entropy", "epochs": 30, "optimizer": "rmsprop", "verbose": 0}
    of_numbers, of_names = named(), named()
    of_numbers.fit(X, y, **settings)
    for given in (names, names.tolist(), names[:, None], names.astype(object)):
        of_names = named()
        of_names.fit(X, given, **settings)
        np.testing.assert_array_equal(of_names.flat_parameters, of_numbers.flat_parameters)
        assert of_names.classes == ["no", "yes"]
    decided = of_names.predict_classes(X)
    np.testing.assert_array_equal(decided, np.where(of_numbers.predict_classes(X) == 1, "yes", "no"))
    assert (decided == names).mean() > 0.9
    assert of_names.evaluate(X, names) == of_numbers.evaluate(X, y) == of_names.evaluate(X, y)
    of_names.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(fl.load(tmp_path / "model.safetensors").predict_classes(X), decided)
    weighted = [named(), named()]
    weighted[0].fit(X, y, **settings, class_weight={1: 3.0})
    weighted[1].fit(X, names, **settings, class_weight={"yes": 3.0})
    np.testing.assert_array_equal(weighted[0].flat_parameters, weighted[1].flat_parameters)


def test_two_names_in_an_order_of_the_user_and_per_step() -> None:
    X = np.random.default_rng(0).standard_normal((6, 4, 2))
    y = (X[:, :, 0] > 0).astype(int)
    names = np.where(y == 1, "a", "b")
    one, other = named(per_step=True, classes=["b", "a"]), named(per_step=True)
    one.fit(X, names, loss="binary_cross_entropy", epochs=2, verbose=0)
    other.fit(X, y, loss="binary_cross_entropy", epochs=2, verbose=0)
    np.testing.assert_array_equal(one.flat_parameters, other.flat_parameters)
    assert one.classes == ["b", "a"]
    np.testing.assert_array_equal(one.predict_classes(X), np.where(other.predict_classes(X) == 1, "a", "b"))
    listed = named(per_step=True)
    listed.fit(list(X), list(names), loss="binary_cross_entropy", epochs=1, verbose=0)
    assert listed.predict_classes(list(X))[0][0] in ("a", "b")


@pytest.mark.parametrize(
    "y, outputs, message",
    [
        (["a", "b", "c"] * 2, 1, r"y has 3 classes, \['a', 'b', 'c'\], .* use loss='cross_entropy' with fl.Dense\(3\)"),
        (["a"] * 6, 1, "y holds one class only, 'a', expected two"),
        (["a", "b"] * 3, 2, r"y holds names and the model has 2 outputs, expected 1: .* fl.Dense\(1\)"),
        ([1, 2] * 3, 1, r"y must hold 0 and 1 .*, got 2: for 0 and 1 pass numpy.equal\(y, 2\)"),
        ([-1, 1] * 3, 1, r"got -1: for 0 and 1 pass numpy.equal\(y, 1\)"),
        ([0, 1, 2] * 2, 1, r"got 2: for 3 classes use loss='cross_entropy' with fl.Dense\(3\)"),
        ([0.5, 1.5, 2.25] * 2, 1, "got 1.5: use a loss for values, such as 'mse'"),
        (["a", None] * 3, 1, r"y\[1\] is missing"),
    ],
)
def test_other_targets_of_binary_cross_entropy_are_refused(y: Any, outputs: int, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        named(outputs).fit(np.zeros((6, 3, 1)), y, loss="binary_cross_entropy", epochs=1, verbose=0)


def test_names_of_several_outputs_are_not_names_of_0_and_1() -> None:
    X, y = np.zeros((6, 3, 1)), np.tile([[0, 1], [1, 0]], (3, 1))
    m = named(2, classes=["left", "right"])
    m.fit(X, y, loss="binary_cross_entropy", epochs=1, verbose=0)
    assert m.predict_classes(X).dtype == np.int64


def test_a_known_class_is_refused_if_it_is_new() -> None:
    m = named()
    m.fit(np.zeros((4, 3, 1)), ["a", "b"] * 2, loss="binary_cross_entropy", epochs=1, verbose=0)
    with pytest.raises(ValueError, match="y holds the label 'c', expected one of the known classes"):
        m.evaluate(np.zeros((4, 3, 1)), ["a", "c"] * 2)
