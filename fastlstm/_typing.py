"""Types that every floor uses."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["Array", "State"]

Array = NDArray[Any]
"""An array of any dtype and shape; docstrings say which."""

State = tuple[Array, Array]
"""The state (h, c) of an LSTM layer, each (num_layers * directions, batch, size)."""
