"""Whatever is passed in: a right result, or an error of ours that says what is wrong, and a model that has not changed."""

from __future__ import annotations

import datetime
import decimal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm import _core

hypothesis = pytest.importorskip("hypothesis", reason="pip install 'fastlstm[test]'")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

# No deadline: a test must not depend on timing. The same examples in every run, so that CI is repeatable.
settings.register_profile(
    "fastlstm", deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fastlstm")

FEATURES, STEPS, CASES = 2, 3, 2
GOOD = np.linspace(-1, 1, CASES * STEPS * FEATURES).reshape(CASES, STEPS, FEATURES)
LABELS = [0, 1]


class Refuses:
    """An object that says that it is an array and is not."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array")


class Endless:
    """A sequence without elements that has a length."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        raise KeyError(index)


def shaped(value: Any, dtype: Any) -> np.ndarray:
    return np.full((CASES, STEPS, FEATURES), value, dtype)


ODD: dict[str, Any] = {
    "none": None,
    "text": "abc",
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abcd"),
    "dict": {1: 2},
    "set": {1},
    "range": range(3),
    "int": 3,
    "negative": -1,
    "huge int": 10**400,
    "float": 2.5,
    "nan": float("nan"),
    "date": datetime.date(2020, 1, 1),
    "type": int,
    "function": len,
    "ellipsis": ...,
    "no array": Refuses(),
    "no elements": Endless(),
    "empty list": [],
    "list of none": [None, None],
    "list of texts": ["a", "b"],
    "list of dicts": [{}, {}],
    "list of numbers": [np.float32(1), np.float32(2)],
    "list of masked": [np.ma.zeros((2, 2))],
    "list with a masked number": [[np.ma.masked, 1.0]],
    "list of 3-D": [np.zeros((2, 2, 2))],
    "list, one empty": [np.zeros((0, 2)), np.zeros((2, 2))],
    "list, one none": [np.zeros((2, 2)), None],
    "list, other features": [np.zeros((2, 2)), np.zeros((2, 3))],
    "ragged": [[1, 2], [3]],
    "ragged inside": [[[1, 2], [3]], [[1, 2]]],
    "ragged objects": np.array([np.zeros((2, 2)), np.zeros((3, 2))], dtype=object),
    "objects": shaped(1, object),
    "decimals": [[[decimal.Decimal(1)] * 2] * 3] * 2,
    "huge ints": [[[10**400] * 2] * 3] * 2,
    "complex": shaped(1, complex),
    "times": np.zeros((2, 3, 2), "M8[s]"),
    "durations": np.zeros((2, 3, 2), "m8[s]"),
    "byte texts": shaped("a", "S3"),
    "texts": shaped("a", "U3"),
    "void": np.zeros((2, 3, 2), "V8"),
    "structured": np.zeros((2, 3, 2), [("a", "f4")]),
    "masked": np.ma.masked_invalid(shaped(np.nan, float)),
    "0-D": np.array(1.0),
    "1-D": np.zeros(5),
    "4-D": np.zeros((2, 3, 2, 1)),
    "no cases": np.zeros((0, 3, 2)),
    "no steps": np.zeros((2, 0, 2)),
    "no features": np.zeros((2, 3, 0)),
    "more features": np.zeros((2, 3, 5)),
    "a million features": np.zeros((1, 1, 1_000_000), "f4"),
    "exbibytes": np.broadcast_to(np.float32(np.nan), (2**29, 2**29, 2)),  # of which 4 bytes exist
    "exbibytes of labels": np.broadcast_to(np.int64(-7), (2**29, 2**29)),
    "nan array": shaped(np.nan, float),
    "infinite": shaped(-np.inf, "f4"),
    "too large": shaped(1e300, float),
    "half": shaped(1, "f2"),
    "long double": shaped(1, np.longdouble),
    "booleans": shaped(True, bool),
    "large unsigned": shaped(2**63, np.uint64),
}
if np.finfo(np.longdouble).max > np.finfo(float).max:
    ODD["too large for a double"] = shaped(np.finfo(np.longdouble).max, np.longdouble)


def model() -> fl.Model:
    return fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=FEATURES, seed=0)


def fit(m: fl.Model, X: Any = GOOD, y: Any = LABELS, **arguments: Any) -> Any:
    return m.fit(X, y, **{"epochs": 1, "verbose": 0, **arguments})


def backward(m: fl.Model, *arguments: Any) -> Any:
    m.forward(GOOD, training=True)
    return m.backward(*arguments)


def stream_state(m: fl.Model, value: Any) -> None:
    m.stream(CASES).state = value


VERBS: dict[str, Callable[[fl.Model, Any], Any]] = {
    "predict": lambda m, v: m.predict(v),
    "predict_proba": lambda m, v: m.predict_proba(v),
    "predict_classes": lambda m, v: m.predict_classes(v),
    "predict, lengths": lambda m, v: m.predict(GOOD, v),
    "predict, batch_size": lambda m, v: m.predict(GOOD, batch_size=v),
    "predict, n_threads": lambda m, v: m.predict(GOOD, n_threads=v),
    "evaluate": lambda m, v: m.evaluate(v, LABELS, loss="cross_entropy"),
    "evaluate, labels": lambda m, v: m.evaluate(GOOD, v, loss="cross_entropy"),
    "evaluate, values": lambda m, v: m.evaluate(GOOD, v, loss="mse"),
    "evaluate, loss": lambda m, v: m.evaluate(GOOD, LABELS, loss=v),
    "evaluate, metrics": lambda m, v: m.evaluate(GOOD, LABELS, loss="cross_entropy", metrics=v),
    "fit": lambda m, v: fit(m, v),
    "fit, labels": lambda m, v: fit(m, GOOD, v),
    "fit, values": lambda m, v: fit(m, GOOD, v, loss="mse"),
    "fit, lengths": lambda m, v: fit(m, lengths=v),
    "fit, sample_weight": lambda m, v: fit(m, sample_weight=v),
    "fit, class_weight": lambda m, v: fit(m, class_weight=v),
    "fit, validation_data": lambda m, v: fit(m, validation_data=v),
    "fit, validation X": lambda m, v: fit(m, validation_data=(v, LABELS)),
    "fit, validation y": lambda m, v: fit(m, validation_data=(GOOD, v)),
    "fit, validation_split": lambda m, v: fit(m, validation_split=v),
    "fit, batch_size": lambda m, v: fit(m, batch_size=v),
    "fit, verbose": lambda m, v: fit(m, verbose=v),
    "fit, callbacks": lambda m, v: fit(m, callbacks=v),
    "fit, metrics": lambda m, v: fit(m, metrics=v, validation_data=(GOOD, LABELS)),
    "fit, loss": lambda m, v: fit(m, loss=v),
    "fit, optimizer": lambda m, v: fit(m, optimizer=v),
    "fit, n_threads": lambda m, v: fit(m, n_threads=v),
    "fit, seed": lambda m, v: fit(m, seed=v),
    "fit, tbptt_steps": lambda m, v: fit(m, tbptt_steps=v),
    "fit, checkpoint_every": lambda m, v: fit(m, checkpoint_every=v),
    "forward": lambda m, v: m.forward(v),
    "forward, lengths": lambda m, v: m.forward(GOOD, lengths=v),
    "forward, state": lambda m, v: m.forward(GOOD, state=v),
    "forward, h and c": lambda m, v: m.forward(GOOD, state=(v, v)),
    "backward": lambda m, v: backward(m, v),
    "backward, d_state": lambda m, v: backward(m, np.zeros((CASES, 2)), v),
    "load_state_dict": lambda m, v: m.load_state_dict(v),
    "load_state_dict, a value": lambda m, v: m.load_state_dict(dict.fromkeys(m.parameters(), v)),
    "stream": lambda m, v: m.stream(v) if not isinstance(v, int) or v < 10**6 else None,
    "stream.step": lambda m, v: m.stream(CASES).step(v),
    "stream.run": lambda m, v: m.stream(CASES).run(v),
    "stream.state": stream_state,
    "stream.state, h and c": lambda m, v: stream_state(m, [(v, v)]),
    "stream.reset": lambda m, v: m.stream(CASES).reset(v),
}


def answer_or_refusal(m: fl.Model, call: Callable[[], Any]) -> Any:
    """What the call gives, or None if it raises as it should: in our code, in words of ours, before anything changed."""
    before = m.flat_parameters.copy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: converting a masked element to nan")  # then NaN is refused
            return call()
    except (TypeError, ValueError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        assert "fastlstm" in place, f"{error!r} comes from {place}, not from a check of ours"
        assert any(word in str(error) for word in ("expected", "must", "needs", "pass ", "give ", "there are")), error
        np.testing.assert_array_equal(m.flat_parameters, before)
    return None


@pytest.mark.parametrize("verb", VERBS)
def test_odd_things_are_taken_or_refused(verb: str) -> None:
    for value in ODD.values():
        m = model()
        answer_or_refusal(m, lambda m=m, value=value: VERBS[verb](m, value))  # type: ignore[misc]


TAKEN = {"half", "long double", "booleans", "large unsigned"}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_taken_as_an_input(odd: str) -> None:
    m = model()
    result = answer_or_refusal(m, lambda: m.predict(ODD[odd]))
    if odd in TAKEN:
        np.testing.assert_array_equal(result, m.predict(ODD[odd].astype("f4")))
    else:
        assert result is None


@pytest.mark.parametrize("verb", ["fit", "predict", "forward", "evaluate"])
def test_a_refused_call_builds_no_model(verb: str) -> None:
    for odd in ("nan array", "infinite", "masked", "objects", "no steps", "exbibytes", "ragged inside"):
        m = fl.Model([fl.LSTM(3), fl.Dense(2)], seed=0)
        assert answer_or_refusal(m, lambda m=m, odd=odd: VERBS[verb](m, ODD[odd])) is None  # type: ignore[misc]
        assert not m.built


# ---------------------------------------------------------------------------------------------- layouts and types


def byteswapped(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder("S"))


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    b = raw[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def read_only(a: np.ndarray) -> np.ndarray:
    b = a.copy()
    b.flags.writeable = False
    return b


def reversed_strides(a: np.ndarray) -> np.ndarray:
    axes = (slice(None, None, -1),) * a.ndim
    return a[axes].copy()[axes]


def every_other(a: np.ndarray) -> np.ndarray:
    wide = np.full([2 * n for n in a.shape], 77).astype(a.dtype)
    wide[(slice(None, None, 2),) * a.ndim] = a
    return wide[(slice(None, None, 2),) * a.ndim]


def transposed(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose()).transpose()


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "byteswapped": byteswapped,
    "unaligned": unaligned,
    "read-only": read_only,
    "negative strides": reversed_strides,
    "every other": every_other,
    "transposed": transposed,
    "a field": lambda a: np.rec.fromarrays([a, a], names="u, v")["u"],
}
TYPES = ["f2", "f4", "f8", np.longdouble, "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
layouts = st.sampled_from(sorted(LAYOUTS))
sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))


@settings(max_examples=150)
@given(sizes, st.sampled_from(TYPES), layouts, st.integers(0, 2**32 - 1), st.data())
def test_every_layout_and_type_gives_the_same_bits(
    size: tuple[int, int, int], dtype: Any, layout: str, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    n, time, features = size
    x = rng.uniform(0 if np.dtype(dtype).kind in "ub" else -3, 3, size).astype(dtype)
    lengths = rng.integers(1, time + 1, n) if data.draw(st.booleans()) else None
    plain, odd = np.array(x, "f4"), LAYOUTS[layout](x)
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1)
    np.testing.assert_array_equal(m.predict(odd, lengths), m.predict(plain, lengths))
    np.testing.assert_array_equal(m.forward(odd, lengths), m.forward(plain, lengths))
    np.testing.assert_array_equal(m.stream(n).run(odd), m.predict(plain))
    for t in range(time):
        np.testing.assert_array_equal(m.stream(n).step(odd[:, t]), m.stream(n).step(plain[:, t]))
    y = rng.integers(0, 2, (n, time))
    odd_y = LAYOUTS[layout](y)
    weights = []
    for inputs, targets in ((plain, y), (odd, odd_y)):
        one = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], seed=1)
        fit(one, inputs, targets, lengths=lengths, sample_weight=LAYOUTS[layout](np.ones(n)))
        weights.append(one.flat_parameters)
    np.testing.assert_array_equal(*weights)
    np.testing.assert_array_equal(x, odd)  # nothing was written to it


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_strides_of_zero(axis: int) -> None:
    shape = [4, 5, 3]
    shape[axis] = 1
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    spread = np.broadcast_to(x, (4, 5, 3))
    m = fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=3, seed=1)
    np.testing.assert_array_equal(m.predict(spread), m.predict(spread.copy()))
    np.testing.assert_array_equal(m.forward(spread), m.forward(spread.copy()))
    fit(m, spread, np.broadcast_to(1, 4), sample_weight=np.broadcast_to(1.0, 4))
    assert np.isfinite(m.flat_parameters).all()


@pytest.mark.parametrize("package", ["pandas", "torch"])
def test_arrays_of_other_packages(package: str) -> None:
    other = pytest.importorskip(package)
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("f4")
    y = np.array([0, 1, 1, 0])
    m = fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=1, seed=1)
    theirs = other.DataFrame(x) if package == "pandas" else other.from_numpy(x)
    labels = other.Series(y) if package == "pandas" else other.from_numpy(y)
    np.testing.assert_array_equal(m.predict(theirs), m.predict(x))
    assert m.evaluate(theirs, labels, loss="cross_entropy") == m.evaluate(x, y, loss="cross_entropy")
    if package == "torch":
        assert answer_or_refusal(m, lambda: m.predict(theirs.requires_grad_())) is None
        assert answer_or_refusal(m, lambda: m.predict(other.zeros(4, 5, device="meta"))) is None
    else:
        mixed = other.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
        assert answer_or_refusal(m, lambda: m.predict(mixed)) is None


# ---------------------------------------------------------------------------------------------- bad numbers

SPECIAL = [np.nan, np.inf, -np.inf]


@settings(max_examples=150)
@given(sizes, st.sampled_from(SPECIAL), st.integers(0, 2**32 - 1))
def test_a_bad_number_is_refused_where_it_counts_and_nowhere_else(
    size: tuple[int, int, int], bad: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n, time, features = size
    x = rng.standard_normal(size)
    lengths = rng.integers(1, time + 1, n)
    case, step, feature = (int(rng.integers(k)) for k in size)
    spoilt = x.copy()
    spoilt[case, step, feature] = bad
    m = fl.Model([fl.LSTM(3, return_sequences=True), fl.Dense(2)], input_size=features, seed=1)
    if step < lengths[case]:
        with pytest.raises(ValueError, match=rf"\[{case}, {step}, {feature}\]"):
            m.predict(spoilt, lengths)
        with pytest.raises(ValueError, match=rf"\[{case}, {step}, {feature}\]"):
            fit(m, spoilt, np.zeros((n, time), int), lengths=lengths)
    else:
        np.testing.assert_array_equal(m.predict(spoilt, lengths), m.predict(x, lengths))
    y = rng.standard_normal((n, time, 2))
    y[case, step, 0] = bad
    if step < lengths[case]:
        with pytest.raises(ValueError, match=rf"y holds .*\[{case}, {step}, 0\]"):
            fit(m, x, y, lengths=lengths, loss="mse")
    else:
        fit(m, x, y, lengths=lengths, loss="mse")
    stream = m.stream(n)
    stream.run(x)
    state = stream.state
    with pytest.raises(ValueError, match="expected finite numbers"):
        stream.run(spoilt)
    with pytest.raises(ValueError, match="expected finite numbers"):
        stream.step(spoilt[:, step])
    h, c = (part.copy() for part in state[0])
    h.flat[int(rng.integers(h.size))] = bad
    with pytest.raises(ValueError, match="h holds .* expected finite numbers"):
        stream.state = [(h, c)]
    with pytest.raises(ValueError, match="h holds .* expected finite numbers"):
        m.forward(x, state=(h, c))
    for mine, before in zip(stream.state[0], state[0], strict=True):
        np.testing.assert_array_equal(mine, before)


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1))
def test_labels_and_lengths_out_of_range(n: int, time: int, value: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, case = rng.standard_normal((n, time, 2)), rng.integers(0, 2, n), int(rng.integers(n))
    y[case], lengths = value, rng.integers(1, time + 1, n)
    lengths[case] = value
    m = model()
    ignored = value == -100 and n > 1
    if value in (0, 1) or ignored:
        fit(m, x, y)
    else:
        assert answer_or_refusal(m, lambda: fit(m, x, y)) is None
        assert answer_or_refusal(m, lambda: m.evaluate(x, y, loss="cross_entropy")) is None
    if 1 <= value <= time:
        assert m.predict(x, lengths).shape == (n, 2)
    else:
        assert answer_or_refusal(m, lambda: m.predict(x, lengths)) is None
        assert answer_or_refusal(m, lambda: fit(m, x, np.zeros(n, int), lengths=lengths)) is None
    tokens = rng.integers(0, 7, (n, time))
    tokens[case, -1] = value
    reader = fl.Model([fl.Embedding(7, 3), fl.LSTM(3), fl.Dense(2)], seed=0)
    if 0 <= value < 7:
        reader.predict(tokens)
        reader.stream(n).run(tokens)
    else:
        assert answer_or_refusal(reader, lambda: reader.predict(tokens)) is None
        assert answer_or_refusal(reader, lambda: fit(reader, tokens, np.zeros(n, int))) is None
        assert answer_or_refusal(reader, lambda: reader.stream(n).run(tokens)) is None
        assert answer_or_refusal(reader, lambda: reader.stream(n).step(tokens[:, -1])) is None


def test_a_million_features() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 1_000_000)).astype("f4")
    m = fl.Model([fl.LSTM(1), fl.Dense(2)], seed=0)
    fit(m, x, [1])
    assert np.isfinite(m.predict(x)).all()


# ---------------------------------------------------------------------------------------------- the functions of _core

SIZES_OF_CORE = st.integers(0, 4)


def arrays_of_core() -> st.SearchStrategy[Any]:
    """Arrays of few elements, of any type, layout and number of axes; and things that are no arrays."""

    def make(shape: list[int], dtype: Any, layout: str, value: float) -> Any:
        return LAYOUTS[layout](np.full(shape, value).astype(dtype))

    return st.builds(
        make,
        st.lists(SIZES_OF_CORE, max_size=3),
        st.sampled_from(["f4", "f4", "f8", "i8", "i4", "f2"]),
        st.sampled_from(["contiguous"] * 4 + [name for name in sorted(LAYOUTS) if name != "a field"]),
        st.sampled_from([0.0, 1.0, 2.0, -1.0, 5.0]),
    )


def workspaces() -> st.SearchStrategy[Any]:
    return st.builds(lambda k: _core.Workspace(), st.just(0))


A, NUMBER, THREADS = arrays_of_core(), st.floats(0.01, 0.9), st.integers(-1, 3)
OPTIONAL = st.none() | A
ONE_SHAPE = "one shape"
CORE: dict[str, tuple[Any, list[Any]]] = {
    "dense_forward": (_core.dense_forward, [A, A, OPTIONAL, A, workspaces(), THREADS, st.booleans()]),
    "dense_backward": (_core.dense_backward, [A, A, A, OPTIONAL, OPTIONAL, OPTIONAL, workspaces(), THREADS]),
    "embedding_forward": (_core.embedding_forward, [A, A, A, THREADS]),
    "embedding_backward": (_core.embedding_backward, [A, A, A, THREADS]),
    "dropout": (_core.dropout, [A, A, st.floats(), st.integers(0, 2**64 - 1), THREADS]),
    "activation": (_core.activation, [st.integers(-2, 12), NUMBER, NUMBER, A, A, THREADS]),
    "activation_backward": (_core.activation_backward, [st.integers(-2, 12), NUMBER, NUMBER, A, A, A, A, THREADS]),
    "softmax": (_core.softmax, [A, A, THREADS]),
    "softmax_backward": (_core.softmax_backward, [A, A, A, THREADS]),
    "softmax_cross_entropy": (_core.softmax_cross_entropy, [A, A, OPTIONAL, OPTIONAL, A, THREADS]),
    "sgd_step": (_core.sgd_step, [A, A, OPTIONAL, NUMBER, NUMBER, st.booleans(), NUMBER, THREADS]),
    "rmsprop_step": (_core.rmsprop_step, [A, A, A, OPTIONAL, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, THREADS]),
    "adam_step": (
        _core.adam_step,
        [A, A, A, A, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.booleans(), st.integers(-1, 3), THREADS],
    ),
    "grad_norm": (_core.grad_norm, [A, THREADS]),
    "scale": (_core.scale, [A, NUMBER, THREADS]),
    "clip_value": (_core.clip_value, [A, st.floats(), THREADS]),
    "first_nonfinite": (_core.first_nonfinite, [A]),
}


@pytest.mark.parametrize("name", CORE)
def test_the_kernels_refuse_what_they_cannot_take(name: str) -> None:
    function, strategies = CORE[name]

    @settings(max_examples=200)
    @given(st.tuples(*strategies))
    def run(arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except (TypeError, ValueError) as error:
            assert len(str(error)) > 15

    run()


@settings(max_examples=400)
@given(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)),
    st.dictionaries(
        st.sampled_from(["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "lengths", "h0", "c0", "y", "hn", "cn"]),
        A,
        max_size=2,
    ),
    st.booleans(),
    st.integers(-1, 3),
    THREADS,
)
def test_a_pass_refuses_what_it_cannot_take(
    size: tuple[int, int, int, int], odd: dict[str, Any], training: bool, every: int, n_threads: int
) -> None:
    batch, time, inputs, hidden = size
    shapes = {
        "x": (batch, time, inputs),
        "weight_ih": (4 * hidden, inputs),
        "weight_hh": (4 * hidden, hidden),
        "bias_ih": (4 * hidden,),
        "bias_hh": (4 * hidden,),
        "h0": (batch, hidden),
        "c0": (batch, hidden),
        "y": (batch, time, hidden),
        "hn": (batch, hidden),
        "cn": (batch, hidden),
    }
    arrays = {name: np.ones(shape, "f4") for name, shape in shapes.items()}
    arrays["lengths"] = np.arange(batch) % (time + 1)
    kernel = _core.LSTMPass()
    try:
        kernel.forward(**{**arrays, **odd}, training=training, checkpoint_every=every, n_threads=n_threads)
    except (TypeError, ValueError) as error:
        assert len(str(error)) > 15
        with pytest.raises(RuntimeError, match="needs a forward"):
            kernel.backward()
        return
    if training:
        dy = odd.get("y", arrays["y"])
        kernel.backward(dy=dy, dx=np.empty(arrays["x"].shape, arrays["x"].dtype) if "x" not in odd else None)
    else:
        with pytest.raises(RuntimeError, match="needs a forward"):
            kernel.backward()


def test_sizes_whose_product_does_not_fit() -> None:
    """Shapes whose strides are 0 and whose workspace would be larger than the memory that can be addressed."""
    for batch, time in ((1, 2**60), (2**20, 2**40), (2**40, 2**20), (2**60, 1)):
        x = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (batch, time, 1), (0, 0, 4))
        weights = np.zeros((4, 1), "f4")
        with pytest.raises(MemoryError):
            _core.LSTMPass().forward(x, weights, weights, training=True)
