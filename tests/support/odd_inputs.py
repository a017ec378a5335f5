"""Values that people pass by mistake or on purpose; array layouts; the judge of errors that input tests share."""

from __future__ import annotations

import datetime
import decimal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import doubles
import numpy as np
import pytest

import fastlstm as fl

hypothesis = pytest.importorskip("hypothesis", reason="pip install 'fastlstm[test]'")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.database import DirectoryBasedExampleDatabase  # noqa: E402

FEATURES, STEPS, CASES = 2, 3, 2
"""Features of the small model that receives the odd things."""


# ---------------------------------------------------------------------------------------------- properties

PROPERTIES: dict[str, tuple[Callable[..., None], tuple[Any, ...], int]] = {}
"""For each name: the test, the strategies of its arguments, its number of examples in every run."""

KEPT = Path(__file__).parents[2] / ".hypothesis" / "nightly"
"""The folder of the examples that failed in a nightly run."""

NIGHTLY = 40
"""Factor of the number of examples in the nightly run, which draws new ones each time."""


def examples(number: int, *strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a property that `check_property` checks with `number` examples in every run."""

    def note(function: Callable[..., None]) -> Callable[..., None]:
        PROPERTIES[function.__name__] = function, strategies, number
        return function

    return note


def check_property(name: str, nightly: bool = False) -> None:
    """Run the examples of a property: the same ones each time, or many new ones in the nightly run."""
    function, strategies, number = PROPERTIES[name]
    checked(function, strategies, number * NIGHTLY if nightly else number, nightly)


def checked(function: Callable[..., None], strategies: tuple[Any, ...], number: int, nightly: bool) -> None:
    """Call the function with `number` examples of its arguments.

    An example that fails in the nightly run is printed, also as the line that reproduces it, and kept in .hypothesis/,
    so that the next run of the test begins with it.
    """
    chosen = settings(
        max_examples=number,
        derandomize=not nightly,
        print_blob=nightly,
        database=DirectoryBasedExampleDatabase(KEPT) if nightly else None,
        deadline=None,  # a test must not depend on timing
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(*strategies)(function))()


# ---------------------------------------------------------------------------------------------- the judge


def refusal(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Return the result, or the TypeError or ValueError that a check of this package raised; propagate other errors."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: converting a masked element to nan")  # then NaN is refused
            return call(), None
    except fl.TrainingDiverged:
        return None, None  # numbers may be finite and too large to learn from
    except (TypeError, ValueError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        folders = Path(place.filename).parts
        ours = "fastlstm" in folders and "tests" not in folders
        # Cython reports the line, but an installed package does not contain the file.
        by_us = place.filename.endswith((".pyx", ".pxi", ".pxd")) or (place.line or "").startswith("raise ")
        assert ours and by_us, f"{error!r} comes from {place}, not from a check of ours"
        assert any(word in str(error) for word in WORDS), f"{error!r} does not say what is expected"
        assert "incorrect type" not in str(error), f"{error!r} is Cython's"
        return None, error


WORDS = (
    *("expected", "must", "need", "pass ", "give ", "there are", "knows", "leave", "read", "is for", "have not"),
    *("put ", "call ", "choose ", "use ", "make ", "omit ", "supports", "not an ONNX model", "nothing to "),
)


# ---------------------------------------------------------------------------------------------- odd things


class Refuses:
    """An object that claims to be an array and is not."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array")


class Endless:
    """A sequence that has a length and no elements."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        raise KeyError(index)


def shaped(value: Any, dtype: Any) -> np.ndarray:
    return np.full((CASES, STEPS, FEATURES), value, dtype)


ODD: dict[str, Any] = {
    "none": None,
    "true": True,
    "text": "abc",
    "empty text": "",
    "text with a null": "a\0b",
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abcd"),
    "dict": {1: 2},
    "set": {1},
    "range": range(3),
    "iterator": iter(()),
    "int": 3,
    "zero": 0,
    "negative": -1,
    "large int": 2**63,
    "huge int": 10**400,
    "huge negative int": -(10**400),
    "float": 2.5,
    "complex number": 1j,
    "nan": float("nan"),
    "infinity": float("inf"),
    "date": datetime.date(2020, 1, 1),
    "type": int,
    "function": len,
    "ellipsis": ...,
    "slice": slice(0, 1),
    "no array": Refuses(),
    "no elements": Endless(),
    "empty list": [],
    "empty dict": {},
    "list of none": [None, None],
    "list of texts": ["a", "b"],
    "list of dicts": [{}, {}],
    "list of numbers": [np.float32(1), np.float32(2)],
    "list of a large int": [2**70, 1],
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
    "objects, one none": np.where(np.arange(12).reshape(CASES, STEPS, FEATURES) == 5, None, shaped(1, object)),
    "objects, one text": np.where(np.arange(12).reshape(CASES, STEPS, FEATURES) == 5, "a", shaped(1, object)),
    "objects, all none": shaped(None, object),
    "time objects": shaped(datetime.datetime(2020, 1, 1), object),
    "generator": (number for number in ()),
    "map": map(len, ()),
    "dict of arrays": {"a": np.zeros((3, 2)), "b": np.zeros((3, 2))},
    "values of a dict": {"a": np.zeros((3, 2))}.values(),
    "missing": doubles.NA,
    "list with a missing one": [0, doubles.NA],
    "table": doubles.DataFrame({"a": np.zeros(2), "b": np.zeros(2)}),
    "table of one column": doubles.DataFrame({"a": np.zeros(2)}),
    "list of tables": [doubles.DataFrame({"a": np.zeros(3), "b": np.zeros(3)})] * 2,
    "groups": doubles.DataFrame({"a": np.zeros(2), "b": np.zeros(2)}).groupby("a"),
    "query": doubles.LazyFrame(doubles.DataFrame({"a": np.zeros(2)})),
    "sparse": doubles.CsrMatrix(np.zeros((2, 3))),
    "packed": doubles.PackedSequence(np.zeros((3, 2)), np.array([2, 1]), None, None),
    "tensor elsewhere": doubles.Tensor(np.zeros((2, 3, 2))),
    "tensor without values": doubles.Tensor(np.zeros((2, 3, 2)), device="meta"),
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
    "1-D, none": np.zeros(0),
    "1-D, ints": np.array([0, 1]),
    "4-D": np.zeros((2, 3, 2, 1)),
    "32-D": np.zeros((1,) * 32),
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

ODD_IN_MEMORY = {name: value for name, value in ODD.items() if "exbibytes" not in name}

PLAIN_ARRAYS = {"half", "long double", "booleans", "large unsigned", "objects"}
"""The layouts that a model of `FEATURES` features accepts as inputs."""


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
    "contiguous": np.array,
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
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))


def _array(shape: list[int], dtype: Any, layout: str, value: float) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = np.asarray(np.full(shape, value).astype(dtype))
        return LAYOUTS[layout](plain) if shape else plain


arrays = st.builds(
    _array,
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([*TYPES, "f4", "f4", "f8", "i8", "c8", "U2", "M8[s]"]),
    layouts,
    st.sampled_from([0.0, 1.0, 2.0, -1.0, 5.0, 1e-310, 1e300, np.nan, np.inf]),
)
"""Small arrays of any shape, type and layout, all of whose elements are equal."""

_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3),
    st.binary(max_size=3), st.complex_numbers(max_magnitude=9), arrays,
)  # fmt: skip
things = st.one_of(
    arrays,
    st.sampled_from(sorted(ODD_IN_MEMORY)).map(ODD.__getitem__),
    st.recursive(
        _scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=2),
        ),
        max_leaves=6,
    ),
)
"""Anything at all."""


def small_model() -> fl.Model:
    return fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=FEATURES, seed=0)
