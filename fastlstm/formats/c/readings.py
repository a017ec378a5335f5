"""Steps and series for exported models on this machine: what they must be, checked before a state changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._arrays import as_numeric, place_of
from ..._typing import Array

__all__ = ["checked_series", "checked_step", "require_answers", "require_tokens"]


def checked_step(x: npt.ArrayLike, features: int, tokens: bool) -> Array:
    """Return one step of some series: float32 (series, features), or token ids (series,), int64.

    One series needs no first axis.

    Raises
    ------
    TypeError
        If x does not hold numbers, or integers for token ids.
    ValueError
        If x has another shape, or a number does not fit float32.
    """
    array = _numbers(x, tokens)
    axes = () if tokens else (features,)
    if array.shape == axes:
        array = array[None]
    if array.ndim != 1 + len(axes) or array.shape[1:] != axes or len(array) == 0:
        expected = "(series,) of token ids" if tokens else f"(series, {features}), or ({features},) of one series"
        raise ValueError(f"x has shape {np.shape(x)}, expected {expected}; the state has not changed")
    return array


def checked_series(x: npt.ArrayLike, features: int, tokens: bool, *, several: bool) -> Array:
    """Return the steps of one series, (steps, features), or of `several`, (series, steps, features), float32.

    Token ids, int64, have no axis of features. There may be no steps. Errors are those of `checked_step`.
    """
    array = _numbers(x, tokens)
    axes = [*(["series"] if several else []), "steps", *([] if tokens else [str(features)])]
    if array.ndim == len(axes) and (tokens or array.shape[-1] == features) and not (several and len(array) == 0):
        return array
    cure = ""
    if array.ndim == len(axes) + 1 and not several and len(array) == 1:
        cure = ": pass x[0], this takes one series"
    elif array.ndim == len(axes) - 1 and not tokens and features == 1 and array.ndim > 0:
        cure = ": pass x[..., None]"
    elif array.ndim == len(axes) - 1 and several and (tokens or array.shape[-1:] == (features,)):
        cure = ": pass x[None] for one series"
    shape = f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
    raise ValueError(f"x has shape {array.shape}, expected {shape}{cure}; the state has not changed")


def require_tokens(ids: Array, tokens: int) -> None:
    """Raise ValueError if an id is not one of 0 to tokens - 1."""
    unknown = ids[(ids < 0) | (ids >= tokens)]
    if len(unknown):
        raise ValueError(
            f"token {unknown[0]} is not in the table: expected 0 to {tokens - 1}; the state has not changed"
        )


def require_answers(y: Array) -> Array:
    """Return the answers to series; ValueError if one of them is NaN."""
    places = np.argwhere(np.isnan(y).any(axis=-1))
    if len(places):
        names = "[step]" if y.ndim == 2 else "[series, step]"
        raise ValueError(
            f"the answer at {names} = {places[0].tolist()} is nan, as in the firmware: x must hold finite numbers, and "
            "nan only in features that may be missing. Fill it in before the next reset() and run, or call step, which "
            "returns such answers"
        )
    return y


def _numbers(x: npt.ArrayLike, tokens: bool) -> Array:
    array = as_numeric(x, tokens, "x")
    if tokens:
        return array.astype(np.int64)
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    infinite = np.flatnonzero(np.isinf(single))
    if len(infinite):
        raise ValueError(
            f"x{place_of(int(infinite[0]), array.shape)} is {array.flat[infinite[0]]}, expected numbers that fit "
            "float32; the state has not changed"
        )
    return single
