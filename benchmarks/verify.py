"""Answers are compared before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TOLERANCES", "Answer", "WrongAnswer", "check"]

Answer = Mapping[str, npt.NDArray[Any]]
"""Name to array: ``output``; in training also ``norm`` (of the clipped gradient), ``d x`` and ``d`` with the name of
each parameter; for an epoch ``loss``."""

TOLERANCES = {
    # A sum of n products in float32 is off by some sqrt(n) 6e-8 of its size; outputs are below 1 in size. Measured over
    # all cases and peers: below 5e-7.
    "output": 1e-5,
    # Relative to the largest element; the terms of all steps and series are added up. Measured: below 3e-6.
    "d": 1e-4,
    "norm": 1e-4,
    # Mean over an epoch of 16 to 64 updates, each of which carries on the rounding before it. Measured: below 1e-8.
    # Another order of the series, or a term that is missing, changes the third digit.
    "loss": 1e-5,
}
"""Largest difference allowed: absolute for ``output``, otherwise relative to the largest element."""


class WrongAnswer(RuntimeError):
    """A peer's answer differs from what is expected."""


def check(name: str, where: str, answer: Answer, expected: Answer) -> None:
    """Compares an answer with what is expected.

    Parameters
    ----------
    name, where : str
        Who answers, in which case: for the message.
    answer, expected : mapping of name to array
        Both must hold the same names.

    Raises
    ------
    WrongAnswer
        If something is missing, has another shape, is not finite, or differs by more than the tolerance.
    """
    if answer.keys() != expected.keys():
        raise WrongAnswer(f"{name} at {where}: answered {sorted(answer)}, expected {sorted(expected)}")
    for what, wanted in expected.items():
        got = np.asarray(answer[what])
        if got.shape != wanted.shape:
            raise WrongAnswer(f"{name} at {where}: {what} has shape {got.shape}, expected {wanted.shape}")
        kind = what.split()[0]
        scale = 1.0
        if kind != "output":
            # A gradient may be zero altogether: that of weight_hh over one step from a zero state.
            scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        error = float(np.abs(got - wanted).max(initial=0)) / scale
        if not error <= TOLERANCES[kind]:  # NaN is not
            raise WrongAnswer(
                f"wrong answer: {name} at {where}: {what} differs by {error:.1e}, allowed is {TOLERANCES[kind]:.0e}"
            )
