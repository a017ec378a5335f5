"""Streams of many series: some of them step, others come and go, states leave and return."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm as fl

STEPS = 12


def scaled(layers: list[Any], **arguments: Any) -> fl.Model:
    rng = np.random.default_rng(1)
    scaler = fl.Standardizer().fit(100 + 10 * rng.standard_normal((50, 3)))
    target = fl.Standardizer().fit(rng.standard_normal((50, 1)) * 7)
    return fl.Model(layers, input_size=3, scaler=scaler, target_scaler=target, seed=2, **arguments)


MODELS: dict[str, Callable[[], fl.Model]] = {
    "stacked": lambda: scaled([fl.LSTM(17, num_layers=2, return_sequences=True), fl.Dense(2)]),
    "pooled": lambda: scaled([fl.LSTM(9, return_sequences=True), fl.AttentionPool(4), fl.Dense(2)]),
    "projection": lambda: scaled([fl.LSTM(19, proj_size=7, peepholes=True, return_sequences=True)], dtype="float64"),
    "learnt state": lambda: scaled([fl.LSTM(5, learn_state=True), fl.Dense(1)]),
    "no state": lambda: scaled([fl.Dense(4)]),
    "masked": lambda: fl.Model([fl.Masking(-1.0), fl.LSTM(8, return_sequences=True), fl.Dense(2)], input_size=3),
    "tokens": lambda: fl.Model([fl.Embedding(9, 4), fl.LSTM(6), fl.Dense(2)]),
}


def series(name: str, batch: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    if name == "tokens":
        return rng.integers(0, 9, (batch, STEPS))
    X = (100 + 10 * rng.standard_normal((batch, STEPS, 3))).astype("f4")
    if name == "masked":
        X[rng.random((batch, STEPS)) < 0.3] = -1.0
    return X


def so_far(model: fl.Model, X: np.ndarray) -> np.ndarray:
    """Return the answers for each series up to each step, from a stream of all series."""
    stream = model.stream(len(X))
    return np.stack([stream.step(X[:, t]) for t in range(X.shape[1])], axis=1)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(data=st.data())
def test_any_order_of_subsets_gives_the_bits_of_the_whole_series(name: str, frozen: bool, data: st.DataObject) -> None:
    model = MODELS[name]()
    if frozen:
        model.freeze()
    batch = data.draw(st.integers(1, 7))
    X = series(name, batch)
    expected = so_far(model, X)
    got = np.zeros_like(expected)
    stream, done = model.stream(batch), np.zeros(batch, int)
    while (done < STEPS).any():
        waiting = [int(row) for row in np.flatnonzero(done < STEPS)]
        rows = data.draw(st.lists(st.sampled_from(waiting), unique=True, min_size=1))
        got[rows, done[rows]] = stream.step(X[rows, done[rows]], rows=rows)
        done[rows] += 1
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", MODELS)
def test_series_come_and_go(name: str) -> None:
    model = MODELS[name]().freeze()
    X = series(name, 9)
    expected = so_far(model, X)
    stream = model.stream(4)
    for t in range(3):
        np.testing.assert_array_equal(stream.step(X[:4, t]), expected[:4, t])
    np.testing.assert_array_equal(stream.add_rows(5), [4, 5, 6, 7, 8])
    for t in range(3):
        np.testing.assert_array_equal(stream.step(X[4:, t], rows=range(4, 9)), expected[4:, t])
    np.testing.assert_array_equal(stream.step(X[:, 3]), expected[:, 3])
    kept = stream.remove_rows([7, 0, 3])
    np.testing.assert_array_equal(kept, [1, 2, 4, 5, 6, 8])
    assert stream.batch_size == 6
    np.testing.assert_array_equal(stream.step(X[kept, 4]), expected[kept, 4])
    stream.remove_rows(np.ones(6, bool))
    assert stream.batch_size == 0
    assert stream.step(X[:0, 0]).shape == (0, expected.shape[-1])
    stream.add_rows()
    np.testing.assert_array_equal(stream.step(X[:1, 0]), expected[:1, 0])


@pytest.mark.parametrize("name", MODELS)
def test_saved_states_continue_elsewhere(name: str, tmp_path: Any) -> None:
    model = MODELS[name]()
    X = series(name, 5)
    expected = so_far(model, X)
    stream = model.stream(5)
    for t in range(4):
        stream.step(X[:, t])
    np.savez(tmp_path / "state.npz", **stream.save_state())
    with np.load(tmp_path / "state.npz") as stored:
        other = model.stream(5)
        other.load_state(stored)
    np.testing.assert_array_equal(other.step(X[:, 4]), expected[:, 4])
    moved = model.stream(3)
    moved.load_state(stream.save_state([3, 1]), rows=[0, 2])
    np.testing.assert_array_equal(moved.step(X[[3, 1], 4], rows=[0, 2]), expected[[3, 1], 4])
    np.testing.assert_array_equal(moved.step(X[[0], 0], rows=[1]), expected[[0], 0])


@pytest.mark.parametrize("dtype", [float, complex, "U1", object, "M8[s]", bool])
def test_an_empty_array_of_any_type_chooses_no_rows(dtype: Any) -> None:
    """NumPy warns where a complex array becomes one of integers, even if it is empty."""
    stream = fl.Model([fl.LSTM(3)], input_size=2, seed=0).stream(2)
    before = stream.run(np.ones((2, 1, 2), "f4"))
    stream.reset(np.zeros(0, dtype))
    (h, _), *_ = stream.state
    np.testing.assert_array_equal(h[-1], before.reshape(2, 3))
    stream.save_state(np.zeros(0, dtype))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_of_a_stream_is_independent(name: str, copied: Callable[[fl.Stream], fl.Stream]) -> None:
    model = MODELS[name]()
    X = series(name, 3)
    expected = so_far(model, X)
    stream = model.stream(3)
    stream.step(X[:, 0])
    other = copied(stream)
    model.flat_parameters[:] = 0
    for t in range(1, 4):
        np.testing.assert_array_equal(other.step(X[:, t]), expected[:, t])
    np.testing.assert_array_equal(stream.step(X[:, 1]), expected[:, 1])
    assert type(other) is type(stream)


def test_a_pickle_of_many_streams_holds_the_weights_once() -> None:
    model = fl.Model([fl.LSTM(64), fl.Dense(2)], input_size=3).freeze()
    streams = [model.stream() for _ in range(100)]
    assert len(pickle.dumps(streams)) < model.flat_parameters.nbytes + 100 * 2000
    restored = pickle.loads(pickle.dumps(streams))
    assert all(one.chain is restored[0].chain for one in restored)


def test_streams_share_the_packed_weights() -> None:
    """Of a frozen model always, of another one while its weights are the same."""
    model = fl.Model([fl.LSTM(32), fl.Dense(2)], input_size=3)
    first, second = model.stream(), model.stream(2)
    assert first.chain is second.chain
    model.flat_parameters[0] += 1
    third = model.stream()
    assert third.chain is not first.chain
    x = np.ones((1, 3))
    assert (first.step(x) != third.step(x)).any()
    model.freeze()
    model.scaler = fl.Standardizer().fit(np.random.default_rng(0).standard_normal((9, 3)))
    fourth, fifth = model.stream(), model.stream()
    assert fourth.chain is fifth.chain
    assert fourth.chain.packed is model.network.parameters.packed
    model.scaler.scale_[:] = 2.0
    np.testing.assert_array_equal(model.stream().step(x), model.predict(x[None]))
    assert fourth.nbytes < 4096


REFUSED: list[tuple[Any, str]] = [
    ([0, 0], "more than once"),
    ([1, 3, 1], "more than once"),
    ([4], "expected numbers of series from 0 to 3"),
    (np.array([4]), "rows holds 4, expected 0 to 3"),
    ([-5], "expected numbers of series from 0 to 3"),
    ([[0, 1]], "expected numbers of series from 0 to 3"),
    ([0.5], "expected numbers of series from 0 to 3"),
    (np.ones(3, bool), "4 booleans"),
]


@pytest.mark.parametrize("name", ["stacked", "masked"])
@pytest.mark.parametrize(("rows", "message"), REFUSED)
def test_refused_rows_change_nothing(name: str, rows: Any, message: str) -> None:
    stream = MODELS[name]().stream(4)
    stream.step(series(name, 4)[:, 0])
    before = stream.save_state()
    x = np.ones((len(np.ravel(rows)), 3), "f4")
    for call in (lambda: stream.step(x, rows=rows), lambda: stream.remove_rows(rows), lambda: stream.save_state(rows),
                 lambda: stream.load_state(before, rows)):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
    after = stream.save_state()
    assert stream.batch_size == 4
    assert all((before[key] == after[key]).all() for key in before)


def test_refused_values_and_states_change_nothing() -> None:
    stream = MODELS["stacked"]().stream(4)
    stream.step(series("stacked", 4)[:, 0])
    before = stream.save_state()
    x = np.ones((2, 3), "f4")
    x[1, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        stream.step(x, rows=[2, 0])
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), expected \(3, 3\)"):
        stream.step(np.ones((2, 3), "f4"), rows=[2, 0, 1])
    with pytest.raises(ValueError, match="out has shape"):
        stream.step(np.ones((2, 3), "f4"), np.empty((4, 2)), rows=[2, 0])
    with pytest.raises(ValueError, match=r"got the states \['', '0'\], expected"):
        stream.load_state({"": before["0.h"], 0: before["0.h"]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"got the states \['0.h'\], expected \['0.c', '0.h'\]"):
        stream.load_state({"0.h": before["0.h"]})
    with pytest.raises(ValueError, match=r"0.c has shape \(3, 2, 17\)"):
        stream.load_state({**before, "0.c": before["0.c"][:3]})
    with pytest.raises(ValueError, match="0.c holds nan"):
        stream.load_state({**before, "0.c": np.full_like(before["0.c"], np.nan)})
    with pytest.raises(TypeError, match="state must map names to arrays"):
        stream.load_state([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must be at least 1"):
        stream.add_rows(0)
    after = stream.save_state()
    assert all((before[key] == after[key]).all() for key in before)


def test_out_and_boolean_rows() -> None:
    model = MODELS["stacked"]()
    X = series("stacked", 4)
    expected, stream, out = so_far(model, X), model.stream(4), np.empty((2, 2))
    assert stream.step(X[[1, 3], 0], out, rows=np.array([False, True, False, True])) is out
    np.testing.assert_array_equal(out, expected[[1, 3], 0])
    assert stream.step(np.zeros((0, 3)), rows=[]).shape == (0, 2)
