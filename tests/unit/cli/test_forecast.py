"""Forecasts on the command line."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_data import INTERRUPTED, refusal_of, run

import fastlstm as fl
from fastlstm import cli

pytest.importorskip("pandas")

OPTIONS = ["--task", "forecast", "--target", "Last", "--time", "Zeit", "--epochs", "2", "--set", "hidden_size=8"]


def command(*arguments: Any) -> int:
    return cli.main([str(one) for one in arguments])


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def write_meter(folder: Path, name: str, hours: int, *, site: bool = False) -> Path:
    """Write hourly readings with a day, as a German program does; two sites on request, the second half as large."""
    rng = np.random.default_rng(3)
    start, hour = np.datetime64("2026-01-01T00:00"), np.timedelta64(1, "h")
    lines = [("Ort;" if site else "") + "Zeit;Last;Temp"]
    for step in range(hours):
        when = str(start + step * hour)
        text = f"{when[8:10]}.{when[5:7]}.{when[:4]} {when[11:]}"
        load, temperature = 10 + 3 * np.sin(step * np.pi / 12) + rng.normal(0, 0.2), rng.normal()
        for place, factor in (("Köln", 1.0), ("Bonn", 0.5)) if site else (("", 1.0),):
            numbers = f"{load * factor:.3f};{temperature:.2f}".replace(".", ",")
            lines.append(f"{place};" * site + f"{text};{numbers}")
    path = folder / name
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode("latin-1"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with readings and a model of them."""
    path = tmp_path_factory.mktemp("forecast")
    write_meter(path, "meter.csv", 24 * 40)
    write_meter(path, "later.csv", 24 * 50)
    options = [*OPTIONS, "--horizon", "1D", "--hist-exog", "Temp", "--quiet"]
    assert command("train", path / "meter.csv", *options, "-o", path / "m.safetensors") == 0
    return path


def test_predict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", folder / "m.safetensors") == 0
    rows = rows_of(capsys.readouterr().out)
    assert len(rows) == 24 and list(rows[0])[:3] == ["Zeit", "fastlstm", "fastlstm-q-0.05"]
    assert rows[0]["Zeit"] == "2026-02-10 00:00:00" and rows[-1]["Zeit"] == "2026-02-10 23:00:00"
    for row in rows:
        levels = [float(value) for name, value in row.items() if "-q-" in name]
        assert levels == sorted(levels) and float(row["fastlstm"]) == float(row["fastlstm-q-0.5"])
    expected = fl.Forecaster.load(folder / "m.safetensors").predict()
    assert [float(row["fastlstm"]) for row in rows] == expected["fastlstm"].tolist()
    assert command("predict", folder / "m.safetensors", folder / "later.csv", "--horizon", "1", "--json") == 0
    (only,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert only["Zeit"] == "2026-02-20 00:00:00"
    assert command("predict", folder / "m.safetensors", "--horizon", "25") == 3
    assert "expected 1 to 24" in capsys.readouterr().err


def test_quantize(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, small = folder / "m.safetensors", tmp_path / "small.safetensors"
    assert command("quantize", whole, "-o", small, "--calibrate", folder / "meter.csv") == 0
    assert "LSTM of the encoder" in capsys.readouterr().err
    expected, found = (fl.Forecaster.load(one).predict()["fastlstm"].to_numpy() for one in (whole, small))
    assert fl.Forecaster.load(small).quantized_ and 0 < np.abs(found - expected).max() < 0.1  # of a wave from 7 to 13
    # What the command line knows of the columns goes along.
    assert command("predict", small, folder / "later.csv") == 0
    assert len(rows_of(capsys.readouterr().out)) == 24
    assert command("info", small) == 0
    assert "the weights have 8 bits" in capsys.readouterr().out
    assert command("quantize", whole, "-o", small, "--skip", "0", "--quiet") == 0
    assert capsys.readouterr().err == "" and fl.Forecaster.load(small).quantized_
    for wrong, status, message in (
        ([small], 1, "quantized already"),
        ([whole, "--skip", "9"], 1, "skip holds 9"),
        ([whole, "--skip", "one"], 2, "expected numbers of layers"),
        ([whole, "--calibrate", folder / "m.safetensors"], 3, ""),
    ):
        assert command("quantize", *wrong, "-o", tmp_path / "new") == status
        assert message in capsys.readouterr().err and not (tmp_path / "new").exists()
    fl.Forecaster.load(whole).save(tmp_path / "python")
    assert command("quantize", tmp_path / "python", "-o", small) == 0
    assert fl.Forecaster.load(small).quantized_


def test_what_was_understood(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "meter.csv").read_bytes().decode("latin-1").splitlines(keepends=True)
    damaged = [*text[:100], *text[103:200], text[199], *text[200:]]  # a gap of three hours, a row twice
    (folder / "damaged.csv").write_bytes("".join(damaged).encode("latin-1"))
    options = [*OPTIONS, "--horizon", "24", "--ignore", "Temp", "--dry-run"]
    assert command("train", folder / "damaged.csv", *options) == 0
    said = capsys.readouterr().out
    assert "Zeit" in said and "time (day first)" in said and "separator: semicolon" in said
    assert re.search(r"^frequency +1 h$", said, re.M)
    assert "3 of 960 points have no row" in said and "1 identical rows dropped" in said
    assert command("train", folder / "damaged.csv", *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["grid"]["gaps"] == 3 and found["grid"]["duplicates"] == 1
    assert found["configuration"]["ignore"] == ["Temp"]
    assert [column["name"] for column in found["table"]["columns"]] == ["Zeit", "Last"]


def test_evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", folder / "m.safetensors", folder / "later.csv", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"mae", "mae_naive", "mae_seasonal_naive", "mase", "pinball", "coverage", "width"} <= set(figures)
    assert figures["mae"] < figures["mae_naive"] and figures["values"] == 217 * 24
    options = [folder / "m.safetensors", folder / "later.csv", "--windows", "8"]
    assert command("evaluate", *options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["values"] == 8 * 24
    assert command("evaluate", *options, "--fail-if", "mase>0") == 4
    assert "mase is" in capsys.readouterr().err
    assert command("evaluate", folder / "m.safetensors", folder / "meter.csv") == 3  # the training data
    assert "training data" in capsys.readouterr().err


def test_a_plot(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command("evaluate", folder / "m.safetensors", folder / "later.csv", "--plot", tmp_path / "p.png") == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("info", folder / "m.safetensors") == 0
    said = capsys.readouterr().out
    assert "task: forecast" in said and "columns: Zeit, Last, Temp; target 'Last'" in said
    assert "960 rows, 1 series" in said and "a step is 1 h" in said and "90 % interval" in said
    assert command("info", folder / "m.safetensors", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["table"]["configuration"]["horizon"] == "1D"
    assert command("detect", folder / "m.safetensors", folder / "later.csv") == 1
    capsys.readouterr()
    assert command("export", folder / "m.safetensors", "torch", "-o", folder / "x.pt") == 1
    assert "export onnx, which has them in its metadata" in capsys.readouterr().err


def test_export_to_onnx(folder: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'fastlstm[onnx]'")
    assert command("export", folder / "m.safetensors", "onnx", "-o", folder / "x.onnx") == 0
    proto = onnx.load(folder / "x.onnx")
    assert "Last" in json.loads({one.key: one.value for one in proto.metadata_props}["fastlstm.forecast"])["inputs"]


def test_follow(folder: Path) -> None:
    """Each reading is answered with all quantiles of all steps, those of predict."""
    lines = (folder / "later.csv").read_bytes().splitlines(keepends=True)
    later = lines[1 + 24 * 40 :][:30]
    done = subprocess.run(
        [sys.executable, "-m", "fastlstm", "predict", "m.safetensors", "-", "--follow"],
        cwd=folder, input=b"".join([*later[:10], b"x;1;2\r\n", later[3], *later[10:]]), capture_output=True,
    )  # fmt: skip
    assert done.returncode == 3
    messages = done.stderr.decode().splitlines()
    assert messages[0].startswith("fastlstm: line 11, column 'Zeit': got 'x', expected a time")
    assert messages[1].startswith("fastlstm: line 12: time is 2026-02-10") and len(messages) == 3
    rows = list(csv.reader(io.StringIO(done.stdout.decode())))
    assert rows[0][:3] == ["Zeit", "1:q0.05", "1:q0.1"] and len(rows[0]) == 1 + 24 * 7 and len(rows) == 31
    (folder / "part.csv").write_bytes(b"".join(lines[: 1 + 24 * 40 + 30]))
    whole = rows_of(run("predict", "m.safetensors", "part.csv", cwd=folder).stdout)
    expected = [value for row in whole for name, value in row.items() if "-q-" in name]
    assert rows[-1][1:] == expected  # the bits of predict


def test_follow_with_a_history(folder: Path) -> None:
    lines = (folder / "later.csv").read_bytes().splitlines(keepends=True)
    (folder / "history.csv").write_bytes(b"".join(lines[: 1 + 24 * 45]))
    text = b"".join(lines[1 + 24 * 45 :][:3]).decode("latin-1")
    done = run("predict", "m.safetensors", "-", "--follow", "--history", "history.csv", cwd=folder, input=text)
    assert done.returncode == 0, done.stderr
    (folder / "part.csv").write_bytes(b"".join(lines[: 1 + 24 * 45 + 3]))
    whole = rows_of(run("predict", "m.safetensors", "part.csv", cwd=folder).stdout)
    expected = [value for row in whole for name, value in row.items() if "-q-" in name]
    assert list(csv.reader(io.StringIO(done.stdout)))[-1][1:] == expected
    assert run("predict", "m.safetensors", "-", "--follow", "--horizon", "3", cwd=folder, input="").returncode == 2


def test_several_series_and_resume(tmp_path: Path) -> None:
    write_meter(tmp_path, "sites.csv", 24 * 20, site=True)
    write_meter(tmp_path, "later.csv", 24 * 21, site=True)
    arguments = ["train", "sites.csv", *OPTIONS, "--id", "Ort", "--horizon", "6", "--hist-exog", "Temp"]
    arguments += ["--epochs", "6", "-o", "m.safetensors"]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").unlink()
    before = set(tmp_path.iterdir())
    program = [sys.executable, "-c", INTERRUPTED, *arguments]
    stopped = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr, stopped.stderr
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"m.checkpoint.safetensors"}
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("  fastlstm train ")]
    done = run(*shlex.split(line)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.safetensors").read_bytes() == expected
    assert not (tmp_path / "m.checkpoint.safetensors").exists()

    done = run("predict", "m.safetensors", cwd=tmp_path)
    rows = rows_of(done.stdout)
    assert [row["Ort"] for row in rows] == ["Bonn"] * 6 + ["Köln"] * 6 or len(rows) == 12
    lines = (tmp_path / "later.csv").read_bytes().decode("latin-1").splitlines(keepends=True)[1 + 2 * 24 * 20 :]
    text = "".join(lines[:4]) + "Ulm;21.01.2026 02:00;1;1\n"
    done = run("predict", "m.safetensors", "-", "--follow", cwd=tmp_path, input=text)
    answers = list(csv.reader(io.StringIO(done.stdout)))
    assert [row[0] for row in answers[1:]] == ["Köln", "Bonn", "Köln", "Bonn"] and done.returncode == 3
    assert "line 5, column 'Ort': got 'Ulm', which was not in the training data" in done.stderr


def test_known_future_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_meter(tmp_path, "meter.csv", 24 * 20)
    options = [*OPTIONS, "--horizon", "3", "--futr-exog", "Temp", "--quiet"]
    assert command("train", tmp_path / "meter.csv", *options, "-o", tmp_path / "m") == 0
    assert command("predict", tmp_path / "m") == 3
    assert "Temp" in capsys.readouterr().err
    (tmp_path / "weather.csv").write_text(
        "Zeit;Temp;Wind\n21.01.2026 00:00;0,5;3\n21.01.2026 01:00;0,5;3\n21.01.2026 02:00;0,25;3\n"
    )
    assert command("predict", tmp_path / "m", "--future", tmp_path / "weather.csv") == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["Zeit"] for row in rows] == [f"2026-01-21 0{hour}:00:00" for hour in range(3)]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ([], 2, "--horizon is missing"),
        (["--horizon", "24"], 3, "columns that are in no list: Temp. Name each in one (--hist-exog"),
        (["--horizon", "24", "--hist-exog", "Tmp"], 3, "did you mean 'Temp'?"),
        (["--horizon", "24", "--ignore", "Temp", "--set", "hiden_size=3"], 2, "did you mean hidden_size?"),
        (["--horizon", "24", "--ignore", "Temp", "--set", "scaler=minmax"], 2, "scaler must be"),
        (["--horizon", "0", "--ignore", "Temp"], 2, "horizon must be at least 1"),
        (["--horizon", "5000", "--ignore", "Temp"], 3, "error"),
        (["--horizon", "24", "--ignore", "Temp", "--validation", "x.csv"], 2, "share of the rows for a forecast"),
        (["--horizon", "24", "--ignore", "Temp", "--test", ".2"], 2, "--test is for classify"),
        (["--horizon", "24", "--ignore", "Temp", "--freq", "7min"], 3, "error"),
    ],
)
def test_refusals(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, words: str
) -> None:
    before = set(folder.iterdir())
    arguments = ["train", folder / "meter.csv", *OPTIONS, *options, "--quiet", "-o", folder / "new.safetensors"]
    assert command(*arguments) == status
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert set(folder.iterdir()) == before


def test_init_and_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    monkeypatch.chdir(tmp_path)
    assert command("init", folder / "meter.csv", "--target", "Last", "-o", "c.toml") == 0
    text = Path("c.toml").read_text()
    assert 'horizon = "1D"' in text and 'hist_exog = ["Temp"]' in text and 'time = "Zeit"' in text
    assert command("train", "--config", "c.toml", "--epochs", "1", "--set", "hidden_size=4", "--quiet", "-o", "m") == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["c.toml", "m"]


def test_a_forecaster_that_python_has_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_meter(tmp_path, "meter.csv", 24 * 40)
    forecaster = fl.Forecaster(4, hidden_size=4, epochs=1, random_state=0, verbose=0, hist_exog=["Temp"])
    forecaster.fit(tmp_path / "meter.csv", time_col="Zeit", target_col="Last").save(tmp_path / "m")
    assert command("predict", tmp_path / "m") == 0
    assert len(rows_of(capsys.readouterr().out)) == 4
    assert command("info", tmp_path / "m") == 0
    assert command("predict", tmp_path / "m", "-", "--follow") == 1
    assert "was not written by fastlstm train" in capsys.readouterr().err


def test_lines_hold_columns_that_are_ignored(tmp_path: Path) -> None:
    """A meter goes on to write all its columns, whatever the model reads."""
    later = write_meter(tmp_path, "later.csv", 24 * 20 + 3)
    data = write_meter(tmp_path, "meter.csv", 24 * 20)
    options = [*OPTIONS, "--horizon", "3", "--ignore", "Temp", "--quiet"]
    assert command("train", data, *options, "-o", tmp_path / "m.safetensors") == 0
    lines = later.read_bytes().decode("latin-1").splitlines()[-3:]
    whole = run("predict", "m.safetensors", "-", "--follow", cwd=tmp_path, input="\n".join(lines) + "\n")
    short = run(
        "predict", "m.safetensors", "-", "--follow", cwd=tmp_path,
        input="\n".join(line.rsplit(";", 1)[0] for line in lines) + "\n",
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout == short.stdout and len(whole.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'time,load\n2026-01-01 00:00,"1,485"\n2026-01-01 01:00,"1,502"\n',
            "line 2, column 'load': got '1,485', a number",
        ),
        ("Station Nord, March\n\ntime,load\n2026-01-01,1\n2026-01-02,2\n", "remove it if it holds units, or the lines"),
        ("time,load\n2026-01-01,1\n2026-01-02,2\nSum,3\n", "line 4, column 'time': got 'Sum'"),
        ("date,clock,load\n2026-01-01,00:00,1\n2026-01-01,01:00,2\n", "the date and the time of day into one column"),
        ("time,load\n2026-01-01,1 kW\n2026-01-02,2 kW\n", "expected numbers without units"),
    ],
)
def test_files_of_spreadsheets(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    assert words in refusal_of(text, ["--task", "forecast", "--target", "load", "--horizon", "1"], tmp_path, capsys)
