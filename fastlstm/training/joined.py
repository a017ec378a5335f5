"""Shards of a batch that need numbers of each other: those of a network with a `BatchNorm` that is trained.

The passes of all shards go on together, from one such layer to the next. At each they give the numbers of their cases,
get those of all in the order of the shards, and go on: forward, then with the sums of the loss, then backward. So the
statistics are those of the whole batch, and which process computes a shard changes nothing. The activations of all
shards of a process are in memory.

Shards that are alone give the gradient of their own mean loss, which the tree of `Reduce` averages by weight. Here the
gradient of a case depends on the loss of all others, also where no case of its shard counts. So the gradient of the
loss of a shard is multiplied by its part of the weight of the batch, and by the number of shards m, and the tree
averages m of the same weight.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._typing import Array
from ..inference.feeding import Feed, Segment
from ..layers import JoiningLayer, PassContext
from ..layers.joined import Joining
from ..network import Network
from .reduce import Reduce, Sums, shard_bounds

__all__ = ["JoinedShards", "joining_layers"]

Measure = Callable[[Segment, Array], tuple[Sums, Array]]
"""Return the sums of a segment with this output, and the gradient of its mean loss."""


def joining_layers(network: Network) -> list[int]:
    """Return the indices of the layers whose training pass needs numbers of all shards."""
    return [k for k, layer in enumerate(network.layers) if isinstance(layer, JoiningLayer) and layer.trainable]


class JoinedShards:
    """Training passes of the shards of a batch, from one joining layer to the next.

    Parameters
    ----------
    network : Network
    feed : Feed
    reduce : Reduce
    measure : function
        See `Measure`.
    """

    def __init__(self, network: Network, feed: Feed, reduce: Reduce, measure: Measure) -> None:
        self._network = network
        self._feed = feed
        self._reduce = reduce
        self._measure = measure
        self._joining = joining_layers(network)
        self._contexts: dict[int, PassContext] = {}  # by shard, kept for their buffers
        self._gradients: dict[int, Array] = {}

    def __call__(self, segment: Segment, interrupted: Callable[[], bool]) -> Sums:
        """Leave the gradient of the mean loss of a batch in the network's gradients; return its sums.

        There is none if no position counts, or the loss is not finite.
        """
        network, reduce, passes = self._network, self._reduce, self._network.passes
        going = dict(self._begun(segment, interrupted))
        own = list(going)
        rounds: list[list[Any]] = []
        while True:
            given = {}
            for index, one in list(going.items()):
                network.passes = passes if not rounds else passes + 1  # all draw the masks of one pass
                try:
                    given[index] = self._go_on(index, one, rounds[-1] if rounds else None)
                except StopIteration:
                    del going[index]
            joined = reduce.joined(given)
            if not joined:
                break
            rounds.append([joined[index] for index in sorted(joined)])
        network.passes = passes + 1
        found: list[Sums] = rounds[len(self._joining)]
        sums = functools.reduce(Sums.plus, found)
        if 0 < sums.weight < math.inf and math.isfinite(sums.loss):
            gradients = network.parameters.flat_gradients

            def kept(index: int) -> Sums:
                if index not in own:
                    return Sums()
                np.copyto(gradients, self._gradients[index])
                return Sums(weight=1.0)

            reduce(kept, gradients)
            for index, parts in zip(self._joining, rounds, strict=False):
                layer = network.layers[index]
                assert isinstance(layer, JoiningLayer)
                layer.learn_statistics(parts)
        return sums

    def _begun(self, segment: Segment, interrupted: Callable[[], bool]) -> list[tuple[int, Joining[None]]]:
        """Return the passes of the shards of this process that have a case, which have not begun yet."""
        passes = []
        for index in self._reduce.shards_here:
            begin, end = shard_bounds(segment.rows_in_all, self._reduce.shards, index)
            if begin < end:
                if index not in self._contexts:
                    network = self._network
                    self._contexts[index] = PassContext(len(network.layers), network.dtype, True)
                    self._gradients[index] = np.empty_like(network.parameters.flat_gradients)
                self._gradients[index].fill(0)
                passes.append((index, self._pass(segment.part(begin, end), begin, interrupted)))
        return passes

    def _go_on(self, index: int, one: Joining[None], joined: list[Any] | None) -> Any:
        parameters = self._network.parameters
        parameters.zero_gradients()
        with self._network.using(self._contexts[index]):
            try:
                return next(one) if joined is None else one.send(joined)
            finally:
                self._gradients[index] += parameters.flat_gradients

    def _pass(self, part: Segment, first_row: int, interrupted: Callable[[], bool]) -> Joining[None]:
        out = yield from self._forward(part, first_row)
        sums, d_out = self._measure(part, out)
        d_out = d_out.copy()  # a buffer that the next shard uses
        found = yield sums._replace(interrupted=float(interrupted()))
        total = functools.reduce(Sums.plus, found)
        if 0 < total.weight < math.inf and math.isfinite(total.loss):
            d_out *= len(found) * (sums.weight / total.weight) if sums.weight else 0
            yield from self._backward(d_out)

    def _forward(self, part: Segment, first_row: int) -> Joining[Array]:
        network, feed = self._network, self._feed
        ctx = network.begin(True, feed.n_threads, feed.recompute_every, feed.skip, first_row)
        x = network.enter(range(self._joining[0]), part.x, part.lengths, part.masks, ctx)
        for index, end in zip(self._joining, [*self._joining[1:], len(network.layers)], strict=True):
            layer = network.layers[index]
            assert isinstance(layer, JoiningLayer)
            x = yield from layer.forward_joined(x, ctx, ctx.layers[index])
            x = network.through(range(index + 1, end), x, ctx)
        ctx.out_shape = x.shape
        return x

    def _backward(self, d_out: Array) -> Joining[None]:
        network = self._network
        ctx, lowest, end = network.context(True), network.parameters.lowest_trainable, len(network.layers)
        gradient: Array | None = d_out
        for index in reversed(self._joining):  # none is below the lowest, since each has parameters
            assert gradient is not None
            gradient = network.back_through(range(index + 1, end), gradient, ctx, True)
            layer = network.layers[index]
            assert isinstance(layer, JoiningLayer) and gradient is not None
            gradient = yield from layer.backward_joined(gradient, ctx, ctx.layers[index], index > lowest)
            end = index
        if gradient is not None:
            network.back_through(range(lowest, end), gradient, ctx, False)
