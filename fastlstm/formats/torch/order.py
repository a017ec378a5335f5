"""The order in which the data pass the layers, and what stands between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations

from ..._checks import as_list, short_repr
from ...layers import LSTM, LastStep, MaxPool, MeanPool
from .functions import FUNCTION_NAMES, function_part
from .parts import KNOWN, Part

__all__ = ["arranged", "by_number", "check_stated", "flaw", "reordered", "weightless_advice"]

_MAX_ORDERED = 7
"""Maximum number of layers whose orders are all tried if the file does not state their order."""


def by_number(groups: list[list[Part]]) -> tuple[list[list[Part]], bool]:
    """Return the layers of a file, sorted by number if all have one, and whether their order is known."""
    matches = [re.fullmatch(r"(.*\.)?([0-9]{1,9})", group[0].name) for group in groups]
    numbered = [match for match in matches if match]
    if len(numbered) < len(groups) or len({match[1] for match in numbered}) > 1:
        return groups, len(groups) <= 1
    return [group for _, group in sorted(zip(numbered, groups, strict=True), key=lambda pair: int(pair[0][2]))], True


def reordered(groups: list[list[Part]], order: Sequence[object], prefix: str = "") -> list[list[Part]]:
    """Return the layers in this order, with the layers without weights that it names in addition.

    Parameters
    ----------
    groups : list of list of Part
        For each layer that was read, the layers that it may be.
    order : sequence
        Names of layers, of functions (see `function_part`), or layers without weights of this package. A layer wins
        over a function of the same name. Each layer with weights must appear once, others any number of times.
    prefix : str
        What was cut off the names of the layers; the names in `order` may have it.

    Raises
    ------
    ValueError
        If a layer with weights is missing or appears twice, or a name is neither a layer nor a function.
    """
    named = {group[0].name: group for group in groups}
    weighted = [name for name, group in named.items() if group[0].weights]
    given = [order] if isinstance(order, str) else as_list("order", order, "names")
    result: list[list[Part]] = []
    for one in given:
        name = str(one)
        if name not in named and prefix and name.startswith(prefix) and name[len(prefix) :] in named:
            name = name[len(prefix) :]
        part = None if name in named else function_part(one)
        if name not in named and part is None:
            raise ValueError(
                f"order must hold each of the names {weighted} once, and between them {', '.join(FUNCTION_NAMES)}, "
                f"got {short_repr(one)} in {short_repr(order)}"
            )
        result.append(named[name] if part is None else [part])
    names = [group[0].name for group in result if group[0].weights]
    if sorted(names) != sorted(weighted):
        raise ValueError(f"order must hold each of the names {weighted} once, got {short_repr(order)}")
    return result


def flaw(parts: Sequence[Part]) -> str | None:
    """Return why these layers cannot follow each other; None if they can."""
    last = None
    pooled = None
    for index, part in enumerate(parts):
        if part.kind == "Embedding" and index:
            return f"{part} takes token ids and must come first, but it comes after {parts[index - 1]}"
        if last is not None and part.in_features is not None and last.out_features != part.in_features:
            return f"{last} returns {last.out_features} features, but {part} takes {part.in_features}"
        if pooled is not None and isinstance(part.layer, (LSTM, LastStep, MaxPool, MeanPool)):
            return f"{part} takes every step of a series, but {pooled} before it returns one vector"
        if isinstance(part.layer, (LastStep, MaxPool, MeanPool)):
            pooled = part
        if part.out_features is not None:
            last = part
    return None


def _arrangements(groups: list[list[Part]], fixed: bool) -> Iterator[list[Part]]:
    """Yield all stacks to try.

    A weight matrix may be that of an `Embedding` or of a `Dense`. Only the first layer is tried as both: an `Embedding`
    must come first.
    """
    for order in [groups] if fixed else permutations(groups):
        for first in order[0]:
            yield [first, *(group[-1] for group in order[1:])]


def arranged(groups: list[list[Part]], fixed: bool) -> list[Part]:
    """Return the only valid stack of the layers; raise ValueError if there is none or more than one."""
    if not any(part.weights for group in groups for part in group):
        raise ValueError(f"source holds no layers with weights; from_torch supports {KNOWN}")
    names = [group[0].name for group in groups]
    hint = f"if the data pass the layers in another order than {names}, name them in that order with order=[...]"
    if not fixed and len(groups) > _MAX_ORDERED:
        raise ValueError(
            f"a file does not keep the order of its layers: name them in the right order, order={names}"
            f"{_between(groups)}"
        )
    found = (stack for stack in _arrangements(groups, fixed) if not flaw(stack))
    first, second = next(found, None), next(found, None)
    if first is None:
        if not fixed:
            raise ValueError(
                "the sizes of the layers fit in no order: "
                + ", ".join(
                    f"{group[-1]} takes {group[-1].in_features} and returns {group[-1].out_features} features"
                    for group in groups
                )
            )
        raise ValueError(f"{flaw(next(_arrangements(groups, fixed)))}; {hint}")
    if second is not None:
        stacks = " or ".join(", ".join(map(str, stack)) for stack in (first, second))
        advice = (
            "pass the nn.Module itself, or other names"
            if fixed
            else f"name the layers in order, order={names}{_between(groups)}"
        )
        raise ValueError(f"the tensors may be {stacks}: {advice}")
    return first


def _between(groups: list[list[Part]]) -> str:
    """Return the end of a message that names layers, if `check_stated` would want more than their names."""
    parts = [group[-1] for group in groups]
    return f", and what stands between them ({weightless_advice()})" if any(_unstated(parts)) else ""


# ---------------------------------------------------------------------------------------------- what names leave open


def weightless_advice() -> str:
    """Return the names that `order` may hold besides those of layers, for messages."""
    return f"{', '.join(map(repr, FUNCTION_NAMES[:-1]))}, or 'identity' for nothing"


def check_stated(parts: Sequence[Part]) -> None:
    """Raise ValueError if something without weights probably stands between two layers, and nothing says what.

    That is so for two linear layers in a row, which would be one linear layer, and where the numbers of the layers have
    a gap: an activation in an ``nn.Sequential`` has a number and no tensor.
    """
    reasons = _unstated(parts)
    if not any(reasons):
        return
    shown: list[str] = []
    for part, reason in zip(parts, reasons, strict=True):
        shown += ["relu", part.name] if reason else [part.name]
    raise ValueError(
        f"{'; '.join(filter(None, reasons))}. Tensors do not tell what that is: name it in order=[...], for example "
        f"order={shown} if it is a ReLU; other names are {weightless_advice()}. Or pass the nn.Module itself"
    )


def _unstated(parts: Sequence[Part]) -> list[str]:
    """Return for each layer why something must stand in front of it that is not named; "" if nothing need be."""
    gaps = _gaps([part.name for part in parts if part.weights])
    reasons = []
    before: Part | None = None
    for part in parts:
        reason = ""
        if part.weights and (before is None or before.weights):
            if part.name in gaps:
                reason = f"something without weights has the place of {gaps[part.name]} before {part}"
            elif part.kind == "Linear" and before is not None and before.kind == "Linear":
                reason = f"{before} and {part} follow each other, where an activation usually stands between"
        reasons.append(reason)
        before = part
    return reasons


def _gaps(names: Sequence[str]) -> dict[str, str]:
    """Return the first layer after each gap in the numbers within names such as ``head.0``, and the missing names."""
    numbers: dict[str, dict[int, str]] = {}
    for name in names:
        pieces = name.split(".")
        for k, piece in enumerate(pieces):
            if re.fullmatch("0|[1-9][0-9]{0,8}", piece):
                numbers.setdefault("".join(f"{one}." for one in pieces[:k]), {}).setdefault(int(piece), name)
    gaps = {}
    for prefix, found in numbers.items():
        expected = 0
        for number in sorted(found):
            if number > expected and found[number] not in gaps:
                first, last = f"'{prefix}{expected}'", f"'{prefix}{number - 1}'"
                gaps[found[number]] = first if number == expected + 1 else f"{first} to {last}"
            expected = number + 1
    return gaps
