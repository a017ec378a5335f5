"""When any allocation fails: MemoryError, nothing has changed, and the same call works afterwards.

Children run faults/operations.py with faults/faults.c preloaded, which lets single allocations fail. Not all of
Python's own allocations may fail: CPython 3.11 ends in a segmentation fault if it cannot make certain objects of some
50 bytes, whoever needs them. These groups fail, one at a time:

- ``arrays``: what NumPy and fastlstm request from the system, of any size;
- ``large``: every request of 512 bytes or more, Python's tables and strings included;
- ``extension``: every object, of any size, that fastlstm's own C code makes.

libgomp and Rust's allocator, which safetensors uses, end the process when an allocation fails: their allocations never
fail here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).parent / "faults"
CORE = "_core" + (sysconfig.get_config_var("EXT_SUFFIX") or "")
KINDS: dict[str, dict[str, Any]] = {
    "arrays": {"only": [CORE, "_multiarray_umath"]},
    "large": {"least": 512},
    "extension": {"within": [CORE], "malloc": True},
}
SHORT = {
    "arrays": ["step, deep", "step, lengths", "fit, classes", "fit, scalers", "stream, run, deep", "freeze", "load"],
    "large": ["step, attention", "fit, sgd", "predict, frozen", "save", "ctc"],
    "extension": ["training, deep", "predict, attention, frozen", "stream"],
}


# Python ends the process if there is no room for an exception, so not all of the smallest objects may fail.
WAYS = pytest.mark.parametrize(
    ("kind", "stay"),
    [("arrays", False), ("arrays", True), ("large", False), ("large", True), ("extension", False)],
    ids=["arrays, one", "arrays, all from there", "large, one", "large, all from there", "extension, one"],
)


def is_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and sys.platform == "linux"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library to preload."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not is_glibc() or compiler is None:
        pytest.skip("needs Linux, glibc and a C compiler")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the address sanitizer has an allocator of its own")
    made = tmp_path_factory.mktemp("faults") / "faults.so"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-pthread"]
    subprocess.run([compiler, *flags, str(FAULTS / "faults.c"), "-o", str(made), "-ldl"], check=True)
    return made


def child(library: Path, script: str, *arguments: str, malloc: bool = False) -> str:
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    if malloc:
        environment["PYTHONMALLOC"] = "malloc"
    command = [sys.executable, str(FAULTS / script), *arguments]
    done = subprocess.run(command, env=environment, cwd=library.parent, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(library: Path, kind: str, stay: bool, names: list[str]) -> list[dict[str, Any]]:
    given = {"only": [], "within": [], "least": 0, "malloc": False, **KINDS[kind]}
    settings = {**given, "names": names, "stay": stay}
    out = child(library, "operations.py", json.dumps(settings), malloc=bool(given["malloc"]))
    print(out)
    results = [json.loads(line) for line in out.splitlines()]
    assert not [(result["name"], problem) for result in results for problem in result["problems"]]
    return results


@WAYS
def test_some_operations_survive_any_failure(library: Path, kind: str, stay: bool) -> None:
    results = run(library, kind, stay, SHORT[kind])
    assert len(results) >= len(SHORT[kind])
    assert sum(result["raised"] for result in results) > 5 * len(SHORT[kind])


@pytest.mark.nightly
@WAYS
def test_all_operations_survive_any_failure(library: Path, kind: str, stay: bool) -> None:
    results = run(library, kind, stay, [""])
    failures = sum(result["raised"] + result["later"] + result["completed"] for result in results)
    print(f"{kind}, {'all' if stay else 'one'}: {len(results)} operations, {failures} failures")
    assert len(results) > 90 and failures > len(results)


def test_a_fork_without_threads(library: Path) -> None:
    """A forked child starts threads of its own; if the system refuses some, it uses those that it has."""
    out = child(library, "threads.py")
    assert out.splitlines() == ["the same bits"] * 12
