"""`Forecaster.fit(shards=, communicator=)`: the gradients of the whole batch, and the bits of one process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from team import Member, together

import fastlstm as fl
from fastlstm.forecast import training
from fastlstm.forecast.passes import _run_group

pd = pytest.importorskip("pandas")

SETTINGS: dict[str, Any] = {"hidden_size": 8, "epochs": 2, "random_state": 3, "verbose": 0, "n_jobs": 1}


def table(series: int, rows: int, holes: float = 0.0) -> Any:
    """Return waves of several lengths in the order of their ids, with holes."""
    rng = np.random.default_rng(5)
    frames = []
    for number in range(series):
        count = rows - 31 * (number % 4)
        y = np.sin(np.arange(count) * np.pi / 12 + number) + 0.1 * rng.standard_normal(count)
        y[rng.random(count) < holes] = np.nan
        times = pd.date_range("2024-01-01", periods=count, freq="h")
        frames.append(pd.DataFrame({"unique_id": f"m{number}", "ds": times, "y": y}))
    return pd.concat(frames, ignore_index=True)


def layers() -> list[fl.layers.Layer]:
    return [fl.Dropout(0.1), fl.LSTM(6, recurrent_dropout=0.2, zoneout_h=0.1, return_sequences=True)]


RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "series": (table(7, 420), {"batch_size": 5}),
    "one series": (table(1, 900), {"batch_size": 4, "num_layers": 2}),
    "holes, no validation": (table(5, 420, 0.3), {"batch_size": 3, "validation": 0, "conformal": False}),
    "layers": (table(6, 420), {"batch_size": 6, "layers": layers(), "precision": "bfloat16"}),
    "more shards than lanes": (table(2, 420), {"batch_size": 2}),
}


def train(name: str, communicator: Any = None, shards: int = 4, **more: Any) -> fl.Forecaster:
    df, settings = RUNS[name]
    of_fit = {key: more.pop(key) for key in ("checkpoint", "resume", "deadline") if key in more}
    forecaster = fl.Forecaster(horizon=6, **{**SETTINGS, **settings, **more})
    return forecaster.fit(df, shards=shards, communicator=communicator, **of_fit)


def found(forecaster: fl.Forecaster) -> tuple[bytes, Any, Any, Any]:
    """Return all that a training has found: weights, forecasts, losses, coverage."""
    weights = b"".join(part.flat_parameters.tobytes() for part in forecaster._engine.network.parts)
    predicted = forecaster.predict(level=90)
    history = forecaster.history_.history
    return weights, predicted.to_dict("list"), history, forecaster.coverage_


# ------------------------------------------------------------------ shards


@pytest.mark.parametrize("shards", [2, 3, 8])
@pytest.mark.parametrize("name", RUNS)
def test_several_shards_train_as_one(name: str, shards: int) -> None:
    # Shards add in another order, and draw the masks of the whole batch, so that float32's rounding alone differs. It
    # grows with each update; bfloat16 rounds what differs in its last bit by 2**-9 of its size.
    coarse = RUNS[name][1].get("precision") == "bfloat16"
    whole, parts = train(name, shards=1), train(name, shards=shards)
    loss, expected = parts.history_.history["loss"], whole.history_.history["loss"]
    np.testing.assert_allclose(loss, expected, rtol=2e-3 if coarse else 1e-5)
    got = parts.predict()["fastlstm"].to_numpy()
    np.testing.assert_allclose(got, whole.predict()["fastlstm"].to_numpy(), atol=0.02 if coarse else 1e-4)


def test_one_shard_is_the_default() -> None:
    df, settings = RUNS["series"]
    plain = fl.Forecaster(horizon=6, **SETTINGS, **settings).fit(df)
    assert found(plain) == found(train("series", shards=1))


def test_the_gradient_is_that_of_the_mean_loss_of_all_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of the first update, which Adam's steps would hide if it were scaled."""
    gradients: list[np.ndarray] = []

    def spied(trainer: training.Trainer, sums: Any) -> None:
        gradients.append(trainer.network.flat_gradients.copy())
        raise StopIteration

    monkeypatch.setattr(training.Trainer, "_update", spied)
    for shards in (1, 3):
        with pytest.raises(StopIteration):
            train("holes, no validation", shards=shards)
    assert np.abs(gradients[0]).max() > 1e-3
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)  # sums of float32 in another order


# ------------------------------------------------------------------ processes


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore:[0-9]+ processes share out the long parts:UserWarning")
def test_any_number_of_processes_gives_the_same_bits(name: str, size: int) -> None:
    expected = found(train(name))
    for forecaster in together(size, lambda member: train(name, member)):
        assert found(forecaster) == expected


def test_each_process_computes_its_shards_and_series(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes: list[int] = []
    passed: list[int] = []
    part, group = training.Trainer._part, _run_group

    def counting(trainer: training.Trainer, given: list[Any], *rest: Any) -> Any:
        lanes.append(len(given))
        return part(trainer, given, *rest)

    def passing(network: Any, layout: Any, given: list[int], *rest: Any) -> None:
        passed.append(len(given))
        group(network, layout, given, *rest)

    monkeypatch.setattr(training.Trainer, "_part", counting)
    monkeypatch.setattr("fastlstm.forecast.passes._run_group", passing)
    train("series")
    whole = sum(lanes), sum(passed)
    for size in (2, 4):
        lanes.clear(), passed.clear()
        together(size, lambda member: train("series", member))
        assert (sum(lanes), sum(passed)) == whole


def test_a_seed_that_is_drawn_is_that_of_rank_0() -> None:
    makers = [lambda: None, lambda: np.random.default_rng(), lambda: np.random.RandomState()]
    for make in makers:
        seeds = [
            one.seed_ for one in together(3, lambda member, make=make: train("series", member, random_state=make()))
        ]
        assert len(set(seeds)) == 1


@pytest.mark.parametrize("resuming", [1, 2])
def test_another_number_of_processes_continues_to_the_same_bits(
    resuming: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = found(train("series", epochs=4))
    path = tmp_path / "run.checkpoint"
    update = training.Trainer._update

    def failing(trainer: training.Trainer, sums: Any) -> None:
        update(trainer, sums)
        if trainer.walk.epoch == 3 and trainer.walk.update == 2 and trainer.reduce.rank == 1:
            raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(training.Trainer, "_update", failing)
        errors = together(4, lambda member: train("series", member, epochs=4, checkpoint=path))
    assert isinstance(errors[1], OSError)
    text = "rank 1 of the 4 processes of the communicator has ended the training: OSError: the disk is gone"
    assert [str(errors[rank]) for rank in (0, 2, 3)] == [text] * 3
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    given = {"epochs": 4, "checkpoint": path, "resume": True}
    with pytest.raises(ValueError, match="the run was started with another shards: give the same, or leave out resume"):
        train("series", shards=2, **given)
    for forecaster in together(resuming, lambda member: train("series", member, **given)):
        assert found(forecaster) == expected
    assert not list(tmp_path.iterdir())


def test_a_run_of_an_older_file_had_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlstm.formats import safetensors

    path = tmp_path / "run.checkpoint"
    expected = found(train("series", shards=1, epochs=3))

    def failing(trainer: training.Trainer) -> None:
        if trainer.walk.epoch == 2:
            raise OSError("the disk is gone")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="gone"):
        patched.setattr(training.Trainer, "_end_epoch", _before(training.Trainer._end_epoch, failing))
        train("series", shards=1, epochs=3, checkpoint=path)
    tensors, config = safetensors.load(path)
    del config["forecaster_run"]["run"]["shards"]
    safetensors.save(path, tensors, config)
    assert found(train("series", shards=1, epochs=3, checkpoint=path, resume=True)) == expected


def _before(method: Any, call: Any) -> Any:
    def both(trainer: Any) -> Any:
        call(trainer)
        return method(trainer)

    return both


def test_ctrl_c_in_one_process_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.checkpoint"
    expected = found(train("series"))
    update = training.Trainer._update

    def pressed(trainer: training.Trainer, sums: Any) -> None:
        update(trainer, sums)
        if trainer.walk.epoch == 2 and trainer.reduce.rank == 1:
            trainer.interrupt._noted = True

    def run(member: Member) -> Any:
        try:
            return train("series", member, checkpoint=path)
        except KeyboardInterrupt as error:
            return str(error)

    with monkeypatch.context() as patched:
        patched.setattr(training.Trainer, "_update", pressed)
        assert together(3, run) == ["training interrupted"] * 3
    place = re.findall("fastlstm: training interrupted in epoch 2, after ([0-9]+) updates", capsys.readouterr().err)
    assert len(place) == 1
    assert found(train("series", checkpoint=path, resume=True)) == expected


def test_rank_0_prints(capsys: pytest.CaptureFixture[str]) -> None:
    train("series", verbose=2)
    expected = capsys.readouterr().out
    together(3, lambda member: train("series", member, verbose=2))
    assert expected.count("val_loss") == 2
    assert re.sub("[0-9.]+ s", "", capsys.readouterr().out) == re.sub("[0-9.]+ s", "", expected)


def test_processes_without_lanes_are_named() -> None:
    def run(member: Member) -> Any:
        return train("one series", member, batch_size=1)

    with pytest.warns(UserWarning, match="3 processes share out the long parts of the series") as warned:
        together(3, run)
    text = str(next(one.message for one in warned if "share out" in str(one.message)))
    assert "are at most 1, so that 2 of them train nothing: start fewer, or give a larger batch_size than 1" in text


# ------------------------------------------------------------------ what is refused


def test_different_runs_are_refused_in_all_processes() -> None:
    other = RUNS["series"][0].copy()
    other.loc[3, "y"] += 1
    df = RUNS["series"][0]

    def of_table(member: Member) -> Any:
        forecaster = fl.Forecaster(horizon=6, batch_size=2, **SETTINGS)
        return forecaster.fit((df, other)[member.rank], shards=2, communicator=member)

    for error in together(2, of_table):
        assert "table differs between rank 0 and rank 1" in str(error), error
    differing: dict[str, Any] = {"hidden_size": (8, 9), "random_state": (1, 2), "shards": (4, 8), "dropout": (0.1, 0.2)}
    for name, values in differing.items():

        def run(member: Member, name: str = name, values: Any = values) -> Any:
            return train("series", member, **{name: values[member.rank]})

        name = "seed" if name == "random_state" else name
        for error in together(2, run):
            assert f"{name} differs between rank 0 and rank 1" in str(error), error


def test_a_table_that_one_process_cannot_read_ends_all() -> None:
    df = RUNS["series"][0]

    def run(member: Member) -> Any:
        given = df.rename(columns={"y": "z"}) if member.rank == 1 else df
        return fl.Forecaster(horizon=6, **SETTINGS).fit(given, shards=3, communicator=member)

    errors = together(3, run)
    assert isinstance(errors[1], ValueError)
    for error in (errors[0], errors[2]):
        assert "rank 1 of the 3 processes of the communicator has ended the training: ValueError" in str(error)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"shards": 0}, ValueError, "shards must be"),
        ({"shards": "all"}, TypeError, "shards must be"),
        ({"deadline": 0}, ValueError, "deadline must be"),
        ({"communicator": 3}, TypeError, "communicator must be an mpi4py communicator such as MPI.COMM_WORLD"),
    ],
)
def test_bad_arguments_are_refused(more: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train("series", **more)


def test_layers_that_need_the_whole_batch_are_refused() -> None:
    given = [fl.BatchNorm(), fl.LSTM(4, return_sequences=True)]
    with pytest.raises(ValueError, match="shards=2 computes each part of a batch alone, and layer 0"):
        train("series", shards=2, layers=given)
    train("series", shards=1, layers=given)
