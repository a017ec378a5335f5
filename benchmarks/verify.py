"""Compare answers before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NARROW_TOLERANCES", "TOLERANCES", "Answer", "WrongAnswer", "check"]

Answer = Mapping[str, npt.NDArray[Any]]
"""Name to array: ``output``; in training also ``norm`` (of the clipped gradient), ``d x`` and ``d`` with the name of
each parameter; for an epoch ``loss``."""

TOLERANCES = {
    # A sum of n products in float32 has a relative error of about sqrt(n) 6e-8; outputs are below 1 in magnitude.
    # Measured over all cases and peers: below 5e-7.
    "output": 1e-5,
    # Relative to the largest element; the terms of all steps and series are summed. Measured: below 3e-6.
    "d": 1e-4,
    "norm": 1e-4,
    # Mean over an epoch of 16 to 64 updates, each of which propagates the rounding errors before it. Measured: below
    # 1e-8. Another order of the series, or a missing term, changes the third digit.
    "loss": 1e-5,
}
"""Largest allowed difference: absolute for ``output``, otherwise relative to the largest element."""

NARROW_TOLERANCES = {"output": 0.05, "d": 0.1, "norm": 0.05, "loss": 0.05}
"""For peers that round operands to eight bits: enough to find a wrong layout, no measure of their accuracy."""


class WrongAnswer(RuntimeError):
    """A peer's answer differs from the expected one."""


def check(
    name: str, where: str, answer: Answer, expected: Answer, tolerances: Mapping[str, float] = TOLERANCES
) -> None:
    """Compare an answer with the expected one.

    Parameters
    ----------
    name, where : str
        Names of the peer and of the case, for the message.
    answer, expected : mapping of name to array
        Both must hold the same names.
    tolerances : mapping of str to float, optional
        By default those of float32.

    Raises
    ------
    WrongAnswer
        If an array is missing, has another shape, is not finite, or differs by more than the tolerance.
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
            # A gradient may be zero everywhere: that of weight_hh over one step from a zero state.
            scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        error = float(np.abs(got - wanted).max(initial=0)) / scale
        if not error <= tolerances[kind]:  # also true for NaN
            raise WrongAnswer(
                f"wrong answer: {name} at {where}: {what} differs by {error:.1e}, allowed is {tolerances[kind]:.0e}"
            )
