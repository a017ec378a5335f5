"""Files of models whose description is damaged: an error in one line, from every command, never a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_data import write_beats, write_pump, write_runs

from fastlstm import cli
from fastlstm.formats import safetensors

MODELS = {
    "classify": ("beats.csv", ["--target", "kind", "--id", "id"]),
    "regress": ("runs.csv", ["--target", "wear", "--group", "run", "--time", "t", "--quantiles", ".1,.5,.9"]),
    "anomaly": ("normal.csv", ["--time", "time"]),
}
WRONG: list[Any] = [None, -1, 1e308, "x", [], {}, [1, "x"], {"a": 1}, True, 10**12]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value of a description; of long lists to the first values."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree[:3]):
            yield from places(value, (*path, number))


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at a place; None removes it."""
    result = copy.deepcopy(tree)
    inner = result
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


@pytest.mark.parametrize("task", list(MODELS))
def test_damaged_descriptions(tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_descriptions(tmp_path, task, capsys, share=1 / 3)


@pytest.mark.nightly
@pytest.mark.parametrize("task", list(MODELS))
def test_descriptions_damaged_at_every_place(tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_descriptions(tmp_path, task, capsys, share=1)


def check_descriptions(folder: Path, task: str, capsys: pytest.CaptureFixture[str], share: float) -> None:
    """Damage a description at a random share of its places, one at a time, and give the file to each command."""
    write_beats(folder)
    write_runs(folder)
    write_pump(folder)
    data, options = MODELS[task]
    model, data = str(folder / "m.safetensors"), str(folder / data)
    assert cli.main(["train", data, "--task", task, *options, "--epochs", "1", "--quiet", "-o", model]) == 0
    tensors, config = safetensors.load(model)
    described = {key: config[key] for key in ("table", "estimator")}
    every = list(places(described))
    rng = random.Random(task)
    every = rng.sample(every, round(share * len(every)))
    refused = 0
    for path in every:
        value = rng.choice(WRONG)
        safetensors.save(model, tensors, {**config, **changed(described, path, value)})
        for command in (["predict"], ["evaluate"], ["info"], ["info", "--json"], ["detect"]):
            capsys.readouterr()
            arguments = [command[0], model, *([] if command[0] == "info" else [data]), *command[1:]]
            status = cli.main(arguments)  # a traceback fails the test
            message = capsys.readouterr().err
            assert status in (0, 1, 3), (path, value, arguments)
            if status:
                assert message.startswith("fastlstm: error: ") and message.count("\n") == 1, (path, value, message)
                refused += 1
    assert refused > len(every) // 2  # many places are read by some command
    assert json.dumps(described)
