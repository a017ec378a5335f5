"""Files appear whole or not at all: failures at every operation, dead and living writers, full and read-only disks."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.formats import atomic

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX files")
OPERATIONS = ("open", "write", "fsync", "replace", "close", "unlink", "fstat")
OLD, NEW = b"old" * 1000, [b"new" * 7, b"", memoryview(np.arange(5.0))]
WHOLE = b"".join(bytes(part) for part in NEW)


class Faults:
    """Count the operations of the system and let some of them fail."""

    def __init__(self, patch: pytest.MonkeyPatch, at: Callable[[int, str], BaseException | None]) -> None:
        self.seen: list[str] = []
        self.at = at
        for name in OPERATIONS:
            patch.setattr(atomic.os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.seen.append(name)
            error = self.at(len(self.seen), name)
            if error is not None:
                if name == "close":
                    real(*arguments)  # the descriptor is gone whatever close reports
                raise error
            return real(*arguments, **options)

        return call


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def operations(folder: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, lambda n, name: None)
        atomic.write(folder / "file", NEW)
        seen = list(faults.seen)
    return seen


@POSIX
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_a_failure_of_any_operation(tmp_path: Path, error: BaseException) -> None:
    """Only the complete old or the complete new file remains; the error names the file."""
    file = tmp_path / "file"
    file.write_bytes(OLD)
    steps = operations(tmp_path)
    assert steps.count("write") >= 2 and steps.count("fsync") == 2 and steps.count("replace") == 1
    assert file.read_bytes() == WHOLE
    descriptors = open_files()
    for n in range(1, len(steps) + 1):
        file.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, lambda k, name, n=n: error if k == n else None)
            try:
                atomic.write(file, NEW)
                failed = False
            except type(error) as raised:
                failed = True
                if isinstance(raised, OSError):
                    assert raised.errno == errno.ENOSPC and str(tmp_path) in str(raised)
        replaced = "replace" in steps[: n - 1]
        assert file.read_bytes() == (WHOLE if replaced else OLD), (n, steps[n - 1])
        assert failed or replaced or isinstance(error, OSError)
        assert os.listdir(tmp_path) == ["file"], steps[n - 1]
        assert open_files() == descriptors


@POSIX
def test_a_disk_that_stays_full(tmp_path: Path) -> None:
    """From some operation on everything fails, including the removal of files."""
    file = tmp_path / "file"
    file.write_bytes(OLD)
    steps = operations(tmp_path)
    for n in range(1, steps.index("replace") + 2):
        file.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, lambda k, name, n=n: OSError(errno.EIO, "Input/output error") if k >= n else None)
            with pytest.raises(OSError, match="cannot save.*Input/output error"):
                atomic.write(file, NEW)
        assert file.read_bytes() == OLD
        atomic.remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    atomic.write(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == WHOLE


CHILD = """
import os, resource, signal, sys
import numpy as np
import fastlstm as fl
from fastlstm.formats import atomic
path = sys.argv[1]
"""


def child(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "always", "-c", CHILD + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(str(arguments[0])).parent,
        **options,
    )


@POSIX
def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    """The system refuses to write on in the middle of a file, as on a full disk."""
    file = tmp_path / "model.safetensors"
    model = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3)
    model.save(file)
    before = file.read_bytes()
    done = child(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
X, y = np.random.default_rng(0).standard_normal((30, 5, 3)), np.arange(30) % 2
model = fl.Model([fl.LSTM(64), fl.Dense(2)], input_size=3)
try:
    model.save(path)
except OSError as error:
    print(type(error).__name__, error.filename == path)
saving = fl.Checkpoint(path)
model.fit(X, y, epochs=2, verbose=0, callbacks=[saving])
print(saving.failures, saving.latest)
try:
    model.fit(X, y, epochs=2, verbose=0, callbacks=[fl.Checkpoint(path, on_error="raise")])
except fl.CheckpointError as error:
    print(error.filename == path, error.history.epochs, model.predict(X).shape)
""",
        file,
    )
    out, err = done.communicate(timeout=300)
    assert out.splitlines() == ["OSError True", "2 None", "True 1 (30, 2)"], err
    assert err.count("training continues without a checkpoint") == 2
    assert err.count("File too large") == 2
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


@POSIX
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_permission(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "model.safetensors"
    model = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3)
    model.save(file)
    before = file.read_bytes()
    os.chmod(tmp_path, 0o755)
    folder.chmod(mode)
    code = f"""
os.chdir("/")
# Modules that fit and save import late: the other user may not be able to read them.
import hashlib
import safetensors
fl.Model([fl.LSTM(8), fl.Dense(2)]).fit(np.zeros((4, 5, 3)), [0, 1, 0, 1], epochs=1, verbose=0)
if os.geteuid() == 0:  # root may write everywhere
    os.setgid(65534)
    os.setuid(65534)
path = {str(file)!r}
model = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3)
X = np.zeros((4, 5, 3))
before = model.flat_parameters.copy()
for save in (
    lambda: model.save(path),
    lambda: model.fit(X, [0, 1, 0, 1], verbose=0, callbacks=[fl.Checkpoint(path)]),
    lambda: model.fit(X, [0, 1, 0, 1], verbose=0, callbacks=[fl.Checkpoint(path)], resume=True),
):
    try:
        save()
    except OSError as error:
        print(type(error).__name__)
print((model.flat_parameters == before).all())
"""
    options = {} if os.geteuid() else {"env": {**os.environ, "HOME": "/"}}
    try:
        process = child(code, tmp_path / "x", **options)
        out, err = process.communicate(timeout=300)
    finally:
        folder.chmod(0o700)
    if "Permission denied" in err and "fastlstm" in err and not out:
        pytest.skip("another user cannot read the package here")
    lines = out.splitlines()
    assert lines[:2] == ["PermissionError", "PermissionError" if mode else lines[1]], err
    assert lines[-1] == "True" and len(lines) == 4
    assert file.read_bytes() == before and os.listdir(folder) == ["model.safetensors"]


@POSIX
def test_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere / "file")
    (tmp_path / "folder").symlink_to(elsewhere)
    (tmp_path / "loop").symlink_to("loop")
    atomic.write(tmp_path / "link", [b"1"])  # to a file that does not exist yet
    assert (elsewhere / "file").read_bytes() == b"1"
    atomic.write(tmp_path / "link", [b"2"])
    atomic.write(tmp_path / "folder" / "other", [b"3"])
    assert (elsewhere / "file").read_bytes() == b"2" and (tmp_path / "link").is_symlink()
    assert (elsewhere / "other").read_bytes() == b"3" and (tmp_path / "folder").is_symlink()
    before = sorted(os.listdir(tmp_path))
    try:
        atomic.write(tmp_path / "loop", [b"4"])
    except OSError:
        assert (tmp_path / "loop").is_symlink()
    assert sorted(os.listdir(tmp_path)) == before
    assert sorted(os.listdir(elsewhere)) == ["file", "other"]


@POSIX
def test_a_hard_link_keeps_the_old_file(tmp_path: Path) -> None:
    atomic.write(tmp_path / "file", [b"old"])
    os.link(tmp_path / "file", tmp_path / "backup")
    atomic.write(tmp_path / "file", [b"new"])
    assert (tmp_path / "backup").read_bytes() == b"old"


@POSIX
def test_leftovers_of_the_dead_are_removed_and_files_of_the_living_are_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    hold = """
def slow():
    yield b"x" * 1000
    print("writing", flush=True)
    sys.stdin.readline()
    yield b"y"
atomic.write(path, slow())
"""
    living, dead = child(hold, file), child(hold, file)
    assert living.stdout and dead.stdout
    assert living.stdout.readline() == dead.stdout.readline() == "writing\n"
    assert len(os.listdir(tmp_path)) == 2
    dead.kill()
    dead.communicate()
    assert len(os.listdir(tmp_path)) == 2
    atomic.remove_leftovers(tmp_path)
    (left,) = os.listdir(tmp_path)
    atomic.write(tmp_path / "another", [b"z"])  # also looks for leftovers
    assert sorted(os.listdir(tmp_path)) == [left, "another"]
    living.communicate("\n", timeout=300)
    assert living.returncode == 0
    assert file.read_bytes() == b"x" * 1000 + b"y"
    assert sorted(os.listdir(tmp_path)) == ["another", "file"]


@POSIX
def test_leftovers_are_plain_files_only(tmp_path: Path) -> None:
    name = ".fastlstm-0123456789abcde{}.tmp"
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / name.format("0")).symlink_to(victim)
    (tmp_path / name.format("1")).mkdir()
    (tmp_path / name.format("2")).touch()
    atomic.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [name.format("0"), name.format("1"), "victim"]
    assert victim.read_bytes() == b"precious"
    atomic.remove_leftovers(tmp_path / "missing")


@POSIX
def test_a_writer_whose_file_is_taken_for_a_leftover_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process cleans up between the moment when the writer makes its file and when it locks it."""
    real = os.open
    taken: list[str] = []

    def overtaken(path: Any, flags: int, *arguments: Any) -> int:
        descriptor = real(path, flags, *arguments)
        if flags & os.O_CREAT and len(taken) < 3:
            taken.append(path)
            os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", overtaken)
    atomic.write(tmp_path / "file", NEW)
    assert len(taken) == 3
    assert (tmp_path / "file").read_bytes() == WHOLE and os.listdir(tmp_path) == ["file"]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """While two processes and two threads replace the file, a reader always sees a whole one."""
    file = tmp_path / "model.safetensors"

    def model(k: int) -> fl.Model:
        made = fl.Model([fl.LSTM(16), fl.Dense(2)], input_size=3, seed=k)
        made.flat_parameters[:] = k
        return made

    model(0).save(file)
    code = """
for k in range(40):
    model = fl.Model([fl.LSTM(16), fl.Dense(2)], input_size=3, seed=k)
    model.flat_parameters[:] = k
    model.save(path)
"""
    processes = [child(code, file) for _ in range(2)]
    threads = [threading.Thread(target=lambda: [model(k).save(file) for k in range(20)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    reads = 0
    while any(process.poll() is None for process in processes) or any(thread.is_alive() for thread in threads):
        loaded = fl.load(file)
        assert (loaded.flat_parameters == loaded.seed).all()
        reads += 1
    for thread in threads:
        thread.join()
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
    assert reads > 5
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_the_folder_is_checked_by_a_trial_write(tmp_path: Path) -> None:
    atomic.check_folder(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="cannot save a file in this folder"):
        atomic.check_folder(tmp_path / "missing")


@POSIX
def test_permissions_of_a_new_file_are_those_of_the_process(tmp_path: Path) -> None:
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            atomic.write(tmp_path / str(mask), [b"x"])
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(tmp_path / str(mask)).st_mode) == 0o666 & ~mask
