"""The experiments of the paper of 1997: sequences, criteria, records, one small experiment from end to end."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import load_benchmarks

load_benchmarks()

import fastlstm as fl  # noqa: E402
from benchmarks import __main__ as command  # noqa: E402
from benchmarks.paper1997 import experiments, pictures, report, results  # noqa: E402
from benchmarks.paper1997.continual import ContinualTrial  # noqa: E402
from benchmarks.paper1997.criteria import Examined, Recent  # noqa: E402
from benchmarks.paper1997.digits import Digits  # noqa: E402
from benchmarks.paper1997.grammar import Grammar, all_legal  # noqa: E402
from benchmarks.paper1997.later import CopyMemory, LongAdding, SpikeSpacing, TimedSpikes  # noqa: E402
from benchmarks.paper1997.reber import LEGAL, SYMBOLS, Strings, states_after  # noqa: E402
from benchmarks.paper1997.recipe import Recipe  # noqa: E402
from benchmarks.paper1997.tasks import (  # noqa: E402
    Adding,
    Batch,
    Distractors,
    Lag,
    Multiplying,
    TemporalOrder,
    TwoSequences,
)
from benchmarks.paper1997.trial import Trial  # noqa: E402
from fastlstm._draws import Draws  # noqa: E402


def text(symbols: Any) -> str:
    return "".join(SYMBOLS[one] for one in symbols)


# ---------------------------------------------------------------------------------------------------- the grammar


def test_strings_are_those_of_the_embedded_grammar() -> None:
    strings = [text(Strings(Draws(seed, "s")).draw()) for seed in range(300)]
    shape = re.compile(r"B([TP])B[TPSXV]+E\1E")
    assert all(shape.fullmatch(one) for one in strings)
    inner = {one[2:-2] for one in strings}
    assert {"BTXSE", "BPVVE"} <= inner and len(inner) > 60


def test_strings_by_hand() -> None:
    for good in ("BTBTXSETE", "BPBPVVEPE", "BTBTSSXXTVVETE", "BTBPTTVPXVPSETE"):
        states = states_after(np.array([SYMBOLS.index(one) for one in good]))
        assert states[-1] == 0
    for bad, place in (("BTBTXSEPE", 7), ("BTBTVVETE", 4), ("BB", 1), ("BTBPTTVPTSETE", 8)):
        with pytest.raises(ValueError, match=f"symbol {place} is {bad[place]}"):
            states_after(np.array([SYMBOLS.index(one) for one in bad]))


def test_what_may_come_next() -> None:
    symbols = np.array([SYMBOLS.index(one) for one in "BTBTXSETE"])
    legal = [text(np.flatnonzero(row)) for row in LEGAL[states_after(symbols)]]
    assert legal == ["TP", "B", "TP", "SX", "SX", "E", "T", "E", "B"]


def test_streams_are_strings_one_after_the_other_and_forks_are_fair() -> None:
    strings = Strings(Draws(3, "s"))
    stream = np.concatenate([strings.stream(7), strings.stream(20_000), strings.stream(1)])
    states = states_after(stream)  # raises if it is cut wrongly
    fork = np.flatnonzero(states[:-1] == 1) + 1  # after the first B of each string
    share = (stream[fork] == SYMBOLS.index("T")).mean()
    assert len(fork) > 1000 and abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(fork))


def test_training_and_test_strings_share_none() -> None:
    task = Grammar(5, count=64)

    def strings(batch: Batch) -> list[tuple[int, ...]]:
        assert batch.lengths is not None
        return [tuple(batch.x[k, :n]) + (int(batch.y[k, n - 1]),) for k, n in enumerate(batch.lengths)]

    training, test = strings(task.training), strings(task.test)
    assert len(training) == len(test) == 64 and not set(training) & set(test)
    drawn = task.draw(Draws(0, "t"), 30)
    assert set(strings(drawn)) <= set(training)
    assert drawn.lengths is not None
    for x, y, n in zip(drawn.x, drawn.y, drawn.lengths, strict=True):
        assert (x[1:n] == y[: n - 1]).all() and (y[n:] == -100).all()


def test_a_string_is_wrong_if_one_symbol_is() -> None:
    task = Grammar(0, count=20)
    batch = task.test
    assert batch.lengths is not None
    out = np.zeros((*batch.x.shape, 7), np.float32)
    for row, length in enumerate(batch.lengths):
        out[row, :length] = LEGAL[states_after(batch.x[row, :length])]
    assert not task.errors(out, batch).any()
    out[3, batch.lengths[3] - 1] = 0  # all equal: the legal one is not more active
    out[4, batch.lengths[4] :] = -5  # padding
    assert task.errors(out, batch).tolist() == [float(k == 3) for k in range(20)]
    assert not all_legal(np.ones((1, 7)), np.array([0])).any()


# ---------------------------------------------------------------------------------------------------- sequences


def test_lag_sequences() -> None:
    batch = Lag(5, False).draw(Draws(0, "d"), 200)
    assert {tuple(row) for row in np.column_stack([batch.x, batch.y[:, -1:]])} == {
        (4, 0, 1, 2, 3, 4),
        (5, 0, 1, 2, 3, 5),
    }
    np.testing.assert_array_equal(batch.x[:, 1:], batch.y[:, :-1])
    batch = Lag(5, True).draw(Draws(0, "d"), 4000)
    assert (batch.y[:, -1] == batch.x[:, 0]).all() and set(np.unique(batch.x[:, 1:])) == {0, 1, 2, 3}
    assert abs(batch.x[:, 1:].mean() - 1.5) < 4 * np.sqrt(1.25 / batch.x[:, 1:].size)


def test_lag_errors_count_all_steps_in_2a_and_the_last_in_2b() -> None:
    for random, expected in ((False, 1.0), (True, 0.0)):
        task = Lag(5, random)
        batch = task.draw(Draws(1, "d"), 3)
        out = 50.0 * np.eye(6)[batch.y]
        assert task.errors(out, batch).max() < 1e-9
        out[:, 1] = np.roll(out[:, 1], 1, axis=-1)
        np.testing.assert_allclose(task.errors(out, batch), expected, atol=1e-9)


def test_distractor_sequences() -> None:
    task = Distractors(7, 4)
    x, y, lengths = task.draw(Draws(0, "d"), 5000)
    assert lengths is not None and task.symbols == 8 and task.outputs == 2
    assert (x[:, 0] == 5).all() and (x[:, 1] == 6 + y).all() and (x[np.arange(len(x)), lengths - 1] == 4).all()
    inside = (np.arange(x.shape[1]) >= 2) & (np.arange(x.shape[1]) < lengths[:, None] - 1)
    assert set(np.unique(x[inside])) == {0, 1, 2, 3}
    # b, the symbol, q distractors, 9 more on average (variance .9 / .1 ** 2), e; the paper counts the last symbol too.
    assert lengths.min() == 10 and abs(lengths.mean() + 1 - (7 + 13)) < 4 * np.sqrt(90 / 5000)
    assert abs(y.mean() - 0.5) < 4 * 0.5 / np.sqrt(5000)


def test_two_sequences_in_noise() -> None:
    x, y, lengths = TwoSequences(50, 3).draw(Draws(0, "d"), 2000)
    assert lengths is not None and lengths.min() == 50 and lengths.max() == 55
    assert (x[:, :3, 0] == 2 * y - 1).all() and set(np.unique(y)) == {0, 1}
    noise = x[:, 3:50, 0]
    assert abs(noise.mean()) < 4 * np.sqrt(0.2 / noise.size)
    assert abs(noise.var() - 0.2) < 4 * 0.2 * np.sqrt(2 / noise.size)


@pytest.mark.parametrize("task", [Adding(60), Multiplying(60)], ids=["adding", "multiplying"])
def test_marked_numbers(task: Adding) -> None:
    x, y, lengths = task.draw(Draws(0, "d"), 4000)
    assert lengths is not None and lengths.min() == 60 and lengths.max() == 66
    rows = np.arange(len(x))
    assert (x[:, 0, 1] == -1).all() and (x[rows, lengths - 1, 1] == -1).all()
    places = [np.flatnonzero(row == 1) for row in x[:, :, 1]]
    assert max(place.max() for place in places) == 29  # one of the first 29 others
    for row, place in enumerate(places):
        # A mark on the first step is written over by its -1, and its number is neutral.
        values = [x[row, k, 0] for k in place] + [x[row, 0, 0]] * (2 - len(place))
        assert 1 <= len(place) <= 2 and min([0] * (2 - len(place)) + place.tolist()) < 10
        np.testing.assert_allclose(y[row, 0], task.target(*map(np.float64, values)), atol=1e-6)
    alone = np.array([len(place) == 1 for place in places])
    assert (x[alone, 0, 0] == task.neutral).all() and 0.08 < alone.mean() < 0.2
    assert x[:, 1:, 0].min() >= task.lowest and x[:, :, 0].max() <= 1
    assert abs(x[:, 1:60, 0].mean() - (task.lowest + 1) / 2) < 0.01


@pytest.mark.parametrize("marks", [2, 3])
def test_temporal_order(marks: int) -> None:
    task = TemporalOrder(marks)
    x, y, lengths = task.draw(Draws(0, "d"), 3000)
    assert lengths is not None and lengths.min() == 100 and lengths.max() == 110 and task.outputs == 2**marks
    ranges = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}[marks]
    for row, length in enumerate(lengths):
        places = np.flatnonzero(x[row, :length] >= 6)
        assert len(places) == marks
        assert all(low <= place <= high for place, (low, high) in zip(places, ranges, strict=True))
        assert int("".join(str(one - 6) for one in x[row, places]), 2) == y[row]
    assert (x[:, 0] == 4).all() and (x[np.arange(len(x)), lengths - 1] == 5).all()
    counts = np.bincount(y, minlength=2**marks)
    assert (abs(counts - 3000 / 2**marks) < 4 * np.sqrt(3000 / 2**marks)).all()


def test_later_sequences() -> None:
    x, y, _ = LongAdding(40).draw(Draws(0, "d"), 500)
    places = np.nonzero(x[:, :, 1])[1].reshape(-1, 2)
    assert places[:, 0].max() < 20 <= places[:, 1].min()
    np.testing.assert_allclose((x[:, :, 0] * x[:, :, 1]).sum(axis=1), y[:, 0], rtol=1e-6)
    assert abs(LongAdding(40).errors(np.ones((500, 1)), Batch(x, y)).mean() - 1 / 6) < 0.03
    copy = CopyMemory(30)
    x, y, _ = copy.draw(Draws(0, "d"), 8)
    assert x.shape == (8, 50) and (x[:, 39] == 9).all() and not x[:, 10:39].any() and not x[:, 40:].any()
    np.testing.assert_array_equal(y[:, 40:], x[:, :10])
    out = np.eye(9)[np.maximum(y, 0)]
    out[0, -1] = np.roll(out[0, -1], 1)
    assert copy.errors(out, Batch(x, y)).tolist() == [0.1] + [0.0] * 7
    x, y, lengths = SpikeSpacing(20).draw(Draws(0, "d"), 100)
    assert lengths is not None
    spikes = np.nonzero(x[:, :, 0])[1].reshape(-1, 2)
    np.testing.assert_array_equal(spikes[:, 1] - spikes[:, 0], 19 + y[:, 0])
    np.testing.assert_array_equal(spikes[:, 1], lengths - 1)
    x, y, _ = TimedSpikes(5, 3).draw(Draws(0, "d"), 2)
    assert np.flatnonzero(x[0]).tolist() == [0] and np.flatnonzero(y[1]).tolist() == [5, 10, 15]


def test_outputs_become_answers_by_the_link_of_the_loss() -> None:
    np.testing.assert_allclose(TwoSequences(20, 1).answers(np.array([[0.0], [np.log(3)]])), [[0.5], [0.75]])
    scores = np.log([[1.0, 2.0, 3.0, 4.0], [700.0, 100.0, 100.0, 100.0]])
    np.testing.assert_allclose(TemporalOrder(2).answers(scores), [[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    np.testing.assert_array_equal(Adding(20).answers(np.array([[-0.3], [2.0]])), [[-0.3], [2.0]])


def test_seeds_give_the_same_sequences() -> None:
    for task in (Adding(20), Distractors(5, 5), TemporalOrder(2), Grammar(0, 8), TwoSequences(20, 1)):
        one, same, other = (task.draw(Draws(seed, "d"), 4) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.x, same.x)
        assert one.x.shape != other.x.shape or (one.x != other.x).any()


# ---------------------------------------------------------------------------------------------------- criteria


def test_recent_sequences_are_counted_over_batches() -> None:
    judge = Recent(0.5, (("two", 3), ("none", 1)), mean=0.4, recent=10).judge(Adding(20), Draws(0))
    measure: Any = None
    assert list(judge.met(6, np.array([0.9, 0.1, 0.9, 0.1, 0.1, 0.1]), measure)) == []  # not yet ten
    assert list(judge.met(10, np.array([0.1] * 4), measure)) == ["two"]
    assert list(judge.met(12, np.array([0.1] * 2), measure)) == ["two"]
    assert list(judge.met(13, np.array([0.1]), measure)) == ["two", "none"]
    assert list(judge.met(23, np.array([0.45] * 10), measure)) == []  # right, but not in the mean
    assert list(judge.met(24, np.array([0.5]), measure)) == []  # the tolerance itself is wrong


def test_tests_come_every_so_often_and_end_with_the_first_wrong_one() -> None:
    seen: list[int] = []

    def measure(batch: Batch) -> np.ndarray:
        seen.append(len(batch.x))
        return np.full(len(batch.x), error)

    criterion = Examined(0.2, 600, every=100, means=(("ST1", 1.0), ("ST2", 0.01)))
    judge, error = criterion.judge(Adding(20), Draws(0)), 0.3
    assert list(judge.met(99, np.zeros(99), measure)) == [] and seen == []
    assert list(judge.met(100, np.array([0.2]), measure)) == [] and seen == []  # wrong in training
    assert list(judge.met(100, np.zeros(1), measure)) == [] and seen == [250]
    error = 0.05
    assert list(judge.met(150, np.zeros(50), measure)) == []
    assert list(judge.met(200, np.zeros(50), measure)) == ["ST1"] and seen == [250, 250, 250, 100]
    error = 0.005
    assert list(judge.met(300, np.zeros(100), measure)) == ["ST1", "ST2"]
    assert criterion.names == ("ST1", "ST2")


# ---------------------------------------------------------------------------------------------------- records


def test_trials_that_have_a_record_are_not_run_again(tmp_path: Path) -> None:
    ran: list[int] = []

    def trial(seed: int) -> dict[str, Any]:
        if seed == 2 and not ran.count(2):
            ran.append(seed)
            raise KeyboardInterrupt
        ran.append(seed)
        return {"solved": True, "presented": 10 * seed}

    def run() -> list[dict[str, Any]]:
        return results.run_missing(tmp_path, "x", [0, 1, 2, 3], {"lr": 0.1}, trial, lambda: False)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [one["presented"] for one in run()] == [0, 10, 20, 30] and ran == [0, 1, 2, 2, 3]
    assert run() == results.load(tmp_path, "x", [0, 1, 2, 3], {"lr": 0.1}) and len(ran) == 5
    assert results.run_missing(tmp_path, "x", [2, 9], {"lr": 0.1}, trial, lambda: True)[0]["seed"] == 2
    with pytest.raises(results.OtherSettings, match=r"0\.json is a trial with the settings .*expected .*'lr': 0\.2"):
        results.load(tmp_path, "x", [0], {"lr": 0.2})
    (tmp_path / "x" / "0.json").write_text("{")
    with pytest.raises(results.OtherSettings, match="remove it, and run again"):
        run()


@pytest.fixture
def small(monkeypatch: Any) -> str:
    """Put a task of a second into the list of experiments: two sequences of six steps."""
    one = replace(experiments.PAPER["2b"], task=lambda seed: Lag(6, True), limit=20_000)
    one = replace(one, name="small", criterion=Examined(0.25, 500, every=64), last_test=100)
    monkeypatch.setitem(experiments.PAPER, "small", one)
    monkeypatch.setitem(experiments.EVERYTHING, "small", one)
    return "small"


def test_the_command_from_sequences_to_the_table(small: str, tmp_path: Path, capsys: Any) -> None:
    options = ["paper1997", "--experiments", small, "--out", str(tmp_path)]
    assert command.main([*options, "--trials", "2"]) == 0
    printed = capsys.readouterr()
    assert "| small: the same with random symbols |" in printed.out and "| 2 of 2 |" in printed.out
    assert "2 of 2 trials solved; fewer sequences than the paper's network in" in printed.out
    assert "small, seed 1: solved after" in printed.err
    folder = tmp_path / "paper1997"
    records = [json.loads((folder / "small" / f"{seed}.json").read_text()) for seed in (0, 1)]
    for record in records:
        assert record["solved"] and record["milestones"]["solved"] == record["presented"] < 20_000
        assert record["test"]["of"] == 100 and record["test"]["wrong"] == 0
        assert record["curve"]["errors"][0] > 0.25
    # The saved network is the one that was tested.
    model = fl.load(folder / "small" / "1.safetensors")
    batch = Lag(6, True).draw(Draws(1, "last test"), 100)
    errors = Lag(6, True).errors(np.asarray(model.predict(batch.x)), batch)
    assert errors.mean() == pytest.approx(records[1]["test"]["error"], rel=1e-6)
    assert (folder / "paper1997.md").read_text() == printed.out

    # Another run does the trial that is missing, and gives it the same bits.
    (folder / "small" / "1.json").unlink()
    assert command.main([*options, "--trials", "2"]) == 0
    again = capsys.readouterr()
    assert "seed 0: solved" not in again.err and "seed 1: solved" in again.err
    repeated = json.loads((folder / "small" / "1.json").read_text())
    timed = ("seconds", "elapsed")
    assert {k: v for k, v in repeated.items() if k not in timed} == {
        k: v for k, v in records[1].items() if k not in timed
    }


def test_a_failed_trial_is_said_and_time_that_is_over(
    small: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setitem(experiments.EVERYTHING, small, replace(experiments.EVERYTHING[small], limit=64))
    options = ["paper1997", "--experiments", small, "--out", str(tmp_path)]
    assert command.main([*options, "--trials", "1"]) == 1
    printed = capsys.readouterr()
    assert "seed 0: NOT solved after 64 presented" in printed.err and "| 0 of 1 |" in printed.out
    assert command.main([*options, "--trials", "3", "--minutes", "1e-9"]) == 1
    assert "2 trials are left: the same command continues with them" in capsys.readouterr().err
    monkeypatch.setitem(experiments.EVERYTHING, small, replace(experiments.EVERYTHING[small], limit=65))
    with pytest.raises(SystemExit):
        command.main([*options, "--trials", "1"])
    assert "give another --out, or remove the folder" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_continue(small: str, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    def interrupt(self: Any, batch: Batch) -> np.ndarray:
        raise KeyboardInterrupt

    options = ["paper1997", "--experiments", small, "--out", str(tmp_path), "--trials", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "learn", interrupt)
        assert command.main(options) == 130
    assert "interrupted: the same command continues" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))
    assert command.main(options) == 0


def test_experiments_that_do_not_exist_are_refused(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        command.main(["paper1997", "--experiments", "1,7", "--out", str(tmp_path)])
    assert "there is no experiment '7'; there are: paper, later, open, newcomers, all, 1, 2a" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["paper1997", "--first-seed", "-1", "--out", str(tmp_path)])
    assert "-1 is negative" in capsys.readouterr().err
    for option, given, expected in (
        ("--trials", "ten", "'ten' is not an integer"),
        ("--minutes", "soon", "'soon' is not a number"),
        ("--first-seed", "1.5", "'1.5' is not an integer"),
    ):
        with pytest.raises(SystemExit):
            command.main(["paper1997", option, given, "--out", str(tmp_path)])
        assert f"argument {option}: {expected}" in capsys.readouterr().err
    assert [one.name for one in experiments.named(["4-100", "paper"])][:2] == ["4-100", "1"]


def test_the_table_counts_rows_and_trials() -> None:
    def record(first: int, last: int | None) -> dict[str, Any]:
        milestones = {"140 wrong": first} | ({} if last is None else {"13 wrong": last})
        return {"milestones": milestones, "solved": last is not None, "seconds": 3.0, "test": {"wrong": 4}}

    five = [experiments.PAPER["5"]]
    text = report.report(five, {"5": [record(100_000, 400_000), record(200_000, 600_000)]}, "today")
    assert "| 150,000 | 100,000 to 200,000 | 482,000 | 0.31 | 2 of 2 |  |  |" in text
    assert "| 500,000 | 400,000 to 600,000 | 1,273,000 | 0.39 | 2 of 2 | 4.0 | 3.0 |" in text
    assert "2 of 2 trials solved; fewer sequences than the paper's network in 2 of 2 rows" in text
    text = report.report(five, {"5": [record(900_000, None)]}, "today")
    assert "0 of 1 trials solved; fewer sequences than the paper's network in 0 of 2 rows" in text
    assert "|  |  | 1,273,000 |  | 0 of 1 |  |  |" in text


# ---------------------------------------------------------------------------------------------------- the rest


def test_the_first_mistake_in_a_stream_is_found() -> None:
    trial = ContinualTrial(Recipe(hidden=4, batch=3), 0)
    trial.chunk = 100
    trial.learn([Strings(Draws(0, k)) for k in range(3)])
    assert len(trial.losses) == 1 and 0 < trial.losses[0] < 2.5
    assert trial.first_mistake(2, 4000, "t") is not None
    record = trial.run(600)  # two calls of fit for three streams of 100 symbols
    assert not record["solved"] and record["presented"] == 600 and len(trial.losses) == 3
    assert trial.losses[2] < trial.losses[0]

    class Oracle:
        """Knows the grammar; forgets it at one step."""

        def __init__(self, wrong_at: int | None) -> None:
            self.wrong_at = wrong_at

        def predict(self, x: np.ndarray, state: Any, return_state: bool) -> Any:
            automata, read = (np.zeros(len(x), int), 0) if state is None else state
            states = np.stack([states_after(row, int(one)) for row, one in zip(x, automata, strict=True)])
            out = LEGAL[states].astype(np.float32)
            if self.wrong_at is not None and read <= self.wrong_at < read + x.shape[1]:
                out[1, self.wrong_at - read] = 1 - out[1, self.wrong_at - read]
            return out, (states[:, -1], read + x.shape[1])

    for wrong_at in (None, 0, 3999, 2000):
        trial.model = Oracle(wrong_at)  # type: ignore[assignment]
        assert trial.first_mistake(2, 4000, "t") == wrong_at


def test_error_flow_is_the_gradient_with_respect_to_the_cell_state() -> None:
    task = Adding(20)
    x = task.draw(Draws(0, "d"), 1).x[0, :20]
    model = fl.Model([fl.LSTM(3), fl.Dense(1)], input_size=2, dtype="float64")
    flow = pictures.error_flow(model, x)
    assert flow.shape == (19,)
    _, state = model.forward(x[None, :8], return_state=True)
    ((h, c),) = state
    slope = []
    for unit in range(3):
        step = 1e-6 * np.eye(3)[unit]
        up, down = (model.forward(x[None, 8:], state=[(h, c + sign * step)])[0, 0] for sign in (1, -1))
        slope.append((up - down) / 2e-6)
    assert flow[7] == pytest.approx(np.linalg.norm(slope), rel=1e-5)
    # A bias of 1 forgets: a state is multiplied by sigmoid(1) = .73 a step, whatever comes in.
    model = fl.Model([fl.LSTM(64), fl.Dense(1)], input_size=2)
    flow = pictures.error_flow(model, Adding(40).draw(Draws(0, "d"), 1).x[0, :40])
    assert 0.6 < (flow[18] / flow[38]) ** (1 / 20) < 0.85


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    record = {"curve": {"each": 64, "errors": [0.5, 0.2, 0.0]}}
    some = [experiments.PAPER["4-100"], experiments.PAPER["5"]]
    drawn = pictures.curves(some, {one.name: [record] for one in some}, tmp_path / "curves.png")
    assert drawn.stat().st_size > 10_000
    model = Recipe(hidden=4).model(Adding(30), 0)
    assert pictures.carousel(model, Adding(30), 0, tmp_path / "carousel.png").stat().st_size > 10_000


def test_chrono_biases_have_the_memory_of_the_task() -> None:
    for task, steps in ((Adding(50), 50), (Distractors(30, 4), 30), (Lag(7, True), 7)):
        bias = Recipe().model(task, 0).parameters()
        (name,) = (one for one in bias if one.endswith("bias_ih_l0"))
        forget = bias[name].reshape(4, -1)[1] + bias[name.replace("ih", "hh")].reshape(4, -1)[1]
        assert 0 <= forget.min() < forget.max() <= np.log(steps - 1)


def test_digits_are_measured_on_images_that_were_held_out(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setitem(experiments.EVERYTHING, "digits", Digits(epochs=2, recipe=Recipe(hidden=4, batch=64)))
    assert command.main(["paper1997", "--experiments", "digits", "--trials", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    record = json.loads((tmp_path / "paper1997" / "digits" / "0.json").read_text())
    accuracy = record["milestones"]["accuracy"]
    assert 0 <= accuracy <= 1 and accuracy * 450 == pytest.approx(round(accuracy * 450))
    assert record["presented"] == 2 * 1100
    assert f"digits, seed 0: accuracy {accuracy:.3f} after 2,200 presented" in printed.err
    assert f"| accuracy {accuracy:.3f} ({accuracy:.3f} to {accuracy:.3f}) |" in printed.out
