"""A graph as one layer of a model, for graphs that no chain of ordinary layers can express."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...._checks import count
from ...._typing import Array
from ....layers.base import Layer, ParameterSpec, Signal
from ....layers.context import LayerCache, PassContext
from ....layers.registry import register
from ....layers.stages import Stage
from .nodes import Graph, graph_from_json, graph_to_json
from .operators import Run
from .program import Program, Record

__all__ = ["OnnxGraph"]


class _Part(NamedTuple):
    """Cases that ran through the graph together, and what their backward pass needs."""

    rows: Array | slice
    steps: int
    record: Record
    out_shape: tuple[int, ...]


@register
class OnnxGraph(Layer):
    """A graph of ONNX operators, run and trained by NumPy and this package's LSTM kernels; made by `fl.from_onnx`.

    The graph's float initializers are trainable parameters. Its dropout nodes draw no masks in training.

    Parameters
    ----------
    graph : dict
        The nodes and constants; see `fastlstm.formats.onnx.graph.nodes.graph_to_json`.
    input_size : int
        Number of features of a step; 0 for token ids.
    output_size : int
        Number of features of the output.
    time_major : bool
        Whether the graph takes (time, batch, ...).
    lengths_input : str or None
        Name of the graph's input for the numbers of valid steps.
    batch_axis, time_axis, output_rank : int or None
        The batch axis, the time axis and the number of axes of the graph's output. Without a time axis the layer's
        output is (batch, features). All further axes are flattened into the features.
    steps : int, optional
        Size of the time axis, if it does not depend on the input, as after a decoder of that many steps. The lengths of
        the input do not apply to such an output. By default the time axis has the steps of the input.

    Notes
    -----
    If cases have lengths and the graph has no input for them, the cases of each length run together, cut to that
    length.

    Raises
    ------
    ValueError
        If the graph is damaged, or has an operator that is not supported.
    """

    def __init__(
        self,
        graph: dict[str, Any],
        *,
        input_size: int,
        output_size: int,
        time_major: bool,
        lengths_input: str | None,
        batch_axis: int,
        time_axis: int | None,
        output_rank: int,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self._graph, self._shapes = graph_from_json(graph)
        self._program = Program(self._graph)
        self.input_size = count("input_size", input_size, least=0)
        self.output_size = count("output_size", output_size)
        self.time_major = bool(time_major)
        self.lengths_input = lengths_input
        self.batch_axis = count("batch_axis", batch_axis, least=0)
        self.time_axis = None if time_axis is None else count("time_axis", time_axis, least=0)
        self.output_rank = count("output_rank", output_rank)
        if self.batch_axis == self.time_axis or max(self.batch_axis, self.time_axis or 0) >= self.output_rank:
            raise ValueError(
                f"batch_axis {self.batch_axis} and time_axis {self.time_axis} do not fit output_rank {output_rank}"
            )
        self.steps = None if steps is None else count("steps", steps)
        if self.steps is not None and self.time_axis is None:
            raise ValueError(f"steps={steps} is the size of the time axis, and time_axis is None")
        names = [one.name for one in self._graph.inputs]
        others = [name for name in names if name != lengths_input]
        if len(others) != 1 or (lengths_input is not None and lengths_input not in names):
            raise ValueError(f"the graph has the inputs {names}, expected one for the data")
        self._data = others[0]
        self.takes_tokens = self.input_size == 0

    @property
    def graph(self) -> Graph:
        """The graph; its constants do not include the parameters."""
        return self._graph

    def build(self, signal: Signal) -> Signal:
        if signal.tokens != self.takes_tokens:
            kind = "token ids" if self.takes_tokens else "numbers"
            raise ValueError(f"this graph takes {kind} and must be the first layer")
        if not signal.per_step or signal.features != self.input_size:
            raise ValueError(f"this graph takes (batch, time, {self.input_size}), but gets {signal.features} features")
        return Signal(self.output_size, self.time_axis is not None, steps=self.steps)

    def parameter_specs(self) -> Iterator[ParameterSpec]:
        for name, shape in self._shapes.items():
            yield ParameterSpec(name, shape, lambda rng, size: np.zeros(size))

    def stages(self) -> list[Stage]:
        raise TypeError(f"{self!r} cannot be expressed as stages: it is a graph of any ONNX operators")

    def streaming_obstacle(self) -> str | None:
        return "is a graph of operators, any of which may read the whole series; use a model of ordinary layers"

    def _constants(self, ctx: PassContext, cache: LayerCache) -> dict[str, Array]:
        """Return the constants that are not parameters, in this model's floating-point type."""
        kept: dict[str, Array] | None = cache.saved.get("constants")
        if kept is None:
            kept = cache.saved["constants"] = {
                name: value.astype(ctx.dtype) if value.dtype.kind == "f" else value
                for name, value in self._graph.constants.items()
            }
        return kept

    def _run(
        self, x: Array, lengths: Array | None, ctx: PassContext, cache: LayerCache, own_passes: bool
    ) -> tuple[Array, Record]:
        """Run the graph on cases of these lengths (None: all as long as x); return the output and the record.

        A kernel's pass object holds what its backward pass needs, so runs that await their backward passes at the same
        time need separate pass objects (`own_passes`).
        """
        values = {**self._constants(ctx, cache), **self.parameters}
        weights = sum(value.size for value in values.values())
        for one in self._graph.inputs:
            if one.name == self.lengths_input:
                steps = np.full(len(x), x.shape[1]) if lengths is None else lengths
                values[one.name] = steps.astype(one.dtype)
            elif self.takes_tokens:
                values[one.name] = (x.T if self.time_major else x).astype(one.dtype)
            else:
                values[one.name] = x.swapaxes(0, 1) if self.time_major else x
        run = Run(
            x.size,
            weights,
            training=ctx.training,
            dtype=ctx.dtype,
            n_threads=ctx.n_threads,
            recompute_every=ctx.recompute_every,
            passes=None if own_passes else cache.saved.setdefault("passes", {}),
        )
        wanted = [*(self._shapes if self.trainable else ()), self._data] if ctx.training else []
        try:
            outputs, record = self._program.forward(values, run, wanted)
        except ValueError as error:
            raise ValueError(f"{error}{self._other_sizes(*x.shape[:2])}") from error
        return outputs[0], record

    def _other_sizes(self, batch: int, time: int) -> str:
        """Return what to do if the file declares other numbers of cases and steps than these; else an empty string."""
        shape = next(one.shape for one in self._graph.inputs if one.name == self._data) or (None, None)
        cases, steps = (shape[1], shape[0]) if self.time_major else (shape[0], shape[1])
        if isinstance(cases, int) and cases != batch:
            return f"; the file is for {cases} series at a time: pass batch_size={cases}"
        if isinstance(steps, int) and steps != time:
            return f"; the file is for series of {steps} steps, and these have {time}"
        return ""

    def _placed(self, out: Array, batch: int, time: int) -> Array:
        """Return the graph's output as (batch, time, features) or (batch, features)."""
        axes = [self.batch_axis, *([] if self.time_axis is None else [self.time_axis])]
        if out.ndim != self.output_rank:
            raise ValueError(f"the graph's output has shape {out.shape}, expected {self.output_rank} axes")
        moved = np.moveaxis(out, axes, range(len(axes)))
        shape = (batch, *([] if self.time_axis is None else [self.steps or time]), self.output_size)
        if moved.shape[: len(axes)] != shape[:-1] or moved.size != int(np.prod(shape)):
            raise ValueError(
                f"the graph's output has shape {out.shape} for {batch} cases of {time} steps, "
                f"which cannot be arranged as {shape}: the file may be for other sizes only"
            )
        return moved.reshape(shape)

    def mask_after(self, mask: Array, lengths: Array | None) -> Array | None:
        return mask if self.steps is None else None

    def forward(self, x: Array, ctx: PassContext, cache: LayerCache) -> Array:
        batch, time = x.shape[:2]
        lengths = cache.saved["lengths"] = ctx.lengths
        if self.steps is not None:
            ctx.lengths = ctx.mask = None
        alone = lengths is None or self.lengths_input is not None
        parts: list[_Part] = []
        if alone:
            out, record = self._run(x, lengths, ctx, cache, False)
            y = np.ascontiguousarray(self._placed(out, batch, time), ctx.dtype)
            parts.append(_Part(slice(None), time, record, out.shape))
        else:
            assert lengths is not None
            fixed = [] if self.time_axis is None else [self.steps or time]
            y = np.zeros((batch, *fixed, self.output_size), ctx.dtype)
            for steps in np.unique(lengths):
                rows = np.flatnonzero(lengths == steps)
                out, record = self._run(x[rows, :steps], None, ctx, cache, ctx.training)
                placed = self._placed(out, len(rows), int(steps))
                if self.time_axis is None or self.steps is not None:
                    y[rows] = placed
                else:
                    y[rows, :steps] = placed
                parts.append(_Part(rows, int(steps), record, out.shape))
        cache.saved["parts"] = parts if ctx.training else []
        cache.saved["shape"] = x.shape
        return y

    def backward(self, dy: Array, ctx: PassContext, cache: LayerCache, need_dx: bool) -> Array | None:
        ctx.lengths = cache.saved["lengths"]
        dx = None if not need_dx or self.takes_tokens else np.zeros(cache.saved["shape"], ctx.dtype)
        axes = [self.batch_axis, *([] if self.time_axis is None else [self.time_axis])]
        for part in cache.saved["parts"]:
            whole = self.time_axis is None or self.steps is not None
            d = dy[part.rows] if whole else dy[part.rows, : part.steps]
            moved_shape = np.moveaxis(np.empty(part.out_shape, bool), axes, range(len(axes))).shape
            d = np.moveaxis(d.reshape(moved_shape), range(len(axes)), axes)
            found = self._program.backward(part.record, {self._graph.outputs[0]: d})
            for name, gradient in self.wanted_gradients.items():
                if name in found:
                    gradient += found[name]
            if dx is not None and self._data in found:
                of_x = found[self._data]
                dx[part.rows, : part.steps] = of_x.swapaxes(0, 1) if self.time_major else of_x
        cache.saved["parts"] = []
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            "graph": graph_to_json(self._graph, self._shapes),
            "input_size": self.input_size,
            "output_size": self.output_size,
            "time_major": self.time_major,
            "lengths_input": self.lengths_input,
            "batch_axis": self.batch_axis,
            "time_axis": self.time_axis,
            "output_rank": self.output_rank,
            **({} if self.steps is None else {"steps": self.steps}),
        }

    def __repr__(self) -> str:
        return f"OnnxGraph({len(self._graph.nodes)} nodes, opset {self._graph.opset})"
