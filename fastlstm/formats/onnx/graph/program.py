"""Run a graph forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...._typing import Array
from . import (  # noqa: F401  (importing them registers their operators)
    convolving,
    elementwise,
    lstm,
    padding,
    pooling,
    reducing,
    shaping,
    smooth,
)
from .nodes import Graph, Node
from .operators import Back, Run, make_forward

__all__ = ["Program", "Record"]

Record = list[tuple[Node, Back | None, list[bool]]]

_WRONG = (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError)
"""Exceptions that NumPy raises if shapes or types do not fit."""


class Program:
    """A graph compiled into functions, one for each node.

    Parameters
    ----------
    graph : Graph

    Raises
    ------
    ValueError
        If a node is not supported; the message names the node.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._steps = [(node, make_forward(node)) for node in graph.nodes]
        last: dict[str, int] = {}
        for index, node in enumerate(graph.nodes):
            for name in node.inputs:
                last[name] = index
        for name in graph.outputs:
            last.pop(name, None)
        self._done: list[list[str]] = [[] for _ in graph.nodes]
        for name, index in last.items():
            self._done[index].append(name)

    def forward(
        self, values: Mapping[str, Array], run: Run, wants_gradient: Sequence[str] = ()
    ) -> tuple[list[Array], Record]:
        """Return the graph's outputs and the record of the run that `backward` needs.

        Parameters
        ----------
        values : mapping of str to array
            Inputs and constants.
        run : Run
        wants_gradient : sequence of str
            Names of the values whose gradients `backward` is to return; used only if ``run.training``.

        Returns
        -------
        outputs : list of ndarray
        record : list
            Argument of `backward`: node, backward function, and which inputs need a gradient.

        Raises
        ------
        ValueError
            If shapes or types do not fit; the message names the node.
        """
        present: dict[str, Array] = dict(values)
        alive = set(wants_gradient)
        record: Record = []
        sizes: dict[str, int] = {}
        with np.errstate(all="ignore"):
            for (node, function), done in zip(self._steps, self._done, strict=True):
                try:
                    results, back = function([present[name] if name else None for name in node.inputs], run)
                except _WRONG as error:
                    raise ValueError(f"{node}: {error}") from error
                for name, array in zip(node.outputs, results, strict=False):
                    if name:
                        present[name] = array
                        # A view adds no memory: its base array is already counted.
                        sizes[name] = array.size if array.base is None else 0
                        run.held += sizes[name]
                if run.training:
                    needs = [name in alive for name in node.inputs]
                    if back is not None and any(needs):
                        alive.update(name for name in node.outputs if name)
                        record.append((node, back, needs))
                else:
                    for name in done:
                        if name in sizes:
                            run.held -= sizes[name]
                            del present[name]
        return [present[name] for name in self.graph.outputs], record

    @staticmethod
    def backward(record: Record, gradients: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients of all values listed in `wants_gradient`, given those of the outputs.

        Parameters
        ----------
        record : list
            The record of a forward pass in training.
        gradients : dict of str to array
            Gradients of the outputs by name; the dict is modified and returned.
        """
        with np.errstate(all="ignore"):
            for node, back, needs in reversed(record):
                incoming = [gradients.pop(name, None) if name else None for name in node.outputs]
                if back is None or all(one is None for one in incoming):
                    continue
                for name, gradient, need in zip(node.inputs, back(incoming, needs), needs, strict=True):
                    if need and gradient is not None:
                        gradients[name] = gradients[name] + gradient if name in gradients else gradient
        return gradients
