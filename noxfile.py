"""Everyday tasks: ``nox -l`` lists them, ``nox -s NAME`` runs one, ``nox -s NAME -- ...`` passes arguments on.

nox comes from PyPI (``pip install nox``) and needs nothing but Python. Each session has an environment of its own in
.nox/, which is kept, so that a second run is quick. The scripts in .ci/ do the work; CI calls them directly.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.3"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "test"]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]


def script(session: nox.Session, name: str) -> None:
    """Run a script of .ci/, which makes the environments that it needs."""
    session.run(f".ci/{name}", *session.posargs, external=True)


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist, and the wheel from it, into dist/."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", "dist", *session.posargs)


@nox.session
def test(session: nox.Session) -> None:
    """Install the package and run the Python tests (arguments: those of pytest)."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(venv_backend="none")
def ctest(session: nox.Session) -> None:
    """Run the C tests under sanitizers (arguments: other targets and variables of csrc/Makefile)."""
    session.run("make", "-C", "csrc", *(session.posargs or ["check"]), external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Run all linters and the type checker; they change no file."""
    session.install(*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
    session.run(".ci/lint", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site, check its links, and run the examples in documents and docstrings."""
    session.install(".[docs,test]")
    session.run("pytest", "-k", "documentation or doctests", *session.posargs)
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-b", "html", "docs", "build/site")


@nox.session(venv_backend="none")
def check(session: nox.Session) -> None:
    """Run everything that must hold before a change is taken (.ci/run)."""
    script(session, "run")


@nox.session(venv_backend="none")
def nightly(session: nox.Session) -> None:
    """Run what takes too long for every change, two hours or three (.ci/nightly)."""
    script(session, "nightly")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed damaged files to each reader, a minute each (arguments: those of the fuzzers, such as --seconds 600)."""
    session.install(".[test,onnx]")
    for fuzzer in sorted(Path("tests").rglob("fuzz_*.py")):
        session.run("python", fuzzer, *(session.posargs or ["--seconds", "60"]))


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks against PyTorch and ONNX Runtime (arguments: those of python -m benchmarks)."""
    session.install(".[bench]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Print the line and branch coverage of the Python and the C code (.ci/coverage)."""
    script(session, "coverage")


@nox.session(venv_backend="none")
def sanitize(session: nox.Session) -> None:
    """Run the Python tests with the C code under sanitizers (.ci/sanitize; argument: quick)."""
    script(session, "sanitize")


@nox.session(venv_backend="none")
def valgrind(session: nox.Session) -> None:
    """Run a short program under valgrind (.ci/valgrind)."""
    script(session, "valgrind")


@nox.session(venv_backend="none")
def wheels(session: nox.Session) -> None:
    """Build, repair and test a wheel for each Python of this machine (.ci/wheels; argument: the folder for them)."""
    script(session, "wheels")


@nox.session
def debug(session: nox.Session) -> None:
    """Install a build without optimisation and with debugger information, and say how to start gdb."""
    session.install(".[test]", env={"FASTLSTM_DEBUG": "1"})
    session.log(f"gdb --args {session.bin}/python {session.bin}/pytest -x tests/...")
