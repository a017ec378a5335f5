"""Parameters of a stack of layers: one flat vector, gradients in the same layout, and named views of both."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ._core import PackedWeights
from ._draws import Draws
from ._typing import Array
from .layers import Layer, stack_parameters
from .runtime.buffers import aligned_zeros, read_only_copy

__all__ = ["Parameters"]


class Parameters:
    """All parameters of connected layers in one aligned vector, and their gradients in another.

    The layers hold named views of both vectors. Clipping, the optimizer's update, saving and a sum over machines are
    each one pass over one array.

    Attributes
    ----------
    flat, flat_gradients : ndarray, shape (n_parameters,)
        Empty before `initialize`; `flat_gradients` is also empty while the parameters are frozen.
    packed : PackedWeights or None
        Packed forms of frozen parameters, for all threads and streams; None while they may change.
    names : list of str
        Name of each layer, before those of its parameters: by default its number.
    """

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype[Any], names: Sequence[str] | None = None) -> None:
        self._layers = layers
        self.names = list(map(str, range(len(layers)))) if names is None else list(names)
        self.dtype = dtype
        self.flat: Array = np.empty(0, dtype)
        self.flat_gradients: Array = np.empty(0, dtype)
        self.packed: PackedWeights | None = None

    @property
    def frozen(self) -> bool:
        """Whether `flat` is read-only."""
        return self.packed is not None

    # ------------------------------------------------------------------------------------ vectors

    def initialize(self, seed: int, values: Array | None = None) -> None:
        """Allocate the vectors for built layers, and set the parameters.

        Parameters
        ----------
        seed : int
            Seed of the initial values.
        values : ndarray (n_parameters,), optional
            Values of the parameters, instead of those that are drawn.

        Raises
        ------
        ValueError
            If there are more parameters than can be addressed, or initial values cannot be drawn.
        """
        size = sum(math.prod(spec.shape) for _, _, spec in stack_parameters(self._layers))
        if size > sys.maxsize // 8:
            raise ValueError(f"the layers have {size} parameters, more than can be addressed: give them smaller sizes")
        flat, gradients = aligned_zeros(size, self.dtype), aligned_zeros(size, self.dtype, place=1)
        if values is None:
            start = 0
            # Numbers of the layers that have parameters: a layer without them changes no weight.
            with_parameters = list(dict.fromkeys(index for index, *_ in stack_parameters(self._layers)))
            for index, _, spec in stack_parameters(self._layers):
                part = slice(start, start + math.prod(spec.shape))
                try:
                    draws = Draws(seed, "weights", with_parameters.index(index), spec.name)
                    flat[part].reshape(spec.shape)[...] = spec.initialize(draws, spec.shape)
                except ValueError as error:
                    raise ValueError(f"layer {self.names[index]}: {error}") from None
                start = part.stop
        else:
            flat[:] = values
        self._place(flat, gradients)

    def _place(self, flat: Array, gradients: Array | None) -> None:
        """Use these vectors from now on, and give each layer its views of them.

        All memory is allocated first, so that nothing has changed if this fails.
        """
        views: list[tuple[Layer, dict[str, Array], dict[str, Array]]] = [(layer, {}, {}) for layer in self._layers]
        start = 0
        for index, _, spec in stack_parameters(self._layers):
            _, parameter_views, gradient_views = views[index]
            part = slice(start, start + math.prod(spec.shape))
            parameter_views[spec.name] = flat[part].reshape(spec.shape)
            if gradients is not None:
                gradient_views[spec.name] = gradients[part].reshape(spec.shape)
            start = part.stop
        if gradients is None:
            gradients = np.empty(0, self.dtype)
        for layer, parameter_views, gradient_views in views:
            layer.parameters, layer.gradients = parameter_views, gradient_views
        self.flat, self.flat_gradients = flat, gradients

    # ------------------------------------------------------------------------------------ training

    @property
    def trainable_ranges(self) -> list[slice] | None:
        """Parts of the flat vectors that the optimizer changes, in order and not adjacent; None: all."""
        ranges: list[slice] = []
        start = 0
        for layer in self._layers:
            untrained = layer.untrained()
            for name, parameter in layer.parameters.items():
                stop = start + parameter.size
                if name not in untrained and stop > start:
                    if ranges and ranges[-1].stop == start:
                        ranges[-1] = slice(ranges[-1].start, stop)
                    else:
                        ranges.append(slice(start, stop))
                start = stop
        return None if ranges == [slice(0, start)] or start == 0 else ranges

    @property
    def starts(self) -> list[int]:
        """Number of the first element of each layer in the flat vectors."""
        sizes = [sum(parameter.size for parameter in layer.parameters.values()) for layer in self._layers]
        return list(itertools.accumulate(sizes, initial=0))[:-1]

    @property
    def lowest_trainable(self) -> int:
        """Index of the lowest layer that needs a backward pass: the lowest one with parameters that are trained."""
        trained = (k for k, layer in enumerate(self._layers) if layer.trainable and layer.parameters)
        return next(trained, len(self._layers))

    def require_trainable(self) -> None:
        """Raise ValueError if no parameter is trainable because no layer is."""
        if self.trainable_ranges == []:
            last = max(k for k, layer in enumerate(self._layers) if layer.parameters)
            raise ValueError(
                "no layer with parameters is trainable, so that there is nothing to learn: set trainable = True for "
                f"one of them, for example model.layers[{last}].trainable = True"
            )

    # ------------------------------------------------------------------------------------ freezing

    def freeze(self) -> None:
        """Move the parameters to read-only memory, and free the gradients."""
        if not self.frozen:
            packed = PackedWeights()
            self._place(read_only_copy(self.flat), None)
            self.packed = packed

    def unfreeze(self) -> None:
        """Move the parameters to writable memory, with gradients of zero.

        Raises
        ------
        RuntimeError
            If layers are quantized.
        """
        self.require_no_integers("unfreeze")
        if self.frozen:
            flat = aligned_zeros(self.flat.size, self.dtype)
            flat[:] = self.flat
            self._place(flat, aligned_zeros(flat.size, self.dtype, place=1))
            self.packed = None

    def require_unfrozen(self, what: str) -> None:
        """Raise RuntimeError if the parameters are frozen; `what` is the call that would write to them."""
        self.require_no_integers(what)
        if self.frozen:
            raise RuntimeError(f"the model is frozen, its parameters are read-only: call unfreeze() before {what}")

    def require_no_integers(self, what: str) -> None:
        """Raise RuntimeError if layers are quantized, whose weights cannot change; `what` is the call."""
        if any(layer.quantized is not None for layer in self._layers):
            raise RuntimeError(
                f"the model's weights have 8 bits, which {what} cannot change: use the model of which quantize() made "
                "it"
            )

    # ------------------------------------------------------------------------------------ by name

    def named(self) -> dict[str, Array]:
        """Return views of the parameters by name, such as ``"0.weight_ih_l0"`` for layer 0."""
        return {f"{k}.{name}": p for k, layer in self._by_name() for name, p in layer.parameters.items()}

    def named_gradients(self) -> dict[str, Array]:
        """Return views of the gradients, named and shaped as the parameters."""
        return {f"{k}.{name}": g for k, layer in self._by_name() for name, g in layer.gradients.items()}

    def _by_name(self) -> Iterable[tuple[str, Layer]]:
        return zip(self.names, self._layers, strict=True)

    def zero_gradients(self) -> None:
        """Set all gradients to zero."""
        self.flat_gradients.fill(0)

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Replace all parameters.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs. No parameter has changed then, nor after a MemoryError.
        """
        parameters = self.named()
        missing, unknown = sorted(parameters.keys() - arrays.keys()), sorted(arrays.keys() - parameters.keys(), key=str)
        if missing or unknown:
            raise ValueError(
                f"the tensors do not fit the model, expected the names of state_dict(): missing {missing}, "
                f"unknown {unknown}"
            )
        for name, parameter in parameters.items():
            if arrays[name].shape != parameter.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected {parameter.shape}")
            if arrays[name].dtype.kind not in "fiu":
                raise ValueError(f"{name} has dtype {arrays[name].dtype}, expected real numbers")
        new = [arrays[name].reshape(-1) for name in parameters]  # in the order of the flat vector
        np.copyto(self.flat, np.concatenate(new, dtype=self.dtype, casting="unsafe") if new else 0)
