"""The benchmark suite: statistics, verification, processes, reports. Nothing here depends on how long a run takes."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import BENCHMARKS, load_benchmarks

import fastlstm as fl

FOLDER = BENCHMARKS
load_benchmarks()

from benchmarks import (  # noqa: E402
    __main__,
    cases,
    gemm,
    machine,
    native,
    peak,
    peers,
    plot,
    regression,
    report,
    suite,
    sweep,
    timing,
    verify,
)
from benchmarks.cases import Case, Problem  # noqa: E402
from benchmarks.child import Child, ChildError, heap_holds_large_blocks  # noqa: E402
from benchmarks.groups import (  # noqa: E402
    ALL_GROUPS,
    OTHER_GROUPS,
    Settings,
    cells,
    imports,
    interference,
    oversubscription,
    serving,
    shapes,
    signals,
)
from benchmarks.peers import OWN, Runner, numpy_reference, own  # noqa: E402
from benchmarks.peers.onednn import library as onednn_library  # noqa: E402
from benchmarks.serving import models as serving_models  # noqa: E402
from benchmarks.timing import Figures, Plan  # noqa: E402

SMALL = [
    Case("small", "train", Problem(3, 5, 2, 4)),
    Case("small", "infer", Problem(3, 5, 2, 4)),
    Case("small", "train", Problem(4, 6, 3, 5, layers=2, bidirectional=True)),
    Case("small", "infer", Problem(4, 6, 3, 5, layers=2, bidirectional=True)),
    Case("small", "train", Problem(5, 9, 3, 4, shortest=2)),
    Case("small", "infer", Problem(5, 9, 3, 4, shortest=2)),
    Case("small", "passes", Problem(3, 5, 2, 4)),
    Case("small", "forward", Problem(3, 5, 2, 4)),
    Case("small", "step", Problem(1, 7, 3, 4)),
    Case("small", "epoch", Problem(4, 6, 3, 5, series=14, classes=3)),
]
NOW = Plan(pause=0, warm_up=0, least=2, most=2)


# ------------------------------------------------------------------------------------------------------ cases


def test_the_cases_are_what_they_should_be() -> None:
    sizes = [(p.batch, p.time, p.inputs, p.hidden) for p in (case.problem for case in shapes.cases_of("train"))]
    assert sizes == list(shapes.SHAPES) == [tuple(map(int, c.label.split(", "))) for c in shapes.cases_of("infer")]
    assert len(set(sizes)) == 11
    for group in shapes.GROUPS:
        for quick in (False, True):
            mine = shapes.cases_of(group, quick)
            assert {case.group for case in mine} == {group}
            assert len({(case.kind, case.label) for case in mine}) == len(mine) > 0
        assert {(c.kind, c.label) for c in shapes.cases_of(group, True)} <= {
            (c.kind, c.label) for c in shapes.cases_of(group)
        } or group == "epoch"  # the quick one has fewer series
    assert all(case.problem.batch >= 16 for case in shapes.cases_of("scaling"))
    assert {case.problem.hidden for case in shapes.cases_of("sizes")} == {30, 100, 200, 300}
    assert [case.label for case in shapes.cases_of("stream")] == [f"1, 1, 32, {h}" for h in (16, 64, 256)]


def test_an_unknown_group_or_kind() -> None:
    with pytest.raises(ValueError, match="there is no group 'tain'; there are: train"):
        shapes.cases_of("tain")
    with pytest.raises(ValueError, match="kind is 'learn', expected one of train"):
        Case("train", "learn", Problem(1, 1, 1, 1))


def test_flops() -> None:
    # Forward 2 B T 4H (I + H); backward as much for the weights, 2 B T 4H H for the state, 2 B T 4H I for the input.
    b, t, i, h = 3, 5, 7, 11
    forward, back = 2 * b * t * 4 * h * (i + h), 2 * b * t * 4 * h * (i + h) + 2 * b * t * 4 * h * h
    assert Case("", "infer", Problem(b, t, i, h)).flops == forward
    assert Case("", "train", Problem(b, t, i, h)).flops == forward + back + 2 * b * t * 4 * h * i
    deep = Problem(b, t, i, h, layers=2, bidirectional=True)
    assert deep.flops("infer") == 2 * forward + 2 * (2 * b * t * 4 * h * (2 * h + h))
    assert Case("", "step", Problem(1, 20, i, h)).flops == 2 * 4 * h * (i + h)


def test_data_are_the_same_in_each_process_and_empty_in_the_padding() -> None:
    problem = Problem(20, 30, 2, 3, shortest=4)
    data, again = cases.Data.of(problem), cases.Data.of(problem)
    for name, value in data.state.items():
        np.testing.assert_array_equal(value, again.state[name])
    np.testing.assert_array_equal(data.x, again.x)
    assert data.lengths is not None
    assert data.lengths.max() == 30 and 4 <= data.lengths.min() < 30
    for row, length in enumerate(data.lengths):
        assert (data.x[row, :length] != 0).all() and (data.x[row, length:] == 0).all()
        assert (data.d_out[row, :length] != 0).all() and (data.d_out[row, length:] == 0).all()


# ----------------------------------------------------------------------------------------------------- timing


def test_figures() -> None:
    figures = Figures.of([0.004, 0.001, 0.002])
    assert figures == Figures(median_ms=2.0, min_ms=1.0, runs=3)
    assert Figures.of([0.001, 0.003]).median_ms == pytest.approx(2.0)
    assert timing.ratio(Figures(3.0, 1.0, 1), Figures(2.0, 2.0, 1)) == 1.5
    with pytest.raises(ValueError, match="no times"):
        Figures.of([])


class Clock:
    """A clock that moves when something is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[tuple[str, float]] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.log.append(("sleep", seconds))

    def work(self, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.log.append(("run", seconds))

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_a_turn_of_long_runs(clock: Clock) -> None:
    times = timing.take_turn(clock.work(0.3), Plan(pause=0.15))
    assert times == pytest.approx([0.3] * 3)
    assert clock.log == [("sleep", 0.15)] + [("run", 0.3)] * 4  # one run to warm up


def test_a_turn_of_millisecond_runs(clock: Clock) -> None:
    times = timing.take_turn(clock.work(0.001), Plan(warm_up=0.02, seconds=0.0105))
    assert times == pytest.approx([0.001] * 10)
    assert 30 <= len(clock.log) - 1 <= 31


def test_a_turn_of_microsecond_runs_times_loops(clock: Clock) -> None:
    plan = Plan(pause=0, warm_up=0.002, most=7)
    times = timing.take_turn(clock.work(1e-6), plan)
    assert times == pytest.approx([1e-6] * 7)
    timed = len(clock.log) - 1 - 2000
    assert timed / 7 * 1e-6 >= 50e-6


class Recorded:
    """A runner that notes its turns."""

    def __init__(self, name: str, log: list[Any], clock: Clock, settle: float = 0.02, every: int = 1) -> None:
        self.name, self.log, self.clock, self.settle, self.every = name, log, clock, settle, every

    def turn(self, plan: Plan) -> list[float]:
        self.log.append((self.name, plan.pause))
        self.clock.now += 1
        return [float(len(self.log))]


def test_turns_are_interleaved_and_rest_after_blas(clock: Clock) -> None:
    log: list[Any] = []
    runners = {
        "a": Recorded("a", log, clock),
        "blas": Recorded("blas", log, clock, settle=0.15, every=3),
        "b": Recorded("b", log, clock),
    }
    figures = timing.interleave(runners, 0.0, rounds=4)
    first = [("a", 0.15), ("blas", 0.02), ("b", 0.15)]
    between = [("a", 0.02), ("b", 0.02)]
    assert log == first + 2 * between + [("a", 0.02), ("blas", 0.02), ("b", 0.15)]
    assert [figures[name].runs for name in runners] == [4, 2, 4]
    assert figures["a"].median_ms == 1e3 * np.median([1, 4, 6, 8])


def test_rounds_are_repeated_until_the_time_is_up(clock: Clock) -> None:
    log: list[Any] = []
    assert timing.interleave({"a": Recorded("a", log, clock)}, 9.5)["a"].runs == 10


# ----------------------------------------------------------------------------------------------- verification


@pytest.mark.parametrize(
    ("what", "wrong", "message"),
    [
        ("output", lambda a: a + 2e-5, "output differs by 2.*e-05, allowed is 1e-05"),
        ("output", lambda a: a[:1], r"output has shape \(1, 3\), expected \(2, 3\)"),
        ("output", lambda a: a * np.nan, "output differs by nan"),
        ("d x", lambda a: a * 1.001, "d x differs by 1.0e-03"),
        ("norm", lambda a: a * 1.5, "norm differs by 5.0e-01"),
    ],
)
def test_a_wrong_answer_is_caught(what: str, wrong: Callable[[Any], Any], message: str) -> None:
    expected = {"output": np.full((2, 3), 0.5), "d x": np.array([4.0, -9.0]), "norm": np.float64(1)}
    verify.check("somebody", "somewhere", {name: value + 1e-7 for name, value in expected.items()}, expected)
    answer: dict[str, Any] = dict(expected)
    answer[what] = wrong(answer[what])
    with pytest.raises(verify.WrongAnswer, match=f"somebody at somewhere: {message}"):
        verify.check("somebody", "somewhere", answer, expected)


def test_an_answer_that_lacks_something() -> None:
    with pytest.raises(verify.WrongAnswer, match=r"answered \['output'\], expected \['d x', 'output'\]"):
        verify.check("a", "b", {"output": np.zeros(1)}, {"output": np.zeros(1), "d x": np.zeros(1)})


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.kind} {case.label}")
@pytest.mark.parametrize("name", list(peers.PEERS))
def test_every_peer_answers_rightly(name: str, case: Case) -> None:
    """All peers agree with the reference in float64; those in a child test the protocol with all kinds of cases."""
    present, _, missing = peers.available([name])
    if missing:
        pytest.skip(missing[0])
    data = case.data()
    runners = present[name].prepare(case, data, 1)
    suite.verify(case, data, runners, numpy_reference.expected(case, data))
    for runner in runners.values():
        assert len(runner.turn(NOW)) == 2
    kinds = KINDS_OF[name]
    assert bool(runners) == (case.kind in kinds and not (name == "OpenVINO" and case.problem.shortest))


WHOLE = ("train", "infer", "step", "epoch")
KINDS_OF = {
    OWN: (*WHOLE, "passes", "forward"),
    "PyTorch": WHOLE,
    "PyTorch, tuned malloc": WHOLE,
    "ONNX Runtime": ("infer", "step"),
    "OpenVINO": ("infer",),
    "oneDNN": ("passes", "forward"),
    "NumPy": ("train", "infer"),
}


@pytest.fixture(scope="module", autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    from benchmarks.peers import tuned

    tuned.close()


class Doctored:
    """A peer whose answer has an error at one place."""

    def __init__(self, what: str) -> None:
        self.what = what

    def version(self) -> str:
        return "1"

    def prepare(self, case: Case, data: Any, threads: int) -> dict[str, Runner]:
        right = own.prepare(case, data, threads)[OWN]

        def answer() -> Any:
            assert right.answer is not None
            answer = {name: np.array(value) for name, value in right.answer().items()}
            answer[self.what].flat[-1] += 0.01
            return answer

        def turn(plan: Plan) -> list[float]:
            raise AssertionError("timed in spite of a wrong answer")

        return {"doctored": Runner(turn, answer)}


@pytest.mark.parametrize("what", ["output", "d x", "d weight_hh_l0", "norm"])
def test_a_doctored_peer_ends_the_measurement(what: str) -> None:
    with pytest.raises(verify.WrongAnswer, match=f"doctored at train 3, 5, 2, 4: {what} differs"):
        suite.measure(SMALL[0], {OWN: own, "doctored": Doctored(what)}, 1, 0.0)


def test_a_wrong_answer_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "available", lambda: ({OWN: own, "doctored": Doctored("output")}, {OWN: "1"}, []))
    monkeypatch.setattr(gemm, "limit_blas", lambda threads: None)
    assert __main__.main(["--only", "infer", "--threads", "1", "--out", str(tmp_path)]) == 1
    assert "wrong answer: doctored at infer 1, 1, 32, 64: output differs by 1.0e-02" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_peers_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(onednn_library, "_WHEELS", {"no-such-wheel": "libdnnl.so.3"})
    onednn_library.library.cache_clear()
    present, versions, missing = peers.available()
    assert list(present) == list(versions) == [OWN, "NumPy"]
    assert [line.split(" (")[0] for line in missing] == [
        "without PyTorch",
        "without PyTorch, tuned malloc",
        "without ONNX Runtime",
        "without OpenVINO",
        "without oneDNN",
    ]
    assert all("pip install 'fastlstm[bench]'" in line for line in missing)


# -------------------------------------------------------------------------------------------------- processes


def test_a_child_reports_errors_and_keeps_working() -> None:
    with Child([sys.executable], first=str(Path(fl.__file__).parents[1])) as child:
        with pytest.raises(ChildError, match="there is no peer 'Theano'"):
            child.prepare("Theano", SMALL[1], 1)
        runners = child.prepare(OWN, SMALL[1], 1)
        assert list(runners) == [OWN, f"{OWN} int8", f"{OWN} bf16"]
        assert child.ask("version", OWN) == own.version()
        assert Path(child.ask("where")) == Path(fl.__file__).parent
    assert not child.alive


def test_a_child_that_has_ended() -> None:
    child = Child([sys.executable, "-c", "raise SystemExit(7)"])  # it takes the code that follows as an argument
    with pytest.raises(ChildError, match="ended with code 7 at 'where'"):
        child.ask("where")
    child.close()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_the_environment_of_the_tuned_peer_works() -> None:
    from benchmarks.peers import tuned

    if tuple(map(int, platform.libc_ver()[1].split(".")[:2])) < (2, 35):
        pytest.skip("this glibc has an upper limit for the threshold")
    assert not heap_holds_large_blocks()
    child = tuned._started()
    assert child.ask("blocks from the heap")
    tuned.close()
    assert not child.alive


def test_the_checkout_does_not_hide_the_installed_package(tmp_path: Path) -> None:
    """Python puts the checkout first in the path, but its fastlstm is not compiled."""
    shutil.copytree(FOLDER, tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results", "__pycache__"))
    (tmp_path / "fastlstm").mkdir()
    (tmp_path / "fastlstm" / "__init__.py").write_text("raise ImportError('the one of the checkout')")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "nothing"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no group nothing; there are: train, infer" in done.stderr


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="numpy is not installed: pip install '.*bench.*' in the checkout"):
        __main__.main(["--quick"])


def test_a_compiled_checkout_stays_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "_ROOT", tmp_path.resolve())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fastlstm").mkdir()
    for entry in ("", str(tmp_path)):
        monkeypatch.setattr(sys, "path", [entry, "/elsewhere"])
        __main__._prefer_the_installed_package()
        assert sys.path == ["/elsewhere"]
    (tmp_path / "fastlstm" / "_core.cpython-310-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    __main__._prefer_the_installed_package()
    assert sys.path == ["", "/elsewhere"]


# ------------------------------------------------------------------------------------------- the other groups


def test_the_other_groups_are_run_with_the_settings_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "measure", lambda *given: given)
    monkeypatch.setattr(signals, "measure", lambda *given: given)
    monkeypatch.setattr(interference, "measure", lambda *given: given)
    monkeypatch.setattr(imports, "measure", lambda *given: given)
    monkeypatch.setattr(oversubscription, "measure", lambda threads, *, seconds, cases: (threads, seconds, len(cases)))
    monkeypatch.setattr(serving, "measure", lambda *given: given)
    assert ALL_GROUPS == (*shapes.GROUPS, "cells", "signals", "interference", "oversubscription", "import", "serving")
    for quick, rounds, number, runs in ((False, 5, 8, 10), (True, 1, 3, 5)):
        settings = Settings({}, 2, 6.0, quick)
        assert {name: measure(settings) for name, measure in OTHER_GROUPS.items()} == {
            "cells": (2, 1.0),
            "signals": ({}, 2, 2.0),
            "interference": ({}, 2, rounds),
            "oversubscription": (2, 1.0, number),
            "import": (runs,),
            "serving": (6.0, quick),
        }


def test_convolutions_are_verified_and_timed() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    small = [replace(one, batch=3, time=40, hidden=one.hidden and 5) for one in signals.MODELS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "MODELS", small)
        peers: Any = {"PyTorch": None, "ONNX Runtime": None}
        got = signals.measure(peers, 1, 0.01)
    assert [(one["model"], one["kind"], list(one["figures"])) for one in got] == [
        ("Conv1D", "train", [OWN, "PyTorch"]),
        ("Conv1D", "infer", [OWN, "PyTorch", "ONNX Runtime"]),
        ("CNN-LSTM", "train", [OWN, "PyTorch"]),
        ("CNN-LSTM", "infer", [OWN, "PyTorch", "ONNX Runtime"]),
    ]


def test_serving_measures_each_peer_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With invented results; one measurement of each kind is made in a process of its own."""
    asked: list[tuple[Any, ...]] = []

    def run(kind: str, peer: str, folder: str, *rest: Any) -> Any:
        asked.append((kind, peer, *rest))
        if kind == "http":
            return {"rate": 100.0, "processor": 3e-4}
        return {"bytes": 1500.0, "seconds": 2e-6} if kind == "streams" else 0.5

    monkeypatch.setattr(serving, "_peers", lambda: ["fastlstm", "other"])
    monkeypatch.setattr(serving, "find_spec", lambda name: name)
    got = serving.measure(1.0, True, run)
    assert got["http"]["json"]["none"] == pytest.approx({"rate": 100.0, "processor_us": 300.0})
    assert [rest for kind, peer, *rest in asked if kind == "http"][:1] == [["json", 8, 0.5]]
    assert got["calls"]["plain"]["8"] == {"fastlstm": 0.5, "other": 0.5}
    assert (got["cold_ms"]["other"], got["stream_kb"], got["stream_us"]) == (500.0, 1.5, 2.0)
    assert [peer for kind, peer, *_ in asked if kind == "heartbeat"] == ["fastlstm", "other"] * 2


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("calls", ("scaled", 2, 0.05)),
        ("cold", ()),
        ("memory", (2, 2)),
        ("heartbeat", (2, 0.05)),
        ("http", ("json", 2, 0.2)),
        ("http", ("binary", 2, 0.2)),
        ("streams", (5,)),
        ("subset", (5, 2)),
    ],
)
def test_the_measurements_of_serving(tmp_path: Path, kind: str, arguments: tuple[Any, ...]) -> None:
    if kind in ("memory", "streams") and sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    if kind == "http":
        pytest.importorskip("uvicorn")
    serving_models.save_models(tmp_path)
    got = serving.run_child(kind, "fastlstm", str(tmp_path), *arguments)
    if isinstance(got, dict):
        assert all(value > 0 for name, value in got.items() if name != "bytes")
    else:
        assert got >= 0


def test_a_product_of_matrices() -> None:
    a, b = gemm.product().args  # type: ignore[attr-defined]
    np.testing.assert_allclose(gemm.product()()[0], a[0] @ b, rtol=1e-4, atol=1e-3)


def test_cells_are_verified_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(3, 5, 4, 6)
    monkeypatch.setattr(cells, "interleave", lambda runners, seconds: {name: Figures(2.0, 1.0, 3) for name in runners})
    records = cells.measure(2, 0.1, problem)
    assert [r["cell"] for r in records] == list(cells.cells(6))
    assert all(r["train_ratio"] == r["infer_ratio"] == 1 and r["problem"] == "3, 5, 4, 6" for r in records)


def test_a_wrong_cell_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    train = cells._train
    monkeypatch.setattr(cells, "_train", lambda *given: (train(*given)[0] + 0.1, train(*given)[1]))
    with pytest.raises(verify.WrongAnswer, match="plain: output"):
        cells.measure(1, 0.1, Problem(3, 5, 4, 6))


def test_interference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "PROBLEMS", (Problem(2, 3, 4, 5),))
    monkeypatch.setattr(interference, "others", lambda peers, threads: {"one": lambda: None, "two": lambda: None})
    monkeypatch.setattr(interference, "take_turn", lambda run, plan: [0.002] * plan.most)
    records = interference.measure({}, 1, 2)
    assert [(r["problem"], r["after"], r["quiet_ms"], r["runs"]) for r in records] == [
        ("2, 3, 4, 5", "one", 2.0, 20),
        ("2, 3, 4, 5", "two", 2.0, 20),
    ]
    assert all(r["ratio"] == r["after_ms"] / 2.0 for r in records)


def test_oversubscription() -> None:
    """The counts of the processes depend on the machine; how they are combined does not."""
    cases = [Case("oversubscription", kind, Problem(2, 3, 4, 5)) for kind in ("train", "infer")]
    records = oversubscription.measure(2, processes=2, cases=cases, seconds=0.01, rounds=1)
    assert [(r["kind"], r["problem"], r["processes"]) for r in records] == [
        ("train", "2, 3, 4, 5", 2),
        ("infer", "2, 3, 4, 5", 2),
    ]
    for r in records:
        assert r["rate"] > 0 and r["rate_alone"] > 0
        assert r["cost"] == max(r["rate"], r["rate_alone"]) / r["rate"] >= 1


def test_import_times() -> None:
    seconds = {"numpy": iter([9.0, 0.1, 0.3, 0.2]), "fastlstm": iter([9.0, 0.25, 0.35, 0.15])}
    order: list[str] = []

    def seconds_of(module: str) -> float:
        order.append(module)
        return next(seconds[module])

    measured = imports.measure(3, seconds_of)
    assert measured == {
        "numpy_ms": pytest.approx(200),
        "fastlstm_ms": pytest.approx(250),
        "beyond_numpy_ms": pytest.approx(50),
        "runs": 3,
    }
    assert order == ["numpy", "fastlstm"] * 4
    assert imports.import_seconds("fastlstm") > 0


def test_the_machine() -> None:
    text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: A CPU\nflags\t\t: fpu avx avx2 avx512f\n\n"
    described = machine.describe(text + text.replace("A CPU", "another"))
    assert (described["cpu"], described["isa"]) == ("A CPU (family 25, model 17)", "AVX-512")
    assert machine.describe(text.replace(" avx512f", ""))["isa"] == "AVX2"
    assert machine.describe("Features\t: fp asimd\n")["isa"] == "NEON"
    assert machine.describe("")["cores"] == machine.cores() >= 1


# ---------------------------------------------------------------------------------------------------- reports


def record(group: str, kind: str, sizes: tuple[int, ...], medians: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "group": group,
        "kind": kind,
        "label": ", ".join(map(str, sizes)),
        "figures": {name: {"median_ms": ms, "min_ms": ms / 2, "runs": 9} for name, ms in medians.items()},
        "ratios": {name: ms / medians[OWN] for name, ms in medians.items() if name != OWN},
        **more,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Made-up figures of every group."""
    return {
        "date": "2026-01-02T03:04+00:00",
        "machine": {"cpu": "A CPU", "cores": 2, "isa": "AVX2", "system": "Linux", "python": "3.10"},
        "versions": {OWN: "1.2.3"},
        "missing": ["without ONNX Runtime: pip"],
        "threads": 2,
        "seconds": 1.0,
        "quick": False,
        "cases": [
            record(
                "train",
                "train",
                (1, 2, 3, 4),
                {OWN: 2.0, "PyTorch": 8.0, "NumPy": 2000.0},
                peak_fraction=0.5,
            ),
            record("train", "train", (5, 6, 7, 8), {OWN: 3.0, "PyTorch": 3.0, "NumPy": 30.0}, peak_fraction=0.25),
            record(
                "infer",
                "infer",
                (1, 2, 3, 4),
                {OWN: 0.5, "PyTorch": 0.25},
            ),
            record("stream", "step", (1, 1, 3, 4), {OWN: 0.001, "PyTorch": 0.09, "PyTorch LSTMCell": 0.03}),
            record(
                "lengths",
                "infer",
                (9, 9, 9, 9),
                {OWN: 6.0, f"{OWN} padded": 10.0, "PyTorch packed": 9},
                valid_share=0.5,
            ),
            record("scaling", "train", (16, 1, 1, 1), {OWN: 1.0, suite.ONE_THREAD: 1.9}),
        ],
        "cells": [
            {
                "cell": "plain",
                "problem": "2, 3, 4, 5",
                "train_ms": 2.0,
                "infer_ms": 1.0,
                "train_ratio": 1.0,
                "infer_ratio": 1,
            },
            {
                "cell": "odd",
                "problem": "2, 3, 4, 5",
                "train_ms": 5.0,
                "infer_ms": 1.5,
                "train_ratio": 2.5,
                "infer_ratio": 1.5,
            },
        ],
        "signals": [
            {"model": "Conv1D", "kind": "train", "label": "1, 2", "figures": {OWN: 2.0, "x": 3.0}, "ratios": {"x": 1.5}}
        ],
        "interference": [
            {"problem": "1, 2, 3, 4", "after": "NumPy", "quiet_ms": 2.0, "after_ms": 5.0, "ratio": 2.5, "runs": 50}
        ],
        "oversubscription": [
            {"kind": "train", "problem": "1, 2, 3, 4", "processes": 8, "rate": 40.0, "rate_alone": 50.0, "cost": 1.25}
        ],
        "import": {"numpy_ms": 80.0, "fastlstm_ms": 90.0, "beyond_numpy_ms": 10.0, "runs": 10},
        "serving": {
            "calls": {
                "scaled": {"2": {"fastlstm": 20.0, "torch": 5.0}},
                "plain": {"2": {"fastlstm": 22.0, "torch": 6.0}},
            },
            "http": {
                "json": {
                    peer: {"rate": 1e6 / us, "processor_us": us}
                    for peer, us in (("fastlstm", 250.0), ("torch", 500.0), ("none", 200.0))
                }
            },
            "cold_ms": {"fastlstm": 80.0, "torch": 900.0},
            "model_kb": {"fastlstm": 200.0, "torch": 400.0},
            "heartbeat_ms": {"fastlstm": 3.0, "torch": 9.0},
            "stream_kb": 1.5,
            "stream_us": 2.5,
            "reading_us": 0.5,
            "models": 500,
            "threads": 40,
            "streams": 10_000,
        },
    }


def test_the_report(results: dict[str, Any]) -> None:
    lines = report.markdown(results).splitlines()
    for line in (
        "A CPU, 2 cores, AVX2; Linux, Python 3.10; 2 threads for each library; 2026-01-02T03:04+00:00.",
        "without ONNX Runtime: pip.",
        "| batch, time, input, hidden | fastlstm ms | PyTorch ms (ratio) | NumPy ms (ratio) | of peak |",
        "| 1, 2, 3, 4 | 2 | 8 (4.00) | 2000 (1000.00) | 0.50 |",
        "| 5, 6, 7, 8 | 3 | 3 (1.00) | 30 (10.00) | 0.25 |",
        "| geometric mean of the ratios |  | **2.00** | **100.00** |  |",
        "| 1, 2, 3, 4 | 0.5 | 0.25 (0.50) |",
        "| 1, 1, 3, 4 | 1 | 30 (30.00) |",  # microseconds, the better of two ways
        "| 9, 9, 9, 9 | 6 | 10 (1.67) | 9 (1.50) | 1.20 |",  # ideal: 10 * 0.5
        "| train | 16, 1, 1, 1 | 1.9 | 1 | 1.90 |",
        "| odd | 5 (2.50) | 1.5 (1.50) |",
        "| 1, 2, 3, 4 | NumPy | 2 | 5 | 2.50 |",
        "|  | batch, time, input, hidden | all threads | 1 thread | better / all threads |",
        "| train | 1, 2, 3, 4 | 40 | 50 | 1.25 |",
        "| train | train | 1, 2, 3, 4 | PyTorch | 8 | 4 | 9 | 4.00 |",
        "`import fastlstm` takes 10 ms beyond `import numpy`, which takes 80 ms: medians of 10 fresh processes each.",
        "| answers/s, 2 threads, without | 22 | 6 |",
        "| answers/s over HTTP, 8 clients, JSON | 4000 | 2000 |",
        "| processor time of the server for an answer over HTTP, us, JSON | 250 | 500 |",
        "HTTP alone, without a model, takes 200 us with JSON of processor time for an answer.",
        "| memory for each of 500 models used by 40 threads, kB | 200 | 400 |",
        "10000 streams of fastlstm take 1.5 kB each, a step round robin 2.5 us; a reading of 37 of 1000 series of a "
        "stream 0.5 us.",
    ):
        assert line in lines, line
    assert [line for line in lines if line.startswith("## ")] == [
        "## Training step",
        "## Inference",
        "## One step of a stream",
        "## Series of many lengths",
        "## Threads",
        "## Cells",
        "## Convolutions",
        "## Directly after other thread pools",
        "## Several processes at once",
        "## Import",
        "## Serving",
        "## All figures",
    ]


def test_numbers_have_no_exponent() -> None:
    assert [report.number(x) for x in (0.00123, 1.0, 99.96, 1234.5, 12345678.0)] == [
        "0.00123",
        "1",
        "100",
        "1234",
        "12345678",
    ]


def test_the_files(results: dict[str, Any], tmp_path: Path) -> None:
    import json

    pytest.importorskip("matplotlib")
    written = report.write(results, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["results.json", "results.md", "results.png"]
    assert json.loads(written[0].read_text(encoding="utf-8")) == results
    assert written[1].read_text(encoding="utf-8") == report.markdown(results)
    assert written[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib_there_is_no_plot(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert [path.name for path in report.write(results, tmp_path)] == ["results.json", "results.md"]
    assert "pip install 'fastlstm[bench]'" in capsys.readouterr().err


def test_the_plot_shows_the_ratios(results: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    upper, lower = plot.figure(results).axes
    assert upper.get_yscale() == "log"
    lines = {line.get_label(): line.get_xydata().tolist() for line in upper.get_lines()}
    assert lines["PyTorch"] == [[0, 4.0], [1, 1.0], [2, 0.5]]
    assert lines["NumPy"] == [[0, 1000.0], [1, 10.0]]
    assert [bar.get_height() for bar in lower.patches] == [0.5, 0.25]  # the third rate was disturbed
    assert [text.get_text() for text in lower.get_xticklabels()] == ["1, 2, 3, 4", "5, 6, 7, 8", "1, 2, 3, 4"]


# ------------------------------------------------------------------------------------------------- regression


class Build:
    """A worker whose times are given: one number for each measurement of a case."""

    def __init__(self, milliseconds: list[float], answer: float = 0.5) -> None:
        self.milliseconds, self.answer = milliseconds, answer
        self.measured = 0

    def prepare(self, peer: str, case: Case, threads: int) -> dict[str, Runner]:
        assert peer == OWN
        return {OWN: Runner(lambda plan: [self.next() / 1e3] * 3, lambda: {"output": np.full(3, self.answer)})}

    def next(self) -> float:
        # A measurement has three rounds; the last number is repeated for all that follow.
        number = min(self.measured // 3, len(self.milliseconds) - 1)
        self.measured += 1
        return self.milliseconds[number]


@pytest.mark.parametrize(
    ("new", "attempts", "slow"),
    [
        ([1.05], 1, False),
        ([0.5], 1, False),
        ([1.2, 1.05], 2, False),
        ([1.2, 1.3, 1.0], 3, False),
        ([1.2, 1.2, 1.12], 3, True),
        ([3.0], 3, True),
    ],
)
def test_the_verdict(new: list[float], attempts: int, slow: bool) -> None:
    (verdict,) = regression.compare(Build([1.0]), Build(new), [2], 0.0, [SMALL[1]])
    assert (verdict.attempts, verdict.slow) == (attempts, slow)
    assert verdict.ratio == pytest.approx(new[min(attempts, len(new)) - 1])
    text = regression.report([verdict])
    assert ("slower by more than 10%:\n\n- infer 3, 5, 2, 4, 2 threads" in text) == slow
    assert ("no case is slower by more than 10%" in text) != slow


def test_each_measurement_takes_longer_than_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def interleave(runners: Any, seconds: float) -> dict[str, Figures]:
        taken.append(seconds)
        return {"old": Figures(1, 1, 1), "new": Figures(2, 2, 1)}

    monkeypatch.setattr(regression, "interleave", interleave)
    verdicts = regression.compare(Build([1.0]), Build([2.0]), [1, 2], 1.5, SMALL[:1])
    assert taken == [1.5, 3.0, 6.0] * 2
    assert [verdict.threads for verdict in verdicts] == [1, 2]


def test_a_different_answer_of_the_new_build_is_an_error() -> None:
    with pytest.raises(verify.WrongAnswer, match="the new build at infer 3, 5, 2, 4: output differs"):
        regression.compare(Build([1.0]), Build([1.0], answer=0.51), [1], 0.0, [SMALL[1]])


def test_builds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is neither a folder with an installed fastlstm"):
        regression.start(tmp_path)
    # The folder that holds the package under test is such a build.
    with regression.start(Path(fl.__file__).parents[1]) as child:
        assert child.alive
    broken = tmp_path / "fastlstm"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('not compiled')")
    with pytest.raises(ChildError, match="not compiled"):
        regression.start(tmp_path)


def test_the_cases_of_the_regression_are_answered_by_this_build() -> None:
    kinds = {case.kind for case in regression.CASES}
    assert kinds == {"train", "infer", "step", "epoch"}
    assert len({(case.kind, case.label) for case in regression.CASES}) == len(regression.CASES)


# ------------------------------------------------------------------------------------------------------ sweep


def test_random_problems() -> None:
    chosen = sweep.problems(200, seed=3)
    assert chosen == sweep.problems(200, seed=3) != sweep.problems(200, seed=4)
    sizes = np.array([(p.batch, p.time, p.inputs, p.hidden) for p in chosen])
    assert (sizes.min(axis=0) >= [1, 1, 1, 8]).all() and (sizes.max(axis=0) <= [512, 10_000, 512, 1024]).all()
    # Log-uniform: half of the batches are below the geometric middle, 23, and large ones are refused more often.
    assert 0.4 < (sizes[:, 0] < 23).mean() < 0.75
    assert (sizes[:, 3] % 2 == 1).any()
    assert max(p.flops("train") for p in chosen) < 1e11


def test_a_sweep_puts_the_worst_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = iter([4.0, 0.5, 2.0, 1.0])

    def measured(case: Case, *_: Any, **__: Any) -> dict[str, Any]:
        medians = {OWN: 1.0, "PyTorch": next(theirs), "ONNX Runtime": 3.0}
        one = record(
            case.group, case.kind, (case.problem.hidden,), {**medians, "oneDNN bf16": 0.1, f"{OWN}, Model": 0.1}
        )
        return {**one, "problem": asdict(case.problem)}

    monkeypatch.setattr(sweep, "measure", measured)
    records = sweep.run(2, 0, {}, 1, kinds=("train", "infer"))
    assert [sweep.worst_ratio(r) for r in records] == [0.5, 1.0, 2.0, 3.0]
    assert records[0]["kind"] == "infer"
    sweep.write(records, "heading", tmp_path)
    text = (tmp_path / "sweep.md").read_text()
    hidden = sweep.problems(1, 0)[0].hidden
    assert "A peer is faster in 1 of 4 cases." in text
    assert f"- infer {hidden}: 0.50\n" in text
    assert f"| infer | {hidden} | 1 | 0.5 (0.50) | 3 (3.00) | 0.1 (0.10) | 0.1 (0.10) | 0.50 |" in text
    means = [line for line in text.splitlines() if line.startswith("| train | all")]
    assert means == ["| train | all | 2 | 2.83 (2.00) | 3.00 (3.00) | 0.10 (0.10) | 0.10 (0.10) |"]


@pytest.mark.parametrize(
    "sizes, kind",
    [
        ((256, 1000, 64, 32), "wide input"),
        ((256, 1000, 63, 32), "other"),
        ((3, 18, 17, 167), "small work"),
        ((3, 500, 17, 300), "small work"),
        ((3, 501, 17, 300), "H >= 256"),
    ],
)
def test_kinds_of_shapes(sizes: tuple[int, ...], kind: str) -> None:
    assert sweep.shape_kind(dict(zip(("batch", "time", "inputs", "hidden"), sizes, strict=True))) == kind


def test_the_peak_is_measured_by_operations_of_registers() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    assert peak.operations("float32") % (2 * 16 * 4) == 0 < peak.operations("float32")
    assert peak.operations("int8") in (0, 4 * peak.operations("float32"))
    rate = peak.gflops(Figures(median_ms=2.0, min_ms=1.0, runs=3), threads=2)
    assert rate == pytest.approx(2 * peak.operations() / 1e-3 / 1e9)
    assert len(peak.runner(1).turn(NOW)) == 2


def test_a_file_that_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int f(void) { return x; }\n")
    if shutil.which("gcc"):
        with pytest.raises(ImportError, match="cannot compile wrong.c: .*error"):
            native.build(source)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ImportError, match="no compiler for wrong.c: install gcc, or set CC"):
        native.build(source)


def test_a_sweep_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "measure", lambda case, *_, **__: record("", case.kind, (1,), {OWN: 1.0}))
    said: list[str] = []
    records = sweep.run(5, 0, {}, 1, minutes=1e-9, progress=said.append)
    assert records == []
    assert said == ["stopped after 0 of 5 shapes: the time is up"]
