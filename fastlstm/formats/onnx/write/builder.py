"""An ONNX graph under construction: nodes, constants, and which steps of a series are valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...._typing import Array

__all__ = ["OPSET", "GraphBuilder", "Value"]

OPSET = 17
"""The version of the operators; runtimes of recent years support it."""


class Value(NamedTuple):
    """Name of a node's output, and the order of its axes."""

    name: str
    per_step: bool = True
    """(batch, time, features), or (batch, time) of tokens; otherwise (batch, features)."""
    time_major: bool = False
    """(time, batch, features), which the operator LSTM reads and returns."""

    @property
    def time_axis(self) -> int:
        return 0 if self.time_major else 1


class GraphBuilder:
    """The nodes and constants of one model.

    Attributes
    ----------
    onnx : module
    dtype : dtype
        Type of all floating-point numbers in the file.
    takes_lengths : bool
        Whether the file has an input for the number of valid steps of each case.
    lengths : str
        Name of that input, or of the number of groups after a layer that has grouped the steps; empty if there is no
        such input, or if a layer has begun new series, to which it does not apply.
    with_state : bool
        Whether the states of LSTM layers are inputs and outputs of the file.
    final_states : dict of int to list of (str, str)
        For each layer that has a state, by index: h and c (1, batch, size) after the steps, of each stacked layer.
    taps : dict of str to Value
        The value at each layer `Tap` so far, by its name.
    nodes : list of onnx.NodeProto
    constants : dict of str to ndarray
    scope : str
        The layer that is being written; a prefix of the names of its nodes.
    opset : int
    """

    def __init__(self, onnx: Any, dtype: np.dtype[Any], with_lengths: bool, with_state: bool = False) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.with_state = with_state
        self.final_states: dict[int, list[tuple[str, str]]] = {}
        self.taps: dict[str, Value] = {}
        self.takes_lengths = with_lengths
        self.lengths = "lengths" if with_lengths else ""
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.scope = "input"
        self.opset = OPSET
        self._counts: dict[str, int] = {}
        self._batch = ""
        self._masks: dict[bool, str] = {}
        self._time = ""

    # ------------------------------------------------------------------------------------ nodes and constants

    def add(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name, which is generated if not given."""
        name = self._node_name(op)
        output = output or f"{name}:0"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def add_several(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs; return their names."""
        name = self._node_name(op)
        names = [f"{name}:{k}" for k in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names

    def _node_name(self, op: str) -> str:
        stem = f"{self.scope}/{op}"
        number = self._counts[stem] = self._counts.get(stem, 0) + 1
        return stem if number == 1 else f"{stem}_{number}"

    def constant(self, value: npt.ArrayLike, name: str = "", dtype: np.dtype[Any] | None = None) -> str:
        """Return the name of a constant; integers become int64, floats `dtype` or by default the dtype of the file."""
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else self.dtype if dtype is None else dtype)
        if not name:
            text = "_".join(map(str, array.reshape(-1)[:8].tolist()))
            name = f"const/{array.dtype.name}{list(array.shape)}_{text}".replace(" ", "")
            if array.size > 8:
                name = f"{self.scope}/const_{len(self.constants)}"
        stem, number = name, 1
        while name in self.constants and not _equal(self.constants[name], array):
            number += 1
            name = f"{stem}_{number}"
        self.constants.setdefault(name, array)
        return name

    def cast(self, name: str, dtype: np.dtype[Any]) -> str:
        """Return a value converted to another floating-point type."""
        return self.add("Cast", [name], to=self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def batch(self) -> str:
        """Return a vector with the number of cases."""
        if not self._batch:
            shape = self.add("Shape", ["x"])
            self._batch = self.add("Slice", [shape, self.constant([0]), self.constant([1])])
        return self._batch

    # ------------------------------------------------------------------------------------ axes and steps

    def arranged(self, value: Value, time_major: bool) -> Value:
        """Return the value with the axes of cases and steps in this order."""
        if not value.per_step or value.time_major == time_major:
            return value
        return Value(self.add("Transpose", [value.name], perm=[1, 0, 2]), time_major=time_major)

    def masked(self, value: Value, filler: float, dtype: np.dtype[Any] | None = None) -> str:
        """Return the value with the steps beyond each case's length replaced by this number, of the value's type."""
        if not self.lengths:
            return value.name
        return self.add("Where", [self._mask(value.time_major), value.name, self.constant(filler, dtype=dtype)])

    def valid_steps(self) -> str:
        """Return the mask (batch, time, 1) of the steps within each case's length."""
        return self._mask(False)

    def _mask(self, time_major: bool) -> str:
        """Return the mask of valid steps, broadcastable to the axes of a value."""
        if time_major not in self._masks:
            steps = self._step_indices()
            ends = self.add("Cast", [self.lengths], to=self.onnx.TensorProto.INT64)
            self._masks[time_major] = self.add("Less", self._crossed(steps, ends, time_major))
        return self._masks[time_major]

    def end_step(self, value: Value, first: bool = False) -> str:
        """Return the last valid step of a value, or the first; without the time axis."""
        axis = value.time_axis
        if first or not self.lengths:
            return self.add("Gather", [value.name, self.constant(0 if first else -1)], axis=axis)
        # Compare step indices with length - 1: zero all steps except the last valid one, then sum over time.
        steps = self._step_indices()
        ends = self.add("Cast", [self.lengths], to=self.onnx.TensorProto.INT64)
        ends = self.add("Sub", [ends, self.constant(1)])
        is_last = self.add("Equal", self._crossed(steps, ends, value.time_major))
        chosen = self.add("Where", [is_last, value.name, self.constant(0.0)])
        return self.add("ReduceSum", [chosen, self.constant([axis])], keepdims=0)

    def regroup(self, lengths: str, time: str) -> None:
        """Take other lengths, int32 (cases,), and another number of steps, int64 (1,), for all that follows."""
        self.lengths, self._time = lengths, self.add("Squeeze", [time])
        self._masks.clear()

    def _step_indices(self) -> str:
        time = self._time or self.add("Gather", [self.add("Shape", ["x"]), self.constant(1)], axis=0)
        return self.add("Range", [self.constant(0), time, self.constant(1)])

    def _crossed(self, steps: str, cases: str, time_major: bool) -> list[str]:
        """Return vectors over steps and cases with added axes of size 1, which broadcast to the axes of a value."""
        axes = ([1, 2], [0, 2]) if time_major else ([0, 2], [1, 2])
        return [
            self.add("Unsqueeze", [one, self.constant(where)]) for one, where in zip((steps, cases), axes, strict=True)
        ]


def _equal(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
