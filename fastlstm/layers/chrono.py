"""Chrono initialization: biases of the gates that spread the memories of the units over a range of times.

A unit whose forget gate is constant at sigmoid(b) forgets in about ``1 + exp(b)`` steps. Series with dependencies over
up to T_max steps need units that remember for so long from the start: ``b = log(u)`` with u uniform in [1, T_max - 1],
and -b for the input gate, so that a unit takes in at a step as much as it forgets [1].

.. [1] C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, arXiv:1804.11188.
"""

from __future__ import annotations

from typing import Any

from .. import _exact
from .._checks import count, real, short_repr
from .._draws import Draws
from .._typing import Array

__all__ = ["CHRONO", "checked_forget_bias", "chrono_biases", "needed_steps"]

CHRONO = "chrono"


def checked_forget_bias(value: Any) -> Any:
    """Return the argument `forget_bias` of an LSTM in the types of JSON: None, a float, "chrono" or ["chrono", steps].

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if value != CHRONO:
            raise ValueError(
                f"forget_bias must be a number, None, 'chrono' or a pair such as ('chrono', 784), got {value!r}"
            )
        return CHRONO
    if isinstance(value, (list, tuple)):
        if len(value) != 2 or not isinstance(value[0], str) or value[0] != CHRONO:
            raise ValueError(f"forget_bias must be a pair such as ('chrono', 784), got {short_repr(value)}")
        return [CHRONO, count("the number of steps in forget_bias", value[1], least=2)]
    return real("forget_bias", value)


def needed_steps(forget_bias: Any, longest: int | None) -> int | None:
    """Return the T_max of a checked `forget_bias`: its own, or the longest series; None if it is not chrono.

    Raises
    ------
    ValueError
        If the longest series is not known (None), or is too short.
    """
    if isinstance(forget_bias, list):
        return int(forget_bias[1])
    if forget_bias != CHRONO:
        return None
    if longest is None:
        raise ValueError(
            "forget_bias='chrono' takes the longest series from the X of fit, and the model is built before fit: give "
            "the number of steps over which it has to remember, for example forget_bias=('chrono', 784)"
        )
    if longest < 2:
        raise ValueError(
            f"forget_bias='chrono' is for series with a past, and the longest series has {longest} step: use a number, "
            "for example forget_bias=1.0"
        )
    return longest


def chrono_biases(draws: Draws, units: int, steps: int) -> Array:
    """Draw the biases of the forget gate, (units,) float64, for dependencies over up to `steps` steps."""
    return _exact.log(draws.uniform(1.0, steps - 1.0, (units,)))
