"""Where a mapping holds its state dict, and what stands in front of all names in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .tensors import is_torch

__all__ = ["shared_prefix", "state_dict_of"]

_HOLDERS = ("model_state_dict", "state_dict", "model")
"""Names under which training programs save a state dict beside the optimizer's and the number of the epoch."""
_PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning's modules and torch.compile put in front of all names."""

_MAX_DEPTH = 4


def state_dict_of(source: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the state dict in a mapping: the mapping itself, or the one that it holds.

    Raises
    ------
    TypeError
        If it holds several of them.
    """
    for _ in range(_MAX_DEPTH):
        held = [name for name in _HOLDERS if name in source and isinstance(source[name], Mapping)]
        if not held or any(is_torch(value, "Tensor") or hasattr(value, "__array__") for value in source.values()):
            break
        if len(held) > 1:
            raise TypeError(f"the mapping holds the state dicts {held}: pass one of them, source[{held[0]!r}]")
        source = source[held[0]]
    return source


def shared_prefix(names: Iterable[str]) -> str:
    """Return the longest prefix made of known ones that all names have; "" if they have none."""
    left, found = list(names), ""
    while left:
        prefix = next((one for one in _PREFIXES if all(name.startswith(one) for name in left)), None)
        if prefix is None:
            break
        left, found = [name[len(prefix) :] for name in left], found + prefix
    return found
