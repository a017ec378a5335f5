"""Decoding of CTC outputs to label sequences, and the edit distance of label sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, _exact
from .._arrays import as_array
from .._checks import count, short_repr
from .._typing import Array

__all__ = ["best_path", "ctc_decode", "label_errors"]


def ctc_decode(
    logits: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    *,
    beam_width: int = 1,
    blank: int = 0,
) -> list[Array]:
    """Decode the outputs of a model trained with ``loss="ctc"`` to label sequences.

    Parameters
    ----------
    logits : array (n, T, C), or list of (T_i, C) arrays
        Scores as `Model.predict` gives them, one for each class at each step.
    lengths : int array (n,), optional
        Valid steps of each case of an array.
    beam_width : int, default 1
        1: the best class of each step, without repetitions and blanks, which is the most probable path (Graves et al.
        2006). Larger: prefix beam search, which sums the probabilities of the paths with the same labels and keeps
        `beam_width` label sequences at each step (Graves 2012; Hannun et al. 2014). Its cost is proportional to
        ``T C beam_width`` for each case, in one thread.
    blank : int, default 0
        The class that means no label.

    Returns
    -------
    list of n int64 arrays
        The labels of each case.

    Raises
    ------
    TypeError, ValueError
        If a shape or an argument does not fit, a score is NaN, or a step has no finite best score.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> scores = np.log([[[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3]]])
    >>> [labels.tolist() for labels in fl.ctc_decode(scores)]
    [[1, 1]]
    """
    beam_width = count("beam_width", beam_width)
    blank = count("blank", blank, least=0)
    cases = _cases(logits, lengths)
    for index, case in enumerate(cases):
        if blank >= case.shape[1]:
            raise ValueError(f"blank is {blank}, expected 0 to {case.shape[1] - 1}, one of the classes")
        with np.errstate(over="ignore"):
            if not np.isfinite(case.max(axis=1).astype(np.float64)).all():
                raise ValueError(f"the scores of case {index} hold NaN, expected a finite best score at each step")
    if beam_width == 1:
        return [_without_repetitions(case.argmax(axis=1), blank) for case in cases]
    workspace = _core.Workspace()
    return [_core.ctc_beam_search(_log_softmax(case), blank, beam_width, workspace)[0] for case in cases]


def best_path(logits: Array, lengths: Array | None, blank: int) -> list[Array]:
    """Do `ctc_decode` with beam_width=1 for a checked array (n, T, C)."""
    ends = [logits.shape[1]] * len(logits) if lengths is None else lengths
    best = logits.argmax(axis=-1)
    return [_without_repetitions(row[:end], blank) for row, end in zip(best, ends, strict=True)]


def label_errors(got: Sequence[Array], expected: Sequence[Array]) -> Array:
    """Return the edit distances: the least numbers of insertions, deletions and substitutions, one for each case."""
    pairs = zip(got, expected, strict=True)
    return np.array(
        [_core.edit_distance(*(np.ascontiguousarray(labels, np.int64) for labels in pair)) for pair in pairs], np.int64
    )


def _cases(logits: Any, lengths: ArrayLike | None) -> list[Array]:
    if isinstance(logits, (list, tuple)):
        if lengths is not None:
            raise ValueError("logits is a list, whose cases have their own lengths: pass lengths=None, or one array")
        cases = [as_array(case, f"logits[{i}]") for i, case in enumerate(logits)]
    else:
        array = as_array(logits, "logits")
        if array.ndim != 3:
            raise ValueError(f"logits has shape {array.shape}, expected (n, T, classes) or a list of (T, classes)")
        ends = np.full(len(array), array.shape[1]) if lengths is None else as_array(lengths, "lengths")
        if (
            ends.shape != (len(array),)
            or ends.dtype.kind not in "iu"
            or (ends < 0).any()
            or (ends > array.shape[1]).any()
        ):
            raise ValueError(
                f"lengths must be {len(array)} integers from 0 to {array.shape[1]}, got {short_repr(lengths)}"
            )
        cases = [case[:end] for case, end in zip(array, ends, strict=True)]
    for index, case in enumerate(cases):
        if case.ndim != 2 or case.shape[1] < 1 or case.dtype.kind not in "fiu":
            raise ValueError(
                f"case {index} of logits has shape {case.shape} and type {case.dtype}, expected numbers (T, classes)"
            )
    return cases


def _without_repetitions(path: Array, blank: int) -> Array:
    changes = np.ones(len(path), bool)
    changes[1:] = path[1:] != path[:-1]
    return np.asarray(path[changes & (path != blank)], np.int64)


def _log_softmax(scores: Array) -> Array:
    with np.errstate(over="ignore"):
        z = scores.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    z -= _exact.log(_exact.row_sums(_exact.exp(z)))[:, None]
    return np.ascontiguousarray(z)
