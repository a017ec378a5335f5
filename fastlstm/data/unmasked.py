"""Targets of each step, of which scans see only those whose step the model does not mask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import sequences
from .masking import StepMasking
from .sequences import ArraySequences, Block, Indices, Sequences

__all__ = ["UnmaskedSteps"]


class UnmaskedSteps(Sequences):
    """Per-step targets of a model that masks steps: batches are whole, `blocks` leaves masked steps out.

    Parameters
    ----------
    data : Sequences
        A target for each step of `inputs`.
    inputs : Sequences
        Inputs whose `masking` has ``masks_output``.
    """

    def __init__(self, data: Sequences, inputs: Sequences) -> None:
        self._data = data
        self._inputs = inputs
        self.features, self.time, self.lengths = data.features, data.time, data.lengths
        self.tokens, self.name, self.numbers = data.tokens, data.name, data.numbers

    def __len__(self) -> int:
        return len(self._data)

    @property
    def exact_dtype(self) -> np.dtype[Any]:
        return self._data.exact_dtype

    def batch(self, indices: Indices, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        return self._data.batch(indices, dtype)

    def masks(self, indices: Indices) -> NDArray[np.bool_]:
        return self._inputs.masks(indices)

    def subset(self, indices: Indices) -> UnmaskedSteps:
        return UnmaskedSteps(self._data.subset(indices), self._inputs.subset(indices))

    def for_each(self, code: str) -> str:
        return self._data.for_each(code)

    def blocks(self) -> Iterator[Block]:
        series = self._series()
        masks = self._masks() if series is None else series
        blocks = self._data.blocks()
        if series is None and isinstance(self._data, ArraySequences):
            blocks = self._data.blocks_of_cases()  # windows of one series too, so that the order is that of the masks
        held = np.zeros(0, bool)
        for values, locate in blocks:
            while len(held) < len(values):
                held = np.concatenate([held, next(masks)])
            rows = np.flatnonzero(held[: len(values)])
            held = held[len(values) :]
            if len(rows):
                yield Block(values[rows], partial(_locate_kept, locate, rows))

    def _masks(self) -> Iterator[NDArray[np.bool_]]:
        """Yield the mask of the valid steps, case by case."""
        inputs = self._inputs
        cases = max(1, sequences.BLOCK_VALUES // (inputs.time * max(1, inputs.features)))
        for case in range(0, len(inputs), cases):
            chosen = slice(case, case + cases)
            mask = inputs.output_mask(chosen)
            assert mask is not None
            if inputs.lengths is not None:
                mask = mask[np.arange(mask.shape[1]) < inputs.lengths[chosen, None]]
            yield mask.reshape(-1)

    def _series(self) -> Iterator[NDArray[np.bool_]] | None:
        """Yield the mask of a series, if inputs and targets are its windows, in the order of `blocks`; else None."""
        data, inputs, masking = self._data, self._inputs, self._inputs.masking
        if not isinstance(data, ArraySequences) or not isinstance(inputs, ArraySequences) or masking is None:
            return None
        alike = data.hop is not None and data.hop == inputs.hop and masking.keeps_order
        if not alike or not np.array_equal(np.asarray(data.rows), np.asarray(inputs.rows)):
            return None
        return (_mask_of(masking, values) for values, _ in inputs.blocks())


def _mask_of(masking: StepMasking, values: NDArray[Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = masking.output_mask(masking.counts(values)[None], None)[0]
    return mask


def _locate_kept(locate: Any, rows: NDArray[np.int64], row: int) -> tuple[int, int]:
    found: tuple[int, int] = locate(int(rows[row]))
    return found
