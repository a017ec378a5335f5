"""The fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import _core
from .._checks import count, flag
from .base import Array, Layer, LayerTape, ParameterSpec, Signal, Tape
from .initializers import checked_initializer, initializer
from .registry import register
from .stages import Stage

__all__ = ["Dense"]


@register
class Dense(Layer):
    """y = x W' + b, for each case or for each step (``torch.nn.Linear``).

    Parameters
    ----------
    output_size : int
        Features of the output: classes, or values to predict.
    bias : bool, default True
        Whether there is a ``bias``.
    weight_init : str, default "uniform"
        How ``weight`` starts: ``"uniform"`` in +-1/sqrt(input), as in PyTorch, or as `LSTM` has it.

    Notes
    -----
    Parameters: ``weight`` (output_size, input), ``bias`` (output_size). The bias starts uniform in +-1/sqrt(input).

    Raises
    ------
    TypeError, ValueError
        If output_size is not an integer of at least 1, or there is no such initializer.
    """

    def __init__(self, output_size: int, *, bias: bool = True, weight_init: str = "uniform") -> None:
        super().__init__()
        self.output_size = count("output_size", output_size)
        self.bias = flag("bias", bias)
        self.weight_init = checked_initializer("weight_init", weight_init)
        self.input_size = 0

    def build(self, signal: Signal) -> Signal:
        if signal.tokens:
            raise ValueError("a Dense layer reads numbers and gets token ids: put a fl.Embedding before it")
        self.input_size = signal.features
        return Signal(self.output_size, signal.per_step)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        bound = 1 / math.sqrt(self.input_size)
        yield ParameterSpec("weight", (self.output_size, self.input_size), initializer(self.weight_init, bound))
        if self.bias:
            yield ParameterSpec("bias", (self.output_size,), initializer("uniform", bound))

    def _workspace(self, mine: LayerTape) -> _core.Workspace:
        workspace: _core.Workspace | None = mine.saved.get("workspace")
        if workspace is None:
            workspace = mine.saved["workspace"] = _core.Workspace()
        return workspace

    def forward(self, x: Array, tape: Tape, mine: LayerTape) -> Array:
        rows = x.reshape(-1, self.input_size)
        y = mine.buffers.get("y", (*x.shape[:-1], self.output_size), tape.dtype)
        _core.dense_forward(
            rows,
            self.parameters["weight"],
            self.parameters.get("bias"),
            y.reshape(-1, self.output_size),
            self._workspace(mine),
            tape.n_threads,
            tape.frozen,
        )
        mine.saved["x"] = rows if tape.training else None
        return y

    def backward(self, dy: Array, tape: Tape, mine: LayerTape, need_dx: bool) -> Array | None:
        x = mine.saved["x"]
        dx = mine.buffers.get("dx", (*dy.shape[:-1], self.input_size), tape.dtype) if need_dx else None
        _core.dense_backward(
            dy.reshape(-1, self.output_size),
            x,
            self.parameters["weight"],
            None if dx is None else dx.reshape(-1, self.input_size),
            self.gradients["weight"],
            self.gradients.get("bias"),
            self._workspace(mine),
            tape.n_threads,
        )
        return dx

    def stages(self) -> list[Stage]:
        return [Stage("dense", self.output_size, dict(self.parameters))]

    def get_config(self) -> dict[str, Any]:
        return {"output_size": self.output_size, "bias": self.bias, "weight_init": self.weight_init}
