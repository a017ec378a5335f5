"""Training data of which each process has a part: inputs stay where they are, and all get the targets of all."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from typing import Any, NamedTuple

import numpy as np

from .._foreign import type_name
from ..data.case_objects import gives_cases
from ..data.parted import Exchange, PartedSequences
from ..data.sequences import Sequences, as_sequences

__all__ = ["Joined", "joined_parts", "joined_validation"]


class Joined(NamedTuple):
    """The data of all processes."""

    X: PartedSequences
    y: Any
    """Targets of all cases, in the form of the parts."""
    sample_weight: Any


def joined_parts(
    exchange: Exchange, X: Any, y: Any, lengths: Any, sample_weight: Any, *, tokens: bool, names: tuple[str, str]
) -> Joined:
    """Join the parts of all processes; `names` are those of X and y in error messages.

    Raises
    ------
    TypeError, ValueError
        If a part is wrong (in its process), or the parts do not fit each other (in all).
    """
    name, target_name = names
    if gives_cases(X) or (y is None and X is not None):
        raise ValueError(
            f"partitioned=True needs arrays or lists, {name} with {target_name}, got the {type_name(X)} {name} alone: "
            "an object that gives cases knows all of them, and each process reads those of its shards; leave "
            "partitioned out"
        )
    count = 0 if X is None else len(X)
    own = None if count == 0 else as_sequences(X, lengths, tokens=tokens, name=name)
    parts = [(target_name, y), ("sample_weight", sample_weight)]
    for part_name, part in parts:
        if part is not None and count != _length(part_name, part):
            raise ValueError(f"{part_name} has {_length(part_name, part)} entries, expected {count}, one for each case")
    joined = PartedSequences(own, exchange, tokens, name)
    _refuse_copies(exchange, own, y, name)
    return Joined(joined, *(_joined(exchange, part_name, part if count else None, count) for part_name, part in parts))


def joined_validation(exchange: Exchange, validation_data: Any, *, tokens: bool) -> Any:
    """Return ``(X, y, None, sample_weight)`` of all processes; None if no process has validation data."""
    if validation_data is not None and (
        not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3, 4)
    ):
        raise ValueError(
            "validation_data must be (X, y), (X, y, lengths) or (X, y, lengths, sample_weight) with partitioned=True, "
            f"the part of this process, got a {type_name(validation_data)}"
        )
    if not any(exchange.gather(validation_data is not None)):
        return None
    X, y, lengths, weight = (*(validation_data or (None,)), None, None, None)[:4]
    names = ("validation X", "validation y")
    joined = joined_parts(exchange, X, y, lengths, weight, tokens=tokens, names=names)
    return joined.X, joined.y, None, joined.sample_weight


def _refuse_copies(exchange: Exchange, own: Sequences | None, y: Any, name: str) -> None:
    """Raise ValueError if all processes seem to have been given the same data, rather than parts of them."""
    digest = None
    if own is not None:
        ends, lengths = own.batch(np.array([0, len(own) - 1]), own.exact_dtype)
        digest = hashlib.sha256(repr((len(own), lengths)).encode())
        digest.update(np.ascontiguousarray(ends).data)
        digest.update(repr(y).encode() if isinstance(y, (list, tuple)) else pickle.dumps(np.asarray(y)))
    found = [one for one in exchange.gather(None if digest is None else digest.hexdigest()) if one is not None]
    if len(found) > 1 and len(set(found)) == 1:
        raise ValueError(
            f"partitioned=True says that each process has a part of the data, and all {len(found)} have the same "
            f"{name}: leave it out, so that each process takes the cases of its shards, or give each its part, for "
            f"example {name}[rank::{exchange.size}]"
        )


def _length(name: str, part: Any) -> int:
    try:
        return len(part)
    except TypeError as error:
        raise TypeError(f"{name} is a {type_name(part)}, expected an entry for each case") from error


def _joined(exchange: Exchange, name: str, part: Any, cases: int) -> Any:
    """Return the entries of all processes in one array, or in one list if a part is a list; None if there are none."""
    if part is not None and not isinstance(part, (list, tuple)):
        part = np.asarray(part)
    parts = [(rank, one) for rank, (one, count) in enumerate(exchange.gather((part, cases))) if count]
    without = [rank for rank, one in parts if one is None]
    if without:
        if len(without) == len(parts):
            return None
        raise ValueError(f"{name} is missing in rank {without[0]} and given in others, expected it in all or none")
    if any(not isinstance(one, np.ndarray) for _, one in parts):
        return list(itertools.chain.from_iterable(one for _, one in parts))
    (first_rank, first), *others = parts
    for rank, one in others:
        kinds = {first.dtype.kind, one.dtype.kind}
        if one.shape[1:] != first.shape[1:] or (len(kinds) > 1 and not kinds <= set("biuf")):
            raise ValueError(
                f"{name} has shape {first.shape} and type {first.dtype} in rank {first_rank}, and {one.shape} and "
                f"{one.dtype} in rank {rank}, expected the same axes after the first, and the same kind of values"
            )
    return np.concatenate([one for _, one in parts])
