"""The examples in the docstrings of the installed package, each a test of its own.

An example of a public object is run as a user would paste it: it sees NumPy and the public names, and nothing of its
module. An example of an internal object sees its module's names.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastlstm as fl

pytestmark = pytest.mark.packages


def modules() -> Iterator[ModuleType]:
    """Import and return each module of the package, except those of optional packages that are not installed."""
    yield fl
    for found in pkgutil.walk_packages(fl.__path__, "fastlstm."):
        if found.name.endswith(".__main__"):
            continue
        try:
            yield importlib.import_module(found.name)
        except ImportError as error:
            if not of_another_package(error):
                raise


def of_another_package(error: BaseException) -> bool:
    """Whether an import failed because another package is not installed."""
    missing = [e.name or "" for e in (error, error.__cause__) if isinstance(e, ImportError)]
    return any(name and name.partition(".")[0] != "fastlstm" for name in missing)


def public_names() -> set[str]:
    """Return the full names of the public classes and functions: those in ``fl.__all__`` and in the modules in it."""
    names: set[str] = set()
    queue: list[ModuleType] = [fl]
    for module in queue:
        for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
            thing = getattr(module, name)
            if not inspect.ismodule(thing):
                names.add(f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}")
            elif thing.__name__.startswith("fastlstm.") and thing not in queue:
                queue.append(thing)
    return {name for name in names if name.startswith("fastlstm.")}


def examples() -> list[doctest.DocTest]:
    public = public_names()
    found = []
    for module in modules():
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__, module):
            if any(test.name == name or test.name.startswith(name + ".") for name in public):
                test.globs = {"__name__": "__main__", "np": np, **{name: getattr(fl, name) for name in fl.__all__}}
            found += [test] if test.examples else []
    return found


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of optional packages, when they are imported
    EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        doctest.DebugRunner().run(example)
    except doctest.DocTestFailure as failure:
        line = (example.lineno or 0) + failure.example.lineno + 1
        pytest.fail(
            f"{example.filename}:{line}\n>>> {failure.example.source}expected: {failure.example.want}"
            f"got:      {failure.got}",
            pytrace=False,
        )
    except doctest.UnexpectedException as failure:
        error = failure.exc_info[1]
        if of_another_package(error):
            pytest.skip(str(error))
        raise error from None


def test_examples_are_found() -> None:
    assert {"Model", "Standardizer", "windows", "from_torch"} <= {test.name.split(".")[-1] for test in EXAMPLES}
