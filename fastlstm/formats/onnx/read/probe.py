"""Which axes of a graph's output are cases and steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph.nodes import Graph, GraphInput
from ..graph.operators import Run
from ..graph.program import Program
from .assumed import counted

__all__ = ["Probe"]


class Probe:
    """Determine which axes of a graph's output are cases and steps, by running the graph on zeros."""

    def __init__(
        self,
        graph: Graph,
        data: GraphInput,
        lengths: str | None,
        size: int,
        time_major: bool,
        dtype: np.dtype[Any],
    ) -> None:
        self.program = Program(graph)
        self.data, self.lengths, self.size, self.time_major, self.dtype = data, lengths, size, time_major, dtype
        self.constants = {
            name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in graph.constants.items()
        }
        self.weights = sum(value.size for value in graph.constants.values())
        self.assumed: list[str] = []
        """What `axes` has assumed."""

    def shape(self, batch: int, time: int) -> tuple[int, ...]:
        """Return the shape of the output for these numbers of cases and steps."""
        shape = (time, batch) if self.time_major else (batch, time)
        run = Run(batch * time, self.weights, dtype=self.dtype)
        run.take((*shape, self.size or 1))
        values = dict(self.constants)
        for one in self.program.graph.inputs:
            if one.name == self.lengths:
                values[one.name] = np.full(batch, time, one.dtype)
            elif self.size:
                values[one.name] = np.zeros((*shape, self.size), self.dtype)
            else:
                values[one.name] = np.zeros(shape, one.dtype)
        outputs, _ = self.program.forward(values, run)
        return outputs[0].shape

    def _sizes(self) -> Iterator[tuple[int, int]]:
        """Yield numbers of cases and steps to try: those that the file declares, or typical sizes of example inputs."""
        declared = self.data.shape or (None, None)
        steps, cases = (declared[0], declared[1]) if self.time_major else (declared[1], declared[0])
        times = [steps] if isinstance(steps, int) else [5, 7, *range(1, 65)]
        batches = [cases] if isinstance(cases, int) else [3, 1, 2, 4, 5, 8, 10, 16, 32, 64]
        tried = dict.fromkeys([(batch, times[0]) for batch in batches] + [(batches[0], time) for time in times])
        tried.update(dict.fromkeys((1, time) for time in times if len(batches) > 1))
        for batch, time in tried:
            if batch * time <= 2**16:
                yield batch, time

    def axes(self) -> tuple[int, int | None, int, int, int | None]:
        """Return the axis of the cases, the axis of the steps or None, the number of features, the rank, and the steps.

        The number of steps is None if it is that of the input.
        """
        error: ValueError | None = None
        for batch, time in self._sizes():
            try:
                shape = self.shape(batch, time)
                break
            except ValueError as problem:
                error = error or problem
        else:
            raise error or ValueError("the input's sizes are too large")
        more = self._changed_axes(shape, batch + 1, time)
        batch_axes = more or [k for k, n in enumerate(shape) if n == batch]
        if not batch_axes:
            raise ValueError(f"the output has shape {shape} for {batch} cases: none of its axes is the batch axis")
        batch_axis = batch_axes[0]
        if not more:
            limit = f"the graph takes {counted(batch, 'series')} at a time (predict(X, batch_size={batch})), and "
            self.assumed.append(
                f"{limit if more is None else ''}axis {batch_axis} of its output, of shape {shape}, holds the series"
            )
        changed = self._changed_axes(shape, batch, time + 1)
        same = [k for k, n in enumerate(shape) if n == time and len(shape) > 2] if changed is None else changed
        time_axis = next((k for k in same if k != batch_axis), None)
        steps = None
        if time_axis is None and len(shape) == 3 and batch_axis == 0 and not self._gives_states():
            time_axis, steps = 1, shape[1]  # as after a decoder of that many steps
            self.assumed.append(f"axis 1 of its output, of shape {shape}, holds {counted(shape[1], 'step')}")
        if changed is None:
            self.assumed.append(f"the graph takes {counted(time, 'step')} only")
            if time_axis is not None and steps is None:
                self.assumed.append(f"axis {time_axis} of its output, of shape {shape}, is time")
        rest = [n for k, n in enumerate(shape) if k not in (batch_axis, time_axis)]
        features = math.prod(rest)
        if sum(n > 1 for n in rest) > 1:
            self.assumed.append(f"the axes of sizes {rest} of its output are {features} features")
        if features < 1:
            raise ValueError(f"the output has shape {shape} for {batch} cases of {time} steps: it has no features")
        return batch_axis, time_axis, features, len(shape), steps

    def _gives_states(self) -> bool:
        """Return whether the output is the final state of an LSTM, whose second axis may be that of the directions."""
        graph = self.program.graph
        return any(node.op == "LSTM" and graph.outputs[0] in node.outputs[1:] for node in graph.nodes)

    def _changed_axes(self, shape: tuple[int, ...], batch: int, time: int) -> list[int] | None:
        """Return the axes whose size changes with these input sizes; None if the graph does not take them."""
        try:
            other = self.shape(batch, time)
        except ValueError:
            return None
        return [k for k, (a, b) in enumerate(zip(shape, other, strict=False)) if a != b]
