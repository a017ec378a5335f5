"""Conditions of ``--fail-if``, read strictly: a number of the report, a comparison, a number."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping

from .._arguments import closest
from .errors import NotMet, UsageError

__all__ = ["check_conditions", "parse_condition"]

_COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
_CONDITION = re.compile(rf"\s*({_NAME})\s*(>=|<=|>|<)\s*(?:({_NUMBER})\s*(?:\*\s*({_NAME}))?|({_NAME}))\s*")


def parse_condition(text: str) -> tuple[str, str, float, str | None]:
    """Return name, comparison, and the other side: a factor, and the name that it is of.

    Raises
    ------
    UsageError
        If the text is no condition.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--fail-if {text!r}: expected NAME>NUMBER, such as 'mase>1' or 'mae>0.9*mae_naive', with >, >=, < or <="
        )
    name, comparison, number, of, other = match.groups()
    return name, comparison, 1.0 if number is None else float(number), of or other


def check_conditions(texts: list[str], values: Mapping[str, float]) -> None:
    """Raise NotMet if a condition holds.

    A number that is not defined, such as a delay of no alarm, meets no condition: it is an error.

    Raises
    ------
    NotMet
        For the first condition that holds.
    UsageError
        If a name is not in the report; it lists all.
    """
    conditions = [(text, parse_condition(text)) for text in texts]
    for text, (name, _, _, of) in conditions:
        for one in (name, of):
            if one is not None and one not in values:
                near = closest(one, values)
                advice = f": did you mean {near}?" if near else ""
                raise UsageError(
                    f"--fail-if {text!r}: there is no number {one!r}, expected one of {', '.join(values)}{advice}"
                )
    for text, (name, comparison, factor, of) in conditions:
        limit = factor * (1.0 if of is None else values[of])
        if values[name] != values[name] or limit != limit:
            raise NotMet(f"--fail-if {text!r}: {name} is {values[name]:g}, the limit {limit:g}: not defined")
        if _COMPARISONS[comparison](values[name], limit):
            raise NotMet(f"--fail-if {text!r}: {name} is {values[name]:.6g}, the limit {limit:.6g}")
