"""Random numbers of the package's own generator, Philox4x32-10, the same on every machine and with every NumPy.

Everything random is drawn by name: the seed of a stream of numbers is mixed from a seed and from what they are for,
such as a layer and a parameter. So each thing has its own numbers, whatever else is drawn.
"""

from __future__ import annotations

import math

import numpy as np

from . import _core
from ._typing import Array

__all__ = ["Draws", "mixed_seed"]

_MASK = 2**64 - 1


def mixed_seed(*parts: int) -> int:
    """Mix several numbers into one 64-bit seed, by the finalizer of SplitMix64 (Steele, Lea & Flood 2014)."""
    seed = 0
    for part in parts:
        z = (seed + part + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        seed = z ^ (z >> 31)
    return seed


class Draws:
    """Random numbers one after the other.

    Parameters
    ----------
    *key : int or str
        What the numbers depend on: a seed of any size, at least 0, and what they are for.

    Examples
    --------
    >>> from fastlstm._draws import Draws
    >>> Draws(0, "example").uniform(0.0, 1.0, (2,)).round(4).tolist()
    [0.2065, 0.802]
    >>> sorted(Draws(0, "order").permutation(4).tolist())
    [0, 1, 2, 3]
    """

    def __init__(self, *key: int | str) -> None:
        limbs: list[int] = []
        for part in key:
            number = int.from_bytes(part.encode(), "little") if isinstance(part, str) else int(part)
            limbs.append(number & _MASK)
            while number := number >> 64:
                limbs.append(number & _MASK)
        self.seed = mixed_seed(*limbs)
        self._used = 0

    def words(self, n: int) -> Array:
        """Return the next n words, (n,) uint64."""
        words = _core.random_words(self.seed, self._used, n)
        self._used += n
        return words

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        """Return numbers in [low, high), float64."""
        chances = (self.words(math.prod(shape)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.asarray(low + (high - low) * chances.reshape(shape))

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        """Return normal numbers of mean 0 and deviation 1, float64."""
        numbers = np.empty(math.prod(shape))
        _core.normals(self.seed, self._used, numbers)
        self._used += numbers.size
        return numbers.reshape(shape)

    def integers(self, high: int, n: int) -> Array:
        """Return integers in [0, high), (n,) int64; high is far below 2^64."""
        numbers: Array = (self.words(n) % np.uint64(high)).astype(np.int64)
        return numbers

    def permutation(self, n: int) -> Array:
        """Return the numbers 0 to n - 1 in random order, int64."""
        return np.argsort(self.words(n), kind="stable").astype(np.int64)
