import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import fastlstm as fl
from fastlstm import cli


def run(*arguments, cwd, **environment):
    """Run the command in a new process, outside the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "fastlstm", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_info(tmp_path):
    done = run("info", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"fastlstm         {fl.__version__}\n")
    for name in ("instruction set", "vector width", "OpenMP", "threads", "compiler"):
        assert f"\n{name} " in done.stdout


def test_info_in_process(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    fl.show_config()
    assert capsys.readouterr().out == printed


def test_an_error_is_one_line(tmp_path):
    done = run("info", cwd=tmp_path, FASTLSTM_NUM_THREADS="many")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("fastlstm: error: environment variable FASTLSTM_NUM_THREADS='many'")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_closed_pipe_is_no_traceback(tmp_path):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "fastlstm", "info"]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fastlstm {fl.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: COMMAND"),
        (["forecast"], "invalid choice: 'forecast'"),
        (["train", "--epochs", "0"], "'0'; expected an integer, 1 or more"),
        (["train", "--validation", "2"], "'2'; expected a number between 0 and 1, or a file"),
        (["train", "--features", "a,,b"], "'a,,b'; expected names separated by commas"),
        (["train", "--day-first", "--month-first"], "not allowed with"),
        (["export", "m", "keras", "-o", "x"], "invalid choice: 'keras'"),
        (["export", "m", "onnx"], "required: -o/--output"),
        (["predict", "m", "d", "--foll"], "unrecognized arguments: --foll"),
        (["demo", "weather"], "invalid choice: 'weather'"),
        (["demo", "--seed", "-1"], "'-1'; expected an integer, 0 or more"),
        (["demo", "--seed", "x"], "'x'; expected an integer, 0 or more"),
        (["info", "--quiet"], "unrecognized arguments: --quiet"),
    ],
)
def test_wrong_arguments(capsys, arguments, reason):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "detect", "export", "init", "info", "demo"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: fastlstm {command} ")
    assert f"fastlstm {command} " in said[20:] or command in ("info", "demo")  # an example
    assert max(map(len, said.splitlines())) <= 120


@pytest.fixture
def calls(monkeypatch):
    """Replace fastlstm.demo by a module that only records how it is called."""
    noted = []
    stand_in = types.ModuleType("fastlstm.demo")
    for name in ("run_vowels", "run_power"):
        setattr(stand_in, name, lambda out, seed, verbose, name=name: noted.append((name, out, seed, verbose)))
    monkeypatch.setitem(sys.modules, "fastlstm.demo", stand_in)
    monkeypatch.setattr(fl, "demo", stand_in, raising=False)
    return noted


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ([], ("run_vowels", Path("fastlstm-demo"), 0, 1)),
        (["vowels"], ("run_vowels", Path("fastlstm-demo"), 0, 1)),
        (["power", "--seed", "3"], ("run_power", Path("fastlstm-demo"), 3, 1)),
        (["--out", "a/b", "--quiet"], ("run_vowels", Path("a/b"), 0, 0)),
    ],
)
def test_demo_arguments(tmp_path, monkeypatch, calls, arguments, call):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # a folder may exist
        assert cli.main(["demo", *arguments]) == 0
    assert calls == [call, call]
    assert call[1].is_dir()


def test_demo_out_is_a_file(tmp_path, capsys, calls):
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "fastlstm: error:" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "fastlstm: interrupted\n"),
        (ImportError("pip install 'fastlstm[plot]'"), 1, "fastlstm: error: pip install 'fastlstm[plot]'\n"),
        (FloatingPointError("the loss is nan"), 1, "fastlstm: error: the loss is nan\n"),
        (RuntimeError("the file differs"), 1, "fastlstm: error: the file differs\n"),
        (MemoryError(), 1, "fastlstm: error: MemoryError\n"),
    ],
)
def test_demo_errors(tmp_path, monkeypatch, capsys, calls, error, status, message):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(sys.modules["fastlstm.demo"], "run_vowels", fail)
    assert cli.main(["demo", "--out", str(tmp_path)]) == status
    assert capsys.readouterr().err == message
