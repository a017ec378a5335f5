"""Layers whose training pass needs numbers of all cases of a batch, also where its parts are computed one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any, TypeVar

from .._typing import Array
from .base import Layer
from .context import LayerCache, PassContext

__all__ = ["Joining", "JoiningLayer"]

Result = TypeVar("Result")

Joining = Generator[Any, list[Any], Result]
"""A computation of one part of a batch, which yields numbers of its part, and is sent those of all parts in order."""


class JoiningLayer(Layer):
    """Layer that can compute a part of a batch, if it gets numbers of the other parts."""

    @abstractmethod
    def forward_joined(self, x: Array, ctx: PassContext, cache: LayerCache) -> Joining[Array]:
        """Do `forward` in training for a part of a batch. Running statistics stay as they are."""

    @abstractmethod
    def backward_joined(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Joining[Array | None]:
        """Do `backward` after `forward_joined`; parameters get the gradient of this part."""

    @abstractmethod
    def learn_statistics(self, parts: list[Any]) -> None:
        """Change the running statistics by what `forward_joined` has yielded for all parts of a batch."""
