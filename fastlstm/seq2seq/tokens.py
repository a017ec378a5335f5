"""Sequences of tokens as users pass them: ids, or names where the names are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import as_array
from .._checks import distinct_names, short_repr
from .._typing import Array
from ..data.label_sequences import LabelSequences, label_arrays
from ..data.targets import IGNORE

__all__ = ["Vocabulary", "as_ids", "target_sequences"]


class Vocabulary:
    """Names of tokens, by id.

    Parameters
    ----------
    argument : str
        What the user calls the names, for messages.
    names : sequence of str
        The name of each token.
    size : int
        Number of tokens of the table.
    """

    def __init__(self, argument: str, names: Sequence[str], size: int) -> None:
        self.argument = argument
        self.names = distinct_names(argument, names)
        if len(self.names) != size:
            raise ValueError(
                f"{argument} has {len(self.names)} names, expected {size}: one for each token of the fl.Embedding"
            )
        self._ids: Mapping[str, int] = {name: k for k, name in enumerate(self.names)}

    def ids(self, tokens: Sequence[str], what: str) -> Array:
        """Return the ids of names, (n,) int64; ValueError for a name that is not known."""
        try:
            return np.array([self._ids[token] for token in tokens], np.int64)
        except KeyError as error:
            raise ValueError(
                f"{what} holds the token {short_repr(error.args[0])}, which is none of {self.argument}: replace what "
                "is not known by a token for it, such as '<unk>', or train with it"
            ) from None

    def text(self, ids: Array) -> list[str]:
        """Return the names of ids."""
        return [self.names[k] for k in ids.tolist()]


def as_ids(value: Any, vocabulary: Vocabulary | None, name: str, argument: str) -> Any:
    """Return sequences of tokens with ids in place of names; anything else as it is.

    Sequences of names are a list of strings, whose characters are the tokens, or of lists of strings.
    """
    if isinstance(value, str):
        raise TypeError(f"{name} is a single string, expected a list of sequences: pass [{short_repr(value)}]")
    if not _holds_names(value):
        return value
    if vocabulary is None:
        raise ValueError(
            f"{name} holds names of tokens, and the model knows none: give it {argument}=[...], the name of each "
            "token by its id, or pass ids"
        )
    return [vocabulary.ids(_tokens(one, f"{name}[{k}]"), f"{name}[{k}]") for k, one in enumerate(value)]


def _holds_names(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "U" and value.ndim == 1
    if not isinstance(value, (list, tuple)):
        return False
    filled = next((one for one in value if isinstance(one, str) or len(one)), None) if _sized(value) else None
    return isinstance(filled, str) or (isinstance(filled, (list, tuple)) and isinstance(filled[0], str))


def _sized(value: Sequence[Any]) -> bool:
    return all(hasattr(one, "__len__") for one in value)


def _tokens(one: Any, name: str) -> list[str]:
    tokens = list(one) if isinstance(one, (str, list, tuple)) else [one]
    wrong = next((token for token in tokens if not isinstance(token, str)), None)
    if wrong is not None:
        raise TypeError(f"{name} holds {short_repr(wrong)}, expected names of tokens: strings")
    return tokens


def target_sequences(
    Y: Any,
    target_lengths: Any,
    cases: int,
    num_tokens: int,
    bos: int,
    eos: int,
    vocabulary: Vocabulary | None,
    name: str = "Y",
) -> LabelSequences:
    """Check the target sequences of some cases, without the tokens for beginning and end, which the model adds.

    Raises
    ------
    TypeError, ValueError
        If they have another form, or hold such a token, or none of the decoder's table.
    """
    ids = as_ids(Y, vocabulary, name, "target_tokens")
    if target_lengths is not None:
        array = as_array(ids, name)
        if array.ndim != 2:
            raise ValueError(
                f"target_lengths are for an array of tokens (n, T), got {name} of shape {array.shape}: leave them out "
                "for a list of sequences"
            )
        numbers = as_array(target_lengths, "target_lengths")
        if numbers.shape != array.shape[:1] or numbers.dtype.kind not in "iu":
            raise ValueError(f"target_lengths must be {len(array)} integers, got {short_repr(target_lengths)}")
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() <= array.shape[1]:
            raise ValueError(
                f"target_lengths hold {numbers.min()} to {numbers.max()}, expected 0 to {array.shape[1]}, the columns "
                f"of {name}"
            )
        ids = (array, numbers)
    elif isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.dtype.kind in "iu":
        inside = ids >= 0
        misplaced = np.argwhere((~inside & (ids != IGNORE)) | (inside & ~np.logical_and.accumulate(inside, axis=1)))
        if len(misplaced):
            case, step = misplaced[0].tolist()
            raise ValueError(
                f"{name}[{case}, {step}] is {ids[case, step]}, but a row must hold ids and then {IGNORE} as padding: "
                "give target_lengths for other padding"
            )
    arrays = label_arrays(ids, cases, name)
    for case, tokens in enumerate(arrays):
        wrong = np.flatnonzero((tokens < 0) | (tokens >= num_tokens) | (tokens == bos) | (tokens == eos))
        if not len(wrong):
            continue
        token = int(tokens[wrong[0]])
        place = f"{name}[{case}] holds {token} at {int(wrong[0])}"
        if not 0 <= token < num_tokens:
            raise ValueError(f"{place}, expected ids in [0, {num_tokens}), those of the decoder's Embedding")
        which = "bos" if token == bos else "eos"
        raise ValueError(
            f"{place}, which is {which}: the model puts it there itself, so leave it out; or give the model other ids "
            "for the beginning and the end, bos=... and eos=..."
        )
    numbers = np.array([len(one) for one in arrays], np.int64)
    starts = np.concatenate([[0], np.cumsum(numbers)[:-1]]).astype(np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)
    return LabelSequences(flat, numbers, starts, num_tokens, None if vocabulary is None else vocabulary.names)
