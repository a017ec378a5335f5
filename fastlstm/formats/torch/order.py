"""The order in which the data pass the layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations

from ..._checks import as_list, short_repr
from .parts import KNOWN, Part

__all__ = ["arranged", "by_number", "reordered"]

_MAX_ORDERED = 7
"""Maximum number of layers whose orders are all tried if the file does not state their order."""


def by_number(groups: list[list[Part]]) -> tuple[list[list[Part]], bool]:
    """Return the layers of a file, sorted by number if all have one, and whether their order is known."""
    matches = [re.fullmatch(r"(.*\.)?([0-9]{1,9})", group[0].name) for group in groups]
    numbered = [match for match in matches if match]
    if len(numbered) < len(groups) or len({match[1] for match in numbered}) > 1:
        return groups, len(groups) <= 1
    return [group for _, group in sorted(zip(numbered, groups, strict=True), key=lambda pair: int(pair[0][2]))], True


def reordered(groups: list[list[Part]], order: Sequence[str]) -> list[list[Part]]:
    """Return the layers in the order of these names; raise ValueError unless it names each layer once."""
    named = {group[0].name: group for group in groups}
    names = [order] if isinstance(order, str) else [str(name) for name in as_list("order", order, "names")]
    if sorted(names) != sorted(named):
        raise ValueError(f"order must hold each of the names {list(named)} once, got {short_repr(order)}")
    return [named[name] for name in names]


def _flaw(parts: Sequence[Part]) -> str | None:
    """Return why these layers cannot follow each other; None if they can."""
    last = None
    for index, part in enumerate(parts):
        if part.kind == "Embedding" and index:
            return f"{part} takes token ids and must come first, but it comes after {parts[index - 1]}"
        if last is not None and part.in_features is not None and last.out_features != part.in_features:
            return f"{last} returns {last.out_features} features, but {part} takes {part.in_features}"
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
        raise ValueError(f"a file does not keep the order of its layers: name them in the right order, order={names}")
    found = (stack for stack in _arrangements(groups, fixed) if not _flaw(stack))
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
        raise ValueError(f"{_flaw(next(_arrangements(groups, fixed)))}; {hint}")
    if second is not None:
        stacks = " or ".join(", ".join(map(str, stack)) for stack in (first, second))
        advice = "pass the nn.Module itself, or other names" if fixed else f"name the layers in order, order={names}"
        raise ValueError(f"the tensors may be {stacks}: {advice}")
    return first
