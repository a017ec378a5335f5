"""Data that a model cannot take: the message names the type and the place, and the code that it gives works."""

from __future__ import annotations

import datetime
import decimal
import fractions
import re
from typing import Any

import doubles
import numpy as np
import pytest
from cures import code_after, cure, message_of

import fastlstm as fl

RNG = np.random.default_rng(0)
N, T, F = 12, 5, 2
X = RNG.standard_normal((N, T, F))
Y = np.arange(N) % 2


def model(outputs: int = 2, per_step: bool = False, **arguments: Any) -> fl.Model:
    layers = [fl.LSTM(3, return_sequences=per_step), fl.Dense(outputs)]
    return fl.Model(layers, **{"input_size": F, "seed": 0, **arguments})


def fit(X: Any = X, y: Any = Y, m: fl.Model | None = None, **arguments: Any) -> fl.Model:
    m = model() if m is None else m
    m.fit(X, y, epochs=1, verbose=0, **arguments)
    return m


def refusal(*arguments: Any, **named: Any) -> str:
    return message_of(lambda: fit(*arguments, **named))


# ---------------------------------------------------------------------------------------------- inputs


def frame(rows: int = 30) -> Any:
    numbers = np.random.default_rng(1).standard_normal((rows, 2))
    return doubles.DataFrame({"id": np.arange(rows) // 10, "u": numbers[:, 0], "v": numbers[:, 1]})


def pandas_frame() -> Any:
    columns = frame()._columns
    return pytest.importorskip("pandas").DataFrame(columns)


def polars_frame() -> Any:
    columns = frame()._columns
    return pytest.importorskip("polars").DataFrame(columns)


frames = pytest.mark.parametrize("make", [frame, pandas_frame, polars_frame])


@frames
def test_a_table_as_inputs(make: Any) -> None:
    table = make()
    numbers = np.asarray(table.to_numpy(), float)
    for call in (lambda: fit(table), lambda: model().predict(table), lambda: model().evaluate(table, Y, loss="mse")):
        message = message_of(call, TypeError)
        package = "polars" if make is polars_frame else "pandas"
        assert message.startswith(f"X is a {package}.DataFrame, expected an array, because rows may be steps or series")
    np.testing.assert_array_equal(cure(message, ": pass ", X=table), numbers[None])
    wide = cure(message, "which rows are a series; ", X=table)
    np.testing.assert_array_equal(wide, numbers[:, :, None])
    windows = code_after(message, "X, y = ")
    got, target = eval(windows, {"fl": fl, "X": table})
    assert got.shape == (30 - 24, 24, 3) and target.shape == (6, 1, 3)
    series = cure(message, "for windows of it; ", X=table)
    assert [one.shape for one in series] == [(10, 2)] * 3
    np.testing.assert_array_equal(np.concatenate(series), numbers[:, 1:])
    fit(series, [0, 1, 0])


@frames
def test_a_list_of_tables_as_inputs(make: Any) -> None:
    table = make()
    message = refusal([table, table], [0, 1])
    assert "X[0] is a pa" in message or "X[0] is a polars.DataFrame" in message
    assert "a model does not know columns by name" in message
    other = cure(message, ": pass ", X=[table, table])
    np.testing.assert_array_equal(other[1], np.asarray(table.to_numpy(), float))
    assert code_after(message, ": pass ").startswith("[one[['id', 'u', 'v']].to_numpy()")


def test_the_groups_of_a_table_as_inputs() -> None:
    groups = frame().groupby("id")
    message = refusal(groups, [0, 1, 0])
    assert message.startswith("X is a pandas.DataFrameGroupBy, expected an array of numbers: pass ")
    series = cure(message, ": pass ", X=groups)
    assert [one.shape for one in series] == [(10, 2)] * 3
    fit(series, [0, 1, 0])


def test_the_groups_of_real_tables() -> None:
    groups = pandas_frame().groupby("id")
    assert [one.shape for one in cure(refusal(groups, [0, 1, 0]), ": pass ", X=groups)] == [(10, 2)] * 3
    one = pandas_frame().groupby("id")["u"]
    assert [one.shape for one in cure(refusal(one, [0, 1, 0]), ": pass ", X=one)] == [(10,)] * 3
    groups = polars_frame().group_by("id", maintain_order=True)
    assert [one.shape for one in cure(refusal(groups, [0, 1, 0]), ": pass ", X=groups)] == [(10, 2)] * 3
    query = polars_frame().lazy()
    assert cure(refusal(query, [0, 1, 0]), ": pass ", X=query).shape == (30, 3)


def test_a_query_and_a_sparse_matrix_as_inputs() -> None:
    query = doubles.LazyFrame(frame())
    assert cure(refusal(query), ": pass ", X=query).shape == (30, 3)
    sparse = doubles.CsrMatrix(X[:, :, 0])
    message = refusal(sparse)
    assert message.startswith("X is a scipy.CsrMatrix, expected an array of numbers: pass ")
    np.testing.assert_array_equal(cure(message, ": pass ", X=sparse), X[:, :, 0])
    scipy = pytest.importorskip("scipy.sparse")
    assert cure(refusal(scipy.csr_matrix(X[:, :, 0])), ": pass ", X=scipy.csr_matrix(X[:, :, 0])).shape == (N, T)


def test_tensors_that_are_no_arrays() -> None:
    tensor = doubles.Tensor(X)
    message = refusal(tensor)
    assert message.startswith("X is a torch.Tensor, expected an array")
    np.testing.assert_array_equal(cure(message, ": pass ", X=tensor), X)
    message = refusal([doubles.Tensor(one) for one in X])
    assert message.startswith("X[0] is a torch.Tensor") and "X[0].detach().cpu().numpy()" in message
    assert ".detach().cpu().float().numpy()" in refusal(doubles.Tensor(X, dtype="torch.bfloat16"))
    assert "on the device 'cpu'" in refusal(doubles.Tensor(X, device="meta"))
    assert "y is a torch.Tensor" in refusal(y=doubles.Tensor(Y))


def test_packed_sequences() -> None:
    packed = doubles.PackedSequence(np.zeros((7, 2)), np.array([3, 3, 1]), None, None)
    message = refusal(packed)
    assert message.startswith("X is a torch.PackedSequence, expected an array")
    assert (
        "X, lengths = torch.nn.utils.rnn.pad_packed_sequence(X, batch_first=True), and pass lengths=lengths" in message
    )


@pytest.mark.parametrize(
    "make, kind",
    [
        (lambda: (one for one in X), "generator"),
        (lambda: map(np.asarray, X), "map"),
        (lambda: iter(list(X)), "list_iterator"),
        (lambda: dict(enumerate(X)).values(), "dict_values"),
    ],
)
def test_iterables_that_are_no_sequences(make: Any, kind: str) -> None:
    message = refusal(make())
    assert message.startswith(f"X is a {kind}, expected an array of numbers: pass ")
    fit(cure(message, ": pass ", X=make()))
    labels = refusal(y=(label for label in Y))
    assert labels.startswith("y is a generator, expected an array")
    fit(y=cure(labels, ": pass ", y=iter(Y)))


def test_dicts() -> None:
    message = refusal({k: X[k] for k in range(N)})
    assert message.startswith("X is a dict, expected an array")
    fit(cure(message, ": pass ", X={k: X[k] for k in range(N)}))
    features = {"u": X[:, :, 0], "v": X[:, :, 1]}
    np.testing.assert_array_equal(cure(message, "of a case, or ", X=features), X)
    labels = refusal(y=dict(enumerate(Y)))
    fit(y=cure(labels, ": pass ", y=dict(enumerate(Y))))


@pytest.mark.parametrize("name, value", [("a set", {1}), ("None", None), ("a builtin_function_or_method", len)])
def test_other_objects(name: str, value: Any) -> None:
    assert refusal(value).startswith(f"X is {name}, expected an array of numbers")
    if value is None:  # as if y were left out
        assert refusal(y=value).startswith("y is None: X is a numpy.ndarray, expected targets beside it")
    else:
        assert refusal(y=value).startswith(f"y is {name}, expected an array of numbers")
    assert refusal(validation_data=(value, Y)).startswith(f"validation X is {name}, expected an array of numbers")
    assert "object" not in refusal(value)


def test_texts() -> None:
    assert refusal("data.csv").startswith(
        "X is text, expected real numbers: read the file first, for example numpy.load"
    )
    message = refusal(X.astype(str))
    assert message.startswith("X has type <U")
    np.testing.assert_array_equal(cure(message, "use ", X=X.astype(str)), X)
    mixed = X.astype(object)
    mixed[1, 2, 0] = "red"
    assert refusal(mixed).startswith("X[1, 2, 0] is the str 'red', expected real numbers")
    assert refusal(list(mixed)).startswith("X[1][2, 0] is the str 'red', expected real numbers")


def test_times() -> None:
    times = np.datetime64("2024-01-01T00:00:00") + np.arange(N * T).reshape(N, T) * np.timedelta64(90, "s")
    seconds = 90.0 * np.arange(N * T).reshape(N, T)
    message = refusal(times)
    assert message.startswith("X has type datetime64[s], expected real numbers: give times as numbers")
    np.testing.assert_array_equal(cure(message, "seconds: ", X=times), seconds)
    durations = times - times.min()
    np.testing.assert_array_equal(cure(refusal(durations), "seconds: ", X=durations), seconds)
    objects = times.astype("M8[us]").astype(object)
    message = refusal(objects)
    assert message.startswith(
        "X[0, 0] is the datetime.datetime datetime.datetime(2024, 1, 1, 0, 0), expected real numbers"
    )
    np.testing.assert_array_equal(cure(message, "seconds: ", X=objects), seconds)
    with_times = X.astype(object)
    with_times[3, 0, 1] = datetime.date(2024, 1, 1)
    assert refusal(with_times).startswith(
        "X[3, 0, 1] is the datetime.date datetime.date(2024, 1, 1), expected real numbers"
    )


def test_complex_numbers_and_records() -> None:
    x = X + 1j * X[::-1]
    message = refusal(x)
    both = cure(message, "features: ", X=x)
    np.testing.assert_array_equal(both, np.concatenate([X, X[::-1]], axis=-1))
    flat = cure(refusal(x[:, :, 0]), "features: ", X=x[:, :, 0])
    assert flat.shape == (N, T, 2)  # one series of two features, and not of twice the steps
    import numpy.lib.recfunctions

    records = numpy.lib.recfunctions.unstructured_to_structured(X, names=["u", "v"])
    np.testing.assert_array_equal(cure(refusal(records), "use ", X=records), X)


def test_masked_arrays() -> None:
    masked = np.ma.masked_array(X, X > 1)
    np.testing.assert_array_equal(cure(refusal(masked), "pass ", X=masked), np.where(X > 1, 0, X))
    labels = np.ma.masked_array(Y, Y == 5)
    labels[3] = np.ma.masked
    filled = cure(refusal(y=labels), "pass ", y=labels)
    assert filled[3] == -100 and fit(y=filled)
    values = np.ma.masked_array(X[:, 0, 0], np.arange(N) == 3)
    message = refusal(y=values, m=model(1), loss="mse")
    weight = cure(message, "sample_weight=", y=values)
    assert weight.tolist() == [k != 3 for k in range(N)]


def test_one_series_without_an_axis_of_cases() -> None:
    for X_, words in ((X[0], "X[None]"), (X[0].tolist(), "[X]")):
        message = message_of(lambda X_=X_: model().predict(X_), ValueError)
        assert message.startswith("X has 1 feature, the model was built for 2: two axes are (batch, time), so pass ")
        assert code_after(message, "so pass ") == words
        np.testing.assert_array_equal(model().predict(cure(message, "so pass ", X=X_)), model().predict(X[:1]))
    three = message_of(lambda: model().predict(np.zeros((2, 5, 3))), ValueError)
    assert "X has 3 features, the model was built for 2" in three and "two axes" not in three
    for X_ in (np.arange(5.0), range(5), [1.0, 2.0]):
        message = message_of(lambda X_=X_: model(input_size=1).predict(X_), ValueError)
        model(input_size=1).predict(cure(message, "pass ", X=X_))


def test_batches_and_series_in_a_list() -> None:
    message = refusal([X[:4], X[4:]])
    assert message.startswith("X[0] has shape (4, 5, 2), expected (time, features) or (time,)")
    np.testing.assert_array_equal(cure(message, "pass ", X=[X[:4], X[4:]]), X)


def test_series_without_steps() -> None:
    series, labels = [X[0], X[1][:0], X[2]], np.array([0, 1, 1])
    message = refusal(series, labels)
    assert message.startswith("X[1] has no steps, expected at least one: drop empty series")
    keep = cure(message, "keep = ", X=series)
    assert keep == [0, 2] and fit([series[i] for i in keep], labels[keep])
    lengths = np.array([3, 0] * (N // 2))
    message = refusal(lengths=lengths)
    assert message.startswith("lengths[1] is 0, expected 1 to 5, the steps of X: drop empty series")
    keep = cure(message, "keep = ", lengths=lengths)
    fit(X[keep], Y[keep] + np.arange(len(keep)) % 2, lengths=lengths[keep])
    assert "at least one feature" in refusal([np.zeros((3, 0))] * 2, [0, 1])


def test_lengths_of_another_type_or_shape() -> None:
    for lengths, words in ((np.full((N, 1), T), "pass "), (np.full(N, float(T)), "use "), ([float(T)] * N, "use ")):
        fit(lengths=cure(refusal(lengths=lengths), words, lengths=lengths))


@pytest.mark.parametrize("given", ["array", "list"])
def test_numbers_that_are_not_finite(given: str) -> None:
    names = [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "1e+300 (too large for float32)")]
    for value, text in names:
        x = X.copy()
        x[4, 3, 1] = value
        spoilt = x if given == "array" else list(x)
        message = refusal(spoilt)
        assert message.startswith(f"X holds {text} at [case, step, feature] = [4, 3, 1], expected finite numbers: ")
        assert "nan_to_num" not in message
        if value != value:
            filled = cure(message, "by 0: ", X=spoilt)
            assert filled[4][3, 1] == 0 and fit(filled)
        elif abs(value) == np.inf:
            places = cure(message, "drop such cases; ", X=spoilt)
            found = places if given == "array" else places[4]
            assert found.tolist() == ([[4, 3, 1]] if given == "array" else [[3, 1]])
        else:
            divided = cure(message, "divide by a constant, ", X=spoilt)
            assert np.isfinite(np.asarray(divided)).all()
            fit(spoilt, m=model(dtype="float64"))


@pytest.mark.parametrize("value, words", [(np.inf, "find out what made it"), (1e300, "divide")])
def test_targets_that_are_not_finite(value: float, words: str) -> None:
    y = X[:, 0].copy()
    y[4, 1] = value
    message = refusal(y=y, loss="mse")
    assert (
        re.match(r"y holds .* at \[case, column\] = \[4, 1\], expected finite numbers: ", message) and words in message
    )
    steps = X.copy()
    steps[4, 2, 1] = value
    message = refusal(y=steps, m=model(per_step=True), loss="mse")
    assert "at [case, step, column] = [4, 2, 1]" in message and words in message


# ---------------------------------------------------------------------------------------------- objects of numbers


def test_objects_that_are_numbers_are_taken() -> None:
    expected = model().predict(X)
    np.testing.assert_array_equal(model().predict(X.astype(object)), expected)
    np.testing.assert_array_equal(model().predict(list(X.astype(object))), expected)
    kinds = [1, 2.5, np.float32(0.5), np.int8(3), True, np.True_, decimal.Decimal("0.25"), fractions.Fraction(1, 2)]
    x = np.array(kinds, object).reshape(2, 2, 2)
    np.testing.assert_array_equal(model().predict(x), model().predict(x.astype(float)))
    for labels in (Y.astype(object), list(map(int, Y)), Y.astype(bool).astype(object)):
        assert fit(y=labels).flat_parameters.tobytes() == fit().flat_parameters.tobytes()
    lengths = np.full(N, 3, object)
    np.testing.assert_array_equal(model().predict(X, lengths), model().predict(X, lengths.astype(int)))


def test_a_missing_value_among_objects_is_named() -> None:
    for missing in (None, doubles.NA, np.nan, decimal.Decimal("nan")):
        x = X.astype(object)
        x[1, 2, 0] = missing
        assert "X holds nan at [case, step, feature] = [1, 2, 0]" in refusal(x)
        y = X[:, 0].astype(object)
        y[5, 1] = missing
        expected = fit(y=np.where(np.arange(N * F).reshape(N, F) == 5 * F + 1, np.nan, X[:, 0]), loss="mse")
        np.testing.assert_array_equal(fit(y=y, loss="mse").flat_parameters, expected.flat_parameters)


def test_objects_that_do_not_fit() -> None:
    x = X.astype(object)
    x[1, 2, 0] = 10**400
    assert re.match(r"X\[1, 2, 0\] is .*, expected a number that fits float64", refusal(x))
    tokens = fl.Model([fl.Embedding(5, 3), fl.LSTM(2), fl.Dense(2)])
    ids = np.zeros((N, T), object)
    fit(ids, m=tokens)
    ids[3, 1] = None
    assert refusal(ids, m=tokens).startswith("X[3, 1] is missing (nan), expected integers")
    ids[3, 1] = "a"
    assert refusal(ids, m=tokens).startswith("X[3, 1] is the str 'a', expected integers")


def test_columns_of_pandas_and_polars() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "a": pandas.array([1, 2, 3], dtype="Int64"),
            "b": pandas.array([1.0, 2.0, 3.5], dtype="Float64"),
            "c": pandas.array([True, False, True], dtype="boolean"),
        }
    )
    expected = np.array([[1, 1, 1], [2, 2, 0], [3, 3.5, 1]], float)
    for array in (table.to_numpy(), table.values, table.astype({"c": bool, "a": float}).to_numpy()):
        np.testing.assert_array_equal(
            model(input_size=3).predict(array[None]), model(input_size=3).predict(expected[None])
        )
    table.loc[1, "b"] = pandas.NA
    assert "X holds nan at [case, step, feature] = [0, 1, 1]" in refusal(
        table.to_numpy()[None], [0], model(input_size=3)
    )
    for dtype in ("Int64", "Int8", "boolean", "category"):
        assert fit(y=pandas.Series(Y, dtype=dtype)).flat_parameters.tobytes() == fit().flat_parameters.tobytes()
    polars = pytest.importorskip("polars")
    assert fit(y=polars.Series(Y)).flat_parameters.tobytes() == fit().flat_parameters.tobytes()
    for labels in (pandas.Series([0, pandas.NA] * 6, dtype="Int64"), polars.Series([0, None] * 6)):
        message = refusal(y=labels)
        assert message.startswith("y[1] is missing (nan), expected integer labels")
        fit(y=cure(message, "the loss ignore them, ", y=labels))
    for labels in (pandas.Series(["a", None] * 6), polars.Series(["a", None] * 6)):
        assert refusal(y=labels).startswith("y[1] is missing (")
    assert fit(y=pandas.Series(["a", "b"] * 6)).classes == fit(y=polars.Series(["a", "b"] * 6)).classes == ["a", "b"]


# ---------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("kind", ["array", "list", "ignored"])
def test_labels_that_begin_at_1(kind: str) -> None:
    y: Any = Y + 1
    if kind == "ignored":
        y[3] = -100
    y = y.tolist() if kind == "list" else y
    message = refusal(y=y)
    assert "labels begin at 1" in message and "Dense" not in message
    shifted = cure(message, "pass ", y=y)
    assert sorted(set(np.ravel(shifted))) == ([-100, 0, 1] if kind == "ignored" else [0, 1])
    fit(y=shifted)
    if kind != "ignored":
        assert fit(y=cure(message, "or names, ", y=y)).classes == ["1", "2"]


def test_labels_of_steps_that_begin_at_1() -> None:
    series, y = list(X), [np.arange(T) % 2 + 1 for _ in X]
    message = refusal(series, y, model(per_step=True))
    fit(series, cure(message, "pass ", y=y), model(per_step=True))
    assert fit(series, cure(message, "or names, ", y=y), model(per_step=True)).classes == ["1", "2"]


def test_labels_with_gaps_and_too_many() -> None:
    message = refusal(y=10 * Y + 10)
    assert "only 2 labels between 10 and 20 occur" in message
    assert fit(y=cure(message, "pass names, ", y=10 * Y + 10)).classes == ["10", "20"]
    message = refusal(y=np.full(N, 2))  # 2 alone: labels may begin at 1, or the model may be too small
    assert "if labels begin at 1, pass y - 1" in message and "fl.Dense(3)" in message
    assert "the last layer must have 3 outputs, for example fl.Dense(3)" in refusal(y=np.arange(N) % 3)
    message = refusal(y=2 * Y - 1)
    assert message.startswith("y holds label -1 at [0], expected 0 to")
    assert fit(y=cure(message, "pass names, ", y=2 * Y - 1)).classes == ["-1", "1"]


def test_one_class_only() -> None:
    for y, m in ((["a"] * N, model()), (["a"] * N, model(1)), (np.zeros(N, int), model(1))):
        message = refusal(y=y, m=m)
        assert message.startswith("y holds one class only, ") and "Dense" not in message
    assert refusal(y=["a"] * N, m=model(1), loss="binary_cross_entropy").startswith("y holds one class only, 'a'")
    assert fit(y=["a"] * N, m=model(classes=["a", "b"])).classes == ["a", "b"]
    assert "fl.Dense(2), or use loss='binary_cross_entropy'" in refusal(m=model(1))


@pytest.mark.parametrize("missing", [np.nan, None, doubles.NA])
@pytest.mark.parametrize("kind", ["array", "list"])
def test_missing_labels(missing: Any, kind: str) -> None:
    y: Any = Y.astype(object)
    y[3] = missing
    y = y.tolist() if kind == "list" else y
    message = refusal(y=y)
    assert message.startswith("y[3] is missing (nan), expected integer labels from 0, or strings: drop such cases")
    if missing is not doubles.NA:
        filled = cure(message, "the loss ignore them, ", y=y)
        assert filled.tolist() == [-100 if k == 3 else k % 2 for k in range(N)]
        fit(y=filled)
    names = ["a", "b", missing] * 4
    assert re.match(r"y\[2\] is missing \((nan|None|<.*>)\), expected a string: drop such cases", refusal(y=names))


def test_floats_as_labels() -> None:
    for y in (Y.astype(float), Y.astype(float).tolist()):
        fit(y=cure(refusal(y=y), "use ", y=y))
    assert refusal(y=Y + 0.5).startswith("y[0] is 0.5, expected integer labels from 0, or strings: for regression use")


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("kind", [int, float, bool])
@pytest.mark.parametrize("as_list", [False, True])
def test_one_step_from_other_axes_to_labels(per_step: bool, kind: Any, as_list: bool) -> None:
    labels = RNG.integers(0, 2, (N, T) if per_step else N)
    for y, words in (
        (np.eye(2)[labels], "for one-hot labels pass "),
        (labels[..., None], "for a last axis of 1 pass "),
    ):
        given: Any = y.astype(kind)
        if as_list:
            given = list(given) if per_step else given.tolist()
        message = refusal(y=given, m=model(per_step=per_step))
        if as_list and per_step and kind is float and "axis of 1" in words:
            continue  # a list of float columns needs two steps
        cured = cure(message, words, y=given)
        np.testing.assert_array_equal(cured, labels)
        fit(y=cured, m=model(per_step=per_step))


def test_labels_of_steps_for_a_model_of_cases_and_the_reverse() -> None:
    steps = RNG.integers(0, 2, (N, T))
    assert "return_sequences=True in the last LSTM" in refusal(y=steps)
    message = refusal(y=np.eye(2)[steps])
    assert "return_sequences=True in the last LSTM" in message
    fit(y=cure(message, "for one-hot labels pass ", y=np.eye(2)[steps]), m=model(per_step=True))
    for y in (Y, Y.tolist()):
        assert "return_sequences=False in the last LSTM" in refusal(y=y, m=model(per_step=True))
    assert "binary_cross_entropy" in refusal(y=np.ones((N, 3), int)) and "argmax" not in refusal(y=np.ones((N, 3), int))
    assert refusal(y=1).startswith("y is the single label 1, expected one for each case")


def test_other_types_of_labels() -> None:
    days = np.datetime64("2024-01-01") + Y
    assert fit(y=cure(refusal(y=days), "pass ", y=days)).classes == ["2024-01-01", "2024-01-02"]
    objects = np.array([datetime.date(2024, 1, 1 + int(day)) for day in Y], object)
    message = refusal(y=objects)
    assert message.startswith("y[0] is the datetime.date datetime.date(2024, 1, 1), expected integer labels")
    assert fit(y=cure(message, "pass ", y=objects)).classes == ["2024-01-01", "2024-01-02"]
    mixed = ["a", 1] * 6
    message = refusal(y=mixed)
    assert message.startswith("y[1] is the int 1 among labels that are strings")
    assert fit(y=cure(message, "all of them strings, ", y=mixed)).classes == ["1", "a"]
    record = np.zeros(N, [("label", int)])
    record["label"] = Y
    fit(y=cure(refusal(y=record), "pass one of its fields, ", y=record))


@pytest.mark.parametrize("make", [doubles.DataFrame, "pandas", "polars"])
def test_tables_as_targets(make: Any) -> None:
    if isinstance(make, str):
        make = pytest.importorskip(make).DataFrame
    assert fit(y=make({"y": Y})).flat_parameters.tobytes() == fit().flat_parameters.tobytes()
    values, column = X[:, 0, 0], {"m": model(1), "loss": "mse"}
    expected = fit(y=values, m=model(1), loss="mse").flat_parameters
    assert fit(y=make({"y": values}), **column).flat_parameters.tobytes() == expected.tobytes()
    names = np.where(Y == 1, "on", "off")
    assert fit(y=make({"y": names})).classes == ["off", "on"]
    for labels, words in ((Y + 1, "pass "), (Y.astype(float), "use "), (np.where(Y, np.nan, 0.0), "ignore them, ")):
        table = make({"y": labels})
        fit(y=cure(refusal(y=table), words, y=table))
    two = make({"u": X[:, 0, 0], "v": X[:, 0, 1]})
    message = refusal(y=two, loss="mse")
    assert "a model does not know columns by name" in message
    np.testing.assert_array_equal(cure(message, ": pass ", y=two), X[:, 0])
    one_hot = make({"no": 1 - Y, "yes": Y})
    np.testing.assert_array_equal(cure(refusal(y=one_hot), "pass ", y=one_hot), Y)
    steps = make({"y": np.arange(T) % 2})
    message = refusal(X[:1], steps, model(per_step=True))
    fit(X[:1], cure(message, ": pass ", y=steps), model(per_step=True))
    values = make({"u": X[0, :, 0], "v": X[0, :, 1]})
    message = refusal(X[:1], values, model(per_step=True), loss="mse")
    fit(X[:1], cure(message, ": pass ", y=values), model(per_step=True), loss="mse")


# ---------------------------------------------------------------------------------------------- weights, validation


def test_weights() -> None:
    weight = np.ones(N)
    fit(sample_weight=cure(refusal(sample_weight=weight[:, None]), "pass ", sample_weight=weight[:, None]))
    weight[3] = -1
    assert refusal(sample_weight=weight).startswith("sample_weight[3] is -1.0, expected finite numbers >= 0")
    weight[3] = np.nan
    assert refusal(sample_weight=weight).startswith("sample_weight[3] is nan, expected finite numbers >= 0")
    assert "got zeros only" in refusal(sample_weight=np.zeros(N))
    message = refusal(class_weight=[1.0, 2.0])
    assert message.startswith("class_weight must be a dict or 'balanced', got the list [1.0, 2.0]")
    fit(class_weight=cure(message, "pass ", class_weight=[1.0, 2.0]))


def test_validation_data() -> None:
    assert "got a float: for a share of the training data give validation_split=0.25" in refusal(validation_data=0.25)
    assert "got a tuple of 1 members" in refusal(validation_data=(X,))
    assert "got a generator" in refusal(validation_data=(one for one in (X, Y)))
    table = frame()
    message = refusal(validation_data=(table, Y))
    assert message.startswith("validation X is a pandas.DataFrame")
    assert cure(message, ": pass ", X=table).shape == (1, 30, 3)
    one_hot = np.eye(2)[Y]
    message = refusal(validation_data=(X, one_hot))
    assert message.startswith("validation y has shape")
    np.testing.assert_array_equal(cure(message, "for one-hot labels pass ", y=one_hot), Y)


def test_padding_of_label_sequences() -> None:
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(3)], input_size=2)
    y = np.full((N, 2), 1)
    y[3, 0] = -100
    assert refusal(y=y, m=m, loss="ctc").startswith("y[3, 1] is 1, but a row must hold labels from 0 and then -100")
    y = np.full((N, 2), 1.0)
    fit(y=cure(refusal(y=y, m=m, loss="ctc"), "use ", y=y), m=m, loss="ctc")


def test_windows_and_splits() -> None:
    series = np.arange(12.0).reshape(1, 6, 2)
    message = message_of(lambda: fl.windows(series, 2), ValueError)
    assert fl.windows(cure(message, "pass ", series=series), 2)[0].shape == (4, 2, 2)
    assert fl.windows(frame(), 24)[0].shape == (6, 24, 3)  # rows of a table are steps here
    labels = np.array([0.0, 1.0, np.nan] * 4)
    message = message_of(lambda: fl.split(12, (0.5, 0.5), method="stratified", y=labels), ValueError)
    assert message.startswith("y[2] is missing (nan)")
    whole = np.array([0.0, 1.0] * 6)
    message = message_of(lambda: fl.split(12, (0.5, 0.5), method="stratified", y=whole), ValueError)
    assert len(fl.split(12, (0.5, 0.5), method="stratified", y=cure(message, "use ", y=whole))) == 2


def test_the_class_of_a_callback_instead_of_an_object() -> None:
    message = refusal(callbacks=[fl.EarlyStopping])
    assert message.endswith("got <class 'fastlstm.training.callbacks.monitors.EarlyStopping'>: write EarlyStopping()")


def test_text_is_not_a_target() -> None:
    for loss in ("cross_entropy", "binary_cross_entropy", "mse"):
        message = refusal(y="labels.csv", m=model(1), loss=loss)
        assert message.startswith("y is text, expected one target for each case: read the file first, ")


class Cases:
    """Cases (x, y) whose index has no end, so that NumPy would read it for ever."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        return np.full((5, 2), number), number % 2


class Labels:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> int:
        return number % 2


def test_an_object_with_a_length_and_an_index_is_read_as_far_as_its_length() -> None:
    X = np.ones((3, 5, 2))
    models = [fl.Model([fl.LSTM(2), fl.Dense(2)]) for _ in range(2)]
    for model, y in zip(models, (Labels(), [0, 1, 0]), strict=True):
        model.fit(X, y, epochs=1, verbose=0)
    np.testing.assert_array_equal(models[0].flat_parameters, models[1].flat_parameters)
    with pytest.raises(
        TypeError, match=r"a .*Cases, an object that is read case by case.*\[X\[i\]\[0\] for i in range"
    ):
        fl.Standardizer().fit(Cases())
    X = Cases()
    assert fl.Standardizer().fit([X[i][0] for i in range(len(X))]).mean_.tolist() == [1, 1]


def test_one_series_with_a_target_for_each_step_is_recognized() -> None:
    with pytest.raises(
        ValueError, match=r"y has 40 cases, X has 12: .*two axes are \(batch, time\), so pass X\[None\]"
    ):
        fl.Model([fl.LSTM(2), fl.Dense(2)]).fit(np.ones((12, 3)), np.zeros(40, int))
    with pytest.raises(ValueError, match=r"y has 40 cases, X has 12: expected one target for each$"):
        fl.Model([fl.LSTM(2), fl.Dense(2)]).fit(np.ones((12, 3, 1)), np.zeros(40, int))
