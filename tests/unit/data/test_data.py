"""Inputs, targets, windows, splits, shuffling and standardizing."""

import tracemalloc

import numpy as np
import pytest

from fastlstm import data
from fastlstm.data import sequences, shuffle

RAGGED_IS_AN_ERROR = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "1.24.0",
    reason="NumPy before 1.24 warns of a ragged list and makes an object array, which is refused as such",
)


def series_of(*lengths, features=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, features)) for n in lengths]


# ------------------------------------------------------------------------------------------ as_sequences


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, bool])
@pytest.mark.parametrize("to", [np.float32, np.float64])
@pytest.mark.parametrize("indices", [slice(1, 3), range(1, 3), np.array([2, 0])])
def test_batch_of_an_array_converts_only_the_chosen_cases(dtype, to, indices):
    X = (np.arange(24).reshape(4, 3, 2) % 5).astype(dtype)
    seq = data.as_sequences(X)
    x, lengths = seq.batch(indices, to)
    assert (len(seq), seq.time, seq.features, seq.tokens, seq.lengths) == (4, 3, 2, False, None)
    assert x.dtype == to and x.flags.c_contiguous and lengths is None
    np.testing.assert_array_equal(x, X[indices].astype(to))


def test_batch_of_an_array_cuts_to_the_longest_and_leaves_padding_alone():
    X = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    X[0, 1:] = np.nan
    seq = data.as_sequences(X, [1, 3, 2])
    x, lengths = seq.batch(np.array([2, 0]))
    np.testing.assert_array_equal(x, X[[2, 0], :2])
    assert lengths.tolist() == [2, 1] and lengths.dtype == np.int64 and x.flags.c_contiguous
    x, lengths = seq.batch(slice(1, 2))
    assert lengths is None and x.shape == (1, 3, 2)
    assert data.as_sequences(X, [4, 4, 4]).lengths is None


def test_batch_of_a_two_dimensional_array_is_one_feature():
    X = np.array([[1, 2, 3], [4, 5, 6]])
    x, _ = data.as_sequences(X).batch(slice(0, 2))
    np.testing.assert_array_equal(x, X[:, :, None])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("indices", [slice(0, 2), np.array([1, 0])])
def test_a_batch_never_shares_memory_with_the_data(order, indices):
    X = np.asarray(np.arange(12, dtype=np.float32).reshape(2, 3, 2), order=order)
    before = X.copy()
    x, _ = data.as_sequences(X).batch(indices)
    assert x.flags.c_contiguous
    x += 1
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("kind", [list, tuple])
def test_batch_of_a_list_pads_with_zeros(kind):
    a, b, c = series_of(2, 4, 3)
    seq = data.as_sequences(kind([a, b, c]))
    assert seq.lengths.tolist() == [2, 4, 3] and (seq.time, seq.features) == (4, 2)
    x, lengths = seq.batch(np.array([2, 0]), np.float64)
    expected = np.zeros((2, 3, 2))
    expected[0], expected[1, :2] = c, a
    np.testing.assert_array_equal(x, expected)
    assert lengths.tolist() == [3, 2]
    x, lengths = seq.batch(slice(1, 2), np.float64)
    np.testing.assert_array_equal(x, [b])
    assert lengths is None


def test_a_list_of_one_dimensional_series_is_one_feature():
    seq = data.as_sequences([[1, 2], [3, 4]])
    assert seq.features == 1 and seq.lengths is None
    np.testing.assert_array_equal(seq.batch(slice(0, 2))[0], [[[1], [2]], [[3], [4]]])


def test_tokens():
    seq = data.as_sequences(np.array([[3, 1], [2, -1]], np.int16), [2, 1], tokens=True)
    x, lengths = seq.batch(np.array([1, 0]))
    assert (seq.tokens, seq.features) == (True, 0) and x.dtype == np.int64 and x.flags.c_contiguous
    assert x.tolist() == [[2, -1], [3, 1]] and lengths.tolist() == [1, 2]
    seq.check_tokens(4)  # the -1 is padding
    with pytest.raises(ValueError, match=r"token 3 at \[case, step\] = \[0, 0\], expected ids in \[0, 3\)"):
        seq.check_tokens(3)
    x, lengths = data.as_sequences([[5], [6, 7]], tokens=True).batch(slice(0, 2))
    assert x.tolist() == [[5, 0], [6, 7]] and lengths.tolist() == [1, 2]


def test_sequences_are_returned_as_they_are():
    seq = data.as_sequences(np.zeros((2, 3, 1)))
    assert data.as_sequences(seq) is seq
    with pytest.raises(ValueError, match="holds its lengths already"):
        data.as_sequences(seq, [1, 1])
    with pytest.raises(ValueError, match="tokens=False, expected tokens=True"):
        data.as_sequences(seq, tokens=True)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.array([np.zeros(2), np.zeros(3)], object), TypeError, r"X\[0\] is a numpy.ndarray.*list\(X\)"),
        (np.float64(3), ValueError, r"shape \(\), expected \(batch, time, features\)"),
        (np.zeros(5), ValueError, r"shape \(5,\).*X\[None, :, None\]"),
        (np.zeros((2, 3, 4, 5)), ValueError, r"shape \(2, 3, 4, 5\).*reshape"),
        (np.zeros((2, 3), complex), TypeError, "type complex128, expected real numbers"),
        (np.array([["a", "b"]]), TypeError, "type <U1, expected real numbers"),
        (np.zeros((0, 3, 2)), ValueError, r"shape \(0, 3, 2\), expected at least one case"),
        (np.zeros((2, 0, 2)), ValueError, "one step"),
        (np.zeros((2, 3, 0)), ValueError, "one feature"),
        (np.ma.masked_array(np.zeros((2, 3)), False), TypeError, "masked array"),
        ([], ValueError, "empty list"),
        ([1.0, 2.0], ValueError, r"X\[0\] has shape \(\).*\[X\]"),
        ([np.zeros((2, 3)), np.zeros((3, 2))], ValueError, r"X\[1\] has 2 features, expected 3"),
        ([np.zeros((2, 3)), np.zeros((0, 3))], ValueError, r"X\[1\] has no steps.*drop empty series"),
        pytest.param([[[1, 2], [3]]], ValueError, r"X\[0\] is ragged", marks=RAGGED_IS_AN_ERROR),
        ([np.zeros(2), np.zeros(2, complex)], TypeError, r"X\[1\] has type complex128"),
    ],
)
def test_unfit_inputs_are_refused_with_advice(X, error, message):
    with pytest.raises(error, match=message):
        data.as_sequences(X)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((2, 3)), TypeError, r"type float64, expected integers: use X.astype\(int\)"),
        (np.zeros((2, 3, 1), int), ValueError, r"no feature axis, pass X\[:, :, 0\]"),
        ([np.zeros((2, 1), int)], ValueError, r"X\[0\] has shape \(2, 1\), expected \(time,\) integers"),
        ([np.zeros(2)], TypeError, r"X\[0\] has type float64"),
    ],
)
def test_unfit_tokens_are_refused_with_advice(X, error, message):
    with pytest.raises(error, match=message):
        data.as_sequences(X, tokens=True)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 2, 3], r"shape \(3,\) and type int64, expected \(2,\) integers"),
        ([[1, 2]], r"shape \(1, 2\)"),
        ([1.0, 2.0], "type float64"),
        ([4, 0], r"lengths\[1\] is 0, expected 1 to 4"),
        ([5, 1], r"lengths\[0\] is 5, expected 1 to 4"),
    ],
)
def test_unfit_lengths_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        data.as_sequences(np.zeros((2, 4, 1)), lengths)


def test_lengths_with_a_list_are_refused():
    with pytest.raises(ValueError, match="is a list, whose series have their own lengths"):
        data.as_sequences([[1.0, 2.0]], [2])


# ---------------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize("form", ["array", "lengths", "list", "tokens"])
@pytest.mark.parametrize("first", [slice(1, 5), np.array([4, 1, 3, 2]), range(1, 5)])
@pytest.mark.parametrize("second", [slice(1, 3), np.array([3, 0])])
def test_subsets_of_subsets_hold_the_right_cases(form, first, second):
    lengths = np.array([2, 4, 1, 3, 4, 2])
    X = np.arange(48).reshape(6, 4, 2) if form != "tokens" else np.arange(24).reshape(6, 4)
    if form == "list":
        seq = data.as_sequences([x[:n] for x, n in zip(X, lengths, strict=True)])
    else:
        seq = data.as_sequences(X, None if form == "array" else lengths, tokens=form == "tokens")
    chosen = np.arange(6)[first][second]
    part = seq.subset(first).subset(second)
    x, got = part.batch(slice(0, 2), np.float64)
    expected, expected_lengths = seq.batch(chosen, np.float64)
    assert len(part) == 2
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(got, expected_lengths)
    x, _ = part.batch(np.array([1]))
    np.testing.assert_array_equal(x, seq.batch(chosen[1:])[0])


def test_subsets_do_not_copy_series():
    X = np.zeros((4, 3, 2))
    members = series_of(2, 3)
    cut, picked = data.as_sequences(X).subset(slice(1, 3)), data.as_sequences(X).subset(np.array([3, 1]))
    listed = data.as_sequences(members).subset(np.array([1]))
    X[:] = 7
    members[1][:] = 8
    assert (cut.batch(slice(0, 2))[0] == 7).all() and (picked.batch(slice(0, 2))[0] == 7).all()
    assert (listed.batch(slice(0, 1))[0] == 8).all()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (slice(4, 9), "chooses none of the 4 cases"),
        (np.array([], int), r"shape \(0,\)"),
        (np.array([True, False, True, True]), "numpy.flatnonzero"),
        (np.array([0, 4]), "run from 0 to 4, expected 0 to 3"),
        (np.array([-1, 2]), "run from -1 to 2"),
    ],
)
@pytest.mark.parametrize("X", [np.zeros((4, 2, 1)), [np.zeros(2)] * 4])
def test_unfit_indices_of_a_subset_are_refused(X, indices, message):
    with pytest.raises(ValueError, match=message):
        data.as_sequences(X).subset(indices)


# ---------------------------------------------------------------------------------------- finite values


@pytest.mark.parametrize("block", [1, 5, 10_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0, 0), (2, 0, 1), (2, 3, 1), (3, 1, 0)])
@pytest.mark.parametrize("form", ["array", "lengths", "list", "subset", "rows"])
def test_the_first_value_that_is_not_finite_is_named(monkeypatch, block, bad, where, form):
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    lengths = np.array([3, 1, 4, 2])
    X = np.ones((4, 4, 2))
    X[where] = X[3, 1, 1] = bad
    if form == "list":
        seq = data.as_sequences([x[:n] for x, n in zip(X, lengths, strict=True)])
    elif form == "subset":
        seq = data.as_sequences(np.concatenate([X * np.nan, X])).subset(slice(4, 8))
    elif form == "rows":
        seq = data.as_sequences(X[::-1]).subset(np.array([3, 2, 1, 0]))
    else:
        seq = data.as_sequences(X, lengths if form == "lengths" else None)
    index = ", ".join(map(str, where))
    with pytest.raises(ValueError, match=rf"X holds {bad} at \[case, step, feature\] = \[{index}\], expected finite"):
        seq.check_finite()


@pytest.mark.parametrize("block", [1, 5, 10_000])
def test_padding_may_hold_anything(monkeypatch, block):
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    lengths = np.array([3, 1, 4])
    X = np.where((np.arange(4) < lengths[:, None])[:, :, None], 1.0, np.nan) * np.ones(2)
    data.as_sequences(X, lengths).check_finite()
    data.as_sequences(X, lengths).subset(np.array([1, 0])).check_finite()
    X[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"= \[1, 0, 1\]"):
        data.as_sequences(X, lengths).check_finite()


def test_windows_may_have_lengths_of_their_own():
    values = np.ones(8)
    values[6] = np.nan
    X, _ = data.windows(values, 4)  # the last window, of the steps 3 to 6, has the NaN beyond its length
    data.as_sequences(X, [4, 4, 4, 3]).check_finite()
    with pytest.raises(ValueError, match=r"= \[3, 3, 0\]"):
        data.as_sequences(X, [4, 4, 3, 4]).check_finite()


def test_values_that_overflow_in_the_models_type_are_named():
    seq = data.as_sequences(np.array([[1.0, 1e39]]))
    seq.check_finite()
    seq.check_finite(np.float64)
    with pytest.raises(ValueError, match=r"1e\+39 \(too large for float32\) at .* = \[0, 1, 0\]"):
        seq.check_finite(np.float32)


@pytest.mark.parametrize("block", [1, 7, 10_000])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("bad", [0, 3, 11, 25])
def test_windows_are_scanned_once_and_name_the_first_window(monkeypatch, block, stride, bad):
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    values = np.ones((30, 2))
    values[bad, 1] = values[28, 0] = np.nan
    X, _ = data.windows(values, 4, stride=stride)
    seq = data.as_sequences(X)
    seen = sum(len(block.values) for block in seq.blocks())
    covered = len({i * stride + j for i in range(len(X)) for j in range(4)})
    # Below a stride of the length, windows overlap; each step must come once.
    assert seen == (covered if stride <= 4 else len(X) * 4)
    where = np.argwhere(np.isnan(X))
    if len(where) == 0:
        seq.check_finite()
        return
    with pytest.raises(ValueError, match=rf"= \[{where[0][0]}, {where[0][1]}, {where[0][2]}\]"):
        seq.check_finite()


@pytest.mark.parametrize("block", [1, 7, 10_000])
@pytest.mark.parametrize("rows", [[0, 1, 5, 6], [20, 3, 9], [24], [2, 2, 10]])
def test_a_choice_of_windows_is_scanned_where_it_looks(monkeypatch, block, rows):
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    for bad in range(30):
        values = np.ones(30)
        values[bad] = np.nan
        X, _ = data.windows(values, 4)
        seq = data.as_sequences(X).subset(np.array(rows))
        held = {i + j for i in rows for j in range(4)}
        assert sum(len(block.values) for block in seq.blocks()) == len(held)
        if bad not in held:
            seq.check_finite()
            continue
        with pytest.raises(ValueError, match=r"= \[\d+, \d+, 0\]") as caught:
            seq.check_finite()
        case, step, _ = (int(i) for i in str(caught.value).split("= [")[1].split("]")[0].split(","))
        assert np.isnan(X[rows][case, step, 0])


# ----------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_labels_of_cases(dtype):
    y = np.array([1, 0, 1, 0]).astype(dtype)
    targets = data.as_targets(y, data.as_sequences(np.zeros((4, 2))), False, "labels")
    batch = targets.batch(np.array([2, 1]), 2)
    assert batch.tolist() == [1, 0] and batch.dtype == np.int64
    assert (len(targets), targets.n_outputs, targets.per_step, targets.kind) == (4, 2, False, "labels")
    assert targets.subset(slice(2, 4)).batch(slice(0, 2), 2).tolist() == [1, 0]
    assert [block.tolist() for block in targets.blocks()] == [[[1], [0], [1], [0]]]


def test_labels_of_steps_are_ignored_beyond_the_length():
    X = data.as_sequences(np.zeros((2, 3)), [1, 3])
    targets = data.as_targets(np.array([[4, 99, -7], [0, -100, 2]]), X, True, "labels")
    assert targets.n_outputs == 5
    assert targets.batch(slice(0, 2), 3).tolist() == [[4, -100, -100], [0, -100, 2]]
    assert targets.batch(np.array([1, 0]), 4).tolist() == [[0, -100, 2, -100], [4, -100, -100, -100]]
    assert targets.batch(slice(1, 2), 2).tolist() == [[0, -100]]
    assert targets.batch(slice(0, 1), 1).tolist() == [[4]]


def test_labels_of_the_steps_of_a_list():
    X = data.as_sequences([np.zeros(1), np.zeros(3)])
    targets = data.as_targets([[1], [0, 1, 2]], X, True, "labels")
    assert targets.batch(slice(0, 2), 3).tolist() == [[1, -100, -100], [0, 1, 2]]
    assert targets.n_outputs == 3


@pytest.mark.parametrize(
    ("shape", "columns"), [((3,), 1), ((3, 4), 4), ((3, 2, 2), 4)], ids=["one", "several", "windows"]
)
def test_values_of_cases_always_have_columns(shape, columns):
    y = np.arange(np.prod(shape)).reshape(shape)
    targets = data.as_targets(y, data.as_sequences(np.zeros((3, 2))), False, "values")
    batch = targets.batch(np.array([2, 0]), 2)
    assert batch.dtype == np.float32 and batch.flags.c_contiguous and targets.n_outputs == columns
    np.testing.assert_array_equal(batch, y.reshape(3, -1)[[2, 0]])
    np.testing.assert_array_equal(np.concatenate(list(targets.blocks())), y.reshape(3, -1))


@pytest.mark.parametrize("columns", [None, 2])
def test_values_of_steps_are_zero_beyond_the_length(columns):
    y = np.arange(1.0, 7.0).reshape(2, 3)
    y = y if columns is None else np.stack([y, -y], axis=-1)
    y[0, 1:] = np.nan
    targets = data.as_targets(y, data.as_sequences(np.zeros((2, 3)), [1, 3]), True, "values")
    batch = targets.batch(slice(0, 2), 3, np.float64)
    expected = np.nan_to_num(y).reshape(2, 3, -1)
    assert targets.n_outputs == (columns or 1)
    np.testing.assert_array_equal(batch, expected)
    np.testing.assert_array_equal(targets.batch(np.array([0]), 1, np.float64), expected[:1, :1])
    np.testing.assert_array_equal(np.concatenate(list(targets.blocks())), np.r_[expected[0, :1], expected[1]])


def test_values_of_the_steps_of_a_list():
    X = data.as_sequences([np.zeros(1), np.zeros(2)])
    targets = data.as_targets([[5.0], [6.0, 7.0]], X, True, "values")
    assert targets.batch(slice(0, 2), 2).tolist() == [[[5], [0]], [[6], [7]]]


@pytest.mark.parametrize(
    ("y", "per_step", "kind", "error", "message"),
    [
        ([0, 1], False, "labels", ValueError, "y has 2 cases, X has 3"),
        (
            [0.0, 1.0, 2.0],
            False,
            "labels",
            TypeError,
            r"type float64, expected integer labels.*numpy.asarray\(y, float\).astype\(int\)",
        ),
        ([0, -1, 2], False, "labels", ValueError, r"label -1 at \[1\], expected 0 to"),
        ([-100, -100, -100], False, "labels", ValueError, "every label of y is -100"),
        (np.eye(3, dtype=int), False, "labels", ValueError, r"y.argmax\(-1\)"),
        (np.zeros(3, int), True, "labels", ValueError, r"shape \(3,\), expected \(3, 2\)"),
        (np.zeros((3, 4), int), True, "labels", ValueError, r"shape \(3, 4\), expected \(3, 2\)"),
        (np.zeros((3, 2, 1), int), True, "labels", ValueError, r"shape \(3, 2, 1\)"),
        ([[0, 0], [0], [0, 0]], True, "labels", ValueError, r"y\[1\] has 1 steps, X\[1\] has 2"),
        ([[0, 0], [0, -3], [0, 0]], True, "labels", ValueError, r"label -3 at \[case, step\] = \[1, 1\]"),
        ([0, 1, 2], True, "labels", ValueError, r"y\[0\] is one target, expected one for each step"),
        ([1.0, -np.inf, np.nan], False, "values", ValueError, r"-inf at \[case, column\] = \[1, 0\]"),
        ([[1, 2], [3, 4], [5, np.inf]], False, "values", ValueError, r"inf at \[case, column\] = \[2, 1\]"),
        (np.full((3, 2), np.nan), True, "values", ValueError, r"every value of y is missing \(nan\)"),
        (np.zeros((3, 5, 1)), True, "values", ValueError, r"expected \(3, 2\) or \(3, 2, columns\)"),
        (np.zeros((3, 1, 1, 1)), False, "values", ValueError, r"shape \(3, 1, 1, 1\)"),
        (np.zeros((3, 0)), False, "values", ValueError, "at least one target"),
        (["a", "b", "c"], False, "values", TypeError, "expected real numbers"),
        (np.array([1, None, 2]), False, "labels", TypeError, r"y\[1\] is missing"),
        pytest.param([[1, 2], [3], [4]], False, "values", ValueError, "y is ragged", marks=RAGGED_IS_AN_ERROR),
    ],
)
def test_unfit_targets_are_refused(y, per_step, kind, error, message):
    with pytest.raises(error, match=message):
        data.as_targets(y, data.as_sequences(np.zeros((3, 2))), per_step, kind)


def test_the_third_axis_of_targets_of_cases_is_named_as_a_column():
    y = np.ones((2, 3, 2))
    y[1, 2, 0] = np.inf
    with pytest.raises(ValueError, match=r"inf at \[case, column\] = \[1, 4\]"):
        data.as_targets(y, data.as_sequences(np.zeros((2, 4))), False, "values")


@pytest.mark.parametrize("y", [["b", "a", "b"], np.array(["b", "a", "b"], object), np.array(["b", "a", "b"])])
def test_string_labels_become_indices_into_sorted_classes(y):
    labels, classes = data.encode_labels(y)
    assert labels.tolist() == [1, 0, 1] and labels.dtype == np.int64 and classes == ["a", "b"]
    labels, classes = data.encode_labels(y, ["c", "b", "a"])
    assert labels.tolist() == [1, 2, 1] and classes == ["c", "b", "a"]
    targets = data.as_targets(y, data.as_sequences(np.zeros((3, 2))), False, "labels", ["a", "b", "c"])
    assert (targets.n_outputs, targets.classes) == (3, ["a", "b", "c"])
    assert targets.batch(slice(0, 3), 2).tolist() == [1, 0, 1]


def test_string_labels_of_steps():
    labels, classes = data.encode_labels([["x"], ["y", "x"]])
    assert [one.tolist() for one in labels] == [[0], [1, 0]] and classes == ["x", "y"]
    labels, _ = data.encode_labels(np.array([["x", "y"], ["y", "x"]]))
    assert labels.tolist() == [[0, 1], [1, 0]]
    targets = data.as_targets([["x"], ["y", "x"]], data.as_sequences([[0.0], [0.0, 0.0]]), True, "labels")
    assert targets.batch(slice(0, 2), 2).tolist() == [[0, -100], [1, 0]] and targets.classes == ["x", "y"]


@pytest.mark.parametrize(
    "y",
    [
        ["a", 1],
        [1, "a"],
        ["a", float("nan")],
        [float("nan"), "a"],
        ["a", b"x"],
        ["a", None],
        [["a"], [1]],
        [["a"], ["b", 1.5]],
        np.array(["a", np.nan], object),
        np.array([None, "a"], object),
        [np.array([np.nan, "a"], object), ["b"]],
    ],
)
def test_other_objects_among_strings_are_not_classes(y):
    """NumPy would convert it to a string, and a missing label to a class."""
    with pytest.raises(
        TypeError, match=r"y(\[.\])+ is .*(among labels that are strings|missing).* expected (a string|strings alone)"
    ):
        data.encode_labels(y)
    with pytest.raises(TypeError):
        data.as_targets(y, data.as_sequences([[0.0], [0.0, 0.0]]), isinstance(y[0], list), "labels")


@pytest.mark.parametrize("y", [[[1], ["a"]], [[1], [b"a"]], [np.array(["2020"], "M8[D]"), np.array([1.5])]])
def test_other_objects_among_integers_are_not_labels(y):
    with pytest.raises(TypeError, match="expected (integer labels from 0, or strings|strings alone or integers alone)"):
        data.encode_labels(y)


def test_bytes_that_are_not_text_among_strings():
    with pytest.raises(TypeError, match="a list that NumPy cannot turn into an array"):
        data.encode_labels(["a", b"\x80"])


def test_integer_labels_stay():
    labels, classes = data.encode_labels(np.array([3, 1], np.uint8))
    assert labels.tolist() == [3, 1] and labels.dtype == np.int64 and classes is None
    X = data.as_sequences(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"label 3 at \[0\], expected 0 to 1, or -100"):
        data.as_targets([3, 1], X, False, "labels", ["a", "b"])


def test_unknown_string_labels_are_named():
    with pytest.raises(ValueError, match=r"the label 'z', expected one of the known classes \['a', 'b'\]"):
        data.encode_labels(["a", "z"], ["a", "b"])


# ----------------------------------------------------------------------------------------------- windows


def test_windows_of_one_channel():
    X, y = data.windows(np.arange(10), 3, horizon=2, stride=2)
    assert X[:, :, 0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert y.tolist() == [[3, 4], [5, 6], [7, 8]]
    assert X.shape == (3, 3, 1)


def test_windows_without_a_horizon_reach_to_the_end():
    X, y = data.windows(np.arange(6), 3, horizon=0)
    assert X[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert y.shape == (4, 0)


@pytest.mark.parametrize("steps", [8, 9, 10, 11, 31])
@pytest.mark.parametrize(("length", "horizon", "stride"), [(5, 3, 1), (5, 3, 2), (1, 1, 1), (1, 7, 3), (7, 1, 5)])
@pytest.mark.parametrize(
    ("target", "columns"),
    [
        (None, [0, 1, 2, 3]),
        (2, 2),
        (slice(1, 3), [1, 2]),
        ([3], [3]),
        ([0, 2], [0, 2]),
        ([3, 1], [3, 1]),
        ([2, 1, 0], [2, 1, 0]),
    ],
)
def test_windows_equal_slices(steps, length, horizon, stride, target, columns):
    series = np.arange(steps * 4).reshape(steps, 4)
    X, y = data.windows(series, length, horizon, stride, target=target)
    starts = range(0, steps - length - horizon + 1, stride)
    np.testing.assert_array_equal(X, [series[s : s + length] for s in starts])
    np.testing.assert_array_equal(y, [series[s + length : s + length + horizon, columns] for s in starts])
    for view in (X, y):
        assert np.shares_memory(view, series) and not view.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "target", "message"),
    [
        ((np.zeros(5), 4, 2), None, r"5 steps, expected at least length \+ horizon = 6"),
        ((np.zeros((5, 2, 2)), 1), None, r"shape \(5, 2, 2\), expected \(steps,\)"),
        ((np.zeros((5, 0)), 1), None, r"shape \(5, 0\)"),
        ((np.zeros(5), 0), None, "length must be at least 1, got 0"),
        ((np.zeros(5), 1, -1), None, "horizon must be at least 0"),
        ((np.zeros(5), 1, 1, 0), None, "stride must be at least 1"),
        ((np.zeros((5, 4)), 1), 4, "target = 4, expected a column from 0 to 3"),
        ((np.zeros((5, 4)), 1), -1, "target must be at least 0"),
        ((np.zeros((5, 4)), 1), [0, 4], "expected columns from 0 to 3"),
        ((np.zeros((5, 4)), 1), [], "expected columns from 0 to 3"),
        ((np.zeros((5, 4)), 1), [0, 1, 3], "expected evenly spaced columns"),
        ((np.zeros((5, 4)), 1), [1, 1], "expected evenly spaced columns"),
    ],
)
def test_unfit_windows_are_refused(arguments, target, message):
    with pytest.raises(ValueError, match=message):
        data.windows(*arguments, target=target)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (np.zeros(5, complex), "type complex128, expected real numbers"),
        (np.ma.masked_array(np.zeros(5), False), "masked array"),
    ],
)
def test_windows_of_other_types_are_refused(series, message):
    with pytest.raises(TypeError, match=message):
        data.windows(series, 2)


def test_a_hundred_million_steps_do_not_fill_memory(tmp_path):
    steps, path = 100_000_000, tmp_path / "series.dat"
    with path.open("wb") as file:
        file.truncate(4 * steps)  # sparse: no disk is used
    series = np.memmap(path, np.float32, mode="r+")
    series[-1] = 5
    tracemalloc.start()
    X, y = data.windows(series, 200, horizon=4)
    inputs = data.as_sequences(X)
    targets = data.as_targets(y[:50_000_000], inputs.subset(slice(0, 50_000_000)), False, "values")
    order = data.Shuffle(len(inputs), seed=1)
    train, test = data.split(len(inputs), (0.5, 0.5), method="time")
    for start in (0, 64):
        x, _ = inputs.batch(order.take(start, start + 64))
        assert x.shape == (64, 200, 1) and not x.any()
    assert targets.batch(slice(0, 64), 200).shape == (64, 4)
    assert len(inputs.subset(train)) + len(inputs.subset(test)) == len(inputs)
    assert y[-1].tolist() == [0, 0, 0, 5]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The series has 400 MB, all windows together 80 GB, a permutation of them 800 MB.
    assert peak < 50e6


# ------------------------------------------------------------------------------------------------ splits


def test_a_split_by_time_gives_slices():
    assert data.split(10, (0.5, 0.3, 0.2), method="time") == (slice(0, 5), slice(5, 8), slice(8, 10))
    assert data.split(10, (0.5, 0.3, 0.2), method="time", gap=1) == (slice(0, 5), slice(6, 8), slice(9, 10))


@pytest.mark.parametrize(("gap", "shared"), [(0, 2), (2, 0)])
def test_a_gap_of_horizon_minus_one_keeps_targets_apart(gap, shared):
    _, y = data.windows(np.arange(40), 5, horizon=3)
    train, test = data.split(y, (0.5, 0.5), method="time", gap=gap)
    assert len(np.intersect1d(y[train], y[test])) == shared


@pytest.mark.parametrize("method", ["random", "stratified"])
@pytest.mark.parametrize("n", [7, 100, 1001])
def test_parts_hold_each_case_once(method, n):
    labels = np.arange(n) % 3
    parts = data.split(n, method=method, y=labels, seed=3)
    bounds = np.rint(np.array([0, 0.7, 0.85, 1]) * n)
    assert [len(part) for part in parts] == np.diff(bounds).tolist()
    assert all((np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


def test_a_random_split_depends_on_the_seed_alone():
    a, b, c = (data.split(np.zeros((50, 2, 1)), (0.6, 0.4), seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(a[0], b[0])
    assert not np.array_equal(a[0], c[0])
    assert not np.array_equal(a[0], np.arange(30))


@pytest.mark.parametrize("form", ["ints", "strings", "list"])
def test_a_stratified_split_keeps_the_shares_of_classes(form):
    counts = [400, 35, 160, 5]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
    y = {"ints": labels, "strings": np.array(list("abcd"))[labels], "list": labels.tolist()}[form]
    fractions = (0.7, 0.2, 0.1)
    for part, fraction in zip(data.split(y, fractions, method="stratified"), fractions, strict=True):
        # Rounding to whole cases changes a class by less than 1; that of other classes moves the cut by about 1 more.
        assert (np.abs(np.bincount(labels[part], minlength=4) - fraction * np.array(counts)) <= 2).all()
    different = data.split(y, fractions, method="stratified", seed=1)[0]
    assert not np.array_equal(different, data.split(y, fractions, method="stratified")[0])


def test_many_single_cases_do_not_push_a_large_class_aside():
    labels = np.r_[np.arange(1, 101), np.zeros(100, int)]
    train, test = data.split(labels, (0.7, 0.3), method="stratified")
    # 70 of each hundred, up to about one case of rounding on either side.
    assert abs((labels[train] == 0).sum() - 70) <= 2 and abs((labels[test] == 0).sum() - 30) <= 2


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((10, (0.5, 0.4)), {}, r"fractions \(0.5, 0.4\), expected positive numbers that sum to 1"),
        ((10, (1.5, -0.5)), {}, "positive"),
        ((10, (np.nan, 1.0)), {}, "finite"),
        ((3,), {}, "3 cases leave a part"),
        ((10,), {"method": "time", "gap": 2}, "10 cases with gap = 2 leave a part"),
        ((10,), {"gap": 2}, "gap = 2 with method = 'random'"),
        ((10,), {"method": "sorted"}, "method must be 'random', 'stratified' or 'time', got 'sorted'"),
        ((10,), {"method": "stratified"}, "a stratified split needs y=labels"),
        ((10,), {"method": "stratified", "y": np.zeros(9, int)}, r"labels of shape \(9,\)"),
        ((10,), {"method": "stratified", "y": np.zeros(10)}, "type float64"),
        ((0,), {}, "cases must be at least 1"),
    ],
)
def test_unfit_splits_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        data.split(*arguments, **options)


# ----------------------------------------------------------------------------------------------- shuffle


@pytest.mark.parametrize("limit", [0, 2**20], ids=["feistel", "permutation"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 1000, 1024, 1025, 70_000])
def test_a_shuffle_is_a_permutation(monkeypatch, limit, n):
    monkeypatch.setattr(shuffle, "PERMUTATION_LIMIT", limit)
    order = data.Shuffle(n, seed=3)
    whole = order.take(0, n)
    assert whole.dtype == np.int64 and len(order) == n
    np.testing.assert_array_equal(np.sort(whole), np.arange(n))
    if n <= 1025 or limit == 0:
        batches = list(order.batches(7))
        assert [len(batch) for batch in batches] == [7] * (n // 7) + [n % 7] * (n % 7 > 0)
        np.testing.assert_array_equal(np.concatenate(batches), whole)
    np.testing.assert_array_equal(order.take(n // 2, n + 5), whole[n // 2 :])


@pytest.mark.parametrize("limit", [999, 1000], ids=["feistel", "permutation"])
def test_a_shuffle_depends_on_n_seed_and_epoch_alone(monkeypatch, limit):
    monkeypatch.setattr(shuffle, "PERMUTATION_LIMIT", limit)
    first = data.Shuffle(1000, 1, 2).take(0, 1000)
    np.testing.assert_array_equal(first, data.Shuffle(1000, 1, 2).take(0, 1000))
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        other = data.Shuffle(1000, seed, epoch).take(0, 1000)
        # Two random orders agree in one place on average (Poisson); 10 or more occur once in 10 million.
        assert (first == other).sum() < 10


def test_a_feistel_shuffle_looks_random(monkeypatch):
    monkeypatch.setattr(shuffle, "PERMUTATION_LIMIT", 0)
    n = 100_000
    order = data.Shuffle(n, seed=0).take(0, n)
    position = np.arange(n)
    # In a random order a correlation has a standard deviation of 1 / sqrt(n) = 0.0032; four of them are allowed.
    assert abs(np.corrcoef(position, order)[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(n)
    # The first tenth of the order must be spread evenly over ten ranges: chi-square with 9 degrees of freedom, above
    # 33.7 once in 10,000 (without replacement it varies less still).
    counts = np.bincount(order[: n // 10] // (n // 10), minlength=10)
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 33.7


def test_unfit_shuffles_are_refused():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        data.Shuffle(0, 0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        list(data.Shuffle(3, 0).batches(0))


# ------------------------------------------------------------------------------------------ Standardizer

# Means and deviations are merged over blocks in float64: a few roundings away from NumPy's.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def assert_fitted_to(scaler, rows):
    np.testing.assert_allclose(scaler.mean_, rows.mean(axis=0), **CLOSE)
    np.testing.assert_allclose(scaler.scale_, rows.std(axis=0), **CLOSE)
    assert scaler.mean_.dtype == scaler.scale_.dtype == np.float64


@pytest.mark.parametrize("block", [1, 13, 10_000])
@pytest.mark.parametrize("form", ["array", "lengths", "list", "rows", "values", "targets", "steps"])
def test_a_standardizer_measures_valid_steps_as_numpy_does(monkeypatch, block, form):
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    rng = np.random.default_rng(0)
    X = rng.normal([5.0, -300.0, 0.01], [1.0, 20.0, 1e-4], size=(6, 5, 3))
    lengths = np.array([5, 1, 2, 4, 3, 5])
    valid = np.arange(5) < lengths[:, None]
    seq = data.as_sequences(X, lengths)
    fit = data.Standardizer().fit
    if form == "array":
        assert_fitted_to(fit(X), X.reshape(-1, 3))
    elif form == "lengths":
        X[~valid] = np.nan
        assert_fitted_to(fit(X, lengths), X[valid])
        assert_fitted_to(fit(X[:, :, 0], lengths), X[:, :, :1][valid])
    elif form == "list":
        assert_fitted_to(fit([x[:n] for x, n in zip(X, lengths, strict=True)]), X[valid])
    elif form == "rows":
        assert_fitted_to(fit(X[0]), X[0])
    elif form == "values":
        assert_fitted_to(fit(X[0, :, 1]), X[0, :, 1:2])
        assert_fitted_to(fit(X[0, :, 1].tolist()), X[0, :, 1:2])
    elif form == "targets":
        assert_fitted_to(fit(data.as_targets(X[:, 0], seq, False, "values")), X[:, 0])
    else:
        X[~valid] = np.nan
        assert_fitted_to(fit(data.as_targets(X, seq, True, "values")), X[valid])


def test_windows_count_each_step_once():
    series = np.random.default_rng(0).normal(3, 2, size=(50, 2))
    X, _ = data.windows(series, 8)
    assert_fitted_to(data.Standardizer().fit(X), series[:49])
    # Only the steps in the chosen windows count.
    part = data.as_sequences(X).subset(np.array([0, 30, 2]))
    assert_fitted_to(data.Standardizer().fit(part), np.r_[series[:10], series[30:38]])
    assert_fitted_to(data.Standardizer().fit(X[:11]), series[:18])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_transform_and_back(dtype, shape):
    scaler = data.Standardizer.from_state({"mean": [1.0, -2.0, 0.5], "scale": [2.0, 0.25, 8.0]})
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    before = x.copy()
    z = scaler.transform(x)
    # Every number here is exact in binary.
    np.testing.assert_array_equal(z, (x - np.array([1, -2, 0.5])) / np.array([2, 0.25, 8]))
    assert z.dtype == dtype
    np.testing.assert_array_equal(scaler.inverse_transform(z), x)
    np.testing.assert_array_equal(x, before)
    assert scaler.transform_batch_(x) is x
    np.testing.assert_array_equal(x, z)


def test_transform_of_other_forms():
    scaler = data.Standardizer.from_state({"mean": [1.0], "scale": [2.0]})
    z = scaler.transform([np.array([1, 3]), np.array([[5]])])
    assert [one.tolist() for one in z] == [[0, 1], [[2]]] and z[0].dtype == np.float64
    assert [one.tolist() for one in scaler.inverse_transform(z)] == [[1, 3], [[5]]]
    assert scaler.transform(np.array([[1.0, 3.0, 5.0]])).tolist() == [[0, 1, 2]]
    assert data.Standardizer().fit_transform(np.array([[1.0], [3.0]])).tolist() == [[-1], [1]]


def test_transform_batch_of_a_strided_array_is_in_place():
    scaler = data.Standardizer.from_state({"mean": [1.0, 2.0], "scale": [2.0, 4.0]})
    whole = np.ones((2, 6, 2))
    scaler.transform_batch_(whole[:, ::2])
    np.testing.assert_array_equal(whole[:, ::2], np.broadcast_to([0, -0.25], (2, 3, 2)))
    assert (whole[:, 1::2] == 1).all()


def test_a_constant_feature_keeps_its_scale():
    # 0.1 has no exact binary form: its computed deviation is not exactly zero.
    X = np.full((1000, 2), 0.1)
    X[:, 1] = np.arange(1000)
    scaler = data.Standardizer().fit(X)
    assert scaler.scale_[0] == 1
    assert not scaler.transform(X)[:, 0].any()


def test_large_offsets_keep_the_deviation():
    values = 1e9 + np.arange(3_000_000) % 2  # three blocks
    # Sums of squares would lose all digits (1e18 against 0.25).
    np.testing.assert_allclose(data.Standardizer().fit(values).scale_, [0.5], rtol=1e-6)


def test_state_round_trip_and_equality():
    scaler = data.Standardizer().fit(np.array([[1.0, 2.0], [3.0, 7.0]]))
    state = scaler.state()
    twin = data.Standardizer.from_state(state)
    assert state["mean"].tolist() == [2, 4.5] and state["scale"].tolist() == [1, 2.5]
    assert twin == scaler and twin != data.Standardizer() and data.Standardizer() == data.Standardizer()
    state["mean"][0] = 9
    assert twin == scaler and data.Standardizer.from_state(state) != scaler
    assert scaler != "scaler" and scaler.fitted and not data.Standardizer().fitted
    assert repr(scaler) == "Standardizer(2 features)" and repr(data.Standardizer()) == "Standardizer(not fitted)"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"mean": [1.0]}, r"state {'mean': \[1.0\]}"),
        ({"mean": [1.0], "scale": [1.0, 2.0]}, r"mean of shape \(1,\) and a scale of shape \(2,\)"),
        ({"mean": [], "scale": []}, r"shape \(0,\)"),
        ({"mean": [1.0], "scale": [0.0]}, "positive"),
        ({"mean": [np.nan], "scale": [1.0]}, "finite"),
    ],
)
def test_unfit_states_are_refused(state, message):
    with pytest.raises(ValueError, match=message):
        data.Standardizer.from_state(state)


def test_unfit_use_of_a_standardizer_is_refused():
    with pytest.raises(ValueError, match="not fitted: call fit"):
        data.Standardizer().transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="not fitted"):
        data.Standardizer().state()
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected 3 features"):
        data.Standardizer().fit(np.eye(3)).transform(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"shape \(2, 5, 3\), expected 1 features"):
        data.Standardizer().fit(np.arange(3.0)).transform(np.zeros((2, 5, 3)))
    with pytest.raises(TypeError, match="type complex128"):
        data.Standardizer().fit(np.arange(3.0)).transform(np.zeros(3, complex))
    with pytest.raises(ValueError, match=r"X holds nan at \[case, step, feature\] = \[1, 0, 0\]"):
        data.Standardizer().fit(np.array([[[1.0]], [[np.nan]]]))
    with pytest.raises(ValueError, match="too large to square"):
        data.Standardizer().fit(np.array([1e200, -1e200]))
    X = data.as_sequences(np.zeros((2, 3), int), tokens=True)
    with pytest.raises(TypeError, match="token ids or labels"):
        data.Standardizer().fit(X)
    with pytest.raises(TypeError, match="token ids or labels"):
        data.Standardizer().fit(data.as_targets([0, 1], X, False, "labels"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(data.Standardizer())
