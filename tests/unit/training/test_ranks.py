"""`fit(communicator=)`: shards shared out to processes give the bits of one process, whatever their number."""

from __future__ import annotations

import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import mpiexec
from team import Member, together

import fastlstm as fl
from fastlstm.inference.feeding import Feed
from fastlstm.training.early import EarlySum
from fastlstm.training.ranks import Ranks
from fastlstm.training.reduce import Reduce, Sums

SEQUENCE = {"return_sequences": True}
rng = np.random.default_rng(7)
X, LENGTHS = rng.standard_normal((22, 9, 3)).astype("f4"), rng.integers(1, 10, 22)
LABELS, STEP_LABELS = rng.integers(0, 4, 22), rng.integers(0, 4, (22, 9))


def model_of(name: str) -> fl.Model:
    if name == "labels":
        layers = [fl.LSTM(6, num_layers=2, dropout=0.3, zoneout_h=0.2), fl.Dropout(0.2), fl.Dense(4)]
    elif name == "batch norm":
        layers = [fl.BatchNorm(), fl.LSTM(6, num_layers=2, dropout=0.3), fl.BatchNorm(weight=False), fl.Dense(4)]
    else:
        layers = [fl.Dropout(0.2), fl.LSTM(6, recurrent_dropout=0.2, **SEQUENCE), fl.Dense(4)]
    return fl.Model(layers, input_size=3, seed=3, scaler=fl.Standardizer())


RUNS: dict[str, dict[str, Any]] = {
    "labels": {"y": LABELS, "lengths": LENGTHS, "class_weight": "balanced", "validation_split": 0.2},
    "steps": {"y": STEP_LABELS, "lengths": LENGTHS, "sample_weight": rng.uniform(0, 2, 22)},
    "batch norm": {"y": LABELS, "lengths": LENGTHS, "class_weight": {0: 0.0, 1: 2.0}, "validation_split": 0.2},
    "segments": {"y": STEP_LABELS, "tbptt_steps": 4},
    "segments, lengths": {"y": STEP_LABELS, "lengths": LENGTHS, "tbptt_steps": 4},
}


def train(name: str, communicator: Any = None, **more: Any) -> tuple[Any, Any, int]:
    model = model_of(name)
    arguments = {"epochs": 2, "batch_size": 8, "verbose": 0, "shards": 8, "n_threads": 1, **RUNS[name], **more}
    history = model.fit(X, arguments.pop("y"), communicator=communicator, **arguments)
    return model.flat_parameters.copy(), history.history, model.network.passes


# ------------------------------------------------------------------ the tree


@pytest.fixture(params=[0, 2**20], ids=["divided", "whole"])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Gradients are divided among the ranks, or not."""
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_SLICE", request.param)
    least: int = request.param
    return least


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, 13])
def test_ranks_sum_to_the_same_bits(shards: int, slices: int) -> None:
    parts = rng.standard_normal((shards, 40)).astype("f4")
    weights = rng.uniform(0, 9, shards) * (rng.random(shards) < 0.8)

    def summed(reduce: Reduce) -> tuple[Sums, bytes, list[int]]:
        gradients, computed = np.zeros(40, "f4"), []

        def compute(index: int) -> Sums:
            computed.append(index)
            gradients[:] = parts[index]
            return Sums(0.1 * index, weights[index], 0.3)

        sums = reduce(compute, gradients)
        return sums, gradients.tobytes() if sums.weight else b"", computed

    expected = summed(Reduce(shards))
    for size in range(1, shards + 1):
        found = together(size, lambda member: summed(Ranks(shards, member, 60.0)))
        assert sorted(index for *_, computed in found for index in computed) == list(range(shards))
        for sums, gradients, computed in found:
            assert (sums, gradients) == expected[:2] and computed


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", RUNS)
def test_ranks_train_as_one_process(name: str, size: int, slices: int) -> None:
    weights, history, passes = train(name)
    for found in together(size, lambda member: train(name, member)):
        np.testing.assert_array_equal(found[0], weights)
        assert found[1:] == (history, passes)


# ------------------------------------------------------------------ sums that begin early


def deep(name: str) -> fl.Model:
    layers = [fl.Dropout(0.2), fl.LSTM(5, **SEQUENCE), fl.LSTM(6, recurrent_dropout=0.2, **SEQUENCE), fl.Dense(4)]
    model = fl.Model(layers, input_size=3, seed=3, scaler=fl.Standardizer())
    model.layers[2].trainable = name != "frozen"
    return model


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("name", ["steps", "segments, lengths", "cases of weight 0", "frozen"])
def test_gradients_of_upper_layers_are_added_early(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_SLICE", 0)
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_EARLY", 0)
    told: list[int] = []
    known_from = EarlySum.known_from
    monkeypatch.setattr(EarlySum, "known_from", lambda self, one: (told.append(one), known_from(self, one)))

    def run(communicator: Any = None) -> Any:
        model = deep(name)
        weight = (np.arange(22) % 8 > 4) * 2.0
        of_run = {"frozen": "steps", "cases of weight 0": "steps"}.get(name, name)
        given = {"epochs": 2, "batch_size": 8, "verbose": 0, "shards": size, "n_threads": 1, **RUNS[of_run]}
        if name == "cases of weight 0":
            given.update(sample_weight=weight, shuffle=False)
        history = model.fit(X, given.pop("y"), communicator=communicator, **given)
        return model.flat_parameters.copy(), history.history

    weights, history = run()
    assert not told
    for found in together(size, run):
        np.testing.assert_array_equal(found[0], weights)
        assert found[1] == history
    assert set(told) == {0, 200, 512}  # where the layers begin


def test_an_early_sum_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_SLICE", 0)
    monkeypatch.setattr("fastlstm.training.ranks._LEAST_EARLY", 0)

    def run(member: Member) -> Any:
        model = deep("steps")
        layer = model.layers[1]
        backward = layer.backward

        def failing(*arguments: Any) -> Any:
            if member.rank == 1:
                raise ArithmeticError("lowest layer")
            return backward(*arguments)

        layer.backward = failing  # type: ignore[method-assign]
        return model.fit(X, STEP_LABELS, shards=3, communicator=member, verbose=0)

    found = together(3, run)
    assert isinstance(found[1], ArithmeticError)
    for error in (found[0], found[2]):
        assert "rank 1 of the 3 processes of the communicator has ended the training: ArithmeticError" in str(error)
    assert not [one for one in threading.enumerate() if one.name == "fastlstm-early-sum"]


@pytest.mark.parametrize("name", ["labels", "segments, lengths"])
def test_validation_is_shared_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlstm.training.loop._EVALUATION_BATCH", 3)
    computed: list[int] = []

    def counting(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        return float(np.round(y_pred, 5).sum() + y_true @ np.arange(len(y_true)))

    forward = Feed.forward

    def spied(feed: Feed, segment: Any, *rest: Any) -> Any:
        if not feed.training:
            computed.append(len(segment.x))
        return forward(feed, segment, *rest)

    monkeypatch.setattr(Feed, "forward", spied)
    y = RUNS[name]["y"]
    more = {"validation_data": (X, y, LENGTHS), "metrics": {"sum": counting}, "validation_split": 0.0}
    _, history, _ = train(name, **more)
    whole = sum(computed)
    for size in (2, 3, 12):  # of 8 batches
        computed.clear()
        for found in together(size, lambda member: train(name, member, **{**more, "shards": 12})[1]):
            assert list(found) == list(history)
        assert sum(computed) == whole
    _, expected, _ = train(name, **more)
    for found in together(4, lambda member: train(name, member, **more)[1]):
        assert found == expected


@pytest.mark.parametrize("name", ["labels", "segments, lengths"])
def test_another_number_of_ranks_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    class Kill(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.epoch = epoch

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if (self.epoch, batch) == (2, 2):
                raise RuntimeError("killed")

    weights, history, _ = train(name, epochs=3)
    path = tmp_path / "run.safetensors"

    def begin(member: Member) -> Any:
        return train(name, member, epochs=3, callbacks=[fl.Checkpoint(path, every_batches=1), Kill()])

    errors = [str(error) for error in together(4, begin)]
    assert "killed" in errors and all(error.endswith("killed") for error in errors)  # own, or of another rank
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    for found in together(2, lambda member: train(name, member, epochs=3, resume=path)):
        np.testing.assert_array_equal(found[0], weights)
        assert found[1] == history


def test_rank_0_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("labels", verbose=2)
    expected = capsys.readouterr().out

    def run(member: Member) -> Any:
        folder = tmp_path / str(member.rank)
        folder.mkdir()
        best, log = fl.ModelCheckpoint(folder / "best.safetensors"), fl.CSVLogger(folder / "log.csv")
        return train("labels", member, verbose=2, callbacks=[best, log, fl.Checkpoint(folder / "run.safetensors")])

    together(3, run)
    assert capsys.readouterr().out == expected
    names = [sorted(one.name for one in (tmp_path / str(rank)).iterdir()) for rank in range(3)]
    assert names == [["best.safetensors", "log.csv", "run.safetensors"], [], []]


@pytest.mark.parametrize("stopping", [0, 2])
def test_a_callback_of_one_rank_stops_all(stopping: int) -> None:
    class Stop(fl.Callback):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.stop_training = self.rank == stopping and batch == 2

    def run(member: Member) -> Any:
        return train("labels", member, callbacks=[Stop(member.rank)])

    assert [passes for *_, passes in together(3, run)] == [2, 2, 2]


# ------------------------------------------------------------------ what is refused


def test_different_runs_are_refused_in_all_ranks() -> None:
    differing: dict[str, Any] = {"batch_size": (8, 9), "epochs": (2, 3), "shuffle": (True, False)}
    for name, values in {**differing, "recompute_every": (3, 4), "shards": (4, 8)}.items():

        def run(member: Member, name: str = name, values: Any = values) -> Any:
            return train("labels", member, **{name: values[member.rank]})

        for error in together(2, run):
            assert f"{name} differs between rank 0 and rank 1" in str(error), error
    other = np.where(np.arange(22) == 5, (LABELS + 1) % 4, LABELS)
    found = together(2, lambda member: train("labels", member, y=(LABELS, other)[member.rank]))
    assert all("data differs between rank 0 and rank 1" in str(error) for error in found)

    def other_weights(member: Member) -> Any:
        model = fl.Model([fl.LSTM(4), fl.Dense(4)], input_size=3)
        model.flat_parameters[3] += member.rank
        return model.fit(X, LABELS, shards=2, communicator=member, verbose=0)

    assert all("weights differs between rank 0 and rank 1" in str(error) for error in together(2, other_weights))


def test_an_error_of_one_rank_ends_all() -> None:
    found = together(3, lambda member: train("labels", member, y=LABELS[: 22 - (member.rank == 1)]))
    assert isinstance(found[1], ValueError)
    for error in (found[0], found[2]):
        assert isinstance(error, RuntimeError)
        expected = f"rank 1 of the 3 processes of the communicator has ended the training: ValueError: {found[1]}"
        assert str(error) == expected


@pytest.mark.parametrize("text", ["\U0001f30a" * 600, "\0" * 600, "a file \udcff"], ids=["waves", "zeros", "surrogate"])
def test_any_text_of_an_error_reaches_all(text: str) -> None:
    class Fail(fl.Callback):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if self.rank == 1:
                raise OSError(text)

    found = together(3, lambda member: train("labels", member, callbacks=[Fail(member.rank)]))
    assert isinstance(found[1], OSError)
    for error in (found[0], found[2]):
        assert f"has ended the training: OSError: {text[:400]}" in str(error)


def test_a_loss_that_is_not_finite_ends_all_ranks() -> None:
    y = rng.standard_normal((22, 1))
    y[0] = 1e200  # whose square is infinite

    def run(member: Member) -> Any:
        model = fl.Model([fl.LSTM(4), fl.Dense(1)], input_size=3, dtype="float64")
        with np.errstate(over="ignore"):
            return model.fit(X, y, loss="mse", shards=3, batch_size=22, communicator=member, verbose=0)

    errors = together(3, run)
    assert any(isinstance(error, fl.TrainingDiverged) for error in errors)
    # A rank that a slow machine keeps from seeing the sum itself is told.
    assert all(isinstance(error, fl.TrainingDiverged) or "TrainingDiverged" in str(error) for error in errors)


def test_bad_communicators_are_refused() -> None:
    with pytest.raises(TypeError, match="communicator must be an mpi4py communicator such as MPI.COMM_WORLD"):
        train("labels", 3)
    found = together(3, lambda member: train("labels", member, shards=2))
    assert all("shards=2 leaves some of the 3 processes of the communicator without work" in str(one) for one in found)


# ------------------------------------------------------------------ MPI itself

PROGRAM = """
import sys
import numpy as np
from mpi4py import MPI
import fastlstm as fl

rng = np.random.default_rng(0)
X, y = rng.standard_normal((20, 7, 3)), rng.standard_normal((20, 7, 1))
model = fl.Model([fl.LSTM(5, recurrent_dropout=0.2, return_sequences=True), fl.Dense(1)], seed=1)
communicator = MPI.COMM_WORLD if sys.argv[1] == "mpi" else None
model.fit(X, y, loss="mse", epochs=2, batch_size=8, tbptt_steps=4, shards=4, communicator=communicator, verbose=2)
rank = MPI.COMM_WORLD.Get_rank()
np.save(f"{sys.argv[2]}/{sys.argv[1]}{rank}.npy", model.flat_parameters)
"""


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec")
def test_two_processes_of_mpi(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    outputs = []
    for command, name in ((mpiexec(2), "mpi"), ([], "one")):
        done = subprocess.run(
            [*command, sys.executable, "-m", "mpi4py", str(program), name, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] and outputs[0].count("epoch") == 2
    ranks = [np.load(tmp_path / name) for name in ("mpi0.npy", "mpi1.npy", "one0.npy")]
    np.testing.assert_array_equal(ranks[0], ranks[2])
    np.testing.assert_array_equal(ranks[1], ranks[2])
