"""Small predictions of a frozen model in one call of C: the bits, errors and types of the way layer by layer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import in_threads

import fastlstm as fl
from fastlstm import _core
from fastlstm.inference.chains import predict_chain

RNG = np.random.default_rng(0)

CHAINS: dict[str, Callable[[], list[Any]]] = {
    "last state": lambda: [fl.LSTM(17), fl.Dense(4)],
    "each step": lambda: [fl.LSTM(9, num_layers=2, dropout=0.3, return_sequences=True), fl.Dropout(0.1), fl.Dense(4)],
    "both directions": lambda: [fl.LSTM(18, bidirectional=True), fl.Dense(4)],
    "both directions, each step": lambda: [
        fl.LSTM(5, num_layers=2, bidirectional=True, return_sequences=True),
        fl.Dense(4),
    ],
    "sum of directions": lambda: [fl.LSTM(5, bidirectional=True, merge="sum"), fl.Dense(4)],
    "reverse": lambda: [fl.LSTM(33, reverse=True), fl.Dense(4)],
    "projection": lambda: [fl.LSTM(19, proj_size=7, peepholes=True, bidirectional=True), fl.Dense(4)],
    "layer norm": lambda: [fl.LSTM(9, layer_norm=True, coupled=True), fl.Dense(4)],
    "learnt state": lambda: [fl.LSTM(7, num_layers=2, learn_state=True, bidirectional=True), fl.Dense(4)],
    "residual": lambda: [fl.LSTM(8, num_layers=3, residual=True), fl.Dense(4)],
    "mean": lambda: [fl.LSTM(8, return_sequences=True), fl.MeanPool(), fl.Dense(4), fl.Activation("softmax")],
    "max of both": lambda: [fl.LSTM(8, bidirectional=True, return_sequences=True), fl.MaxPool(), fl.Dense(4)],
    "attention": lambda: [fl.LSTM(8, return_sequences=True), fl.AttentionPool(3), fl.Activation("elu", 0.7)],
    "ends of residual directions": lambda: [fl.LSTM(4, num_layers=2, residual=True, bidirectional=True), fl.Dense(4)],
    "end of a residual layer in reverse": lambda: [fl.LSTM(8, num_layers=2, residual=True, reverse=True), fl.Dense(4)],
    "concat": lambda: [fl.LSTM(8, return_sequences=True), fl.ConcatPool(), fl.Dense(4)],
    "concat of both": lambda: [fl.LSTM(8, bidirectional=True, return_sequences=True), fl.ConcatPool(True), fl.Dense(4)],
    "last step": lambda: [fl.LSTM(8, return_sequences=True), fl.LastStep(), fl.Dense(4)],
    "dense": lambda: [fl.Dense(5), fl.Activation("tanh"), fl.Dense(2)],
}
OTHERS: dict[str, Callable[[], list[Any]]] = {
    "product": lambda: [fl.LSTM(5, bidirectional=True, merge="product"), fl.Dense(4)],
    "mean of directions": lambda: [fl.LSTM(5, bidirectional=True, merge="mean"), fl.Dense(4)],
    "masks": lambda: [fl.Masking(-1.0), fl.LSTM(8), fl.Dense(4)],
    "decoder": lambda: [fl.LSTM(8), fl.RepeatVector(5), fl.LSTM(4, return_sequences=True)],
    "reversed series": lambda: [fl.Reverse(), fl.LSTM(8), fl.Dense(2)],
    "groups of steps": lambda: [fl.StackSteps(2), fl.LSTM(8), fl.Dense(2)],
}


def built(layers: list[Any], dtype: str = "float32", scaled: bool = False) -> fl.Model:
    scaler = fl.Standardizer().fit(100 + 10 * RNG.standard_normal((40, 3))) if scaled else None
    target = fl.Standardizer().fit(RNG.standard_normal((40, 1))) if scaled else None
    model = fl.Model(layers, input_size=3, dtype=dtype, scaler=scaler, target_scaler=target)
    for name, parameter in model.parameters().items():
        if name.partition(".")[2].startswith(("h0", "c0")):
            parameter[:] = RNG.uniform(-1, 1, parameter.shape)
    return model


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_a_frozen_model_gives_the_bits_of_one_that_is_not(isa: str, name: str, dtype: str, scaled: bool) -> None:
    model = built({**CHAINS, **OTHERS}[name](), dtype, scaled)
    inputs = [
        (100 * scaled + 10 * RNG.standard_normal((batch, steps, 3))).astype(kind)
        for batch, steps, kind in (
            (1, 1, "f4"),
            (1, 20, "f4"),
            (1, 20, "f8"),
            (7, 9, "f4"),
            (40, 12, "f8"),
            (2, 5, "i8"),
        )
    ]
    inputs.append(inputs[1][:, ::2])
    before = [model.predict(x) for x in inputs]
    model.freeze()
    assert (predict_chain(model) is not None) == (name in CHAINS)
    for x, expected in zip(inputs, before, strict=True):
        for n_threads in (1, 2):
            got = model.predict(x, n_threads=n_threads)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*CHAINS, "product", "masks", "decoder"])
def test_series_of_different_lengths(isa: str, name: str, dtype: str, scaled: bool) -> None:
    model = built({**CHAINS, **OTHERS}[name](), dtype, scaled)
    ends, steps = [4, 9, 1, 7, 9], 9
    X = 100 * scaled + 10 * RNG.standard_normal((len(ends), steps, 3))
    X[np.arange(steps) >= np.array(ends)[:, None]] = np.nan
    listed = [one[:end].copy() for one, end in zip(X, ends, strict=True)]
    inputs: list[tuple[Any, Any]] = [
        (X, ends),
        (X.astype("f4"), np.array(ends, "i4")),
        (X[:1, :4], (4,)),
        (np.nan_to_num(X), ends),
        (listed, None),
        (tuple(one.astype("f4") for one in listed), None),
        ([listed[1], listed[4]], None),
        ([listed[0].astype("f4"), listed[1]], None),
        ([X[0, :4], X[1]], None),
    ]
    before = [model.predict(x, lengths) for x, lengths in inputs]
    model.freeze()
    for (x, lengths), expected in zip(inputs, before, strict=True):
        for n_threads in (1, 2):
            got = model.predict(x, lengths, n_threads=n_threads)
            assert type(got) is type(expected)
            for one, other in zip(got, expected, strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


def test_plain_series_of_different_lengths_take_one_call() -> None:
    chain = predict_chain(built(CHAINS["each step"]()).freeze())
    assert chain is not None
    x = RNG.standard_normal((3, 8, 3)).astype("f4")
    for lengths in ([8, 1, 3], (8, 1, 3), np.array([8, 1, 3], "u2")):
        out = chain.predict(x, 1, lengths)
        assert isinstance(out, np.ndarray)
        assert not out[1, 1:].any() and not out[2, 3:].any() and out[0].all()
    for wrong in (
        [8, 0, 3],
        [8, 9, 3],
        [8, 1],
        [8.0, 1.0, 3.0],
        np.ones(3),
        np.array([[8, 1, 3]]),
        "abc",
        [True, 1, 3],
    ):
        assert chain.predict(x, 1, wrong) is None
    answers = chain.predict([x[0], x[1, :1]])
    assert isinstance(answers, list)
    assert [one.shape for one in answers] == [(8, 4), (1, 4)]
    assert not np.shares_memory(answers[0], answers[1])
    assert chain.predict([x[0]], 1, [8]) is None  # a list has its own lengths
    one = x[0]
    for series in ([], [one[0]], [one, one.tolist()], [one, one.astype("f8")], [one[::2]], [one[:0]], [one[:, :2]]):
        assert chain.predict(series) is None
    assert chain.predict([x[0, :1]] * 100 + [np.zeros((200, 3), "f4")]) is None  # padding would cost too much
    assert chain.predict([x[0, :1]] * 10 + [np.zeros((200, 3), "f4")]) is not None


def test_lists_of_series_without_an_axis_of_features() -> None:
    model = fl.Model([fl.LSTM(5), fl.Dense(2)], input_size=1)
    series = [RNG.standard_normal(5), RNG.standard_normal(3), RNG.standard_normal((4, 1))]
    expected = model.predict(series)
    chain = predict_chain(model.freeze())
    assert chain is not None
    got = chain.predict(series)
    assert isinstance(got, np.ndarray)
    np.testing.assert_array_equal(got, expected)


def test_tokens() -> None:
    model = fl.Model([fl.Embedding(9, 4), fl.LSTM(6), fl.Dense(2)])
    tokens = RNG.integers(0, 9, (3, 8))
    expected = model.predict(tokens)
    listed = [tokens[0], tokens[1, :3], tokens[2, :5]]
    of_list = model.predict(listed)
    chain = predict_chain(model.freeze())
    assert chain is not None
    np.testing.assert_array_equal(chain.predict(listed), of_list)
    tokens[1, 3:] = 99  # padding
    np.testing.assert_array_equal(model.predict(tokens, [8, 3, 5]), of_list)
    tokens[1, 3:] = 0
    expected = copy.copy(model).unfreeze().predict(tokens)
    np.testing.assert_array_equal(model.predict(tokens), expected)
    np.testing.assert_array_equal(model.predict(tokens.astype("i2")), expected)
    for wrong in (9, -1):
        tokens[1, 2] = wrong
        with pytest.raises(ValueError, match="token"):
            model.predict(tokens)


def test_missing_values() -> None:
    X = RNG.standard_normal((6, 9, 3))
    X[RNG.random(X.shape) < 0.2] = np.nan
    model = fl.Model([fl.LSTM(6), fl.Dense(2)], scaler=fl.Standardizer(missing="mask"))
    model.fit(X, np.zeros(6, int), epochs=1, verbose=0)
    expected = model.predict(X)
    assert predict_chain(model.freeze()) is not None
    np.testing.assert_array_equal(model.predict(X), expected)
    model = fl.Model([fl.LSTM(6), fl.Dense(2)], input_size=3, scaler=fl.Standardizer(per_series=True))
    model.scaler.fit(RNG.standard_normal((6, 9, 3)))  # type: ignore[union-attr]
    expected = model.predict(np.ones((2, 4, 3)))
    assert predict_chain(model.freeze()) is None
    np.testing.assert_array_equal(model.predict(np.ones((2, 4, 3))), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((1, 5, 3), np.nan), "X holds nan"),
        (np.full((1, 5, 3), np.inf, "f4"), "X holds inf"),
        (np.full((1, 5, 3), 1e300), "X holds 1e.300"),
        (np.zeros((1, 5, 2)), "X has 2 features"),
        (np.zeros((1, 0, 3)), "at least one case, one step"),
        (np.zeros((0, 5, 2)), "at least one case, one step"),
    ],
)
def test_what_does_not_fit_is_refused_as_elsewhere(x: np.ndarray, message: str) -> None:
    model = built(CHAINS["last state"]())
    with pytest.raises(ValueError, match=message) as plain:
        model.predict(x)
    with pytest.raises(ValueError, match=message) as frozen:
        model.freeze().predict(x)
    assert str(plain.value) == str(frozen.value)


@pytest.mark.parametrize("frozen", [False, True])
def test_no_cases_give_no_answers(frozen: bool) -> None:
    model = built(CHAINS["last state"](), scaled=True)
    steps = built(CHAINS["each step"]())
    tokens = fl.Model([fl.Embedding(9, 4), fl.LSTM(6), fl.Dense(2)])
    for one in (model, steps, tokens):
        if frozen:
            one.freeze()
    empty = model.predict(np.zeros((0, 5, 3)))
    assert (empty.shape, empty.dtype) == ((0, 4), np.float64)
    assert model.predict([]).shape == model.predict(()).shape == (0, 4)
    assert model.predict(np.zeros((0, 5, 3)), []).shape == (0, 4)
    assert steps.predict(np.zeros((0, 5, 3))).shape == (0, 5, 4)
    assert steps.predict([]) == []
    assert tokens.predict(np.zeros((0, 5), int)).shape == (0, 2)
    steps.loss = model.loss = "cross_entropy"  # type: ignore[assignment]
    assert model.predict_proba(np.zeros((0, 5, 3))).shape == (0, 4)
    assert model.predict_classes(np.zeros((0, 5, 3))).shape == (0,)
    out, [(h, c)] = model.predict(np.zeros((0, 5, 3)), return_state=True)
    assert (out.shape, h.shape, c.shape) == ((0, 4), (1, 0, 17), (1, 0, 17))
    assert model.predict(np.zeros((0, 5, 3)), state=(h, c)).shape == (0, 4)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((0, 5, 3)), {"lengths": [2]}, r"expected \(0,\) integers"),
        (np.zeros((0, 5, 3)), {"lengths": "abc"}, r"expected \(0,\) integers"),
        ([], {"lengths": [2]}, "whose series have their own lengths"),
        (np.zeros((0, 5, 3)), {"state": "x"}, r"a state must be \(h, c\)"),
        (np.zeros((0, 5, 3)), {"state": (np.zeros((1, 2, 17)), np.zeros((1, 2, 17)))}, r"expected \(1, 0, 17\)"),
        ([], {"n_threads": 0}, "n_threads is 0"),
        (np.zeros((0, 5, 3), "U1"), {}, "X has type <U1, expected real numbers"),
    ],
)
def test_the_arguments_of_a_call_without_cases_are_checked(
    frozen: bool, x: Any, options: dict[str, Any], message: str
) -> None:
    model = built(CHAINS["last state"]())
    if frozen:
        model.freeze()
    with pytest.raises((TypeError, ValueError), match=message):
        model.predict(x, **options)


def test_scalers_that_change_are_seen() -> None:
    model = built(CHAINS["last state"](), scaled=True).freeze()
    x = np.full((1, 6, 3), 100.0)

    def expected() -> np.ndarray:
        return copy.copy(model).unfreeze().predict(x)

    first = model.predict(x)
    np.testing.assert_array_equal(first, expected())
    assert model.scaler is not None
    model.scaler.mean_[0] = 90.0  # type: ignore[attr-defined]
    np.testing.assert_array_equal(model.predict(x), expected())
    assert (model.predict(x) != first).any()
    model.scaler.fit(RNG.standard_normal((9, 3)))
    np.testing.assert_array_equal(model.predict(x), expected())
    model.scaler = None
    np.testing.assert_array_equal(model.predict(x), expected())
    model.target_scaler = fl.Standardizer().fit(RNG.standard_normal((9, 1)) * 7)
    np.testing.assert_array_equal(model.predict(x), expected())


def test_copies_and_unfreezing() -> None:
    model = built(CHAINS["both directions"]()).freeze()
    x = RNG.standard_normal((2, 6, 3)).astype("f4")
    expected = model.predict(x)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert predict_chain(other) is not predict_chain(model)
        np.testing.assert_array_equal(other.predict(x), expected)
    model.unfreeze()
    model.flat_parameters[:] *= 2
    assert (model.predict(x) != expected).any()
    again = model.predict(x)
    np.testing.assert_array_equal(model.freeze().predict(x), again)


def test_weights_are_packed_once_for_all_threads_and_ways() -> None:
    model = built([fl.LSTM(64), fl.Dense(9)]).freeze()
    x = RNG.standard_normal((1, 20, 3)).astype("f4")
    expected = model.predict(x)
    packed = model.network.parameters.packed
    assert packed is not None
    size = packed.nbytes
    assert 0 < size < 1.5 * model.flat_parameters.nbytes

    def work(k: int) -> None:
        for _ in range(50):
            np.testing.assert_array_equal(model.predict(x), expected)
        np.testing.assert_array_equal(model.predict(np.asfortranarray(x)), expected)  # layer by layer
        np.testing.assert_array_equal(model.stream().run(x)[:, -1], expected)

    in_threads(8, work)
    assert packed.nbytes == size
    chain = predict_chain(model)
    assert chain is not None
    assert chain.nbytes < size + 300_000


def test_idle_workspaces_of_many_models_are_bounded() -> None:
    x = RNG.standard_normal((1, 400, 3)).astype("f4")
    models = [built([fl.LSTM(64), fl.Dense(2)]).freeze() for _ in range(30)]
    expected = [model.predict(x) for model in models]

    def work(k: int) -> None:
        for model, out in zip(models, expected, strict=True):
            np.testing.assert_array_equal(model.predict(x), out)

    in_threads(8, work)
    chains = [chain for chain in map(predict_chain, models) if chain is not None]
    workspace = min(chain.nbytes - chain.packed.nbytes for chain in chains)
    assert 100_000 < workspace < 2_000_000
    held = sum(chain.nbytes - chain.packed.nbytes for chain in chains)
    assert held < 30 * 2 * workspace + 2**23  # two for each model, and 8 MB for all together


def test_large_inputs_go_layer_by_layer() -> None:
    model = built(CHAINS["each step"]()).freeze()
    chain = predict_chain(model)
    assert chain is not None
    assert chain.predict(np.zeros((1, 100, 3), "f4"), most=899) is None
    assert chain.predict(np.zeros((1, 100, 3), "f4"), most=900) is not None


def test_another_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built([fl.LSTM(20, bidirectional=True), fl.Dense(4)]).freeze()
    x = RNG.standard_normal((1, 20, 3)).astype("f4")
    stream_model = built([fl.LSTM(20), fl.Dense(4)]).freeze()
    stream, active = stream_model.stream(), _core.isa()
    try:
        for name in [*_core.available_isas(), active]:
            _core.set_isa(name)
            np.testing.assert_array_equal(model.predict(x), copy.copy(model).unfreeze().predict(x))
            stream.reset()
            np.testing.assert_array_equal(stream.run(x)[:, -1], stream_model.predict(x))
    finally:
        _core.set_isa(active)
