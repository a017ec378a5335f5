"""Types that every floor uses."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

__all__ = ["Array", "Dataset", "State"]

Array = NDArray[Any]
"""An array of any dtype and shape; docstrings say which."""

State = tuple[Array, Array]
"""The state (h, c) of an LSTM layer, each (num_layers * directions, batch, size)."""


class Dataset(Protocol):
    """Data that are read case by case, such as a ``torch.utils.data.Dataset``."""

    def __len__(self) -> int:
        """Return the number of cases."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one case, ``(x, y)`` or ``(x, y, weight)``."""
