"""Memory that the layers of a decoder read as a side input: the outputs of an encoder."""

from __future__ import annotations

from .._typing import Array

__all__ = ["Memory"]


class Memory:
    """The outputs of an encoder for each case.

    The decoder's batch may have several rows for each case, one after the other, which share its memory: the candidates
    of a search.

    Parameters
    ----------
    values : ndarray (cases, steps, features)
    lengths : int64 ndarray (cases,), or None
        Valid steps of each case; None: all.

    Attributes
    ----------
    keys : dict
        What layers have computed of the values, by the id of the layer; kept while the memory exists.
    d_values : ndarray or None
        Gradient of the values, to which the layers' backward passes add; None: zeros.
    """

    def __init__(self, values: Array, lengths: Array | None) -> None:
        self.values = values
        self.lengths = lengths
        self.keys: dict[int, Array] = {}
        self.d_values: Array | None = None

    def add_gradient(self, d_values: Array) -> None:
        """Add to the gradient of the values; the first array given is kept, and must not be written to."""
        self.d_values = d_values if self.d_values is None else self.d_values + d_values

    def take(self, rows: Array) -> Memory:
        """Return the memory of some cases, as copies."""
        part = Memory(self.values[rows], None if self.lengths is None else self.lengths[rows])
        part.keys = {key: values[rows] for key, values in self.keys.items()}
        return part

    def copy(self) -> Memory:
        """Return a memory with arrays of its own."""
        own = Memory(self.values.copy(), None if self.lengths is None else self.lengths.copy())
        own.keys = {key: values.copy() for key, values in self.keys.items()}
        return own
