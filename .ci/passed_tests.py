"""Plugin of pytest: note the tests that passed, and leave them out of a later run with more packages installed.

A test that was skipped, that does not exist without a package, or that has the marker ``packages`` is not noted. Used
by .ci/run as ``PYTHONPATH=.ci pytest -p passed_tests --note-passed=FILE`` and then with ``--leave-out=FILE``. Without
the equals sign pytest would look for its settings next to the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-passed", type=Path, metavar="FILE", help="write the names of the tests that passed")
    parser.addoption("--leave-out", type=Path, metavar="FILE", help="leave out the tests that such a file names")


def pytest_configure(config: pytest.Config) -> None:
    # With pytest-xdist the main process receives the results of all.
    if config.option.note_passed and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Notes(config.option.note_passed))


@pytest.hookimpl(trylast=True)  # after pytest has applied -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.leave_out:
        passed = set(json.loads(config.option.leave_out.read_text("utf-8")))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]


class Notes:
    """The names of the tests that passed, or failed as they are expected to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        as_expected = report.passed or hasattr(report, "wasxfail")
        if report.when == "call" and as_expected and "packages" not in report.keywords:
            self.passed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.passed), "utf-8")
