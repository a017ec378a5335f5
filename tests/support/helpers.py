"""Helpers of several test files: tolerances with their reasons, finite differences, random problems, programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

TOLERANCE = {
    # Kernel against reference, relative to the largest element of the result. A sum of n terms rounds n times by half
    # an ulp (6e-8 / 1.1e-16) at worst, sqrt(n) times in practice; 100 steps of an LSTM propagate such errors. Measured
    # over the shapes of these tests: below 1e-5 / 2e-14. A wrong or missing term changes the first or second digit.
    "float32": 5e-5,
    "float64": 1e-12,
}

FINITE_DIFFERENCE = 1e-6
"""Relative error of central differences, step 1e-5, in float64: truncation 1e-10, rounding 1e-11 of the value."""


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest expected element."""
    if got.size == 0:
        return 0.0
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-3))


class Shape(NamedTuple):
    """Sizes of a layer and its data."""

    batch: int
    time: int
    inputs: int
    hidden: int


def numerical_gradient(f: Callable[[], float], array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return the central differences of f with respect to every element of array, which f reads."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = f()
        array[index] = value - step
        below = f()
        array[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def check_gradients(
    model: Any,
    x: np.ndarray,
    lengths: np.ndarray | None,
    weight: np.ndarray,
    of_input: bool = True,
    training: bool = False,
) -> np.ndarray:
    """Compare the gradients of the output's sum with these weights to central differences; return that of x.

    Those of all parameters and, with `of_input`, of x, which changes during the check. With `training` the output is
    that of training passes; running statistics are left out.
    """
    model.forward(x, lengths, training=True)
    model.zero_grad()
    dx = model.backward(weight)
    assert isinstance(dx, np.ndarray)

    def f() -> float:
        return float((model.forward(x, lengths, training=training) * weight).sum())

    for name, array in model.parameters().items():
        if name.rpartition(".")[2].startswith("running_"):
            assert not model.gradients()[name].any()
            continue
        assert relative_error(model.gradients()[name], numerical_gradient(f, array)) <= FINITE_DIFFERENCE, name
    if of_input:
        assert relative_error(dx, numerical_gradient(f, x)) <= FINITE_DIFFERENCE
    return dx


EXAMPLES = Path(__file__).parents[2] / "examples"


def load_example(name: str) -> Any:
    """Import examples/<name>.py, which is not in a package, and return the module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load_benchmarks() -> None:
    """Import the package `benchmarks` without the checkout in the path: the fastlstm there is not compiled."""
    if "benchmarks" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "benchmarks", BENCHMARKS / "__init__.py", submodule_search_locations=[str(BENCHMARKS)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["benchmarks"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def in_threads(n: int, work: Callable[[int], None]) -> None:
    """Call work(0) to work(n - 1) at the same time, each in its own thread."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_with_children(command: Sequence[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program; after `timeout` seconds kill it and all processes that it has started.

    subprocess.run kills the program only, and then waits for the output of a child that hangs.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as reason:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        out, err = process.communicate()
        if not isinstance(reason, subprocess.TimeoutExpired):
            raise
        raise AssertionError(f"still running after {timeout:g} s; output so far:\n{out}{err}") from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def random_lstm(rng: np.random.Generator, batch: int, time: int, inputs: int, hidden: int) -> dict[str, Any]:
    """Return the arrays of one LSTM problem in float64."""
    bound = 1 / np.sqrt(hidden)
    return {
        "x": rng.standard_normal((batch, time, inputs)),
        "weight_ih": rng.uniform(-bound, bound, (4 * hidden, inputs)),
        "weight_hh": rng.uniform(-bound, bound, (4 * hidden, hidden)),
        "bias_ih": rng.uniform(-bound, bound, 4 * hidden),
        "bias_hh": rng.uniform(-bound, bound, 4 * hidden),
        "h0": rng.standard_normal((batch, hidden)),
        "c0": rng.standard_normal((batch, hidden)),
        "dy": rng.standard_normal((batch, time, hidden)),
        "dhn": rng.standard_normal((batch, hidden)),
        "dcn": rng.standard_normal((batch, hidden)),
    }


def mpiexec(processes: int) -> list[str]:
    """Return the beginning of a command that starts processes of MPI; skip the test where there is no mpiexec."""
    beside_python = Path(sys.executable).with_name("mpiexec")
    command = str(beside_python) if beside_python.exists() else shutil.which("mpiexec")
    if command is None:
        pytest.skip("needs mpiexec")
    return [command, "-n", str(processes)]
