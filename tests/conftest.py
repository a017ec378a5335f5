"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlstm import _core

_core.always_wake(True)  # where a test asks for several threads, use them for small work too


nightly = os.environ.get("FASTLSTM_NIGHTLY") == "1"
with contextlib.suppress(ImportError):  # the modules that need hypothesis skip themselves without it
    from hypothesis import settings

    # A run gives the same result each time and on a slow machine; the nightly run draws new examples.
    settings.register_profile("fastlstm", derandomize=not nightly, deadline=None)
    settings.load_profile("fastlstm")


def pytest_configure(config: pytest.Config) -> None:
    if nightly and config.option.markexpr == "not nightly":
        config.option.markexpr = ""


# For `import helpers`, `import golden` and `from test_kernels import ...`, with pytest's importlib mode.
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("support", "numerics", "kernels", "documentation")]


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Select each instruction set of this machine in turn."""
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a process that was started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
