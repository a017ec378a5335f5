"""ONNX's backend interface (``onnx.backend.base``): run whole models with any inputs, or single nodes.

The backend is for inference only; `fastlstm.from_onnx` returns a model that can be trained. Both need the package onnx:
``fastlstm[onnx]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._typing import Array
from ...runtime.config import resolve_threads
from .graph.nodes import Graph, GraphInput
from .graph.operators import OPERATORS, Run
from .graph.program import Program
from .package import import_onnx
from .read.reader import MAX_OPSET, MIN_OPSET, make_node, read_graph, read_proto

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class BackendRep:
    """A prepared model; made by `prepare`."""

    def __init__(self, graph: Graph) -> None:
        self._program = Program(graph)
        read = set(graph.outputs).union(*(node.inputs for node in graph.nodes))
        self._inputs = graph.inputs
        self._needed = {one.name for one in graph.inputs if one.name in read}
        self._weights = sum(value.size for value in graph.constants.values())

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs in order."""
        return [one.name for one in self._inputs]

    def run(self, inputs: Any, *, n_threads: int | None = None, **kwargs: Any) -> tuple[Array, ...]:
        """Return the model's outputs.

        Parameters
        ----------
        inputs : sequence of arrays, mapping of str to array, or ndarray
            All inputs in order, or by name; an ndarray is the only input.
        n_threads : int, optional
            Number of threads; by default as configured.
        **kwargs
            Not used.

        Returns
        -------
        tuple of ndarray
            The outputs in the order of the graph.

        Raises
        ------
        ValueError
            If an input is missing or unknown, or its dtype or shape does not fit the graph.
        """
        values = _by_name(inputs, self.input_names, "the model")
        arrays: dict[str, Array] = {}
        for one in self._inputs:
            if one.name not in values:
                if one.name in self._needed:
                    raise ValueError(f"the input {one.name!r} is missing, expected {self.input_names}")
                continue
            arrays[one.name] = _fitting(np.asarray(values[one.name]), one)
        data = sum(array.size for array in arrays.values())
        run = Run(data, self._weights, n_threads=resolve_threads(n_threads))
        outputs, _ = self._program.forward({**self._program.graph.constants, **arrays}, run)
        return tuple(outputs)


def _by_name(inputs: Any, names: list[str], reader: str) -> dict[str, Any]:
    """Return the inputs by name; a mapping may lack some of the names."""
    if isinstance(inputs, Mapping):
        unknown = sorted(set(inputs) - set(names))
        if unknown:
            raise ValueError(f"{reader} has no inputs {unknown}, expected {names}")
        return dict(inputs)
    given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    if len(given) != len(names):
        raise ValueError(f"{reader}: got {len(given)} inputs, expected {len(names)}: {names}")
    return dict(zip(names, given, strict=True))


def _fitting(array: Array, expected: GraphInput) -> Array:
    if array.dtype.name != expected.dtype:
        raise ValueError(f"the input {expected.name!r} is {array.dtype}, expected {expected.dtype}")
    shape = expected.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(isinstance(want, int) and want != got for want, got in zip(shape, array.shape, strict=True))
    ):
        raise ValueError(f"the input {expected.name!r} has shape {array.shape}, expected {shape}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


class Backend:
    """An ONNX backend for the CPU; see ``onnx.backend.base.Backend``."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Return whether `prepare` supports the model; other errors than ValueError are raised as there."""
        try:
            cls.prepare(model, device, **kwargs)
        except ValueError:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Return a model that is ready to run.

        Parameters
        ----------
        model : onnx.ModelProto, path or bytes
            External data are read only if this is a path.
        device : str
            "CPU".
        **kwargs
            Not used.

        Returns
        -------
        BackendRep

        Raises
        ------
        ImportError
            If the package onnx is missing.
        TypeError
            If `model` has another type.
        ValueError
            If the model is damaged, has an operator that is not supported, or the device is not a CPU.
        OSError
            If the file cannot be read.
        """
        _require_cpu(device)
        return BackendRep(read_graph(*read_proto(model)))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Array, ...]:
        """Return the outputs of a model; see `prepare` and `BackendRep.run`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: Any,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """Return the outputs of a single operator.

        Parameters
        ----------
        node : onnx.NodeProto
        inputs : sequence of arrays, mapping of str to array, or ndarray
            The node's named inputs; an ndarray is the only one.
        device : str
            "CPU".
        outputs_info : optional
            Not used.
        **kwargs
            ``opset_version``: version of the operators; by default the newest that the package onnx supports.

        Returns
        -------
        tuple of ndarray
            The node's named outputs.

        Raises
        ------
        ValueError
            If the operator or the version is not supported, or the inputs do not fit.
        """
        _require_cpu(device)
        opset = int(kwargs.get("opset_version", min(import_onnx().defs.onnx_opset_version(), MAX_OPSET)))
        if not MIN_OPSET <= opset <= MAX_OPSET:
            raise ValueError(f"opset_version is {opset}, expected {MIN_OPSET} to {MAX_OPSET}")
        one = make_node(node, 0, opset)
        names = list(dict.fromkeys(name for name in one.inputs if name))
        given = _by_name(inputs, names, str(one))
        missing = [name for name in names if name not in given]
        if missing:
            raise ValueError(f"{one}: the inputs {missing} are missing, expected {names}")
        arrays = {name: np.asarray(given[name]) for name in names}
        graph = Graph(
            (one,),
            tuple(GraphInput(name, array.dtype.name, None) for name, array in arrays.items()),
            tuple(name for name in one.outputs if name),
            {},
            frozenset(),
            opset,
        )
        return BackendRep(graph).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether the device is a CPU."""
        return device.split(":")[0] == "CPU"

    @classmethod
    def operators(cls) -> list[str]:
        """Return the names of the supported operators."""
        return sorted(OPERATORS)


def _require_cpu(device: str) -> None:
    if not Backend.supports_device(device):
        raise ValueError(f"device is {device!r}, this backend runs on the CPU only")


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
