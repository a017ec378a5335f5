"""CTC: the loss against all paths, the reference, finite differences and torch; decoding; training and its checks."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import _core, reference
from fastlstm.data.label_sequences import as_label_sequences
from fastlstm.losses import CTC, get_loss
from fastlstm.losses.decoding import label_errors

# Relative: in float32 the softmax rounds by some 1e-7 for each step; in float64 log and exp leave 1e-15.
LOSS = {"float32": 2e-6, "float64": 1e-13}
GRADIENT = {"float32": 2e-6, "float64": 1e-12}

CASES: list[tuple[int, list[int]]] = [
    (6, [1, 2]),
    (9, [2, 2, 1]),
    (3, [3, 3]),  # just enough room: a blank between the two
    (9, []),
    (5, [1, 2, 3, 1, 2]),  # no room for any blank
    (1, [3]),
]


def merged(path: tuple[int, ...], blank: int) -> list[int]:
    return [k for i, k in enumerate(path) if k != blank and (i == 0 or path[i - 1] != k)]


def problem(
    dtype: str, blank: int = 0, classes: int = 4, scale: float = 2.0, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return logits with NaN in the padding, lengths, padded labels and their numbers."""
    rng = np.random.default_rng(seed)
    lengths = np.array([time for time, _ in CASES])
    logits = (scale * rng.standard_normal((len(CASES), int(lengths.max()), classes))).astype(dtype)
    logits[np.arange(logits.shape[1]) >= lengths[:, None]] = np.nan
    labels = np.full((len(CASES), 5), -100)
    for b, (_, one) in enumerate(CASES):
        labels[b, : len(one)] = [k if blank == 0 else k - 1 + (k - 1 >= blank) for k in one]
    return logits, lengths, labels, (labels >= 0).sum(axis=1)


def run(
    logits: np.ndarray, lengths: Any, labels: np.ndarray, numbers: np.ndarray, blank: int = 0, weights: Any = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    losses, gradient = np.full(len(logits), 9.0), np.full_like(logits, 9)
    _core.ctc(
        logits, labels, numbers, blank, weights, gradient, losses, _core.Workspace(), lengths=lengths, n_threads=threads
    )
    alone = np.empty(len(logits))
    _core.ctc(logits, labels, numbers, blank, weights, None, alone, _core.Workspace(), lengths=lengths)
    np.testing.assert_array_equal(alone, losses)
    return losses, gradient


def test_reference_sums_over_all_paths() -> None:
    """Compare with the definition: the sum over every path of 5 steps over 3 classes."""
    rng = np.random.default_rng(2)
    for labels, blank in (([1], 0), ([1, 2], 0), ([1, 1], 0), ([], 0), ([2, 1, 2], 0), ([0, 0], 2), ([1, 1, 1, 1], 0)):
        logits = rng.standard_normal((5, 3))
        p = reference.softmax(logits)
        total = sum(
            np.prod([p[t, k] for t, k in enumerate(path)])
            for path in product(range(3), repeat=5)
            if merged(path, blank) == labels
        )
        loss, gradient = reference.ctc(logits, np.array(labels, int), blank)
        if total == 0:
            assert loss == np.inf and (gradient == 0).all()
            continue
        assert loss == pytest.approx(-np.log(total), rel=1e-13)
        numerical = numerical_gradient(lambda: reference.ctc(logits, np.array(labels, int), blank)[0], logits)  # noqa: B023
        assert relative_error(gradient, numerical) <= FINITE_DIFFERENCE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blank", [0, 2, 3])
@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_kernel_equals_reference(isa: str, scale: float, blank: int, dtype: str) -> None:
    logits, lengths, labels, numbers = problem(dtype, blank, scale=scale)
    weights = np.array([1.0, 0.5, 2.0, 1.0, 0.25, 3.0])
    losses, gradient = run(logits, lengths, labels, numbers, blank, weights, threads=2)
    for b, length in enumerate(lengths):
        expected, d = reference.ctc(logits[b, :length].astype("f8"), labels[b, : numbers[b]], blank)
        # If a path is nearly certain, its loss is the difference of large numbers.
        assert losses[b] == pytest.approx(weights[b] * expected, rel=LOSS[dtype], abs=LOSS[dtype] * scale * weights[b])
        assert np.abs(gradient[b, :length] - weights[b] * d).max() <= GRADIENT[dtype] * scale * weights[b]
        assert (gradient[b, length:] == 0).all()


@pytest.mark.parametrize("classes", [5, 33])
def test_long_series(isa: str, classes: int) -> None:
    """Take hundreds of steps, for which products of probabilities would underflow."""
    rng = np.random.default_rng(classes)
    logits = 3 * rng.standard_normal((2, 300, classes))
    labels = rng.integers(1, classes, (2, 100))
    numbers = np.array([100, 7])
    losses, gradient = run(logits, None, labels, numbers, threads=2)
    for b in range(2):
        expected, d = reference.ctc(logits[b], labels[b, : numbers[b]])
        assert losses[b] == pytest.approx(expected, rel=1e-12)
        assert np.abs(gradient[b] - d).max() <= 1e-11


def test_the_only_path_may_be_most_improbable() -> None:
    """A double cannot hold exp(-4000), but it can hold its logarithm."""
    logits = np.zeros((1, 4, 3))
    logits[..., 0] = 1000
    losses, gradient = run(logits, None, np.array([[1, 2, 1, 2]]), np.array([4]))
    assert losses[0] == pytest.approx(4000, rel=1e-12)
    expected = np.tile([1.0, 0, 0], (4, 1)) - np.array([[0, 1.0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(gradient[0], expected, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_threads_and_the_batch_do_not_matter(isa: str, dtype: str) -> None:
    logits, lengths, labels, numbers = problem(dtype)
    losses, gradient = run(logits, lengths, labels, numbers)
    for threads in (2, 3, 8):
        more = run(logits, lengths, labels, numbers, threads=threads)
        np.testing.assert_array_equal(more[0], losses)
        np.testing.assert_array_equal(more[1], gradient)
    for b, length in enumerate(lengths):
        one = run(logits[b : b + 1, :length].copy(), None, labels[b : b + 1, : numbers[b]].copy(), numbers[b : b + 1])
        np.testing.assert_array_equal(one[0], losses[b : b + 1])
        np.testing.assert_array_equal(one[1][0], gradient[b, :length])


def test_impossible_empty_and_nan() -> None:
    logits = np.random.default_rng(3).standard_normal((4, 3, 3))
    logits[2, 1, 1] = np.nan
    labels = np.array([[1, 1, 1], [1, 2, 1], [1, -100, -100], [1, 2, -100]])
    losses, gradient = run(logits, np.array([3, 2, 3, 0]), labels, np.array([3, 3, 1, 0]))
    assert losses[0] == np.inf and losses[1] == np.inf and np.isnan(losses[2]) and losses[3] == 0
    assert (gradient[[0, 1, 3]] == 0).all() and (gradient[2] == 0).all()
    losses, gradient = run(logits, None, labels, np.array([3, 3, 1, 2]), weights=np.zeros(4))
    assert (losses == 0).all() and (gradient == 0).all()


# ---------------------------------------------------------------------------------------------- the loss object


def test_loss_object_weights_and_gradient() -> None:
    rng = np.random.default_rng(4)
    out, lengths, labels, _ = problem("float64")
    out = np.nan_to_num(out)
    weight = rng.uniform(0.5, 2, len(out))
    loss = CTC()
    total, weight_sum, gradient = loss(out, labels, lengths, weight)
    gradient = gradient.copy()
    each = [reference.ctc(out[b, :time], np.array(one, int))[0] if time else 0.0 for b, (time, one) in enumerate(CASES)]
    assert weight_sum == pytest.approx(weight.sum()) and total == pytest.approx((weight * each).sum(), rel=1e-12)
    assert loss.value(out, labels, lengths, weight) == (total, weight_sum)

    def mean() -> float:
        total, weight_sum = loss.value(out, labels, lengths, weight)
        return total / weight_sum

    assert relative_error(gradient, numerical_gradient(mean, out)) <= FINITE_DIFFERENCE
    total, weight_sum, _ = loss(out, labels, lengths)
    assert weight_sum == len(out) and total == pytest.approx(sum(each), rel=1e-12)


def test_impossible_cases_in_the_loss_object() -> None:
    out, labels = np.random.default_rng(5).standard_normal((3, 3, 3)), np.array([[1, 2], [1, 1], [2, 2]])
    lengths = np.array([3, 2, 3])
    total, weight_sum, gradient = CTC()(out, labels, lengths)
    assert total == np.inf and weight_sum == 3 and np.isfinite(gradient).all() and (gradient[1] == 0).all()
    kept = np.array([0, 2])
    total, weight_sum, gradient = CTC(zero_infinity=True)(out, labels, lengths)
    expected = CTC()(out[kept], labels[kept], lengths[kept])
    assert (total, weight_sum) == pytest.approx(expected[:2]) and weight_sum == 2
    np.testing.assert_allclose(gradient[kept], expected[2], rtol=1e-12)
    assert (gradient[1] == 0).all()
    assert CTC(zero_infinity=True)(out[1:2], labels[1:2], lengths[1:2])[:2] == (0, 0)


def test_metric_is_the_label_error_rate() -> None:
    out = np.log(np.eye(4)[[[1, 1, 0, 2, 3], [0, 0, 3, 3, 1]]] + 1e-3)
    labels = np.array([[1, 2, 2], [3, -100, -100]])
    assert CTC().metric(out, labels) == (1 + 1, 4)
    assert CTC().metric(out, labels, np.array([4, 4])) == (1 + 0, 4)
    assert CTC().metric(out, labels, None, np.array([2.0, 0.5])) == (2.5, 6.5)


def test_names_and_config() -> None:
    loss = get_loss({"name": "ctc", "blank": 3, "zero_infinity": True})
    assert isinstance(loss, CTC) and loss.get_config() == {"name": "ctc", "blank": 3, "zero_infinity": True}
    assert repr(get_loss("ctc")) == "CTC(blank=0, zero_infinity=False)"
    with pytest.raises(ValueError, match="blank must be at least 0"):
        CTC(blank=-1)
    for target, message in (
        (np.array([1, 2]), "must be integer labels"),
        (np.array([[1.0]]), "must be integer labels"),
        (np.array([[-100, 1]]), "labels after the padding"),
        (np.array([[3]]), r"label 3 at \[0, 0\] is not one of the 3 classes"),
        (np.array([[0]]), "or is the blank, 0"),
    ):
        with pytest.raises(ValueError, match=message):
            CTC()(np.zeros((1, 4, 3)), target)
    with pytest.raises(ValueError, match="blank is 5, expected 0 to 2"):
        CTC(blank=5)(np.zeros((1, 4, 3)), np.array([[1]]))


# ---------------------------------------------------------------------------------------------- decoding


def label_probability(p: np.ndarray, labels: list[int], blank: int) -> float:
    return float(np.exp(-reference.ctc(np.log(p), np.array(labels, int), blank)[0]))


def test_best_path() -> None:
    path = np.array([[0, 1, 1, 0, 1, 2, 2, 0], [2, 2, 2, 0, 0, 1, 1, 1]])
    scores = np.eye(3)[path]
    assert [a.tolist() for a in fl.ctc_decode(scores)] == [[1, 1, 2], [2, 1]]
    assert [a.tolist() for a in fl.ctc_decode(scores, [4, 2])] == [[1], [2]]
    assert [a.tolist() for a in fl.ctc_decode(list(scores), blank=2)] == [[0, 1, 0, 1, 0], [0, 1]]
    assert fl.ctc_decode(np.zeros((1, 0, 3)))[0].tolist() == []
    assert fl.ctc_decode(scores)[0].dtype == np.int64


@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_beam_finds_the_most_probable_labels(blank: int) -> None:
    """Compare with all sequences of up to 5 of two labels; the best path often gives another one."""
    rng = np.random.default_rng(6)
    others = [k for k in range(3) if k != blank]
    different = 0
    for _ in range(12):
        logits = rng.standard_normal((5, 3))
        p = reference.softmax(logits)
        every = [list(one) for n in range(6) for one in product(others, repeat=n)]
        probabilities = [label_probability(p, one, blank) for one in every]
        best = every[int(np.argmax(probabilities))]
        got = fl.ctc_decode(logits[None], beam_width=200, blank=blank)[0].tolist()
        assert got == best
        log_p = np.log(p)
        score = _core.ctc_beam_search(log_p, blank, 200, _core.Workspace())[1]
        assert score == pytest.approx(np.log(max(probabilities)), rel=1e-12)
        different += fl.ctc_decode(logits[None], blank=blank)[0].tolist() != best
    assert different > 0


def plain_beam(log_p: np.ndarray, blank: int, width: int) -> list[int]:
    """Run a prefix beam search with a dictionary."""
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for row in log_p:
        grown: dict[tuple[int, ...], list[float]] = {}

        def add(prefix: tuple[int, ...], which: int, value: float, grown: Any = grown) -> None:
            pair = grown.setdefault(prefix, [-np.inf, -np.inf])
            pair[which] = np.logaddexp(pair[which], value)

        for prefix, (b, n) in beams.items():
            add(prefix, 0, np.logaddexp(b, n) + row[blank])
            if prefix:
                add(prefix, 1, n + row[prefix[-1]])
            for c in range(len(row)):
                if c != blank:
                    add((*prefix, c), 1, (b if prefix and c == prefix[-1] else np.logaddexp(b, n)) + row[c])
        # A prefix that is not in the beam is reached from its parent only, as in the kernel.
        ranked = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))
        beams = {prefix: (pair[0], pair[1]) for prefix, pair in ranked[:width]}
    return list(max(beams, key=lambda prefix: np.logaddexp(*beams[prefix])))


@pytest.mark.parametrize("width", [2, 3, 8])
def test_narrow_beams_equal_a_plain_search(width: int) -> None:
    rng = np.random.default_rng(width)
    for _ in range(20):
        log_p = np.log(reference.softmax(1.5 * rng.standard_normal((25, 5))))
        got = _core.ctc_beam_search(log_p, 0, width, _core.Workspace())[0]
        assert got.tolist() == plain_beam(log_p, 0, width)


def test_edit_distance() -> None:
    def by_recursion(a: list[int], b: list[int]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(by_recursion(a[1:], b) + 1, by_recursion(a, b[1:]) + 1, by_recursion(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(7)
    for _ in range(30):
        a, b = (rng.integers(0, 3, rng.integers(0, 6)) for _ in range(2))
        expected = by_recursion(a.tolist(), b.tolist())
        assert label_errors([a], [b]).tolist() == [expected] == label_errors([b], [a]).tolist()


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        ((np.zeros((3, 2)),), {}, r"shape \(3, 2\), expected \(n, T, classes\)"),
        ((np.zeros((2, 3, 2)), [1]), {}, "lengths must be 2 integers from 0 to 3"),
        ((np.zeros((2, 3, 2)), [1, 4]), {}, "lengths must be 2 integers from 0 to 3"),
        (([np.zeros((3, 2))], [3]), {}, "pass lengths=None"),
        (([np.zeros(3)],), {}, "case 0 of logits"),
        ((np.zeros((2, 3, 2)),), {"blank": 2}, "blank is 2, expected 0 to 1"),
        ((np.zeros((2, 3, 2)),), {"beam_width": 0}, "beam_width must be at least 1"),
        ((np.full((2, 3, 2), np.nan),), {}, "case 0 hold NaN"),
    ],
)
def test_wrong_scores_are_refused(arguments: tuple[Any, ...], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fl.ctc_decode(*arguments, **more)


# ---------------------------------------------------------------------------------------------- training


def spikes(n: int, seed: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Return series in which each label is a spike in its own channel, at a random step, and the labels."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(n):
        labels = rng.integers(1, 4, rng.integers(1, 5)).tolist()
        parts = []
        for label in labels:
            part = np.zeros((int(rng.integers(3, 6)), 3))
            part[1:-1, label - 1] = 1
            parts.append(part)
        X.append(np.concatenate(parts) + 0.1 * rng.standard_normal((sum(map(len, parts)), 3)))
        y.append(labels)
    return X, y


def spike_model(classes: int = 4) -> fl.Model:
    return fl.Model([fl.LSTM(16, return_sequences=True, bidirectional=True), fl.Dense(classes)], seed=1)


def test_fit_evaluate_predict_save(tmp_path: Path) -> None:
    X, y = spikes(120, 1)
    model = spike_model()
    history = model.fit(
        X, y, loss="ctc", epochs=20, batch_size=16, optimizer=fl.Adam(0.02), validation_split=0.2, verbose=0
    ).history
    assert set(history) == {"loss", "label_error_rate", "val_loss", "val_label_error_rate", "lr"}
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    new_X, new_y = spikes(50, 2)
    result = model.evaluate(new_X, new_y)
    assert result["label_error_rate"] < 0.05
    found = model.predict_classes(new_X)
    for width in (1, 8):
        decoded = fl.ctc_decode(model.predict(new_X), beam_width=width)
        errors = label_errors(decoded, [np.array(one) for one in new_y])
        if width == 1:
            assert errors.sum() / sum(map(len, new_y)) == pytest.approx(result["label_error_rate"])
            assert all(np.array_equal(a, b) for a, b in zip(found, decoded, strict=True))
        assert errors.mean() < 0.2
    np.testing.assert_allclose(model.predict_proba(new_X)[0].sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "m.safetensors")
    assert fl.load(tmp_path / "m.safetensors").evaluate(new_X, new_y) == result
    # The same data as an array with lengths, with the same labels in the other forms.
    lengths = np.array([len(one) for one in new_X])
    padded = np.zeros((50, lengths.max(), 3))
    labels = np.full((50, 6), -100)
    for k, (one, targets) in enumerate(zip(new_X, new_y, strict=True)):
        padded[k, : len(one)] = one
        labels[k, : len(targets)] = targets
    numbers = (labels >= 0).sum(axis=1)
    # Batches of an array are as long as the array: the same sums, except that other batches round differently.
    assert model.evaluate(padded, labels, lengths=lengths) == pytest.approx(result)
    assert model.evaluate(padded, (np.where(labels < 0, 77, labels), numbers), lengths=lengths) == pytest.approx(result)


def test_texts_as_labels(tmp_path: Path) -> None:
    X, y = spikes(80, 3)
    texts = ["".join("_abc"[k] for k in one) for one in y]
    model = spike_model()
    model.fit(X, texts, loss="ctc", epochs=15, optimizer=fl.Adam(0.02), batch_size=16, verbose=0)
    assert model.classes == ["", "a", "b", "c"]
    read = ["".join(one) for one in model.predict_classes(X)]
    assert np.mean([a == b for a, b in zip(read, texts, strict=True)]) > 0.9
    twin = spike_model()
    twin.fit(X, y, loss="ctc", epochs=15, optimizer=fl.Adam(0.02), batch_size=16, verbose=0)
    np.testing.assert_array_equal(twin.flat_parameters, model.flat_parameters)
    with pytest.raises(ValueError, match="holds the label 'd', expected one of the known classes"):
        model.evaluate(X, ["d", *texts[1:]])


def test_weights_and_cases_without_room() -> None:
    X, y = spikes(30, 4)
    y[3] = [1] * 20
    with pytest.raises(ValueError, match=r"y\[3\] has 20 labels, which need 39 steps, .* X\[3\] has"):
        spike_model().fit(X, y, loss="ctc", verbose=0)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 30, "verbose": 0, "shuffle": False}
    a, b, c = spike_model(), spike_model(), spike_model()
    keep = np.arange(30) != 3
    a.fit(X, y, loss=fl.losses.CTC(zero_infinity=True), **options)
    b.fit(X, y, loss="ctc", sample_weight=keep.astype(float), **options)
    c.fit([X[k] for k in range(30) if k != 3], [y[k] for k in range(30) if k != 3], loss="ctc", **options)
    np.testing.assert_allclose(a.flat_parameters, b.flat_parameters, atol=1e-6)
    np.testing.assert_allclose(a.flat_parameters, c.flat_parameters, atol=1e-6)
    assert not np.array_equal(a.flat_parameters, np.zeros_like(a.flat_parameters))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": [[1]] * 9}, ValueError, "y has 9 cases, X has 10"),
        ({"y": [[0]] * 10}, ValueError, r"y\[0\] holds label 0, expected integers from 0 other than the blank, 0"),
        ({"y": [[1], *[[-2]] * 9]}, ValueError, r"y\[1\] holds label -2"),
        ({"y": [[7]] * 10}, ValueError, "are 8 classes and the model has 4 outputs: .*Dense.8"),
        ({"y": ["ab"] * 10}, ValueError, "are 3 classes and the model has 4 outputs"),
        ({"y": [[1.0]] * 10}, TypeError, r"y\[0\] has shape \(1,\) and type float64"),
        ({"y": [["a"], *[[1]] * 9]}, TypeError, "holds integers and strings"),
        ({"y": [["a", 1]] * 10}, TypeError, r"y\[0\]\[1\] is the int 1 among labels that are strings"),
        ({"y": np.array([[1.0]] * 10)}, TypeError, "expected integer labels"),
        ({"y": np.array([[-100, 1]] * 10)}, ValueError, "then -100 as padding"),
        ({"y": (np.array([[1]] * 10), np.full(10, 2))}, ValueError, "from 0 to 1, the columns of y"),
        ({"y": "text"}, TypeError, "list of sequences of labels, one for each case"),
        ({"class_weight": "balanced"}, ValueError, "class_weight is for classes"),
        ({"sample_weight": np.ones((10, 5))}, ValueError, "sample_weight must have shape"),
        ({"metrics": {"f": len}, "validation_split": 0.5}, ValueError, "not aligned: leave them out"),
        ({"tbptt_steps": 2}, ValueError, "belong to a whole series"),
        ({"loss": fl.losses.CTC(blank=4)}, ValueError, "are 5 classes and the model has 4 outputs"),
    ],
)
def test_wrong_data_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    model = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(4)], input_size=2)
    before = model.flat_parameters.copy()
    arguments = {"y": [[1, 2]] * 10, "loss": "ctc", "verbose": 0, **change}
    with pytest.raises(error, match=message):
        model.fit(np.zeros((10, 5, 2)), arguments.pop("y"), **arguments)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_wrong_models_are_refused() -> None:
    X, y = np.zeros((3, 5, 2)), [[1], [2], [1]]
    with pytest.raises(ValueError, match="needs an output for each step"):
        fl.Model([fl.LSTM(3), fl.Dense(4)]).fit(X, y, loss="ctc", verbose=0)
    with pytest.raises(ValueError, match="target_scaler is for regression"):
        fl.Model([fl.LSTM(3, return_sequences=True)], target_scaler=fl.Standardizer()).fit(X, y, loss="ctc", verbose=0)


def test_batches_and_subsets_of_label_sequences() -> None:
    data = as_label_sequences([[3, 1], [], [2, 2, 4]], 3, 0)
    assert data.n_outputs == 5 and len(data) == 3
    np.testing.assert_array_equal(data.batch(np.array([1, 0]), 9), [[-100, -100], [3, 1]])
    part = data.subset(np.array([2, 1]))
    np.testing.assert_array_equal(part.batch(slice(0, 2), 9), [[2, 2, 4], [-100] * 3])
    np.testing.assert_array_equal(np.concatenate(list(part.blocks())), [[2], [2], [4]])
    assert as_label_sequences(["ba", "b"], 2, 2).classes == ["a", "b", ""]
    with pytest.raises(ValueError, match="blank is 5, but y has only 2 labels"):
        as_label_sequences(["ba"], 1, 5)


def test_the_lengths_of_sequences_are_used() -> None:
    """What is beyond the end of a case is not decoded."""
    model = fl.Model([fl.Dense(3)], input_size=1)
    model.parameters()["0.weight"][:] = 0
    model.parameters()["0.bias"][:] = [1, 0, 0]
    model.loss = fl.CTC(blank=2)
    X, lengths = np.ones((2, 4, 1)), [1, 4]
    model.parameters()["0.weight"][:, 0] = [0, 5, 0]
    X[0, 1:] = 0
    expected = [labels.tolist() for labels in model.predict_classes(X, lengths)]
    assert expected == [[1], [1]]
    got = model.predict_classes(fl.data.as_sequences(X, lengths))
    assert [labels.tolist() for labels in got] == expected


# ---------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blank", [0, 3])
def test_equals_torch(blank: int, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    logits, lengths, labels, numbers = problem(dtype, blank)
    possible = np.array([0, 1, 2, 3, 5, 4])
    logits, lengths, labels, numbers = logits[possible], lengths[possible], labels[possible], numbers[possible]
    losses, gradient = run(logits, lengths, labels, numbers, blank)
    theirs = torch.tensor(np.nan_to_num(logits), requires_grad=True)
    log_p = theirs.log_softmax(-1).transpose(0, 1)
    clean = torch.tensor(np.where(labels < 0, 1 if blank == 0 else 0, labels))
    loss = torch.nn.functional.ctc_loss(
        log_p, clean, torch.tensor(lengths), torch.tensor(numbers), blank=blank, reduction="none"
    )
    loss.sum().backward()
    # Both round by some 1e-7 in float32, torch in its whole recursion.
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(losses, loss.detach().numpy(), rtol=tolerance)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=tolerance)
