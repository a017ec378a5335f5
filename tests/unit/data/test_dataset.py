"""Objects that give one case at a time: which are taken, how they are refused, what is read when."""

from __future__ import annotations

import collections
import os
import signal
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.data import sequences
from fastlstm.data.case_objects import gives_cases
from fastlstm.data.case_reader import CaseReader
from fastlstm.data.dataset import DatasetSequences

rng = np.random.default_rng(0)
LENGTHS = rng.integers(1, 9, 40)
SERIES = [rng.standard_normal((n, 3)) for n in LENGTHS]
LABELS = rng.integers(0, 3, 40)


class Cases:
    """Give item i of each list; count the reads."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, i: int) -> Any:
        assert type(i) is int
        self.read.append(i)
        return tuple(part[i] for part in self.parts)


class Bare(Cases):
    """Give the series alone."""

    def __getitem__(self, i: int) -> Any:
        return super().__getitem__(i)[0]


class Returning(Cases):
    """Give an item for one case, and proper cases before it."""

    def __init__(self, item: Any, at: int = 0, n: int = 40) -> None:
        super().__init__(SERIES[:n], LABELS[:n])
        self.item, self.at = item, at

    def __getitem__(self, i: int) -> Any:
        if i != self.at:
            return super().__getitem__(i)
        if isinstance(self.item, BaseException):
            raise self.item
        return self.item


def model_of(**options: Any) -> fl.Model:
    return fl.Model([fl.LSTM(5), fl.Dense(3)], seed=1, **options)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-read-ahead"]


# ---------------------------------------------------------------------------------------------- what is taken


class Lazy:
    """An array of another package."""

    shape, dtype = (3, 2), "f4"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> int:
        return i


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (Cases([1]), True),
        (Lazy(), False),
        (memoryview(b"ab"), False),
        (np.zeros(3), False),
        ([1], False),
        ((1,), False),
        ({0: 1}, False),
        ("ab", False),
        (range(3), False),
        (collections.deque([1]), False),
        (iter([1]), False),
        (fl.data.as_sequences(SERIES), False),
        (None, False),
        (3, False),
    ],
)
def test_what_is_read_case_by_case(thing: Any, expected: bool) -> None:
    assert gives_cases(thing) is expected


# ---------------------------------------------------------------------------------------------- refusals


class Loader:
    """Gives batches in its own order, like torch.utils.data.DataLoader."""

    dataset = Cases(SERIES, LABELS)

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Any]:
        yield np.zeros((8, 4, 3)), np.zeros(8, int)


class TensorFlowDataset:
    def __iter__(self) -> Iterator[Any]:
        yield np.zeros((8, 4, 3)), np.zeros(8, int)


TensorFlowDataset.__module__ = "tensorflow.python.data.ops.dataset_ops"


class Unsized:
    def __getitem__(self, i: int) -> Any:
        return SERIES[i], LABELS[i]


class BadLength(Cases):
    def __len__(self) -> int:
        raise TypeError("unknown")


BATCHES = Cases([np.zeros((8, 4, 3))] * 5, [np.zeros(8, int)] * 5)

REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "loader": (Loader(), TypeError, r"X is a \S*Loader, which gives batches in its own order.*pass X\.dataset"),
    "TensorFlow": (TensorFlowDataset(), TypeError, r"TensorFlow.*list\(X\.unbatch\(\)\.as_numpy_iterator\(\)\)"),
    "batches": (BATCHES, ValueError, r"x of X\[0\] has shape \(8, 4, 3\), expected one case.*looks like a batch"),
    "generator": ((case for case in zip(SERIES, LABELS, strict=True)), TypeError, r"generator.*pass list\(X\)"),
    "array": (np.zeros((4, 5, 3)), TypeError, "y is None: X is a numpy.ndarray"),
    "list of series": (
        SERIES,
        TypeError,
        r"X\[0\] is a numpy.ndarray, expected a tuple \(x, y\).*give the targets as y",
    ),
    "pair": ((SERIES, LABELS), TypeError, "y is None: X is a tuple"),
    "Sequences": (fl.data.as_sequences(SERIES), TypeError, "y is None"),
    "None": (None, TypeError, "y is None: X is a NoneType"),
    "dict": ({"x": SERIES}, TypeError, r"X is a dict.*pass X\[\.\.\.\]"),
    "number": (3, TypeError, "X is a int without __len__ and __getitem__"),
    "unsized": (Unsized(), TypeError, r"X is a \S*Unsized without __len__, expected a data set"),
    "bad length": (BadLength([1]), TypeError, r"length is not known \(unknown\)"),
    "empty": (Cases([]), ValueError, "length 0"),
    "dict items": (Returning({"a": 1, "b": 2}), TypeError, r"X\[0\] is a dict.*\(item\['a'\], item\['b'\]\)"),
    "list items": (Returning([SERIES[0], 1]), TypeError, r"X\[0\] is a list, expected a tuple"),
    "no target": (Bare(SERIES), TypeError, r"X\[0\] is a numpy.ndarray, expected a tuple"),
    "four members": (Returning((SERIES[0], 1, 1.0, 2)), ValueError, r"X\[0\] is a tuple of 4"),
    "weight in one": (Returning((SERIES[0], 1, 1.0), 7), ValueError, r"X\[7\] is a tuple of 3, expected 2 members"),
    "empty series": (Returning((np.zeros((0, 3)), 1), 7), ValueError, r"x of X\[7\] has shape \(0, 3\).*one step"),
    "number as x": (Returning((1.0, 1), 7), ValueError, r"x of X\[7\] has shape \(\)"),
    "other features": (Returning((np.zeros((2, 4)), 1), 7), ValueError, r"x of X\[7\] has 4 features, expected 3"),
    "complex": (Returning((np.zeros((2, 3), complex), 1), 7), TypeError, r"x of X\[7\] has type complex128"),
    "nan": (Returning((np.full((2, 3), np.nan), 1), 17), ValueError, r"nan at \[case, step, feature\] = \[17, 0, 0\]"),
    "too large": (Returning((np.full((2, 3), 1e300), 1), 17), ValueError, r"1e\+300.*\[17, 0, 0\]"),
    "label": (Returning((SERIES[0], 7), 17), ValueError, r"^X\[17\]: y has 8 classes and the model has 3 outputs"),
    "negative label": (Returning((SERIES[0], -7), 17), ValueError, r"^X\[17\]: y holds label -7 at \[17\]"),
    "float label": (Returning((SERIES[0], 1.5), 17), TypeError, r"^X\[17\]: y\[0\] is 1.5"),
    "text label": (Returning((SERIES[0], "a"), 17), TypeError, r"y of X\[17\] is a string \('a'\), expected a number"),
    "two labels": (Returning((SERIES[0], [1, 2]), 17), ValueError, r"^X\[17\]: y has shape \(1, 2\)"),
    "no label": (Returning((SERIES[0], None), 17), TypeError, r"^y of X\[17\] is None"),
    "weights of steps": (Cases(SERIES, LABELS, [np.ones(n) for n in LENGTHS]), ValueError, "sample_weight must have"),
    "negative weight": (Cases(SERIES, LABELS, -np.ones(40)), ValueError, r"the weight of X\[0\].*>= 0, got -1\.0"),
    "weight nan": (Cases(SERIES, LABELS, np.full(40, np.nan)), ValueError, r"the weight of X\[0\]"),
    "two weights": (Cases(SERIES, LABELS, np.ones((40, 99))), ValueError, r"^X\[0\]: the weight has shape \(99,\)"),
    "its error": (Returning(OSError("no such disk"), 17), RuntimeError, r"X\[17\] of 0 to 39.*OSError: no such disk"),
    "too short": (Returning(IndexError("list index"), 17), RuntimeError, r"X\[17\] of 0 to 39.*IndexError"),
    "no items": (Returning(KeyError("first")), TypeError, r"whose item 0 cannot be read \(KeyError: 'first'\)"),
    "first file": (Returning(OSError("no such disk")), RuntimeError, r"X\[0\] of 0 to 39.*OSError: no such disk"),
    "no memory": (Returning(MemoryError("full"), 17), MemoryError, "^full$"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(name: str) -> None:
    data, error, match = REFUSED[name]
    model = model_of(input_size=3)
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=match) as raised:
        model.fit(data, epochs=1, batch_size=40, verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, before)
    if error is RuntimeError:
        assert raised.value.__cause__ is data.item


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in ("generator", "unsized")])
def test_evaluate_and_validation_refuse_the_same(name: str) -> None:
    data, error, match = REFUSED[name]
    model = model_of(input_size=3)
    with pytest.raises(error, match=match):
        model.evaluate(data, loss="cross_entropy")
    if not gives_cases(data) and not isinstance(data, (list, Loader, TensorFlowDataset)):
        error, match = ValueError, "validation_data must be .* or an object that gives cases"
    match = match.replace("X", r"validation_data(\[0\])?").replace("y is", "validation y is").replace(": y", ": .*y")
    with pytest.raises(error, match=match):
        model.fit(SERIES, LABELS, epochs=1, verbose=0, validation_data=(data,))


@pytest.mark.parametrize("name", ["loader", "TensorFlow", "batches", "empty series", "nan", "its error", "no memory"])
def test_predict_refuses_the_same(name: str) -> None:
    data, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        model_of(input_size=3).predict(data)


def test_weights_are_those_of_the_updates_before_a_bad_case() -> None:
    bad = Returning((np.full((2, 3), np.nan), 1), at=20)
    model, expected = model_of(), model_of()
    with pytest.raises(ValueError, match=r"\[20, 0, 0\]"):
        model.fit(bad, epochs=1, batch_size=8, shuffle=False, verbose=0)
    expected.fit(SERIES[:16], LABELS[:16], epochs=1, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, expected.flat_parameters)


def test_arguments_that_a_data_set_replaces_are_refused() -> None:
    model, data = model_of(), Cases(SERIES, LABELS)
    with pytest.raises(ValueError, match="got lengths for X.*leave lengths out"):
        model.fit(data, lengths=LENGTHS)
    with pytest.raises(ValueError, match=r"got sample_weight for X.*\(x, y, weight\)"):
        model.fit(data, sample_weight=np.ones(40))
    with pytest.raises(TypeError, match=r"X is a \S*Cases, .* read case by case, expected no y beside it"):
        model.fit(data, LABELS)
    with pytest.raises(TypeError, match="expected no y beside it"):
        model.evaluate(data, LABELS, loss="cross_entropy")
    with pytest.raises(ValueError, match="got lengths"):
        model_of(input_size=3).predict(data, lengths=LENGTHS)
    with pytest.raises(ValueError, match=r"put a list of cases \(x, y\) into a tuple, \(cases,\)"):
        model.fit(data, validation_data=list(zip(SERIES, LABELS, strict=True)))


# ---------------------------------------------------------------------------------------------- forms of items


def test_a_buffer_that_is_filled_again() -> None:
    class Reused(Cases):
        buffer = np.zeros((9, 3))

        def __getitem__(self, i: int) -> Any:
            x, y = super().__getitem__(i)
            self.buffer[: len(x)] = x
            return self.buffer[: len(x)], y

    model, expected = model_of(), model_of()
    model.fit(Reused(SERIES, LABELS), epochs=2, verbose=0)
    expected.fit(SERIES, LABELS, epochs=2, verbose=0)
    np.testing.assert_array_equal(model.flat_parameters, expected.flat_parameters)


@pytest.mark.parametrize("form", ["tuple", "bare", "weighted"])
def test_predictions_of_a_data_set(form: str) -> None:
    data = {
        "tuple": Cases(SERIES, LABELS),
        "bare": Bare(SERIES),
        "weighted": Cases(SERIES, LABELS, np.ones(40)),
    }[form]
    model = model_of(input_size=3)
    model.loss = fl.CrossEntropy()
    np.testing.assert_array_equal(model.predict(data, batch_size=7), model.predict(SERIES))
    np.testing.assert_array_equal(model.predict_proba(data), model.predict_proba(SERIES))
    per_step = fl.Model([fl.LSTM(5, return_sequences=True), fl.Dense(2)], input_size=3)
    got, expected = per_step.predict(data, batch_size=7), per_step.predict(SERIES)
    assert isinstance(got, list) and len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_series_of_one_feature_and_of_other_types() -> None:
    flat = [list(map(int, 10 * one[:, 0])) for one in SERIES]
    model = fl.Model([fl.LSTM(5), fl.Dense(3)], input_size=1)
    np.testing.assert_array_equal(model.predict(Bare(flat)), model.predict(flat))


def test_a_list_of_cases() -> None:
    model, expected = model_of(), model_of()
    cases = list(zip(SERIES, LABELS, strict=True))
    got = model.fit(cases, epochs=2, verbose=0, validation_data=(cases[:9],))
    wanted = expected.fit(SERIES, LABELS, epochs=2, verbose=0, validation_data=(SERIES[:9], LABELS[:9]))
    assert got.history == wanted.history
    assert model.evaluate(cases) == expected.evaluate(SERIES, LABELS)


def test_a_data_set_of_torch() -> None:
    torch = pytest.importorskip("torch")
    X = rng.standard_normal((30, 7, 3)).astype("f4")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS[:30]))
    part = torch.utils.data.Subset(data, range(20))
    model, expected = model_of(), model_of()
    got = model.fit(part, epochs=2, verbose=0, validation_data=data)
    wanted = expected.fit(X[:20], LABELS[:20], epochs=2, verbose=0, validation_data=(X, LABELS[:30]))
    assert got.history == wanted.history
    np.testing.assert_array_equal(model.predict(data), expected.predict(X))
    with pytest.raises(TypeError, match=r"X is a torch.DataLoader.*pass X\.dataset"):
        model.fit(torch.utils.data.DataLoader(data, batch_size=4))
    with pytest.raises(TypeError, match=r"X is a torch.DataLoader.*pass X\.dataset"):
        model.predict(torch.utils.data.DataLoader(data, batch_size=4))


# ---------------------------------------------------------------------------------------------- what is read when


def reads(n: int = 24, **options: Any) -> list[int]:
    """Return how often each case is read in an epoch, without the first one."""
    scalers = {name: options.pop(name) for name in ("scaler", "target_scaler") if name in options}
    y = options.pop("y", LABELS[:n])
    data = Cases(SERIES[:n], y)
    layers = options.pop("layers", [fl.LSTM(5), fl.Dense(3)])
    fl.Model(layers, **scalers).fit(data, epochs=1, batch_size=5, verbose=0, **options)
    return np.bincount(data.read, minlength=n).tolist()[1:]


NAMES = np.array(["a", "b", "c"])[LABELS]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 1),
        ({"shuffle": False}, 1),
        ({"scaler": fl.Standardizer()}, 2),
        ({"class_weight": {1: 2.0}}, 2),
        ({"class_weight": "balanced"}, 2),
        ({"validation_split": 0.25}, 2),
        ({"layers": [fl.LSTM(5, forget_bias="chrono"), fl.Dense(3)]}, 2),
        ({"layers": [fl.LSTM(5, forget_bias=("chrono", 9)), fl.Dense(3)]}, 1),
        ({"validation_split": 0.25, "class_weight": "balanced"}, 2),
        ({"y": NAMES}, 2),
        ({"y": NAMES, "validation_split": 0.25, "class_weight": "balanced"}, 2),
        ({"y": rng.standard_normal((40, 3)), "loss": "mse", "target_scaler": fl.Standardizer()}, 2),
        ({"y": rng.standard_normal((40, 3)), "loss": "mse", "validation_split": 0.25}, 1),
    ],
)
def test_each_case_is_read_as_often_as_documented(options: dict[str, Any], expected: int) -> None:
    assert set(reads(**options)) == {expected}


def test_known_classes_need_no_pass() -> None:
    data = Cases(SERIES, NAMES)
    model = model_of(classes=["a", "b", "c"])
    model.fit(data, epochs=1, verbose=0)
    assert set(np.bincount(data.read).tolist()[1:]) == {1}


def test_reading_overlaps_computing_and_is_bounded() -> None:
    """While a batch is being computed the next two are read, and no more."""
    data, size = Cases(SERIES, LABELS), 5
    changed = threading.Condition()
    expected = [0]

    class Waits(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            most = min((batch + 2) * size, 40) + 1  # the first case is read before, too
            with changed:
                assert changed.wait_for(lambda: len(data.read) == most, timeout=60), len(data.read)
            expected.append(most)

    class Notifies(Cases):
        def __getitem__(self, i: int) -> Any:
            with changed:
                item = data[i]
                changed.notify_all()
            return item

    model_of().fit(Notifies(SERIES, LABELS), batch_size=size, epochs=1, verbose=0, callbacks=[Waits()])
    assert len(expected) == 9


def test_a_few_batches_are_in_memory() -> None:
    """100 cases of 96 kB, 9.6 MB in all, in batches of 480 kB."""

    class Large(Cases):
        def __getitem__(self, i: int) -> Any:
            super().__getitem__(i)
            return np.full((4_000, 3), float(i)), i % 3

    size, data = 5, Large(range(100))
    batch = size * 4_000 * 3 * 8
    model = model_of(scaler=fl.Standardizer())
    model.fit(Large(range(size)), epochs=1, batch_size=size, verbose=0)  # imports modules, makes buffers
    for work in (
        lambda: model.fit(data, epochs=1, batch_size=size, verbose=0),
        lambda: model.evaluate(data, batch_size=size),
        lambda: model.predict(data, batch_size=size),
    ):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # In use, waiting, being read; one joined for a check, with its masks; one as an array of float32.
        assert peak < 7 * batch


def cases_of(data: Any) -> DatasetSequences:
    return DatasetSequences(CaseReader(data, False, False, "X"), lambda part: None)


# ---------------------------------------------------------------------------------------------- as Sequences


@pytest.mark.parametrize("block", [2**20, 30, 7])
def test_blocks_are_those_of_a_list(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "BLOCK_VALUES", block)
    listed, given = fl.data.as_sequences(SERIES), cases_of(Bare(SERIES))
    for (values, locate), (expected, place) in zip(given.blocks(), listed.blocks(), strict=True):
        np.testing.assert_array_equal(values, expected)
        assert [locate(row) for row in range(len(values))] == [place(row) for row in range(len(values))]


@pytest.mark.parametrize(
    "indices", [slice(3, 9), slice(None), slice(None, None, 3), np.array([5, 1, 1, 39]), range(4, 30, 5)]
)
def test_batches_and_parts_of_a_part(indices: Any) -> None:
    listed, given = fl.data.as_sequences(SERIES), cases_of(Bare(SERIES))
    for one, other in ((given, listed), (given.subset(slice(4, 40)), listed.subset(slice(4, 40)))):
        if isinstance(indices, np.ndarray) and len(other) < 40:
            continue
        x, lengths = one.batch(indices)
        expected, ends = other.batch(indices)
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(lengths, ends)
    part, expected_part = given.subset(np.array([7, 2, 9])), listed.subset(np.array([7, 2, 9]))
    assert (len(part), part.time) == (3, expected_part.time)
    np.testing.assert_array_equal(part.lengths, expected_part.lengths)
    np.testing.assert_array_equal(part.batch(slice(1, 3))[0], expected_part.batch(slice(1, 3))[0])


def test_the_interface_of_cases() -> None:
    from fastlstm.inference.dataset_inputs import dataset_cases
    from fastlstm.inference.inputs import checked_cases, checked_inputs

    model = model_of(input_size=3)
    scaler = fl.Standardizer().fit(SERIES)
    weight = rng.uniform(0, 1, 40)
    for y, loss in ((LABELS, fl.CrossEntropy()), (rng.standard_normal((40, 3)), fl.MSE())):
        given = dataset_cases(model, Cases(SERIES, y, weight), loss)
        listed = checked_cases(model, checked_inputs(model, SERIES, None), y, loss, sample_weight=weight)
        assert (given.targets.kind, given.targets.n_outputs) == (listed.targets.kind, 3)
        assert (len(given), len(given.targets), len(given.subset(slice(9)).targets)) == (40, 40, 9)
        for indices in (slice(2, 6), np.array([30, 1, 4])):
            for one, other in (
                (given, listed),
                (given.subset(np.arange(3, 37)), listed.subset(np.arange(3, 37))),
            ):
                for got, expected in zip(
                    one.read(indices, np.float32, scaler), other.read(indices, np.float32, scaler), strict=True
                ):
                    np.testing.assert_array_equal(got, expected)
                assert one.weighted and other.weighted
                for got, expected in zip(
                    one.read_targets(indices, np.float64), other.read_targets(indices, np.float64), strict=True
                ):
                    np.testing.assert_array_equal(got, expected)
                np.testing.assert_array_equal(one.targets.batch(indices, 1), other.targets.batch(indices, 1))


def raising(work: Callable[[], object], error: type[BaseException]) -> None:
    with pytest.raises(error):
        work()
    assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-read-ahead"]


def test_no_thread_outlives_a_call() -> None:
    class Stops(fl.Callback):
        def __init__(self, error: BaseException | None) -> None:
            self.error = error

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.stop_training = True
            if self.error is not None:
                raise self.error

    data, model = Cases(SERIES, LABELS), model_of()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 4, "verbose": 0}
    raising(lambda: model.fit(data, **options, callbacks=[Stops(ZeroDivisionError())]), ZeroDivisionError)
    raising(lambda: model.fit(data, **options, callbacks=[Stops(SystemExit())]), SystemExit)
    assert model.fit(data, **options, callbacks=[Stops(None)]).epochs == 0
    huge = fl.SGD(1e30)
    raising(
        lambda: model_of().fit(Cases(SERIES, rng.standard_normal((40, 3))), **options, loss="mse", optimizer=huge),
        fl.TrainingDiverged,
    )
    broken = Returning(OSError(), at=39)
    for work in (
        lambda: model.fit(broken, **options, shuffle=False),
        lambda: model.evaluate(broken, batch_size=4),
        lambda: model.predict(broken, batch_size=4),
    ):
        raising(work, RuntimeError)
    late = Returning((np.full((1, 3), np.inf), 0), at=6)
    raising(lambda: model.predict(late, batch_size=4), ValueError)
    raising(lambda: model.evaluate(late, batch_size=4), ValueError)


def test_no_thread_outlives_an_interrupt() -> None:
    class Interrupts(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            raise KeyboardInterrupt

    try:  # whether fit raises it or returns
        model_of().fit(Cases(SERIES, LABELS), epochs=2, batch_size=4, verbose=0, callbacks=[Interrupts()])
    except KeyboardInterrupt:
        pass


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals between threads")
def test_an_interrupt_while_the_thread_reads() -> None:
    """The signal comes from within __getitem__, and the main thread gets it while it waits or computes."""

    class Sends(Cases):
        def __getitem__(self, i: int) -> Any:
            if threading.current_thread() is not threading.main_thread() and i == 20:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(i)

    for work in (
        lambda: model_of().fit(Sends(SERIES, LABELS), epochs=1000, batch_size=4, verbose=0),
        lambda: [model_of(input_size=3).predict(Sends(SERIES, LABELS), batch_size=4) for _ in range(1000)],
    ):
        try:
            done: Any = work()
            assert done.epochs < 1000  # of fit, which may return
        except KeyboardInterrupt:
            pass
        assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-read-ahead"]


def test_there_is_no_thread_between_epochs() -> None:
    class Watches(fl.Callback):
        seen = 0

        def watch(self) -> None:
            assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-read-ahead"]
            self.seen += 1

        def on_epoch_begin(self, epoch: int) -> None:
            self.watch()

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.watch()

    watches, data = Watches(), Cases(SERIES, LABELS)
    model_of().fit(data, epochs=2, batch_size=4, verbose=0, validation_data=data, callbacks=[watches])
    assert watches.seen == 4
