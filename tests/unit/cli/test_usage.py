"""What is refused, with which status and words; configuration files; what is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_data import refusal_of, run, write_beats, write_pump, write_runs

from fastlstm import cli
from fastlstm.cli.conditions import parse_condition
from fastlstm.cli.errors import UsageError

CLASSIFY = ["--task", "classify", "--target", "kind", "--id", "id", "--epochs", "2"]
REGRESS = ["--task", "regress", "--target", "wear", "--group", "run", "--time", "t", "--epochs", "2"]
ANOMALY = ["--task", "anomaly", "--time", "time", "--epochs", "2"]


def command(*arguments: Any) -> int:
    return cli.main([str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, which is the current one."""
    write_beats(tmp_path)
    write_runs(tmp_path)
    write_pump(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["beats.csv", "--target", "kind", "-o", "m"], 2, "--task forecast|classify|regress|anomaly"),
        (["beats.csv", *CLASSIFY], 2, "-o MODEL is missing"),
        ([*CLASSIFY, "-o", "m"], 2, "name a CSV file"),
        (["beats.csv", "--task", "classify", "-o", "m"], 2, "--task classify needs --target, the column"),
        (["beats.csv", *CLASSIFY, "-o", "no/m"], 2, "there is no folder 'no'"),
        (["beats.csv", *CLASSIFY, "-o", "."], 2, "it is a folder"),
        (["beats.csv", *CLASSIFY, "--horizon", "4", "-o", "m"], 2, "--horizon is for forecast, not for --task"),
        (["beats.csv", *CLASSIFY, "--set", "hiden_size=3", "-o", "m"], 2, "did you mean hidden_size?"),
        (["beats.csv", *CLASSIFY, "--set", "hidden_size", "-o", "m"], 2, "expected NAME=VALUE"),
        (["beats.csv", *CLASSIFY, "--set", "hidden_size=0", "-o", "m"], 2, "hidden_size must be at least 1"),
        (["beats.csv", *CLASSIFY, "--set", "pooling=sum", "-o", "m"], 2, "pooling must be 'last', 'mean'"),
        (["beats.csv", *CLASSIFY, "--set", "dropout=1", "-o", "m"], 2, "dropout must be at least 0 and less than 1"),
        (["beats.csv", *CLASSIFY, "--time", "s0", "-o", "m"], 2, "--time orders the rows of a case, so"),
        (["beats.csv", *CLASSIFY, "--keep-together", "id", "-o", "m"], 2, "the column 'id' has two roles"),
        (["runs.csv", *REGRESS, "--id", "b", "-o", "m"], 2, "leave out --id"),
        (["runs.csv", *REGRESS, "--quantiles", ".1,.9", "-o", "m"], 2, "quantiles must hold 0.5"),
        (["runs.csv", *REGRESS, "--separator", "ab", "-o", "m"], 2, "expected one character"),
        (["beats.csv", "--task", "classify", "--target", "kindd", "-o", "m"], 3, "no column 'kindd'"),
        (["beats.csv", "--task", "classify", "--target", "kind", "-o", "m"], 3, "--ignore 'id'"),
        (["beats.csv", *CLASSIFY, "--features", "s0,s99", "-o", "m"], 3, "has no column 's99', expected one of"),
        (["runs.csv", "--task", "classify", "--target", "t", "--group", "run", "-o", "m"], 3, "one value for all rows"),
        (["beats.csv", *CLASSIFY, "--validation", "no.csv", "-o", "m"], 1, "No such file"),
        (["no.csv", *CLASSIFY, "-o", "m"], 1, "No such file"),
        ([".", *CLASSIFY, "-o", "m"], 1, "Is a directory" if sys.platform != "win32" else "denied"),
        (["normal.csv", *ANOMALY, "--set", "window=900", "-o", "m"], 3, "too few to hold out a part"),
    ],
)  # fmt: skip
def test_wrong_use_of_train(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    before = sorted(folder.iterdir())
    assert command("train", *arguments, "--quiet") == status
    printed = capsys.readouterr()
    assert words in printed.err and printed.out == ""
    assert printed.err.startswith("fastlstm: ") and printed.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y,a,b\n1,2,3\n2,,3\n", "line 3, column 'a': the value is missing"),
        ("y,a,b\n1,2,3\n,1,3\n", "line 3, column 'y': the value is missing, which is to be predicted"),
        ("y,a,b\n1,2,3\n2,x,3\n", "line 3, column 'a': got 'x'"),
        ("y,a,b\n1,2,3\n2,,\n", "line 3: the row has no values"),
        ("y,a,b\n1,2,3\n2,1\n", "line 3: got 2 values, expected 3"),
        ("y,a\n1,\n2,\n", "column 'a' has no values"),
        ("y\n1\n2\n", "has no column left that the network could read"),
        ("y,a\n", "has names of columns, but no rows"),
        ("", "is empty, expected a table"),
        ('y,a\n1,"2\n', "a quote"),
        ("y,a\n1,2026-01-01\n", "expected numbers: leave the column out with --ignore 'a'"),
        ("y,a,b\n1,x1,2\n2,x2,3\n", "say what it tells (--id 'a', --group 'a', --keep-together 'a'), or leave"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    assert words in refusal_of(text, ["--task", "regress", "--target", "y"], tmp_path, capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g,t,a\n1,0,1\n1,0,2\n", "line 3: the time 0 occurs twice of g 1"),
        ("g,t,a\n1,0,1\n,1,2\n", "line 3, column 'g': the group is missing"),
        ("g,t,a\n1,0,1\n1,,2\n", "line 3, column 't': the time is missing"),
        ("g,t,a\n1,x,1\n1,1,2\n", "line 2, column 't': got 'x'"),
        ("g,t,a\n1,0,1\n1,1,\n", "line 3, column 'a': the value is missing, expected a number (1 of 2 rows"),
        ("g,t,a\n1,0,1\n1,1,1\n2,1,1\n", "expected at least 2"),
    ],
)
def test_groups_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    assert words in refusal_of(text, ["--task", "anomaly", "--group", "g", "--time", "t"], tmp_path, capsys)


def test_values_are_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal_of("y,a\n1,2\n0.5,3\n", ["--task", "classify", "--target", "y"], tmp_path, capsys)
    assert "'y' holds 2 different numbers such as 0.5 in 2 cases" in message and "--task regress" in message
    options = ["--task", "classify", "--target", "y", "--dry-run", "--quiet"]
    for text in ("y,a\n1.0,2\n2.0,3\n", "y,a\n" + "0.5,2\n1.5,3\n" * 2):  # numbers of classes
        (tmp_path / "d.csv").write_text(text)
        assert command("train", tmp_path / "d.csv", *options) == 0


@pytest.mark.parametrize("name", ["predict", "evaluate", "detect", "info", "export"])
def test_files_that_are_no_models(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    more = {"predict": ["beats.csv"], "evaluate": ["beats.csv"], "detect": ["beats.csv"], "export": ["onnx", "-o", "x"]}
    for content in (b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "):
        (folder / "m").write_bytes(content)
        assert command(name, "m", *more.get(name, [])) == 1
        message = capsys.readouterr().err
        assert message.startswith("fastlstm: error: m") and message.count("\n") == 1
    assert command(name, "missing", *more.get(name, [])) == 1
    assert "missing" in capsys.readouterr().err


def test_models_of_other_kinds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fastlstm as fl

    fl.Model([fl.LSTM(4), fl.Dense(1)], input_size=1).save("plain")
    assert command("predict", "plain", "beats.csv") == 1
    assert "does not say which columns the model reads" in capsys.readouterr().err
    assert command("info", "plain") == 0
    assert "Model([LSTM(hidden_size=4), Dense" in capsys.readouterr().out
    assert command("train", "beats.csv", *CLASSIFY, "--quiet", "-o", "b") == 0
    assert command("detect", "b", "beats.csv") == 1
    assert "train one with --task anomaly" in capsys.readouterr().err
    assert command("evaluate", "b", "beats.csv", "--windows", "3") == 2
    assert command("predict", "b", "beats.csv", "--horizon", "3") == 2
    assert command("predict", "b") == 2
    assert command("predict", "b", "beats.csv", "--follow") == 2
    assert command("predict", "b", "-", "--follow", "-o", "x") == 2
    assert command("info", "--json") == 2


# ------------------------------------------------------------------------------------------------ conditions


def test_conditions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "beats.csv", *CLASSIFY, "--quiet", "-o", "b") == 0
    assert command("evaluate", "b", "beats.csv", "--fail-if", "accuracy>2", "--fail-if", "log_loss > 1e9") == 0
    capsys.readouterr()
    assert command("evaluate", "b", "beats.csv", "--fail-if", "accuracy<=1") == 4
    printed = capsys.readouterr()
    assert "accuracy is " in printed.err and "the limit 1" in printed.err
    assert printed.out.splitlines()[1].startswith("accuracy ")  # the figures are printed all the same
    assert command("evaluate", "b", "beats.csv", "--fail-if", "accuracy<9*accuracy_most_frequent") == 4
    assert command("evaluate", "b", "beats.csv", "--fail-if", "cases<cases") == 0
    capsys.readouterr()
    assert command("evaluate", "b", "beats.csv", "--fail-if", "accuracy_x<1") == 2
    assert "there is no number 'accuracy_x', expected one of accuracy, " in (said := capsys.readouterr().err)
    assert "did you mean accuracy?" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mase>1", ("mase", ">", 1.0, None)),
        (" mae >= 0.9 * mae_naive ", ("mae", ">=", 0.9, "mae_naive")),
        ("a<b", ("a", "<", 1.0, "b")),
        ("a<=-1e-3", ("a", "<=", -0.001, None)),
    ],
)
def test_read_conditions(text: str, expected: tuple[Any, ...]) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "mase", "mase>", ">1", "mase=1", "mase==1", "mase>1>2", "mase>1 or a>2", "f('os')>1", "mase>1;", "1<mase",
     "a>2*", "a>b*2"],
)  # fmt: skip
def test_wrong_conditions(text: str) -> None:
    with pytest.raises(UsageError, match="expected NAME>NUMBER"):
        parse_condition(text)


# ------------------------------------------------------------------------------------------------ configuration


def test_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    (folder / "c.toml").write_text(
        'data = "runs.csv"\ntask = "regress"\ntarget = "wear"\ngroup = "run"\ntime = "t"\nepochs = 3\n'
        'quantiles = [0.1, 0.5]\n[settings]\nhidden_size = 7\n[csv]\nseparator = ";"\ndecimal = ","\n'
    )
    assert command("train", "--config", "c.toml", "--epochs", "2", "--set", "dropout=0.5", "--json", "--dry-run") == 0
    found = json.loads(capsys.readouterr().out)["configuration"]
    assert found["epochs"] == 2 and found["quantiles"] == [0.1, 0.5] and found["group"] == "run"
    assert (found["settings"]["hidden_size"], found["settings"]["dropout"], found["settings"]["epochs"]) == (7, 0.5, 2)
    assert command("train", "--config", "c.toml", "--quiet", "-o", "m") == 0
    assert command("info", "m", "--json") == 0
    stored = json.loads(capsys.readouterr().out)["table"]["configuration"]
    assert stored["settings"]["hidden_size"] == 7 and stored["data"] == "runs.csv" and stored["csv"]["decimal"] == ","


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targett = 'x'", "c.toml: unknown key 'targett': did you mean target?"),
        ("zzzzzz = 1", "unknown key 'zzzzzz': expected one of task, data"),
        ("[csv]\nseperator = ';'", "c.toml, [csv]: unknown key 'seperator': did you mean separator?"),
        ("[csv]\nheader = 'yes'", "header is 'yes', expected true or false"),
        ("task = 'clasify'", "task is 'clasify', expected one of"),
        ("epochs = 0", "c.toml: epochs is '0'; expected an integer, 1 or more"),
        ("epochs = true", "epochs is True, expected something like 50"),
        ("settings = 3", "settings must be a table"),
        ("a = = 3", "is no TOML file"),
        ("[settings]\nhidden_sise = 3", "did you mean hidden_size?"),
    ],
)
def test_wrong_configurations(folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    (folder / "c.toml").write_text(text)
    assert command("train", "beats.csv", *CLASSIFY, "--config", "c.toml", "-o", "m") == 2
    assert words in capsys.readouterr().err


def test_init(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    assert command("init", "beats.csv", "--target", "kind") == 0
    text = capsys.readouterr().out
    assert toml.loads(text) == {
        "data": "beats.csv", "task": "classify", "target": "kind", "id": "id", "settings": {}, "csv": {},
    }  # fmt: skip
    assert "# What was found in the data:\n#   beats.csv: 40 rows, 10 columns" in text
    assert '# keep_together = "patient"' in text and "# hidden_size = 64" in text
    for task in ("forecast", "anomaly", "regress"):
        assert command("init", "normal.csv", "--task", task, "--target", "p", "-o", "c.toml") == 0
        found = toml.loads(Path("c.toml").read_text())
        assert found["task"] == task and found["target"] == "p"
        assert command("train", "--config", "c.toml", "--dry-run", "--quiet") in (
            (0, 1) if task == "forecast" else (0, 3)
        )
    capsys.readouterr()
    assert command("init", "beats.csv", "--target", "kin") == 3
    assert "did you mean 'kind'?" in capsys.readouterr().err
    # Uncommented, every line is a key that is known.
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    lines = [line for line in lines if line.split(" = ")[0] not in ("separator", "decimal", "header", "day_first")]
    settings = lines.index("hidden_size = 64")
    toml.loads(
        "\n".join([*lines[:settings], "[settings]", *(one for one in lines[settings:] if "encoding" not in one)])
    )


def test_dry_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "runs.csv", *REGRESS, "--dry-run") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "separator: semicolon" in printed.out and "24 series, one for each run of 5 to 8 steps" in printed.out
    assert "in the order of t, 2 channels: a, b" in printed.out and "hidden_size=64" in printed.out
    assert command("train", "normal.csv", *ANOMALY, "--dry-run") == 0
    assert "a step is 60 s; 0 gaps" in capsys.readouterr().out
    assert command("train", "beats.csv", *CLASSIFY, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["cases"] == 40 and set(found["data"]["classes"]) == {"up", "down"}
    assert command("train", "--task", "anomaly", "--set", "list") == 0
    assert "quantile=0.99\n" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ files


def test_nothing_is_written_that_was_not_asked_for(folder: Path) -> None:
    """Each command in a process of its own; the folder is listed before and after."""
    first = {path.name for path in folder.iterdir()}
    for arguments, written in [
        (["train", "beats.csv", *CLASSIFY, "--dry-run"], set()),
        (["train", "beats.csv", *CLASSIFY, "--validation", ".2", "-o", "b.safetensors"], {"b.safetensors"}),
        (["train", "normal.csv", *ANOMALY, "-o", "p.safetensors"], {"p.safetensors"}),
        (["predict", "b.safetensors", "beats.csv"], set()),
        (["predict", "b.safetensors", "beats.csv", "-o", "out.csv"], {"out.csv"}),
        (["evaluate", "b.safetensors", "beats.csv"], set()),
        (["detect", "p.safetensors", "today.csv"], set()),
        (["export", "p.safetensors", "torch", "-o", "t.safetensors"], {"t.safetensors"}),
        (["info"], set()),
        (["info", "b.safetensors"], set()),
        (["init", "beats.csv"], set()),
        (["init", "beats.csv", "-o", "c.toml"], {"c.toml"}),
    ]:
        before = {path.name for path in folder.iterdir()}
        done = run(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in folder.iterdir()} - before == written, arguments
        assert first <= {path.name for path in folder.iterdir()}
        home = folder / ".cache"
        assert not home.exists()
