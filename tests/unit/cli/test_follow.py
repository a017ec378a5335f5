"""``predict - --follow``: one line in, one line out, at once."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_data import COMMAND, run, write_beats, write_pump, write_runs

from fastlstm import cli

LIMIT = 60.0
"""Seconds after which an answer counts as missing; it takes a millisecond."""


class Followed:
    """A process that answers line by line, with pipes that stay open."""

    def __init__(self, folder: Path, model: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "predict", model, "-", "--follow", *options],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def line(self, stream: Any = None) -> str:
        """Return the next line of stdout, which must arrive while stdin stays open."""
        stream = self.process.stdout if stream is None else stream
        assert select.select([stream], [], [], LIMIT)[0], "no answer"
        return str(stream.readline().decode())

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three models."""
    path = tmp_path_factory.mktemp("follow")
    write_beats(path)
    write_runs(path)
    write_pump(path)
    for model, data, options in (
        ("pump", "normal.csv", ["--task", "anomaly", "--time", "time"]),
        ("beats", "beats.csv", ["--task", "classify", "--target", "kind", "--id", "id"]),
        ("runs", "runs.csv", ["--task", "regress", "--target", "wear", "--group", "run", "--time", "t"]),
    ):
        arguments = ["train", str(path / data), *options, "--epochs", "3", "--quiet", "-o", str(path / model)]
        assert cli.main(arguments) == 0
    return path


posix = pytest.mark.skipif(os.name != "posix", reason="select on pipes")


@posix
def test_each_line_is_answered_while_the_pipe_stays_open(folder: Path) -> None:
    expected = run("predict", "pump", "today.csv", cwd=folder).stdout.splitlines()
    followed = Followed(folder, "pump")
    assert followed.line() == "time,score,anomaly\n"
    for row, line in enumerate((folder / "today.csv").read_bytes().splitlines(keepends=True)[:40]):
        followed.send(line)
        if row:
            time_text, score, anomaly = followed.line().strip().split(",")
            other = expected[row].split(",")
            assert (time_text + ":00", score, anomaly) == tuple(other)  # the bits of predict
    assert followed.end() == (0, "", "")


@posix
def test_a_slow_writer(folder: Path) -> None:
    followed = Followed(folder, "pump")
    followed.line()
    line = b"2026-02-01 00:00,0.5,-0.25\r\n"
    for place in range(len(line) - 1):
        followed.send(line[place : place + 1])
        time.sleep(0.002)
    assert not select.select([followed.process.stdout], [], [], 0.05)[0]
    followed.send(line[-1:])
    assert followed.line() == "2026-02-01 00:00,0.0,0\n"
    followed.send(b"2026-02-01 00:01,0.5,-0.25")  # the last line has no end
    code, out, err = followed.end()
    assert (code, out, err) == (0, "2026-02-01 00:01,0.0,0\n", "")


@posix
def test_lines_that_are_malformed(folder: Path) -> None:
    good = [f"2026-02-01 00:{k:02d},0.{k},0.5\n".encode() for k in range(20)]
    clean = Followed(folder, "pump")
    clean.send(b"".join(good))
    expected = clean.end()[1]
    followed = Followed(folder, "pump")
    followed.line()
    answers = ["time,score,anomaly\n"]
    for number, line in enumerate(good):
        followed.send(line)
        answers.append(followed.line())
        if number == 9:
            for bad in (
                b"garbage\n",
                b"2026-02-01 00:10,abc,1\n",
                b"2026-02-01 00:10,,1\n",
                b"soon,1,1\n",
                b"2026-02-01 00:09,1,1\n",
                b'2026-02-01 00:10,"1,1\n',
                b"2026-02-01 00:10,inf,1\n",
                b"\xff\xfe\x00\n",
            ):
                followed.send(bad)
            followed.send(b"\n  \n")  # no lines
    code, out, err = followed.end()
    assert code == 3 and out == "" and "".join(answers) == expected  # as if they had not been there
    messages = err.splitlines()
    assert messages[-1] == "fastlstm: 8 lines were refused"
    assert [message.split(":")[1].split(",")[0].strip() for message in messages[:-1]] == [
        f"line {k}" for k in range(11, 19)
    ]
    assert "column 'p': got 'abc', expected a number" in messages[1]
    assert "column 'p': the value is missing" in messages[2] and "expected a time" in messages[3]
    assert "expected a time after that of the line before" in messages[4]


@posix
@pytest.mark.parametrize("header", [True, False])
def test_columns(folder: Path, header: bool) -> None:
    """A first line of names gives the order; without it lines are as in the training data."""
    lines = (folder / "today.csv").read_text().splitlines()[1:20]
    cells = [line.split(",")[:3] for line in lines]
    if header:
        text = "q;x;time;p\n" + "".join(f"{q};7;{when};{p}\n" for when, p, q in cells)
    else:
        text = "".join(",".join(row) + "\n" for row in cells)
    followed = Followed(folder, "pump", "--json")
    followed.send(text.encode())
    code, out, err = followed.end()
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    expected = run("predict", "pump", "today.csv", "--json", cwd=folder).stdout.splitlines()
    assert [one["score"] for one in found] == [json.loads(line)["score"] for line in expected[:19]]


def test_names_that_lack_a_column(folder: Path) -> None:
    done = run("predict", "pump", "-", "--follow", cwd=folder, input="time,p\n2026-01-01 00:00,1\n")
    assert done.returncode == 3 and "line 1: the names lack 'q', which the model needs" in done.stderr


def test_a_case_in_each_line(folder: Path) -> None:
    text = (folder / "beats.csv").read_text()
    done = run("predict", "beats", "-", "--follow", cwd=folder, input=text)
    expected = run("predict", "beats", "beats.csv", cwd=folder).stdout
    found, other = (list(csv.DictReader(io.StringIO(one))) for one in (done.stdout, expected))
    assert [(row["id"], row["prediction"]) for row in found] == [(row["id"], row["prediction"]) for row in other]
    assert [row["p_up"] for row in found] == [row["p_up"] for row in other]


def test_groups_are_answered_with_the_rows_so_far(folder: Path) -> None:
    lines = (folder / "runs.csv").read_text().splitlines(keepends=True)
    done = run("predict", "runs", "-", "--follow", cwd=folder, input="".join(lines[:12]))
    rows = list(csv.reader(io.StringIO(done.stdout)))[1:]
    assert len(rows) == 11
    for count in (1, 3, 11):
        (folder / "part.csv").write_text("".join(lines[: count + 1]))
        whole = list(csv.reader(io.StringIO(run("predict", "runs", "part.csv", cwd=folder).stdout)))
        assert rows[count - 1] == whole[-1]


@posix
def test_a_reader_that_goes_away(folder: Path) -> None:
    followed = Followed(folder, "pump")
    followed.line()
    assert followed.process.stdout is not None and followed.process.stderr is not None
    followed.process.stdout.close()
    try:
        for second in range(60):
            followed.send(f"2026-02-01 00:00:{second:02d},1,1\n".encode())
            time.sleep(0.01)
    except BrokenPipeError:
        pass
    try:
        followed.process.stdin.close()  # type: ignore[union-attr]
    except BrokenPipeError:
        pass
    assert followed.process.wait(LIMIT) == 0
    assert followed.process.stderr.read() == b""
    followed.process.stderr.close()


def test_a_detector_with_a_history(folder: Path) -> None:
    lines = (folder / "today.csv").read_text().splitlines(keepends=True)
    expected = run("predict", "pump", "today.csv", cwd=folder).stdout.splitlines()
    (folder / "history.csv").write_text("".join(lines[:101]))
    arguments = ["predict", "pump", "-", "--follow", "--history", "history.csv"]
    done = run(*arguments, cwd=folder, input="".join([lines[0], lines[100], *lines[101:140]]))
    assert done.returncode == 3 and "line 2, column 'time'" in done.stderr  # it is in the history
    found = [line.split(",")[1:] for line in done.stdout.splitlines()[1:]]
    assert found == [line.split(",")[1:] for line in expected[101:140]]
    assert run("predict", "pump", "today.csv", "--history", "history.csv", cwd=folder).returncode == 2
    assert run("predict", "beats", "-", "--follow", "--history", "history.csv", cwd=folder, input="").returncode == 2


def test_no_input(folder: Path) -> None:
    done = run("predict", "pump", "-", "--follow", cwd=folder, input="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "time,score,anomaly\n", "")


# ------------------------------------------------------------------------------------------------ times and options


def test_seconds_since_1970_are_times(folder: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in (folder / "today.csv").read_text().splitlines()[1:6]]
    start = 1767225600 + 5000 * 60  # 2026-01-01 and the minutes before
    epochs = [f"{start + 60 * k}," + ",".join(line.split(",")[1:3]) for k, line in enumerate(lines)]
    text = "\n".join([*epochs[:2], lines[2], "7,1,1", "20260104,1,1", *epochs[2:]]) + "\n"
    done = run("predict", "pump", "-", "--follow", cwd=folder, input=text)
    messages = done.stderr.splitlines()
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 6
    assert "line 3, column 'time'" in messages[0] and "expected a time in UTC" in messages[0]
    for message, cell in zip(messages[1:3], ("7", "20260104"), strict=True):
        assert f"got '{cell}', expected a time such as 2026-03-31 14:15, as in the training data" in message


def test_steps_stay_steps(folder: Path) -> None:
    """Of a model whose training data count steps, large numbers are steps, too, and dates are refused."""
    text = "run,t,a,b\n1,99999999,1,1\n1,1767225600,1,1\n1,2026-01-01,1,1\n"
    done = run("predict", "runs", "-", "--follow", cwd=folder, input=text)
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 3
    assert "line 4, column 't': got '2026-01-01', expected the number of a step" in done.stderr


def test_the_order_of_dates_and_marks(tmp_path: Path) -> None:
    """What the training data leave open the command line says, also for lines."""
    rows = [f"01/01/2026 {k // 60:02d}:{k % 60:02d};{k % 7}" for k in range(300)]
    (tmp_path / "d.csv").write_text("time;p\n" + "\n".join(rows) + "\n")
    assert (
        run(
            "train", "d.csv", "--task", "anomaly", "--time", "time", "--epochs", "1", "-o", "m", cwd=tmp_path
        ).returncode
        == 0
    )
    text = "13/02/2026 00:00;1\n02/03/2026 00:00;1,500\n03/02/2026 00:00;1,5\n"
    done = run("predict", "m", "-", "--follow", cwd=tmp_path, input=text)
    assert done.returncode == 3 and "line 2, column 'p': got '1,500', a number whose mark is decimal or" in done.stderr
    done = run("predict", "m", "-", "--follow", "--decimal", ",", cwd=tmp_path, input=text)
    assert "line 2, column 'time': got '02/03/2026 00:00', either day first or month first" in done.stderr
    done = run("predict", "m", "-", "--follow", "--decimal", ",", "--day-first", cwd=tmp_path, input=text)
    assert "line 3" in done.stderr and "expected a time after that of the line before" in done.stderr
    assert [line[:10] for line in done.stdout.splitlines()[1:]] == ["13/02/2026", "02/03/2026"]
    done = run("predict", "m", "-", "--follow", "--encoding", "utf-99", cwd=tmp_path, input="1\n")
    assert done.returncode == 2 and "--encoding utf-99" in done.stderr


# ------------------------------------------------------------------------------------------------ known in advance


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that reads a temperature known in advance, and later rows of both columns."""
    pytest.importorskip("pandas")
    path = tmp_path_factory.mktemp("weather")
    rng = np.random.default_rng(0)
    start, hour = np.datetime64("2026-01-01T00:00"), np.timedelta64(1, "h")
    rows = []
    for step in range(24 * 20):
        temp = float(np.round(np.sin(step / 9) + rng.normal(0, 0.3), 2))
        when = str(start + step * hour).replace("T", " ")
        rows.append(f"{when},{10 + temp + rng.normal(0, 0.1):.3f},{temp}")
    names = "time,load,temp"
    (path / "all.csv").write_text("\n".join([names, *rows]) + "\n")
    (path / "train.csv").write_text("\n".join([names, *rows[:400]]) + "\n")
    options = ["--task", "forecast", "--target", "load", "--horizon", "2", "--gap", "1", "--futr-exog", "temp"]
    done = run("train", "train.csv", *options, "--epochs", "2", "--set", "hidden_size=6", "-o", "m", cwd=path)
    assert done.returncode == 0, done.stderr
    return path


def forecast_of(weather: Path, past: list[str], future: list[str]) -> list[str]:
    """Return the quantiles that predict gives for a past and a future, as in a line of --follow."""
    lines = (weather / "train.csv").read_text().splitlines()
    (weather / "past.csv").write_text("\n".join([*lines, *past]) + "\n")
    (weather / "future.csv").write_text("\n".join(["time,temp", *future]) + "\n")
    done = run("predict", "m", "past.csv", "--future", "future.csv", cwd=weather)
    assert done.returncode == 0, done.stderr
    return [value for row in csv.reader(io.StringIO(done.stdout.split("\n", 1)[1])) for value in row[2:]]


@posix
def test_lines_that_are_known_in_advance(weather: Path) -> None:
    rows = [line.split(",") for line in (weather / "all.csv").read_text().splitlines()[401:]]
    followed = Followed(weather, "m")
    assert followed.line().startswith("time,1:q0.05,")
    for when, _, temp in rows[1:4]:
        followed.send(f"{when},,{temp}\n".encode())
    followed.send(f"{','.join(rows[0])}\n".encode())
    answer = followed.line().strip().split(",")
    future = [f"{when},{temp}" for when, _, temp in rows[1:4]]
    assert answer == [rows[0][0], *forecast_of(weather, [",".join(rows[0])], future)]

    # Of row 4 nothing is known yet: the reading of row 1 is refused, and accepted when it is.
    followed.send(f"{rows[1][0]},{rows[1][1]},\n".encode())
    message = followed.line(followed.process.stderr)
    assert (
        f"temp must be known of the 3 steps after this reading, and 1 are missing, the first at {rows[4][0]}" in message
    )
    followed.send(f"{rows[4][0]},,9\n{rows[4][0]},,{rows[4][2]}\n{rows[1][0]},{rows[1][1]},\n".encode())
    answer = followed.line().strip().split(",")
    past = [",".join(row) for row in rows[:2]]
    assert answer == [rows[1][0], *forecast_of(weather, past, [f"{row[0]},{row[2]}" for row in rows[2:5]])]

    # Row 2 has no reading; its temperature is known all the same.
    for when, _, temp in rows[5:7]:
        followed.send(f"{when},,{temp}\n".encode())
    followed.send(f"{','.join(rows[3])}\n".encode())
    answer = followed.line().strip().split(",")
    past = [*past, f"{rows[2][0]},,{rows[2][2]}", ",".join(rows[3])]
    assert answer == [rows[3][0], *forecast_of(weather, past, [f"{row[0]},{row[2]}" for row in rows[4:7]])]

    followed.send(b"2026-01-01 00:00,,1\n")
    assert "not among the" in followed.line(followed.process.stderr)
    followed.send(f"{rows[8][0]},,\n".encode())
    assert "load and temp are empty" in followed.line(followed.process.stderr)
    assert followed.end()[0] == 3


def test_a_file_that_is_known_in_advance(weather: Path) -> None:
    lines = (weather / "all.csv").read_text().splitlines()
    (weather / "weather.csv").write_text("\n".join(",".join(line.split(",")[::2]) for line in lines) + "\n")
    text = "\n".join(lines[401:404]) + "\n"
    done = run("predict", "m", "-", "--follow", "--future", "weather.csv", cwd=weather, input=text)
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in lines[401:]]
    expected = forecast_of(weather, lines[401:404], [f"{row[0]},{row[2]}" for row in rows[3:6]])
    assert done.stdout.splitlines()[-1].split(",")[1:] == expected
    (weather / "hole.csv").write_text("time,temp\n2026-02-01 00:00,\n")
    done = run("predict", "m", "-", "--follow", "--future", "hole.csv", cwd=weather, input=text)
    assert done.returncode == 3 and "hole.csv, line 2: load and temp are empty" in done.stderr
    done = run("predict", "m", "-", "--follow", cwd=weather, input="2026-01-17 17:00Z,,1\n")
    assert "line 1: time is 2026-01-17 17:00:00 in UTC, which has a zone" in done.stderr
