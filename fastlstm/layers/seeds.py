"""Seeds of the random numbers of each layer, training step and position."""

from __future__ import annotations

__all__ = ["mixed_seed"]

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
