"""The kinds of cases to measure, and the weights and data of each; `benchmarks.groups.shapes` has the cases.

A case is a kind of work on one problem:

``train``
    Forward; backward from a given gradient of the output to the gradients of all parameters and of the input; clipping
    of the gradient's norm to `CLIP_NORM`; one step of Adam.
``infer``
    Forward only.
``passes``
    The kernels of one layer alone, called from C's side of the package: forward, and backward from a given gradient of
    the output to the gradients of all weights and of the input.
``forward``
    The same, forward only, with weights that do not change.
``step``
    One step of a stream: one row in, one row out; the state is kept.
``epoch``
    One pass over a data set of `Problem.series` series with an LSTM and a linear layer on its last output,
    cross-entropy, clipping, Adam, in a random order.

All arrays are float32 and drawn from a fixed seed, so that every process creates the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLIP_NORM", "EPOCH_LR", "KINDS", "STREAM_STEPS", "TRAIN_LR", "Array", "Case", "Data", "Problem"]

Array = npt.NDArray[Any]

CLIP_NORM = 1.0
"""Largest norm of the gradient in training."""

TRAIN_LR = 1e-6
"""Learning rate of ``train``: thousands of steps along one fixed gradient must not drive the gates into saturation,
where subnormal float32 numbers would slow all peers down. The rate does not change the amount of work."""

EPOCH_LR = 1e-3
"""Learning rate of ``epoch``."""

KINDS = ("train", "infer", "passes", "forward", "step", "epoch")

STREAM_STEPS = 20
"""Number of steps of a stream that are verified."""


@dataclass(frozen=True)
class Problem:
    """Sizes of an LSTM and of its data.

    Parameters
    ----------
    batch, time, inputs, hidden : int
        Batch size, number of steps, input size, hidden size.
    layers : int, default 1
        Number of stacked layers.
    bidirectional : bool, default False
        Whether there is a second direction.
    shortest : int, optional
        If given, lengths are drawn uniformly from `shortest` to `time`, inclusive; at least one series is `time` long.
    series : int, default 0
        For ``epoch``: number of series.
    classes : int, default 0
        For ``epoch``: number of classes.
    """

    batch: int
    time: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    shortest: int | None = None
    series: int = 0
    classes: int = 0

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def label(self) -> str:
        """The sizes as the tables show them: batch, time, input, hidden, and the options that are not defaults."""
        text = f"{self.batch}, {self.time}, {self.inputs}, {self.hidden}"
        if self.series:
            text = f"{self.series} series, {text}, {self.classes} classes"
        if self.layers > 1:
            text += f", {self.layers} layers"
        if self.bidirectional:
            text += ", bidirectional"
        if self.shortest is not None:
            text += f", lengths {self.shortest} to {self.time}"
        return text

    def layer_directions(self) -> Iterator[tuple[int, int, str]]:
        """Yield layer, direction and the suffix of its parameters' names, in PyTorch's order."""
        for layer in range(self.layers):
            for direction in range(self.directions):
                yield layer, direction, f"l{layer}" + ("_reverse" if direction else "")

    def input_size_of(self, layer: int) -> int:
        """Return the number of features that a layer takes."""
        return self.inputs if layer == 0 else self.hidden * self.directions

    def flops(self, kind: str) -> int:
        """Return the floating-point operations of the matrix products, counting every step of every series as valid.

        Forward needs 2 * 4H * (I + H) for each step of a series. Backward adds the same number for the gradients of the
        weights, 2 * 4H * H for that of the state and 2 * 4H * I for that of the input.
        """
        forward = sum(
            2 * self.batch * self.time * 4 * self.hidden * (self.input_size_of(layer) + self.hidden)
            for layer, _, _ in self.layer_directions()
        )
        return 3 * forward if kind in ("train", "passes") else forward


@dataclass(frozen=True)
class Data:
    """Weights and data of a problem.

    Attributes
    ----------
    state : dict of str to float32 array
        The LSTM's parameters by PyTorch's names.
    x : (batch, time, inputs) float32 array
        Zero beyond a series' length.
    d_out : (batch, time, directions * hidden) float32 array
        Gradient of the loss with respect to the output, zero beyond a series' length.
    lengths : (batch,) int64 array or None
    series_x, series_y : (series, time, inputs) float32 and (series,) int64 arrays, or None
        The data set of ``epoch``.
    head : (weight, bias) or None
        The linear layer of ``epoch``: (classes, hidden) and (classes,) float32.
    """

    state: dict[str, Array]
    x: Array
    d_out: Array
    lengths: Array | None
    series_x: Array | None
    series_y: Array | None
    head: tuple[Array, Array] | None

    @classmethod
    def of(cls, problem: Problem, seed: int = 0) -> Data:
        """Create the data of a problem, the same in every process."""
        rng = np.random.default_rng(seed)
        bound = 1 / np.sqrt(problem.hidden)
        state = {}
        for layer, _, suffix in problem.layer_directions():
            gates = 4 * problem.hidden
            for name, size in (
                ("weight_ih", (gates, problem.input_size_of(layer))),
                ("weight_hh", (gates, problem.hidden)),
                ("bias_ih", (gates,)),
                ("bias_hh", (gates,)),
            ):
                state[f"{name}_{suffix}"] = rng.uniform(-bound, bound, size).astype(np.float32)
        x = rng.standard_normal((problem.batch, problem.time, problem.inputs), np.float32)
        d_out = rng.standard_normal((problem.batch, problem.time, problem.directions * problem.hidden), np.float32)
        lengths = None
        if problem.shortest is not None:
            lengths = rng.integers(problem.shortest, problem.time + 1, problem.batch)
            lengths[0] = problem.time
            padding = np.arange(problem.time) >= lengths[:, None]
            x[padding], d_out[padding] = 0, 0
        series_x = series_y = head = None
        if problem.series:
            series_x = rng.standard_normal((problem.series, problem.time, problem.inputs), np.float32)
            series_y = rng.integers(0, problem.classes, problem.series)
            head = (
                rng.uniform(-bound, bound, (problem.classes, problem.hidden)).astype(np.float32),
                rng.uniform(-bound, bound, problem.classes).astype(np.float32),
            )
        return cls(state, x, d_out, lengths, series_x, series_y, head)


@dataclass(frozen=True)
class Case:
    """A kind of work on a problem, as a member of a group.

    Parameters
    ----------
    group : str
        Name of the group.
    kind : {"train", "infer", "passes", "forward", "step", "epoch"}
    problem : Problem
    fraction : bool, default False
        Whether the machine's rate of matrix products is also measured, to report which fraction of it is reached.
    reference : bool, default False
        Whether the NumPy reference is timed, too; answers are compared with it in any case.
    """

    group: str
    kind: str
    problem: Problem
    fraction: bool = False
    reference: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")

    @property
    def timed(self) -> Problem:
        """The problem that one timed run computes; for a stream, a single step."""
        return replace(self.problem, time=1) if self.kind == "step" else self.problem

    @property
    def label(self) -> str:
        """The sizes as the tables show them."""
        return self.timed.label

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products of one run; for an epoch, of all its batches."""
        if self.kind == "epoch":
            return replace(self.problem, batch=self.problem.series).flops("train")
        return self.timed.flops(self.kind)

    def data(self) -> Data:
        """Create the weights and data."""
        return Data.of(self.problem)
