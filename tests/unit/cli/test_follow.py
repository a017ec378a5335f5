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
