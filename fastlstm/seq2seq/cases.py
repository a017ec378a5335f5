"""Pairs of sources and targets, checked, and read batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .._typing import Array
from ..data.cases import CaseBatch, Cases, TargetBatch, read_inputs
from ..data.label_sequences import LabelSequences
from ..data.scaler import Scaler
from ..data.sequences import Indices, Sequences
from ..data.targets import IGNORE
from .network import Pair

__all__ = ["PairCases", "given_and_wanted"]


class PairCases(Cases):
    """Sources with their target sequences, as the decoder reads them and as it should give them.

    The decoder reads the beginning and then the tokens, and should give the tokens and then the end.

    Parameters
    ----------
    inputs : Sequences
    targets : LabelSequences
    weight : ndarray (n,) or None
    bos, eos : int
        Tokens of beginning and end.
    """

    def __init__(self, inputs: Sequences, targets: LabelSequences, weight: Array | None, bos: int, eos: int) -> None:
        super().__init__(inputs, targets, weight)
        self.bos, self.eos = bos, eos

    def subset(self, indices: Indices) -> PairCases:
        chosen = super().subset(indices)
        assert isinstance(chosen.targets, LabelSequences)
        return PairCases(chosen.inputs, chosen.targets, chosen.weight, self.bos, self.eos)

    def read(
        self,
        indices: Indices,
        dtype: DTypeLike,
        scaler: Scaler | None,
        y_dtype: DTypeLike | None = None,
        steps: int | None = None,
    ) -> CaseBatch:
        x, lengths, masks = read_inputs(self.inputs, indices, dtype, scaler, steps)
        given, wanted, numbers = self._tokens(indices)
        pair: Any = Pair(x, lengths, masks, given)  # which the network of pairs reads in place of an array
        return CaseBatch(pair, numbers, wanted, None if self.weight is None else self.weight[indices], None)

    def read_targets(self, indices: Indices, dtype: DTypeLike) -> TargetBatch:
        _, wanted, steps = self._tokens(indices)
        weight = None if self.weight is None else self.weight[indices]
        return TargetBatch(wanted.shape[1], steps, wanted, weight, None)

    def _tokens(self, indices: Indices) -> tuple[Array, Array, Array | None]:
        targets = self.targets
        assert isinstance(targets, LabelSequences)
        return given_and_wanted(targets.batch(indices, 0), targets.numbers[indices], self.bos, self.eos)


def given_and_wanted(tokens: Array, numbers: Array, bos: int, eos: int) -> tuple[Array, Array, Array | None]:
    """Return what the decoder reads and should give, (b, L + 1) each, and the steps of each case; None: all.

    Parameters
    ----------
    tokens : int64 ndarray (b, L)
    numbers : int64 ndarray (b,)
        Number of tokens of each case.
    bos, eos : int
    """
    cases, longest = tokens.shape
    given = np.full((cases, longest + 1), bos, np.int64)
    wanted = np.full((cases, longest + 1), IGNORE, np.int64)
    given[:, 1:] = np.where(np.arange(longest) < numbers[:, None], tokens, bos)  # padding is never learnt, but read
    wanted[:, :-1] = np.where(np.arange(longest) < numbers[:, None], tokens, IGNORE)
    wanted[np.arange(cases), numbers] = eos
    return given, wanted, None if bool((numbers == longest).all()) else numbers + 1
