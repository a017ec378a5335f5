"""The benchmark of narrower numbers: which models it compares, and what it prints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from helpers import load_benchmarks

load_benchmarks()

import fastlstm as fl  # noqa: E402
import fastlstm.sklearn  # noqa: E402
from benchmarks import precision  # noqa: E402


def few_digits(folder: Path) -> Path:
    """Write recordings of two digits that differ in their level."""
    rng = np.random.default_rng(0)
    lengths, y = rng.integers(6, 12, 60), np.arange(60) % 2
    X = rng.standard_normal((int(lengths.sum()), 13)) + np.repeat(y, lengths)[:, None]
    np.savez(folder / "digits.npz", X=X, lengths=lengths, y=y)
    return folder / "digits.npz"


def test_the_program_compares_models_of_one_training(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    small = partial(fastlstm.sklearn.LSTMClassifier, hidden_size=8, epochs=3)
    monkeypatch.setattr(fastlstm.sklearn, "LSTMClassifier", small)
    options = "--tasks digits,engines --precisions float32,int8 --seeds 2 --threads 1".split()
    precision.main([*options, "--digits", str(few_digits(tmp_path))])
    printed = capsys.readouterr().out
    assert "engines is left out: give --engines" in printed
    assert "| task and score | float32 | int8, calibrated (change) | int8, dynamic (change) |" in printed
    (row,) = (line for line in printed.splitlines() if line.startswith("| spoken digits") and "same" in line)
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[0] == "1.0000 (sd 0.0000)"
    assert all(float(cell.split()[0]) > 0.8 for cell in cells[1:])
    for wrong, message in (
        ("--tasks", "'x' is not one of vowels"),
        ("--precisions", "not one of float32, bfloat16, int8"),
    ):
        with pytest.raises(SystemExit):
            precision.main([wrong, "x"])
        assert message in capsys.readouterr().err


def test_changes_are_means_of_differences_of_the_same_seed() -> None:
    scores = {
        "float32": [{"error": 1.0}, {"error": 3.0}],
        "int8, calibrated": [{"error": 1.5}, {"error": 2.0}],
    }
    text = precision.report({"vowels": scores}, "Seeds")
    assert "2.0000 (sd 1.4142) | 1.7500 (-0.2500) |" in text


def test_each_task_learns_from_its_training_part(monkeypatch: Any) -> None:
    """The windows by which the power factor is calibrated end before the validation part begins."""
    from fastlstm.demo import power

    monkeypatch.setattr(power, "EPOCHS", 1)
    monkeypatch.setattr(power, "HIDDEN_SIZE", 4)
    trained = precision.TASKS["power"].train(None, 0, "float32")
    inputs = power.make_inputs(fl.datasets.load_steel_power_factor())
    end = int(len(inputs) * power.PARTS[0])
    assert np.array_equal(trained.typical[-1, -1], inputs[end - power.DAY - 1])
    scores = trained.score(trained.model)
    assert list(scores) == ["error in 15 minutes", "error in 1 hour", "error in 24 hours"]
    assert 0.01 < scores["error in 15 minutes"] < 0.1
