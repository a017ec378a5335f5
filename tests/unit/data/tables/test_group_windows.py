"""Windows within groups."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from cures import message_of

import fastlstm as fl

RNG = np.random.default_rng(0)
SIZES = {"b": 9, "a": 4, "d": 1, "c": 6}
ROWS = sum(SIZES.values())


def table(shuffled: bool = False) -> dict[str, np.ndarray]:
    """Groups of several sizes; the rows of a group are in order, those of several groups may be mixed."""
    names = np.repeat(list(SIZES), list(SIZES.values()))
    if shuffled:
        names = RNG.permutation(names)
    cycle = np.array([(names[:row] == name).sum() for row, name in enumerate(names)])
    x = np.arange(ROWS, dtype=float)
    return {"unit": names, "cycle": cycle, "x": x, "z": 100 + x, "y": 1000 + x}


def expected(
    t: dict[str, np.ndarray], length: int, stride: int, horizon: int, pad: str | None, least: int | None, last: bool
) -> list[tuple[str, list[int], int]]:
    """Return group, rows and row of the target of each window, the long way round."""
    found = []
    for name in dict.fromkeys(t["unit"].tolist()):
        rows = np.flatnonzero(t["unit"] == name).tolist()
        with_target = len(rows) - horizon
        first = (min(length, with_target) if least is None else least) if pad else length
        ends = [end for end in range(with_target) if end + 1 >= first and (end + 1 - first) % stride == 0]
        if last:
            ends = [with_target - 1] if with_target >= max(first, 1) else []
        for end in ends if with_target > 0 else []:
            found.append((name, rows[max(0, end + 1 - length) : end + 1], rows[end + horizon]))
    return found


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("horizon", [0, 1, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("pad", "least"), [(None, None), ("left", None), ("right", 2), ("edge", 1), ("left", 3)])
def test_windows_equal_slices(
    shuffled: bool, stride: int, horizon: int, last: bool, pad: Any, least: int | None
) -> None:
    t, length = table(shuffled), 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        w = fl.data.windows_by_group(
            t, "unit", length, stride=stride, horizon=horizon, pad=pad, min_length=least, last_only=last, target="y",
            time="cycle", features=["z", "x"],
        )  # fmt: skip
    cases = expected(t, length, stride, horizon, pad, least, last)
    assert len(w.X) == len(cases) and w.X.shape[1:] == (length, 2) and w.features == ("z", "x")
    for number, (name, rows, row) in enumerate(cases):
        assert (w.groups[number], w.rows[number], w.y[number]) == (name, rows[-1], 1000 + row)
        real = np.stack([t["z"][rows], t["x"][rows]], axis=1)
        gap = length - len(rows)
        if pad == "right":
            np.testing.assert_array_equal(w.X[number], np.r_[real, np.zeros((gap, 2))])
            assert w.lengths[number] == len(rows)
        else:
            front = np.full((gap, 2), np.nan) if pad == "left" else np.repeat(real[:1], gap, axis=0)
            np.testing.assert_array_equal(w.X[number], np.r_[front, real])
    assert (w.lengths is None) == (pad != "right")


def test_the_last_of_the_input_is_recovered_at_each_horizon() -> None:
    """A copy of the target as a feature: the target of horizon h is the feature's value h rows after the window."""
    t = table()
    for horizon in (1, 2, 5):
        with pytest.warns(UserWarning, match="no window"):
            w = fl.data.windows_by_group(t, "unit", 3, horizon=horizon, target="y", features=["y"])
        np.testing.assert_array_equal(w.X[:, -1, 0] + horizon, w.y)


def test_no_window_crosses_groups() -> None:
    t = {**table(), "x": np.repeat(np.arange(4.0), list(SIZES.values()))}
    w = fl.data.windows_by_group(t, "unit", 5, pad="edge", min_length=1, features="x")
    assert (w.X == w.X[:, :1]).all()
    assert w.y is None and len(w.X) == ROWS


def test_short_groups_are_named_in_a_warning() -> None:
    with pytest.warns(UserWarning) as caught:
        fl.data.windows_by_group(table(), "unit", 5)
    assert str(caught[0].message) == (
        "2 of 4 groups have fewer than 5 rows and no window: 'a', 'd'; pad='left' or 'right' keeps them"
    )
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="2 of 4 groups have fewer than 5 rows and no window: .*smaller min_length or"):
        fl.data.windows_by_group(table(), "unit", 5, pad="left", min_length=4, horizon=1, target="x")
    assert "4 of 4 groups have fewer than 10 rows and no window" in message_of(
        lambda: fl.data.windows_by_group(table(), "unit", 10), ValueError
    )


def test_default_features_and_targets() -> None:
    t = table()
    w = fl.data.windows_by_group(t, "unit", 4, pad="left", time="cycle", target="y")
    assert w.features == ("x", "z")
    with pytest.warns(UserWarning, match="1 of 4 groups have fewer than 2 rows and no window: 'd'; a smaller"):
        w = fl.data.windows_by_group(t, "unit", 4, pad="left", time="cycle", target="y", horizon=1, last_only=True)
    assert w.features == ("x", "z", "y") and w.y.tolist() == [1008, 1012, 1019]


def test_several_targets_arrays_and_labels() -> None:
    t, several = table(), np.arange(2 * ROWS).reshape(ROWS, 2)
    options: dict[str, Any] = {"pad": "left", "time": "cycle", "features": ["x"], "last_only": True}
    last = [8, 12, 13, 19]
    w = fl.data.windows_by_group(t, "unit", 4, target=["y", "z"], **options)
    np.testing.assert_array_equal(w.y, np.stack([t["y"][last], t["z"][last]], axis=1))
    np.testing.assert_array_equal(fl.data.windows_by_group(t, "unit", 4, target=several, **options).y, several[last])
    labels = ["good", "bad"] * 10
    w = fl.data.windows_by_group(t, "unit", 4, target=labels, **options)
    assert w.y.tolist() == [labels[row] for row in last] and w.y.dtype.kind == "U"
    w = fl.data.windows_by_group({**t, "state": labels}, "unit", 4, target="state", **options)
    assert w.y.tolist() == [labels[row] for row in last]
    w = fl.data.windows_by_group(t, "unit", 4, target=fl.data.will_fail(t["unit"], within=1), **options)
    assert w.y.tolist() == [1, 1, 1, 1] and w.y.dtype == np.int64


def test_an_array_with_a_vector_of_groups() -> None:
    t = table(shuffled=True)
    array = np.stack([t["cycle"], t["x"], t["z"], t["y"]], axis=1)
    options: dict[str, Any] = {"pad": "left", "min_length": 2}
    with pytest.warns(UserWarning, match="fewer than 2 rows"):
        a = fl.data.windows_by_group(array, t["unit"], 4, time=0, target=3, **options)
    with pytest.warns(UserWarning, match="fewer than 2 rows"):
        b = fl.data.windows_by_group(t, "unit", 4, time="cycle", target="y", **options)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.groups, b.groups)
    assert a.features == ("x1", "x2") and b.features == ("x", "z")


def test_types() -> None:
    t = {"unit": [1, 1, 1], "x": np.arange(3, dtype=np.float32), "flag": [True, False, True]}
    assert fl.data.windows_by_group(t, "unit", 2, features=["x"]).X.dtype == np.float32
    w = fl.data.windows_by_group(t, "unit", 2)
    assert w.X.dtype == np.float64 and w.X[0].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("cell", ["left", "right"])
def test_a_model_takes_padded_windows(cell: Any) -> None:
    """A window padded in front under a mask, or behind with lengths, gives what the rows alone give."""
    t = {"unit": np.repeat([1, 2, 3], [9, 4, 2]), "u": RNG.standard_normal(15), "v": RNG.standard_normal(15)}
    w = fl.data.windows_by_group(t, "unit", 6, pad=cell, min_length=1)
    layers = [fl.LSTM(5), fl.Dense(2)]
    plain = fl.Model(layers, input_size=2, seed=1)
    if cell == "left":
        padded = fl.Model([fl.Masking("nan"), fl.LSTM(5), fl.Dense(2)], input_size=2)
        for name, value in padded.parameters().items():
            layer, _, rest = name.partition(".")
            value[...] = plain.parameters()[f"{int(layer) - 1}.{rest}"]
        out = padded.predict(w.X)
    else:
        out = plain.predict(w.X, lengths=w.lengths)
    series = np.stack([t["u"], t["v"]], axis=1)
    starts = {1: 0, 2: 9, 3: 13}
    for number, (group, row) in enumerate(zip(w.groups.tolist(), w.rows.tolist(), strict=True)):
        rows = series[max(starts[group], row - 5) : row + 1]
        np.testing.assert_array_equal(out[number], plain.predict(rows[None])[0])


def test_lengths_of_windows_padded_in_front_are_not_given_away() -> None:
    """`fit(lengths=...)` means steps at the beginning: for windows padded in front there are none to be misused."""
    w = fl.data.windows_by_group(table(), "unit", 4, pad="left")
    assert w.lengths is None


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"time": np.zeros(ROWS)}, "row 1 of the group 'b' has the time 0.0, that of row 0, expected increasing times"),
        ({"time": np.arange(ROWS)[::-1]}, "row 1 of the group 'b' has the time 18, which is before 19 of row 0"),
        (
            {"time": "cycl"},
            "got time = 'cycl', expected a column of df: 'unit', 'cycle', 'x', 'z', 'y'; did you mean",
        ),
        ({"group": "engine"}, "got group = 'engine', expected a column of df"),
        ({"features": ["x", "w"]}, "got features = 'w'"),
        ({"features": ["x", "x"]}, "each once"),
        ({"features": []}, "at least one column"),
        ({"target": "x", "features": ["x", "z"]}, "the target 'x' is one of the features, and with horizon = 0"),
        ({"target": ["x", "z"], "features": ["z"]}, "the target 'z' is one of the features"),
        ({"horizon": 1}, "got horizon = 1 without a target"),
        ({"min_length": 2}, "got min_length = 2 without pad"),
        ({"min_length": 5, "pad": "left"}, "got min_length = 5, expected at most length = 4"),
        ({"pad": "front"}, "pad must be 'left', 'edge' or 'right', got 'front'"),
        ({"target": np.zeros(3)}, "target has shape (3,)"),
        ({"group": np.zeros(3)}, "group has shape (3,), expected (20,)"),
        ({"stride": 0}, "stride must be at least 1"),
    ],
)
def test_unfit_arguments_are_refused(named: Any, message: str) -> None:
    arguments = {"group": "unit", "length": 4, **named}
    assert message in message_of(lambda: fl.data.windows_by_group(table(), **arguments), ValueError)


def test_the_words_of_other_packages() -> None:
    message = message_of(lambda: fl.data.windows_by_group(table(), "unit", 4, step=2), TypeError)
    assert message.endswith("write stride=2")
    message = message_of(lambda: fl.data.windows_by_group(table(), "unit", window_size=4), TypeError)
    assert message.endswith("write length=4")


def test_columns_that_are_no_columns() -> None:
    ragged = {"unit": [1, 1], "x": [1.0, 2.0, 3.0]}
    assert "df['x'] has shape (3,), expected (2,)" in message_of(lambda: fl.data.windows_by_group(ragged, "unit", 1))
    words = {"unit": [1, 1], "x": ["u", "v"]}
    assert "df['x'] has type <U1, expected real numbers" in message_of(
        lambda: fl.data.windows_by_group(words, "unit", 1)
    )
    assert "df has shape (3,)" in message_of(lambda: fl.data.windows_by_group(np.zeros(3), [1, 1, 1], 1))
    assert "0 rows" in message_of(lambda: fl.data.windows_by_group({}, "unit", 1))
